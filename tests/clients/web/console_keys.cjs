// The console by keys alone: what somebody does who has no mouse. Nothing is focused by a script.
"use strict";

// Further than from the first to the last of any view.
const MOST = 200;

// What has the focus: its text, or what it is called.
const focused = (page) => page.evaluate(() => {
  const { innerText, ariaLabel, name } = document.activeElement;
  return document.activeElement === document.body ? "" : innerText?.trim() || ariaLabel || name || document.activeElement.tagName;
});

// Presses Tab until something of this name has the focus, and shows that it has.
async function tabTo(page, name) {
  for (let presses = 0; presses < MOST; presses += 1) {
    await page.keyboard.press("Tab");
    if ((await focused(page)).startsWith(name)) {
      const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
      if (outline !== "solid") throw new Error(`${name} has the focus and does not show it`);
      return;
    }
  }
  throw new Error(`no Tab leads to ${name}`);
}

async function signIn(page, { name, password }) {
  const way = [];
  for (const text of [null, name, password]) {
    await page.keyboard.press("Tab");
    way.push(await focused(page));
    if (text) await page.keyboard.type(text);
  }
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Gateway" }).waitFor();
  return way;
}

// From view to view by arrows; who has chosen one is at its name still.
async function views(page, names) {
  const seen = [];
  await tabTo(page, names[0]);
  for (const name of names) {
    await page.keyboard.press("Enter");
    await page.locator('nav a[aria-current="page"]', { hasText: name }).waitFor();
    seen.push(await focused(page));
    await page.keyboard.press("ArrowRight");
  }
  return [...seen, await focused(page)];
}

// To another view, from wherever the focus is.
async function open(page, name) {
  await tabTo(page, name);
  await page.keyboard.press("Enter");
  await page.locator('nav a[aria-current="page"]', { hasText: name }).waitFor();
}

async function aCall(page) {
  await open(page, "Calls");
  await page.locator("tbody tr").first().waitFor();
  await tabTo(page, "Failed");
  await page.keyboard.press("Space");
  const pressed = await page.locator('button[aria-pressed="true"]').innerText();
  await page.locator("tbody tr", { hasText: "NOT_FOUND" }).first().waitFor();
  await tabTo(page, "catalog.v1.ProductService/GetProduct");
  await page.keyboard.press("Enter");
  return { pressed, chosen: await page.locator('section[aria-label="One call"]').innerText(), kept: await focused(page) };
}

async function aMethod(page) {
  await open(page, "Methods");
  await page.getByText(/of \d+ methods/).waitFor();
  await tabTo(page, "Find methods");
  await page.keyboard.type("getproduct");
  await tabTo(page, "catalog.v1.ProductService/GetProduct");
  await page.keyboard.press("Enter");
  const opened = await page.locator(".policy").innerText();
  await page.keyboard.press("Enter");
  return { opened, closed: await page.locator(".policy").count(), kept: await focused(page) };
}

async function theForm(page) {
  await open(page, "Try");
  await tabTo(page, "method");
  await page.keyboard.type("echo.v1.EchoService/Say");
  // What the list of methods offers is not taken by it.
  await page.keyboard.press("Escape");
  await tabTo(page, "text");
  await page.keyboard.press("Control+A");
  await page.keyboard.type('{"text": "typed"}');
  await tabTo(page, "Call");
  await page.keyboard.press("Enter");
  await page.locator("section[aria-label=Answer] h2").first().waitFor();
  return page.locator("section[aria-label=Answer]").innerText();
}

async function theAccess(page, { name }) {
  await open(page, "Access");
  const list = page.locator('section[aria-label="API keys"]');
  await list.getByRole("button", { name: "Next page" }).waitFor();
  await tabTo(page, "Next page");
  await page.keyboard.press("Enter");
  await list.getByRole("button", { name: "First page" }).waitFor();
  const later = { rows: await list.locator("tbody tr").count(), kept: await focused(page) };
  await page.locator('section[aria-label="People and programs"] tbody tr').first().waitFor();
  await tabTo(page, name);
  await page.keyboard.press("Enter");
  await page.getByText(`Logins of ${name}, newest first`).waitFor();
  return later;
}

exports.byKeys = async (browser, console_, args, names) => {
  const page = await browser.newPage();
  await page.goto(console_);
  const seen = { way: await signIn(page, args), views: await views(page, names) };
  Object.assign(seen, { call: await aCall(page), method: await aMethod(page), form: await theForm(page), access: await theAccess(page, args) });
  await tabTo(page, "Sign out");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await page.close();
  return seen;
};
