"""Holds manifests and the compose file against the binaries and against each other: what they mean, not only how they look.

Usage: manifests.py MANIFESTS... --compose FILE --binaries DIRECTORY --descriptors FILE

MANIFESTS are what kustomize built, a file for each set; beside the compose file is the Dockerfile. What a binary does with its
configuration is asked of the binary itself, by `config print` and `check`. Prints one line per finding, and exits with 1 if
there is one.
"""

import argparse
import pathlib
import sys

from checks import availability, compose, network, pods, references, services
from checks.findings import BINARIES, WORKLOADS, Check, Manifests


def check_manifests(check, manifests):
    configs = dict.fromkeys(BINARIES)
    for name in BINARIES:
        if check.expect(manifests.workload(name), f"{WORKLOADS[name]} accord-{name}: is missing"):
            configs[name] = pods.check(check, manifests, name)
    services.check(check, manifests, configs)
    references.check(check, manifests, configs)
    availability.check(check, manifests, configs)
    if all(configs.values()):
        network.check(check, manifests, configs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifests", type=pathlib.Path, nargs="+")
    parser.add_argument("--compose", type=pathlib.Path, required=True)
    parser.add_argument("--binaries", required=True, help="the directory of the built binaries")
    parser.add_argument("--descriptors", required=True, help="the descriptor set of the upstream echo")
    arguments = parser.parse_args()

    failed = 0
    for path in arguments.manifests:
        check, manifests = Check(arguments.binaries, arguments.descriptors), Manifests.read(path.read_text())
        check_manifests(check, manifests)
        failed += report(path, check, f"{len(manifests.documents)} objects")
    check = Check(arguments.binaries, arguments.descriptors)
    compose.check(check, arguments.compose)
    failed += report(arguments.compose, check, f"{len(BINARIES)} services")
    sys.exit(1 if failed else 0)


def report(path, check, what):
    for finding in check.findings:
        print(f"{path}: {finding}")
    print(f"{path}: {what}, {len(check.findings)} findings")
    return len(check.findings)


if __name__ == "__main__":
    main()
