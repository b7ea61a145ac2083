"""What goes on while a node is drained, a version rolled out or a pod added: replicas, budgets, spread, rollouts."""

from .findings import BINARIES, seconds, selects

# Seconds for which CoreDNS lets the addresses of a Service be kept, as kubeadm sets it up.
DNS_TTL = 30


def check(check, manifests, configs):
    for name in BINARIES:
        workload = manifests.workload(name)
        if not workload:
            continue
        scaler = scaler_of(manifests, workload)
        least = scaler["spec"].get("minReplicas", 1) if scaler else workload["spec"].get("replicas", 1)
        check_store(check, name, workload, least)
        if scaler:
            check_scaler(check, name, workload, scaler)
        if least > 1:
            check_budget(check, manifests, name, least)
            check_spread(check, manifests, name)
            check_rollout(check, manifests, name, configs[name])
    check_cache(check, manifests, configs)


def scaler_of(manifests, workload):
    wanted = {"kind": workload["kind"], "name": workload["metadata"]["name"]}
    scalers = manifests.of_kind("HorizontalPodAutoscaler")
    return next((it for it in scalers if wanted.items() <= it["spec"]["scaleTargetRef"].items()), None)


def check_scaler(check, name, workload, scaler):
    place, spec = f"HorizontalPodAutoscaler accord-{name}", scaler["spec"]
    said = "replicas" not in workload["spec"]
    check.expect(said, f"{place}: the {workload['kind']} says `replicas` as well, so that each apply undoes its scaling")
    check.expect(1 < spec["minReplicas"] < spec["maxReplicas"], f"{place}: scales from {spec['minReplicas']} to {spec['maxReplicas']}")
    requests = workload["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
    for metric in spec["metrics"]:
        asked = metric["resource"]["name"]
        check.expect(asked in requests, f"{place}: is about {asked}, of which the pods request nothing")


def check_budget(check, manifests, name, least):
    place = f"accord-{name}"
    labels = manifests.labels(name)
    budgets = [it for it in manifests.of_kind("PodDisruptionBudget") if selects(it["spec"]["selector"], labels)]
    if not check.expect(len(budgets) == 1, f"{place}: {len(budgets)} PodDisruptionBudgets select its {least} pods, not one"):
        return
    spec = budgets[0]["spec"]
    gone = spec["maxUnavailable"] if "maxUnavailable" in spec else least - spec["minAvailable"]
    check.expect(0 < gone < least, f"PodDisruptionBudget {place}: lets {gone} of {least} pods go: none can, or all do")


def check_spread(check, manifests, name):
    labels, pod = manifests.labels(name), manifests.pod(name)
    constraints = pod.get("topologySpreadConstraints", ())
    for key, why in (("kubernetes.io/hostname", "node"), ("topology.kubernetes.io/zone", "zone")):
        ours = [it for it in constraints if it["topologyKey"] == key and selects(it["labelSelector"], labels)]
        check.expect(ours, f"accord-{name}: nothing keeps its pods off one {why}: no topologySpreadConstraint over {key}")


def check_rollout(check, manifests, name, config):
    """Who asked DNS before a rollout knows the new pods before the last of the old ones is gone."""
    workload = manifests.workload(name)
    ready = workload["spec"].get("minReadySeconds", 0)
    place = f"{workload['kind']} accord-{name}"
    if workload["kind"] == "Deployment":
        check.expect(ready >= DNS_TTL, f"{place}: goes on {ready} s after a pod is ready, and its addresses may be kept for {DNS_TTL} s")
        return
    # A StatefulSet ends a pod before it begins the next, and an old one is there all the while. But a cache that starts keeps
    # nothing for one lease of its log: without a pause, a rollout would leave replicas alone that all keep nothing.
    lease = seconds((config or {}).get("log", {}).get("lease", "0s"))
    check.expect(ready > lease, f"{place}: goes on {ready} s after a pod is ready, which keeps nothing for a lease of {lease:g} s")


def check_store(check, name, workload, least):
    """A volume that one pod at a time mounts: the old pod ends before the new one begins, and there is no second."""
    place = f"{workload['kind']} accord-{name}"
    volumes = workload["spec"]["template"]["spec"]["volumes"]
    if not any("persistentVolumeClaim" in volume for volume in volumes):
        return
    check.expect(least == 1, f"{place}: {least} replicas share one volume, which one pod mounts")
    strategy = workload["spec"].get("strategy", {}).get("type", "RollingUpdate")
    ends_first = workload["kind"] == "StatefulSet" or strategy == "Recreate"
    check.expect(ends_first, f"{place}: its embedded store has one writer, and a {strategy} begins a second")


def check_cache(check, manifests, configs):
    """Of two caches behind one name that share no log, each would answer what a write through the other made invalid."""
    named = {kind: it.get("spec", {}) for (kind, name), it in manifests.objects.items() if name == "accord-cache"}
    kinds = [kind for kind, spec in named.items() if "template" in spec]
    check.expect(kinds == ["StatefulSet"], f"accord-cache: {kinds} keep its pods, but only a StatefulSet never has two of one name")
    shares = "url" in (configs["cache"] or {}).get("log", {})
    for kind in kinds:
        spec = named[kind]
        replicas = spec.get("replicas", 1)
        check.expect(shares or replicas == 1, f"{kind} accord-cache: has {replicas} replicas, and without `log.url` can have one")
        rolls = spec.get("updateStrategy", {}).get("type", "RollingUpdate") == "RollingUpdate"
        check.expect(rolls, f"{kind} accord-cache: a new version is not rolled out")
        one_by_one = spec.get("updateStrategy", {}).get("rollingUpdate", {}).get("maxUnavailable", 1) == 1
        check.expect(one_by_one, f"{kind} accord-cache: a rollout ends several replicas at a time, whose keys all move")
