"""Holds manifests and the compose file against the binaries: ports, probes, arguments, files, variables, selectors.

Usage: manifests.py MANIFESTS COMPOSE --binaries DIRECTORY

MANIFESTS is what kustomize built; beside COMPOSE is the Dockerfile. What a binary does with its configuration files is
asked of the binary itself, by its `config print`. Prints one line per finding and exits with 1 if there is one.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib

import yaml

BINARIES = ("gateway", "auth", "cache")
# What keeps the pods of each. Only a StatefulSet never has two of one name at a time, and of the cache there is one.
WORKLOADS = {"gateway": "Deployment", "auth": "Deployment", "cache": "StatefulSet"}
# The binaries that call upstreams, and the file that tells them which.
CALLERS = ("gateway", "cache")
UPSTREAMS = "upstreams.toml"
# What a binary may need beside the pre-stop pause and its own grace: to send its last figures, and to end blocking work.
MARGIN_SECONDS = 5
# What the documentation says by which label pods of any namespace may do what: be called, call, and scrape.
UPSTREAM_LABEL = "accord/upstream"
OPEN_TO = (
    ("gateway", 8082, "accord/member"),
    ("auth", 8090, "accord/member"),
    ("gateway", 8081, "accord/scraper"),
    ("auth", 8091, "accord/scraper"),
    ("cache", 8101, "accord/scraper"),
)
# Who calls whom.
NEIGHBOURS = (("gateway", "auth"), ("gateway", "cache"), ("cache", "auth"))
UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60}


class Check:
    def __init__(self, binaries):
        self.binaries = pathlib.Path(binaries)
        self.findings = []

    def expect(self, truth, finding):
        if not truth:
            self.findings.append(finding)
        return truth

    def effective(self, place, name, texts, environment=None):
        """What a binary makes of files, given by name and text, and of variables; None if it refuses them."""
        with tempfile.TemporaryDirectory() as directory:
            command = [self.binaries / f"accord-{name}", "config", "print"]
            for file, text in texts.items():
                path = pathlib.Path(directory, file)
                path.write_text(text)
                command += ["--config", path]
            printed = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})})
        if not self.expect(printed.returncode == 0, f"{place}: accord-{name} refuses it: {printed.stderr.strip()}"):
            return None
        return tomllib.loads(printed.stdout)


def image_arguments(dockerfile, name):
    """What the image of a binary starts it with."""
    stage = dockerfile.read_text().partition(f" AS {name}\n")[2].partition("\nFROM ")[0]
    commands = [line.removeprefix("CMD ") for line in stage.splitlines() if line.startswith("CMD ")]
    return json.loads(commands[-1]) if commands else []


def config_files(check, place, name, arguments):
    """The files that the arguments name, each with a --config: the binary's own, and upstreams where it calls any."""
    wanted = [f"{name}.toml", UPSTREAMS] if name in CALLERS else [f"{name}.toml"]
    flags = [part for file in wanted for part in ("--config", f"/etc/accord/{file}")]
    check.expect(arguments == ["serve", *flags], f"{place}: starts with {arguments}, not with serve and {flags}")
    named = [path for flag, path in zip(arguments, arguments[1:]) if flag == "--config"]
    return [pathlib.PurePosixPath(path) for path in named]


def ports_of(config):
    """The ports that a binary listens on. The internal one is the gateway's alone, where it has an address."""
    sections = {"grpc": config["listen"], "admin": config["admin"], "internal": config.get("internal", {})}
    return {name: port_of(section) for name, section in sections.items() if "address" in section}


def port_of(section):
    return int(section["address"].rpartition(":")[2])


def seconds(text):
    return sum(float(part.rstrip("ms in")) * UNITS[part.lstrip("0123456789.")] for part in text.split())


