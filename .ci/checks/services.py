"""Services against the pods behind them: selectors, ports, protocols, and that names in URLs and certificates are theirs."""

from urllib.parse import urlsplit

from .findings import BINARIES, config_maps, flatten, port_of, ports_of, selects

# The Services that everybody finds, each with the listener behind it. Headless are those whose callers balance calls.
SERVED = (
    ("gateway", "accord-gateway", "grpc"),
    ("gateway", "accord-gateway-internal", "internal"),
    ("auth", "accord-auth", "grpc"),
    ("cache", "accord-cache", "grpc"),
)
HEADLESS = ("accord-gateway-internal", "accord-auth", "accord-cache")
# Where certificates are asked for, and of which binaries: all others of the same authority are kept out.
CLIENTS = (("auth", "listen", ("gateway", "cache")), ("cache", "listen", ("gateway",)), ("gateway", "internal", ()))
# The Service that a proxy calls without TLS (production.md, "What is plaintext").
PLAIN = "accord-gateway"
SECTIONS = {"grpc": "listen", "internal": "internal", "admin": "admin"}


def check(check, manifests, configs):
    for name, service_name, listener in SERVED:
        service = manifests.get("Service", service_name)
        if check.expect(service, f"service {service_name}: is missing") and configs[name]:
            check_standard(check, service_name, service, ports_of(configs[name]).get(listener), listener)
    for service in manifests.of_kind("Service"):
        check_service(check, manifests, service, configs)
    check_plaintext(check, manifests)
    check_clients(check, manifests, configs)
    check_workloads(check, manifests)
    for name in BINARIES:
        check_addresses(check, manifests, name, configs)


def check_standard(check, name, service, port, listener):
    served = {it["targetPort"]: it["port"] for it in service["spec"]["ports"]}
    check.expect(served == {listener: port}, f"service {name}: serves {served}, not {port}")
    in_cluster = service["spec"].get("type", "ClusterIP") == "ClusterIP"
    check.expect(in_cluster, f"service {name}: is of type {service['spec'].get('type')}; another Service publishes")
    is_headless = service["spec"].get("clusterIP") == "None"
    check.expect(is_headless == (name in HEADLESS), f"service {name}: its callers {'see no pod' if not is_headless else 'see pods'}")


def check_service(check, manifests, service, configs):
    """Of whatever kind: it selects the pods of one binary, at ports that they listen on, in the protocol that they speak."""
    place, spec = f"service {service['metadata']['name']}", service["spec"]
    owners = [name for name in BINARIES if spec["selector"].items() <= manifests.labels(name).items()]
    if not check.expect(len(owners) == 1, f"{place}: selects {spec['selector']}, the pods of {owners}"):
        return
    dual = spec.get("ipFamilyPolicy") == "PreferDualStack"
    check.expect(dual, f"{place}: has one family of addresses in a cluster of two")
    config = configs[owners[0]]
    for port in spec["ports"] if config else ():
        section = config.get(SECTIONS.get(port["targetPort"]), {})
        if not check.expect("address" in section, f"{place}: leads to {port['targetPort']}, where nothing listens"):
            continue
        every = section["address"].startswith((":", "[::]"))
        check.expect(every, f"{place}: {port['targetPort']} listens on {section['address']}, not on both families of addresses")
        plain = "http" if port["targetPort"] == "admin" else "kubernetes.io/h2c"
        wanted = "https" if section.get("tls", {}).get("cert_file") else plain
        check.expect(port.get("appProtocol") == wanted, f"{place}: says {port.get('appProtocol')}, and {wanted} is spoken")
        if spec.get("type", "ClusterIP") != "ClusterIP":
            public = owners[0] == "gateway" and port["targetPort"] == "grpc" and wanted == "https"
            check.expect(public, f"{place}: publishes {port['targetPort']} of {owners[0]} in {wanted}")


