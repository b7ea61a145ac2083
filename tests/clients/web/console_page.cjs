// What scripts do at the console as a person would.
"use strict";

exports.signIn = async (page, { admin, name, password }) => {
  await page.goto(`${admin}/console/`);
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Gateway" }).waitFor();
};

// Goes to a view by its name.
exports.open = async (page, view) => {
  await page.getByRole("link", { name: view, exact: true }).click();
  await page.locator('nav a[aria-current="page"]', { hasText: view }).waitFor();
};
