"""What an object names is there: ConfigMaps, Secrets with their keys, accounts, issuers, backends, parents, owners of pods."""

import pathlib

from . import made_secrets
from .findings import BINARIES, CALLERS, UPSTREAMS, config_maps, flatten, ports_of, selects

SECRETS = (pathlib.PurePosixPath("/run/secrets"), pathlib.PurePosixPath("/run/tls"), pathlib.PurePosixPath("/run/public-tls"))


def check(check, manifests, configs):
    secrets = secrets_of(manifests)
    for name in BINARIES:
        pod = manifests.pod(name)
        if pod:
            check_volumes(check, manifests, name, pod, secrets)
            check_variables(check, name, pod, secrets)
            check_secret_files(check, name, pod, configs[name] or {}, secrets)
            check_stores(check, name, configs[name] or {})
    check_accounts(check, manifests)
    check_upstreams(check, manifests)
    check_issuers(check, manifests)
    check_routes(check, manifests)
    check_listeners(check, manifests, secrets)
    check_monitors(check, manifests, configs)
    check_rights(check, manifests)


def secrets_of(manifests):
    """The keys of each Secret: those of the guide's tables, and those that a Certificate has written."""
    secrets = made_secrets.known()
    for certificate in manifests.of_kind("Certificate"):
        secrets.setdefault(certificate["spec"]["secretName"], set()).update(made_secrets.TLS)
    return secrets


def check_volumes(check, manifests, name, pod, secrets):
    for volume in pod["volumes"]:
        for source in config_maps(volume):
            check.expect(manifests.get("ConfigMap", source), f"accord-{name}: the ConfigMap {source} is not there")
        if "secret" in volume:
            secret = volume["secret"]["secretName"]
            check.expect(secret in secrets, f"accord-{name}: neither the guide nor a Certificate makes the Secret {secret}")
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            check.expect(manifests.get("PersistentVolumeClaim", claim), f"accord-{name}: the claim {claim} is not there")
    mounted = {mount["name"] for it in (*pod.get("initContainers", ()), *pod["containers"]) for mount in it["volumeMounts"]}
    idle = {volume["name"] for volume in pod["volumes"]} ^ mounted
    check.expect(not idle, f"accord-{name}: {sorted(idle)} are volumes without a mount, or mounts without a volume")


def check_variables(check, name, pod, secrets):
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        for variable in container.get("env", ()):
            source = variable.get("valueFrom", {}).get("secretKeyRef")
            is_there = not source or source["key"] in secrets.get(source["name"], ())
            known = is_there or source.get("optional")
            check.expect(known, f"accord-{name}: {variable['name']} is of {source}, which the guide does not make")


def check_secret_files(check, name, pod, config, secrets):
    """A file below a mounted Secret is one of its keys."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in pod["containers"][0]["volumeMounts"]:
        secret = volumes[mount["name"]].get("secret", {}).get("secretName")
        if not secret:
            continue
        for key, value in flatten(config):
            for path in paths(value):
                known = path.parent != pathlib.PurePosixPath(mount["mountPath"]) or path.name in secrets.get(secret, ())
                check.expect(known, f"accord-{name}: {key} is {value}, and the Secret {secret} has no {path.name}")


def check_stores(check, name, config):
    """No store is called in plaintext: passwords go there, and what is kept."""
    for key, value in flatten(config):
        text = str(value)
        if text.startswith("redis://"):
            check.expect(False, f"accord-{name}: {key} is {value}, which goes in plaintext; write rediss://")
        elif text.startswith(("postgres://", "postgresql://")):
            verified = "sslmode=verify-full" in text.partition("?")[2].split("&")
            check.expect(verified, f"accord-{name}: {key} is {value}, without sslmode=verify-full")


def paths(value):
    """The files that a value names: itself, or in the query of a URL."""
    text = str(value)
    candidates = [text, *(part.partition("=")[2] for part in text.partition("?")[2].split("&"))]
    return [pathlib.PurePosixPath(it) for it in candidates if it.startswith("/run/")]


def check_accounts(check, manifests):
    """What is given to the account of one binary is not given to the others."""
    accounts = {}
    for name in BINARIES:
        account = manifests.pod(name).get("serviceAccountName")
        check.expect(manifests.get("ServiceAccount", account), f"accord-{name}: its account {account} is not there")
        check.expect(account not in accounts, f"accord-{name}: shares the account {account} with {accounts.get(account)}")
        accounts[account] = name


def check_upstreams(check, manifests):
    """Gateway and cache know the same services: from one ConfigMap."""
    sources = {name: [it for volume in manifests.pod(name).get("volumes", ()) for it in config_maps(volume)] for name in CALLERS}
    shared = [source for source in sources["gateway"] if source in sources["cache"]]
    holding = [it for it in shared if UPSTREAMS in (manifests.get("ConfigMap", it) or {}).get("data", {})]
    check.expect(len(holding) == 1, f"{UPSTREAMS}: gateway and cache share it from {holding}, not from one ConfigMap")


def check_issuers(check, manifests):
    """An Issuer is here; a ClusterIssuer is the cluster's."""
    for certificate in manifests.of_kind("Certificate"):
        issuer, place = certificate["spec"]["issuerRef"], f"Certificate {certificate['metadata']['name']}"
        is_there = issuer.get("kind") == "ClusterIssuer" or manifests.get("Issuer", issuer["name"])
        check.expect(is_there, f"{place}: the Issuer {issuer['name']} is not there")
    written = [it["spec"]["secretName"] for it in manifests.of_kind("Certificate")]
    check.expect(len(written) == len(set(written)), f"two Certificates write one Secret: {sorted(written)}")
    for issuer in manifests.of_kind("Issuer"):
        secret = issuer["spec"].get("ca", {}).get("secretName")
        is_made = not secret or secret in written
        check.expect(is_made, f"Issuer {issuer['metadata']['name']}: no Certificate makes its Secret {secret}")


