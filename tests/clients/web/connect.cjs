// Calls the echo service through the gateway by every transport of Connect's own libraries for Node and for browsers, and prints
// what came of each step as JSON. Browsers' transports run on Node's fetch.
"use strict";

const { readFileSync } = require("node:fs");
const { parseArgs } = require("node:util");
const node = require("@connectrpc/connect-node");
const web = require("@connectrpc/connect-web");
const { drive, serviceOf } = require("./connect_steps.cjs");

const { values: args } = parseArgs({
  options: { url: { type: "string" }, token: { type: "string" }, descriptors: { type: "string" } },
});
const service = serviceOf(readFileSync(args.descriptors));

// Who streams both ways: HTTP/1.1 and fetch can't.
const transports = {
  "node connect json": [node.createConnectTransport, false, { httpVersion: "1.1" }],
  "node connect proto": [node.createConnectTransport, true, { useBinaryFormat: true }],
  "node connect get": [node.createConnectTransport, false, { useHttpGet: true, httpVersion: "1.1" }],
  "node connect gzip": [node.createConnectTransport, true, { sendCompression: node.compressionGzip, compressMinBytes: 0 }],
  "node grpc": [node.createGrpcTransport, true, {}],
  "node grpc-web": [node.createGrpcWebTransport, true, {}],
  "node grpc-web 1.1": [node.createGrpcWebTransport, false, { httpVersion: "1.1" }],
  "web connect json": [web.createConnectTransport, false, { useBinaryFormat: false }],
  "web connect proto": [web.createConnectTransport, false, { useBinaryFormat: true }],
  "web grpc-web": [web.createGrpcWebTransport, false, {}],
};

async function main() {
  const seen = {};
  for (const [name, [transport, streamsBothWays, options]] of Object.entries(transports)) {
    const opened = transport({ baseUrl: args.url, httpVersion: "2", ...options });
    seen[name] = await drive(service, opened, streamsBothWays, args.token);
  }
  console.log(JSON.stringify(seen));
  process.exit(0);
}

main();
