"""Each check of manifests refuses what it is there for: the production manifests are broken in one place, and the place is told.

Asks the environment: MANIFESTS (what kustomize built of the overlay production, with Gateway API, rights to
endpoints, and monitors), BINARIES,
DESCRIPTORS, and CUSTOM_KINDS, as in `.ci/run`.
"""

import copy
import os
import pathlib
import unittest

import manifests
import schemas
from checks.findings import Check, Manifests

TEXT = pathlib.Path(os.environ["MANIFESTS"]).read_text()
WHOLE = Manifests.read(TEXT)


def pod(it, name):
    return it.workload(name)["spec"]["template"]["spec"]


def container(it, name):
    return pod(it, name)["containers"][0]


def variable(it, name, key):
    return next(variable for variable in container(it, name)["env"] if variable["name"] == key)


def rules(it, policy, direction):
    return it.get("NetworkPolicy", policy)["spec"][direction]


def without(it, kind, name):
    it.documents.remove(it.objects.pop((kind, name)))


def config_text(it, file, before, after):
    for document in it.of_kind("ConfigMap"):
        text = document["data"].get(file)
        if text and before in text:
            document["data"][file] = text.replace(before, after)
            return
    raise AssertionError(f"{file} has no {before}")


def replace_policy_labels(it, name, labels):
    it.get("NetworkPolicy", name)["spec"]["podSelector"] = {"matchLabels": labels}


