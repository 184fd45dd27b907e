// The page: keeps the state, asks the service, shows the answers. What it shows follows from the address alone, so every
// change goes through `go`, and back and forward work.

import * as api from "./api.js";
import * as box from "./box.js";
import { chosen, toggle } from "./conditions.js";
import { $, count, h, icon, plural, shown } from "./dom.js";
import * as events from "./events.js";
import * as facets from "./facets.js";
import * as grid from "./grid.js";
import * as item from "./item.js";
import { keyboard } from "./keys.js";
import * as start from "./start.js";
import { asks, changes, empty, hasBoth, hasPicture, PAGE, read, write } from "./state.js";
import * as understood from "./understood.js";
import * as upload from "./upload.js";

let state = read(location.search);
let info = null;
let typing = false; // whether the newest entry of the history is still being typed
let asked = new AbortController();
let shownFor = null; // what the stage shows: the searches' key
let facetsFor = null;
let panel = []; // the facets as last answered
let total = 0; // items under the filters
let hits = [];
let answered = "current"; // the release that answered, where the service decides

/** Another state. `typed`: one of many small changes, which share one entry of the history. */
function go(patch, { replace = false, typed = false } = {}) {
  state = { ...state, ...patch };
  const address = write(state);
  const method = replace || (typed && typing) ? "replaceState" : "pushState";
  typing = typed;
  const entry = method === "pushState" ? { opened: Boolean(patch.open) } : history.state;
  if (address !== location.pathname + location.search) history[method](entry, "", address);
  render();
}

const fresh = (patch) => ({ k: PAGE, open: "", ...patch });

const act = {
  address: (hit) => write({ ...state, open: hit.id }),
  open: (hit, arm) => {
    if (arm) clicked(arm, hit.id);
    go({ open: hit.id }, { replace: state.open !== "" });
  },
  like: (hit, arm) => {
    if (arm) clicked(arm, hit.id);
    go(fresh({ item: hit.id, but: "", picture: "", q: "" }));
  },
  but: (hit, text, arm) => {
    if (arm) clicked(arm, hit.id);
    go(fresh({ item: hit.id, but: text, picture: "", q: "", plain: "" }));
  },
  close: () => (history.state?.opened ? history.back() : go({ open: "" }, { replace: true })),
  filter: (column, value) => go(fresh({ where: chosen(state.where, column).includes(value) ? state.where : toggle(state.where, column, value) })),
  step: (by) => {
    const place = hits.findIndex((hit) => hit.id === state.open);
    const next = hits[place + by];
    if (next) go({ open: next.id }, { replace: true });
  },
};

function render() {
  if (!info) return;
  box.draw(typing);
  const view = info.candidate ? state.view : "";
  drawView(view || answered);
  $("details").setAttribute("aria-pressed", String(state.details));
  facets.drawChips(state.where, (where) => go(fresh({ where })));
  document.title = [state.q || (hasPicture(state) ? "By picture" : ""), info.name].filter(Boolean).join(" · ");
  const wanted = JSON.stringify([asks(state) || state.where.length ? [state.q.trim(), state.item, state.but, state.plain, state.picture, hasBoth(state) ? state.w : 0, state.k] : [], state.where, view]);
  if (wanted !== shownFor) load(wanted, view);
  else $("stage").dispatchEvent(new CustomEvent("redraw"));
  drawItem();
}

function drawView(view) {
  $("views").hidden = !info.candidate;
  for (const radio of $("views").querySelectorAll("input")) radio.checked = radio.value === view;
}

async function load(wanted, view) {
  document.body.classList.toggle("idle", !asks(state) && !state.where.length);
  asked.abort();
  asked = new AbortController();
  const { signal } = asked;
  const first = shownFor === null || !$("stage").querySelector(".grid:not(.ghost)");
  shownFor = wanted;
  $("results").setAttribute("aria-busy", "true");
  if (first && (asks(state) || state.where.length)) grid.place(grid.skeleton(12));
  try {
    await loadFacets(view, signal);
    if (asks(state) || state.where.length) await loadHits(view, signal);
    else await welcome(signal);
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    failed(error);
  } finally {
    if (!signal.aborted) $("results").removeAttribute("aria-busy");
  }
}

async function loadFacets(view, signal) {
  const wanted = JSON.stringify([state.where, view === "candidate"]);
  if (wanted !== facetsFor) {
    const answer = await api.facets(state.where, view, signal);
    [facetsFor, panel, total] = [wanted, answer.facets, answer.items];
  }
  drawFacets();
}

