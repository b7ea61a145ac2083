"""Runs what the guide shows, and holds what it only shows.

Usage: pages.py --binaries DIRECTORY [--tools DIRECTORY] [--build COMMAND]

Blocks of ```sh in the pages of RUN run in order, each page in one shell, beside a mesh that `cargo xtask up` has started; their
lines are those that are documented, with other ports and another directory. The plain block that follows one has what it prints, line by
line; `…` stands for anything. Blocks of other pages, and those for a cluster or an engine of containers, are read by a shell and not
run: the files that they name are there, and what they build with kustomize builds (COMMAND, which is given the directory). Prints
one line per finding, and exits with 1 if there is one.
"""

import argparse
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys

from checks.findings import Findings

ROOT = pathlib.Path(__file__).parents[1]
GUIDE = ROOT / "deploy" / "guide"
# The pages of tasks. Code of the other pages is run by suites of its own, which quote it.
RUN = ("install.md", "tokens.md", "cache-a-method.md", "browsers.md", "revoke.md", "scale.md", "upgrade.md", "migrate.md", "alerts.md")
# What needs more than the three binaries.
ELSEWHERE = {"kubectl", "docker", "sudo", "cargo"}
# Figures of these pages stand in that one.
FIGURES = (("comparison.md", "benchmarks.md"),)
PORTS = range(8080, 9012)
PORT = 21080
DATA = "target/pages"
START_SECONDS = 900
PAGE_SECONDS = 120
MARK = "block ends:"


class Block:
    """One block of a page: where it begins, its lines, and what is shown of its output."""

    def __init__(self, page, line, text, shown):
        self.place, self.text, self.shown = f"{page}:{line}", text, shown

    def is_elsewhere(self):
        words = {word for line in self.text.splitlines() for word in line.replace("|", " ").split()[:1]}
        return bool(words & ELSEWHERE)


def blocks(page, text):
    """The blocks of ```sh, which may be indented, as in a list."""
    fence = re.compile(r"^( *)```sh\n(.*?)^\1```\n(?:\n\1```\n(.*?)^\1```\n)?", re.MULTILINE | re.DOTALL)
    for found in fence.finditer(text):
        indent = found[1]
        lines = lambda part: [line.removeprefix(indent) for line in (part or "").splitlines()]
        yield Block(page, text[: found.start()].count("\n") + 1, "\n".join(lines(found[2])), lines(found[3]))


def moved(text):
    """The documented addresses and directory, as they are here."""
    port = lambda found: f"127.0.0.1:{int(found[1]) - 8080 + PORT if int(found[1]) in PORTS else found[1]}"
    return re.sub(r"127\.0\.0\.1:(\d+)", port, text).replace(".accord/", f"{DATA}/")


def check_shown(check, block, output):
    """Each shown line comes, in this order."""
    rest = output.splitlines()
    for shown in filter(None, block.shown):
        pattern = ".*".join(map(re.escape, shown.split("…")))
        at = next((number for number, line in enumerate(rest) if re.fullmatch(pattern, line.strip())), None)
        if not check.expect(at is not None, f"{block.place}: prints {output.strip()!r}, and should print {shown!r}"):
            return
        rest = rest[at + 1 :]


def run_page(check, page, runnable, environment):
    script = ["set -euo pipefail"]
    for number, block in enumerate(runnable):
        script += [moved(block.text), f"echo; echo '{MARK} {number}'"]
    command = ["bash", "-c", "\n".join(script)]
    try:
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PAGE_SECONDS)
    except subprocess.TimeoutExpired:
        check.expect(False, f"{page}: its blocks should have ended within {PAGE_SECONDS} s")
        return
    outputs = re.split(rf"\n?{MARK} \d+\n", run.stdout)
    if run.returncode:
        failed = runnable[len(outputs) - 1]
        check.expect(False, f"{failed.place}: exit status {run.returncode}: {(outputs[-1] + run.stderr).strip()[-800:]}")
    for block, output in zip(runnable, outputs[: len(outputs) - 1]):
        check_shown(check, block, output)


