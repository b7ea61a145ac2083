"""Holds rules, the dashboard and what pages ask of Prometheus against the metrics that there are, and each alert against its page.

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
GUIDE = ROOT / "deploy" / "guide"
RUNBOOKS = GUIDE / "runbooks"
# How a query on a page begins, or what it does with a metric.
QUERY = re.compile(r"(?:sum|max|min|avg|count|topk|rate|increase|histogram_quantile|time)\b ?(?:by |\()|(?:accord|rpc|process)_\w+(?:\{| [<>=+*/-])")
HEADER = "# Written by .ci/monitoring.py from deploy/prometheus/rules.yaml.\n"
# Labels that every series has that Prometheus scrapes.
SCRAPED = {"instance", "job"}
# A series, as an expression selects it.
SELECTOR = re.compile(r"\b((?:accord|rpc|process|target)[a-z0-9_:]*)\b\s*(?:\{([^}]*)\})?")
MATCHED = re.compile(r"([a-z_]+)\s*(?:=~|!~|!=|=)")
# Labels that are kept, joined on, or carried over.
CLAUSE = re.compile(r"\b(by|without|on|ignoring|group_left|group_right) \(([^)]*)\)")
VALUES = re.compile(r"label_values\((.*), (\w+)\)")
SEVERITIES = ("page", "ticket")


def main():
    check = Findings()
    rules, dashboard = read()
    if "--write" in sys.argv:
        MANIFEST.write_text(manifest(rules))
    known = {**metrics.documented(), **recorded(rules)}
    shown = [found for page in sorted(GUIDE.rglob("*.md")) for found in shown_queries(page.name, page.read_text())]
    for place, expression in (*expressions(rules), *queries(dashboard), *shown):
        check_expression(check, place, expression, known)
    check_targets(check)
    alerts = [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    check_alerts(check, alerts)
    check_tried(check, rules, yaml.safe_load(TESTS.read_text())["tests"])
    check.expect(MANIFEST.read_text() == manifest(rules), f"{MANIFEST.name} is not what rules.yaml says: run .ci/monitoring.py --write")
    check_syntax(check, [*queries(dashboard), *shown])
    promtool(check, "check", "config", CONFIG)
    promtool(check, "test", "rules", TESTS)
    print("\n".join(check.findings), end="\n" if check.findings else "")
    print(f"{len(known)} metrics, {len(alerts)} alerts, {len(shown)} queries on pages, {len(check.findings)} findings")
    sys.exit(1 if check.findings else 0)


def read():
    """The rules and the dashboard."""
    return yaml.safe_load(RULES.read_text()), json.loads(DASHBOARD.read_text())


def recorded(rules):
    """The series that the rules record, with the labels that are left: those that a rule keeps or makes, or those of what it is made of."""
    found = {}
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "record" in rule:
                inner = [found.get(name, set()) for name, _ in SELECTOR.findall(masked(rule["expr"]))]
                made = {"method_class"} if '"method_class"' in rule["expr"] else set()
                found[rule["record"]] = made.union(*inner)
    return found


def masked(expression):
    """The expression with nothing in its strings, each character where it was."""
    return re.sub(r'"[^"]*"', lambda text: '"' + " " * (len(text[0]) - 2) + '"', expression)


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


def shown_queries(page, text):
    """What a page has its reader ask of Prometheus: between backticks, or in blocks of ```promql."""
    for found in re.finditer(r"^```promql\n(.*?)^```\n|`([^`\n]+)`", re.sub(r"^```(?!promql).*?^```\n", skipped, text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE | re.DOTALL):
        place = f"{page}:{text[: found.start()].count(chr(10)) + 1}"
        for expression in found[1].splitlines() if found[1] else [found[2]]:
            if QUERY.match(expression):
                yield place, expression


def skipped(found):
    """As many characters, so that places stay."""
    return re.sub(r"[^\n]", " ", found[0])


def questions(rules, dashboard):
    """What a Prometheus that scrapes a mesh has an answer to: the panels and what is recorded, and each series that an alert asks for."""
    for place, expression in queries(dashboard):
        if not place.startswith("variable"):
            yield place, expression
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "record" in rule:
                yield f"rule {rule['record']}", rule["record"]
                continue
            text = masked(rule["expr"])
            clauses = [range(clause.start(), clause.end()) for clause in CLAUSE.finditer(text)]
            for selector in SELECTOR.finditer(text):
                if not any(selector.start() in clause for clause in clauses):
                    yield f"alert {rule['alert']}", rule["expr"][selector.start() : selector.end()].strip()


def check_expression(check, place, expression, known):
    """Every series that it selects is there, with the labels that are matched on it, and those that are grouped by around it."""
    values = VALUES.fullmatch(expression)
    if values:
        check_labels(check, place, values[1], {values[2]}, known)
        expression = values[1]
    text = masked(expression)
    for name, matchers in SELECTOR.findall(CLAUSE.sub("", text)):
        if check.expect(name in known, f"{place}: there is no series {name}"):
            for label in sorted(set(MATCHED.findall(matchers)) - known[name] - SCRAPED):
                check.expect(False, f"{place}: {name} has not the label {label}")
    for clause in CLAUSE.finditer(text):
        labels = set(re.findall(r"[a-z_]+", clause[2]))
        if clause[1] == "by":
            inner = behind(text, clause.end())
            if check.expect(inner, f"{place}: `by` stands before what is grouped, here"):
                check_labels(check, place, expression[inner], labels, known)
        else:
            check_labels(check, place, expression, labels, known)


def behind(text, at):
    """Where the parentheses are that follow."""
    begin = at + len(text[at:]) - len(text[at:].lstrip())
    if text[begin : begin + 1] != "(":
        return None
    depth = 0
    for end, letter in enumerate(text[begin:], begin):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return slice(begin, end + 1)
    return None


def check_labels(check, place, expression, labels, known):
    """Each series in it has the labels, but for those that it gives them itself."""
    made = {label for label in labels if "label_replace" in expression and f'"{label}"' in expression}
    for name, _ in SELECTOR.findall(CLAUSE.sub("", masked(expression))):
        for label in sorted(labels - made - known.get(name, labels) - SCRAPED):
            check.expect(False, f"{place}: {name} has not the label {label}")


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


def check_tried(check, rules, tests):
    """Each alert fires in a test, and in another one, which has what it asks for, does not."""
    made_of = {rule["record"]: rule["expr"] for group in rules["groups"] for rule in group["rules"] if "record" in rule}
    looked = [(set(sources(test)), *asked) for test in tests for asked in asked_for_alerts(test)]
    for rule in (rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule):
        labels = {"alertname": rule["alert"], **rule["labels"]}
        place = " ".join(f"{key}={value}" for key, value in labels.items())
        is_it = lambda fired: any(labels.items() <= alert.items() for alert in fired)
        check.expect(any(is_it(fired) for _, _, fired in looked), f"no test has the alert fire: {place}")
        asks = based_on(rule["expr"], made_of)
        quiet = any(asks & there and rule["alert"] not in left_out and not is_it(fired) for there, left_out, fired in looked)
        check.expect(quiet, f"no test has the alert stay quiet on what it asks for: {place}")


def sources(test):
    return (series["series"].partition("{")[0] for series in test["input_series"])


def asked_for_alerts(test):
    """Of each question after all alerts: those that it leaves out, and those that fire."""
    for asked in test["promql_expr_test"]:
        if asked["expr"].startswith("ALERTS{"):
            fired = [dict(re.findall(r'(\w+)="([^"]*)"', sample["labels"])) for sample in asked["exp_samples"]]
            yield set(re.findall(r'alertname!="([^"]*)"', asked["expr"])), fired


def based_on(expression, made_of):
    """The series of binaries that an expression asks for, through what is recorded."""
    names = {name for name, _ in SELECTOR.findall(CLAUSE.sub("", masked(expression)))}
    return set().union(*(based_on(made_of[name], made_of) if name in made_of else {name} for name in names))


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
