"""Starts one pod of each binary as manifests say, and makes a call through all of them.

Usage: rehearsal.py MANIFESTS --binaries DIRECTORY --python PROGRAM, as root

MANIFESTS is what kustomize built of an overlay. Each pod is a process with the root that `deploy/pack` lays out, the user, arguments, variables,
ConfigMaps and Secrets of its manifest, in a network of its own where the names of Services are this machine. Where
it needs stores, PostgreSQL and Redis are real, with TLS and passwords; certificates are made as the Certificates ask for them. Behind it is the
sample service, or what the manifests name as an upstream: the service of tests/clients, in Python with its server reflection, for which PROGRAM
has grpcio. Prints what was tried, and exits with 1 at the first thing that is not as it should be.
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
import tomllib
import urllib.request

from checks import made_secrets
from checks.authority import Authority
from checks.findings import BINARIES, Manifests, config_maps

ROOT = pathlib.Path(__file__).parents[1]
USER = "65532:65532"
NAMES = ("accord-auth", "accord-cache", "postgresql.stores", "valkey.stores", "catalog.shop", "echo.shop")
# Where manifests name no service.
UPSTREAMS = '[[upstream]]\nname = "catalog"\nurls = ["http://catalog.shop:9000"]\n'
MEMBER, STRANGER = "spiffe://accord/member/rehearsal", "stranger"
ADMIN = {"auth": 8091, "cache": 8101, "gateway": 8081}
# What is called, and whose role may: the read of each service that is cached.
CALLS = {"catalog": ("/v1/products", "catalog-reader"), "echo": ("/v1/echo/hello", "echo-reader")}
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
# Each listener with whom it lets in, and whom it does not although the same authority has signed.
LISTENERS = (
    ("accord-auth", 8090, ("gateway", "cache", MEMBER), ("auth", STRANGER)),
    ("accord-cache", 8100, ("gateway",), ("auth", "cache", MEMBER)),
    ("accord-gateway-internal", 8082, (MEMBER,), ("gateway", "cache", STRANGER)),
)
WAIT_SECONDS = 60
PROCESSES = []


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifests", type=pathlib.Path)
    parser.add_argument("--binaries", type=pathlib.Path, required=True)
    parser.add_argument("--python", type=pathlib.Path, required=True, help="a Python with tests/clients/requirements.txt")
    arguments = parser.parse_args()
    if "REHEARSAL" not in os.environ:
        # A network with nothing but the loopback interface, and an end for all that is started here.
        again = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, *sys.argv]
        sys.exit(subprocess.run(again, env={**os.environ, "REHEARSAL": "1"}).returncode)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    directory = pathlib.Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    try:
        rehearse(Manifests.read(arguments.manifests.read_text()), arguments.binaries.resolve(), arguments.python.absolute(), directory)
    finally:
        for process in PROCESSES:
            process.kill()
        shutil.rmtree(directory)


def rehearse(manifests, binaries, python, directory):
    authority = Authority(directory / "authority")
    secrets = make_secrets(manifests, authority)
    has_stores = manifests.get("NetworkPolicy", "accord-postgresql") is not None
    if has_stores:
        query = start_postgresql(directory, secrets, authority)
        start_redis(directory, secrets, authority)
    pods = {name: Pod(manifests, name, binaries, directory / name, secrets) for name in BINARIES}
    pods["auth"].prepare()
    for name in ("auth", "cache", "gateway"):
        pods[name].start()
    (service,) = tomllib.loads(pods["gateway"].file("upstreams.toml"))["upstream"]
    services = {
        "catalog": [binaries / "accord-catalog", "serve", "--listen", "127.0.0.1:9000", "--store", directory / "catalog.db"],
        "echo": [python, ROOT / "tests" / "clients" / "echo_server.py", "--port", "50051"],
    }
    start(services[service["name"]], directory / "service.log")
    for name, port in ADMIN.items():
        until(f"accord-{name} is ready", lambda: fetch(f"http://127.0.0.1:{port}/readyz")[0] == 200, pods[name])
    path, role = CALLS[service["name"]]
    pods["auth"].run("principal", "add", "try", "--role", role)
    try_call(pods, public(manifests, authority, directory) + path, pods["auth"].run("token", "issue", "--subject", "try").strip())
    try_samples(pods, SAMPLES + (SAMPLES_OF_STORES if has_stores else ()))
    if manifests.of_kind("Certificate"):
        try_certificates(authority, pods, directory)
    if has_stores:
        try_secrets(pods, secrets, query)
    for name in ("gateway", "cache", "auth"):
        pods[name].end()


def public(manifests, authority, directory):
    """Where the world calls, which trusts the authority: over TLS, by the host of the gateway's public certificate, where it has one."""
    certificate = manifests.get("Certificate", "accord-gateway-public")
    if certificate is None:
        return "http://127.0.0.1:8080"
    (host,) = certificate["spec"]["dnsNames"]
    hosts = directory / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {host}\n")
    # Of this process alone, which has mounts of its own.
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
    os.environ["SSL_CERT_FILE"] = str(authority.certificate)
    return f"https://{host}:8080"


