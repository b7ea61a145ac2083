"""Each pod against its binary: arguments, files, variables, ports, probes, the end, what it may do to its node."""

import pathlib

from .findings import CALLERS, UPSTREAMS, config_maps, flatten, once, ports_of, seconds, variables

# What a binary may need beside the pre-stop pause and its own grace: to send its last figures, and to end blocking work.
MARGIN_SECONDS = 5
# What a process takes beside what its configuration bounds, as the guide says.
PROCESS_BYTES = 64 << 20
QUANTITIES = {"": 1, "k": 1000, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
# The rights with which upstreams are found in Kubernetes.
ENDPOINT_SLICES = "accord-endpoint-slices"


def check(check, manifests, name):
    """The configuration that the pod's binary has, or None where it can't be told."""
    workload = manifests.workload(name)
    place = f"{workload['kind']} accord-{name}"
    pod = manifests.pod(name)
    container = pod["containers"][0]
    files = config_files(check, place, name, container["args"])
    texts = {file.name: mounted_file(check, place, pod, container, file, manifests) for file in files}
    if None in texts.values():
        return None
    config = check.effective(place, name, texts, variables(container))
    if config is None:
        return None
    check.serviceable(place, name, texts, variables(container), beside(manifests, pod))
    ports = ports_of(config)
    declared = {port["name"]: port["containerPort"] for port in container["ports"]}
    check.expect(declared == ports, f"{place}: declares {declared}, but the binary listens on {ports}")
    check_probes(check, place, container, ports)
    check_end(check, place, pod, container, config)
    check_files(check, place, pod, container, config)
    check_hardening(check, place, pod)
    check_token(check, place, name, pod, config, manifests)
    check_memory(check, place, name, container, config)
    check_images(check, name, place, pod)
    check_preparations(check, place, pod, texts)
    return config


def config_files(check, place, name, arguments):
    """The files that the arguments name, each with a --config: the binary's own, upstreams where it calls any, and others."""
    wanted = [f"{name}.toml", UPSTREAMS] if name in CALLERS else [f"{name}.toml"]
    flags = [part for file in wanted for part in ("--config", f"/etc/accord/{file}")]
    begins = ["serve", *flags]
    is_right = arguments[: len(begins)] == begins and set(arguments[1::2]) == {"--config"} and len(arguments) % 2 == 1
    check.expect(is_right, f"{place}: starts with {arguments}, not with serve, {flags} and further --config alone")
    named = [path for flag, path in zip(arguments, arguments[1:]) if flag == "--config"]
    return [pathlib.PurePosixPath(path) for path in named]


def mounted_file(check, place, pod, container, file, manifests):
    """The text of a file that a ConfigMap puts into the container."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        sources = config_maps(volumes[mount["name"]])
        if not sources or str(file.parent) != mount["mountPath"]:
            continue
        maps = {source: manifests.get("ConfigMap", source) for source in sources}
        holding = [source for source, it in maps.items() if it and file.name in it.get("data", {})]
        if check.expect(len(holding) == 1, f"{place}: one of {sources} should hold {file.name}, but {holding} do"):
            return maps[holding[0]]["data"][file.name]
        return None
    check.expect(False, f"{place}: nothing is mounted where {file} should be")
    return None


def beside(manifests, pod):
    """All texts of the ConfigMaps that the pod mounts, by the names of their files."""
    sources = [source for volume in pod["volumes"] for source in config_maps(volume)]
    maps = [manifests.get("ConfigMap", source) or {} for source in sources]
    return {file: text for it in maps for file, text in it.get("data", {}).items()}


def check_probes(check, place, container, ports):
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]
        if "grpc" in asked:
            check.expect(asked["grpc"]["port"] == ports["admin"], f"{place}: {probe} asks port {asked['grpc']['port']}")
        else:
            known = asked["httpGet"]["port"] == "admin" and asked["httpGet"]["path"] in ("/livez", "/readyz")
            check.expect(known, f"{place}: {probe} asks {asked['httpGet']}")
    check.expect("grpc" in container["readinessProbe"], f"{place}: readiness is not asked by gRPC health")


def check_end(check, place, pod, container, config):
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = pause + seconds(config["grace"]) + MARGIN_SECONDS
    given = pod["terminationGracePeriodSeconds"]
    check.expect(given >= needed, f"{place}: is killed after {given} s, but may need {needed} s to end")


def check_files(check, place, pod, container, config):
    """Every absolute path in the configuration lies below a mount: the root is read-only and empty."""
    mounts = [pathlib.PurePosixPath(mount["mountPath"]) for mount in container["volumeMounts"]]
    # Kubernetes itself mounts what its API is asked with. Where no upstream is found by it, and no service account logs in, the
    # files are not read.
    is_mounted = pod.get("automountServiceAccountToken", True)
    for key, value in flatten(config):
        path = path_in(value)
        if key.startswith(("discovery.kubernetes.", "kubernetes.")):
            check.expect(is_mounted or not needs_account(config), f"{place}: {key} is {value}, and no token is mounted")
        elif path:
            below = any(path.is_relative_to(mount) for mount in mounts)
            check.expect(below, f"{place}: {key} is {value}, where nothing is mounted")


def path_in(value):
    text = str(value).removeprefix("sqlite://").removeprefix("sqlite:").partition("?")[0]
    return pathlib.PurePosixPath(text) if text.startswith("/") else None


def needs_account(config):
    finds_upstreams = any("+k8s://" in str(value) for key, value in flatten(config) if key == "upstream.urls")
    return finds_upstreams or any(key == "kubernetes.audience" for key, _ in flatten(config))


def check_token(check, place, name, pod, config, manifests):
    """Nobody has a token of the API server who does not ask it. Without the key Kubernetes mounts one."""
    may_ask = needs_account(config) or (name in CALLERS and manifests.get("ClusterRole", ENDPOINT_SLICES))
    is_mounted = pod.get("automountServiceAccountToken", True)
    check.expect(may_ask or not is_mounted, f"{place}: has a token of the API server, and does not ask it (automountServiceAccountToken)")


def check_memory(check, place, name, container, config):
    """What a binary may hold by its configuration, and what its process takes besides, fits its limit of memory."""
    limit = container.get("resources", {}).get("limits", {}).get("memory")
    held = {"gateway": ("limits.max_memory", "near.max_bytes"), "cache": ("engine.capacity_bytes",)}.get(name, ())
    values = dict(flatten(config))
    parts = [values[key] for key in held if key in values]
    needed = sum(parts) + PROCESS_BYTES
    fits = limit is None or size(limit) >= needed
    check.expect(fits, f"{place}: has {limit} of memory, and may hold {needed} bytes ({', '.join(held)} and 64 MiB)")


def size(quantity):
    number = quantity.rstrip("kKMGTi")
    return int(number) * QUANTITIES[quantity[len(number) :]]


def check_hardening(check, place, pod):
    context = pod.get("securityContext", {})
    check.expect(context.get("runAsNonRoot"), f"{place}: may run as root")
    profile = context.get("seccompProfile", {}).get("type")
    check.expect(profile == "RuntimeDefault", f"{place}: may make every system call (seccompProfile {profile})")
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        context, where = container.get("securityContext", {}), f"{place} {container['name']}"
        check.expect(context.get("readOnlyRootFilesystem"), f"{where}: can write to its root")
        check.expect(context.get("allowPrivilegeEscalation") is False, f"{where}: can get more rights")
        check.expect(context.get("capabilities", {}).get("drop") == ["ALL"], f"{where}: keeps capabilities")
        resources = container.get("resources", {})
        check.expect("memory" in resources.get("limits", {}), f"{where}: has no limit of memory")
        check.expect({"cpu", "memory"} <= set(resources.get("requests", {})), f"{where}: requests no CPU or no memory")


def check_images(check, name, place, pod):
    """An image without a tag is the newest one, which a node asks a registry for although it has it."""
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        wanted, image = f"accord-{name}:{check.version(name)}", container["image"].rpartition("/")[2]
        check.expect(image == wanted, f"{place}: runs {container['image']}, not {wanted}")


def check_preparations(check, place, pod, texts):
    """Runs what the pod runs before its binary, with its arguments, on a store and secrets of our own."""
    preparations = [(it["name"], it["image"], it["args"]) for it in pod.get("initContainers", ())]
    for name, error in once(check.prepared, preparations, texts):
        check.expect(not error, f"{place}: {name} fails: {error}")
