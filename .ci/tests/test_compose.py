"""An image that would run as root is told, whichever of the three it is."""

import pathlib
import tempfile
import unittest

from checks import compose
from checks.findings import BINARIES, Findings

DOCKERFILE = (pathlib.Path(__file__).parents[2] / "deploy" / "Dockerfile").read_text()


def found_in(text, name):
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "Dockerfile")
        path.write_text(text)
        check = Findings()
        compose.check_user(check, path, name)
        return check.findings


class Users(unittest.TestCase):
    def test_images_as_they_are_have_no_finding(self):
        self.assertEqual([found_in(DOCKERFILE, name) for name in BINARIES], [[], [], []])

    def test_image_without_a_user_is_told(self):
        for name in BINARIES:
            before, stage = DOCKERFILE.split(f" AS {name}\n")
            text = f"{before} AS {name}\n" + stage.replace("USER 65532:65532\n", "", 1)
            self.assertIn("runs as root", found_in(text, name)[0])

    def test_image_that_becomes_root_at_last_is_told(self):
        text = DOCKERFILE.replace("USER 65532:65532\n", "USER 65532:65532\nUSER root\n")
        self.assertIn("runs as root", found_in(text, "cache")[0])


if __name__ == "__main__":
    unittest.main()
