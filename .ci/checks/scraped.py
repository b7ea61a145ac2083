"""A Prometheus that scrapes a mesh: what the rules and the dashboard ask it for is there, once there was traffic."""

import json
import pathlib
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

# How long it may take to answer its first question, and what is asked last to have an answer.
START_SECONDS = 30
ANSWER_SECONDS = 30
SCRAPE = "2s"
# Behind those of the mesh that it scrapes.
PORT = 21190
# In the place of what Grafana fills in. Everything since the start is looked at.
FILLED = {"$__rate_interval": "30m", "$instance": ".*", "$method": ".*"}
# What a mesh on one machine, of embedded stores and without a fault, has not, by what the questions have in them.
NEEDS = {
    "accord_gateway_shared_limits_": "a server of shared limits",
    "accord_cache_second_level_": "a second level",
    "accord_cache_log_": "an invalidation log that replicas share",
    "accord_cache_outbox_": "an outbox",
    "accord_auth_shadow_decisions_total": "policies that are only tried",
    "accord_tls_": "TLS",
    "accord_files_reloads_total": "a file that changes while it is in use",
    "accord_gateway_contract_reloads_total": "a contract that changes while it is in use",
    "accord_upstream_overloaded_total": "an upstream with as many calls as it may have",
    "accord_upstream_ejections_total": "an endpoint that fails",
    "accord_gateway_cache_bypassed_total": "a cache that does not answer",
    'accord_gateway_invalidation_duration_seconds_count{outcome="deferred"}': "a cache that does not answer a write",
    "accord_gateway_near_two_caches_total": "two caches behind one name",
    "accord_cache_stale_served_total": "an origin that fails or lags",
    "accord_cache_superseded_before_read_total": "an answer that is stale against its promise",
    'accord_listener="", rpc_response_status_code=~"UNKNOWN': "auth that fails calls",
    'accord_auth_logins_total{outcome=~"refused|throttled"}': "a login that is refused",
}


class Prometheus:
    """Scrapes the admin ports, with these rules, until it is left."""

    def __init__(self, ports, rules):
        self.directory = tempfile.TemporaryDirectory(prefix="accord-prometheus-")
        home = pathlib.Path(self.directory.name)
        # The rules of the repository, more often than every half minute.
        groups = [{**group, "interval": SCRAPE} for group in rules["groups"]]
        (home / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
        targets = [f"127.0.0.1:{port}" for port in ports]
        config = {
            "global": {"scrape_interval": SCRAPE, "evaluation_interval": SCRAPE},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": "accord", "static_configs": [{"targets": targets}]}],
        }
        (home / "prometheus.yaml").write_text(yaml.safe_dump(config))
        self.address = f"127.0.0.1:{PORT}"
        command = ["prometheus", f"--config.file={home / 'prometheus.yaml'}", f"--storage.tsdb.path={home / 'data'}", f"--web.listen-address={self.address}"]
        self.log = (home / "log").open("w+")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()
        self.directory.cleanup()

    def ask(self, expression):
        """The series that an expression has now."""
        address = f"http://{self.address}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(address, timeout=10) as answer:
            return json.load(answer)["data"]["result"]

    def started(self):
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                return self.ask("up") is not None
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
        return False

    def said(self):
        self.log.seek(0)
        return self.log.read()[-800:]


def check(check, prometheus, questions, traffic):
    """Each question has an answer, or needs what is not here, while `traffic` goes on; how many have one."""
    if not check.expect(prometheus.started(), f"Prometheus does not answer: {prometheus.said()}"):
        return 0
    for part in NEEDS:
        check.expect(any(part in expression for _, expression in questions), f"NEEDS names {part}, and no question has it")
    end, open_ones = time.monotonic() + ANSWER_SECONDS, questions
    while open_ones and time.monotonic() < end:
        traffic()
        open_ones = [(place, expression) for place, expression in open_ones if not prometheus.ask(filled(expression))]
        open_ones = [(place, expression) for place, expression in open_ones if not needs(expression)]
        time.sleep(0.5 if open_ones else 0)
    for place, expression in open_ones:
        check.expect(False, f"{place}: a mesh that is scraped under traffic has no answer to {expression}")
    return len(questions) - len(open_ones)


def needs(expression):
    """Why it has no answer here, where that is known."""
    return next((why for part, why in NEEDS.items() if part in expression), None)


def filled(expression):
    for name, value in FILLED.items():
        expression = expression.replace(name, value)
    return expression
