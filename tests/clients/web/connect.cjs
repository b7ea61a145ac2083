// Calls the echo service through the gateway by every transport of Connect's own libraries for Node and for browsers, and prints
// what came of each step as JSON. Browsers' transports run on Node's fetch.
"use strict";

const { readFileSync } = require("node:fs");
const { parseArgs } = require("node:util");
const { create, createFileRegistry, fromBinary } = require("@bufbuild/protobuf");
const {
  FileDescriptorSetSchema,
  MethodOptions_IdempotencyLevel,
  MethodOptionsSchema,
} = require("@bufbuild/protobuf/wkt");
const { Code, ConnectError, createClient } = require("@connectrpc/connect");
const node = require("@connectrpc/connect-node");
const web = require("@connectrpc/connect-web");

const { values: args } = parseArgs({
  options: { url: { type: "string" }, token: { type: "string" }, descriptors: { type: "string" } },
});
const files = fromBinary(FileDescriptorSetSchema, readFileSync(args.descriptors));
// As if the proto said what the overlay says: a client may send a read as a GET.
const say = files.file.flatMap((file) => file.service.flatMap((it) => it.method)).find((method) => method.name === "Say");
say.options = create(MethodOptionsSchema, { idempotencyLevel: MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS });
const registry = createFileRegistry(files);
const service = registry.getService("echo.v1.EchoService");

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

function open([transport, , options]) {
  return transport({ baseUrl: args.url, httpVersion: "2", ...options });
}

// What came of a call, or how it failed.
async function step(call) {
  try {
    return { ok: await call() };
  } catch (problem) {
    const error = ConnectError.from(problem);
    const details = error.details.map((detail) => ({ type: detail.type, debug: detail.debug }));
    return { code: Code[error.code], message: error.rawMessage, details, fault: error.metadata.get("x-accord-fault") };
  }
}

async function collect(stream, field) {
  const seen = [];
  for await (const message of stream) {
    seen.push(message[field]);
  }
  return seen;
}

async function* texts() {
  yield { text: "a" };
  yield { text: "b" };
}

async function drive(entry) {
  const client = createClient(service, open(entry));
  const headers = { authorization: `Bearer ${args.token}`, "echo-note": "kept" };
  const steps = {
    unary: await step(async () => (await client.say({ text: "hi" }, { headers })).text),
    stream: await step(() => collect(client.count({ to: 3 }, { headers }), "number")),
    metadata: await step(async () => (await client.metadata({}, { headers })).metadata["echo-note"]),
    failure: await step(() => client.fail({ code: 9, message: "as asked: käse" }, { headers })),
    anonymous: await step(() => client.say({ text: "hi" })),
    late: await step(() => client.slow({ milliseconds: 5000 }, { headers, timeoutMs: 300 })),
    anonymous_stream: await step(() => collect(client.count({ to: 3 }), "number")),
  };
  if (entry[1]) {
    steps.client_stream = await step(async () => (await client.collect(texts(), { headers })).text);
    steps.bidi = await step(() => collect(client.chat(texts(), { headers }), "text"));
  }
  return steps;
}

async function main() {
  const seen = {};
  for (const [name, entry] of Object.entries(transports)) {
    seen[name] = await drive(entry);
  }
  console.log(JSON.stringify(seen));
  process.exit(0);
}

main();
