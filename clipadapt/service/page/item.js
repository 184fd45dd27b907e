// One item, large: its picture, what it has, what is like it.

import * as api from "./api.js";
import { $, alt, h, icon, known, picture, title, toast } from "./dom.js";

let asked = null;

/** Opens the dialog. `act` has like, open, filter(column, value), step(-1 | 1), close and address(item). */
export async function show(id, hit, { act, info }) {
  asked?.abort();
  asked = new AbortController();
  const dialog = $("item");
  if (!dialog.open) {
    dialog.replaceChildren(h("p", { class: "panel", id: "item-title" }, "Loading…"));
    dialog.showModal();
  }
  const { signal } = asked;
  try {
    const item = hit ?? (await api.item(id, signal));
    if (signal.aborted) return;
    draw(dialog, item, hit, act, info);
    await Promise.all([similar(dialog, item, act, signal), info.tags ? tags(item.id, signal) : null]);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!dialog.querySelector(".item-body")) {
      dialog.replaceChildren(top(h("h2", { id: "item-title" }, "This item cannot be shown"), act, null), h("p", { class: "panel" }, error.message));
    }
  }
}

export function hide() {
  asked?.abort();
  if ($("item").open) $("item").close();
}

function top(heading, act, hit) {
  const round = (name, label, action) => h("button", { type: "button", class: "round", "aria-label": label, title: label, onclick: action }, icon(name));
  return h(
    "div", { class: "sheet-top" }, heading,
    hit ? [round("left", "Previous result (←)", () => act.step(-1)), round("right", "Next result (→)", () => act.step(1))] : null,
    round("cross", "Close (Esc)", act.close),
  );
}

function draw(dialog, item, hit, act, info) {
  const facts = known(item.attributes).map(([name, text]) => {
    const whole = item.attributes[name];
    const values = typeof whole === "string" || Array.isArray(whole) ? [whole].flat().map(String) : null;
    const shown = values && info.filterable.has(name)
      ? values.map((one) => h("button", { type: "button", class: "link", title: `Only ${name}: ${one}`, onclick: () => act.filter(name, one) }, one))
      : text;
    return h("div", {}, h("dt", {}, name), h("dd", {}, shown));
  });
  const plain = [["item", item.id], ["product", item.product], ...(hit ? [["score", hit.score.toFixed(3)]] : [])].filter(([, text]) => text);
  const copy = h("button", { type: "button", class: "quiet", onclick: () => copyLink(act.address(item)) }, icon("link"), "Copy link");
  const image = picture(item, 1024, { eager: true });
  if (image.alt) image.alt = alt(item);
  dialog.replaceChildren(
    top(h("h2", { id: "item-title" }, title(item)), act, hit),
    h(
      "div", { class: "item-body" },
      h("div", { class: "large" }, image),
      h(
        "div", { class: "about" },
        h("div", { class: "row" }, h("button", { type: "button", class: "solid", onclick: () => act.like(item) }, icon("spark"), "More like this"), copy),
        facts.length ? h("dl", { class: "facts" }, facts) : h("p", { class: "hint" }, "Nothing else is known of this item."),
        info.filterable.size && facts.length ? h("p", { class: "hint" }, "Choose a value to see only items that have it.") : null,
        h("dl", { class: "facts plain" }, plain.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text)))),
        h("div", { id: "tags" }),
      ),
    ),
    h("section", { class: "similar", id: "similar", "aria-label": "Similar items" }),
  );
  dialog.scrollTop = 0;
}

async function similar(dialog, item, act, signal) {
  const { hits } = await api.search({ item: item.id, k: 8 }, null, signal);
  if (signal.aborted || !hits.length) return;
  const links = hits.map((hit) => {
    const link = h("a", { href: act.address(hit), "aria-label": alt(hit), title: title(hit) }, picture(hit, 256));
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      act.open(hit);
    });
    return h("li", {}, link);
  });
  dialog.querySelector("#similar")?.replaceChildren(h("h3", {}, "Similar"), h("ul", {}, links));
}

/** What the release's thresholds make of an item: sure, unsure, or nothing. */
async function tags(id, signal) {
  const box = $("tags");
  try {
    const found = (await api.tags(id, signal)).tags.filter((tag) => tag.state !== "not_applicable");
    if (!found.length || !box?.isConnected) return;
    const percent = (tag) => `${Math.round(100 * tag.probability)}%${tag.state === "unsure" ? ", unsure" : ""}`;
    box.replaceChildren(
      h("h3", {}, "What the model sees"),
      h("dl", { class: "facts" }, found.map((tag) => h("div", { class: tag.state }, h("dt", {}, tag.attribute), h("dd", {}, tag.value, h("span", { class: "hint" }, ` ${percent(tag)}`))))),
    );
  } catch {
    box?.replaceChildren(); // a help, not what was asked for
  }
}

async function copyLink(address) {
  const link = new URL(address, location.href).href;
  try {
    await navigator.clipboard.writeText(link);
    toast("The link is copied.");
  } catch {
    toast(link);
  }
}
