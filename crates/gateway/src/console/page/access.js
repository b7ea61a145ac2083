// Who is logged in where, for those who may administer auth: people and programs, their logins and what else lets them in, the keys
// that sign, what was revoked, and what was done.

import { auth } from "./api.js";
import { auditList, revocationList } from "./audit.js";
import { apiKeyList, clientKeyList, identityList, sessionList, standing, word } from "./credentials.js";
import { h, pairs, show, table } from "./dom.js";

const TITLES = ["People and programs", "Logins", "Signing keys", "API keys", "Names in certificates", "Revocations", "What was done"];

export function access(content, { tell }) {
  const [people, logins, keys, apiKeys, identities, revocations, audit] = TITLES.map((title) =>
    h("section", { class: "card", "aria-label": title }, h("h2", {}, title), h("p", { class: "quiet" }, "Loading")));
  show(content, h("div", { class: "grid" }, people, h("div", { class: "stack" }, logins, keys)),
    h("div", { class: "stack below" }, apiKeys, identities, revocations, audit));
  const put = (section, ...children) => {
    // Who has pressed a button that is gone goes on in what has come in its place.
    const hadFocus = section.contains(document.activeElement);
    show(section, section.firstChild, children);
    if (hadFocus) section.querySelector("[tabindex], button")?.focus();
  };
  const load = (section, ask) => ask().then((shown) => { put(section, shown); tell(null); }, (problem) => put(section, refused(problem)));
  const into = (section) => (ask) => load(section, ask);
  const list = (section, of, subject) => load(section, () => of(subject, into(section)));
  const choose = (subject, kind) => {
    kind === "user" ? list(logins, sessionList, subject) : load(logins, () => clientKeyList(subject));
    list(apiKeys, apiKeyList, subject);
    list(identities, identityList, subject);
  };
  put(logins, h("p", { class: "quiet" }, "Choose a person to see where they are logged in, or a client to see its keys."));
  load(people, () => principalList("", choose, into(people)));
  load(keys, keyList);
  list(apiKeys, apiKeyList, "");
  list(identities, identityList, "");
  load(revocations, () => revocationList(into(revocations)));
  load(audit, auditList);
}

function refused(problem) {
  const text = problem.reason === "PERMISSION_MISSING"
    ? "This is for those who hold the permission accord.auth.admin."
    : problem.message;
  return h("p", { class: "bad" }, text);
}

async function principalList(pageToken, choose, more) {
  const { principals = [], nextPageToken } = await auth("AdminService/ListPrincipals", { pageSize: 100, pageToken });
  const row = ({ principal = {}, ...known }) => {
    const kind = word(principal.kind, "PRINCIPAL_KIND_");
    const name = h("button", { type: "button", class: "link", onclick: () => choose(principal.subject, kind) }, principal.subject);
    return h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, kind === "service" ? "client" : kind), h("td", {}, (principal.roles ?? []).join(", ")),
      standing(known.standing));
  };
  const to = (text, token) => h("button", { type: "button", onclick: () => more(() => principalList(token, choose, more)) }, text);
  return [
    table("People and programs", ["Name", "Kind", "Roles", "Standing"], h("tbody", {}, principals.map(row))),
    h("div", { class: "bar" }, pageToken ? to("First page", "") : null, nextPageToken ? to("Next page", nextPageToken) : null),
  ];
}

async function keyList() {
  const { keys = [] } = await auth("KeyService/ListKeys");
  return pairs("facts", keys.map(({ kid, alg }) => [alg, h("code", {}, kid)]));
}
