"""Verifies passports as a service does: with the keys that auth publishes, for itself and nobody else. PyJWT does the checks.

Usage: verify.py JWKS ISSUER SERVICE, with a passport on each line of the input; each is answered with a line.
"""

import sys

import jwt


def verify(passport, keys, issuer, service):
    """The claims of a passport for this service; an error where it is not one."""
    if jwt.get_unverified_header(passport).get("typ") != "accord-passport+jwt":
        raise jwt.InvalidTokenError("not a passport")
    return jwt.decode(
        passport,
        keys.get_signing_key_from_jwt(passport),
        algorithms=["EdDSA", "ES256"],
        issuer=issuer,
        audience=service,
        leeway=10,
        options={"require": ["exp", "iat", "nbf", "jti", "sub", "act"]},
    )


if __name__ == "__main__":
    jwks, issuer, service = sys.argv[1:]
    # Made once: it keeps the keys, and asks again for one that it does not know, though no more often than every five seconds.
    keys = jwt.PyJWKClient(jwks, lifespan=300, cooldown_duration=5)
    for passport in sys.stdin:
        try:
            claims = verify(passport.strip(), keys, issuer, service)
            print(claims["sub"], claims["act"]["sub"], flush=True)
        except jwt.PyJWTError as error:
            print("refused:", error, flush=True)
