"""Holds manifests and the compose file against the binaries: ports, probes, arguments, files, variables, selectors.

Usage: manifests.py MANIFESTS COMPOSE --binaries DIRECTORY

MANIFESTS is what kustomize built. What a binary does with a configuration is asked of the binary itself, by its
`config print`. Prints one line per finding and exits with 1 if there is one.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib

import yaml

BINARIES = ("gateway", "auth", "cache")
# What a binary may need beside the pre-stop pause and its own grace: to send its last figures, and to end blocking work.
MARGIN_SECONDS = 5
UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60}


class Check:
    def __init__(self, binaries):
        self.binaries = pathlib.Path(binaries)
        self.findings = []

    def expect(self, truth, finding):
        if not truth:
            self.findings.append(finding)
        return truth

    def effective(self, place, name, text, environment=None):
        """The configuration that a binary makes of a file's text and of variables; None if it refuses them."""
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text)
            file.flush()
            command = [self.binaries / f"accord-{name}", "config", "print", "--config", file.name]
            printed = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})})
        if not self.expect(printed.returncode == 0, f"{place}: accord-{name} refuses it: {printed.stderr.strip()}"):
            return None
        return tomllib.loads(printed.stdout)


def ports_of(config):
    return {"grpc": port_of(config["listen"]), "admin": port_of(config["admin"])}


def port_of(section):
    return int(section["address"].rpartition(":")[2])


def seconds(text):
    return sum(float(part.rstrip("ms in")) * UNITS[part.lstrip("0123456789.")] for part in text.split())


def check_pod(check, name, deployment, objects):
    place = f"deployment accord-{name}"
    pod = deployment["spec"]["template"]["spec"]
    container = pod["containers"][0]
    arguments = container["args"]
    check.expect(arguments[:2] == ["serve", "--config"], f"{place}: starts with {arguments}")
    file = pathlib.PurePosixPath(arguments[2])
    text = mounted_file(check, place, pod, container, file, objects)
    if text is None:
        return
    environment = {variable["name"]: variable.get("value", "x") for variable in container.get("env", ())}
    config = check.effective(place, name, text, environment)
    if config is None:
        return
    ports = ports_of(config)
    declared = {port["name"]: port["containerPort"] for port in container["ports"]}
    check.expect(declared == ports, f"{place}: declares {declared}, but the binary listens on {ports}")
    check_probes(check, place, container, ports)
    check_end(check, place, pod, container, config)
    check_files(check, place, pod, container, config)
    check_images(check, name, place, pod)
    check_preparations(check, place, pod, text)
    check_service(check, name, deployment, ports, objects)


def check_images(check, name, place, pod):
    """An image without a tag is the newest one, which a node asks a registry for although it has it."""
    command = [check.binaries / f"accord-{name}", "--version"]
    version = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        wanted = f"accord-{name}:{version}"
        check.expect(container["image"] == wanted, f"{place}: runs {container['image']}, not {wanted}")


def check_preparations(check, place, pod, text):
    """Runs what the pod runs before its binary, with its arguments, on a store and secrets of our own."""
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        (directory / "config.toml").write_text(text)
        environment = {**os.environ, "ACCORD_AUTH__STORE__URL": f"sqlite://{directory}/store.db"}
        for container in pod.get("initContainers", ()):
            arguments = [there_to_here(argument, directory) for argument in container["args"]]
            command = [check.binaries / container["image"].partition(":")[0], *arguments]
            run = subprocess.run(command, capture_output=True, text=True, env=environment)
            check.expect(run.returncode == 0, f"{place}: {container['name']} fails: {run.stderr.strip()}")


def there_to_here(argument, directory):
    """A flag that names a file in the container, made to name one of ours."""
    flag, _, path = argument.partition("=")
    if not path.startswith("/"):
        return argument
    return f"{flag}={directory / ('config.toml' if flag == '--config' else pathlib.PurePosixPath(path).name)}"


