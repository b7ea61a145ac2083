"""A command line that has no password of its person: oauthlib's `DeviceClient` with requests-oauthlib, as their projects publish them.

Usage: device.py --auth URL --client-id ID --name NAME --password PASSWORD

Asks for a code, and for tokens before and after its person, who is played here as well, has allowed it on the page. Prints one JSON
object: what it was told.
"""

import argparse
import json
import os
import re

# oauthlib takes plaintext for a mistake, as it would be outside of a test.
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"

from oauthlib.oauth2 import DeviceClient, OAuth2Error
from requests import get, post
from requests_oauthlib import OAuth2Session


def allow(page, user_code, name, password):
    """What its person does in a browser."""
    proof = {"user_code": user_code, "name": name, "password": password}
    shown = post(page, data=proof, timeout=10)
    shown.raise_for_status()
    ticket = re.search('name="ticket" value="([^"]+)"', shown.text).group(1)
    post(page, data={"user_code": user_code, "ticket": ticket, "decision": "allow"}, timeout=10).raise_for_status()


def main():
    parser = argparse.ArgumentParser()
    for flag in ("--auth", "--client-id", "--name", "--password"):
        parser.add_argument(flag, required=True)
    args = parser.parse_args()
    metadata = get(args.auth + "/.well-known/oauth-authorization-server", timeout=10).json()
    endpoint = metadata["device_authorization_endpoint"]
    code = post(endpoint, data={"client_id": args.client_id}, timeout=10).json()
    session, told = OAuth2Session(client=DeviceClient(args.client_id)), []

    def poll():
        return session.fetch_token(
            metadata["token_endpoint"], device_code=code["device_code"], include_client_id=True, timeout=10
        )

    for _ in range(2):
        try:
            poll()
        except OAuth2Error as error:
            told.append(error.error)
    allow(code["verification_uri"], code["user_code"], args.name, args.password)
    token = poll()
    print(json.dumps({"told": told, "token_type": token["token_type"], "refresh": "refresh_token" in token}))


main()
