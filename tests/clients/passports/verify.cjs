// Verifies passports as a service does: with the keys that auth publishes, for itself and nobody else. jose does the checks.
//
// Usage: verify.cjs JWKS ISSUER SERVICE, with a passport on each line of the input; each is answered with a line.
"use strict";

const { createInterface } = require("node:readline");
const { createRemoteJWKSet, jwtVerify } = require("jose");

const [jwks, issuer, service] = process.argv.slice(2);

// Made once: it keeps the keys, and asks again for one that it does not know, though no more often than every five seconds.
const keys = createRemoteJWKSet(new URL(jwks), { cacheMaxAge: 300_000, cooldownDuration: 5_000 });

async function verify(passport) {
  const { payload } = await jwtVerify(passport, keys, {
    issuer,
    audience: service,
    typ: "accord-passport+jwt",
    algorithms: ["EdDSA", "ES256"],
    clockTolerance: 10,
    requiredClaims: ["exp", "iat", "nbf", "jti", "sub", "act"],
  });
  return payload;
}

async function main() {
  for await (const passport of createInterface({ input: process.stdin })) {
    try {
      const claims = await verify(passport);
      console.log(claims.sub, claims.act.sub);
    } catch (error) {
      console.log("refused:", error.message);
    }
  }
}

main();