function drawFacets() {
  const room = $("sheet").open ? $("sheet-body") : $("facets");
  facets.draw(room, panel, state.where, (where) => go(fresh({ where })));
  $("sheet-done").textContent = `Show ${plural(total, "item")}`;
}

async function loadHits(view, signal) {
  const words = state.q.trim();
  const browsing = !asks(state);
  const body = { where: state.where, k: Math.min(state.k, info.limits.k) };
  if (words && !state.but) body.text = words;
  if (browsing) body.text = start.wordsOf(state.where, panel, chosen);
  if (state.but) body.parts = [{ item: state.item, but: changes(state) }];
  else if (state.item) body.item = state.item;
  if (state.plain && !state.but) body.plain = true;
  if (hasBoth(state)) body.text_weight = state.w;
  const blob = state.picture ? upload.blob(state.picture) : null;
  if (state.picture && !blob) throw new api.ApiError("The picture of this address is only in the browser tab where it was added. Add it again, or search in words.", { code: "picture_gone" });
  if (info.flag) body.user = user();
  const arms = view === "both" ? ["current", "candidate"] : [view || null];
  const answers = await Promise.all(arms.map((arm) => api.search({ ...body, arm }, blob, signal)));
  if (signal.aborted) return;
  if (!view) drawView((answered = answers[0].arm));
  hits = answers.at(-1).hits;
  drawHits(answers, view, { browsing, k: body.k });
  drawItem();
}

/** Who asks, so that a flag's share always gives them the same release: a random name, which says nothing of anybody. */
function user() {
  const name = localStorage.getItem("user") ?? crypto.getRandomValues(new Uint32Array(4)).join("-");
  localStorage.setItem("user", name);
  return name;
}

function drawHits(answers, view, { browsing, k }) {
  const redraw = () => {
    const options = { act, details: state.details || !info.pictures };
    const result = view === "both" ? grid.sideBySide(answers, options) : grid.grid(answers[0], options);
    const more = hits.length >= k && k < info.limits.k && hits.length < total;
    const button = more ? h("button", { type: "button", class: "quiet more", onclick: () => go({ k: Math.min(state.k + PAGE, info.limits.k) }, { replace: true }) }, "Show more") : null;
    grid.place(hits.length ? h("div", {}, result, button) : nothing());
    clicked = events.watch($("stage"), answers);
  };
  redraw();
  redrawing = redraw;
  $("details").hidden = !hits.length;
  const among = state.where.length ? `${plural(total, "item")} that ${total === 1 ? "meets" : "meet"} the filters` : plural(total, "item");
  const all = hits.length === total ? `All ${among}` : `${plural(hits.length, "product")}, from ${among}`;
  $("status").textContent = !hits.length ? "No results" : hits.length < k ? all : `The best ${count(hits.length)} of ${among}`;
  const notes = answers[0].warnings.map((text) => note(text));
  if (browsing && hits.length) notes.push(note("Add words or a picture to put these in the order of a search."));
  if (info.candidate === null && ["candidate", "both"].includes(state.view)) notes.push(note("Only one release is served, so there is nothing to compare it with."));
  $("notes").replaceChildren(...notes);
  understood.draw(browsing ? [] : answers[0].understood, state, (patch) => go(fresh(patch)));
  drawFoot(answers);
}

let redrawing = () => {};
let clicked = () => {};

const note = (text) => h("p", { class: "note" }, icon("info"), text);

function nothing() {
  return panelOf("Nothing meets these filters", state.where.length ? "Take one of them away, or start again with none." : "The index holds no items that can be shown.",
    state.where.length ? h("button", { type: "button", class: "solid", onclick: () => go(fresh({ where: [] })) }, "Clear the filters") : null);
}

const panelOf = (heading, text, ...more) => h("div", { class: "panel" }, h("h2", {}, heading), h("p", {}, text), h("div", { class: "row" }, ...more));

async function welcome(signal) {
  hits = [];
  redrawing = () => {};
  $("details").hidden = true;
  $("status").textContent = "";
  $("notes").replaceChildren();
  understood.draw([], { ...state, plain: "" }, () => {});
  drawFoot([]);
  const room = h("div", {});
  grid.place(room);
  await start.draw(room, panel, { info, go, signal });
}

