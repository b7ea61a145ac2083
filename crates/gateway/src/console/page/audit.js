// What was done at auth, and what of it took something from somebody: the log is read forward only, in parts.

import { auth } from "./api.js";
import { h, table } from "./dom.js";

const TAIL = 200;
// Entries that one question gives, and questions that one look for revocations may take.
const PART = 500;
const PARTS = 10;
const SHOWN = 50;

// What each of these ends. Roles that change revoke the tokens that show them.
const ENDS = {
  "api_key.disable": "an API key, and every token that came from it",
  "api_key.remove": "an API key, and every token that came from it",
  "certificate_identity.disable": "a name in certificates, and every token that came from it",
  "certificate_identity.remove": "a name in certificates, and every token that came from it",
  "key.retire": "every token that a signing key signed",
  "everything.revoke": "every token of everybody",
  "password.change": "every login of a person",
  "password.reset": "every login of a person",
  "principal.disable": "every token of a principal, who is let in no more",
  "principal.remove": "a principal, and every token of it",
  "principal.unlink": "a link to another issuer, and every token of the principal",
  "refresh.reused": "a login whose refresh token came twice",
  "refresh.revoke": "a login",
  "role.grant": "every token of a principal whose roles changed",
  "role.remove": "every token of a principal whose roles changed",
  "session.end": "a login",
  "store.older": "every token of everybody: the store was older than it had been",
  "store.restore": "every token of everybody: the store was filled from a copy",
  "subject.revoke": "every token of a principal",
  "token.revoke": "one token",
};

const entriesAfter = async (after) => (await auth("AdminService/ListAuditEntries", { after: String(after) })).entries ?? [];

// The place of the last entry, or one within PART before it: found by doubling, then by halving.
async function nearEnd() {
  let [known, beyond] = [0, 512];
  while ((await entriesAfter(beyond)).length) [known, beyond] = [beyond, beyond * 2];
  while (beyond - known > TAIL) {
    const middle = Math.floor((known + beyond) / 2);
    if ((await entriesAfter(middle)).length) known = middle;
    else beyond = middle;
  }
  return known;
}

const lastEntries = async () => (await entriesAfter(Math.max((await nearEnd()) - TAIL, 0))).slice(-TAIL).toReversed();

export async function auditList() {
  const row = ({ seq, time, actor, action, target }) => h("tr", {}, h("td", { class: "number quiet" }, seq), h("td", {}, new Date(time).toLocaleString()),
    h("td", { class: ENDS[action] ? "warn" : null }, action), h("td", {}, actor), h("td", {}, target));
  return table("What was done, newest first", [{ text: "No.", number: true }, "When", "What", "By", "To"],
    h("tbody", {}, (await lastEntries()).map(row)));
}

// Revocations before an entry, newest first, from as many parts of the log as one look may take.
async function revocationsBefore(before) {
  let end = before;
  const found = [];
  for (let part = 0; part < PARTS && end > 1 && found.length < SHOWN; part += 1) {
    const begin = Math.max(end - 1 - PART, 0);
    const entries = (await entriesAfter(begin)).filter(({ seq }) => Number(seq) < end);
    found.push(...entries.filter(({ action }) => ENDS[action]).toReversed());
    end = begin + 1;
  }
  const shown = found.slice(0, SHOWN);
  return { shown, next: found.length > SHOWN ? Number(shown.at(-1).seq) : end };
}

// `more` puts a later page in the place of this one.
export async function revocationList(more, before = null) {
  const { shown, next } = await revocationsBefore(before ?? (await nearEnd()) + PART + 1);
  const row = ({ time, actor, action, target }) => h("tr", {}, h("td", {}, new Date(time).toLocaleString()), h("th", { scope: "row", class: "mono" }, target),
    h("td", {}, ENDS[action]), h("td", {}, actor));
  const older = next > 1 && h("button", { type: "button", onclick: () => more(() => revocationList(more, next)) }, "Older");
  const newest = before !== null && h("button", { type: "button", onclick: () => more(() => revocationList(more)) }, "Newest");
  return [
    shown.length ? table("Revocations, newest first", ["When", "Of", "What has ended", "By"], h("tbody", {}, shown.map(row)))
      : h("p", { class: "quiet" }, "Nothing was revoked here."),
    h("div", { class: "bar" }, newest, older),
  ];
}
