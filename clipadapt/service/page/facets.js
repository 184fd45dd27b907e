// The filters at the side: a column's values with counts, or a range; and the chips of what is in force.

import { bound, chips, choose, chosen, setBound, toggle } from "./conditions.js";
import { $, count, h, icon } from "./dom.js";

const SHOWN = 8; // values before "show more"
const OPEN = 6; // columns that start unfolded
const CROWD = 200; // unlisted values from which a column is no help in choosing

const unfolded = new Map(); // column -> whether a person opened it
const lengthened = new Set(); // columns whose values are all shown

/** Those that help in choosing first; a column of names, with hundreds of values, last. */
export const useful = (facets) => facets.filter((facet) => facet.kind === "range" || (facet.more < CROWD && facet.values.length > 0));

/** Draws the panel into `box`; `change(where)` is called with the filters that a person wants. */
export function draw(box, facets, where, change) {
  const focused = box.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const best = useful(facets);
  const sections = [...best, ...facets.filter((facet) => !best.includes(facet) && chosen(where, facet.name).length)];
  box.replaceChildren(...sections.map((facet, place) => section(facet, place, where, change, () => draw(box, facets, where, change))));
  if (focused) [...box.querySelectorAll("[data-key]")].find((one) => one.dataset.key === focused)?.focus();
}

/** Grey lines while the first answer is on its way. */
export function waiting(box) {
  box.replaceChildren(...Array.from({ length: 4 }, () => h("div", { class: "facet ghost", "aria-hidden": "true" }, h("i"), h("i"), h("i"), h("i"))));
}

function section(facet, place, where, change, again) {
  const picked = facet.kind === "values" ? chosen(where, facet.name) : [bound(where, facet.name, ">="), bound(where, facet.name, "<=")].filter(Boolean);
  const open = unfolded.get(facet.name) ?? (place < OPEN || picked.length > 0);
  const body = facet.kind === "values" ? values(facet, picked, where, change, again) : range(facet, where, change);
  const box = h(
    "details",
    { class: "facet", open },
    h("summary", { dataset: { key: `fold ${facet.name}` } }, h("span", {}, facet.name), picked.length ? h("span", { class: "count" }, String(picked.length)) : null),
    body,
  );
  box.addEventListener("toggle", () => unfolded.set(facet.name, box.open));
  return box;
}

function values(facet, picked, where, change, again) {
  const most = Math.max(...facet.values.map((one) => one.count), 1);
  const all = lengthened.has(facet.name);
  const listed = facet.values.filter((one, place) => all || place < SHOWN || picked.includes(one.value));
  const rows = listed.map(({ value, count: carriers }) => {
    const box = h("input", { type: "checkbox", checked: picked.includes(value), dataset: { key: `${facet.name} ${value}` } });
    box.addEventListener("change", () => change(toggle(where, facet.name, value)));
    const bar = h("span", { class: "share", "aria-hidden": "true" });
    bar.style.setProperty("--share", carriers / most);
    return h("li", {}, h("label", {}, box, h("span", { class: "value" }, value), h("span", { class: "number" }, count(carriers)), bar));
  });
  const left = facet.values.length - listed.length;
  const longer = left > 0 || all;
  const more = h("button", { type: "button", class: "link", dataset: { key: `more ${facet.name}` } }, left > 0 ? `Show ${left} more` : "Show fewer");
  more.addEventListener("click", () => {
    if (all) lengthened.delete(facet.name);
    else lengthened.add(facet.name);
    again();
  });
  return h(
    "div",
    {},
    h("ul", {}, rows),
    facet.values.length > SHOWN && longer ? more : null,
    facet.more > 0 && left <= 0 ? h("p", { class: "hint" }, `and ${count(facet.more)} rarer`) : null,
    picked.length ? h("button", { type: "button", class: "link", onclick: () => change(choose(where, facet.name, [])) }, "Any") : null,
  );
}

function range(facet, where, change) {
  const type = typeof facet.low === "number" ? "number" : "date";
  const input = (operator, label, edge) => {
    const box = h("input", {
      type, step: "any", value: bound(where, facet.name, operator), placeholder: typeof edge === "number" ? String(edge) : "",
      "aria-label": `${facet.name} ${label}`, dataset: { key: `${facet.name} ${operator}` },
    });
    box.addEventListener("change", () => {
      if (box.checkValidity()) change(setBound(where, facet.name, operator, box.value));
    });
    return h("label", {}, h("span", {}, label), box);
  };
  const ends = type === "number" ? `${count(facet.low)} to ${count(facet.high)}` : `${facet.low} to ${facet.high}`;
  return h("div", { class: "range" }, input(">=", "from", facet.low), input("<=", "to", facet.high), h("p", { class: "hint" }, ends));
}

/** The chips above the results. */
export function drawChips(where, change) {
  const one = ({ label, without }) =>
    h("li", {}, h("button", { type: "button", class: "chip", "aria-label": `Remove the filter ${label}`, onclick: () => change(without) }, label, icon("cross")));
  const all = chips(where);
  const clear = all.length > 1 ? h("li", {}, h("button", { type: "button", class: "link", id: "clear", onclick: () => change([]) }, "Clear all")) : null;
  $("chips").replaceChildren(...all.map(one), ...(clear ? [clear] : []));
  $("chips").hidden = !all.length;
  $("filter-count").textContent = String(all.length);
  $("filter-count").hidden = !all.length;
}
