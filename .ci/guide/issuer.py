"""Who else says who somebody is: a provider's key, and tokens that it signs (RS256, RFC 7518).

Usage: issuer.py keys DIRECTORY              makes the key, and the JWK set as a provider and an API server publish it
       issuer.py token DIRECTORY CLAIMS      prints a token with these claims, a JSON object, which begins now and ends in ten minutes
"""

import base64
import json
import pathlib
import subprocess
import sys
import time

KID = "pages"


def base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def openssl(*arguments, given=None):
    return subprocess.run(["openssl", *arguments], input=given, check=True, capture_output=True).stdout


def make_keys(directory):
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", directory / "key.pem")
    modulus = openssl("rsa", "-in", directory / "key.pem", "-noout", "-modulus").decode().strip().partition("=")[2]
    key = {"kid": KID, "kty": "RSA", "alg": "RS256", "use": "sig", "e": "AQAB", "n": base64url(bytes.fromhex(modulus))}
    # Where auth is told that a provider has them, and where an API server has them.
    for path in (directory / "published" / "keys", directory / "published" / "openid" / "v1" / "jwks"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"keys": [key]}))


def token(directory, claims):
    now = int(time.time())
    parts = ({"alg": "RS256", "kid": KID, "typ": "JWT"}, {"iat": now, "exp": now + 600, **json.loads(claims)})
    signed = ".".join(base64url(json.dumps(part).encode()) for part in parts)
    signature = openssl("dgst", "-sha256", "-sign", directory / "key.pem", given=signed.encode())
    return f"{signed}.{base64url(signature)}"


if __name__ == "__main__":
    command, directory, *rest = sys.argv[1:]
    if command == "keys":
        make_keys(pathlib.Path(directory))
    else:
        print(token(pathlib.Path(directory), *rest))
