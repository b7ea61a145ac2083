"""Writes what is in a program: a software bill of materials in CycloneDX, of the packages that are compiled into it.

Usage: sbom.py NAME... --directory DIRECTORY

For each NAME of `gateway`, `auth`, `cache` writes accord-NAME.cdx.json. Packages are those that cargo resolves for Linux, without what
only tests and build scripts use; hashes are those of Cargo.lock.
"""

import argparse
import json
import pathlib
import subprocess
import tomllib

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

ROOT = pathlib.Path(__file__).parents[1]
PLATFORM = "x86_64-unknown-linux-gnu"


def metadata():
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", PLATFORM]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)


def hashes():
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    return {(it["name"], it["version"]): it.get("checksum") for it in lock["package"]}


def compiled_into(root, nodes):
    """The ids of all that a package is made of, and what each of them needs."""
    needs, left = {}, [root]
    while left:
        package = left.pop()
        if package in needs:
            continue
        normal = [it["pkg"] for it in nodes[package]["deps"] if any(kind["kind"] is None for kind in it["dep_kinds"])]
        needs[package] = normal
        left += normal
    return needs


def component(package, checksums, kind):
    checksum = checksums.get((package["name"], package["version"]))
    # An old notation of cargo's has a slash in the place of OR.
    license = (package["license"] or "").replace("/", " OR ")
    compound = any(word in license for word in (" OR ", " AND ", " WITH "))
    return Component(
        type=kind,
        name=package["name"],
        version=package["version"],
        bom_ref=f"{package['name']}@{package['version']}",
        purl=PackageURL("cargo", name=package["name"], version=package["version"]) if package["source"] else None,
        licenses=[LicenseExpression(license) if compound else DisjunctiveLicense(id=license)] if license else (),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=checksum)] if checksum else (),
    )


def bill(name, known, checksums):
    packages = {it["id"]: it for it in known["packages"]}
    root = next(it["id"] for it in known["packages"] if it["name"] == f"accord-{name}")
    needs = compiled_into(root, {it["id"]: it for it in known["resolve"]["nodes"]})
    parts = {
        it: component(packages[it], checksums, ComponentType.APPLICATION if it == root else ComponentType.LIBRARY)
        for it in needs
    }
    bom = Bom(components=[part for it, part in parts.items() if it != root])
    bom.metadata.component = parts[root]
    for package, needed in needs.items():
        bom.register_dependency(parts[package], [parts[it] for it in needed])
    return JsonV1Dot6(bom).output_as_string(indent=1), len(parts) - 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=("gateway", "auth", "cache"))
    parser.add_argument("--directory", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    known, checksums = metadata(), hashes()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    for name in arguments.names:
        text, count = bill(name, known, checksums)
        wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
        if wrong:
            raise SystemExit(f"the bill of accord-{name} is not valid: {wrong}")
        (arguments.directory / f"accord-{name}.cdx.json").write_text(text)
        print(f"accord-{name}: {count} packages")


if __name__ == "__main__":
    main()
