// Calls the echo service by WebSocket, a page's own or Node's ws, in text and in binary, and tells what came of each step.
"use strict";

const { create, fromBinary, fromJson, toBinary, toJson } = require("@bufbuild/protobuf");

// A call that is open: messages in, and what came until it is closed.
class Call {
  constructor(WebSocket, service, name, format, url, token) {
    this.method = service.methods.find((method) => method.name === name);
    this.format = format;
    this.seen = { messages: [] };
    const subprotocols = [`accord.${format}`, ...(token ? [`accord.bearer.${token}`] : [])];
    this.socket = new WebSocket(`${url.replace("http", "ws")}/${service.typeName}/${name}`, subprotocols);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = (event) => this.read(event.data);
    this.socket.onerror = () => {};
    this.opened = new Promise((resolve) => (this.socket.onopen = resolve));
    this.closed = new Promise((resolve) => {
      this.socket.onclose = ({ code, reason, wasClean }) => resolve({ ...this.seen, code, reason, wasClean });
    });
  }

  send(request) {
    const message = create(this.method.input, request);
    const json = () => JSON.stringify(toJson(this.method.input, message));
    this.socket.send(this.format === "json" ? json() : toBinary(this.method.input, message));
  }

  end() {
    this.socket.send("");
  }

  read(data) {
    const text = typeof data === "string" ? JSON.parse(data) : undefined;
    if (text?.["@error"]) {
      this.seen.error = text["@error"];
      return;
    }
    const { output } = this.method;
    const message = text ? fromJson(output, text) : fromBinary(output, new Uint8Array(data));
    this.seen.messages.push(message.text ?? message.number);
    this.received?.();
  }

  // Waits for so many messages.
  async until(messages) {
    while (this.seen.messages.length < messages) {
      const next = new Promise((resolve) => (this.received = resolve));
      await Promise.race([next, this.closed.then(() => Promise.reject(new Error("it was closed")))]);
    }
  }
}

async function drive(WebSocket, service, format, url, token) {
  const open = (name, own = token) => new Call(WebSocket, service, name, format, url, own);
  // Sends all that it has to say, and reads the answer to its end.
  const step = async (call, requests) => {
    await Promise.race([call.opened, call.closed]);
    requests.forEach((request) => call.send(request));
    call.end();
    return call.closed;
  };
  const seen = {
    unary: await step(open("Say"), [{ text: "hi" }]),
    stream: await step(open("Count"), [{ to: 3 }]),
    client_stream: await step(open("Collect"), [{ text: "a" }, { text: "b" }]),
    failure: await step(open("Fail"), [{ code: 9, message: "as asked: käse" }]),
    anonymous: await step(open("Say", null), [{ text: "hi" }]),
  };
  const chat = open("Chat");
  await chat.opened;
  for (const [index, text] of ["a", "b"].entries()) {
    chat.send({ text });
    // Before the other side has heard the rest, or the end.
    await chat.until(index + 1);
  }
  chat.end();
  seen.bidi = await chat.closed;
  const left = open("Slow");
  await left.opened;
  left.send({ milliseconds: 20000 });
  left.socket.close(1000);
  seen.left = await left.closed;
  return seen;
}

// What comes of an attempt to open one.
async function attempt(WebSocket, service, url, token) {
  return new Call(WebSocket, service, "Say", "json", url, token).closed;
}

module.exports = { attempt, drive };
