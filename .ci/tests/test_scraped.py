"""A question that a Prometheus has no answer to is told, unless it needs what is known not to be there."""

import unittest
from unittest import mock

from checks import scraped
from checks.findings import Findings


class Answering:
    """A Prometheus that has some series, and those of `late` from the second time on that they are asked for."""

    def __init__(self, *has, late=(), starts=True):
        self.has, self.late, self.starts = set(has), set(late), starts

    def started(self):
        return self.starts

    def said(self):
        return "address in use"

    def ask(self, expression):
        answer = [expression] if expression in self.has else []
        self.has |= self.late & {expression}
        return answer


def told(prometheus, *expressions, needs=None):
    check = Findings()
    with mock.patch.object(scraped, "ANSWER_SECONDS", 2), mock.patch.object(scraped, "NEEDS", needs or {}):
        answered = scraped.check(check, prometheus, [("panel", expression) for expression in expressions], traffic=lambda: None)
    return answered, check.findings


class Scraped(unittest.TestCase):
    def test_answers_now_or_later_are_accepted(self):
        self.assertEqual(told(Answering("a[30m]", late=["b"]), "a[$__rate_interval]", "b"), (2, []))

    def test_question_without_an_answer_is_told(self):
        self.assertEqual(told(Answering("a"), "a", "b"), (1, ["panel: a mesh that is scraped under traffic has no answer to b"]))

    def test_question_for_what_is_not_here_is_accepted(self):
        needs = {"accord_cache_outbox_": "an outbox"}
        self.assertEqual(told(Answering(), "max(accord_cache_outbox_lag_seconds)", needs=needs), (1, []))

    def test_need_of_no_question_is_told(self):
        needs = {"accord_gone_": "what was taken out"}
        self.assertEqual(told(Answering("a"), "a", needs=needs), (1, ["NEEDS names accord_gone_, and no question has it"]))

    def test_prometheus_that_does_not_start_is_told(self):
        self.assertEqual(told(Answering(starts=False), "a"), (0, ["Prometheus does not answer: address in use"]))


if __name__ == "__main__":
    unittest.main()
