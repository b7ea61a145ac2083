// What the page does that browser.cjs opens: it calls the echo service with the libraries for browsers and with its own WebSocket.
"use strict";

const web = require("@connectrpc/connect-web");
const connect = require("./connect_steps.cjs");
const grpcWeb = require("./grpc_web_steps.cjs");
const websocket = require("./websocket_steps.cjs");

// Where the page may call, everything; elsewhere what comes of an attempt in each way.
globalThis.drive = async ({ url, token, descriptors, isAllowed }) => {
  const service = connect.serviceOf(Uint8Array.from(atob(descriptors), (character) => character.charCodeAt(0)));
  const transports = {
    "connect json": web.createConnectTransport({ baseUrl: url, useBinaryFormat: false }),
    "connect proto": web.createConnectTransport({ baseUrl: url, useBinaryFormat: true }),
    "connect get": web.createConnectTransport({ baseUrl: url, useHttpGet: true }),
    "grpc-web": web.createGrpcWebTransport({ baseUrl: url }),
  };
  const seen = { connect: {}, websocket: {} };
  for (const [name, transport] of Object.entries(transports)) {
    seen.connect[name] = await connect.drive(service, transport, false, token);
  }
  seen.grpc_web = await grpcWeb.drive(service, url, token);
  if (!isAllowed) {
    seen.websocket = await websocket.attempt(WebSocket, service, url, token);
    return seen;
  }
  for (const format of ["json", "proto"]) {
    seen.websocket[format] = await websocket.drive(WebSocket, service, format, url, token);
  }
  return seen;
};