def check_pod(check, name, workload, objects):
    place = f"{workload['kind']} accord-{name}"
    pod = workload["spec"]["template"]["spec"]
    container = pod["containers"][0]
    files = config_files(check, place, name, container["args"])
    texts = {file.name: mounted_file(check, place, pod, container, file, objects) for file in files}
    if None in texts.values():
        return
    environment = {variable["name"]: variable.get("value", "x") for variable in container.get("env", ())}
    config = check.effective(place, name, texts, environment)
    if config is None:
        return
    ports = ports_of(config)
    declared = {port["name"]: port["containerPort"] for port in container["ports"]}
    check.expect(declared == ports, f"{place}: declares {declared}, but the binary listens on {ports}")
    check_probes(check, place, container, ports)
    check_end(check, place, pod, container, config)
    check_files(check, place, pod, container, config)
    check_images(check, name, place, pod)
    check_preparations(check, place, pod, texts)
    check_service(check, name, workload, ports, objects)


def check_one_process(check, objects):
    """Of two caches behind one name, each would answer what a write through the other made invalid."""
    named = {kind: it.get("spec", {}) for (kind, name), it in objects.items() if name == "accord-cache"}
    kinds = [kind for kind, spec in named.items() if "template" in spec]
    check.expect(kinds == ["StatefulSet"], f"accord-cache: {kinds} keep its pods, but only a StatefulSet never has two")
    for kind in kinds:
        replicas = named[kind].get("replicas", 1)
        check.expect(replicas == 1, f"{kind} accord-cache: has {replicas} replicas, and can have one")


def check_shared_upstreams(check, objects):
    """Gateway and cache know the same services, and nothing lets one reach them and not the other."""
    sources, limits = {}, {}
    for name in CALLERS:
        workload = objects.get((WORKLOADS[name], f"accord-{name}"))
        pod = workload["spec"]["template"]["spec"] if workload else {}
        sources[name] = [source for volume in pod.get("volumes", ()) for source in config_maps(volume)]
        labels = labels_of(objects, name)
        limits[name] = [rule for rule in egress_rules(labels, objects) if reaches(rule, {UPSTREAM_LABEL: "true"}, name)]
    shared = [source for source in sources["gateway"] if source in sources["cache"]]
    holding = [source for source in shared if UPSTREAMS in objects["ConfigMap", source].get("data", {})]
    check.expect(len(holding) == 1, f"{UPSTREAMS}: gateway and cache share it from {holding}, not from one ConfigMap")
    check.expect(
        limits["gateway"] and limits["gateway"] == limits["cache"],
        f"network policies: the gateway may reach {limits['gateway']}, the cache {limits['cache']}",
    )


def policies_of(labels, objects):
    policies = [document for (kind, _), document in objects.items() if kind == "NetworkPolicy"]
    return [it for it in policies if selects(it["spec"]["podSelector"], labels)]


def selects(selector, labels):
    """Whether pods with these labels are selected. Of expressions, the manifests use one operator."""
    expressions = selector.get("matchExpressions", ())
    is_in = all(it["operator"] == "In" and labels.get(it["key"]) in it["values"] for it in expressions)
    return is_in and selector.get("matchLabels", {}).items() <= labels.items()


def limits_egress(policy):
    return "Egress" in policy["spec"].get("policyTypes", ()) or "egress" in policy["spec"]


def egress_rules(labels, objects):
    return [rule for it in policies_of(labels, objects) if limits_egress(it) for rule in it["spec"].get("egress") or ()]


def reaches(rule, labels, namespace=None):
    """Whether a rule names pods with these labels; with a namespace, whether also in others than Accord's own."""
    peers = [peer for peer in rule.get("to", rule.get("from", ())) if selects(peer.get("podSelector", {}), labels)]
    return any(namespace is None or peer.get("namespaceSelector") == {} for peer in peers)


