"""The steps of a release, in the order in which they run: each finds what it needs, as the user that it is."""

import re

import yaml

from .findings import BINARIES

# What takes the files of root back, for all that was written below the checkout and the user's home (cargo's registry).
GIVES_BACK = re.compile(r'^sudo chown --recursive .+ \. "\$HOME"$')
# The Python that has what .ci/requirements.txt names, as .ci/run makes it.
MAKES_PYTHON = re.compile(r'python3 -m venv "\$tools/(\w+)"')


def check(check, workflow, run, images, dockerfile):
    """`workflow` is the text of release.yml; the others are those of .ci/run, deploy/images and the Dockerfile."""
    steps = [step for step in yaml.safe_load(workflow)["jobs"]["release"]["steps"] if "run" in step]
    check_held(check, steps)
    check_owner(check, steps)
    check_python(check, steps, run)
    check_images(check, steps, dockerfile)
    check_files(check, steps, images)


def check_held(check, steps):
    held = [number for number, step in enumerate(steps) if ".ci/run" in step["run"]]
    given = [number for number, step in enumerate(steps) if "docker push" in step["run"] or "gh release" in step["run"]]
    check.expect(held and given and held[0] < given[0], "release: something is given away before .ci/run has held it")


def check_owner(check, steps):
    """What root has built is the user's again before the user builds."""
    is_roots = False
    for step in steps:
        if GIVES_BACK.match(step["run"].strip()):
            is_roots = False
        elif step["run"].startswith("sudo "):
            is_roots = True
        elif "deploy/images" in step["run"] or "cargo build" in step["run"]:
            check.expect(not is_roots, f"release: {step['name']!r} builds in a directory that is root's by an earlier step")


def check_python(check, steps, run):
    tools = re.search(r"^tools=(\S+)$", run, re.MULTILINE)
    made = MAKES_PYTHON.search(run)
    python = f"{tools[1]}/{made[1]}/bin/python" if tools and made else None
    for number, step in enumerate(steps):
        if "--sbom" in step["run"]:
            named = step.get("env", {}).get("PYTHON")
            is_made = named == python and any(".ci/run" in earlier["run"] for earlier in steps[:number])
            check.expect(is_made, f"release: {step['name']!r} takes {named or 'python3'}, and what sbom.py needs is in {python}")


def check_images(check, steps, dockerfile):
    for step in steps:
        built = re.search(r"^ *for name in ([\w ]+); do$", step["run"], re.MULTILINE) if "docker build" in step["run"] else None
        for name in built[1].split() if built else ():
            check.expect(f" AS {name}\n" in dockerfile, f"release: builds {name}, of which the Dockerfile has no target")
        if built:
            check.expect(sorted(built[1].split()) == sorted(BINARIES), f"release: pushes the images {built[1]}, not all")


def check_files(check, steps, images):
    """What is attached is what deploy/images writes: programs in bin, bills of materials beside it."""
    out = re.search(r"^out=(\S+)$", images, re.MULTILINE)
    wanted = {f"{out[1]}/bin/accord-*", f"{out[1]}/accord-*.cdx.json"}
    attached = {word for step in steps if "gh release create" in step["run"] for word in step["run"].split() if "accord-" in word}
    check.expect(attached == wanted, f"release: attaches {sorted(attached)}, and deploy/images writes {sorted(wanted)}")
    is_written = any("deploy/images --sbom" in step["run"] for step in steps)
    check.expect(is_written, "release: nothing writes the bills of materials")
