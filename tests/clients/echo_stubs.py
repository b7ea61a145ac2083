"""Stubs of the echo service, generated at start into a directory that goes away with the process."""

import atexit
import importlib
import shutil
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).parent / "proto"


def load():
    """Generates and imports the stubs; returns the message module and the service module."""
    out = tempfile.mkdtemp(prefix="accord-echo-")
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    arguments = ["protoc", f"-I{PROTO}", f"--python_out={out}", f"--grpc_python_out={out}", "echo/v1/echo_service.proto"]
    if protoc.main(arguments) != 0:
        raise SystemExit("the echo service's proto does not compile")
    sys.path.insert(0, out)
    return importlib.import_module("echo.v1.echo_service_pb2"), importlib.import_module("echo.v1.echo_service_pb2_grpc")
