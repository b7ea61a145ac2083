// Verifies an access token with the published keys by jose, Node's library for JWT, and prints what it found as JSON.
"use strict";

const { parseArgs } = require("node:util");
const { createRemoteJWKSet, jwtVerify } = require("jose");

const { values: args } = parseArgs({ options: { auth: { type: "string" }, token: { type: "string" } } });

async function main() {
  const answer = await fetch(`${args.auth}/.well-known/oauth-authorization-server`);
  const { issuer, jwks_uri } = await answer.json();
  const keys = createRemoteJWKSet(new URL(jwks_uri));
  const { payload, protectedHeader } = await jwtVerify(args.token, keys, { issuer, audience: "accord", typ: "at+jwt" });
  console.log(JSON.stringify({ sub: payload.sub, type: protectedHeader.typ }));
}

main();
