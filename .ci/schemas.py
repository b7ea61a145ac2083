"""Validates manifests strictly: Kubernetes' own kinds against its schemas, each version from OLDEST on; others against those that
their projects publish. A kind that nobody knows is a finding: none is skipped.

Usage: schemas.py MANIFESTS... --custom-kinds DIRECTORY

In DIRECTORY custom_kinds/ was installed. Prints one line per finding, and exits with 1 if there is one.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys

import kubernetes_validate
import yaml

# The oldest version of Kubernetes that the manifests are for.
OLDEST = (1, 30)
# Groups whose kinds Kubernetes does not know.
CUSTOM = ("cert-manager.io", "gateway.networking.k8s.io", "monitoring.coreos.com")


def versions():
    """Every version that the validator carries, from the oldest that the manifests are for."""
    carried = pathlib.Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    named = (re.fullmatch(r"v(\d+)\.(\d+)\.0-local-strict", it.name) for it in carried.iterdir())
    return sorted(version for it in named if it and (version := (int(it[1]), int(it[2]))) >= OLDEST)


def own_findings(place, document):
    for major, minor in versions():
        try:
            kubernetes_validate.validate(document, f"{major}.{minor}", strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            yield f"{place}: Kubernetes {major}.{minor}: {error.message}"


def custom_findings(documents, directory):
    given = json.dumps([{"place": place, "document": document} for place, document in documents])
    checked = subprocess.run(["node", directory / "check.mjs"], input=given, capture_output=True, text=True)
    if checked.returncode not in (0, 1) or checked.stderr:
        yield f"custom kinds could not be checked: {checked.stderr.strip()}"
    yield from checked.stdout.splitlines()


def findings_of(documents, directory):
    custom = [(place, it) for place, it in documents if it["apiVersion"].partition("/")[0] in CUSTOM]
    own = [pair for pair in documents if pair not in custom]
    found = [finding for place, document in own for finding in own_findings(place, document)]
    return found + list(custom_findings(custom, directory) if custom else ()), len(own), len(custom)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifests", type=pathlib.Path, nargs="+")
    parser.add_argument("--custom-kinds", type=pathlib.Path, required=True, help="where custom_kinds/ was installed")
    arguments = parser.parse_args()
    documents = {}
    for path in arguments.manifests:
        for it in filter(None, yaml.safe_load_all(path.read_text())):
            # Overlays have most objects in common.
            documents.setdefault(json.dumps(it), (f"{path}: {it['kind']} {it['metadata']['name']}", it))
    findings, own, custom = findings_of(list(documents.values()), arguments.custom_kinds)
    print("\n".join(findings), end="\n" if findings else "")
    span = "to".join(f" {major}.{minor} " for major, minor in (versions()[0], versions()[-1])).strip()
    print(f"{own} objects of Kubernetes {span}, {custom} of other kinds, {len(findings)} findings")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
