"""Sets of descriptors that nobody here wrote, each behind the real gateway.

`cargo xtask test --only real-protos` prepares the environment: ACCORD_TEST_GATEWAY is the gateway, ACCORD_REAL_PROTOS the
folder with the sets. Where ACCORD_REAL_PROTOS_WHOLE is set, every set is driven by all of its bindings; else it is a sample.
"""

import os
import random
import unittest
from pathlib import Path

import gateway
from drive import Drive, Set

FOLDER = Path(os.environ["ACCORD_REAL_PROTOS"])
IS_WHOLE = "ACCORD_REAL_PROTOS_WHOLE" in os.environ
IS_RELEASE = "ACCORD_REAL_PROTOS_RELEASE" in os.environ

LARGEST = "all_of_google_cloud"
# The set with the most messages of which a validator in Python is done within a minute.
LARGE_DOCUMENT = "bosdyn_api"
# What of Google's is driven unless all is asked for. The wheels' sets are driven always.
SAMPLE = """google_pubsub_v1 google_firestore_v1 google_bigtable_v2 google_spanner_v1 google_cloud_bigquery_storage_v1
google_storage_v2 google_logging_v2 google_longrunning google_cloud_aiplatform_v1 google_cloud_compute_v1
google_cloud_dialogflow_cx_v3 google_monitoring_v3 google_cloud_kms_v1 google_iam_v1""".split()
# Calls of one set in a sample.
CALLS = 100
SEED = 20261129

# Seconds of processor time and KiB of memory (300 MiB released) in which the largest set is checked.
BOUNDS = (1.5, 307_200) if IS_RELEASE else (10, 330_000)


def names():
    found = sorted(path.stem for path in FOLDER.glob("*.binpb"))
    return [name for name in found if name != LARGEST and (IS_WHOLE or name in SAMPLE or not name.startswith("google_"))]


def path(name):
    return FOLDER / f"{name}.binpb"


class RealProtos(unittest.TestCase):
    def test_sets_are_many_and_of_every_kind(self):
        sets = [Set(path(name)) for name in names()]
        self.assertGreaterEqual(len(sets), 40)
        self.assertGreaterEqual(sum(found.methods for found in sets), 8000)
        self.assertLessEqual({"proto2", "proto3"}, set().union(*(found.syntaxes for found in sets)))

    def test_contract_check_of_the_largest_set_is_bounded_in_time_and_memory(self):
        largest = Set(path(LARGEST))
        _, _, usage = gateway.check(largest.path, largest.names())
        seconds, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss
        print(f"\n{LARGEST}: {largest.methods} methods, {seconds:.2f} s of processor time, {memory // 1024} MB", flush=True)
        self.assertLess(seconds, BOUNDS[0])
        self.assertLess(memory, BOUNDS[1])


class LargeDocument(unittest.TestCase):
    def test_openapi_document_of_a_large_set_is_valid(self):
        with Drive(Set(path(LARGE_DOCUMENT)), SEED) as drive:
            self.assertGreater(len(drive.document.document["components"]["schemas"]), 1000)
            self.assertEqual([], drive.document.problems())


class SetCase:
    """One set, driven once; each test is one claim about what came."""

    name = None

    @classmethod
    def setUpClass(cls):
        cls.set = Set(path(cls.name))
        cls.findings, cls.status, _ = gateway.check(cls.set.path, cls.set.names())
        cls.found = {"answer": [], "request": [], "response": [], "document": []}
        if cls.status != 0:
            return
        bindings = [binding for binding in cls.set.bindings if not cls.is_refused(binding)]
        if not IS_WHOLE:
            bindings = random.Random(SEED).sample(bindings, min(CALLS, len(bindings)))
        with Drive(cls.set, SEED) as drive:
            for kind, line in drive.differences(bindings):
                cls.found[kind].append(line)
            memory = drive.gateway.memory() // 1024
        counts = f"{cls.set.methods} methods, {len(bindings)} of {len(cls.set.bindings)} bindings called"
        print(f"\n{cls.name}: {counts}, {memory} MB", flush=True)

    @classmethod
    def is_refused(cls, binding):
        """Whether `contract check` says of the binding that it is not served."""
        finding = f": {binding.name}: google.api.http: "
        return binding.is_declared and any(finding in line and binding.template in line for line in cls.findings)

    def nothing(self, kind):
        self.assertEqual([], self.found[kind][:5], f"{len(self.found[kind])} bindings")

    def test_contract_check_has_no_errors(self):
        errors = [line for line in self.findings if line.startswith("error")]
        self.assertEqual([], errors)

    def test_every_binding_is_answered(self):
        self.nothing("answer")

    def test_requests_arrive_as_json_format_reads_them(self):
        self.nothing("request")

    def test_responses_are_what_the_openapi_document_says(self):
        self.nothing("document")

    def test_responses_are_written_as_json_format_writes_them(self):
        self.nothing("response")


def load_tests(loader, tests, _pattern):
    for name in names():
        case = type(f"Set_{name}", (SetCase, unittest.TestCase), {"name": name, "__module__": __name__})
        tests.addTests(loader.loadTestsFromTestCase(case))
    return tests


if __name__ == "__main__":
    unittest.main()
