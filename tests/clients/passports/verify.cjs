// Verifies a passport as a service does: with the keys that auth publishes, for itself and nobody else. jose does the checks.
"use strict";

const { createRemoteJWKSet, jwtVerify } = require("jose");

const [jwks, issuer, service, passport] = process.argv.slice(2);

// Made once: it keeps the keys, and asks again for one that it does not know.
const keys = createRemoteJWKSet(new URL(jwks));

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

verify(passport).then(
  (claims) => console.log(claims.sub, claims.act.sub),
  (error) => {
    console.error(error.message);
    process.exit(1);
  },
);
