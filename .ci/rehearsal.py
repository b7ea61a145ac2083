"""Starts one pod of each binary as manifests say, and makes a call through all of them.

Usage: rehearsal.py MANIFESTS --binaries DIRECTORY, as root

MANIFESTS is what kustomize built of an overlay. Each pod is a process with the root that `deploy/pack` lays out, the user, arguments, variables,
ConfigMaps and Secrets of its manifest, in a network of its own where the names of Services are this machine. Where
it needs stores, PostgreSQL and Redis are real, with TLS and passwords; certificates are made as the Certificates ask for them. Prints what was tried, and exits with 1 at the first
thing that is not as it should be.
"""

import argparse
import os
import pathlib
import secrets as random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request

from checks import made_secrets
from checks.authority import Authority
from checks.findings import BINARIES, Manifests, config_maps

ROOT = pathlib.Path(__file__).parents[1]
USER = "65532:65532"
NAMES = ("accord-auth", "accord-cache", "postgresql.stores", "valkey.stores", "catalog.shop")
UPSTREAMS = '[[upstream]]\nname = "catalog"\nurls = ["http://catalog.shop:9000"]\n'
ADMIN = {"auth": 8091, "cache": 8101, "gateway": 8081}
SAMPLES = (
    ("gateway", 'accord_dependency_up{dependency="auth"} 1'),
    ("cache", 'accord_dependency_up{dependency="auth"} 1'),
    ("auth", 'accord_dependency_up{dependency="store"} 1'),
)
SAMPLES_OF_STORES = (
    ("gateway", "accord_gateway_shared_limits_up 1"),
    ("cache", 'accord_cache_log_verifications_total{result="ok"}'),
    ("cache", "accord_cache_second_level_up 1"),
)
LISTENERS = (("auth", "accord-auth", 8090), ("cache", "accord-cache", 8100), ("gateway", "accord-gateway-internal", 8082))
WAIT_SECONDS = 60
PROCESSES = []


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifests", type=pathlib.Path)
    parser.add_argument("--binaries", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    if "REHEARSAL" not in os.environ:
        # A network with nothing but the loopback interface, and an end for all that is started here.
        again = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, *sys.argv]
        sys.exit(subprocess.run(again, env={**os.environ, "REHEARSAL": "1"}).returncode)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    directory = pathlib.Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    try:
        rehearse(Manifests.read(arguments.manifests.read_text()), arguments.binaries.resolve(), directory)
    finally:
        for process in PROCESSES:
            process.kill()
        shutil.rmtree(directory)


def rehearse(manifests, binaries, directory):
    authority = Authority(directory / "authority")
    secrets = make_secrets(manifests, authority)
    has_stores = manifests.get("NetworkPolicy", "accord-postgresql") is not None
    if has_stores:
        start_postgresql(directory, secrets, authority)
        password = secrets["accord-gateway"]["valkey-password"]
        start(["redis-server", "--bind", "127.0.0.1", "--save", "", "--requirepass", password], directory / "redis.log")
    pods = {name: Pod(manifests, name, binaries, directory / name, secrets) for name in BINARIES}
    pods["auth"].prepare()
    for name in ("auth", "cache", "gateway"):
        pods[name].start()
    catalog = [binaries / "accord-catalog", "serve", "--listen", "127.0.0.1:9000", "--store", directory / "catalog.db"]
    start(catalog, directory / "catalog.log")
    for name, port in ADMIN.items():
        until(f"accord-{name} is ready", lambda: fetch(f"http://127.0.0.1:{port}/readyz")[0] == 200, pods[name])
    pods["auth"].run("principal", "add", "try", "--role", "catalog-reader")
    try_call(pods, pods["auth"].run("token", "issue", "--subject", "try").strip())
    try_samples(pods, SAMPLES + (SAMPLES_OF_STORES if has_stores else ()))
    if manifests.of_kind("Certificate"):
        try_certificates(authority, pods)
    for name in ("gateway", "cache", "auth"):
        pods[name].end()


