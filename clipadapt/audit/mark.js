"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const store = "clipadapt audit " + data.audit;
const total = data.groups.reduce((sum, group) => sum + group.cards.length, 0);
const $ = (id) => document.getElementById(id);
let state = { marks: {}, group: 0, seconds: 0 };
let at = 0;
let last = null;
let kept = true;

try {
  const before = JSON.parse(localStorage.getItem(store));
  if (before && before.marks) state = before;
} catch (error) { kept = false; }
state.group = Math.min(Math.max(state.group | 0, 0), data.groups.length - 1);

function save() {
  try { localStorage.setItem(store, JSON.stringify(state)); } catch (error) { kept = false; }
  $("kept").hidden = kept;
}

function spend() {
  const now = Date.now();
  if (last !== null) state.seconds += Math.min((now - last) / 1000, 60);
  last = now;
}

function count() {
  const done = Object.keys(state.marks).length;
  $("done").value = done;
  $("count").textContent = `${done} of ${total}`;
  $("export").textContent = done === total ? "Export answers" : "Export what is marked";
  $("export").disabled = done === 0;
}

function paint(card) {
  const mark = state.marks[card.dataset.n] || "";
  card.dataset.mark = mark;
  for (const button of card.querySelectorAll("button"))
    button.setAttribute("aria-pressed", String(button.dataset.mark === mark));
}

function cards() { return [...$("cards").children]; }

function go(to, focus = true) {
  const all = cards();
  at = Math.min(Math.max(to, 0), all.length - 1);
  all.forEach((card, place) => {
    card.classList.toggle("at", place === at);
    card.tabIndex = place === at ? 0 : -1;
  });
  if (focus) all[at].focus({ preventScroll: false });
}

function mark(place, value) {
  spend();
  const card = cards()[place];
  if (state.marks[card.dataset.n] === value) delete state.marks[card.dataset.n];
  else state.marks[card.dataset.n] = value;
  paint(card); count(); save();
}

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function card(one, group) {
  const picture = one.picture === null ? element("div", { class: "broken" }, "its picture cannot be read")
    : element("img", { src: "data:image/jpeg;base64," + data.pictures[one.picture], alt: "item " + one.id });
  const buttons = element("div", { class: "marks" });
  for (const [value, text] of [["right", "Right"], ["wrong", "Wrong"], ["unclear", "?"]]) {
    const label = `${text === "?" ? "Unclear" : text}: item ${one.id} is ${group.value}`;
    const button = element("button", { type: "button", class: "b-" + value, "data-mark": value, "aria-label": label }, text);
    button.tabIndex = -1;
    button.onclick = () => { const place = cards().indexOf(made); go(place, false); mark(place, value); };
    buttons.append(button);
  }
  const made = element("figure", { class: "card", "data-n": one.n }, picture,
    element("figcaption", { class: "id" }, one.id + (one.product && one.product !== one.id ? " · " + one.product : "")), buttons);
  paint(made);
  return made;
}

function show(number, focus = true) {
  state.group = Math.min(Math.max(number, 0), data.groups.length - 1);
  const group = data.groups[state.group];
  $("value").textContent = `${group.attribute}: ${group.value}`;
  $("where").textContent = `page ${state.group + 1} of ${data.groups.length}`;
  $("cards").replaceChildren(...group.cards.map((one) => card(one, group)));
  $("back").disabled = state.group === 0;
  count(); save();
  const open = group.cards.findIndex((one) => !state.marks[one.n]);
  go(Math.max(open, 0), focus);
  if (focus) window.scrollTo(0, $("marking").offsetTop);
}

function rest() {
  spend();
  for (const one of data.groups[state.group].cards) state.marks[one.n] = state.marks[one.n] || "right";
  if (state.group + 1 < data.groups.length) show(state.group + 1);
  else { cards().forEach(paint); count(); save(); $("export").focus(); }
}

function answers() {
  const { audit, source, split, attributes, share, seed } = data;
  return { schema_version: 1, audit, source, split, attributes, share, seed, labels: total,
    seconds: Math.round(state.seconds), marks: state.marks };
}

$("export").onclick = () => {
  const file = new Blob([JSON.stringify(answers(), null, 1)], { type: "application/json" });
  const link = element("a", { href: URL.createObjectURL(file), download: `answers-${data.audit}.json` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
$("rest").onclick = rest;
$("back").onclick = () => show(state.group - 1);
$("next").onclick = () => show(state.group + 1);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const inside = document.activeElement === document.body || $("marking").contains(document.activeElement);
  if (!inside) return;
  const button = document.activeElement.tagName === "BUTTON";
  if (button && (event.key === "Enter" || event.key === " ")) return;
  const all = cards();
  const width = all.filter((card) => card.offsetTop === all[0].offsetTop).length;
  const marks = { r: "right", w: "wrong", u: "unclear" };
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -width, ArrowDown: width };
  if (event.key.toLowerCase() in marks) { mark(at, marks[event.key.toLowerCase()]); go(at + 1); }
  else if (event.key in moves) go(at + moves[event.key]);
  else if (event.key === "Enter") rest();
  else if (event.key === "Backspace" && state.group > 0) show(state.group - 1);
  else return;
  event.preventDefault();
});

$("done").max = total;
$("tool").hidden = false;
show(state.group, false);
