"""Each check of rules, dashboard and metrics refuses what it is there for."""

import unittest

import monitoring
from checks import metrics
from checks.findings import Findings

KNOWN = {**metrics.documented(), "accord:calls:rate5m": set()}
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
        self.assertEqual(of_expression("accord_gateway_calls_activ > 1"), ["place: there is no metric accord_gateway_calls_activ"])

    def test_label_that_the_metric_lacks_is_told(self):
        self.assertIn("has the label uptream", of_expression('accord_upstream_endpoints{uptream="a"}')[0])
        self.assertIn("has the label method", of_expression("sum by (method) (accord_upstream_endpoints)")[0])


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


class Tables(unittest.TestCase):
    def test_metric_without_a_row_is_told(self):
        check, in_code = Findings(), metrics.in_code
        self.addCleanup(setattr, metrics, "in_code", in_code)
        metrics.in_code = lambda: in_code() | {"accord.new"}
        metrics.check(check)
        self.assertEqual(check.findings, ["a metric is not in the guide's tables: accord.new"])

    def test_row_without_a_metric_is_told(self):
        check, in_code = Findings(), metrics.in_code
        self.addCleanup(setattr, metrics, "in_code", in_code)
        metrics.in_code = lambda: in_code() - {"accord.cache.reads"}
        metrics.check(check)
        self.assertEqual(check.findings, ["the guide's table has a metric that no code makes: accord.cache.reads"])


if __name__ == "__main__":
    unittest.main()
