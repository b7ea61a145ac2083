"""The workflow of a release is read as it runs, and what could not succeed is told."""

import pathlib
import unittest

from checks import release
from checks.findings import Findings

ROOT = pathlib.Path(__file__).parents[2]
WORKFLOW = (ROOT / ".github" / "workflows" / "release.yml").read_text()
OTHERS = [(ROOT / path).read_text() for path in (".ci/run", "deploy/images", "deploy/Dockerfile")]


def found_in(workflow):
    check = Findings()
    release.check(check, workflow, *OTHERS)
    return check.findings


def changed(before, after):
    assert before in WORKFLOW, before
    return found_in(WORKFLOW.replace(before, after))


class Release(unittest.TestCase):
    def test_workflow_as_it_is_has_no_finding(self):
        self.assertEqual(found_in(WORKFLOW), [])

    def test_directory_that_stays_roots_is_told(self):
        findings = changed('sudo chown --recursive "$(id --user):$(id --group)" . "$HOME"', "echo nothing")
        self.assertIn("is root's by an earlier step", findings[0])

    def test_python_without_what_bills_need_is_told(self):
        self.assertIn("takes python3", changed("          PYTHON: target/tools/ci/bin/python\n", "          OTHER: x\n")[0])
        self.assertIn("takes /usr/bin/python", changed("target/tools/ci/bin/python", "/usr/bin/python")[0])

    def test_release_before_what_has_to_hold_is_told(self):
        self.assertIn("given away before", changed("bash .ci/run", "bash .ci/other")[0])

    def test_image_that_the_dockerfile_does_not_have_is_told(self):
        self.assertIn("no target", changed("for name in gateway auth cache; do", "for name in gateway auth store; do")[0])

    def test_file_that_nobody_writes_is_told(self):
        self.assertIn("attaches", changed("target/images/accord-*.cdx.json", "target/sbom/accord-*.cdx.json")[0])


if __name__ == "__main__":
    unittest.main()
