// All methods with their effective policies, and where each field of them comes from.

import { gateway } from "./api.js";
import { h, pairs, show, table } from "./dom.js";

const PAGE = 500;

async function load() {
  const methods = [];
  let pageToken = "";
  do {
    const page = await gateway("ListPolicies", { pageSize: PAGE, pageToken });
    methods.push(...(page.methods ?? []));
    pageToken = page.nextPageToken ?? "";
  } while (pageToken);
  return methods;
}

export function methods(content, { tell, argument }) {
  const state = { methods: [], wanted: "", open: new Set(argument ? [argument] : []) };
  const search = h("input", { type: "search", "aria-label": "Find methods", placeholder: "Find a method, upstream or permission",
    oninput: (event) => { state.wanted = event.target.value.toLowerCase(); draw(); } });
  const [count, list] = [h("span", { class: "quiet", role: "status" }, "Loading"), h("section", { class: "card" })];
  const reload = () => load().then((all) => { state.methods = all; tell(null); draw(); }, tell);
  show(content, h("div", { class: "bar" }, search, h("button", { type: "button", onclick: reload }, "Reload"), count), list);
  const draw = () => {
    const shown = state.methods.filter((it) => textOf(it).includes(state.wanted));
    const focused = document.activeElement?.dataset?.method;
    show(count, `${shown.length} of ${state.methods.length} methods`);
    show(list, shown.length ? methodTable(shown, state, draw) : h("p", { class: "quiet" }, "No method is like this."));
    if (focused) list.querySelector(`[data-method="${CSS.escape(focused)}"]`)?.focus();
  };
  reload();
}

const sourceOf = (method, begin) => (method.sources ?? []).filter(({ field }) => field === begin || field.startsWith(`${begin}.`));
const valueOf = (method, field) => (method.sources ?? []).find((it) => it.field === field)?.value;
const textOf = (method) => [method.method, method.upstream, accessOf(method), ...(method.http ?? [])].join(" ").toLowerCase();

function accessOf(method) {
  const [access] = sourceOf(method, "access").filter(({ field }) => !field.endsWith("principal_kinds"));
  if (!access) return "denied";
  return access.field === "access.permission" ? access.value.replaceAll('"', "") : access.field.replace("access.", "");
}

// What of the contract is declared at all, in a word each.
function declared(method) {
  const words = { cache: "cached", rate_limit: "rate limit", retry: "retry", hedge: "hedging", idempotency: "idempotent", invalidates: "invalidates" };
  return Object.entries(words).filter(([field]) => sourceOf(method, field).length || sourceOf(method, `${field}s`).length
    || (method.sources ?? []).some((it) => it.field.startsWith(`${field}[`))).map(([, word]) => h("span", { class: "tag quiet" }, word));
}

function methodTable(shown, state, draw) {
  const row = (method) => {
    const isOpen = state.open.has(method.method);
    const toggle = () => {
      if (isOpen) state.open.delete(method.method);
      else state.open.add(method.method);
      draw();
    };
    const access = accessOf(method);
    const name = h("button", { type: "button", class: "link mono", "aria-expanded": String(isOpen), dataset: { method: method.method }, onclick: toggle }, method.method);
    return [
      h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, method.upstream),
        h("td", { class: access === "denied" ? "bad" : null }, access),
        h("td", { class: "number" }, valueOf(method, "deadline.default") ?? ""), h("td", {}, h("div", { class: "badges" }, declared(method)))),
      isOpen ? h("tr", { class: "detail" }, h("td", { colspan: "5" }, policy(method))) : null,
    ];
  };
  return table("Methods", ["Method", "Upstream", "Access", { text: "Deadline", number: true }, "Declared"], h("tbody", {}, shown.map(row)));
}

function policy(method) {
  const rows = (method.sources ?? []).map(({ field, value, source }) => h("tr", {},
    h("th", { scope: "row", class: "mono" }, field), h("td", { class: "mono" }, value), h("td", { class: source === "default" ? "quiet" : null }, source)));
  return [
    pairs("facts", [
      ["Kind", method.kind],
      ["HTTP", (method.http ?? []).join(", ")],
      ["HTTP, not served", (method.httpNotServed ?? []).join(", ")],
      ["Versions", (method.versions ?? []).map(({ name, weight }) => `${name}: ${weight ?? 0}`).join(", ")],
    ]),
    h("p", {}, h("a", { href: `#try/${encodeURIComponent(method.method)}` }, "Try a call")),
    h("div", { class: "policy" }, table(`Policy of ${method.method}`, ["Field", "Value", "Source"], h("tbody", {}, rows))),
  ];
}