def try_call(pods, url, token):
    """A read goes through all three, and comes from the cache when it is made again."""
    headers = {"authorization": f"Bearer {token}"}
    until("a call comes through", lambda: fetch(url, headers)[0] == 200, pods["gateway"])
    until("it comes from the cache", lambda: "hit" in fetch(url, headers)[1].get("cache-status", ""), pods["cache"])
    expect("a call without a token is refused", fetch(url)[0] == 401)


def try_samples(pods, samples):
    for name, sample in samples:
        url = f"http://127.0.0.1:{ADMIN[name]}/metrics"
        until(f"accord-{name} says {sample}", lambda: sample in fetch(url)[2], pods[name])


def try_certificates(authority, pods, directory):
    """Nobody is let in without a certificate of a name that is listed, and one that was renewed is taken over without a restart."""
    shown = {name: pod.root / "run/tls" for name, pod in pods.items()}
    for number, name in enumerate((MEMBER, STRANGER)):
        shown[name] = directory / f"client-{number}"
        shown[name].mkdir()
        authority.write(shown[name], "client", [name])
    for host, port, good, bad in LISTENERS:
        expect(f"{host} lets nobody in without a certificate", not is_let_in(authority, host, port, None))
        for name in good:
            expect(f"{host} lets in {name}", is_let_in(authority, host, port, shown[name]))
        for name in bad:
            expect(f"{host} does not let in {name}", not is_let_in(authority, host, port, shown[name]))
    authority.write(pods["auth"].root / "run/tls", "accord-auth", pods["auth"].names)
    replaced = 'accord_files_reloads_total{kind="server_tls",outcome="replaced"} 1'
    until("a renewed certificate is taken over", lambda: replaced in fetch("http://127.0.0.1:8091/metrics")[2], pods["auth"])


