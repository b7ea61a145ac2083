// Who is logged in where, for those who may administer auth: people and programs, their logins, the keys that sign, and what was done.

import { auth } from "./api.js";
import { h, pairs, show, table } from "./dom.js";

const TAIL = 200;

export function access(content, { tell }) {
  const [people, sessions, keys, audit] = ["People and programs", "Logins", "Signing keys", "What was done"].map((title) =>
    h("section", { class: "card", "aria-label": title }, h("h2", {}, title), h("p", { class: "quiet" }, "Loading")));
  show(content, h("div", { class: "grid" }, people, h("div", { class: "stack" }, sessions, keys)), audit);
  audit.classList.add("below");
  const put = (section, ...children) => show(section, section.firstChild, children);
  const load = (section, ask) => ask().then((shown) => { put(section, shown); tell(null); }, (problem) => put(section, refused(problem)));
  const choose = (subject) => load(sessions, () => sessionList(subject));
  put(sessions, h("p", { class: "quiet" }, "Choose a person to see where they are logged in."));
  load(people, () => principalList("", choose, (more) => load(people, () => more)));
  load(keys, keyList);
  load(audit, auditList);
}

function refused(problem) {
  const text = problem.reason === "PERMISSION_MISSING"
    ? "This is for those who hold the permission accord.auth.admin."
    : problem.message;
  return h("p", { class: "bad" }, text);
}

const word = (value, prefix) => (value ?? "").replace(prefix, "").toLowerCase();

async function principalList(pageToken, choose, more) {
  const { principals = [], nextPageToken } = await auth("AdminService/ListPrincipals", { pageSize: 100, pageToken });
  const row = ({ principal = {}, standing }) => {
    const kind = word(principal.kind, "PRINCIPAL_KIND_");
    const state = word(standing, "STANDING_");
    const name = kind === "user"
      ? h("button", { type: "button", class: "link", onclick: () => choose(principal.subject) }, principal.subject)
      : principal.subject;
    return h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, kind === "service" ? "client" : kind), h("td", {}, (principal.roles ?? []).join(", ")),
      h("td", { class: state === "active" ? "good" : "bad" }, state));
  };
  const next = nextPageToken && h("button", { type: "button", onclick: () => more(principalList(nextPageToken, choose, more)) }, "Next page");
  return [table("People and programs", ["Name", "Kind", "Roles", "Standing"], h("tbody", {}, principals.map(row))), next];
}

async function sessionList(subject) {
  const { sessions = [] } = await auth("AdminService/ListSessions", { subject });
  if (!sessions.length) return h("p", { class: "quiet" }, `${subject} has no login that could be renewed.`);
  const time = (text) => (text ? new Date(text).toLocaleString() : "never");
  const row = ({ session, renewed, expireTime }) => h("tr", {}, h("th", { scope: "row", class: "mono" }, session), h("td", {}, time(renewed)), h("td", {}, time(expireTime)));
  return [h("p", {}, `Logins of ${subject}, newest first`), table(`Logins of ${subject}`, ["Login", "Renewed", "Ends"], h("tbody", {}, sessions.map(row)))];
}

async function keyList() {
  const { keys = [] } = await auth("KeyService/ListKeys");
  return pairs("facts", keys.map(({ kid, alg }) => [alg, h("code", {}, kid)]));
}

const entriesAfter = async (after) => (await auth("AdminService/ListAuditEntries", { after: String(after) })).entries ?? [];

// The last entries of a log that is read forward only: its end is found by doubling, then by halving.
async function lastEntries() {
  let [known, beyond] = [0, 512];
  while ((await entriesAfter(beyond)).length) [known, beyond] = [beyond, beyond * 2];
  while (beyond - known > TAIL) {
    const middle = Math.floor((known + beyond) / 2);
    if ((await entriesAfter(middle)).length) known = middle;
    else beyond = middle;
  }
  return (await entriesAfter(Math.max(known - TAIL, 0))).slice(-TAIL).toReversed();
}

async function auditList() {
  const entries = await lastEntries();
  const row = ({ seq, time, actor, action, target }) => h("tr", {}, h("td", { class: "number quiet" }, seq), h("td", {}, new Date(time).toLocaleString()),
    h("td", { class: /revoke|disable|remove|end/i.test(action ?? "") ? "warn" : null }, action), h("td", {}, actor), h("td", {}, target));
  return table("What was done, newest first", [{ text: "No.", number: true }, "When", "What", "By", "To"], h("tbody", {}, entries.map(row)));
}
