// Figures of two states of the gateway: rates, shares, quantiles. Nothing here knows the page.

const number = (value) => Number(value ?? 0);

// The series of a state by their names.
export function index(state) {
  const byName = new Map();
  for (const series of state.series ?? []) {
    const list = byName.get(series.name) ?? [];
    list.push({ ...series, labels: series.labels ?? {}, value: number(series.value), count: number(series.count) });
    byName.set(series.name, list);
  }
  return { time: Date.parse(state.time), byName, state };
}

const matches = (series, labels) => Object.entries(labels).every(([name, value]) => series.labels[name] === value);

// All series of a metric that have these labels.
export const find = (at, name, labels = {}) => (at.byName.get(name) ?? []).filter((series) => matches(series, labels));

// The sum of their values; undefined where there is none.
export function value(at, name, labels) {
  const found = find(at, name, labels);
  return found.length ? found.reduce((sum, series) => sum + series.value, 0) : undefined;
}

// By how much a counter rose in a second.
export function rate(before, at, name, labels) {
  const seconds = (at.time - before.time) / 1000;
  if (!(seconds > 0)) return 0;
  return Math.max((value(at, name, labels) ?? 0) - (value(before, name, labels) ?? 0), 0) / seconds;
}

const keyOf = (series) => JSON.stringify(Object.entries(series.labels).sort());

// What came to a histogram between two states, over all series that are chosen: how many, their sum, and buckets.
export function grown(before, at, name, isChosen) {
  const known = new Map((before.byName.get(name) ?? []).map((series) => [keyOf(series), series]));
  const total = { count: 0, sum: 0, buckets: new Map() };
  for (const series of at.byName.get(name) ?? []) {
    if (!isChosen(series.labels)) continue;
    let earlier = known.get(keyOf(series));
    // The gateway was started anew in between.
    if (earlier?.count > series.count) earlier = undefined;
    total.count += series.count - (earlier?.count ?? 0);
    total.sum += series.value - (earlier?.value ?? 0);
    (series.buckets ?? []).forEach((bucket, place) => {
      const bound = number(bucket.upperBound);
      const more = number(bucket.cumulativeCount) - number(earlier?.buckets?.[place]?.cumulativeCount);
      total.buckets.set(bound, (total.buckets.get(bound) ?? 0) + more);
    });
  }
  return total;
}

// A quantile of what came, in seconds, between the bounds of its bucket; undefined where nothing came.
export function quantile({ count, buckets }, share) {
  if (count <= 0) return undefined;
  const wanted = count * share;
  let [lower, below] = [0, 0];
  for (const [bound, upTo] of [...buckets].sort(([one], [other]) => one - other)) {
    if (upTo >= wanted) return lower + (bound - lower) * ((wanted - below) / Math.max(upTo - below, 1e-9));
    [lower, below] = [bound, upTo];
  }
  return lower;
}

const CALLS = "rpc_server_call_duration_seconds";
// Codes by which a call failed because of the mesh or a service, and not of its caller; alerts count the same.
const FAILURES = new Set(["UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"]);
const isCall = (labels) => Boolean(labels.accord_listener);

// Calls between two states, of one method or of all: how many in a second, which share failed, and how long they took.
export function calls(before, at, isChosen = () => true) {
  const chosen = (labels) => isCall(labels) && isChosen(labels);
  const seconds = Math.max((at.time - before.time) / 1000, 1e-3);
  const all = grown(before, at, CALLS, chosen);
  const failed = grown(before, at, CALLS, (it) => chosen(it) && FAILURES.has(it.rpc_response_status_code)).count;
  const refused = grown(before, at, CALLS, (it) => chosen(it) && it.rpc_response_status_code !== "OK").count - failed;
  return {
    rate: all.count / seconds,
    failed: failed / seconds,
    refused: refused / seconds,
    errorShare: all.count > 0 ? failed / all.count : 0,
    p50: quantile(all, 0.5),
    p99: quantile(all, 0.99),
  };
}

// The values of a label of calls, in their order.
export function labelsOf(at, label) {
  return [...new Set(find(at, CALLS).filter((it) => isCall(it.labels)).map((it) => it.labels[label]).filter(Boolean))].sort();
}

// Cached reads between two states: how many in a second, and which share needed no load.
export function cacheReads(before, at) {
  const of = (outcome) => rate(before, at, "accord_gateway_cache_reads_total", outcome ? { outcome } : {});
  const all = of();
  const served = of("near") + of("hit");
  return { rate: all, near: of("near"), hitRatio: all > 0 ? served / all : undefined, bypassed: of("bypass") };
}

// Attempts at an upstream between two states.
export function attempts(before, at, upstream) {
  const seconds = Math.max((at.time - before.time) / 1000, 1e-3);
  const all = grown(before, at, "accord_upstream_duration_seconds", (it) => it.upstream === upstream);
  const failed = rate(before, at, "accord_upstream_attempts_total", { upstream, response_headers_received: "false" });
  return { rate: all.count / seconds, failed, p50: quantile(all, 0.5), p99: quantile(all, 0.99) };
}

// Figures as text.
export const perSecond = (rate) => rate === 0 ? "0/s" : `${rate >= 100 ? rate.toFixed(0) : rate >= 10 ? rate.toFixed(1) : rate.toFixed(2)}/s`;
export const percent = (share) => share === undefined ? "–" : `${(share * 100).toFixed(share > 0 && share < 0.1 ? 2 : 1)} %`;
export function milliseconds(ms) {
  if (ms === undefined || Number.isNaN(ms)) return "–";
  if (ms >= 1000) return `${(ms / 1000).toFixed(ms >= 10_000 ? 1 : 2)} s`;
  return ms >= 100 ? `${ms.toFixed(0)} ms` : ms >= 10 ? `${ms.toFixed(1)} ms` : `${ms.toFixed(2)} ms`;
}
export const seconds = (value) => milliseconds(value === undefined ? undefined : value * 1000);
export function bytes(value) {
  if (value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  for (; value >= 1024 && place < units.length - 1; place += 1) value /= 1024;
  return `${value >= 100 || place === 0 ? value.toFixed(0) : value.toFixed(1)} ${units[place]}`;
}
export function ago(milliseconds) {
  const seconds = Math.max(Math.round(milliseconds / 1000), 0);
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`;
}