def try_secrets(pods, secrets, query):
    """Passwords of the database, and the secret with which the gateway logs in, are other ones without a restart."""
    for name in ("auth", "cache"):
        password = random.token_urlsafe(32)
        pods[name].replace("run/secrets/database-password", password)
        changed = query(f"ALTER ROLE accord_{name} PASSWORD '{password}'")
        # New connections have to be made, with the new password.
        ended = query(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'accord_{name}'")
        expect(f"the password of accord_{name} is another one", changed and ended)
        wanted = "the password of the database server is another one"
        until(f"accord-{name} takes over its password", lambda: wanted in pods[name].log.read_text(), pods[name])
    sample = SAMPLES[2][1]
    until("auth is at its store again", lambda: sample in fetch(f"http://127.0.0.1:{ADMIN['auth']}/metrics")[2], pods["auth"])
    logins = 'accord_auth_logins_total{outcome="succeeded"}'
    before, secret = value(ADMIN["auth"], logins), random.token_urlsafe(32)
    pods["auth"].replace("run/secrets/gateway-secret", secret)
    pods["gateway"].replace("run/secrets/client-secret", secret)
    until("the gateway logs in with another secret", lambda: value(ADMIN["auth"], logins) > before, pods["auth"])
    taken = '{kind="client_secrets",outcome="replaced"} 1'
    until("auth says so", lambda: taken in fetch(f"http://127.0.0.1:{ADMIN['auth']}/metrics")[2], pods["auth"])
    pods["auth"].run("principal", "list")


def value(port, sample):
    """The sum of a metric over its other labels."""
    name, _, label = sample.rstrip("}").partition("{")
    lines = (line for line in fetch(f"http://127.0.0.1:{port}/metrics")[2].splitlines() if line.startswith(name) and label in line)
    return sum(float(line.rpartition(" ")[2]) for line in lines)


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
        if "upstreams.toml" in files and "upstream" not in tomllib.loads(files["upstreams.toml"]):
            files["upstreams.toml"] = UPSTREAMS
        if "secret" in volume:
            files.update(self.secrets[volume["secret"]["secretName"]])
        for file, text in files.items():
            (directory / file).write_text(text)
            os.chown(directory / file, 0, 65532)
            (directory / file).chmod(0o440)
        if "emptyDir" in volume or "persistentVolumeClaim" in volume:
            os.chown(directory, 65532, 65532)

    def file(self, name):
        """The text of a file of its configuration."""
        return (self.root / "etc/accord" / name).read_text()

    def replace(self, path, text):
        """Another file in the place of one of a Secret, as a kubelet puts it there."""
        file, following = self.root / path, self.root / f"{path}.next"
        following.write_text(text)
        following.chmod(file.stat().st_mode)
        shutil.chown(following, 0, 65532)
        following.rename(file)

    def variables(self, container):
        values = {"PATH": "/usr/local/bin"}
        for variable in container.get("env", ()):
            source = variable.get("valueFrom", {})
            if "secretKeyRef" in source:
                wanted = source["secretKeyRef"]
                text = self.secrets[wanted["name"]].get(wanted["key"])
                # Left out where the Secret has no such key and need not have it.
                if text is None and wanted.get("optional"):
                    continue
                values[variable["name"]] = self.secrets[wanted["name"]][wanted["key"]]
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
        secrets[f"accord-{name}"]["valkey-ca.crt"] = authority.certificate.read_text()
    # One server for both.
    secrets["accord-cache"]["valkey-password"] = secrets["accord-gateway"]["valkey-password"]
    for name in ("auth", "cache"):
        secrets[f"accord-{name}"]["postgresql-ca.crt"] = authority.certificate.read_text()
    for certificate in manifests.of_kind("Certificate"):
        spec = certificate["spec"]
        if not spec.get("isCA"):
            with tempfile.TemporaryDirectory() as directory:
                authority.write(pathlib.Path(directory), spec.get("commonName", spec["dnsNames"][0]), spec["dnsNames"])
                files = {it.name: it.read_text() for it in pathlib.Path(directory).iterdir()}
            secrets[spec["secretName"]] = files
    return secrets


def start_redis(directory, secrets, authority):
    """A server that nobody reaches but by TLS, with a password."""
    tls = directory / "redis-tls"
    tls.mkdir()
    authority.write(tls, "valkey.stores", ["valkey.stores"])
    own = ["--tls-cert-file", tls / "tls.crt", "--tls-key-file", tls / "tls.key", "--tls-ca-cert-file", tls / "ca.crt"]
    flags = ["--bind", "127.0.0.1", "--port", "0", "--tls-port", "6379", "--tls-auth-clients", "no", "--save", ""]
    password = secrets["accord-gateway"]["valkey-password"]
    start(["redis-server", *flags, *own, "--requirepass", password], directory / "redis.log")


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
    return query


def start(command, log, environment=None):
    # Its input stays open: what was started ends with this process.
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=log.open("w"), stderr=subprocess.STDOUT, cwd="/")
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
