"""Each check of rules, dashboard and metrics refuses what it is there for."""

import unittest

import monitoring
from checks import metrics
from checks.findings import Findings

KNOWN = {**metrics.documented(), "accord:calls:rate5m": {"method_class"}}
ALERT = {"alert": "AccordRestarts", "labels": {"severity": "ticket"}, "annotations": {"runbook_url": "deploy/guide/runbooks/restarts.md"}}


def of_expression(expression):
    check = Findings()
    monitoring.check_expression(check, "place", expression, KNOWN)
    return check.findings


def of_alert(**changes):
    check = Findings()
    monitoring.check_alerts(check, [{**ALERT, **changes}])
    # Pages of the other alerts, which are not looked at here.
    return [finding for finding in check.findings if not finding.startswith("no alert leads to")]


class Expressions(unittest.TestCase):
    def test_known_metric_with_its_labels_is_accepted(self):
        self.assertEqual(of_expression('sum by (upstream) (rate(accord_upstream_attempts_total{upstream="a"}[5m])) > 0'), [])
        self.assertEqual(of_expression('histogram_quantile(0.9, sum by (le) (rate(accord_cache_load_duration_seconds_bucket[5m])))'), [])

    def test_unknown_metric_is_told(self):
        self.assertEqual(of_expression("accord_gateway_calls_activ > 1"), ["place: there is no series accord_gateway_calls_activ"])

    def test_histogram_without_its_ending_is_told(self):
        self.assertEqual(of_expression("accord_cache_load_duration_seconds > 1"), ["place: there is no series accord_cache_load_duration_seconds"])

    def test_label_that_the_metric_lacks_is_told(self):
        self.assertEqual(of_expression('accord_upstream_endpoints{uptream="a"}'), ["place: accord_upstream_endpoints has not the label uptream"])
        self.assertEqual(of_expression("sum by (method) (accord_upstream_endpoints)"), ["place: accord_upstream_endpoints has not the label method"])

    def test_label_of_another_metric_of_the_expression_is_told(self):
        expression = 'accord_upstream_endpoints{cause="a"} / on (upstream) accord_upstream_ejections_total{cause="a"}'
        self.assertEqual(of_expression(expression), ["place: accord_upstream_endpoints has not the label cause"])
        expression = "sum by (cause) (accord_upstream_endpoints) / sum by (cause) (accord_upstream_ejections_total)"
        self.assertEqual(of_expression(expression), ["place: accord_upstream_endpoints has not the label cause"])
        self.assertEqual(of_expression("accord_build_info * on (upstream) accord_upstream_endpoints"), ["place: accord_build_info has not the label upstream"])

    def test_label_that_the_expression_makes_is_accepted(self):
        self.assertEqual(of_expression('sum by (kind) (label_replace(accord_build_info, "kind", "a", "", ""))'), [])

    def test_label_of_a_variable_that_its_metric_lacks_is_told(self):
        self.assertEqual(of_expression("label_values(accord_upstream_endpoints, upstream)"), [])
        self.assertEqual(of_expression("label_values(accord_upstream_endpoints, cause)"), ["place: accord_upstream_endpoints has not the label cause"])

    def test_queries_on_a_page_are_found_and_code_is_not(self):
        text = "Ask `sum by (a) (rate(accord_x_total[5m]))`, not `sum`.\n\n```rust\n`max by (b) (c)`\n```\n\n```promql\nmax(accord_y) > 1\n```\n"
        found = list(monitoring.shown_queries("page.md", text))
        self.assertEqual(found, [("page.md:1", "sum by (a) (rate(accord_x_total[5m]))"), ("page.md:7", "max(accord_y) > 1")])

    def test_query_that_prometheus_can_not_read_is_told(self):
        check = Findings()
        monitoring.check_syntax(check, [("panel", "sum(rate(accord_cache_reads_total[$__rate_interval]))")])
        self.assertEqual(check.findings, [])
        monitoring.check_syntax(check, [("panel", "sum(rate(accord_cache_reads_total[5m])")])
        self.assertIn("could not parse expression", check.findings[0])


class Alerts(unittest.TestCase):
    def test_alert_with_its_page_is_accepted(self):
        self.assertEqual(of_alert(), [])

    def test_alert_without_a_page_is_told(self):
        self.assertIn("is not there", of_alert(annotations={"runbook_url": "deploy/guide/runbooks/no.md"})[0])
        self.assertIn("is not there", of_alert(annotations={})[0])

    def test_page_of_another_alert_is_told(self):
        self.assertIn("does not name AccordOther", of_alert(alert="AccordOther")[0])

    def test_severity_that_tells_nobody_is_told(self):
        self.assertIn("is of severity info", of_alert(labels={"severity": "info"})[0])


class Tried(unittest.TestCase):
    RULES = {"groups": [{"rules": [{"record": "accord:a", "expr": "accord_a"}, {"alert": "A", "expr": "accord:a > 1", "labels": {"severity": "page"}}]}]}

    def of_tests(self, *tests):
        check = Findings()
        tests = [{"input_series": [{"series": f'{name}{{a="b"}}'}], "promql_expr_test": [asked]} for name, asked in tests]
        monitoring.check_tried(check, self.RULES, tests)
        return check.findings

    def asked(self, *fired, expression='ALERTS{alertstate="firing"}'):
        return {"expr": expression, "exp_samples": [{"labels": f'ALERTS{{alertname="A", severity="{severity}"}}'} for severity in fired]}

    def test_alert_that_fires_and_stays_quiet_is_accepted(self):
        self.assertEqual(self.of_tests(("accord_a", self.asked("page")), ("accord_a", self.asked())), [])

    def test_alert_that_never_fires_is_told(self):
        self.assertEqual(self.of_tests(("accord_a", self.asked("ticket"))), ["no test has the alert fire: alertname=A severity=page"])

    def test_alert_that_is_never_quiet_on_what_it_asks_for_is_told(self):
        told = ["no test has the alert stay quiet on what it asks for: alertname=A severity=page"]
        self.assertEqual(self.of_tests(("accord_a", self.asked("page")), ("accord_b", self.asked())), told)
        left_out = self.asked(expression='ALERTS{alertname!="A"}')
        self.assertEqual(self.of_tests(("accord_a", self.asked("page")), ("accord_a", left_out)), told)


if __name__ == "__main__":
    unittest.main()
