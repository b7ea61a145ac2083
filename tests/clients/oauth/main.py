"""Clients of OAuth in Python, as their projects publish them: Authlib, requests-oauthlib and PyJWT.

Usage: main.py --auth URL --client-id ID --client-secret SECRET --refresh-token TOKEN

Prints one JSON object: what each step brought.
"""

import argparse
import json
import os

# Both libraries take plaintext for a mistake, as it would be outside of a test.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"

import jwt
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error
from requests import get
from requests_oauthlib import OAuth2Session as RequestsSession

METADATA = "/.well-known/oauth-authorization-server"


def metadata_of(auth):
    """The endpoints, found as RFC 8414 says, and held to it but for the list of response types, which Authlib wants not to be empty."""
    found = AuthorizationServerMetadata(get(auth + METADATA, timeout=10).json())
    found.validate_token_endpoint_auth_methods_supported()
    found.validate_grant_types_supported()
    found.validate_introspection_endpoint()
    found.validate_revocation_endpoint()
    return found


def verified(token, metadata):
    """The claims of a token, which PyJWT verifies with the published keys."""
    key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token)
    claims = jwt.decode(
        token,
        key,
        algorithms=["EdDSA", "ES256"],
        issuer=metadata["issuer"],
        audience="accord",
        options={"require": ["exp", "iat", "nbf", "jti", "sub"]},
    )
    return {"sub": claims["sub"], "type": jwt.get_unverified_header(token)["typ"]}


def authlib(metadata, client_id, secret, method):
    session = OAuth2Session(client_id, secret, token_endpoint_auth_method=method)
    token = session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials", scope="catalog.products.read")
    introspect = lambda: session.introspect_token(metadata["introspection_endpoint"], token["access_token"]).json()
    before = introspect()
    revoked = session.revoke_token(metadata["revocation_endpoint"], token["access_token"]).status_code
    return {
        "verified": verified(token["access_token"], metadata),
        "scope": before["scope"],
        "active": before["active"],
        "revoked": revoked,
        "active_after": introspect()["active"],
    }


def authlib_refused(metadata, client_id):
    session = OAuth2Session(client_id, "wrong")
    try:
        session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
    except AuthlibBaseError as error:
        return error.error


def requests_oauthlib(metadata, client_id, secret):
    session = RequestsSession(client=BackendApplicationClient(client_id=client_id))
    token = session.fetch_token(metadata["token_endpoint"], client_id=client_id, client_secret=secret)
    return verified(token["access_token"], metadata)


def requests_oauthlib_refreshes(metadata, refresh):
    session = RequestsSession(client_id="somebody's program", token={"refresh_token": refresh})
    token = session.refresh_token(metadata["token_endpoint"])
    try:
        session.refresh_token(metadata["token_endpoint"], refresh_token=refresh)
        reused = None
    except OAuth2Error as error:
        reused = error.error
    return {"verified": verified(token["access_token"], metadata), "reused": reused}


def main():
    parser = argparse.ArgumentParser()
    for flag in ("--auth", "--client-id", "--client-secret", "--refresh-token"):
        parser.add_argument(flag, required=True)
    args = parser.parse_args()
    metadata = metadata_of(args.auth)
    client = (args.client_id, args.client_secret)
    seen = {
        "client_secret_basic": authlib(metadata, *client, "client_secret_basic"),
        "client_secret_post": authlib(metadata, *client, "client_secret_post"),
        "wrong_secret": authlib_refused(metadata, args.client_id),
        "requests_oauthlib": requests_oauthlib(metadata, *client),
        "refresh": requests_oauthlib_refreshes(metadata, args.refresh_token),
    }
    print(json.dumps(seen))


main()
