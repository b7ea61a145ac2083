"""Runs what the guide shows, and holds what it only shows.

Usage: pages.py --binaries DIRECTORY [--tools DIRECTORY] [--build COMMAND]

Blocks of ```sh run in order, each page in one shell, beside a mesh that `cargo xtask up` has started; their lines are those that are
documented, with other ports and another directory. The plain block that follows one has what it prints, line by line; `…` stands for
anything. Pages of RUN have all that they need. Those of PREPARED take for granted what their readers have, such as a client's secret
in a file: it is made first, in a directory of the page's own. Blocks that need what no machine of CI has (NOT_HERE), and those for a
cluster or an engine of containers, are read by a shell and not run: the files that they name are there, and what they build with
kustomize builds (COMMAND, which is given the directory). Prints one line per finding, and exits with 1 if there is one.
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
# The pages of tasks.
RUN = ("install.md", "commands.md", "tokens.md", "cache-a-method.md", "browsers.md", "revoke.md", "scale.md", "upgrade.md", "migrate.md", "alerts.md")
# Somebody who may do everything, and her token in the place of the reader's.
OLGA = """
accord-auth principal add olga --role accord-admin --role operator --if-absent
TOKEN=$(accord-auth token issue --subject olga)
"""
# A public key (RFC 8037, appendix A.2).
JWK = '{"keys":[{"kid":"mill-1","kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'
# The pages that explain, with what their readers have at hand.
PREPARED = {
    "console.md": "echo a-password-of-hers >password; cp target/pages/config/auth.toml auth.toml" + "\n" + OLGA.replace("olga", "otto"),
    "credentials.md": f"""
accord-auth principal add ada --role catalog-reader --if-absent
accord-auth client add shop --role catalog-reader --secret-file shop.secret --if-absent
echo '{JWK}' >mill.jwks
""",
    "deployment.md": "",
    "operations.md": OLGA.replace("--if-absent", "--role catalog-reader --if-absent"),
    "policies.md": "",
    # A store of their own, beside that of the mesh.
    "services.md": r"""
accord-auth client remove shop >removed.txt
printf '[[policy.object]]\nname = "Product"\nrelations = ["owner", "viewer"]\npermission = "catalog.relate"\n' >auth.toml
export ACCORD_AUTH_CONFIG=auth.toml
echo 'permit (principal in Accord::Role::"editor", action == Accord::Action::"notes.write", resource);' >policies.cedar
""",
}
# What stands in the way of a block, and how it is known.
NOT_HERE = {
    "somebody's own names, files or tokens": r"example\.com|svid\.pem|ID_TOKEN|/var/run/secrets|gateway\.secret|shop\.binpb|notes\.binpb|Group/sales|localhost:8080|WDJB-MJHT",
    "a process that serves until it is stopped": r"\bserve\b|up --",
    "a compiler of protos": r"\bprotoc\b|\.\./accord",
}
# Pages whose code is run by suites of their own, which quote it.
QUOTED = ("contract-builds.md", "namespaces.md", "internal-calls.md", "verify-passports.md")
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

    def not_here(self):
        """What stands in its way, if anything does."""
        found = [why for why, pattern in NOT_HERE.items() if re.search(pattern, self.text)]
        return found[0] if found else None

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
    text = re.sub(r"127\.0\.0\.1:(\d+)", port, text).replace(".accord/", f"{DATA}/")
    # Binaries are those under test.
    return text.replace("target/debug/", "")


def check_shown(check, block, output):
    """Each shown line comes, in this order."""
    rest = output.splitlines()
    for shown in filter(None, block.shown):
        pattern = ".*".join(map(re.escape, shown.split("…")))
        at = next((number for number, line in enumerate(rest) if re.fullmatch(pattern, line.strip())), None)
        if not check.expect(at is not None, f"{block.place}: prints {output.strip()!r}, and should print {shown!r}"):
            return
        rest = rest[at + 1 :]


def run_page(check, page, runnable, environment, prepared="", directory=ROOT):
    script = ["set -euo pipefail", prepared]
    for number, block in enumerate(runnable):
        script += [moved(block.text), f"echo; echo '{MARK} {number}'"]
    command = ["bash", "-c", "\n".join(script)]
    try:
        run = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=PAGE_SECONDS)
    except subprocess.TimeoutExpired:
        check.expect(False, f"{page}: its blocks should have ended within {PAGE_SECONDS} s")
        return
    outputs = re.split(rf"\n?{MARK} \d+\n", run.stdout)
    if run.returncode:
        failed = runnable[len(outputs) - 1]
        check.expect(False, f"{failed.place}: exit status {run.returncode}: {(outputs[-1] + run.stderr).strip()[-800:]}")
    for block, output in zip(runnable, outputs[: len(outputs) - 1]):
        check_shown(check, block, output)


def own_directory(page):
    """A directory for what a page makes, from which the repository's `target` is found as from its root."""
    directory = ROOT / DATA / "work" / page.removesuffix(".md")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    (directory / "target").symlink_to(ROOT / "target")
    return directory


def run_prepared(check, of_page, environment):
    """Runs what can be run of the pages that explain; how many blocks, and why others were not."""
    ran, left = 0, {}
    # Which store is meant, where the page leaves it to its reader.
    environment = {**environment, "ACCORD_AUTH_CONFIG": str(ROOT / DATA / "config" / "auth.toml")}
    for page, prepared in PREPARED.items():
        reasons = [block.not_here() or ("a cluster" if block.is_elsewhere() else None) for block in of_page[page]]
        runnable = [block for block, reason in zip(of_page[page], reasons) if not reason]
        check.expect(runnable, f"{page}: has nothing to run")
        run_page(check, page, runnable, environment, prepared, own_directory(page))
        ran += len(runnable)
        for reason in filter(None, reasons):
            left[reason] = left.get(reason, 0) + 1
    return ran, left


def check_every_page(check, of_page):
    """No page has commands that nothing runs, unless it says why here."""
    for page, found in of_page.items():
        known = page in RUN or page in PREPARED or page in QUOTED
        check.expect(known or all(block.is_elsewhere() or block.not_here() for block in found), f"{page}: its commands are run by nothing")


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
    check_every_page(check, of_page)
    up, variables = started(arguments.binaries)
    try:
        tools = [str(pathlib.Path(it).resolve()) for it in (arguments.binaries, arguments.tools)]
        # grpcurl, which the suite of outside clients installs; last, for there is a Python beside it.
        path = ":".join([*tools, os.environ["PATH"], str(ROOT / "target" / "tools" / "venv" / "bin")])
        for page in RUN:
            runnable = [block for block in of_page[page] if not block.is_elsewhere()]
            check.expect(runnable, f"{page}: has nothing to run")
            run_page(check, page, runnable, {**os.environ, **variables, "PATH": path})
            ran += len(runnable)
        prepared, left = run_prepared(check, of_page, {**os.environ, **variables, "PATH": path})
        ran += prepared
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)
    print("\n".join(check.findings), end="\n" if check.findings else "")
    total = sum(map(len, of_page.values()))
    print(f"{total} blocks of {len(pages)} pages, {ran} of them run, {len(check.findings)} findings")
    for reason, count in sorted(left.items()):
        print(f"  not run: {count}, which need {reason}")
    sys.exit(1 if check.findings else 0)


if __name__ == "__main__":
    main()
