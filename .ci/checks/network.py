"""Who may reach whom: NetworkPolicies evaluated as a cluster does, and held against a table of the ways that there are."""

from .findings import BINARIES, selects

# Pods of other namespaces, by the label that opens ways to or for them; and what is no pod.
LABELS = {
    "member": {"accord/member": "true"},
    "upstream": {"accord/upstream": "true"},
    "scraper": {"accord/scraper": "true"},
    "postgresql": {"accord/postgresql": "true"},
    "valkey": {"accord/valkey": "true"},
    "collector": {"accord/collector": "true"},
    "other pod": {},
}
OUTSIDE = "outside"

# The arrows of the picture: caller, callee, port (of TCP where it says no other protocol), and whether there is such a way. What depends on the configuration is in
# `configured`.
ARROWS = (
    (OUTSIDE, "gateway", 8080, True),
    ("other pod", "gateway", 8080, True),
    ("gateway", "auth", 8090, True),
    ("gateway", "cache", 8100, True),
    ("cache", "auth", 8090, True),
    ("gateway", "upstream", 9000, True),
    ("cache", "upstream", 9000, True),
    ("member", "gateway", 8082, True),
    ("member", "auth", 8090, True),
    ("scraper", "gateway", 8081, True),
    ("scraper", "auth", 8091, True),
    ("scraper", "cache", 8101, True),
    *((name, OUTSIDE, port, True) for name in BINARIES for port in (53, "53/UDP")),
    *((caller, "gateway", port, False) for caller in (OUTSIDE, "other pod", "auth", "cache") for port in (8081, 8082)),
    *((caller, "auth", port, False) for caller in (OUTSIDE, "other pod", "upstream") for port in (8090, 8091)),
    *((caller, "cache", port, False) for caller in (OUTSIDE, "other pod", "member", "auth") for port in (8100, 8101)),
    ("member", "gateway", 8081, False),
    ("member", "auth", 8091, False),
    ("scraper", "gateway", 8082, False),
    ("scraper", "auth", 8090, False),
    ("scraper", "cache", 8100, False),
    ("auth", "gateway", 8080, False),
    ("auth", "upstream", 9000, False),
    ("gateway", "postgresql", 5432, False),
    ("auth", "valkey", 6379, False),
    *((name, "other pod", 80, False) for name in BINARIES),
    *((OUTSIDE, "gateway", port, False) for port in ("8080/UDP", "8080/SCTP")),
    ("gateway", "auth", "8090/UDP", False),
    *((name, OUTSIDE, 80, False) for name in BINARIES),
)


def configured(manifests, configs):
    """The ways that the configuration needs, and that are closed where it does not."""
    stores = {
        ("auth", "postgresql", 5432): configs["auth"]["store"]["url"].startswith("postgres"),
        ("cache", "postgresql", 5432): "url" in configs["cache"].get("log", {}),
        ("gateway", "valkey", 6379): "url" in configs["gateway"].get("shared_limits", {}),
        ("cache", "valkey", 6379): "url" in configs["cache"].get("second_level", {}),
    }
    # The overlay with stores of its own has a way to a collector, which everybody may send to.
    has_collector = manifests.get("NetworkPolicy", "accord-postgresql") is not None
    collector = {(name, "collector", 4317): has_collector for name in BINARIES}
    api = {(name, OUTSIDE, 443): bool(manifests.pod(name).get("automountServiceAccountToken")) for name in BINARIES}
    return [(*way, is_needed) for way, is_needed in {**stores, **collector, **api}.items()]


def check(check, manifests, configs):
    """Every arrow, and that nothing of Accord is left unlimited."""
    for name in BINARIES:
        for direction in ("Ingress", "Egress"):
            limiting = policies(manifests, name, direction)
            check.expect(limiting, f"network policies: nothing limits the {direction.lower()} of accord-{name}")
    for caller, callee, port, is_open in (*ARROWS, *configured(manifests, configs)):
        found = reaches(manifests, caller, callee, port)
        problem = "can't reach" if is_open else "reaches"
        check.expect(found == is_open, f"network policies: {caller} {problem} {callee} at port {port}")


def reaches(manifests, caller, callee, port):
    """Whether both sides let it: what limits the caller where it is one of ours, and what limits the callee."""
    return permitted(manifests, caller, callee, port, "Egress") and permitted(manifests, callee, caller, port, "Ingress")


def permitted(manifests, owner, other, port, direction):
    if owner not in BINARIES:
        return True
    limiting = policies(manifests, owner, direction)
    rules = [rule for policy in limiting for rule in policy["spec"].get(direction.lower()) or ()]
    peers = "to" if direction == "Egress" else "from"
    return not limiting or any(covers(rule, port) and names(manifests, rule.get(peers), other) for rule in rules)


def policies(manifests, name, direction):
    labels = manifests.labels(name)
    all_of_them = manifests.of_kind("NetworkPolicy")
    chosen = [it["spec"] for it in all_of_them if selects(it["spec"]["podSelector"], labels)]
    # Without policyTypes, a policy is about ingress, and about egress where it has such rules.
    default = lambda spec: ["Ingress", "Egress"] if "egress" in spec else ["Ingress"]
    return [{"spec": spec} for spec in chosen if direction in spec.get("policyTypes", default(spec))]


def covers(rule, port):
    """Whether a rule is about a port; one that says no protocol is about TCP."""
    number, _, protocol = str(port).partition("/")
    in_range = lambda it: "port" not in it or it["port"] <= int(number) <= it.get("endPort", it["port"])
    ports = rule.get("ports")
    return not ports or any(it.get("protocol", "TCP") == (protocol or "TCP") and in_range(it) for it in ports)


def names(manifests, peers, other):
    """Whether peers of a rule name somebody; a rule without peers names everybody."""
    if not peers:
        return True
    if other == OUTSIDE:
        return any("ipBlock" in peer for peer in peers)
    is_own = other in BINARIES
    labels = manifests.labels(other) if is_own else LABELS[other]
    # Of namespaces the manifests select none by its labels: all of them, or their own.
    lets_in = lambda peer: is_own or peer.get("namespaceSelector") == {}
    selecting = [peer for peer in peers if "ipBlock" not in peer and lets_in(peer)]
    return any(selects(peer.get("podSelector", {}), labels) for peer in selecting)