def check_routes(check, manifests):
    for route in manifests.of_kind("GRPCRoute", "HTTPRoute"):
        place = f"{route['kind']} {route['metadata']['name']}"
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                service = manifests.get("Service", backend["name"])
                ports = [port["port"] for port in service["spec"]["ports"]] if service else []
                check.expect(backend["port"] in ports, f"{place}: {backend['name']} serves {ports}, not {backend['port']}")
        for parent in route["spec"]["parentRefs"]:
            gateway = manifests.get("Gateway", parent["name"]) or {"spec": {"listeners": []}}
            listeners = [it for it in gateway["spec"]["listeners"] if it["name"] == parent["sectionName"]]
            hosts = [it["hostname"] for it in listeners]
            right = hosts and set(route["spec"]["hostnames"]) <= set(hosts)
            check.expect(right, f"{place}: {parent} listens for {hosts}, not for {route['spec']['hostnames']}")


def check_listeners(check, manifests, secrets):
    """A listener that ends TLS shows a certificate, which an issuer of cert-manager writes or a Secret of the guide has."""
    for gateway in manifests.of_kind("Gateway"):
        annotations = gateway["metadata"].get("annotations", {})
        is_issued = any(f"cert-manager.io/{issuer}" in annotations for issuer in ("issuer", "cluster-issuer"))
        for listener in gateway["spec"]["listeners"]:
            place = f"Gateway {gateway['metadata']['name']} {listener['name']}"
            check.expect(listener["protocol"] == "HTTPS", f"{place}: speaks {listener['protocol']} to the world")
            named = [it["name"] for it in listener.get("tls", {}).get("certificateRefs", ())]
            check.expect(named, f"{place}: shows no certificate (certificateRefs)")
            unknown = [it for it in named if not is_issued and it not in secrets]
            check.expect(not unknown, f"{place}: nothing makes the certificates {unknown}")


def check_rights(check, manifests):
    """What may be asked of the API server, and by whom: endpoints are watched, in namespaces that a RoleBinding there names."""
    for role in manifests.of_kind("ClusterRole", "Role"):
        rights = [(it["apiGroups"], it["resources"], sorted(it["verbs"])) for it in role["rules"]]
        wanted = [(["discovery.k8s.io"], ["endpointslices"], ["list", "watch"])]
        check.expect(rights == wanted, f"{role['kind']} {role['metadata']['name']}: gives {rights}, and {wanted} is needed")
    for binding in manifests.of_kind("ClusterRoleBinding", "RoleBinding"):
        check.expect(False, f"{binding['kind']} {binding['metadata']['name']}: is the namespace's with the services to give")


def check_monitors(check, manifests, configs):
    """Prometheus finds all three, at the port and the path with their metrics."""
    for monitor in manifests.of_kind("PodMonitor", "ServiceMonitor"):
        endpoints = monitor["spec"].get("podMetricsEndpoints", monitor["spec"].get("endpoints"))
        read = {it.get("path", "/metrics") for it in endpoints}
        check.expect(read == {"/metrics"}, f"{monitor['kind']}: reads {sorted(read)}, and metrics are at /metrics")
    for name in BINARIES:
        workload, annotations = manifests.workload(name), {}
        if workload and configs[name]:
            annotations = workload["spec"]["template"]["metadata"].get("annotations", {})
            wanted = {"prometheus.io/port": str(ports_of(configs[name])["admin"]), "prometheus.io/path": "/metrics"}
            told = wanted.items() <= annotations.items()
            check.expect(told, f"accord-{name}: its annotations tell Prometheus {annotations}, not {wanted}")
    for monitor in manifests.of_kind("PodMonitor"):
        found = [name for name in BINARIES if selects(monitor["spec"]["selector"], manifests.labels(name))]
        check.expect(found == list(BINARIES), f"PodMonitor: finds {found}")
        for name in found:
            ports = [port["name"] for port in manifests.pod(name)["containers"][0]["ports"]]
            asked = {it["port"] for it in monitor["spec"]["podMetricsEndpoints"]}
            check.expect(asked == {"admin"} and asked <= set(ports), f"PodMonitor: asks {asked} of accord-{name}, not admin")
    for monitor in manifests.of_kind("ServiceMonitor"):
        services = manifests.of_kind("Service")
        found = [it for it in services if selects(monitor["spec"]["selector"], it["metadata"].get("labels", {}))]
        chosen = [name for name in BINARIES for it in found if selects({"matchLabels": it["spec"]["selector"]}, manifests.labels(name))]
        check.expect(sorted(chosen) == sorted(BINARIES), f"ServiceMonitor: finds {chosen}")
        asked = {it["port"] for it in monitor["spec"]["endpoints"]}
        served = {port["name"] for it in found for port in it["spec"]["ports"]}
        check.expect(asked == served == {"admin"}, f"ServiceMonitor: asks {asked}, its Services serve {served}")
