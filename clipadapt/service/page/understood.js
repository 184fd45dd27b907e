// What a query was understood as: a chip for every part but plain words, each of which can be taken out.

import { $, h, icon } from "./dom.js";
import { useful } from "./facets.js";

const COLUMNS = 3; // of a hit, values of which are offered in place of its own
const VALUES = 3; // of each

/** Draws the chips; `change(patch)` gets the state without a part, or with the words as they stand. */
export function draw(readings, state, change) {
  const changed = (text) => (state.but ? { but: text, q: "" } : { q: text });
  const chips = readings.flatMap((reading) => reading.parts.filter((part) => part.kind !== "words").map((part) => chip(label(part), `Take out ${label(part)}`, () => change(changed(part.without)))));
  if (chips.length) chips.unshift(h("li", { class: "hint" }, "Understood:"));
  if (chips.length && !state.but) chips.push(h("li", {}, h("button", { type: "button", class: "link", onclick: () => change({ plain: "1" }) }, "Search for the words as they stand")));
  if (state.plain && !state.but) chips.push(chip("Words as they stand", "Read the words for values, numbers and what is not wanted", () => change({ plain: "" })));
  $("understood").replaceChildren(...chips);
  $("understood").hidden = !chips.length;
}

const chip = (text, says, action) => h("li", {}, h("button", { type: "button", class: "chip", "aria-label": says, title: says, onclick: action }, text, icon("cross")));

/** A part in words: "Pattern: Striped or Checked", "not Length: Mini", "price < 50". */
export function label({ kind, values, conditions }) {
  if (kind === "condition") return conditions.join(", ");
  const names = [...new Set(values.map((one) => one.attribute))];
  const said = names.map((name) => `${name}: ${values.filter((one) => one.attribute === name).map((one) => one.value).join(" or ")}`).join(" or ");
  return kind === "unwanted" ? `not ${said}` : said;
}

/** Values that a hit could have in place of its own: the commonest others of a few of its columns. */
export function others(hit, facets) {
  const columns = useful(facets).filter((facet) => facet.kind === "values" && typeof hit.attributes[facet.name] === "string");
  return columns.slice(0, COLUMNS).flatMap((facet) => facet.values.map((one) => one.value).filter((value) => value !== hit.attributes[facet.name]).slice(0, VALUES));
}
