"""The YAML that pages show: it is built, and validated, as its reader would use it."""

import os
import pathlib
import re
import shutil
import subprocess

import yaml

import schemas

from .blocks import GUIDE, QUOTED, ROOT, line_of

FENCE = re.compile(r"^```yaml\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
# What the files are that a kustomization of a page names.
FILES = {
    "upstreams.toml": '[[upstream]]\nname = "catalog"\nurls = ["http://catalog.shop:9000"]\n',
    "policies.cedar": "permit (principal in Accord::Role::\"editor\", action == Accord::Action::\"notes.write\", resource);\n",
}


class Shown:
    """One block of YAML: where it is, and what it says."""

    def __init__(self, page, line, text):
        self.place, self.text, self.value = f"{page}:{line}", text, yaml.safe_load(text)


def shown(page, text):
    """Those that are quoted from a file, which a suite uses, are left to it."""
    found = (it for it in FENCE.finditer(text) if not QUOTED.search(text[: it.start()]))
    return [Shown(page, line_of(text, it), it[1]) for it in found]


class Workshop:
    """Where overlays are built: beside a clone, as a reader's would be, and in one."""

    def __init__(self, directory, build, binaries):
        self.directory, self.build, self.binaries = directory, build, binaries
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(ROOT / "deploy", directory / "accord" / "deploy", ignore=shutil.ignore_patterns("secrets", "guide"))

    def built(self, check, place, at, kustomization):
        """The objects of a kustomization at this place."""
        directory = self.directory / at
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in FILES.items():
            (directory / name).write_text(text)
        (directory / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        run = subprocess.run([*self.build, directory], capture_output=True, text=True)
        check.expect(run.returncode == 0, f"{place}: does not build: {run.stderr.strip()}")
        return list(yaml.safe_load_all(run.stdout)) if run.returncode == 0 else []


def check_yaml(check, workshop):
    """Every block is of one of these kinds."""
    count, beside = 0, None
    for path in sorted(GUIDE.rglob("*.md")):
        for block in shown(path.name, path.read_text()):
            count += 1
            value = block.value
            if value.get("kind") == "Kustomization":
                beside = value
                workshop.built(check, block.place, "mine", value)
            elif value.keys() <= {"components", "configMapGenerator"}:
                check_addition(check, workshop, block, beside)
            elif "kind" in value:
                check_object(check, workshop, block, beside)
            elif value.keys() == {"spec"}:
                check_patch(check, workshop, block)
            elif value.keys() == {"volumes"}:
                check_pod(check, block)
            else:
                check.expect(False, f"{block.place}: nothing tells what this YAML is")
    return count


def check_addition(check, workshop, block, beside):
    """What is added to a kustomization: the reader's own beside the clone, or an overlay in it."""
    if any(it.startswith("../accord/") for it in block.value.get("components", ["../accord/"])):
        workshop.built(check, block.place, "mine", joined(beside, block.value))
    else:
        base = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": ["../production"]}
        workshop.built(check, block.place, "accord/deploy/kubernetes/overlays/mine", joined(base, block.value))


def joined(base, addition):
    return {**base, **{key: [*base.get(key, ()), *values] for key, values in addition.items()}}


def check_object(check, workshop, block, beside):
    """An object of its own. Those that a RoleBinding names are in the manifests, with the component that the page adds."""
    for finding in schemas.own_findings(block.place, block.value):
        check.expect(False, finding)
    if block.value["kind"] != "RoleBinding":
        return
    components = ["../accord/deploy/kubernetes/components/endpoint-slices"]
    objects = workshop.built(check, block.place, "mine", joined(beside, {"components": components}))
    known = {(it["kind"], it["metadata"]["name"], it["metadata"].get("namespace")) for it in objects}
    named = [(it["kind"], it["name"], it["namespace"]) for it in block.value["subjects"]]
    role = block.value["roleRef"]
    for it in [*named, (role["kind"], role["name"], None)]:
        check.expect(it in known, f"{block.place}: the manifests have no {it[0]} {it[1]}")


def check_patch(check, workshop, block):
    """A patch of the gateway: what comes out is valid, and the gateway knows each variable."""
    base = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": ["../production"]}
    patch = {"target": {"kind": "Deployment", "name": "accord-gateway"}, "patch": patch_of(block.value)}
    objects = workshop.built(check, block.place, "accord/deploy/kubernetes/overlays/mine", {**base, "patches": [patch]})
    for patched in objects:
        if patched["kind"] == "Deployment" and patched["metadata"]["name"] == "accord-gateway":
            for finding in schemas.own_findings(block.place, patched):
                check.expect(False, finding)
    (container,) = block.value["spec"]["template"]["spec"]["containers"]
    values = {it["name"]: it["value"] for it in container["env"]}
    run = subprocess.run([workshop.binaries / "accord-gateway", "config", "print"], env=values, capture_output=True, text=True)
    check.expect(run.returncode == 0, f"{block.place}: the gateway refuses these variables: {run.stderr.strip()}")


def patch_of(value):
    named = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "accord-gateway"}}
    return yaml.safe_dump({**named, **value})


def check_pod(check, block):
    """A part of a pod."""
    container = {"name": "any", "image": "any:1", "volumeMounts": [{"name": it["name"], "mountPath": f"/{it['name']}"} for it in block.value["volumes"]]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, "spec": {"containers": [container], **block.value}}
    for finding in schemas.own_findings(block.place, pod):
        check.expect(False, finding)
