"""What a check works on: the objects of a set of manifests, the binaries, and what was found to be wrong."""

import json
import os
import pathlib
import subprocess
import tempfile
import tomllib

import yaml

from . import made_secrets

BINARIES = ("gateway", "auth", "cache")
# What keeps the pods of each. Only a StatefulSet never has two of one name at a time.
WORKLOADS = {"gateway": "Deployment", "auth": "Deployment", "cache": "StatefulSet"}
# The binaries that call upstreams, and the file that tells them which.
CALLERS = ("gateway", "cache")
UPSTREAMS = "upstreams.toml"
UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60}


class Findings:
    """Where what is wrong gathers."""

    def __init__(self):
        self.findings = []

    def expect(self, truth, finding):
        if not truth:
            self.findings.append(finding)
        return truth


class Check(Findings):
    """Findings, and what answers for the binaries."""

    def __init__(self, binaries, descriptors):
        super().__init__()
        self.binaries = pathlib.Path(binaries)
        # Of the upstream `echo`, in the place of its server reflection.
        self.descriptors = descriptors

    def run(self, name, *arguments, environment=None):
        command = [self.binaries / f"accord-{name}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})})

    def effective(self, place, name, texts, environment=None):
        """What a binary makes of files, given by name and text, and of variables; None if it refuses them."""
        printed = once(self.printed, name, texts, environment or {})
        if not self.expect(printed.returncode == 0, f"{place}: accord-{name} refuses it: {printed.stderr.strip()}"):
            return None
        return tomllib.loads(printed.stdout)

    def printed(self, name, texts, environment):
        with tempfile.TemporaryDirectory() as directory:
            flags = written(texts, pathlib.Path(directory))
            return self.run(name, "config", "print", *flags, environment=environment)

    def serviceable(self, place, name, texts, environment, files):
        """Whether a binary would serve with these files, all that its directories hold, and secrets made here: its `check`."""
        checked = once(self.checked, name, texts, environment, files)
        said = (checked.stdout + checked.stderr).strip()
        self.expect(checked.returncode == 0, f"{place}: accord-{name} check: {said}")

    def checked(self, name, texts, environment, files):
        with tempfile.TemporaryDirectory() as directory:
            directory = pathlib.Path(directory)
            made_secrets.write(directory)
            for file, text in files.items():
                (directory / file).write_text(there_to_here(text, directory))
            here = {key: there_to_here(value, directory) for key, value in environment.items()}
            flags = written({file: there_to_here(text, directory) for file, text in texts.items()}, directory)
            return self.run(name, "check", *flags, *self.upstreams(name, texts), environment=here)

    def prepared(self, preparations, texts):
        """What each of them said against it."""
        with tempfile.TemporaryDirectory() as directory:
            directory = pathlib.Path(directory)
            written({file: there_to_here(text, directory) for file, text in texts.items()}, directory)
            environment = {"ACCORD_AUTH__STORE__URL": f"sqlite://{directory}/store.db"}
            errors = []
            for name, image, arguments in preparations:
                program = image.rpartition("/")[2].partition(":")[0].removeprefix("accord-")
                here = [there_to_here(argument, directory) for argument in arguments]
                # Secrets that a flag names are made by the command, as a person would.
                run = self.run(program, *here, environment=environment)
                errors.append((name, run.returncode and run.stderr.strip()))
            return errors

    def upstreams(self, name, texts):
        """A gateway is told what its upstream's reflection would tell; one that has no upstream is given one."""
        if name != "gateway":
            return []
        has_upstream = "upstream" in tomllib.loads(texts[UPSTREAMS])
        return [*([] if has_upstream else ["--upstream", "echo=http://127.0.0.1:1"]), "--descriptors", f"echo={self.descriptors}"]

    def version(self, name):
        return once(self.run, name, "--version").stdout.split()[-1]


# What a binary said to a question; many sets of manifests ask the same.
ANSWERS = {}


def once(ask, *question):
    key = (ask.__func__, json.dumps(question, sort_keys=True))
    if key not in ANSWERS:
        ANSWERS[key] = ask(*question)
    return ANSWERS[key]


def written(texts, directory):
    """The flags that name the files, which are written."""
    flags = []
    for file, text in texts.items():
        (directory / file).write_text(text)
        flags += ["--config", directory / file]
    return flags


def there_to_here(text, directory):
    """The directories of a container, in a text, made one of ours."""
    for there in ("/etc/accord", "/run/secrets", "/run/tls", "/run/public-tls", "/run/clients", "/var/lib/accord"):
        text = text.replace(there, str(directory))
    return text


class Manifests:
    """The objects of one set of manifests."""

    def __init__(self, documents):
        self.documents = [document for document in documents if document]
        self.objects = {(it["kind"], it["metadata"]["name"]): it for it in self.documents}

    @classmethod
    def read(cls, text):
        return cls(yaml.safe_load_all(text))

    def get(self, kind, name):
        return self.objects.get((kind, name))

    def of_kind(self, *kinds):
        return [it for it in self.documents if it["kind"] in kinds]

    def workload(self, name):
        return self.get(WORKLOADS[name], f"accord-{name}")

    def labels(self, name):
        workload = self.workload(name)
        return workload["spec"]["template"]["metadata"]["labels"] if workload else {}

    def pod(self, name):
        workload = self.workload(name)
        return workload["spec"]["template"]["spec"] if workload else {}


def variables(container):
    """The variables of a container; what comes from a Secret or the pod itself is stood in for, and what may be missing is."""
    there = [it for it in container.get("env", ()) if not it.get("valueFrom", {}).get("secretKeyRef", {}).get("optional")]
    return {variable["name"]: variable.get("value", "x") for variable in there}


def config_maps(volume):
    """The names of the ConfigMaps that a volume shows: one, or several in one directory."""
    sources = volume["projected"]["sources"] if "projected" in volume else [volume]
    return [source["configMap"]["name"] for source in sources if "configMap" in source]


def selects(selector, labels):
    """Whether pods with these labels are selected. Of expressions, the manifests use one operator."""
    expressions = selector.get("matchExpressions", ())
    is_in = all(it["operator"] == "In" and labels.get(it["key"]) in it["values"] for it in expressions)
    return is_in and selector.get("matchLabels", {}).items() <= labels.items()


def ports_of(config):
    """The ports that a binary listens on. The internal one is the gateway's alone, where it has an address."""
    sections = {"grpc": config["listen"], "admin": config["admin"], "internal": config.get("internal", {})}
    return {name: port_of(section) for name, section in sections.items() if "address" in section}


def port_of(section):
    return int(section["address"].rpartition(":")[2])


def seconds(text):
    return sum(float(part.rstrip("ms in")) * UNITS[part.lstrip("0123456789.")] for part in text.split())


def flatten(value, path=""):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flatten(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in value:
            yield from flatten(inner, path)
    else:
        yield path, value
