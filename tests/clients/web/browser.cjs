// Opens a page in Chromium that calls the echo service through the gateway, and prints what came of each step as JSON: of the page
// at its own address, which may call, and of the same one under another name of this machine, which may not.
"use strict";

const { readFileSync } = require("node:fs");
const { createServer } = require("node:http");
const { delimiter, join } = require("node:path");
const { parseArgs } = require("node:util");
const { buildSync } = require("esbuild");
const { launch } = require("./chromium.cjs");

const { values: args } = parseArgs({
  options: {
    url: { type: "string" },
    token: { type: "string" },
    descriptors: { type: "string" },
    chromium: { type: "string" },
    port: { type: "string" },
  },
});

function serve() {
  const entry = join(__dirname, "page.cjs");
  const nodePaths = (process.env.NODE_PATH ?? "").split(delimiter).filter(Boolean);
  const options = { bundle: true, write: false, platform: "browser", format: "iife", nodePaths };
  const bundle = buildSync({ entryPoints: [entry], ...options });
  const script = bundle.outputFiles[0].text;
  const server = createServer((request, response) => {
    const isScript = request.url === "/page.js";
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    response.end(isScript ? script : '<!doctype html><script src="/page.js"></script>');
  });
  return new Promise((resolve) => server.listen(Number(args.port), "127.0.0.1", resolve));
}

async function visit(browser, host, isAllowed) {
  const page = await browser.newPage();
  await page.goto(`http://${host}:${args.port}/`);
  const descriptors = readFileSync(args.descriptors).toString("base64");
  const seen = await page.evaluate((given) => globalThis.drive(given), { ...args, descriptors, isAllowed });
  await page.close();
  return seen;
}

async function main() {
  await serve();
  const browser = await launch(args.chromium);
  const seen = { allowed: await visit(browser, "127.0.0.1", true), other: await visit(browser, "localhost", false) };
  await browser.close();
  console.log(JSON.stringify(seen));
  process.exit(0);
}

main().catch((problem) => {
  console.error(problem);
  process.exit(1);
});
