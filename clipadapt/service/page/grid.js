// The results: a grid of pictures, or two of them side by side with what moved.

import { $, alt, count, h, icon, known, picture, title } from "./dom.js";

const open = new Set(); // items whose facts a person asked for

/** An answer's grid. `act` has open(hit, arm), like(hit, arm), but(hit, changes, arm), others(hit) and address(hit); `moves`: a hit's key -> what to say of its place. */
export function grid({ hits, arm }, { act, details, moves = null, label = "Results" }) {
  return h("ol", { class: `grid${details ? " detailed" : ""}`, "aria-label": label }, hits.map((hit, place) => card(hit, place, arm, act, moves?.get(key(hit)), details)));
}

/** What two releases' hits are recognised by: a product is shown by one of its pictures, not always the same. */
export const key = (hit) => hit.product || hit.id;

function card(hit, place, arm, act, move, details) {
  const link = h(
    "a",
    { class: "shot", href: act.address(hit), tabindex: place ? "-1" : "0", dataset: { id: hit.id, place: `${arm} ${hit.id}` }, "aria-label": alt(hit) },
    picture(hit, 384, { eager: place < 8 }),
  );
  link.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    act.open(hit, arm);
  });
  link.addEventListener("dragstart", (event) => event.dataTransfer.setData("application/x-item", hit.id));
  const like = h("button", { type: "button", class: "act like", tabindex: "-1", "aria-label": `More like ${title(hit)}`, title: "More like this (m)", onclick: () => act.like(hit, arm) }, icon("spark"), h("span", { class: "long" }, "More like this"), h("span", { class: "short" }, "Similar"));
  const facts = h("button", { type: "button", class: "act facts-of", tabindex: "-1", "aria-label": `Score and attributes of ${title(hit)}`, title: "Score and attributes (i)" }, icon("info"));
  const but = h("button", { type: "button", class: "act but-of", tabindex: "-1", "aria-expanded": "false", "aria-label": `The same as ${title(hit)}, but with changes`, title: "The same, but … (b)" }, "But…");
  const box = h("li", { class: "card", dataset: { key: key(hit) } }, link, move ? badge(move) : null, h("div", { class: "acts" }, like, act.others ? but : null, facts), h("p", { class: "caption" }, title(hit)));
  const show = (wanted) => {
    box.querySelector("dl")?.remove();
    facts.setAttribute("aria-expanded", String(wanted));
    if (wanted) box.append(factsOf(hit, place));
  };
  facts.addEventListener("click", () => {
    const wanted = facts.getAttribute("aria-expanded") !== "true";
    if (wanted) open.add(hit.id);
    else open.delete(hit.id);
    show(wanted);
  });
  show(details || open.has(hit.id));
  but.addEventListener("click", () => {
    const there = box.querySelector("form");
    there?.remove();
    but.setAttribute("aria-expanded", String(!there));
    if (there) return;
    box.append(changesOf(hit, arm, act, () => but.click()));
    box.querySelector("form input").focus();
  });
  return box;
}

/** What could be other than in a hit: a field, and values that other items have. */
function changesOf(hit, arm, act, close) {
  const field = h("input", { type: "text", maxlength: "1000", autocomplete: "off", placeholder: "red, long sleeves", "aria-label": `What should be other than in ${title(hit)}` });
  const chips = act.others(hit).map((value) => h("li", {}, h("button", { type: "button", class: "chip plain", onclick: () => act.but(hit, value, arm) }, value)));
  const form = h("form", { class: "but", "aria-label": `The same as ${title(hit)}, but` }, h("div", { class: "row" }, field, h("button", { class: "solid" }, "Go")), chips.length ? h("ul", { class: "chips" }, chips) : null);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value.trim()) act.but(hit, field.value.trim(), arm);
  });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    const shot = form.closest(".card").querySelector("a.shot");
    close();
    shot.focus();
  });
  return form;
}

function factsOf(hit, place) {
  const rows = [["score", hit.score.toFixed(3)], ["place", count(place + 1)], ...known(hit.attributes)];
  return h("dl", { class: "facts" }, rows.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))));
}

function badge({ text, says, kind }) {
  return h("span", { class: `move ${kind}`, title: says }, h("span", { "aria-hidden": "true" }, text), h("span", { class: "unseen" }, says));
}

/** Two grids and a line that says what moved. */
export function sideBySide(answers, options) {
  const [before, after] = answers.map((answer) => answer.hits);
  const moved = compare(before, after);
  const side = (answer, name, moves) =>
    h("section", { class: "side", "aria-label": name }, h("h2", {}, name, h("span", { class: "release" }, answer.release)), grid(answer, { ...options, moves, label: `Results of ${answer.release}` }));
  const box = h("div", { class: "sides" }, side(answers[0], "Current", moved.before), side(answers[1], "Candidate", moved.after));
  const light = (event) => {
    const wanted = event.type === "pointerover" || event.type === "focusin" ? event.target.closest?.(".card")?.dataset.key : null;
    for (const one of box.querySelectorAll(".card")) one.classList.toggle("twin", wanted !== null && one.dataset.key === wanted);
  };
  for (const kind of ["pointerover", "pointerleave", "focusin", "focusout"]) box.addEventListener(kind, light);
  return h("div", {}, h("p", { class: "moved" }, moved.summary), box);
}

