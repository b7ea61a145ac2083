"""A client that has keys and no secret: Authlib's `private_key_jwt`, as its project publishes it.

Usage: private_key_jwt.py --directory DIRECTORY [--auth URL --client-id ID]

Without --auth it makes a key of each kind, and writes the set of their public halves, `keys.jwks`. With it, each of them gets a token;
printed is one JSON object, by key: what that brought.
"""

import argparse
import json
import os
import time
from pathlib import Path

# Authlib takes plaintext for a mistake, as it would be outside of a test.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import ECKey, OKPKey, import_key
from requests import get

ALGORITHMS = {"ed25519": "EdDSA", "p256": "ES256"}


def make(directory):
    keys = {
        "ed25519": OKPKey.generate_key("Ed25519", {"kid": "ed25519"}),
        "p256": ECKey.generate_key("P-256", {"kid": "p256"}),
    }
    for name, key in keys.items():
        (directory / name).write_text(json.dumps(key.as_dict(private=True)))
    public = [key.as_dict(private=False) for key in keys.values()]
    (directory / "keys.jwks").write_text(json.dumps({"keys": public}))


def token(name, directory, metadata, client_id):
    key = import_key(json.loads((directory / name).read_text()))
    session = OAuth2Session(client_id, key, token_endpoint_auth_method="private_key_jwt")
    # Of itself an assertion lives for an hour, which is too long to be told apart from all others.
    claims = {"exp": int(time.time()) + 60}
    session.register_client_auth_method(PrivateKeyJWT(claims=claims, alg=ALGORITHMS[name]))
    fetch = lambda: session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
    seen = {"token_type": fetch()["token_type"]}
    try:
        # Claims that are given are signed again with the `jti` that they have got.
        fetch()
    except AuthlibBaseError as error:
        seen["again"] = error.error
    return seen


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--directory", required=True, type=Path)
    parser.add_argument("--auth")
    parser.add_argument("--client-id")
    args = parser.parse_args()
    if not args.auth:
        return make(args.directory)
    metadata = get(args.auth + "/.well-known/oauth-authorization-server", timeout=10).json()
    print(json.dumps({name: token(name, args.directory, metadata, args.client_id) for name in ALGORITHMS}))


main()
