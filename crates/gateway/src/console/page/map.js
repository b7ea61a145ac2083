// The live map: who calls whom, how often, how well, and what is known of each endpoint.

import { gateway } from "./api.js";
import { h, meter, pairs, s, show, spark, table } from "./dom.js";
import * as figures from "./figures.js";
import { poll } from "./live.js";

const KEPT = 60;
// Figures are over so many answers, about ten seconds.
const SPAN = 5;

const { bytes, percent, perSecond, seconds } = figures;

// What has been seen, oldest first; it outlives a look at another view.
const seen = [];
const trends = new Map();

function note(key, value) {
  const values = trends.get(key) ?? [];
  values.push(value ?? 0);
  if (values.length > KEPT) values.shift();
  trends.set(key, values);
  return values;
}

const trend = (key) => trends.get(key) ?? [];

export function map(content, { tell }) {
  const [tiles, nodes, list] = [h("dl", { class: "tiles" }), h("div", { class: "map" }), h("section", { class: "card" })];
  const redraw = () => { if (nodes.isConnected) wires(nodes); };
  show(content, tiles, h("h2", { class: "unseen" }, "Map"), nodes, list);
  const stop = poll(async () => {
    seen.push(figures.index(await gateway("GetState")));
    if (seen.length > SPAN + 1) seen.shift();
    const [at, before, last] = [seen.at(-1), seen[0], seen.at(-2) ?? seen[0]];
    if (last !== at) remember(last, at);
    show(tiles, overview(before, at));
    draw(nodes, before, at);
    show(list, h("h2", {}, "Methods"), methodTable(before, at));
    redraw();
  }, tell);
  addEventListener("resize", redraw);
  return () => {
    stop();
    removeEventListener("resize", redraw);
  };
}

const METHOD = "rpc_method";

function remember(before, at) {
  const all = figures.calls(before, at);
  note("rate", all.rate);
  note("errors", all.errorShare);
  note("p99", all.p99);
  note("active", figures.value(at, "accord_gateway_calls_active"));
  note("hits", figures.cacheReads(before, at).hitRatio);
  for (const method of figures.labelsOf(at, METHOD)) {
    note(`method ${method}`, figures.calls(before, at, (it) => it[METHOD] === method).rate);
  }
}

function overview(before, at) {
  const all = figures.calls(before, at);
  const reads = figures.cacheReads(before, at);
  const tile = (title, value, more, key) => h("div", { class: "card tile" },
    h("dt", {}, title), h("dd", {}, value, " ", h("small", {}, more)), spark(trend(key)));
  const limit = figures.value(at, "accord_budget_limit", { budget: "calls" });
  return [
    tile("Calls", perSecond(all.rate), "", "rate"),
    tile("Failed by mesh or services", percent(all.errorShare), perSecond(all.failed), "errors"),
    tile("99th percentile", seconds(all.p99), `median ${seconds(all.p50)}`, "p99"),
    tile("Answered from a cache", percent(reads.hitRatio), `of ${perSecond(reads.rate)}`, "hits"),
    tile("In flight", `${figures.value(at, "accord_gateway_calls_active") ?? 0}`, limit ? `of ${limit}` : "", "active"),
  ];
}

// A box of the map.
function node(id, title, state, entries, ...more) {
  const [word, kind] = state;
  return h("article", { class: "card node", dataset: { node: id } },
    h("header", {}, h("h3", {}, title), h("span", { class: `state ${kind}` }, word)), pairs("pairs", entries), more);
}

function draw(nodes, before, at) {
  const { state } = at;
  const column = (...children) => h("div", { class: "column" }, children);
  const upstreams = state.upstreams ?? [];
  show(nodes,
    s("svg", { "aria-hidden": "true" }),
    column(callers(before, at)),
    column(authNode(before, at), gatewayNode(before, at), cacheNode(before, at)),
    column(upstreams.length ? upstreams.map((it) => upstreamNode(before, at, it)) : h("p", { class: "quiet" }, "No upstream")));
}

function callers(before, at) {
  const protocols = figures.labelsOf(at, "accord_protocol").map((protocol) =>
    [protocol, perSecond(figures.calls(before, at, (it) => it.accord_protocol === protocol).rate)]);
  const { rate } = figures.calls(before, at);
  const word = rate > 0 ? ["calling", "good"] : ["quiet", "quiet"];
  const connections = figures.value(at, "accord_connections_open");
  return node("callers", "Callers", word, [...protocols, ["connections", connections]]);
}

