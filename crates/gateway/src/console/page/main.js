// The page: signs somebody in, and shows one view at a time. Each view is a function that puts itself into an element and returns how
// it ends.

import { isSignedIn, name, onEnd, signIn, signOut, useToken } from "./api.js";
import { access } from "./access.js";
import { calls } from "./calls.js";
import { h, show } from "./dom.js";
import { map } from "./map.js";
import { methods } from "./methods.js";
import { tryIt } from "./try.js";

const VIEWS = [
  { id: "map", title: "Map", view: map },
  { id: "calls", title: "Calls", view: calls },
  { id: "methods", title: "Methods", view: methods },
  { id: "try", title: "Try", view: tryIt },
  { id: "access", title: "Access", view: access },
];

const [views, who, notice, content] = ["views", "who", "notice", "content"].map((id) => document.getElementById(id));
let leave = () => {};

// Tells something above the view, or nothing any more.
function tell(text) {
  notice.hidden = !text;
  notice.textContent = text ?? "";
}

function open() {
  leave();
  leave = () => {};
  views.hidden = who.hidden = !isSignedIn();
  if (!isSignedIn()) return sign();
  const [id, argument] = location.hash.slice(1).split("/").map(decodeURIComponent);
  const chosen = VIEWS.find((it) => it.id === id) ?? VIEWS[0];
  document.title = `${chosen.title} – Accord console`;
  // Who goes from view to view by keys stays among their names.
  const isAmongViews = views.contains(document.activeElement);
  show(views, VIEWS.map(({ id: other, title }) =>
    h("a", { href: `#${other}`, "aria-current": other === chosen.id ? "page" : null }, title)));
  if (isAmongViews) views.querySelector("[aria-current]").focus();
  show(who, h("span", {}, name()), themeButton(), h("button", { type: "button", onclick: signOut }, "Sign out"));
  tell(null);
  leave = chosen.view(content, { tell: (problem) => tell(problem && `${problem.message} – trying again`), argument }) ?? leave;
}

function themeButton() {
  const isDark = () => {
    const { theme } = document.documentElement.dataset;
    return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const turn = () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; };
  return h("button", { type: "button", onclick: turn, title: "Light or dark" }, "Theme");
}

// What a form does: it tells what went wrong, and keeps its button from being pressed twice.
function form(children, act) {
  const error = h("p", { class: "error", role: "alert" });
  const submit = async (event) => {
    event.preventDefault();
    const button = event.submitter ?? event.target.querySelector("button");
    button.disabled = true;
    show(error, "");
    try {
      await act(new FormData(event.target));
      tell(null);
      open();
      content.focus();
    } catch (problem) {
      show(error, explain(problem));
    } finally {
      button.disabled = false;
    }
  };
  return h("form", { class: "stack", onsubmit: submit }, children, error);
}

function explain(problem) {
  if (problem.reason === "PERMISSION_MISSING") return "You are known, and lack the permission accord.gateway.console.";
  if (problem.reason === "SECOND_FACTOR_REQUIRED") return "Your login needs the code of your second factor as well.";
  return problem.message;
}

function field(text, properties) {
  return h("label", {}, text, h("input", { autocomplete: "off", spellcheck: "false", ...properties }));
}

function sign() {
  document.title = "Sign in – Accord console";
  const withPassword = form([
    field("Name", { name: "name", autocomplete: "username", required: true }),
    field("Password", { name: "password", type: "password", autocomplete: "current-password", required: true }),
    field("Code of the second factor, if you have one", { name: "code", inputmode: "numeric", autocomplete: "one-time-code" }),
    h("button", { class: "main", type: "submit" }, "Sign in"),
  ], (data) => signIn(data.get("name"), data.get("password"), data.get("code")));
  const withToken = form([
    field("Access token", { name: "token", type: "password", required: true }),
    h("button", { type: "submit" }, "Use the token"),
  ], (data) => useToken(data.get("token")));
  show(content, h("section", { class: "card sign", "aria-labelledby": "sign-title" },
    h("h2", { id: "sign-title" }, "Sign in"),
    h("p", { class: "quiet" }, "The console needs the permission accord.gateway.console. What you sign in with stays in this page and ends with it."),
    withPassword,
    h("details", {}, h("summary", {}, "Use an access token instead"), withToken)));
}

onEnd((why) => {
  open();
  tell(why);
});
// Arrows go from one view's name to the next, as Tab does.
views.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const names = [...views.children];
  const place = names.indexOf(document.activeElement);
  if (!step || place < 0) return;
  event.preventDefault();
  names.at((place + step) % names.length).focus();
});
addEventListener("hashchange", () => { if (isSignedIn()) open(); });
open();
