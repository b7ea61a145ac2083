// Chromium, as all scripts here start it.
"use strict";

const { chromium } = require("playwright-core");

// Nothing but the page and what it calls is to be asked.
const QUIET = [
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

// As root, as tests are run in a container, it has no sandbox.
exports.launch = (executablePath) => chromium.launch({ executablePath, chromiumSandbox: false, args: QUIET });
