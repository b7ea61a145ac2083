// Calls the echo service through the gateway by ws, Node's WebSocket, and prints what came of each step as JSON.
"use strict";

const { readFileSync } = require("node:fs");
const { parseArgs } = require("node:util");
const WebSocket = require("ws");
const { serviceOf } = require("./connect_steps.cjs");
const { drive } = require("./websocket_steps.cjs");

const { values: args } = parseArgs({
  options: { url: { type: "string" }, token: { type: "string" }, descriptors: { type: "string" } },
});

async function main() {
  const service = serviceOf(readFileSync(args.descriptors));
  const seen = {};
  for (const format of ["json", "proto"]) {
    seen[format] = await drive(WebSocket, service, format, args.url, args.token);
  }
  console.log(JSON.stringify(seen));
  process.exit(0);
}

main();
