// Calls the echo service by grpc-web, the library of gRPC's own project for browsers, in text and in binary, and tells what came of
// each step. Outside a page it needs an XMLHttpRequest.
"use strict";

const { create, fromBinary, toBinary } = require("@bufbuild/protobuf");
const { GrpcWebClientBase, MethodDescriptor, MethodType } = require("grpc-web");

function descriptor(service, name, type) {
  const { input, output } = service.methods.find((method) => method.name === name);
  const serialize = (message) => toBinary(input, create(input, message));
  const read = (bytes) => fromBinary(output, bytes);
  return new MethodDescriptor(`/${service.typeName}/${name}`, type, Object, Object, serialize, read);
}

function failed(error) {
  return { code: error.code, message: error.message };
}

function unary(client, url, method, request, headers) {
  return new Promise((resolve) => {
    client.rpcCall(url + method.getName(), request, headers, method, (error, response) =>
      resolve(error ? failed(error) : { ok: response.text }),
    );
  });
}

function stream(client, url, method, request, headers) {
  return new Promise((resolve) => {
    const seen = [];
    const call = client.serverStreaming(url + method.getName(), request, headers, method);
    call.on("data", (message) => seen.push(message.number));
    call.on("error", (error) => resolve(failed(error)));
    call.on("end", () => resolve({ ok: seen }));
  });
}

async function drive(service, url, token) {
  const headers = { authorization: `Bearer ${token}` };
  const say = descriptor(service, "Say", MethodType.UNARY);
  const fail = descriptor(service, "Fail", MethodType.UNARY);
  const count = descriptor(service, "Count", MethodType.SERVER_STREAMING);
  const seen = {};
  for (const format of ["text", "binary"]) {
    const client = new GrpcWebClientBase({ format });
    seen[format] = {
      unary: await unary(client, url, say, { text: "hi" }, headers),
      failure: await unary(client, url, fail, { code: 9, message: "as asked: käse" }, headers),
      anonymous: await unary(client, url, say, { text: "hi" }, {}),
    };
  }
  seen.text.stream = await stream(new GrpcWebClientBase({ format: "text" }), url, count, { to: 3 }, headers);
  return seen;
}

module.exports = { drive };