function gatewayNode(before, at) {
  const all = figures.calls(before, at);
  const [held, memory] = ["accord_gateway_memory_held_bytes", "process_memory_usage_bytes"].map((it) => figures.value(at, it));
  const active = figures.value(at, "accord_gateway_calls_active") ?? 0;
  const limit = figures.value(at, "accord_budget_limit", { budget: "calls" });
  const shed = figures.rate(before, at, "accord_budget_shed_total");
  const faults = figures.rate(before, at, "accord_gateway_faults_total");
  const started = figures.value(at, "process_start_time_seconds");
  const version = figures.find(at, "accord_build_info")[0]?.labels.version;
  const state = shed > 0 ? ["shedding load", "bad"] : all.errorShare > 0.01 ? ["failing calls", "warn"] : ["serving", "good"];
  return node("gateway", "Gateway", state, [
    ["calls", perSecond(all.rate)],
    ["faults of the mesh", perSecond(faults)],
    ["shed", perSecond(shed)],
    ["bytes held for calls", bytes(held)],
    ["memory", bytes(memory)],
    ["version", version],
    ["up for", started === undefined ? null : figures.ago(at.time - started * 1000)],
  ], limit ? meter(active / limit, `${active} of ${limit} calls in flight`) : null);
}

function authNode(before, at) {
  const up = figures.value(at, "accord_dependency_up", { dependency: "auth" });
  const [age, limit] = ["accord_revocations_age_seconds", "accord_revocations_age_limit_seconds"].map((it) => figures.value(at, it));
  const asked = figures.attempts(before, at, "auth");
  const state = up === 0 ? ["down: calls are refused", "bad"] : ["up", "good"];
  return node("auth", "Auth", state, [
    ["questions", perSecond(asked.rate)],
    ["99th percentile", seconds(asked.p99)],
    ["revocations known", age === undefined ? "never" : `${seconds(Math.max(age, 0))} ago`],
    ["bound", seconds(limit)],
  ], age !== undefined && limit ? meter(age / limit, `${percent(age / limit)} of the bound on revocations`) : null,
  endpoints(at.state.auth));
}

function cacheNode(before, at) {
  const { cache } = at.state;
  if (!cache) return node("cache", "Cache", ["none", "quiet"], [["reads", "go to upstreams"]]);
  const reads = figures.cacheReads(before, at);
  const asked = figures.attempts(before, at, cache.name);
  const isOut = (cache.endpoints ?? []).every((it) => it.ejected);
  const state = isOut ? ["not answering", "bad"] : reads.bypassed > 0 ? ["bypassed", "warn"] : ["up", "good"];
  return node("cache", "Cache", state, [
    ["cached reads", perSecond(reads.rate)],
    ["hit ratio", percent(reads.hitRatio)],
    ["from the gateway's memory", perSecond(reads.near)],
    ["past the cache", perSecond(reads.bypassed)],
    ["99th percentile", seconds(asked.p99)],
  ], endpoints(cache));
}

function upstreamNode(before, at, { name, endpoints: known = [] }) {
  const asked = figures.attempts(before, at, name);
  const of = (metric, labels = {}) => figures.value(at, metric, { upstream: name, ...labels });
  const [inFlight, limit] = [of("accord_upstream_in_flight") ?? 0, of("accord_upstream_in_flight_limit")];
  const [waiting, adaptive] = [of("accord_upstream_waiting"), of("accord_upstream_waiting_limit")];
  const shed = figures.rate(before, at, "accord_upstream_overloaded_total", { upstream: name });
  const ejections = of("accord_upstream_ejections_total");
  const out = known.filter((it) => it.ejected).length;
  const state = known.length === 0 ? ["no endpoint", "bad"]
    : out === known.length ? ["all ejected", "bad"]
    : out > 0 ? [`${out} of ${known.length} ejected`, "warn"]
    : shed > 0 ? ["overloaded", "warn"] : ["up", "good"];
  return node(`upstream ${name}`, name, state, [
    ["attempts", perSecond(asked.rate)],
    ["without an answer", asked.failed > 0 ? perSecond(asked.failed) : null],
    ["median, 99th percentile", `${seconds(asked.p50)}, ${seconds(asked.p99)}`],
    ["adaptive limit", adaptive === undefined ? null : `${waiting ?? 0} waiting of ${adaptive}`],
    ["expected unloaded", seconds(of("accord_upstream_latency_unloaded_seconds"))],
    ["refused: overloaded", shed > 0 ? perSecond(shed) : null],
    ["ejections so far", ejections || null],
  ], limit ? meter(inFlight / limit, `${inFlight} of ${limit} calls in flight`) : null, endpoints({ endpoints: known }));
}

