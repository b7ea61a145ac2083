"""Runs what the guide shows, and holds what it only shows.

Usage: pages.py --binaries DIRECTORY [--tools DIRECTORY] --build COMMAND

Blocks of ```sh run in order, each page in one shell, beside a mesh that `cargo xtask up` has started; their lines are those that are
documented, with other ports and another directory. The plain block that follows one has what it prints, line by line; `…` stands for
anything. What readers have at hand, such as a client's secret in a file, is made first by what lies in guide/ under the page's name,
in a directory of the page's own. What serves until it is stopped is left running until the page ends. For a cluster and an engine of
containers there are stand-ins, which hold what they are told against the manifests. What a page quotes from a file is run by the
suite that the file belongs to; blocks that nothing runs are named, each with its reason, in NOT_HERE. YAML is built with COMMAND and
validated, and figures that are compared are those that were measured. A Prometheus scrapes the mesh all the while, and has in the end
what rules and dashboard ask for. Prints one line per finding, and exits with 1 if there is one.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import monitoring
from checks import blocks, figures, page_yaml, scraped
from checks.blocks import DATA, GUIDE, MARK, PORT, PREPARED, ROOT
from checks.findings import Findings

START_SECONDS = 900
PAGE_SECONDS = 180
# Of gateway, auth and cache, as they are documented.
ADMIN_PORTS = (8081, 8091, 8101)
# How a line begins that a shell is meant to run.
COMMANDS = r"(?:\$ )?(?:cargo|accord-\w+|target/debug/\S+|curl|grpcurl|buf|kubectl|docker|python3?|deploy/images) "


def pages():
    """Every page with something to run or to hold, by its name."""
    found = {"README.md": ROOT / "README.md"}
    for path in sorted(GUIDE.rglob("*.md")):
        found[path.name if path.name != "README.md" else f"{path.parent.name}/README.md"] = path
    return {page: path.read_text() for page, path in found.items()}


def check_fences(check, page, text):
    """A plain fence is for what is printed: commands are in one of ```sh, where they are run."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if not line.lstrip().startswith("```"):
            continue
        fenced = not fenced
        following = text.splitlines()[number] if fenced and line.strip() == "```" else ""
        is_command = re.match(COMMANDS, following.strip()) and number not in shown_lines(text)
        check.expect(not is_command, f"{page}:{number}: has commands, and is no fence of ```sh, so nothing runs them")


def shown_lines(text):
    """Where fences begin that show what a block prints."""
    return {text[: found.start(3)].count("\n") for found in blocks.FENCE.finditer(text) if found[3] is not None}


def check_static(check, block):
    """A shell reads it; the files of the repository that it names are there."""
    read = subprocess.run(["bash", "-n", "-c", block.text], capture_output=True, text=True)
    check.expect(read.returncode == 0, f"{block.place}: a shell can't read it: {read.stderr.strip()}")
    made = set(re.findall(r"(?:mkdir -p|cp -r \S+) (\S+)", block.text))
    for path in re.findall(r"(?<![\w./-])(?:deploy|crates|tests)/[\w./-]+", block.text):
        known = (ROOT / path).exists() or "secrets" in path or any(path.startswith(it) for it in made)
        check.expect(known, f"{block.place}: {path} is not there")


def check_exemptions(check, found):
    """Each is of a block that is there, and so is each preparation."""
    known = {(block.page, block.first_line) for block in found}
    for exemption in sorted(blocks.NOT_HERE.keys() - known):
        check.expect(False, f"NOT_HERE names {exemption}, and no page has this block")
    for path in sorted(PREPARED.glob("*.md.sh")):
        page = path.name.removesuffix(".sh")
        for line in filter(None, blocks.prepared(page)):
            check.expect((page, line) in known, f"{path.name} prepares {line!r}, and the page has no such block")


def check_shown(check, block, output):
    """Each shown line comes, in this order."""
    rest = output.splitlines()
    for shown in filter(None, block.shown):
        pattern = ".*".join(map(re.escape, shown.split("…")))
        at = next((number for number, line in enumerate(rest) if re.fullmatch(pattern, line.strip())), None)
        if not check.expect(at is not None, f"{block.place}: prints {output.strip()!r}, and should print {shown!r}"):
            return
        rest = rest[at + 1 :]


