// Opens the gateway's console in Chromium while calls are made at the gateway, and prints what a person would see there as JSON.
"use strict";

const { readFileSync } = require("node:fs");
const { parseArgs } = require("node:util");
const { launch } = require("./chromium.cjs");
const { byKeys } = require("./console_keys.cjs");
const { open, signIn } = require("./console_page.cjs");
const traffic = require("./console_traffic.cjs");

const { values: args } = parseArgs({
  options: {
    admin: { type: "string" },
    gateway: { type: "string" },
    caller: { type: "string" },
    stranger: { type: "string" },
    name: { type: "string" },
    password: { type: "string" },
    chromium: { type: "string" },
  },
});

const CONSOLE = `${args.admin}/console/`;
// Reads that the cache answers, slow ones, and some that fail.
const PATHS = ["/v1/products/oak-desk", "/v1/products", "/v1/echo/hello", "/v1/products/nowhere", "/v1/slow/400"];
const VIEWS = ["Map", "Calls", "Methods", "Try", "Access"];

// What axe finds, a line each. The rules are those of WCAG 2.2, A and AA.
async function findings(page) {
  await page.evaluate(readFileSync(require.resolve("axe-core/axe.min.js"), "utf8"));
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
  const { violations, passes } = await page.evaluate((values) => globalThis.axe.run({ runOnly: { type: "tag", values } }), tags);
  const line = ({ id, nodes }) => nodes.map((node) => `${id}: ${node.target} ${node.failureSummary}`);
  return { found: violations.flatMap(line), hasJudgedContrast: passes.some(({ id }) => id === "color-contrast") };
}

const figure = async (page, title) => Number.parseFloat(await page.locator(".tile", { hasText: title }).locator("dd").innerText());

// Of a page that nobody is signed in at, or somebody without the permission.
async function withoutPermission(browser) {
  const page = await browser.newPage();
  await page.goto(CONSOLE);
  const before = await page.locator("main").innerText();
  const refused = await page.evaluate(async () => {
    const headers = { "content-type": "application/json" };
    const answer = await fetch("rpc/accord.gateway.v1.ConsoleService/GetState", { method: "POST", headers, body: "{}" });
    return { status: answer.status, ...(await answer.json()) };
  });
  await page.getByText("Use an access token instead").click();
  await page.getByLabel("Access token").fill(args.stranger);
  await page.getByRole("button", { name: "Use the token" }).click();
  await page.getByText("lack the permission").waitFor();
  const seen = { before, refused, after: await page.locator("main").innerText(), isNavHidden: await page.locator("nav").isHidden() };
  await page.close();
  return seen;
}

// What an upstream shows that has lost an endpoint: it takes some calls until it is ejected.
async function ejected(page, id) {
  const box = page.locator(`[data-node="${id}"]`);
  await box.locator(".endpoints .bad").waitFor();
  return box.innerText();
}

async function atTheMap(page) {
  await page.waitForFunction(() => Number.parseFloat(document.querySelector(".tile dd")?.innerText) > 5);
  const node = (id) => page.locator(`[data-node="${id}"]`).innerText();
  return {
    rate: await figure(page, "Calls"),
    hits: await page.locator(".tile", { hasText: "Answered from a cache" }).innerText(),
    gateway: await node("gateway"),
    auth: await node("auth"),
    cache: await node("cache"),
    catalog: await node("upstream catalog"),
    echo: await ejected(page, "upstream echo"),
    flows: await page.locator("path.flow").count(),
    methods: await page.locator("tbody th").allInnerTexts(),
  };
}

async function atTheCalls(page) {
  await open(page, "Calls");
  const row = page.locator("tr", { hasText: "echo.v1.EchoService/Slow" }).filter({ hasText: "OK" });
  await row.first().waitFor();
  // Calls are followed from the first look on.
  await page.getByRole("button", { name: "Slow", exact: true }).click();
  const isFollowed = async () => {
    await row.first().getByRole("button").click();
    return (await page.locator(".steps").innerText()).includes("authorize");
  };
  while (!(await isFollowed())) await page.waitForResponse(/ListCalls/);
  const slow = (await page.locator(".steps li").allInnerTexts()).map((text) => text.split(/\s+/));
  await page.getByRole("button", { name: "Failed", exact: true }).click();
  await page.locator("tbody tr").first().waitFor();
  return { slow, facts: await page.locator(".facts").innerText(), failed: await page.locator("tbody tr").first().innerText() };
}

