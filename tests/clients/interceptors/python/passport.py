"""Who calls: the passport that came with a call, verified with the keys that auth publishes."""

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from accord.auth.v1 import key_service_pb2, key_service_pb2_grpc

PASSPORT, TYPE = "x-accord-passport", "accord-passport+jwt"


class Passports:
    """Verifies passports that were made for a service. `issuer` is auth's `tokens.issuer`."""

    def __init__(self, auth, issuer, audience):
        self.auth = key_service_pb2_grpc.KeyServiceStub(auth)
        self.expected = {"issuer": issuer, "audience": audience, "options": {"require": ["exp", "nbf", "sub", "aud", "iss"]}}
        self.keys = {}

    async def claims(self, metadata):
        """What the passport says; jwt.InvalidTokenError where there is none, or none that is good."""
        passports = [value for key, value in metadata if key == PASSPORT]
        if len(passports) != 1:
            raise jwt.InvalidTokenError("a call brings one passport")
        header = jwt.get_unverified_header(passports[0])
        if header.get("typ") != TYPE:
            raise jwt.InvalidTokenError("this is no passport")
        if header.get("kid") not in self.keys:
            # A key that was published after the last look.
            published = await self.auth.ListKeys(key_service_pb2.ListKeysRequest(), timeout=5)
            self.keys = {key.kid: (key.alg, public_key(key)) for key in published.keys}
        algorithm, key = self.keys.get(header.get("kid"), (None, None))
        if key is None:
            raise jwt.InvalidTokenError("auth publishes no such key")
        return jwt.decode(passports[0], key, algorithms=[algorithm], **self.expected)


def public_key(key):
    if key.alg == "EdDSA":
        return ed25519.Ed25519PublicKey.from_public_bytes(key.public_key)
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.public_key)
