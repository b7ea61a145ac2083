// Calls the echo service through the gateway by grpc-web on Node, and prints what came of each step as JSON. What a browser has and
// Node has not is an XMLHttpRequest.
"use strict";

const { readFileSync } = require("node:fs");
const { parseArgs } = require("node:util");
globalThis.XMLHttpRequest = require("xhr2");
const { serviceOf } = require("./connect_steps.cjs");
const { drive } = require("./grpc_web_steps.cjs");

const { values: args } = parseArgs({
  options: { url: { type: "string" }, token: { type: "string" }, descriptors: { type: "string" } },
});

async function main() {
  const seen = await drive(serviceOf(readFileSync(args.descriptors)), args.url, args.token);
  console.log(JSON.stringify(seen));
  process.exit(0);
}

main();
