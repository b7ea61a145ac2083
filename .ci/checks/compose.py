"""The compose file against the binaries, their images and the configuration that it mounts."""

import json
import pathlib

import yaml

from .findings import BINARIES, ports_of, seconds
from .pods import MARGIN_SECONDS, config_files

USER = "65532:65532"


def check(check, path):
    compose = yaml.safe_load(path.read_text())
    for name in BINARIES:
        service = compose["services"].get(f"accord-{name}")
        place = f"{path} accord-{name}"
        if not check.expect(service, f"{place}: is missing"):
            continue
        check.expect(service["build"]["target"] == name, f"{place}: builds {service['build']['target']}")
        check_user(check, path.parent / "Dockerfile", name)
        check.expect(service.get("read_only") is True, f"{place}: can write to its root")
        mounts = mounted_here(service, path.parent)
        files = config_files(check, place, name, image_arguments(path.parent / "Dockerfile", name))
        missing = [str(file) for file in files if not mounts.get(file, path.parent / "nothing").is_file()]
        if not check.expect(not missing, f"{place}: the image starts with {missing}, not mounted or not there"):
            continue
        texts = {file.name: mounts[file].read_text() for file in files}
        config = check.effective(place, name, texts, dict(service.get("environment", {})))
        given = seconds(str(service["stop_grace_period"]))
        needed = seconds(config["grace"]) + MARGIN_SECONDS if config else 0
        check.expect(given >= needed, f"{place}: is killed after {given} s, but may need {needed} s to end")
        for published in service.get("ports", ()) if config else ():
            inside, ports = int(published.rpartition(":")[2]), ports_of(config)
            check.expect(inside in ports.values(), f"{place}: publishes {inside}, where nothing listens")
            check.expect(inside != ports.get("internal"), f"{place}: publishes {inside}, which is for workloads alone")


def check_user(check, dockerfile, name):
    """The image's own user counts wherever nobody says another, and a number is one that Kubernetes can hold against root."""
    user = said_last(dockerfile.read_text(), name, "USER")
    check.expect(user == USER, f"{dockerfile}: the image {name} runs as {user or 'root'}, not as {USER}")


def image_arguments(dockerfile, name):
    """What the image of a binary starts it with."""
    return json.loads(said_last(dockerfile.read_text(), name, "CMD") or "[]")


def said_last(dockerfile, name, instruction):
    """What an instruction says at last in the stage of an image; None where it is not there."""
    stage = dockerfile.partition(f" AS {name}\n")[2].partition("\nFROM ")[0]
    said = [line.removeprefix(f"{instruction} ") for line in stage.splitlines() if line.startswith(f"{instruction} ")]
    return said[-1] if said else None


def mounted_here(service, directory):
    """What a service's volumes show, by where it is in the container."""
    parts = [volume.split(":") for volume in service["volumes"]]
    return {pathlib.PurePosixPath(target): directory / source for source, target, *_ in parts}
