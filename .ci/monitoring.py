"""Holds rules and the dashboard against the metrics that there are, and each alert against its page.

Usage: monitoring.py [--write]

Asks promtool whether the configuration and the rules are right and their tests pass. With --write, the PrometheusRule is written anew from the rules.
Prints one line per finding, and exits with 1 if there is one.
"""

import json
import re
import subprocess
import sys
import tempfile

import yaml

from checks import metrics
from checks.findings import Findings

ROOT = metrics.ROOT
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
TESTS = ROOT / "deploy" / "prometheus" / "rules_test.yaml"
CONFIG = ROOT / "deploy" / "prometheus" / "prometheus.yaml"
SERVICES = ROOT / "deploy" / "kubernetes" / "components" / "metrics-services" / "services.yaml"
MANIFEST = ROOT / "deploy" / "kubernetes" / "components" / "prometheus-rule" / "rules.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "accord.json"
RUNBOOKS = ROOT / "deploy" / "guide" / "runbooks"
HEADER = "# Written by .ci/monitoring.py from deploy/prometheus/rules.yaml.\n"
# Labels that Prometheus and the rules add.
ADDED = {"instance", "job", "le", "method_class", "quantile", "__name__", "alertname", "alertstate"}
SEVERITIES = ("page", "ticket")


def main():
    check = Findings()
    rules, dashboard = yaml.safe_load(RULES.read_text()), json.loads(DASHBOARD.read_text())
    if "--write" in sys.argv:
        MANIFEST.write_text(manifest(rules))
    metrics.check(check)
    known = {**metrics.documented(), **recorded(rules)}
    for place, expression in (*expressions(rules), *queries(dashboard)):
        check_expression(check, place, expression, known)
    check_targets(check)
    alerts = [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    check_alerts(check, alerts)
    check.expect(MANIFEST.read_text() == manifest(rules), f"{MANIFEST.name} is not what rules.yaml says: run .ci/monitoring.py --write")
    check_syntax(check, queries(dashboard))
    promtool(check, "check", "config", CONFIG)
    promtool(check, "test", "rules", TESTS)
    print("\n".join(check.findings), end="\n" if check.findings else "")
    print(f"{len(known)} metrics, {len(alerts)} alerts, {len(check.findings)} findings")
    sys.exit(1 if check.findings else 0)


def recorded(rules):
    """The names that the rules record; their labels are what the rule keeps."""
    return {rule["record"]: set() for group in rules["groups"] for rule in group["rules"] if "record" in rule}


def expressions(rules):
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield f"rule {rule.get('alert', rule.get('record'))}", rule["expr"]


def queries(dashboard):
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield f"panel {panel['title']}", target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", variable["definition"]


def check_expression(check, place, expression, known):
    """Every metric that it names is there, with the labels that it matches or groups by."""
    text = re.sub(r'"[^"]*"', '""', expression)
    named = set(re.findall(r"\b((?:accord|rpc|process|target)[a-z0-9_:]*)\b(?!\s*[=!]~?)", re.sub(r"\b(by|on|without|ignoring|group_left) \([^)]*\)", "", text)))
    labels = metric_labels = set()
    for name in sorted(named - {"rpc_method"} - ADDED):
        found = known.get(name, known.get(metrics.base(name)))
        if check.expect(found is not None, f"{place}: there is no metric {name}"):
            metric_labels = metric_labels | found
    grouped = ",".join(re.findall(r"\b(?:by|on) \(([^)]*)\)", text))
    labels = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)\s*\"\"", text)) | set(re.findall(r"[a-z_]+", grouped))
    for label in sorted(labels - ADDED - metric_labels):
        check.expect(False, f"{place}: none of {sorted(named)} has the label {label}")


def check_syntax(check, found):
    """Prometheus reads each query of the dashboard, once Grafana has filled in its variables."""
    filled = {"$__rate_interval": "5m", "$instance": ".*", "$method": ".*"}
    rules = []
    for number, (place, expression) in enumerate(found):
        for name, value in filled.items():
            expression = expression.replace(name, value)
        if not place.startswith("variable"):
            rules.append({"record": f"query:{number}", "expr": expression, "labels": {"place": place}})
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
        file.flush()
        promtool(check, "check", "rules", file.name)


def check_targets(check):
    """Prometheus alone asks the Services that there are, at their ports."""
    services = {it["metadata"]["name"]: it["spec"]["ports"][0]["port"] for it in yaml.safe_load_all(SERVICES.read_text())}
    asked = {}
    for job in yaml.safe_load(CONFIG.read_text())["scrape_configs"]:
        for found in job["dns_sd_configs"]:
            asked.update({name.partition(".")[0]: found["port"] for name in found["names"]})
    check.expect(asked == services, f"{CONFIG.name}: asks {asked}, and the Services are {services}")


def check_alerts(check, alerts):
    """Each has a severity that somebody is told by, and a page that says what it means, where to look and what to do."""
    pages = set()
    for alert in alerts:
        place, severity = f"alert {alert['alert']}", alert["labels"].get("severity")
        check.expect(severity in SEVERITIES, f"{place}: is of severity {severity}")
        url = alert["annotations"].get("runbook_url", "")
        page = ROOT / url
        pages.add(page)
        if not check.expect(page.parent == RUNBOOKS and page.is_file(), f"{place}: its runbook {url} is not there"):
            continue
        text = page.read_text()
        check.expect(f"`{alert['alert']}`" in text, f"{url} does not name {alert['alert']}")
        for heading in ("## What it means", "## Look", "## Do"):
            check.expect(heading in text, f"{url} has no section {heading}")
    for page in sorted(set(RUNBOOKS.glob("*.md")) - pages):
        check.expect(page.name == "README.md", f"no alert leads to {page.name}")


def manifest(rules):
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "accord", "namespace": "accord"},
        "spec": rules,
    }
    return HEADER + yaml.safe_dump(document, sort_keys=False, width=1000)


def promtool(check, *arguments):
    run = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
    check.expect(run.returncode == 0, f"promtool {' '.join(map(str, arguments))}: {(run.stdout + run.stderr).strip()}")


if __name__ == "__main__":
    main()