async function atTheMethods(page) {
  await open(page, "Methods");
  await page.getByLabel("Find methods").fill("getproduct");
  const button = page.getByRole("button", { name: "catalog.v1.ProductService/GetProduct" });
  const row = await page.locator("tr", { has: button }).innerText();
  await button.click();
  return { row, policy: await page.locator(".policy").innerText() };
}

async function atTheForm(page) {
  await open(page, "Try");
  const call = async (method, text, isDry) => {
    await page.getByLabel("Method").fill(method);
    await page.getByLabel("Message as JSON").fill(text);
    await page.getByLabel("Dry run").setChecked(isDry);
    await page.getByRole("button", { name: "Call" }).click();
    await page.locator("section[aria-label=Answer] h2").first().waitFor();
    return page.locator("section[aria-label=Answer]").innerText();
  };
  return {
    answered: await call("echo.v1.EchoService/Say", JSON.stringify({ text: "<img src=x onerror=alert(1)>" }), false),
    dry: await call("echo.v1.EchoService/Say", JSON.stringify({ text: "never said" }), true),
    denied: await call("catalog.v1.ProductService/CreateProduct", "{}", false),
    pictures: await page.locator("main img").count(),
  };
}

async function atTheAccess(page) {
  await open(page, "Access");
  await page.getByRole("button", { name: args.name }).click();
  await page.getByText(`Logins of ${args.name}, newest first`).waitFor();
  const section = (label) => page.locator(`section[aria-label="${label}"]`);
  const text = (label) => section(label).innerText();
  for (const label of ["What was done", "Revocations"]) await section(label).locator("tbody tr").first().waitFor();
  const seen = { people: await text("People and programs"), logins: await text("Logins"), keys: await text("Signing keys") };
  Object.assign(seen, { done: await text("What was done"), revocations: await text("Revocations"), ofHers: await text("API keys") });
  await section("API keys").getByRole("button", { name: "Of everybody" }).click();
  await section("API keys").getByRole("button", { name: "Next page" }).waitFor();
  seen.apiKeys = await text("API keys");
  seen.rows = await section("API keys").locator("tbody tr").count();
  await page.getByRole("button", { name: "mill", exact: true }).click();
  await page.getByText("Keys of mill, oldest first").waitFor();
  await section("Names in certificates").locator("tbody tr").first().waitFor();
  return { ...seen, clientKeys: await text("Logins"), identities: await text("Names in certificates") };
}

// How many questions the page asks while nobody sees it, and once somebody does again.
async function unseen(page) {
  await open(page, "Map");
  await page.waitForResponse(/GetState/);
  const turn = (isHidden) => page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => value });
    document.dispatchEvent(new Event("visibilitychange"));
  }, isHidden);
  let asked = 0;
  page.on("request", () => { asked += 1; });
  await turn(true);
  // Long enough for two questions of a page that somebody sees; nothing tells that none will come.
  await page.waitForTimeout(4500);
  const whileHidden = asked;
  await turn(false);
  await page.waitForResponse(/GetState/);
  return { whileHidden, after: asked };
}

const kept = (page) => page.evaluate(() => ({ local: localStorage.length, session: sessionStorage.length, cookies: document.cookie }));

async function main() {
  const browser = await launch(args.chromium);
  const end = traffic.begin(args.gateway, args.caller, PATHS);
  const seen = { withoutPermission: await withoutPermission(browser), byKeys: await byKeys(browser, CONSOLE, args, VIEWS) };
  const page = await browser.newPage();
  const [asked, problems] = [new Set(), []];
  page.on("request", (request) => asked.add(new URL(request.url()).origin));
  page.on("console", (message) => { if (message.type() === "error") problems.push(message.text()); });
  page.on("pageerror", (problem) => problems.push(String(problem)));
  await page.goto(CONSOLE);
  const axe = { sign: await findings(page) };
  await signIn(page, args);
  Object.assign(seen, { map: await atTheMap(page), calls: await atTheCalls(page), methods: await atTheMethods(page), form: await atTheForm(page), access: await atTheAccess(page) });
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const view of VIEWS) {
      await open(page, view);
      await page.waitForLoadState("networkidle");
      axe[`${view}, ${colorScheme}`] = await findings(page);
    }
  }
  Object.assign(seen, { axe, unseen: await unseen(page), kept: await kept(page) });
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  Object.assign(seen, { asked: [...asked], problems, signedOut: await page.locator("main").innerText() });
  end();
  await browser.close();
  console.log(JSON.stringify(seen));
  process.exit(0);
}

main().catch((problem) => {
  console.error(problem);
  process.exit(1);
});
