"""The metrics that there are, by the guide's table, which `cargo xtask metrics` writes and `cargo xtask tidy` holds against the binaries."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "deploy" / "guide" / "operations.md"
ROW = re.compile(r"^\| `[a-z._]+` \| `([a-z_]+)` \| (counter|gauge|histogram) \| [a-z, ]+ \| .* \| (.*?) ?\|$", re.MULTILINE)
# A label begins a cell, or stands behind the one before.
LABEL = re.compile(r"(?:^|; )`([a-z_]+)`")


def documented():
    """The labels of each series, by its name in Prometheus."""
    found = {}
    for name, kind, cell in ROW.findall(PAGE.read_text()):
        labels = set(LABEL.findall(cell))
        if kind == "histogram":
            found |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            found[name] = labels
    return found
