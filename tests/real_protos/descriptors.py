"""Descriptor sets from packages that ship them: Python's wheels have them in their modules, Google's protos are compiled.

Usage: descriptors.py WHEELS PROTOS OUT      (folders; OUT gets one NAME.binpb a set)
"""

import ast
import subprocess
import sys
import zipfile
from collections import defaultdict
from importlib.resources import files
from pathlib import Path

import google.protobuf
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet


def serialized(source):
    """The files that generated modules hold as bytes, in today's form and in that of older versions. Nothing is imported."""
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        if getattr(call.func, "attr", None) == "AddSerializedFile":
            yield call.args[0]
        yield from (keyword.value for keyword in call.keywords if keyword.arg == "serialized_pb")


def described(source):
    for literal in serialized(source):
        if isinstance(literal, ast.Call):
            # `_b("…")`, from when the same module had to run under Python 2.
            yield FileDescriptorProto.FromString(literal.args[0].value.encode("latin1"))
        elif isinstance(literal, ast.Constant):
            yield FileDescriptorProto.FromString(literal.value)


def of_wheel(path):
    found = {}
    with zipfile.ZipFile(path) as wheel:
        for name in wheel.namelist():
            if name.endswith("_pb2.py"):
                found.update((file.name, file) for file in described(wheel.read(name)))
    return found


def of_environment():
    """What the wheels import and do not ship: protobuf's own files, and Google's common ones."""
    packages = Path(google.protobuf.__file__).parents[1]
    modules = (described(module.read_bytes()) for module in packages.rglob("*_pb2.py"))
    return {file.name: file for found in modules for file in found}


def closed(names, known):
    """The files and everything they import, in an order in which each stands behind its imports."""
    ordered = {}

    def add(name):
        if name not in ordered:
            for imported in known[name].dependency:
                add(imported)
            ordered[name] = known[name]

    for name in names:
        add(name)
    return FileDescriptorSet(file=ordered.values())


def with_services(known):
    return [name for name, file in known.items() if file.service]


def wheels(folder):
    """One set a wheel. What a wheel imports may be in another one."""
    own = {path.name.split("-")[0]: of_wheel(path) for path in sorted(folder.glob("*.whl"))}
    elsewhere = {name: file for found in own.values() for name, file in found.items()}
    elsewhere |= of_environment()
    return {name: closed(with_services(found), {**elsewhere, **found}) for name, found in own.items()}


def googles(folder, scratch):
    """One set for each folder of Google's protos that has services, and one of all that is in `google/cloud`."""
    names = [str(path.relative_to(folder)) for path in sorted(folder.glob("google/**/*.proto"))]
    names = [name for name in names if not name.startswith("google/protobuf/")]
    out = scratch / "google.binpb"
    includes = [f"-I{folder}", f"-I{files('grpc_tools') / '_proto'}"]
    command = [sys.executable, "-m", "grpc_tools.protoc", *includes, "--include_imports", f"--descriptor_set_out={out}"]
    # It warns of more than a thousand unused imports.
    compiled = subprocess.run([*command, *names], capture_output=True, text=True)
    if compiled.returncode != 0:
        raise SystemExit(f"protoc does not compile the protos of google-proto-files:\n{compiled.stderr}")
    known = {file.name: file for file in FileDescriptorSet.FromString(out.read_bytes()).file}
    out.unlink()
    folders = defaultdict(list)
    for name in with_services(known):
        folders[name.rsplit("/", 1)[0].replace("/", "_")].append(name)
    cloud = [name for name in with_services(known) if name.startswith("google/cloud/")]
    return {name: closed(found, known) for name, found in folders.items()} | {"all_of_google_cloud": closed(cloud, known)}


def main():
    wheel_folder, proto_folder, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    for name, found in {**wheels(wheel_folder), **googles(proto_folder, out)}.items():
        (out / f"{name}.binpb").write_bytes(found.SerializeToString())


if __name__ == "__main__":
    main()