/** What became of every hit of the one list in the other. */
export function compare(before, after) {
  const places = (hits) => new Map(hits.map((hit, place) => [key(hit), place]));
  const [from, to] = [places(before), places(after)];
  const said = (own, other, forward) =>
    new Map([...own].map(([name, place]) => {
      if (!other.has(name)) {
        return [name, forward ? { kind: "new", text: "new", says: "not among the current release's" } : { kind: "gone", text: "gone", says: "not among the candidate's" }];
      }
      const up = forward ? other.get(name) - place : place - other.get(name);
      if (!up) return [name, { kind: "same", text: "=", says: "same place" }];
      return [name, { kind: up > 0 ? "up" : "down", text: `${up > 0 ? "▲" : "▼"} ${Math.abs(up)}`, says: `${Math.abs(up)} ${up > 0 ? "higher" : "lower"} with the candidate` }];
    }));
  const shared = [...to.keys()].filter((name) => from.has(name));
  const same = shared.filter((name) => from.get(name) === to.get(name)).length;
  const fresh = after.length - shared.length;
  const summary = !shared.length ? `None of the candidate's ${after.length} is among the current release's.`
    : same === after.length && before.length === after.length ? "Both releases give the same results in the same order."
    : `${shared.length} of ${after.length} are in both, ${same} of them in the same place; ${fresh} ${fresh === 1 ? "is" : "are"} new with the candidate.`;
  return { before: said(from, to, false), after: said(to, from, true), summary };
}

/** Grey squares while the first answer is on its way. */
export function skeleton(cards) {
  return h("ol", { class: "grid ghost", "aria-hidden": "true" }, Array.from({ length: cards }, () => h("li", { class: "card" }, h("span", { class: "shot" }), h("p", { class: "caption" }))));
}

/** Puts results on the stage; whoever was on a result stays on it if it is still there. */
export function place(node) {
  const stage = $("stage");
  const focused = stage.contains(document.activeElement) ? document.activeElement.dataset.id : null;
  stage.replaceChildren(node);
  if (focused) focus([...shots()].find((one) => one.dataset.id === focused) ?? shots()[0]);
}

const shots = () => [...$("stage").querySelectorAll("a.shot")];

function focus(shot) {
  if (!shot) return false;
  for (const one of shot.closest(".grid").querySelectorAll("a.shot")) one.tabIndex = one === shot ? 0 : -1;
  shot.focus();
  shot.scrollIntoView({ block: "nearest" });
  return true;
}

/** From the search box into the results. */
export const enter = () => focus(shots().find((one) => one.tabIndex === 0));

/** Moves by a key among the results; false where the key means nothing here. */
export function move(pressed) {
  const now = document.activeElement?.closest?.("a.shot") ?? document.activeElement?.closest?.(".card")?.querySelector("a.shot");
  if (!now) return false;
  const all = now.closest(".sides") ? shots() : [...now.closest(".grid").querySelectorAll("a.shot")];
  const own = [...now.closest(".grid").querySelectorAll("a.shot")];
  if (pressed === "Home") return focus(own[0]);
  if (pressed === "End") return focus(own.at(-1));
  const here = now.getBoundingClientRect();
  const side = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[pressed];
  if (!side) return false;
  const nearest = all
    .map((shot) => ({ shot, box: shot.getBoundingClientRect() }))
    .map(({ shot, box }) => ({ shot, x: (box.left - here.left) * (side[0] || 1), y: (box.top - here.top) * (side[1] || 1) }))
    .filter(({ x, y }) => (side[0] ? x > 4 && Math.abs(y) < here.height / 2 : y > 4))
    .sort((a, b) => (side[0] ? a.x - b.x : a.y - b.y || Math.abs(a.x) - Math.abs(b.x)))[0];
  if (nearest) return focus(nearest.shot);
  const next = side[0] ? own[own.indexOf(now) + side[0]] : null; // the end of a line leads to the next
  return next ? focus(next) : pressed !== "ArrowUp";
}

/** The result that keys such as m are about, and the release that gave it; nulls without one. */
export function current() {
  const data = document.activeElement?.closest?.("#stage .card")?.querySelector("a.shot")?.dataset;
  return data ? [data.id, data.place.slice(0, data.place.indexOf(" "))] : [null, null];
}

/** Opens or closes what could be other than in the result in focus. */
export const toggleBut = () => document.activeElement?.closest?.(".card")?.querySelector(".but-of")?.click();

/** Opens or closes the facts of the result in focus. */
export const toggleFacts = () => document.activeElement?.closest?.(".card")?.querySelector(".facts-of")?.click();