def check_static(check, block, build):
    """A shell reads it; the files of the repository that it names are there; what it has kustomize build builds."""
    read = subprocess.run(["bash", "-n", "-c", block.text], capture_output=True, text=True)
    check.expect(read.returncode == 0, f"{block.place}: a shell can't read it: {read.stderr.strip()}")
    made = set(re.findall(r"(?:mkdir -p|cp -r \S+) (\S+)", block.text))
    for path in re.findall(r"(?<![\w./-])(?:deploy|crates|tests)/[\w./-]+", block.text):
        known = (ROOT / path).exists() or "secrets" in path or any(path.startswith(it) for it in made)
        check.expect(known, f"{block.place}: {path} is not there")
    for directory in re.findall(r"(?:kubectl kustomize|--kustomize|-k) (deploy/[\w./-]+)", block.text):
        if build and (ROOT / directory).exists():
            built = subprocess.run([*shlex.split(build), directory], cwd=ROOT, capture_output=True, text=True)
            check.expect(built.returncode == 0, f"{block.place}: {directory} does not build: {built.stderr.strip()}")


def check_figures(check):
    """A page that compares quotes figures that were measured."""
    for page, source in FIGURES:
        measured = set(re.findall(r"\d+\.\d+", (GUIDE / source).read_text()))
        for row in (GUIDE / page).read_text().splitlines():
            for figure in re.findall(r"(?<![\d.])\d+\.\d+(?![\d.])", row.replace("HTTP/1.1", "")):
                check.expect(figure in measured, f"{page}: the figure {figure} is not in {source}")


def started(binaries):
    """A mesh to run the lines beside, and the variables that it says to paste."""
    command = [pathlib.Path(binaries, "xtask").resolve(), "up", "--ports", str(PORT), "--data", DATA]
    # What an earlier run has left would be in the way of this one.
    shutil.rmtree(ROOT / DATA, ignore_errors=True)
    # A group of its own, so that its end reaches all that it has started.
    up = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    signal.signal(signal.SIGALRM, lambda *_: up.kill())
    signal.alarm(START_SECONDS)
    said, variables = [], {}
    for line in up.stdout:
        said.append(line)
        if found := re.fullmatch(r"\s*export (\w+)=(\S+)\s*", line):
            variables[found[1]] = found[2]
        if line.startswith("Ctrl-C"):
            signal.alarm(0)
            return up, variables
    sys.exit("the mesh did not start:\n" + "".join(said[-20:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binaries", required=True, help="the directory of the built binaries")
    parser.add_argument("--tools", default="", help="the directory of buf")
    parser.add_argument("--build", help="what builds a kustomization")
    arguments = parser.parse_args()
    check, pages, ran = Findings(), sorted(GUIDE.rglob("*.md")), 0
    of_page = {page.name: list(blocks(page.name, page.read_text())) for page in pages}
    for block in (block for found in of_page.values() for block in found):
        check_static(check, block, arguments.build)
    check_figures(check)
    up, variables = started(arguments.binaries)
    try:
        path = ":".join([*(str(pathlib.Path(it).resolve()) for it in (arguments.binaries, arguments.tools)), os.environ["PATH"]])
        for page in RUN:
            runnable = [block for block in of_page[page] if not block.is_elsewhere()]
            check.expect(runnable, f"{page}: has nothing to run")
            run_page(check, page, runnable, {**os.environ, **variables, "PATH": path})
            ran += len(runnable)
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)
    print("\n".join(check.findings), end="\n" if check.findings else "")
    total = sum(map(len, of_page.values()))
    print(f"{total} blocks of {len(pages)} pages, {ran} of them run, {len(check.findings)} findings")
    sys.exit(1 if check.findings else 0)


if __name__ == "__main__":
    main()
