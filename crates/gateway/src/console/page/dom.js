// Elements. Whatever comes from elsewhere gets into the page as text and never as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

// h("td", { class: "number" }, "12"): an element with attributes, listeners (`onclick`) and children.
export const h = (name, properties = {}, ...children) => fill(document.createElement(name), properties, children);

// The same in SVG.
export const s = (name, properties = {}, ...children) => fill(document.createElementNS(SVG, name), properties, children);

// Puts children in the place of those that are there.
export function show(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter(Boolean));
}

// Names and values. Those without a value are left out.
export function pairs(className, entries) {
  const shown = entries.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return h("dl", { class: className }, shown.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

// A table with a caption that is read out, and seen where nothing else says whose it is, and heads that may be { text, number }.
export function table(caption, heads, body, isSeen) {
  const head = (it) => h("th", { scope: "col", class: it.number ? "number" : null }, it.text ?? it);
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, h("table", {},
    h("caption", { class: isSeen ? null : "unseen" }, caption), h("thead", {}, h("tr", {}, heads.map(head))), body));
}

// A line of values, newest last, from zero up.
export function spark(values) {
  const most = Math.max(...values, 1e-9);
  const width = Math.max(values.length - 1, 1);
  const points = values.map((value, place) => `${place} ${(1 - value / most) * 24 + 1}`);
  const line = points.length > 1 ? `M${points.join("L")}` : "M0 25L1 25";
  const shape = { class: "spark", viewBox: `0 0 ${width} 26`, preserveAspectRatio: "none", "aria-hidden": "true" };
  return s("svg", shape, s("path", { class: "area", d: `${line}L${width} 26L0 26Z` }), s("path", { d: line }));
}

// The bar of a share between 0 and 1; the style is set as a property, since the page allows no style within its markup.
export function meter(share, label) {
  const bar = h("i", { class: share > 0.85 ? "tight" : null });
  bar.style.width = `${Math.min(Math.max(share, 0), 1) * 100}%`;
  return h("div", { class: "meter", role: "img", "aria-label": label }, bar);
}
