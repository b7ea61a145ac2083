// Calls the echo service by a transport of Connect's, on Node or in a page, and tells what came of each step.
"use strict";

const { create, createFileRegistry, fromBinary } = require("@bufbuild/protobuf");
const {
  FileDescriptorSetSchema,
  MethodOptions_IdempotencyLevel,
  MethodOptionsSchema,
} = require("@bufbuild/protobuf/wkt");
const { Code, ConnectError, createClient } = require("@connectrpc/connect");

// The echo service of a descriptor set.
function serviceOf(descriptors) {
  const files = fromBinary(FileDescriptorSetSchema, descriptors);
  // As if the proto said what the overlay says: a client may send a read as a GET.
  const methods = files.file.flatMap((file) => file.service.flatMap((it) => it.method));
  const say = methods.find((method) => method.name === "Say");
  say.options = create(MethodOptionsSchema, { idempotencyLevel: MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS });
  return createFileRegistry(files).getService("echo.v1.EchoService");
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

// By a transport that streams both ways or not.
async function drive(service, transport, streamsBothWays, token) {
  const client = createClient(service, transport);
  const headers = { authorization: `Bearer ${token}`, "echo-note": "kept" };
  const steps = {
    unary: await step(async () => (await client.say({ text: "hi" }, { headers })).text),
    stream: await step(() => collect(client.count({ to: 3 }, { headers }), "number")),
    metadata: await step(async () => (await client.metadata({}, { headers })).metadata["echo-note"]),
    failure: await step(() => client.fail({ code: 9, message: "as asked: käse" }, { headers })),
    anonymous: await step(() => client.say({ text: "hi" })),
    late: await step(() => client.slow({ milliseconds: 5000 }, { headers, timeoutMs: 300 })),
    anonymous_stream: await step(() => collect(client.count({ to: 3 }), "number")),
  };
  if (streamsBothWays) {
    steps.client_stream = await step(async () => (await client.collect(texts(), { headers })).text);
    steps.bidi = await step(() => collect(client.chat(texts(), { headers }), "text"));
  }
  return steps;
}

module.exports = { drive, serviceOf };
