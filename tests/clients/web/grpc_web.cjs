// Calls the echo service through the gateway by grpc-web, the library of gRPC's own project for browsers, in text and in binary, and
// prints what came of each step as JSON. What a browser has and Node has not is an XMLHttpRequest.
"use strict";

const { readFileSync } = require("node:fs");
const { parseArgs } = require("node:util");
const { create, createFileRegistry, fromBinary, toBinary } = require("@bufbuild/protobuf");
const { FileDescriptorSetSchema } = require("@bufbuild/protobuf/wkt");
globalThis.XMLHttpRequest = require("xhr2");
const { GrpcWebClientBase, MethodDescriptor, MethodType } = require("grpc-web");

const { values: args } = parseArgs({
  options: { url: { type: "string" }, token: { type: "string" }, descriptors: { type: "string" } },
});
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(args.descriptors)));
const service = registry.getService("echo.v1.EchoService");

function method(name, type) {
  const { input, output } = service.methods.find((method) => method.name === name);
  const serialize = (message) => toBinary(input, create(input, message));
  const read = (bytes) => fromBinary(output, bytes);
  return new MethodDescriptor(`/${service.typeName}/${name}`, type, Object, Object, serialize, read);
}

const say = method("Say", MethodType.UNARY);
const fail = method("Fail", MethodType.UNARY);
const count = method("Count", MethodType.SERVER_STREAMING);

function failed(error) {
  return { code: error.code, message: error.message };
}

function unary(client, descriptor, request, headers) {
  return new Promise((resolve) => {
    client.rpcCall(args.url + descriptor.getName(), request, headers, descriptor, (error, response) =>
      resolve(error ? failed(error) : { ok: response.text }),
    );
  });
}

function stream(client, descriptor, request, headers) {
  return new Promise((resolve) => {
    const seen = [];
    const call = client.serverStreaming(args.url + descriptor.getName(), request, headers, descriptor);
    call.on("data", (message) => seen.push(message.number));
    call.on("error", (error) => resolve(failed(error)));
    call.on("end", () => resolve({ ok: seen }));
  });
}

async function main() {
  const headers = { authorization: `Bearer ${args.token}` };
  const seen = {};
  for (const format of ["text", "binary"]) {
    const client = new GrpcWebClientBase({ format });
    seen[format] = {
      unary: await unary(client, say, { text: "hi" }, headers),
      failure: await unary(client, fail, { code: 9, message: "as asked: käse" }, headers),
      anonymous: await unary(client, say, { text: "hi" }, {}),
    };
  }
  seen.text.stream = await stream(new GrpcWebClientBase({ format: "text" }), count, { to: 3 }, headers);
  console.log(JSON.stringify(seen));
  process.exit(0);
}

main();
