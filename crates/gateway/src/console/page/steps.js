// The way of one call through the gateway's steps, as bars on a line of time.

import { h } from "./dom.js";
import { milliseconds } from "./figures.js";

// What each step is about, by which it has its colour.
const ABOUT = { authenticate: "guard", explain: "guard", authorize: "guard", rate_limit: "limit", cache: "inward", upstream: "inward" };

// Steps with their beginnings: each begins where the one before it ended. What is left is the time after the last of them.
export function stepsOf({ steps = [], durationMs = 0, status }) {
  let before = 0;
  const timed = steps.map(({ name, endMs = 0 }) => {
    const step = { name, from: before, to: Math.max(endMs, before) };
    before = step.to;
    return step;
  });
  const isAnswered = steps.at(-1)?.name === "respond";
  const rest = { name: isAnswered ? "body" : status === "OK" ? "end" : "given up", from: before, to: Math.max(durationMs, before) };
  return steps.length ? [...timed, rest] : [];
}

// Bars on one line of time.
export function waterfall(steps) {
  const whole = Math.max(steps.at(-1)?.to ?? 0, 1e-6);
  const line = ({ name, from, to }) => {
    const bar = h("i", { class: ABOUT[name] ?? (name === "given up" ? "rest" : null) });
    bar.style.left = `${(from / whole) * 100}%`;
    bar.style.width = `${((to - from) / whole) * 100}%`;
    return h("li", {}, h("span", {}, name), h("span", { class: "track", "aria-hidden": "true" }, bar),
      h("span", { class: "number" }, milliseconds(to - from)));
  };
  return h("ol", { class: "steps" }, steps.map(line));
}