function endpoints(upstream) {
  const known = upstream?.endpoints ?? [];
  const line = ({ address, ejected, inFlight }) => h("li", {},
    h("span", { class: "mono" }, address.replace(/^https?:[/][/]/, "")),
    ejected ? h("span", { class: "bad" }, "ejected") : h("span", { class: "quiet" }, `${inFlight ?? 0} in flight`));
  return known.length ? h("ul", { class: "endpoints", "aria-label": "Endpoints" }, known.map(line)) : null;
}

// Lines between the boxes, once these have their places. A line moves where calls go along it; how often the cache loads, its own
// metrics know.
function wires(nodes) {
  const picture = nodes.querySelector("svg");
  const frame = nodes.getBoundingClientRect();
  const box = (id) => nodes.querySelector(`[data-node="${CSS.escape(id)}"]`).getBoundingClientRect();
  const [at, before] = [seen.at(-1), seen[0]];
  const { cache, upstreams = [] } = at.state;
  // The cache's own namespaces stand behind the gateway by its name, and it loads nothing from itself.
  const loaded = cache ? upstreams.filter(({ name }) => name !== cache.name) : [];
  const asked = (name) => figures.attempts(before, at, name);
  const across = (from, to, { rate, failed }) => line(curve(frame, box(from), box(to)), rate, failed);
  const lines = [
    across("callers", "gateway", { rate: figures.calls(before, at).rate, failed: 0 }),
    line(straight(frame, box("auth"), box("gateway")), asked("auth").rate, asked("auth").failed),
    line(straight(frame, box("gateway"), box("cache")), cache ? asked(cache.name).rate : 0, cache ? asked(cache.name).failed : 0),
    ...upstreams.map(({ name }) => across("gateway", `upstream ${name}`, asked(name))),
    ...loaded.map(({ name }) => s("path", { class: "wire load", d: curve(frame, box("cache"), box(`upstream ${name}`)) })),
  ];
  show(picture, lines.flat());
}

// From the right of one box to the left of another.
function curve(frame, from, to) {
  const [x1, y1] = [from.right - frame.left, from.top + from.height / 2 - frame.top];
  const [x2, y2] = [to.left - frame.left, to.top + to.height / 2 - frame.top];
  const bend = (x2 - x1) / 2;
  return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
}

// From the one above to the one below.
function straight(frame, above, below) {
  const x = above.left + above.width / 2 - frame.left;
  return `M${x} ${above.bottom - frame.top}L${x} ${below.top - frame.top}`;
}

function line(d, rate, failed) {
  if (!(rate > 0)) return [s("path", { class: "wire idle", d })];
  const width = 1.5 + Math.min(Math.log10(1 + rate), 4);
  return [s("path", { class: "wire", d, "stroke-width": width }), s("path", { class: failed > 0 ? "flow failing" : "flow", d })];
}

function methodTable(before, at) {
  const row = (method) => {
    const of = figures.calls(before, at, (it) => it[METHOD] === method);
    return { method, ...of };
  };
  const rows = figures.labelsOf(at, METHOD).map(row).sort((one, other) => other.rate - one.rate).slice(0, 100);
  if (!rows.length) return h("p", { class: "quiet" }, "Nothing has been called yet.");
  const number = (text, kind) => h("td", { class: `number ${kind ?? ""}` }, text);
  return table("Methods by their rates", ["Method", ...["Calls", "Failed", "Refused", "Median", "99 %"].map((text) => ({ text, number: true })), "Trend"],
    h("tbody", {}, rows.map((it) => h("tr", {},
      h("th", { scope: "row", class: "mono" }, it.method), number(perSecond(it.rate)),
      number(perSecond(it.failed), it.failed > 0 ? "bad" : "quiet"), number(perSecond(it.refused), it.refused > 0 ? "warn" : "quiet"),
      number(seconds(it.p50)), number(seconds(it.p99)), h("td", {}, spark(trend(`method ${it.method}`)))))));
}
