"""A Python client of a namespace: puts a value, changes it by compare-and-set, and invalidates it by its tag.

Usage: main.py --target HOST:PORT --token TOKEN

Prints one JSON object: what each step brought.
"""

import argparse
import json
import sys
from pathlib import Path

import grpc
from google.protobuf.duration_pb2 import Duration

sys.path.insert(0, str(Path(__file__).parents[1]))
import stubs

PROTOS = ("cache/v1/cache_service.proto", "cache/v1/read_through_service.proto", "policy/v1/policy.proto")
stubs.generate(*(f"accord/{proto}" for proto in PROTOS))

from accord.cache.v1 import cache_service_pb2 as cache
from accord.cache.v1.cache_service_pb2_grpc import CacheServiceStub

BOUND = 10


def journey(target, token):
    namespace = CacheServiceStub(grpc.insecure_channel(target))
    as_me = {"metadata": [("authorization", f"Bearer {token}")], "timeout": BOUND}
    place = {"namespace": "carts", "key": "ada"}

    tags = cache.CacheServiceInvalidateRequest.TagList(tags=["user/ada"])
    put = namespace.Put(cache.PutRequest(**place, value=b"milk", ttl=Duration(seconds=600), tags=tags.tags), **as_me)
    entry = namespace.Get(cache.GetRequest(**place), **as_me).entry
    bread = cache.PutRequest(**place, value=b"bread", tags=tags.tags, expected_version=entry.version)
    changed = namespace.Put(bread, **as_me)
    conflict = code(lambda: namespace.Put(bread, **as_me))
    namespace.Invalidate(cache.CacheServiceInvalidateRequest(namespace="carts", tags=tags), **as_me)
    absent = code(lambda: namespace.Get(cache.GetRequest(**place), **as_me))
    return {
        "value": entry.value.decode(),
        "same_version": entry.version == put.version,
        "other_version": changed.version != put.version,
        "conflict": conflict,
        "absent": absent,
    }


def code(call):
    """How a call ended."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True)
    parser.add_argument("--token", required=True)
    arguments = parser.parse_args()
    print(json.dumps(journey(arguments.target, arguments.token)))