def try_call(pods, token):
    """A read goes through all three, and comes from the cache when it is made again."""
    url, headers = "http://127.0.0.1:8080/v1/products", {"authorization": f"Bearer {token}"}
    until("a call comes through", lambda: fetch(url, headers)[0] == 200, pods["gateway"])
    until("it comes from the cache", lambda: "hit" in fetch(url, headers)[1].get("cache-status", ""), pods["cache"])
    expect("a call without a token is refused", fetch(url)[0] == 401)


def try_samples(pods, samples):
    for name, sample in samples:
        url = f"http://127.0.0.1:{ADMIN[name]}/metrics"
        until(f"accord-{name} says {sample}", lambda: sample in fetch(url)[2], pods[name])


def try_certificates(authority, pods):
    """Nobody is let in without a certificate, and one that was renewed is taken over without a restart."""
    for name, host, port in LISTENERS:
        expect(f"{host} lets nobody in without a certificate", not is_let_in(authority, host, port, None))
        expect(f"{host} lets in who shows one", is_let_in(authority, host, port, pods[name].root / "run/tls"))
    authority.write(pods["auth"].root / "run/tls", "accord-auth", pods["auth"].names)
    replaced = 'accord_files_reloads_total{kind="server_tls",outcome="replaced"} 1'
    until("a renewed certificate is taken over", lambda: replaced in fetch("http://127.0.0.1:8091/metrics")[2], pods["auth"])


def is_let_in(authority, host, port, directory):
    """Whether a connection stands after the server has looked at the client's certificate, which it does last."""
    context = ssl.create_default_context(cafile=authority.certificate)
    context.set_alpn_protocols(["h2"])
    if directory:
        context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as plain, context.wrap_socket(plain, server_hostname=host) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            return bool(connection.recv(1))
    except (ssl.SSLError, ConnectionError):
        return False


