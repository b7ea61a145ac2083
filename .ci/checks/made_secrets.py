"""Secrets that are made to see whether a binary would serve: of the names and forms that the guide gives, and worth nothing."""

import base64
import functools
import pathlib
import re
import secrets
import subprocess
import tempfile

GUIDE = pathlib.Path(__file__).parents[2] / "deploy" / "guide"
TLS = ("tls.crt", "tls.key", "ca.crt")


def known():
    """The keys of each Secret, as the tables of the guide say: of a binary in deployment.md, of a Secret in production.md."""
    keys = {}
    for page, row in (
        ("deployment.md", r"\| (gateway|auth|cache) \| ((?:`[\w.-]+`(?:, )?)+) \|"),
        ("production.md", r"\| `(accord-[\w-]+)` \| ((?:`[\w.-]+`(?:, )?)+) \|"),
    ):
        for name, files in re.findall(row, (GUIDE / page).read_text()):
            secret = name if name.startswith("accord-") else f"accord-{name}"
            keys.setdefault(secret, set()).update(re.findall(r"`([\w.-]+)`", files))
    return keys


def write(directory):
    """Writes every key of every Secret into one directory."""
    certificate, key = certified()
    for file in {file for files in known().values() for file in files} | set(TLS):
        if file.endswith(".key"):
            text = key
        elif file.endswith(".crt"):
            text = certificate
        else:
            text = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        (directory / file).write_text(text)


@functools.cache
def certified():
    """A certificate that vouches for itself, and its key."""
    with tempfile.TemporaryDirectory() as directory:
        paths = [pathlib.Path(directory, name) for name in ("certificate", "key")]
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        names = ["-subj", "/CN=accord", "-addext", "subjectAltName=DNS:accord", "-days", "2"]
        command += [*names, "-out", paths[0], "-keyout", paths[1]]
        subprocess.run(command, check=True, capture_output=True)
        return tuple(path.read_text() for path in paths)
