// Calls the echo service through the gateway by @grpc/grpc-js, gRPC's own library for Node, in every kind of call, and prints what
// came of each step as JSON.
"use strict";

const { parseArgs } = require("node:util");
const grpc = require("@grpc/grpc-js");
const { loadFileDescriptorSetFromBuffer } = require("@grpc/proto-loader");
const { readFileSync } = require("node:fs");

const { values: args } = parseArgs({
  options: { url: { type: "string" }, token: { type: "string" }, descriptors: { type: "string" } },
});
const definition = loadFileDescriptorSetFromBuffer(readFileSync(args.descriptors));
const { EchoService } = grpc.loadPackageDefinition(definition).echo.v1;
const client = new EchoService(new URL(args.url).host, grpc.credentials.createInsecure());

function metadata() {
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${args.token}`);
  metadata.set("echo-note", "kept");
  metadata.set("echo-bytes-bin", Buffer.from([0, 1]));
  return metadata;
}

function failed(error) {
  return { code: error.code, message: error.details, fault: error.metadata.get("x-accord-fault")[0] };
}

function unary(name, request, sent = metadata(), options = {}) {
  return new Promise((resolve) => {
    client[name](request, sent, options, (error, answer) => resolve(error ? failed(error) : { ok: answer }));
  });
}

// The messages of a call that streams its answer, each with what it is answered by.
function stream(call, field, onMessage = () => {}) {
  return new Promise((resolve) => {
    const seen = [];
    call.on("data", (message) => onMessage(seen.push(message[field])));
    call.on("error", (error) => resolve(failed(error)));
    call.on("end", () => resolve({ ok: seen }));
  });
}

function collect(texts) {
  return new Promise((resolve) => {
    const call = client.collect(metadata(), (error, answer) => resolve(error ? failed(error) : { ok: answer.text }));
    texts.forEach((text) => call.write({ text }));
    call.end();
  });
}

// Says the next text only after the answer to the last.
function chat(texts) {
  const call = client.chat(metadata());
  const next = (index) => (index < texts.length ? call.write({ text: texts[index] }) : call.end());
  const seen = stream(call, "text", next);
  next(0);
  return seen;
}

// The metadata that reached the service. Of a descriptor set a map is a list of its entries.
async function received() {
  const { ok } = await unary("metadata", {});
  return Object.fromEntries(ok.metadata.map(({ key, value }) => [key, value]));
}

async function main() {
  const seen = {
    unary: await unary("say", { text: "hi" }),
    metadata: await received(),
    stream: await stream(client.count({ to: 3 }, metadata()), "number"),
    client_stream: await collect(["a", "b"]),
    bidi: await chat(["a", "b"]),
    failure: await unary("fail", { code: 9, message: "as asked: käse" }),
    anonymous: await unary("say", { text: "hi" }, new grpc.Metadata()),
    late: await unary("slow", { milliseconds: 5000 }, metadata(), { deadline: Date.now() + 300 }),
  };
  console.log(JSON.stringify(seen));
  process.exit(0);
}

main();
