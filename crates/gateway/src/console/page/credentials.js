// What lets somebody in beside a password: API keys, names in certificates, keys of clients. Of each it is shown what it is called, and
// never what it is.

import { auth } from "./api.js";
import { h, table } from "./dom.js";

const PAGE = 20;

export const word = (value, prefix) => (value ?? "").replace(prefix, "").toLowerCase();
export const time = (text, otherwise) => (text ? new Date(text).toLocaleString() : otherwise);

export function standing(value) {
  const state = word(value, "STANDING_");
  return h("td", { class: state === "active" ? "good" : "bad" }, state);
}

// A list that comes in pages, of one principal or of everybody, but where the list is of one alone. `more` puts another page in the
// place of this one.
function pages(list) {
  const page = async (subject, more, pageToken = "") => {
    const { [list.rows]: rows = [], nextPageToken } = await auth(list.method, { pageSize: PAGE, pageToken, subject });
    const to = (text, other) => h("button", { type: "button", onclick: () => more(() => page(...other)) }, text);
    const caption = (subject ? `${list.caption} of ${subject}` : list.caption) + (list.order ?? "");
    return [
      rows.length ? table(caption, list.heads, h("tbody", {}, rows.map(list.row)), subject) : h("p", { class: "quiet" }, subject ? `${subject} has ${list.none ?? "none"}.` : "There are none."),
      h("div", { class: "bar" }, subject && !list.ofOne ? to("Of everybody", ["", more]) : null, pageToken ? to("First page", [subject, more]) : null,
        nextPageToken ? to("Next page", [subject, more, nextPageToken]) : null),
    ];
  };
  return page;
}

export const apiKeyList = pages({
  method: "AdminService/ListApiKeys",
  rows: "apiKeys",
  caption: "API keys",
  heads: ["Key", "Acts as", "May", "Used", "Ends", "Standing"],
  row: ({ apiKeyId, subject, scope, note, expireTime, lastUseTime, ...key }) => h("tr", {},
    h("th", { scope: "row" }, h("code", {}, apiKeyId), note ? h("div", { class: "quiet" }, note) : null), h("td", {}, subject), h("td", {}, scope || "all that it may"),
    h("td", {}, time(lastUseTime, "never")), h("td", {}, time(expireTime, "never")), standing(key.standing)),
});

export const identityList = pages({
  method: "AdminService/ListCertificateIdentities",
  rows: "certificateIdentities",
  caption: "Names in certificates",
  heads: ["Name", "Acts as", "Used", "Standing"],
  row: ({ identity, subject, note, lastUseTime, ...known }) => h("tr", {},
    h("th", { scope: "row", class: "mono" }, identity, note ? h("div", { class: "quiet" }, note) : null), h("td", {}, subject), h("td", {}, time(lastUseTime, "never")),
    standing(known.standing)),
});

export const sessionList = pages({
  method: "AdminService/ListSessions",
  ofOne: true,
  rows: "sessions",
  caption: "Logins",
  order: ", newest first",
  none: "no login that could be renewed",
  heads: ["Login", "Renewed", "Ends"],
  row: ({ session, renewed, expireTime }) => h("tr", {}, h("th", { scope: "row", class: "mono" }, session), h("td", {}, time(renewed, "never")), h("td", {}, time(expireTime, "never"))),
});

// A client has eight keys at most, and those that still end.
export async function clientKeyList(client) {
  const { keys = [] } = await auth("AdminService/ListClientKeys", { clientId: client });
  if (!keys.length) return h("p", { class: "quiet" }, `${client} has no key of its own: it logs in with a secret, or not at all.`);
  const row = ({ keyId, algorithm, createTime, expireTime }) => h("tr", {}, h("th", { scope: "row", class: "mono" }, keyId), h("td", {}, algorithm),
    h("td", {}, time(createTime, "")), h("td", {}, time(expireTime, "never")));
  return table(`Keys of ${client}, oldest first`, ["Key", "Algorithm", "Added", "Ends"], h("tbody", {}, keys.map(row)), client);
}
