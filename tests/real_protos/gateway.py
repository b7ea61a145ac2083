"""The real gateway in front of one set of descriptors, with every method public."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

GATEWAY = os.environ.get("ACCORD_TEST_GATEWAY", "accord-gateway")
LISTENING = re.compile(r"listening .*?listen=(\S+).*?methods=(\d+) bindings=(\d+)")
# Nobody listens there: public methods need no auth.
NOWHERE = "http://127.0.0.1:1"


# Services that the gateway answers for itself, whoever has them as well.
OWN = ("grpc.health.", "grpc.reflection.")


def overlay(services):
    """Everything is public, by the outermost packages, and by services that are in none."""
    fronted = (service.split(".") for service in services if not service.startswith(OWN))
    selectors = sorted({f"{outermost}.*" if rest else f"{outermost}/*" for outermost, *rest in fronted})
    policy = '{ access = { public = true }, deadline = { default = "20s", max = "30s" } }'
    return "".join(f'[[rule]]\nselector = "{selector}"\npolicy = {policy}\n' for selector in selectors)


def check(descriptors, services):
    """The findings of `contract check`, its exit status, and what it took: seconds and the most memory in KB."""
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "overlay.toml").write_text(overlay(services))
        command = [GATEWAY, "contract", "check", "--upstream", f"set={NOWHERE}", "--descriptors", f"set={descriptors}"]
        process = subprocess.Popen(
            [*command, "--overlay", f"{home}/overlay.toml"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        with process.stdout:
            output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return output.splitlines(), process.returncode, usage


class Gateway:
    def __init__(self, descriptors, services, port):
        self.home = tempfile.TemporaryDirectory()
        home = Path(self.home.name)
        (home / "overlay.toml").write_text(overlay(services))
        (home / "secret").write_text("of nobody")
        arguments = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--auth", NOWHERE]
        arguments += ["--client-id", "gateway", "--client-secret-file", str(home / "secret")]
        arguments += ["--upstream", f"set=http://127.0.0.1:{port}", "--descriptors", f"set={descriptors}"]
        self.process = subprocess.Popen(
            [GATEWAY, *arguments, "--overlay", str(home / "overlay.toml")],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        self.log = []
        self.address, self.methods, self.bindings = self.listening()

    def listening(self):
        for line in self.process.stdout:
            self.log.append(line)
            found = LISTENING.search(line)
            if found:
                return found[1], int(found[2]), int(found[3])
        raise AssertionError("the gateway ended:\n" + "".join(self.log[-8:]))

    def memory(self):
        """The most memory it has held so far, in KB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1])

    def stop(self):
        self.process.terminate()
        self.process.communicate(timeout=30)
        self.home.cleanup()