def check_network(check, objects):
    """The ways that docs and configuration name are open, and no other."""
    labels = {name: labels_of(objects, name) for name in BINARIES}
    for name in BINARIES:
        limiting = [it for it in policies_of(labels[name], objects) if limits_egress(it)]
        check.expect(limiting, f"network policies: nothing limits what accord-{name} may reach")
        ports = {port["port"] for rule in egress_rules(labels[name], objects) for port in rule.get("ports", ())}
        check.expect(53 in ports, f"network policies: accord-{name} can't resolve names")
    for caller, callee in NEIGHBOURS:
        rules = [rule for rule in egress_rules(labels[caller], objects) if reaches(rule, labels[callee])]
        check.expect(rules, f"network policies: accord-{caller} can't reach accord-{callee}")
    for name, container_port, label in OPEN_TO:
        ports = objects["NetworkPolicy", f"accord-{name}"]["spec"]["ingress"]
        rules = [rule for rule in ports if container_port in [port["port"] for port in rule["ports"]]]
        place = f"network policy accord-{name}: port {container_port}"
        is_open = any(reaches(rule, {label: "true"}, "another") for rule in rules)
        check.expect(is_open, f"{place} is not open to pods of other namespaces with {label}")
        check.expect(not any(reaches(rule, {}, "another") for rule in rules), f"{place} is open to every pod")
        check.expect(all("from" in rule for rule in rules), f"{place} is open to everybody")


def labels_of(objects, name):
    workload = objects.get((WORKLOADS[name], f"accord-{name}"))
    return workload["spec"]["template"]["metadata"]["labels"] if workload else {}


def check_accounts(check, objects):
    """What is given to the account of one binary is not given to the others."""
    accounts = {}
    for name in BINARIES:
        workload = objects.get((WORKLOADS[name], f"accord-{name}"))
        account = workload["spec"]["template"]["spec"].get("serviceAccountName") if workload else None
        check.expect(("ServiceAccount", account) in objects, f"accord-{name}: its account {account} is not there")
        check.expect(account not in accounts, f"accord-{name}: shares the account {account} with {accounts.get(account)}")
        accounts[account] = name


def check_images(check, name, place, pod):
    """An image without a tag is the newest one, which a node asks a registry for although it has it."""
    command = [check.binaries / f"accord-{name}", "--version"]
    version = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        wanted = f"accord-{name}:{version}"
        check.expect(container["image"] == wanted, f"{place}: runs {container['image']}, not {wanted}")


def check_preparations(check, place, pod, texts):
    """Runs what the pod runs before its binary, with its arguments, on a store and secrets of our own."""
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        for file, text in texts.items():
            (directory / file).write_text(text)
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
    return f"{flag}={directory / pathlib.PurePosixPath(path).name}"


