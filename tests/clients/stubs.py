"""Stubs, generated at start into a directory that goes away with the process."""

import atexit
import shutil
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

# The protos of the clients' own services, those of Accord, and those that protoc brings.
ROOTS = (Path(__file__).parent / "proto", Path(__file__).parents[2] / "proto", Path(protoc.__file__).parent / "_proto")


def generate(*files):
    """Generates modules for messages and services; from then on they can be imported."""
    out = tempfile.mkdtemp(prefix="accord-stubs-")
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    roots = [f"-I{root}" for root in ROOTS]
    if protoc.main(["protoc", *roots, f"--python_out={out}", f"--grpc_python_out={out}", *files]) != 0:
        raise SystemExit(f"these protos do not compile: {', '.join(files)}")
    sys.path.insert(0, out)