class Pod:
    """One process, started as a pod's manifest says."""

    def __init__(self, manifests, name, binaries, root, secrets):
        self.name, self.root, self.secrets = name, root, secrets
        self.pod = manifests.pod(name)
        self.container = self.pod["containers"][0]
        certificate = manifests.get("Certificate", f"accord-{name}")
        self.names = certificate["spec"]["dnsNames"] if certificate else []
        subprocess.run([ROOT / "deploy" / "pack", binaries / f"accord-{name}", root], check=True)
        (root / "etc/hosts").write_text("".join(f"127.0.0.1 {it}\n" for it in ("localhost", *NAMES)))
        (root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
        for mount in self.container["volumeMounts"]:
            self.fill(manifests, mount, root / mount["mountPath"].lstrip("/"))

    def fill(self, manifests, mount, directory):
        directory.mkdir(parents=True)
        volume = next(it for it in self.pod["volumes"] if it["name"] == mount["name"])
        files = {}
        for source in config_maps(volume):
            files.update(manifests.get("ConfigMap", source)["data"])
        if "upstreams.toml" in files:
            files["upstreams.toml"] = UPSTREAMS
        if "secret" in volume:
            files.update(self.secrets[volume["secret"]["secretName"]])
        for file, text in files.items():
            (directory / file).write_text(text)
            os.chown(directory / file, 0, 65532)
            (directory / file).chmod(0o440)
        if "emptyDir" in volume or "persistentVolumeClaim" in volume:
            os.chown(directory, 65532, 65532)

    def variables(self, container):
        values = {"PATH": "/usr/local/bin"}
        for variable in container.get("env", ()):
            source = variable.get("valueFrom", {})
            if "secretKeyRef" in source:
                values[variable["name"]] = self.secrets[source["secretKeyRef"]["name"]][source["secretKeyRef"]["key"]]
            else:
                values[variable["name"]] = variable.get("value", f"accord-{self.name}-0")
        return values

    def command(self, arguments):
        return [shutil.which("chroot"), f"--userspec={USER}", self.root, f"/usr/local/bin/accord-{self.name}", *arguments]

    def prepare(self):
        for container in self.pod.get("initContainers", ()):
            command, variables = self.command(container["args"]), self.variables(container)
            done = subprocess.run(command, env=variables, capture_output=True, text=True)
            expect(f"{container['name']} is prepared", done.returncode == 0, done.stderr)

    def run(self, *arguments):
        """A command of the binary, with the configuration that the pod has; what it prints."""
        command, variables = self.command([*arguments, *self.container["args"][1:]]), self.variables(self.container)
        done = subprocess.run(command, env=variables, capture_output=True, text=True)
        expect(f"accord-{self.name} {' '.join(arguments)}", done.returncode == 0, done.stderr)
        return done.stdout

    def start(self):
        self.log = self.root.with_suffix(".log")
        self.process = start(self.command(self.container["args"]), self.log, self.variables(self.container))

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(self.pod["terminationGracePeriodSeconds"])
        expect(f"accord-{self.name} ends in order", status == 0, self.log.read_text()[-2000:])


def make_secrets(manifests, authority):
    """Every Secret of the guide, with secrets that fit to each other, and those of the Certificates."""
    text = lambda: random.token_urlsafe(32)
    secrets = {name: {key: text() for key in keys} for name, keys in made_secrets.known().items()}
    for name in ("gateway", "cache"):
        secrets["accord-auth"][f"{name}-secret"] = secrets[f"accord-{name}"]["client-secret"]
    # One server for both.
    secrets["accord-cache"]["valkey-password"] = secrets["accord-gateway"]["valkey-password"]
    for name in ("auth", "cache"):
        secrets[f"accord-{name}"]["postgresql-ca.crt"] = authority.certificate.read_text()
    for certificate in manifests.of_kind("Certificate"):
        spec = certificate["spec"]
        if not spec.get("isCA"):
            with tempfile.TemporaryDirectory() as directory:
                authority.write(pathlib.Path(directory), spec["commonName"], spec["dnsNames"])
                files = {it.name: it.read_text() for it in pathlib.Path(directory).iterdir()}
            secrets[spec["secretName"]] = files
    return secrets


def start_postgresql(directory, secrets, authority):
    """A server that takes passwords over the network and whom a certificate names, with a database for each who has one."""
    tls, data = directory / "postgresql-tls", directory / "postgresql"
    for path in (tls, data):
        path.mkdir()
    authority.write(tls, "postgresql.stores", ["postgresql.stores"])
    for path in (data, tls, *tls.iterdir()):
        shutil.chown(path, "postgres", "postgres")
        path.chmod(0o700 if path.is_dir() else 0o600)
    programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    as_postgres = ["runuser", "--user", "postgres", "--"]
    local = ["--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"]
    subprocess.run([*as_postgres, programs / "initdb", *local, "-D", data], check=True, capture_output=True)
    settings = ("listen_addresses=127.0.0.1", f"unix_socket_directories={data}", "ssl=on")
    settings += (f"ssl_cert_file={tls}/tls.crt", f"ssl_key_file={tls}/tls.key")
    flags = [part for setting in settings for part in ("-c", setting)]
    start([*as_postgres, programs / "postgres", "-D", data, *flags], directory / "postgresql.log")

    def query(text):
        return subprocess.run([*as_postgres, programs / "psql", "-h", data, "-c", text], capture_output=True).returncode == 0

    until("PostgreSQL answers", lambda: query("SELECT 1"))
    for name in ("auth", "cache"):
        password = secrets[f"accord-{name}"]["database-password"]
        made = query(f"CREATE USER accord_{name} PASSWORD '{password}'") and query(f"CREATE DATABASE accord_{name} OWNER accord_{name}")
        expect(f"PostgreSQL has the user and the database accord_{name}", made)


def start(command, log, environment=None):
    process = subprocess.Popen(command, env=environment, stdout=log.open("w"), stderr=subprocess.STDOUT, cwd="/")
    PROCESSES.append(process)
    return process


def fetch(url, headers=None):
    """Status, headers and text of an answer; status 0 where there is none."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=10) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()
    except OSError:
        return 0, {}, ""


def until(what, holds, pod=None):
    end = time.monotonic() + WAIT_SECONDS
    while not (held := holds()) and time.monotonic() < end and (pod is None or pod.process.poll() is None):
        # Nothing tells when it holds: it is asked for again.
        time.sleep(0.1)
    expect(what, held, pod.log.read_text()[-3000:] if pod else "")


def expect(what, holds, why=""):
    print(f"{'ok   ' if holds else 'WRONG'} {what}", flush=True)
    if not holds:
        raise SystemExit(why or 1)


if __name__ == "__main__":
    main()
