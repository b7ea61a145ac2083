// Takes the picture of the console's map that the README shows, while calls are made at the gateway.
"use strict";

const { parseArgs } = require("node:util");
const { launch } = require("./chromium.cjs");
const consolePage = require("./console_page.cjs");
const traffic = require("./console_traffic.cjs");

const names = ["admin", "gateway", "caller", "name", "password", "chromium", "picture", "scheme", "view"];
const { values: args } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: "string" }])) });

const PATHS = ["/v1/products/oak-desk", "/v1/products/ash-stool", "/v1/products", "/v1/products/nowhere", "/v1/products/elm-table", "/v1/basket"];

// A minute of figures would be better, and takes a minute: the lines need some of it.
const SEEN = 40_000;

async function main() {
  const browser = await launch(args.chromium);
  const end = traffic.begin(args.gateway, args.caller, PATHS);
  const size = { viewport: { width: 1360, height: 1000 }, deviceScaleFactor: 1.5, colorScheme: args.scheme ?? "light" };
  const page = await browser.newPage(size);
  await consolePage.signIn(page, args);
  await page.waitForTimeout(SEEN);
  if (args.view) await consolePage.open(page, args.view);
  await page.screenshot({ path: args.picture });
  end();
  await browser.close();
  process.exit(0);
}

main().catch((problem) => {
  console.error(problem);
  process.exit(1);
});
