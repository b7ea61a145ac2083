"""The metrics that there are: the tables of the guide, held against the instruments in the code."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
PAGES = ("operations.md", "outbox.md")
ROW = re.compile(r"^\| (`[a-z].*?) \| (`[a-z_`, ]+`) \| (.*) \| (.*?) ?\|$")
INSTRUMENT = re.compile(r'"((?:accord|rpc\.server|process)\.[a-z_]+(?:\.[a-z_]+)*)"')
# How an instrument is made, on the line of its name or one of the two before.
MAKING = re.compile(r"(counter|gauge|histogram|up_down)\w*\(")
SUFFIXES = ("_bucket", "_sum", "_count")


def documented():
    """The labels of each metric, by its name in Prometheus."""
    return {name: labels for names, _, labels in rows() for name in names}


def rows():
    """Of each row of the tables: the names in Prometheus, those of the instruments, and the names of labels."""
    found, before = [], set()
    for page in PAGES:
        for line in (ROOT / "deploy" / "guide" / page).read_text().splitlines():
            row = ROW.match(line)
            if not row or "_" not in row[2]:
                continue
            labels = set(re.findall(r"`([a-z_]+)`(?=:|,|;|$| \(|, a version)", row[4])) | ({"rpc_method"} if "rpc_method" in row[4] else set())
            # "the same" are the labels of the row before.
            before = before if "the same" in row[4] else labels
            found.append((re.findall(r"`([a-z_]+)`", row[2]), instruments(row[1]), before))
    return found


def instruments(cell):
    """`a.b.c`, `.d` stand for a.b.c, and for a.b.d or a.b.c.d, whichever there is."""
    names = re.findall(r"`([a-z_.]+)`", cell)
    parts = [name for name in names if name.startswith(".")]
    whole = [name for name in names if not name.startswith(".")]
    return whole, [(whole[0].rpartition(".")[0] + part, whole[0] + part) for part in parts]


def in_code():
    """The names of the instruments that the binaries make."""
    names = set()
    for path in (ROOT / "crates").glob("*/src/**/*.rs"):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            beside = "".join(lines[max(0, number - 2) : number + 1])
            if MAKING.search(beside):
                names |= set(INSTRUMENT.findall(line))
    return names


def check(check):
    """Each instrument has its row, and each row its instrument."""
    made, told = in_code(), set()
    for _, (whole, parts), _ in rows():
        told |= set(whole)
        for candidates in parts:
            there = [name for name in candidates if name in made]
            check.expect(there, f"the guide's table has a metric that no code makes: {' or '.join(candidates)}")
            told |= set(there)
    for name in sorted(told - made):
        check.expect(False, f"the guide's table has a metric that no code makes: {name}")
    for name in sorted(made - told):
        check.expect(False, f"a metric is not in the guide's tables: {name}")


def base(name):
    return next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)
