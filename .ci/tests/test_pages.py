"""What runs a page's blocks sees what fails, and what only reads them sees what is not there."""

import os
import pathlib
import tempfile
import unittest

import pages
from checks import blocks, figures, page_yaml
from checks.findings import Findings

FENCE = "```"


def page(*parts):
    return "\n".join(f"{FENCE}sh\n{code}\n{FENCE}\n\n{FENCE}\n{shown}\n{FENCE}\n" for code, shown in parts)


def found_in(*parts, at_hand=None):
    """Findings of a page made of blocks, each with what it should print."""
    check = Findings()
    with tempfile.TemporaryDirectory() as directory:
        pages.run_page(check, "page.md", list(blocks.blocks("page.md", page(*parts))), dict(os.environ), at_hand, directory)
    return check.findings


def block(text, name="page.md"):
    return blocks.Block(name, 1, text, [])


def static(code):
    check = Findings()
    pages.check_static(check, block(code))
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
        (found,) = blocks.blocks("page.md", text)
        self.assertEqual((found.text, found.shown), ("echo one", ["one"]))

    def test_documented_places_are_moved(self):
        self.assertEqual(blocks.moved("http://127.0.0.1:8090/ .accord/config"), "http://127.0.0.1:21090/ target/pages/config")
        self.assertEqual(blocks.moved("--ports 18080 http://127.0.0.1:50051", 1000), "--ports 3000 http://127.0.0.1:2000")

    def test_what_prepares_a_block_is_no_output_of_it(self):
        self.assertEqual(found_in(("cat name", "ada"), at_hand={None: "echo none", "cat name": "echo ada >name; echo bob"}), [])
        self.assertTrue(found_in(("true", "bob"), at_hand={"true": "echo bob"}))

    def test_what_serves_is_left_running_and_stopped_at_the_end(self):
        text = blocks.left_running("accord-auth serve --development\naccord-auth serve --listen no || echo refused")
        self.assertEqual(text.splitlines()[1], "accord-auth serve --listen no || echo refused")
        self.assertIn("serving", text.splitlines()[0])
        served = "serving ready sh -c 'echo $$ >pid; echo ready; exec cat'"
        self.assertEqual(found_in((served, ""), ("kill -0 $(cat pid) && echo runs", "runs")), [])

    def test_what_should_serve_and_ends_is_told_with_what_it_said(self):
        (finding,) = found_in(("serving ready sh -c 'echo a port is taken'", ""))
        self.assertIn("a port is taken", finding)

    def test_file_that_a_page_has_written_is_there_for_the_next_block(self):
        text = f"Write `name.toml`:\n\n{FENCE}toml\na = 1\n{FENCE}\n\n{page(('cat name.toml', 'a = 1'))}"
        check = Findings()
        with tempfile.TemporaryDirectory() as directory:
            steps = [*blocks.files("page.md", text), *blocks.blocks("page.md", text)]
            pages.run_page(check, "page.md", steps, dict(os.environ), None, directory)
        self.assertEqual((len(steps), check.findings), (2, []))


class Reading(unittest.TestCase):
    def test_block_that_no_shell_reads_is_told(self):
        self.assertIn("a shell can't read it", static("for name in a b; echo")[0])

    def test_file_that_is_not_there_is_told(self):
        self.assertEqual(static("kubectl apply -k deploy/kubernetes/overlays/no"), ["page.md:1: deploy/kubernetes/overlays/no is not there"])

    def test_overlay_that_the_block_makes_is_accepted(self):
        self.assertEqual(static("cp -r deploy/config deploy/mine\nkubectl kustomize deploy/mine"), [])

    def test_commands_in_a_plain_fence_are_told(self):
        check = Findings()
        pages.check_fences(check, "page.md", f"{FENCE}\ncargo xtask up\n{FENCE}\n\n" + page(("echo", "accord-auth principal list")))
        self.assertEqual(len(check.findings), 1, check.findings)
        self.assertIn("page.md:1", check.findings[0])

    def test_exemption_and_preparation_of_no_block_are_told(self):
        self.addCleanup(setattr, blocks, "NOT_HERE", blocks.NOT_HERE)
        blocks.NOT_HERE = {("page.md", "sleep 1000"): "takes long"}
        check = Findings()
        pages.check_exemptions(check, [block("sleep 1")])
        self.assertIn("no page has this block", check.findings[0])
        self.assertTrue(any("credentials.md.sh prepares" in finding for finding in check.findings))
        self.assertFalse(block("sleep 1000").is_run())

    def test_quoted_block_is_left_to_its_suite(self):
        quoted, own = blocks.blocks("page.md", f"[go.sh](../go.sh):\n\n{FENCE}sh\nmake\n{FENCE}\n\nThen:\n\n{FENCE}sh\nmake\n{FENCE}\n")
        self.assertEqual((quoted.is_run(), own.is_run()), (False, True))


class Yaml(unittest.TestCase):
    def test_part_of_a_pod_that_kubernetes_refuses_is_told(self):
        check = Findings()
        shown = page_yaml.shown("page.md", f"{FENCE}yaml\nvolumes:\n  - name: token\n    projcted: {{}}\n{FENCE}\n")
        page_yaml.check_pod(check, shown[0])
        self.assertIn("page.md:1", check.findings[0])


class Figures(unittest.TestCase):
    SOURCE = "### grpc\n\n| | µs |\n|---|---|\n| Accord | 13.9 (9.0 + 4.9) |\n| Envoy | 21.4 |\n\n### json\n\n| Accord | 18.0 |\n"

    def found(self, text, count=1):
        check = Findings()
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory, "page.md")
            path.write_text(text)
            figures.check_figures(check, {path: count}, self.SOURCE)
            figures.check_prose(check, "page.md", text, figures.measured(self.SOURCE))
        return check.findings

    def test_figures_of_the_pages_are_measured(self):
        check = Findings()
        figures.check_figures(check)
        self.assertEqual(check.findings, [])

    def test_figure_of_another_case_or_server_is_told(self):
        table = "| work | case | Accord | Envoy |\n|---|---|---|---|\n| a call | `grpc` | {} | {} |\n"
        self.assertEqual(self.found(table.format("13.9 µs", "21.4 µs")), [])
        self.assertIn("grpc of Accord is 13.9", self.found(table.format("18.0", "21.4"))[0])
        self.assertIn("grpc of Envoy is 21.4", self.found(table.format("13.9", "13.9"))[0])
        self.assertIn("0 tables", self.found("")[0])

    def test_figure_in_a_paragraph_that_names_no_case_of_it_is_told(self):
        self.assertEqual(self.found("It takes 21.4 µs (`grpc`).", 0), [])
        self.assertIn("21.4 is of no case", self.found("It takes 21.4 µs (`json`).", 0)[0])


if __name__ == "__main__":
    unittest.main()
