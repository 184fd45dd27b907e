// What is there before anybody has searched: examples made of the catalogue's own values, each with its first results.

import * as api from "./api.js";
import { choose } from "./conditions.js";
import { count, h, picture } from "./dom.js";
import { useful } from "./facets.js";
import { empty, write } from "./state.js";

const EXAMPLES = 6;
const KIND = /categor|type|kind|class|article|subject/i;

/** The column that says what a thing is, by its name, else the one with most values; null without columns of values. */
export function kinds(facets) {
  const columns = useful(facets).filter((facet) => facet.kind === "values" && facet.values.length > 1 && facet.values.some((one) => /\p{L}/u.test(one.value)));
  const named = columns.filter((facet) => KIND.test(facet.name));
  return [...(named.length ? named : columns)].sort((a, b) => b.values.length + b.more - a.values.length - a.more)[0] ?? null;
}

/** Words for those who only chose filters: the values they chose, else the commonest thing that is left. */
export function wordsOf(where, facets, chosenIn) {
  const chosen = facets.filter((facet) => facet.kind === "values").flatMap((facet) => chosenIn(where, facet.name));
  if (chosen.length) return [...new Set(chosen)].join(" ").slice(0, 900);
  return kinds(facets)?.values.find((one) => one.count)?.value ?? "picture";
}

/** Fills `box` with examples; nothing is shown of one that fails. */
export async function draw(box, facets, { info, go, signal }) {
  const kind = kinds(facets);
  const tiles = h("ul", { class: "examples" });
  const browse = kind && h("ul", { class: "browse", "aria-label": `Browse by ${kind.name}` }, kind.values.slice(0, 12).map(({ value, count: carriers }) => {
    const state = { ...empty(), where: choose([], kind.name, [value]) };
    return h("li", {}, link(state, go, { class: "chip plain" }, value, h("span", { class: "number" }, count(carriers))));
  }));
  box.replaceChildren(
    h("section", { class: "welcome" },
      h("h1", {}, `Search ${count(info.items)} items by words or by picture`),
      h("p", {}, info.pictures ? "Describe what you are looking for, drop a picture anywhere on this page, or start with one of these." : "Describe what you are looking for, or start with one of these."),
      browse,
    ),
    tiles,
  );
  if (!kind) return;
  const wanted = kind.values.filter((one) => one.count).slice(0, EXAMPLES);
  tiles.append(...wanted.map(() => h("li", { class: "example ghost", "aria-hidden": "true" }, h("span", { class: "collage" }))));
  await Promise.all(wanted.map(async ({ value }, place) => {
    const made = await example(kind, value, place, info, signal, go).catch(() => null);
    if (!signal.aborted) tiles.children[place]?.replaceWith(made ?? h("li", { hidden: true }));
  }));
}

async function example(kind, value, place, info, signal, go) {
  const { facets } = await api.facets(choose([], kind.name, [value]), "current", signal);
  const others = useful(facets).filter((facet) => facet.kind === "values" && facet.name !== kind.name && facet.values.some((one) => one.count));
  const other = others[place % Math.max(others.length, 1)];
  const present = other?.values.filter((one) => one.count) ?? [];
  const with_ = present[Math.floor(place / Math.max(others.length, 1)) % Math.max(present.length, 1)]?.value;
  const text = [with_, value].filter(Boolean).join(" ");
  const { hits } = await api.search({ text, k: 4 }, null, signal);
  if (!hits.length) return null;
  const collage = info.pictures ? h("span", { class: "collage" }, hits.map((hit) => {
    const shown = picture(hit, 256, { eager: true });
    if (shown.alt) shown.alt = "";
    return shown;
  })) : null;
  return h("li", { class: "example" }, link({ ...empty(), q: text }, go, {}, collage, h("span", { class: "caption" }, text)));
}

function link(state, go, props, ...children) {
  const made = h("a", { href: write(state), ...props }, ...children);
  made.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(state);
  });
  return made;
}
