// Recent calls that failed or were slow, and the way of one of them through the gateway's steps.

import { gateway } from "./api.js";
import { h, pairs, show, table } from "./dom.js";
import { bytes, milliseconds } from "./figures.js";
import { poll } from "./live.js";
import { stepsOf, waterfall } from "./steps.js";

const KEPT = 400;

const KINDS = {
  all: { title: "All", has: () => true },
  failed: { title: "Failed", has: (call) => call.status !== "OK" },
  slow: { title: "Slow", has: (call) => call.slow },
  followed: { title: "Followed step by step", has: (call) => (call.steps ?? []).length > 0 },
};

export function calls(content, { tell }) {
  const state = { calls: [], kind: "all", chosen: null };
  const [filter, list, detail] = [h("div", { class: "bar", role: "group", "aria-label": "Which calls" }),
    h("section", { class: "card list", "aria-label": "Calls" }), h("section", { class: "card sticky", "aria-live": "polite", "aria-label": "One call" })];
  show(content, filter, h("div", { class: "split" }, list, detail));
  const draw = () => {
    show(filter, Object.entries(KINDS).map(([kind, { title }]) => h("button",
      { type: "button", "aria-pressed": String(kind === state.kind), dataset: { kind }, onclick: () => turn({ kind }) }, title)));
    const shown = state.calls.filter(KINDS[state.kind].has).toReversed();
    const focused = document.activeElement?.dataset?.seq;
    show(list, shown.length ? callTable(shown, state, (chosen) => turn({ chosen })) : h("p", { class: "quiet" },
      "No call of this kind has been kept yet. While you look, some of all calls are followed."));
    if (focused) list.querySelector(`[data-seq="${CSS.escape(focused)}"]`)?.focus();
    show(detail, state.chosen ? one(state.chosen) : h("p", { class: "quiet" }, "Choose a call to see its way through the steps."));
  };
  const turn = (change) => {
    const kind = document.activeElement?.dataset?.kind;
    Object.assign(state, change);
    draw();
    if (kind) filter.querySelector(`[data-kind="${kind}"]`)?.focus();
  };
  draw();
  return poll(async () => {
    const { calls: more = [] } = await gateway("ListCalls", { after: state.calls.at(-1)?.seq ?? "0" });
    if (!more.length) return;
    state.calls = [...state.calls, ...more].slice(-KEPT);
    draw();
  }, tell);
}

const statusOf = (call) => h("span", { class: call.status === "OK" ? "good" : "bad" }, call.status);

function callTable(shown, state, choose) {
  const row = (call) => h("tr", { class: call.seq === state.chosen?.seq ? "chosen" : null },
    h("th", { scope: "row" }, h("button", { type: "button", class: "link mono", dataset: { seq: call.seq }, onclick: () => choose(call) }, call.method)),
    h("td", {}, statusOf(call), call.steps?.length ? h("span", { class: "tag quiet beside" }, "steps") : null),
    h("td", { class: `number ${call.slow ? "warn" : ""}` }, milliseconds(call.durationMs ?? 0)),
    h("td", { class: "number quiet" }, new Date(call.time).toLocaleTimeString()));
  return table("Calls, newest first", ["Method", "Status", { text: "Took", number: true }, { text: "Ended", number: true }],
    h("tbody", {}, shown.map(row)));
}

function one(call) {
  const steps = stepsOf(call);
  const { durationMs = 0, upstreamMs = 0, timeoutMs = 0 } = call;
  const [own, inward] = [durationMs - upstreamMs, { name: "upstream", from: durationMs - upstreamMs, to: durationMs }];
  const untold = [{ name: "gateway", from: 0, to: own }, ...(upstreamMs ? [inward] : [])];
  return [
    h("h2", { class: "mono" }, call.method),
    h("p", {}, statusOf(call), call.reason ? ` ${call.reason}` : "", ` after ${milliseconds(durationMs)}`,
      timeoutMs ? ` of ${milliseconds(timeoutMs)}` : ""),
    waterfall(steps.length ? steps : untold),
    steps.length ? null : h("p", { class: "quiet below" }, "This call was not followed: of its time it is known only how much of it was spent in waiting for the upstream or the cache."),
    pairs("facts", [
      ["Waiting inward", upstreamMs ? milliseconds(upstreamMs) : null],
      ["Attempts", call.attempts || null],
      ["Endpoints", (call.endpoints ?? []).join(", ")],
      ["Cache", call.cache],
      ["Version", call.version],
      ["Caller", call.principalKind],
      ["Protocol", `${call.protocol ?? ""}, ${call.listener ?? ""} listener`],
      ["Request, answer", `${bytes(Number(call.requestBytes ?? 0))}, ${bytes(Number(call.responseBytes ?? 0))}`],
      ["Ended", new Date(call.time).toLocaleString()],
      ["Request id", h("code", {}, call.requestId ?? "")],
      ["Trace", call.traceId ? h("code", {}, call.traceId) : null],
    ]),
  ];
}