# What is broken, how, and what must be said of it.
BROKEN = {
    "service_selector_of_no_pod": (
        lambda it: it.get("Service", "accord-auth")["spec"].update(selector={"app.kubernetes.io/name": "auth"}),
        "selects {'app.kubernetes.io/name': 'auth'}",
    ),
    "service_of_a_port_that_is_not_real": (
        lambda it: it.get("Service", "accord-cache")["spec"]["ports"][0].update(targetPort="api"),
        "leads to api, where nothing listens",
    ),
    "service_that_says_h2c_of_tls": (
        lambda it: it.get("Service", "accord-auth")["spec"]["ports"][0].update(appProtocol="kubernetes.io/h2c"),
        "says kubernetes.io/h2c, and https is spoken",
    ),
    "service_without_both_families": (
        lambda it: it.get("Service", "accord-gateway")["spec"].pop("ipFamilyPolicy"),
        "one family of addresses",
    ),
    "service_whose_callers_can_not_balance": (
        lambda it: it.get("Service", "accord-cache")["spec"].pop("clusterIP"),
        "its callers see no pod",
    ),
    "internal_listener_that_is_published": (
        lambda it: it.get("Service", "accord-gateway-internal")["spec"].update(type="LoadBalancer"),
        "publishes internal of gateway",
    ),
    "container_port_without_listener": (
        lambda it: container(it, "gateway")["ports"][0].update(containerPort=80),
        "but the binary listens on",
    ),
    "probe_of_another_port": (
        lambda it: container(it, "auth")["readinessProbe"]["grpc"].update(port=8090),
        "readinessProbe asks port 8090",
    ),
    "liveness_of_another_path": (
        lambda it: container(it, "auth")["livenessProbe"]["httpGet"].update(path="/healthz"),
        "livenessProbe asks",
    ),
    "grace_that_does_not_fit": (
        lambda it: pod(it, "gateway").update(terminationGracePeriodSeconds=30),
        "is killed after 30 s",
    ),
    "unknown_configuration_key": (
        lambda it: config_text(it, "production.toml", "token_key_file", "token_key_fyle"),
        "accord-cache refuses it",
    ),
    "configuration_that_check_refuses": (
        lambda it: config_text(it, "policies.cedar", "permit (", "permitted ("),
        "accord-auth check",
    ),
    "unknown_variable": (
        lambda it: container(it, "cache")["env"].append({"name": "ACCORD_CACHE__LISTEN__PORT", "value": "1"}),
        "accord-cache refuses it",
    ),
    "configuration_file_that_no_config_map_has": (
        lambda it: container(it, "auth")["args"].append("--config") or container(it, "auth")["args"].append("/etc/accord/no.toml"),
        "should hold no.toml",
    ),
    "secret_that_nobody_makes": (
        lambda it: pod(it, "cache")["volumes"].append({"name": "more", "secret": {"secretName": "accord-more"}}),
        "makes the Secret accord-more",
    ),
    "key_that_the_secret_lacks": (
        lambda it: config_text(it, "production.toml", "/run/secrets/consistency-key", "/run/secrets/token-key"),
        "has no token-key",
    ),
    "variable_of_a_key_that_the_secret_lacks": (
        lambda it: container(it, "cache")["env"].append({"name": "PGPASSWORD", "valueFrom": {"secretKeyRef": {"name": "accord-cache", "key": "password"}}}),
        "which the guide does not make",
    ),
    "config_map_that_is_not_there": (
        lambda it: pod(it, "auth")["volumes"].append({"name": "more", "configMap": {"name": "more"}}),
        "the ConfigMap more is not there",
    ),
    "account_that_is_not_there": (
        lambda it: without(it, "ServiceAccount", "accord-auth"),
        "its account accord-auth is not there",
    ),
    "account_that_two_share": (
        lambda it: pod(it, "cache").update(serviceAccountName="accord-auth"),
        "shares the account accord-auth",
    ),
    "root_that_can_be_written": (
        lambda it: container(it, "cache")["securityContext"].update(readOnlyRootFilesystem=False),
        "can write to its root",
    ),
    "memory_without_limit": (
        lambda it: container(it, "cache")["resources"].pop("limits"),
        "has no limit of memory",
    ),
    "memory_that_the_gateways_budgets_exceed": (
        lambda it: container(it, "gateway")["resources"]["limits"].update(memory="256Mi"),
        "has 256Mi of memory, and may hold 402653184 bytes",
    ),
    "memory_that_the_caches_answers_exceed": (
        lambda it: container(it, "cache")["resources"]["limits"].update(memory="300Mi"),
        "has 300Mi of memory, and may hold 335544320 bytes",
    ),
    "token_of_the_api_server_that_nobody_needs": (
        lambda it: pod(it, "auth").pop("automountServiceAccountToken"),
        "has a token of the API server, and does not ask it",
    ),
    "every_system_call": (
        lambda it: pod(it, "cache")["securityContext"].pop("seccompProfile"),
        "may make every system call (seccompProfile None)",
    ),
    "image_without_version": (
        lambda it: container(it, "cache").update(image="accord-cache"),
        "runs accord-cache, not accord-cache:",
    ),
    "listener_that_lets_in_whoever_is_signed": (
        lambda it: container(it, "cache")["env"].remove(variable(it, "cache", "ACCORD_CACHE__LISTEN__TLS__CLIENT_NAMES_FILE")),
        "accord-cache listen: lets in whoever the authority has signed",
    ),
    "caller_that_is_kept_out": (
        lambda it: it.get("ConfigMap", "accord-clients")["data"].update(auth="dns:accord-gateway\n"),
        "accord-auth listen: keeps out accord-cache",
    ),
    "neighbour_that_has_no_business_there": (
        lambda it: it.get("ConfigMap", "accord-clients")["data"].update(cache="dns:accord-gateway\ndns:accord-auth\n"),
        "accord-cache listen: lets in accord-auth",
    ),
    "list_of_clients_that_can_not_be_read": (
        lambda it: it.get("ConfigMap", "accord-clients")["data"].update(gateway="everybody\n"),
        "line 1 is no name of a client",
    ),
    "second_level_in_plaintext": (
        lambda it: config_text(it, "production.toml", "rediss://valkey.stores:6379\"\npassword_file", "redis://valkey.stores:6379\"\npassword_file"),
        "which goes in plaintext; write rediss://",
    ),
    "store_that_is_not_verified": (
        lambda it: config_text(it, "production.toml", "accord_auth?sslmode=verify-full", "accord_auth?sslmode=require"),
        "without sslmode=verify-full",
    ),
    "route_of_a_proxy_to_another_service": (
        lambda it: it.get("GRPCRoute", "accord")["spec"]["rules"][0]["backendRefs"][0].update(name="accord-auth", port=8090),
        "leads to ['accord-auth'], and a proxy passes on to accord-gateway alone",
    ),
    "service_in_plaintext_beside_certificates": (
        lambda it: it.get("Service", "accord-cache")["spec"]["ports"][0].update(appProtocol="kubernetes.io/h2c"),
        "service accord-cache: ['grpc'] is called in plaintext",
    ),
    "certificate_for_another_name": (
        lambda it: it.get("Certificate", "accord-auth")["spec"].update(dnsNames=["auth"]),
        "is for ['auth'], and called as accord-auth",
    ),
    "certificate_of_an_issuer_that_is_not_there": (
        lambda it: it.get("Certificate", "accord-auth")["spec"]["issuerRef"].update(name="nobody"),
        "the Issuer nobody is not there",
    ),
    "plain_url_of_a_neighbour_with_tls": (
        lambda it: variable(it, "gateway", "ACCORD_GATEWAY__CACHE__URL").update(value="http://accord-cache:8100"),
        "but accord-cache speaks https",
    ),
    "url_with_another_port": (
        lambda it: variable(it, "cache", "ACCORD_CACHE__AUTH__URL").update(value="https://accord-auth:8091"),
        "but accord-auth listens on 8090",
    ),
    "no_budget_for_disruption": (
        lambda it: without(it, "PodDisruptionBudget", "accord-cache"),
        "0 PodDisruptionBudgets select its 3 pods",
    ),
    "budget_that_lets_nothing_go": (
        lambda it: it.get("PodDisruptionBudget", "accord-auth")["spec"].update(maxUnavailable=0),
        "lets 0 of 3 pods go",
    ),
    "budget_that_lets_all_go": (
        lambda it: it.get("PodDisruptionBudget", "accord-auth")["spec"].update(maxUnavailable=3),
        "lets 3 of 3 pods go",
    ),
    "pods_on_one_node": (
        lambda it: pod(it, "gateway")["topologySpreadConstraints"].pop(),
        "nothing keeps its pods off one node",
    ),
    "autoscaler_that_each_apply_undoes": (
        lambda it: it.workload("gateway")["spec"].update(replicas=3),
        "each apply undoes its scaling",
    ),
    "autoscaler_by_what_is_not_requested": (
        lambda it: container(it, "auth")["resources"]["requests"].pop("cpu"),
        "is about cpu",
    ),
    "caches_without_a_log": (
        lambda it: config_text(it, "production.toml", "[log]\nurl", "[log]\n#url"),
        "has 3 replicas, and without `log.url` can have one",
    ),
    "caches_on_one_volume": (
        lambda it: pod(it, "cache")["volumes"].append({"name": "v", "persistentVolumeClaim": {"claimName": "v"}}),
        "3 replicas share one volume",
    ),
    "caches_that_end_together": (
        lambda it: it.workload("cache")["spec"]["updateStrategy"].update(rollingUpdate={"maxUnavailable": 2}),
        "ends several replicas at a time",
    ),
    "rollout_that_is_faster_than_dns": (
        lambda it: it.workload("auth")["spec"].update(minReadySeconds=5),
        "goes on 5 s after a pod is ready",
    ),
    "rollout_of_caches_that_keep_nothing_yet": (
        lambda it: it.workload("cache")["spec"].pop("minReadySeconds"),
        "goes on 0 s after a pod is ready, which keeps nothing for a lease of 1 s",
    ),
    "upstreams_that_the_cache_has_of_its_own": (
        lambda it: [v for v in pod(it, "cache")["volumes"] if "projected" in v][0]["projected"]["sources"].pop(),
        "should hold upstreams.toml",
    ),
    "route_to_another_port": (
        lambda it: it.get("GRPCRoute", "accord")["spec"]["rules"][0]["backendRefs"][0].update(port=9000),
        "accord-gateway serves [8080], not 9000",
    ),
    "route_of_a_host_that_nobody_listens_for": (
        lambda it: it.get("HTTPRoute", "accord")["spec"].update(hostnames=["other.example.com"]),
        "not for ['other.example.com']",
    ),
    "listener_without_a_certificate": (
        lambda it: it.get("Gateway", "accord")["spec"]["listeners"][0]["tls"].pop("certificateRefs"),
        "Gateway accord https: shows no certificate",
    ),
    "listener_with_a_certificate_that_nobody_makes": (
        lambda it: it.get("Gateway", "accord")["metadata"].pop("annotations"),
        "nothing makes the certificates ['accord-gateway-grpc-tls']",
    ),
    "listener_without_tls": (
        lambda it: it.get("Gateway", "accord")["spec"]["listeners"][1].update(protocol="HTTP"),
        "Gateway accord grpc: speaks HTTP to the world",
    ),
    "right_to_more_than_endpoints": (
        lambda it: it.get("ClusterRole", "accord-endpoint-slices")["rules"][0]["resources"].append("secrets"),
        "ClusterRole accord-endpoint-slices: gives",
    ),
    "right_to_change_endpoints": (
        lambda it: it.get("ClusterRole", "accord-endpoint-slices")["rules"][0]["verbs"].append("update"),
        "ClusterRole accord-endpoint-slices: gives",
    ),
    "right_in_every_namespace": (
        lambda it: it.documents.append({"kind": "ClusterRoleBinding", "metadata": {"name": "accord"}}),
        "ClusterRoleBinding accord: is the namespace's",
    ),
    "pod_monitor_of_another_path": (
        lambda it: it.get("PodMonitor", "accord")["spec"]["podMetricsEndpoints"][0].update(path="/stats"),
        "PodMonitor: reads ['/stats']",
    ),
    "service_monitor_of_another_path": (
        lambda it: it.get("ServiceMonitor", "accord")["spec"]["endpoints"][0].update(path="/stats"),
        "ServiceMonitor: reads ['/stats']",
    ),
    "annotation_of_another_port": (
        lambda it: it.workload("auth")["spec"]["template"]["metadata"]["annotations"].update({"prometheus.io/port": "8090"}),
        "accord-auth: its annotations tell Prometheus",
    ),
    "pod_monitor_of_another_port": (
        lambda it: it.get("PodMonitor", "accord")["spec"]["podMetricsEndpoints"][0].update(port="grpc"),
        "asks {'grpc'} of accord-gateway",
    ),
    "service_monitor_of_no_service": (
        lambda it: it.get("ServiceMonitor", "accord")["spec"]["selector"].update(matchLabels={"app": "accord"}),
        "ServiceMonitor: finds []",
    ),
    # The arrows.
    "everybody_reaches_auth": (
        lambda it: rules(it, "accord-auth", "ingress").append({"ports": [{"port": 8090}]}),
        "outside reaches auth at port 8090",
    ),
    "everybody_reaches_the_internal_listener": (
        lambda it: rules(it, "accord-gateway", "ingress")[0]["ports"].append({"port": 8082}),
        "other pod reaches gateway at port 8082",
    ),
    "members_of_other_namespaces_are_kept_out": (
        lambda it: rules(it, "accord-gateway", "ingress")[1]["from"][0].pop("namespaceSelector"),
        "member can't reach gateway at port 8082",
    ),
    "scraper_is_kept_out": (
        lambda it: rules(it, "accord-cache", "ingress").pop(),
        "scraper can't reach cache at port 8101",
    ),
    "gateway_is_kept_from_the_cache": (
        lambda it: rules(it, "accord-gateway", "egress").pop(),
        "gateway can't reach cache at port 8100",
    ),
    "cache_lets_no_gateway_in": (
        lambda it: rules(it, "accord-cache", "ingress").pop(0),
        "gateway can't reach cache at port 8100",
    ),
    "services_are_out_of_reach": (
        lambda it: without(it, "NetworkPolicy", "accord-upstreams"),
        "cache can't reach upstream at port 9000",
    ),
    "auth_reaches_no_store": (
        lambda it: replace_policy_labels(it, "accord-postgresql", {"app.kubernetes.io/name": "accord-cache"}),
        "auth can't reach postgresql at port 5432",
    ),
    "cache_reaches_no_second_level": (
        lambda it: replace_policy_labels(it, "accord-valkey", {"app.kubernetes.io/name": "accord-gateway"}),
        "cache can't reach valkey at port 6379",
    ),
    "gateway_reaches_the_store": (
        lambda it: replace_policy_labels(it, "accord-postgresql", {"app.kubernetes.io/part-of": "accord"}),
        "gateway reaches postgresql at port 5432",
    ),
    "cache_reaches_the_world": (
        lambda it: rules(it, "accord-cache", "egress").append({}),
        "cache reaches outside at port 80",
    ),
    "names_are_not_resolved": (
        lambda it: without(it, "NetworkPolicy", "accord-dns"),
        "auth can't reach outside at port 53",
    ),
    "names_are_not_resolved_by_udp": (
        lambda it: rules(it, "accord-dns", "egress")[0]["ports"][0].update(protocol="TCP"),
        "cache can't reach outside at port 53/UDP",
    ),
    "way_of_another_protocol": (
        lambda it: rules(it, "accord-auth", "ingress")[0]["ports"][0].update(protocol="UDP"),
        "gateway can't reach auth at port 8090",
    ),
    "traces_are_sent_nowhere": (
        lambda it: without(it, "NetworkPolicy", "accord-collector"),
        "auth can't reach collector at port 4317",
    ),
    "nothing_limits_the_cache": (
        lambda it: it.get("NetworkPolicy", "accord-cache")["spec"].update(policyTypes=["Egress"]),
        "nothing limits the ingress of accord-cache",
    ),
}