def run_page(check, page, steps, environment, at_hand=None, directory=ROOT):
    """Runs the blocks of a page, and writes its files, in the order in which it has them."""
    runnable = [step for step in steps if isinstance(step, blocks.Block)]
    command = ["bash", "-c", blocks.script(page, steps, at_hand or {})]
    # A group of its own, so that nothing outlives the page.
    run = subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        said, errors = run.communicate(timeout=PAGE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        said, _ = run.communicate()
        at = said.count(f"{MARK} ") // 2
        check.expect(False, f"{runnable[min(at, len(runnable) - 1)].place}: {page} should have ended within {PAGE_SECONDS} s")
        return
    outputs = own_outputs(said)
    if run.returncode:
        failed = runnable[min(len(outputs), len(runnable) - 1)]
        rest = said.rpartition(MARK)[2]
        check.expect(False, f"{failed.place}: exit status {run.returncode}: {(rest + errors).strip()[-1200:]}")
    for block, output in zip(runnable, outputs):
        check_shown(check, block, output)


def own_outputs(said):
    """What each block that ended has printed, without what was printed to prepare it."""
    return [found[2] for found in re.finditer(rf"{MARK} before (\d+)\n(.*?)\n?{MARK} \1\n", said, re.DOTALL)]


def own_directory(page):
    """A directory for what a page makes, from which the repository's `target` is found as from its root."""
    directory = ROOT / DATA / "work" / page.removesuffix(".md")
    directory.mkdir(parents=True)
    (directory / "target").symlink_to(ROOT / "target")
    return directory


def run(check, page, text, environment):
    """Runs what can be run of a page; how many blocks that were."""
    steps = [*blocks.blocks(page, text), *(blocks.files(page, text) if page in blocks.OWN_PORTS else ())]
    steps = [step for step in steps if isinstance(step, blocks.File) or step.is_run()]
    steps.sort(key=lambda step: int(step.place.rpartition(":")[2]))
    count = sum(isinstance(step, blocks.Block) for step in steps)
    if not count:
        return 0
    at_hand = blocks.prepared(page)
    if at_hand is None or page == "README.md":
        run_page(check, page, steps, environment, at_hand)
        return count
    # Which store is meant, where the page leaves it to its reader; and a refused request is no success.
    configured = [ROOT / DATA / "config" / "auth.toml", ROOT / DATA / "own-auth.toml"]
    own = {"ACCORD_AUTH_CONFIG": ":".join(map(str, configured)), "CURL_HOME": str(PREPARED)}
    run_page(check, page, steps, {**environment, **own}, at_hand, own_directory(page))
    return count


def run_all(check, texts, environment):
    """Runs the pages in order, and beside them the README, which starts a mesh of its own; how many blocks that were."""

    def timed(page):
        begun = time.monotonic()
        count = run(check, page, texts[page], environment)
        if count:
            print(f"{page}: {count} blocks, {time.monotonic() - begun:.1f} s", flush=True)
        return count

    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        counts = beside.map(timed, texts.keys() & {"README.md"})
        return sum(map(timed, sorted(texts.keys() - {"README.md"}))) + sum(counts)


def started(binaries):
    """A mesh to run the lines beside, and the variables that it says to paste."""
    command = [pathlib.Path(binaries, "xtask").resolve(), "up", "--ports", str(PORT), "--data", DATA]
    # What an earlier run has left would be in the way of this one.
    shutil.rmtree(ROOT / DATA, ignore_errors=True)
    for name in ("auth", "gateway"):
        own = ROOT / DATA / f"own-{name}.toml"
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(blocks.moved((PREPARED / f"{name}.toml").read_text()))
        command += ["--config", f"{name}={own}"]
    command += ["--policy", PREPARED / "policies.cedar"]
    # A group of its own, so that its end reaches all that it has started.
    up = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    signal.signal(signal.SIGALRM, lambda *_: up.kill())
    signal.alarm(START_SECONDS)
    said, variables = [], {}
    for line in up.stdout:
        said.append(line)
        if found := re.fullmatch(r"\s*export (\w+)=(\S+)\s*", line):
            variables[found[1]] = found[2]
        if line.startswith("Ctrl-C"):
            signal.alarm(0)
            return up, variables
    sys.exit("the mesh did not start:\n" + "".join(said[-20:]))


def environment(arguments, build):
    """Stand-ins before what they stand for; the binaries; grpcurl, which the suite of outside clients installs, last, for there is a
    Python beside it."""
    directories = [PREPARED / "stand_ins", arguments.binaries, arguments.tools, pathlib.Path(sys.executable).parent]
    path = [*(str(pathlib.Path(it).absolute()) for it in directories), os.environ["PATH"], str(ROOT / "target" / "tools" / "venv" / "bin")]
    return {**os.environ, "PATH": ":".join(path), "ROOT": str(ROOT), "KUSTOMIZE": shlex.join(build)}


def refused():
    """A call that the mesh refuses: it has no token."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{PORT}/v1/products/oak-desk", timeout=10)
    except urllib.error.HTTPError as answer:
        answer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binaries", required=True, help="the directory of the built binaries")
    parser.add_argument("--tools", default="", help="the directory of buf")
    parser.add_argument("--build", required=True, help="what builds a kustomization")
    parser.add_argument("--only", metavar="PAGE", help="run this page alone")
    arguments = parser.parse_args()
    program, *rest = shlex.split(arguments.build)
    build = [str(pathlib.Path(shutil.which(program)).absolute()), *rest]
    check, texts = Findings(), pages()
    found = [block for page, text in texts.items() for block in blocks.blocks(page, text)]
    for page, text in texts.items():
        check_fences(check, page, text)
    for block in found:
        check_static(check, block)
    check_exemptions(check, found)
    figures.check_figures(check)
    rules, dashboard = monitoring.read()
    up, variables = started(arguments.binaries)
    prometheus = None
    try:
        prometheus = scraped.Prometheus((port - 8080 + PORT for port in ADMIN_PORTS), rules)
        given = {**environment(arguments, build), **variables}
        ran = run_all(check, {page: text for page, text in texts.items() if arguments.only in (None, page)}, given)
        answered = scraped.check(check, prometheus, list(monitoring.questions(rules, dashboard)), refused)
    finally:
        if prometheus:
            prometheus.stop()
        up.send_signal(signal.SIGINT)
        up.wait(60)
    workshop = page_yaml.Workshop(ROOT / DATA / "work" / "yaml", build, pathlib.Path(arguments.binaries).absolute())
    shown = page_yaml.check_yaml(check, workshop)
    print("\n".join(check.findings), end="\n" if check.findings else "")
    quoted = sum(block.quoted for block in found)
    print(f"{len(found)} blocks of {len(texts)} pages: {ran} run, {quoted} quoted from what suites run; {shown} of YAML, {len(check.findings)} findings")
    print(f"{answered} questions of rules and dashboard have an answer in a Prometheus that scraped the mesh, or need what is not here")
    for (page, line), reason in blocks.NOT_HERE.items():
        print(f"  not run: {page}: {line.split('  ')[0]}: {reason}")
    sys.exit(1 if check.findings else 0)


if __name__ == "__main__":
    main()