function failed(error) {
  shownFor = null;
  hits = [];
  redrawing = () => {};
  $("details").hidden = true;
  $("status").textContent = "";
  $("notes").replaceChildren();
  understood.draw([], { ...state, plain: "" }, () => {});
  if (facetsFor === null) $("facets").replaceChildren();
  const button = (text, action, kind = "quiet") => h("button", { type: "button", class: kind, onclick: action }, text);
  const ways = [];
  if (error.code === "picture_gone") ways.push(button("Leave the picture out", () => go(fresh({ picture: "" })), "solid"));
  else if (error.status >= 400 && error.status < 429) {
    if (state.where.length) ways.push(button("Clear the filters", () => go(fresh({ where: [] })), "solid"));
    ways.push(button("Start again", () => go(empty())));
  } else ways.push(button("Try again", () => (info ? render() : begin()), "solid"));
  const heading = error.code === "picture_gone" ? "The picture is not here" : error.status === 0 ? "No answer" : error.status === 429 ? "Very busy just now" : error.status === 503 ? "Not ready yet" : "This search did not work";
  const said = panelOf(heading, error.message, ...ways);
  const loading = error.code === "not_ready"; // nothing is wrong, and nobody has to look for anything
  said.classList.toggle("error", !loading);
  said.setAttribute("role", loading ? "status" : "alert");
  if (error.request && !loading) said.append(h("p", { class: "hint" }, `Request ${error.request}`));
  grid.place(said);
  if (error.status === 429 || error.status === 503) {
    said.append(h("p", { class: "hint" }, "This page tries again by itself."));
    const stamp = asked;
    setTimeout(() => stamp === asked && render(), 1000 * Math.max(1, error.retryAfter));
  }
}

function drawItem() {
  if (!state.open) {
    item.hide();
    return;
  }
  if ($("item").open && $("item").dataset.of === state.open) return;
  $("item").dataset.of = state.open;
  item.show(state.open, hits.find((hit) => hit.id === state.open) ?? null, { act, info });
}

function drawFoot(answers) {
  const arm = (described) => `${described.release} · ${described.encoder}`;
  const took = answers.length ? ` · ${Math.max(...answers.map((answer) => answer.took_ms)).toFixed(1)} ms` : "";
  const text = answers.length > 1 ? `${arm(info.current)} beside ${arm(info.candidate)}` : arm(info.candidate && (state.view || answered) === "candidate" ? info.candidate : info.current);
  const faults = info.faults.length ? h("details", { class: "faults" }, h("summary", {}, plural(info.faults.length, "notice")), h("ul", {}, info.faults.map((fault) => h("li", {}, shown(fault))))) : "";
  $("foot").replaceChildren(h("span", {}, text + took), faults);
}

function listen() {
  box.listen({ go, fresh, act, state: () => state, hits: () => hits, settle: () => { typing = false; } });
  $("views").addEventListener("change", (event) => go({ view: event.target.value, open: "" }));
  $("details").addEventListener("click", () => go({ details: !state.details }, { replace: true }));
  $("stage").addEventListener("redraw", () => {
    if ($("stage").dataset.details !== String(state.details)) redrawing();
    $("stage").dataset.details = String(state.details);
  });
  $("home").addEventListener("click", (event) => {
    event.preventDefault();
    go(empty());
  });
  addEventListener("popstate", () => {
    state = read(location.search);
    typing = false;
    render();
  });
  $("item").addEventListener("close", () => {
    $("item").dataset.of = "";
    if (state.open) act.close();
  });
  keyboard({ act, go, state: () => state, hit: (id) => hits.find((hit) => hit.id === id) });
}

async function begin() {
  facets.waiting($("facets"));
  grid.place(grid.skeleton(12));
  for (;;) {
    try {
      info = await api.info();
      break;
    } catch (error) {
      if (error.status === 401) return askToken();
      failed(error);
      if (error.status !== 503) return; // the button begins again
      $("stage").querySelector(".panel .row").replaceChildren(); // nothing to press: this goes on by itself
      await new Promise((resolve) => setTimeout(resolve, 1000 * Math.max(1, error.retryAfter)));
    }
  }
  events.begin(info);
  if (info.reads) act.others = (hit) => understood.others(hit, panel);
  info.filterable = new Set(info.columns.map((column) => column.name));
  $("name").textContent = info.name;
  if (!info.pictures) document.body.classList.add("wordy");
  render();
}

/** A service that asks for a token gets it in a cookie, for pictures are fetched by the browser itself. */
function askToken() {
  const field = h("input", { type: "password", id: "token", autocomplete: "current-password", required: true });
  const form = h("form", { class: "panel" }, h("h2", {}, "This service asks for a token"), h("p", {}, "Whoever runs it can give you one."), h("div", { class: "row" }, h("label", { for: "token" }, "Token"), field, h("button", { class: "solid" }, "Go on")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `clipadapt_token=${encodeURIComponent(field.value.trim())}; Path=/; SameSite=Strict${secure}`;
    location.reload();
  });
  $("facets").replaceChildren();
  grid.place(form);
}

listen();
begin();