def findings_of(broken):
    check = Check(os.environ["BINARIES"], os.environ["DESCRIPTORS"])
    manifests.check_manifests(check, broken)
    return check.findings


class Refusals(unittest.TestCase):
    def test_whole_manifests_have_no_finding(self):
        self.assertEqual(findings_of(WHOLE), [])


def refused(change, told):
    def test(self):
        broken = Manifests(copy.deepcopy(WHOLE.documents))
        change(broken)
        findings = findings_of(broken)
        self.assertTrue(any(told in finding for finding in findings), f"{told!r} is not told: {findings}")

    return test


for name, (change, told) in BROKEN.items():
    setattr(Refusals, f"test_{name}_is_refused", refused(change, told))


class Schemas(unittest.TestCase):
    def found(self, kind, name, change):
        document = copy.deepcopy(WHOLE.get(kind, name))
        change(document)
        return self.findings(document)

    def findings(self, document):
        return schemas.findings_of([("place", document)], pathlib.Path(os.environ["CUSTOM_KINDS"]))[0]

    def test_unknown_field_of_kubernetes_is_refused(self):
        self.assertTrue(self.found("Service", "accord-auth", lambda it: it["spec"].update(port=1)))

    def test_unknown_field_of_another_kind_is_refused(self):
        self.assertTrue(self.found("Certificate", "accord-auth", lambda it: it["spec"].update(dnsname="a")))
        self.assertTrue(self.found("PodMonitor", "accord", lambda it: it["spec"].update(endpoints=[])))

    def test_missing_field_of_another_kind_is_refused(self):
        self.assertTrue(self.found("Certificate", "accord-auth", lambda it: it["spec"].pop("issuerRef")))

    def test_value_out_of_range_is_refused(self):
        change = lambda it: it["spec"]["rules"][0]["backendRefs"][0].update(port=70000)
        self.assertTrue(self.found("GRPCRoute", "accord", change))

    def test_backend_tls_policy_is_held_against_its_published_schema(self):
        """No manifest has one: users of the Gateway API may add it."""
        policy = {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "BackendTLSPolicy",
            "metadata": {"name": "accord-gateway", "namespace": "accord"},
            "spec": {
                "targetRefs": [{"group": "", "kind": "Service", "name": "accord-gateway"}],
                "validation": {"hostname": "api.example.com", "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "authority"}]},
            },
        }
        self.assertEqual(self.findings(policy), [])
        for change in (
            lambda it: it["spec"].pop("targetRefs"),
            lambda it: it["spec"]["validation"].pop("hostname"),
            lambda it: it["spec"]["validation"].update(certificateRefs=[]),
            lambda it: it["spec"]["targetRefs"][0].update(port=8080),
        ):
            broken = copy.deepcopy(policy)
            change(broken)
            self.assertTrue(self.findings(broken), broken)

    def test_unknown_kind_is_refused(self):
        self.assertTrue(self.found("Service", "accord-auth", lambda it: it.update(kind="Servise")))
        self.assertTrue(self.found("Certificate", "accord-auth", lambda it: it.update(kind="Certificat")))
        self.assertTrue(self.found("Certificate", "accord-auth", lambda it: it.update(apiVersion="example.com/v1")))


if __name__ == "__main__":
    unittest.main()