def check_plaintext(check, manifests):
    """Where certificates are on both sides, one way goes without TLS, which the guide names: a proxy's to the public listener."""
    if not manifests.of_kind("Certificate"):
        return
    for service in manifests.of_kind("Service"):
        plain = [it["name"] for it in service["spec"]["ports"] if it.get("appProtocol") == "kubernetes.io/h2c"]
        is_public = service["metadata"]["name"] == PLAIN
        check.expect(is_public or not plain, f"service {service['metadata']['name']}: {plain} is called in plaintext")
    for route in manifests.of_kind("GRPCRoute", "HTTPRoute"):
        backends = {it["name"] for rule in route["spec"]["rules"] for it in rule["backendRefs"]}
        place = f"{route['kind']} {route['metadata']['name']}"
        check.expect(backends == {PLAIN}, f"{place}: leads to {sorted(backends)}, and a proxy passes on to {PLAIN} alone")


def check_clients(check, manifests, configs):
    """A listener that asks for certificates lets in the binaries that call it, and none besides, by the names in their certificates."""
    for name, listener, callers in CLIENTS:
        tls = (configs[name] or {}).get(listener, {}).get("tls", {})
        if "client_ca_file" not in tls or not manifests.of_kind("Certificate"):
            continue
        place, file = f"accord-{name} {listener}", tls.get("client_names_file", "")
        sources = [manifests.get("ConfigMap", it) for volume in manifests.pod(name)["volumes"] for it in config_maps(volume)]
        texts = [it["data"][file.rpartition("/")[2]] for it in sources if it and file.rpartition("/")[2] in it.get("data", {})]
        if not check.expect(len(texts) == 1, f"{place}: lets in whoever the authority has signed (client_names_file {file!r})"):
            continue
        listed = {line.strip().removeprefix("dns:") for line in texts[0].splitlines()}
        for caller in BINARIES:
            names = (manifests.get("Certificate", f"accord-{caller}") or {"spec": {"dnsNames": []}})["spec"]["dnsNames"]
            is_in = bool(listed & set(names))
            check.expect(is_in == (caller in callers), f"{place}: {'lets in' if is_in else 'keeps out'} accord-{caller}")


def check_workloads(check, manifests):
    for name in BINARIES:
        workload, labels = manifests.workload(name), manifests.labels(name)
        policy = manifests.get("NetworkPolicy", f"accord-{name}")
        selectors = {
            "workload": workload["spec"]["selector"] if workload else None,
            "network policy": policy["spec"]["podSelector"] if policy else None,
        }
        for owner, selector in selectors.items():
            right = selector and selects(selector, labels)
            check.expect(right, f"{owner} accord-{name}: selects {selector}, but its pods carry {labels}")


def check_addresses(check, manifests, name, configs):
    """A URL names a neighbour by a Service of it, with the port and the scheme that the neighbour listens with."""
    for key, value in flatten(configs[name] or {}):
        url = urlsplit(value) if isinstance(value, str) and "//accord-" in value else None
        service = manifests.get("Service", (url.hostname or "").partition(".")[0]) if url else None
        if not url or not check.expect(service, f"{name}: {key} is {value}, and there is no such Service"):
            continue
        callees = [it for it in BINARIES if service["spec"]["selector"].items() <= manifests.labels(it).items()]
        if callees:
            check_address(check, manifests, f"{name}: {key} is {value}", url, callees[0], configs)


def check_address(check, manifests, place, url, callee, configs):
    listen = (configs[callee] or {"listen": {"address": ":0"}})["listen"]
    check.expect(url.port == port_of(listen), f"{place}, but accord-{callee} listens on {port_of(listen)}")
    scheme = "https" if listen.get("tls", {}).get("cert_file") else "http"
    check.expect(url.scheme == scheme, f"{place}, but accord-{callee} speaks {scheme}")
    if scheme == "https":
        check_certificate(check, manifests, callee, url.hostname)


def check_certificate(check, manifests, callee, host):
    """The certificate that the callee shows is for the name by which it is called; one made by hand is not known here."""
    secrets = {volume["secret"]["secretName"] for volume in manifests.pod(callee)["volumes"] if "secret" in volume}
    for certificate in manifests.of_kind("Certificate"):
        if certificate["spec"]["secretName"] in secrets and certificate["spec"].get("usages"):
            names = certificate["spec"]["dnsNames"]
            check.expect(host in names, f"Certificate accord-{callee}: is for {names}, and called as {host}")
