"""Figures that pages compare are those that were measured: each row names its case of benchmarks.md."""

import re

from .blocks import GUIDE, ROOT

SOURCE = "benchmarks.md"
# Pages with figures, and how many of their tables have them.
PAGES = {ROOT / "README.md": 1, GUIDE / "comparison.md": 2}
CASE = re.compile(r"`([a-z0-9.-]+)`")
FIGURE = r"(?<![\d.,])\d[\d,]*\.\d+(?![\d.])"
# What a column is called, and whose row that is.
WHOSE = {"Accord": ("Accord", "gateway", "3 principals"), "Envoy": ("Envoy",), "a gateway of Gin and grpc-go": ("Gin",), "the gateway of Gin and grpc-go": ("Gin",)}


def measured(text):
    """Of each case, the figure of each server; where it is a sum, the sum."""
    cases = {}
    for case, section in re.findall(r"^### (\S+)\n(.*?)(?=^### |\Z)", text, re.MULTILINE | re.DOTALL):
        rows = re.findall(r"^\| ([^|]+) \| (\d+\.\d+)[^|]*\|", section, re.MULTILINE)
        cases[case] = {server: float(figure) for server, figure in rows}
    return cases


def tables(text):
    """The header and the rows of each table, in cells."""
    for found in re.finditer(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        header, _, *rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in found[0].splitlines()]
        yield header, rows


def check_figures(check, pages=None, source=None):
    """Of a table with a column `case`, each figure is that of the case and of the column's server. Elsewhere a figure stands in a
    paragraph that names its case."""
    cases = measured(source or (GUIDE / SOURCE).read_text())
    for path, count in (PAGES if pages is None else pages).items():
        text = path.read_text()
        compared = [(header, rows) for header, rows in tables(text) if "case" in header]
        check.expect(len(compared) == count, f"{path.name}: {len(compared)} tables have a column `case`, and {count} should")
        for header, rows in compared:
            for row in rows:
                check_row(check, path.name, dict(zip(header, row)), cases)
        check_lines(check, path, text)
        if path.parent == GUIDE:
            check_prose(check, path.name, text, cases)


def check_lines(check, path, text):
    """Of a table with a column `lines`, each row that is about one whole file."""
    for header, rows in tables(text):
        for row in rows if "lines" in header else ():
            if file := re.match(r"\[[^]]+\]\(([^)]+)\);", row[1]):
                count = len((path.parent / file[1]).read_text().splitlines())
                check.expect(str(count) == row[-1], f"{path.name}: {file[1]} has {count} lines, and not {row[-1]}")


def check_row(check, page, row, cases):
    """One case, or several beside each other, as of the parts of one kind."""
    (name,) = CASE.findall(row["case"]) or ("",)
    if not check.expect(name in cases, f"{page}: {SOURCE} has no case {name or row['case']!r}"):
        return
    known = cases[name]
    for column, cell in row.items():
        figure = re.search(r"\d[\d,]*(?:\.\d+)?", cell)
        if column not in WHOSE or not figure:
            continue
        wanted = next((known[server] for server in WHOSE[column] if server in known), None)
        shown = float(figure[0].replace(",", ""))
        check.expect(wanted == shown, f"{page}: {name} of {column} is {wanted} in {SOURCE}, and {shown} here")


def check_prose(check, page, text, cases):
    rest = re.sub(r"^\|[^\n]*\n|^```.*?^```\n", "", text, flags=re.MULTILINE | re.DOTALL)
    for paragraph in rest.split("\n\n"):
        named = [cases[name] for name in CASE.findall(paragraph) if name in cases]
        known = {value for case in named for value in case.values()}
        for figure in re.findall(FIGURE, paragraph.replace("HTTP/1.1", "")):
            check.expect(float(figure.replace(",", "")) in known, f"{page}: the figure {figure} is of no case that its paragraph names")
