"""The blocks of the guide's pages, and the script that one page becomes."""

import pathlib
import re
import shlex

ROOT = pathlib.Path(__file__).parents[2]
GUIDE = ROOT / "deploy" / "guide"
# What readers have at hand, for pages that take it for granted; more of it lies beside these.
PREPARED = ROOT / ".ci" / "guide"
# Where the mesh is that pages run beside, and the others that some pages start themselves.
PORT = 21080
OWN_PORTS = {"services.md": 24080, "README.md": 27080}
DATA = "target/pages"
# Blocks that no shell runs here, each by its page and first line, and why not.
NOT_HERE = {
    ("README.md", "cargo xtask test"): "all suites: `.ci/run` runs them before the pages",
    ("alerts.md", "promtool check config deploy/prometheus/prometheus.yaml"): "the step before: `.ci/monitoring.py` runs both lines",
    ("benchmarks.md", "cargo xtask bench                                       # every case; builds the binaries as they are released"): "optimised binaries, and an hour",
    ("upgrade.md", "cargo xtask rolling --from target/before --to target/debug"): "binaries of two versions, and minutes: the suite of replicas runs it",
}
# What is left running in a terminal of its own, and what it says when it serves.
SERVES = (
    (r"(?:target/debug/)?accord-\w+ serve (?!.*\|\|).*", "serving '\"listening\"|listening'"),
    (r"cargo xtask up\b(?!.*--once).*", "serving 'Ctrl-C drains'"),
    (r"target/\S+ tests/clients/echo_server\.py .*", "serving '\"port\"'"),
)
MARK = "block ends:"


class Block:
    """One block of a page: where it begins, its lines, and what is shown of its output."""

    def __init__(self, page, line, text, shown, quoted=False):
        self.page, self.place, self.text, self.shown, self.quoted = page, f"{page}:{line}", text, shown, quoted

    @property
    def first_line(self):
        return self.text.partition("\n")[0]

    def not_here(self):
        """What stands in its way, if anything does."""
        return NOT_HERE.get((self.page, self.first_line))

    def is_run(self):
        return not (self.quoted or self.not_here())


class File:
    """A file that a page has its reader write: its name, and what is in it."""

    def __init__(self, page, line, name, text):
        self.page, self.place, self.name, self.text = page, f"{page}:{line}", name, text


FENCE = re.compile(r"^( *)```sh\n(.*?)^\1```\n(?:\n\1```\n(.*?)^\1```\n)?", re.MULTILINE | re.DOTALL)
# A paragraph that ends with the file's name, and the file.
WRITTEN = re.compile(r"`([\w./-]+)`[,:]\n\n```(?:toml|cedar)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
# `cargo xtask tidy` holds what a page quotes from a file, which a suite runs.
QUOTED = re.compile(r"\]\([\w./-]+\):\n\n\Z")


def blocks(page, text):
    """The blocks of ```sh, which may be indented, as in a list."""
    for found in FENCE.finditer(text):
        indent = found[1]
        lines = lambda part: [line.removeprefix(indent) for line in (part or "").splitlines()]
        quoted = bool(QUOTED.search(text[: found.start()]))
        yield Block(page, line_of(text, found), "\n".join(lines(found[2])), lines(found[3]), quoted)


def files(page, text):
    """The files that it has written, with their places among the blocks."""
    for found in WRITTEN.finditer(text):
        yield File(page, line_of(text, found), found[1], found[2])


def line_of(text, found):
    return text[: found.start()].count("\n") + 1


def moved(text, base=PORT):
    """The documented addresses and directory, as they are here: those of `up`, of another `up`, and of a service to try with."""

    def there(port):
        for documented, here in ((8080, base), (18080, base + 2000)):
            if documented <= port < documented + 932:
                return port - documented + here
        return base + 1000 if port == 50051 else port

    text = re.sub(r"(127\.0\.0\.1:|--ports? )(\d+)", lambda found: f"{found[1]}{there(int(found[2]))}", text)
    # Binaries are those under test.
    return text.replace(".accord/", f"{DATA}/").replace("target/debug/", "")


def prepared(page):
    """What its reader has, by the first line of the block that it is needed for; under None what all of it needs. None at all for a
    page that needs nothing."""
    path = PREPARED / f"{page}.sh"
    if not path.exists():
        return None
    parts = re.split(r"^#> (.*)\n", path.read_text(), flags=re.MULTILINE)
    return {None: parts[0], **dict(zip(parts[1::2], parts[2::2]))}


def script(page, steps, at_hand):
    """What a shell runs for a page: its blocks, and what goes before each. What serves is left running."""
    base = OWN_PORTS.get(page, PORT)
    lines = ["set -euo pipefail", f". {shlex.quote(str(PREPARED / 'serving.sh'))} {base}", moved(at_hand.get(None, ""), base)]
    number = 0
    for step in steps:
        if isinstance(step, File):
            lines.append(f"mkdir -p \"$(dirname {step.name})\"\ncat >{step.name} <<'EOF'\n{moved(step.text, base)}EOF")
            continue
        lines += [moved(at_hand.get(step.first_line, ""), base), f"echo; echo '{MARK} before {number}'"]
        lines += [moved(left_running(step.text), base), f"echo; echo '{MARK} {number}'"]
        number += 1
    return "\n".join(lines)


def left_running(text):
    for pattern, prefix in SERVES:
        text = re.sub(rf"^{pattern}$", lambda found: f"{prefix} {found[0]}", text, flags=re.MULTILINE)
    return text