def mounted_file(check, place, pod, container, file, objects):
    """The text of a file that a ConfigMap puts into the container."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        source = volumes[mount["name"]].get("configMap")
        if source and str(file.parent) == mount["mountPath"]:
            data = objects["ConfigMap", source["name"]]["data"]
            if check.expect(file.name in data, f"{place}: {source['name']} holds no {file.name}"):
                return data[file.name]
            return None
    check.expect(False, f"{place}: nothing is mounted where {file} should be")
    return None


def check_probes(check, place, container, ports):
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]
        if "grpc" in asked:
            check.expect(asked["grpc"]["port"] == ports["admin"], f"{place}: {probe} asks port {asked['grpc']['port']}")
        else:
            known = asked["httpGet"]["port"] == "admin" and asked["httpGet"]["path"] in ("/livez", "/readyz")
            check.expect(known, f"{place}: {probe} asks {asked['httpGet']}")


def check_end(check, place, pod, container, config):
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = pause + seconds(config["grace"]) + MARGIN_SECONDS
    given = pod["terminationGracePeriodSeconds"]
    check.expect(given >= needed, f"{place}: is killed after {given} s, but may need {needed} s to end")


def check_files(check, place, pod, container, config):
    """Every absolute path in the configuration lies below a mount: the root is read-only and empty."""
    mounts = [pathlib.PurePosixPath(mount["mountPath"]) for mount in container["volumeMounts"]]
    for key, value in flatten(config):
        path = path_in(value)
        if path:
            below = any(path.is_relative_to(mount) for mount in mounts)
            check.expect(below, f"{place}: {key} is {value}, where nothing is mounted")


def path_in(value):
    text = str(value).removeprefix("sqlite://").removeprefix("sqlite:").partition("?")[0]
    return pathlib.PurePosixPath(text) if text.startswith("/") else None


def flatten(value, path=""):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flatten(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in value:
            yield from flatten(inner, path)
    else:
        yield path, value


def check_service(check, name, deployment, ports, objects):
    service = objects.get(("Service", f"accord-{name}"))
    if not check.expect(service, f"service accord-{name}: is missing"):
        return
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for owner, selector in (
        ("service", service["spec"]["selector"]),
        ("deployment", deployment["spec"]["selector"]["matchLabels"]),
        ("network policy", objects["NetworkPolicy", f"accord-{name}"]["spec"]["podSelector"]["matchLabels"]),
    ):
        selects = selector.items() <= labels.items()
        check.expect(selects, f"{owner} accord-{name}: selects {selector}, but its pods carry {labels}")
    served = {port["targetPort"]: port["port"] for port in service["spec"]["ports"]}
    check.expect(served == {"grpc": ports["grpc"]}, f"service accord-{name}: serves {served}, not {ports['grpc']}")
    policy = objects["NetworkPolicy", f"accord-{name}"]
    allowed = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    check.expect(allowed == set(ports.values()), f"network policy accord-{name}: allows {allowed}, not {ports}")


def check_addresses(check, names, config, place):
    """A URL names a neighbour by its service, with the port that the neighbour listens on."""
    for key, value in flatten(config):
        for name, port in names.items():
            if isinstance(value, str) and f"//accord-{name}" in value:
                right = value.rstrip("/").endswith(f"//accord-{name}:{port}")
                check.expect(right, f"{place}: {key} is {value}, but accord-{name} listens on {port}")


def check_compose(check, path):
    compose = yaml.safe_load(path.read_text())
    for name in BINARIES:
        service = compose["services"].get(f"accord-{name}")
        place = f"{path} accord-{name}"
        if not check.expect(service, f"{place}: is missing"):
            continue
        check.expect(service["build"]["target"] == name, f"{place}: builds {service['build']['target']}")
        source, _, target = service["volumes"][0].partition(":")
        file = path.parent / source
        wanted = f"/etc/accord/{name}.toml"
        mounted = target.removesuffix(":ro") == wanted
        check.expect(mounted, f"{place}: the image starts with {wanted}, not with {target}")
        if not check.expect(file.is_file(), f"{place}: there is no {file}"):
            continue
        config = check.effective(place, name, file.read_text(), dict(service.get("environment", {})))
        given = seconds(str(service["stop_grace_period"]))
        needed = seconds(config["grace"]) + MARGIN_SECONDS if config else 0
        check.expect(given >= needed, f"{place}: is killed after {given} s, but may need {needed} s to end")
        for published in service.get("ports", ()) if config else ():
            inside = int(published.rpartition(":")[2])
            check.expect(inside in ports_of(config).values(), f"{place}: publishes {inside}, where nothing listens")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifests", type=pathlib.Path)
    parser.add_argument("compose", type=pathlib.Path)
    parser.add_argument("--binaries", required=True, help="the directory of the built binaries")
    arguments = parser.parse_args()

    check = Check(arguments.binaries)
    documents = [document for document in yaml.safe_load_all(arguments.manifests.read_text()) if document]
    objects = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    for name in BINARIES:
        deployment = objects.get(("Deployment", f"accord-{name}"))
        if check.expect(deployment, f"deployment accord-{name}: is missing"):
            check_pod(check, name, deployment, objects)
    configs = {}
    for (kind, _), document in objects.items():
        for file, text in document.get("data", {}).items() if kind == "ConfigMap" else ():
            name = file.removesuffix(".toml")
            if file.endswith(".toml") and name in BINARIES:
                configs[name] = check.effective(file, name, text)
    ports = {name: port_of(config["listen"]) for name, config in configs.items() if config}
    for name, config in configs.items():
        check_addresses(check, ports, config or {}, f"{name}.toml")
    check_compose(check, arguments.compose)

    for finding in check.findings:
        print(finding)
    print(f"{arguments.manifests}: {len(documents)} objects, {len(check.findings)} findings")
    sys.exit(1 if check.findings else 0)


if __name__ == "__main__":
    main()