def mounted_file(check, place, pod, container, file, objects):
    """The text of a file that a ConfigMap puts into the container."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        sources = config_maps(volumes[mount["name"]])
        if not sources or str(file.parent) != mount["mountPath"]:
            continue
        holding = [source for source in sources if file.name in objects["ConfigMap", source].get("data", {})]
        if check.expect(len(holding) == 1, f"{place}: one of {sources} should hold {file.name}, but {holding} do"):
            return objects["ConfigMap", holding[0]]["data"][file.name]
        return None
    check.expect(False, f"{place}: nothing is mounted where {file} should be")
    return None


def config_maps(volume):
    """The names of the ConfigMaps that a volume shows: one, or several in one directory."""
    sources = volume["projected"]["sources"] if "projected" in volume else [volume]
    return [source["configMap"]["name"] for source in sources if "configMap" in source]


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
    # Kubernetes itself mounts what its API is asked with. Where no upstream needs that, the files are not read.
    is_mounted = pod.get("automountServiceAccountToken", True)
    needs_account = any("+k8s://" in str(value) for key, value in flatten(config) if key == "upstream.urls")
    for key, value in flatten(config):
        path = path_in(value)
        if key.startswith("discovery.kubernetes."):
            check.expect(is_mounted or not needs_account, f"{place}: {key} is {value}, and no token is mounted")
        elif path:
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


def check_service(check, name, workload, ports, objects):
    service = objects.get(("Service", f"accord-{name}"))
    if not check.expect(service, f"service accord-{name}: is missing"):
        return
    labels = workload["spec"]["template"]["metadata"]["labels"]
    for owner, selector in (
        ("service", service["spec"]["selector"]),
        (workload["kind"], workload["spec"]["selector"]["matchLabels"]),
        ("network policy", objects["NetworkPolicy", f"accord-{name}"]["spec"]["podSelector"]["matchLabels"]),
    ):
        selects = selector.items() <= labels.items()
        check.expect(selects, f"{owner} accord-{name}: selects {selector}, but its pods carry {labels}")
    served = {port["targetPort"]: port["port"] for port in service["spec"]["ports"]}
    check.expect(served == {"grpc": ports["grpc"]}, f"service accord-{name}: serves {served}, not {ports['grpc']}")
    if "internal" in ports:
        check_internal_service(check, name, service, ports["internal"], objects)
    policy = objects["NetworkPolicy", f"accord-{name}"]
    allowed = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    check.expect(allowed == set(ports.values()), f"network policy accord-{name}: allows {allowed}, not {ports}")


def check_internal_service(check, name, public, port, objects):
    """Workloads have a service of their own, in the cluster only: what publishes the public listener must not publish it."""
    place = f"service accord-{name}-internal"
    service = objects.get(("Service", f"accord-{name}-internal"))
    if not check.expect(service, f"{place}: is missing"):
        return
    spec = service["spec"]
    check.expect(spec["selector"] == public["spec"]["selector"], f"{place}: selects {spec['selector']}")
    check.expect(spec.get("type", "ClusterIP") == "ClusterIP", f"{place}: is of type {spec.get('type')}")
    served = {port["targetPort"]: port["port"] for port in spec["ports"]}
    check.expect(served == {"internal": port}, f"{place}: serves {served}, not {port}")
    rules = objects["NetworkPolicy", f"accord-{name}"]["spec"]["ingress"]
    open_rules = [rule for rule in rules if "from" not in rule and port in [it["port"] for it in rule["ports"]]]
    check.expect(not open_rules, f"network policy accord-{name}: lets everybody in at {port}")


def check_addresses(check, names, config, place):
    """A URL names a neighbour by its service, with the port that the neighbour listens on."""
    for key, value in flatten(config):
        for name, port in names.items():
            if isinstance(value, str) and f"//accord-{name}" in value:
                right = value.rstrip("/").endswith(f"//accord-{name}:{port}")
                check.expect(right, f"{place}: {key} is {value}, but accord-{name} listens on {port}")


def mounted_here(service, directory):
    """What a service's volumes show, by where it is in the container."""
    parts = [volume.split(":") for volume in service["volumes"]]
    return {pathlib.PurePosixPath(target): directory / source for source, target, *_ in parts}


def check_compose(check, path):
    compose = yaml.safe_load(path.read_text())
    for name in BINARIES:
        service = compose["services"].get(f"accord-{name}")
        place = f"{path} accord-{name}"
        if not check.expect(service, f"{place}: is missing"):
            continue
        check.expect(service["build"]["target"] == name, f"{place}: builds {service['build']['target']}")
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
        workload = objects.get((WORKLOADS[name], f"accord-{name}"))
        if check.expect(workload, f"{WORKLOADS[name]} accord-{name}: is missing"):
            check_pod(check, name, workload, objects)
    check_one_process(check, objects)
    check_shared_upstreams(check, objects)
    check_network(check, objects)
    check_accounts(check, objects)
    configs = {}
    for (kind, _), document in objects.items():
        for file, text in document.get("data", {}).items() if kind == "ConfigMap" else ():
            name = file.removesuffix(".toml")
            if file.endswith(".toml") and name in BINARIES:
                configs[name] = check.effective(file, name, {file: text})
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
