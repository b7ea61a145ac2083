"""What runs a page's blocks sees what fails, and what only reads them sees what is not there."""

import os
import unittest

import pages
from checks.findings import Findings

FENCE = "```"


def found_in(*parts):
    """Findings of a page made of blocks, each with what it should print."""
    text = "\n".join(f"{FENCE}sh\n{code}\n{FENCE}\n\n{FENCE}\n{shown}\n{FENCE}\n" for code, shown in parts)
    check = Findings()
    pages.run_page(check, "page.md", list(pages.blocks("page.md", text)), dict(os.environ))
    return check.findings


def static(code):
    check = Findings()
    pages.check_static(check, pages.Block("page.md", 1, code, []), None)
    return check.findings


class Running(unittest.TestCase):
    def test_block_that_prints_what_is_shown_is_accepted(self):
        self.assertEqual(found_in(("echo one two", "one …"), ("echo three", "three")), [])

    def test_block_that_prints_something_else_is_told(self):
        self.assertIn("page.md:1: prints 'one'", found_in(("echo one", "two"))[0])

    def test_lines_come_in_the_order_that_is_shown(self):
        self.assertTrue(found_in(("echo one; echo two", "two\none")))

    def test_block_that_fails_is_named_and_ends_the_page(self):
        findings = found_in(("echo one", "one"), ("false", ""), ("echo three", "three"))
        self.assertEqual(len(findings), 1, findings)
        self.assertIn("page.md:9: exit status 1", findings[0])

    def test_blocks_of_a_page_share_their_variables(self):
        self.assertEqual(found_in(("NAME=ada", ""), ("echo $NAME", "ada")), [])

    def test_block_in_a_list_is_found(self):
        text = f"1. Do:\n\n   {FENCE}sh\n   echo one\n   {FENCE}\n\n   {FENCE}\n   one\n   {FENCE}\n"
        (block,) = pages.blocks("page.md", text)
        self.assertEqual((block.text, block.shown), ("echo one", ["one"]))

    def test_documented_places_are_moved(self):
        self.assertEqual(pages.moved("http://127.0.0.1:8090/ .accord/config"), "http://127.0.0.1:21090/ target/pages/config")


class Reading(unittest.TestCase):
    def test_block_that_no_shell_reads_is_told(self):
        self.assertIn("a shell can't read it", static("for name in a b; echo")[0])

    def test_file_that_is_not_there_is_told(self):
        self.assertEqual(static("kubectl apply -k deploy/kubernetes/overlays/no"), ["page.md:1: deploy/kubernetes/overlays/no is not there"])

    def test_overlay_that_the_block_makes_is_accepted(self):
        self.assertEqual(static("cp -r deploy/config deploy/mine\nkubectl kustomize deploy/mine"), [])

    def test_block_for_a_cluster_is_not_run(self):
        self.assertTrue(pages.Block("page.md", 1, "for a in b; do\n    kubectl get pods\ndone", []).is_elsewhere())
        self.assertFalse(pages.Block("page.md", 1, "echo kubectl", []).is_elsewhere())


    def test_block_that_needs_what_is_not_here_says_what(self):
        block = lambda text: pages.Block("page.md", 1, text, []).not_here()
        self.assertIn("a compiler of protos", block("protoc -I proto notes.proto"))
        self.assertIn("serves until it is stopped", block("accord-gateway serve"))
        self.assertIsNone(block("accord-auth principal list"))

    def test_page_whose_commands_nothing_runs_is_told(self):
        check = Findings()
        of_page = {name: [pages.Block(name, 1, "accord-auth principal list", [])] for name in ("unknown.md", "tokens.md", "policies.md")}
        pages.check_every_page(check, of_page)
        self.assertEqual(check.findings, ["unknown.md: its commands are run by nothing"])


class Figures(unittest.TestCase):
    def test_figures_of_the_comparison_are_measured(self):
        check = Findings()
        pages.check_figures(check)
        self.assertEqual(check.findings, [])

    def test_figure_that_was_not_measured_is_told(self):
        self.addCleanup(setattr, pages, "FIGURES", pages.FIGURES)
        pages.FIGURES = (("benchmarks.md", "limits.md"),)
        check = Findings()
        pages.check_figures(check)
        self.assertIn("is not in limits.md", check.findings[0])


if __name__ == "__main__":
    unittest.main()
