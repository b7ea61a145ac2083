// A form that makes one call in JSON, with the token of whoever is signed in, through the public listener's own code.

import { gateway, tryCall } from "./api.js";
import { h, pairs, show } from "./dom.js";
import { milliseconds } from "./figures.js";
import { waterfall } from "./steps.js";

// What of an answer is shown at most.
const MOST = 256 * 1024;
const HEADERS = ["content-type", "cache-status", "age", "ratelimit", "ratelimit-policy", "retry-after", "deprecation", "etag", "x-accord-fault", "x-request-id"];

const form = { method: "", text: "{}", explain: true, dryRun: false };

export function tryIt(content, { tell, argument }) {
  if (argument) form.method = argument;
  const names = h("datalist", { id: "methods" });
  gateway("ListPolicies", { pageSize: 500 }).then(({ methods = [] }) => {
    show(names, methods.map(({ method }) => h("option", { value: method })));
    tell(null);
  }, tell);
  let running = null;
  const answer = h("section", { class: "card", "aria-live": "polite", "aria-label": "Answer" }, h("p", { class: "quiet" }, "The answer will be here."));
  const input = (name, text, properties) => h("label", { class: "inline" },
    h("input", { type: "checkbox", checked: form[name], onchange: (event) => { form[name] = event.target.checked; }, ...properties }), text);
  const send = async (event) => {
    event.preventDefault();
    running?.abort();
    running = new AbortController();
    const data = new FormData(event.target);
    Object.assign(form, { method: data.get("method").trim().replace(/^[/]/, ""), text: data.get("text") });
    show(answer, h("p", { class: "quiet" }, "Calling"));
    show(answer, await made(data.get("timeout"), running.signal));
  };
  show(content, h("div", { class: "split" },
    h("form", { class: "card try", onsubmit: send, "aria-label": "Call" },
      h("div", { class: "row" },
        h("label", {}, "Method", h("input", { name: "method", list: "methods", required: true, class: "mono", spellcheck: "false", autocomplete: "off",
          value: form.method, placeholder: "pkg.Service/Method" })),
        h("label", {}, "Timeout in seconds", h("input", { name: "timeout", inputmode: "decimal", placeholder: "as declared", pattern: "[0-9]+([.][0-9]+)?" }))),
      h("label", {}, "Message as JSON", h("textarea", { name: "text", rows: "12", spellcheck: "false" }, form.text)),
      h("div", { class: "bar" },
        input("explain", "Tell what was decided"), input("dryRun", "Dry run: decide, and call nobody"),
        h("button", { class: "main", type: "submit" }, "Call"),
        h("button", { type: "button", onclick: () => running?.abort() }, "Stop")),
      h("p", { class: "quiet" }, "The call is yours: it is authorized, limited, cached and counted as any other of your calls."), names),
    answer));
  return () => running?.abort();
}

async function made(timeout, signal) {
  const headers = {};
  if (form.dryRun) headers["x-accord-explain"] = "dry-run";
  else if (form.explain) headers["x-accord-explain"] = "1";
  if (timeout) headers["request-timeout"] = timeout;
  const begun = performance.now();
  try {
    const response = await tryCall(form.method, form.text, headers, signal);
    const text = await read(response);
    return result(response, text, performance.now() - begun);
  } catch (problem) {
    const message = signal.aborted ? "Stopped." : problem.message;
    return h("p", { class: "bad" }, `${message} (after ${milliseconds(performance.now() - begun)})`);
  }
}

// The body as text, no more of it than can be shown.
async function read(response) {
  const [reader, decoder] = [response.body.getReader(), new TextDecoder()];
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text;
    text += decoder.decode(value, { stream: true });
    if (text.length > MOST) {
      await reader.cancel();
      return `${text.slice(0, MOST)}\n… cut here`;
    }
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function result(response, text, took) {
  const told = response.headers.get("x-accord-explained");
  const isDryRun = text.includes('"DRY_RUN"');
  const kind = response.ok ? "good" : isDryRun ? "warn" : "bad";
  return [
    h("h2", {}, h("span", { class: kind }, `${response.status} ${response.statusText.replace("<none>", "")}`), ` after ${milliseconds(took)}`),
    pairs("facts", HEADERS.map((name) => [name, response.headers.get(name)])),
    h("pre", { class: "answer", tabindex: "0", "aria-label": "Body of the answer" }, pretty(text)),
    told ? explained(told) : null,
  ];
}

function explained(told) {
  let facts;
  try {
    facts = JSON.parse(told);
  } catch {
    return h("pre", { class: "answer" }, told);
  }
  let before = 0;
  const steps = (facts.steps ?? []).map(([name, took]) => {
    const step = { name, from: before, to: before + took };
    before = step.to;
    return step;
  });
  const rest = Object.entries(facts).filter(([name]) => name !== "steps" && name !== "mode");
  return [
    h("h2", { class: "answered" }, "What was decided"),
    steps.length ? waterfall(steps) : null,
    pairs("facts", rest.map(([name, value]) => [name, typeof value === "object" ? h("code", {}, JSON.stringify(value)) : String(value)])),
  ];
}
