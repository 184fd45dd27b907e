// The search box: words as they are typed, a picture that is chosen, dropped or pasted, an item to be like, and the slider
// between words and picture.

import * as api from "./api.js";
import { $, alt, h, icon, picture, title, toast } from "./dom.js";
import { hasBoth, hasPicture, PAGE } from "./state.js";
import * as upload from "./upload.js";

const TYPING = 160; // ms without a key before a search
let page = null; // {go, fresh, act, state, hits, settle} of page.js

/** Shows the state in the box; words that are being typed are left alone. */
export function draw(typing) {
  const state = page.state();
  if (document.activeElement !== $("words") || !typing) $("words").value = state.q;
  $("words").placeholder = hasPicture(state) ? "Add words, such as “in red”" : "Describe what you are looking for";
  const box = $("like");
  const wanted = state.item || state.picture;
  const shown = JSON.stringify([wanted, state.but]);
  box.hidden = !wanted;
  if (box.dataset.of !== shown) {
    box.dataset.of = shown;
    box.replaceChildren();
    if (wanted) drawLike(box, wanted, state.but ? `, but ${state.but}` : "", shown);
  }
  $("mix").hidden = !hasBoth(state);
  $("weight").value = String(state.w);
  const words = Math.round(100 * state.w);
  $("weight").setAttribute("aria-valuetext", `${words}% words, ${100 - words}% picture`);
  $("mix-words").textContent = `Words ${words}%`;
  $("mix-picture").textContent = `Picture ${100 - words}%`;
}

async function drawLike(box, wanted, but, shown) {
  const state = page.state();
  const remove = (label) => h("button", { type: "button", class: "drop-it", "aria-label": label, title: label, onclick: () => { page.go(page.fresh({ item: "", but: "", picture: "" })); $("words").focus(); } }, icon("cross"));
  const own = state.picture ? upload.kept(state.picture) : null;
  if (state.picture) {
    box.append(own ? h("img", { src: own, alt: "Your picture" }) : h("span", { class: "no-picture" }, "?"), h("span", { class: "what" }, "Your picture"), remove("Remove your picture"));
    return;
  }
  box.append(h("span", { class: "what" }, `Like this${but}`), remove("Remove the item that results should be like"));
  try {
    const like = page.hits().find((hit) => hit.id === wanted) ?? (await api.item(wanted));
    if (box.dataset.of !== shown) return;
    box.title = `Like ${alt(like)}${but}`;
    if (like.image_url) box.prepend(picture(like, 64, { eager: true }));
    box.querySelector(".what").textContent = `Like ${title(like)}${but}`;
  } catch {
    box.querySelector(".what").textContent = `Like ${wanted}${but}`; // the search itself says what is wrong with it
  }
}

async function takePicture(file) {
  try {
    const key = await upload.keep(file);
    page.go(page.fresh({ picture: key, item: "", but: "" }));
    toast("Searching with your picture.");
  } catch (error) {
    toast(error.message);
  }
}

/** Starts listening, for the page's whole life. */
export function listen(given) {
  page = given;
  let timer = 0;
  const search = (typed) => {
    clearTimeout(timer);
    if ($("words").value !== page.state().q) page.go(page.fresh({ q: $("words").value }), { typed });
    else if (!typed) page.settle();
  };
  $("words").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => search(true), TYPING);
  });
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    search(false);
    if (matchMedia("(hover: none)").matches) $("words").blur(); // a phone's keyboard covers the results
  });
  $("words").addEventListener("blur", () => page.settle());
  $("choose").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    if ($("file").files.length) takePicture($("file").files[0]);
    $("file").value = "";
  });
  let sliding = 0;
  $("weight").addEventListener("input", () => {
    clearTimeout(sliding);
    sliding = setTimeout(() => page.go({ w: Number($("weight").value), k: PAGE }, { replace: true }), 80);
  });
  dragging();
}

function dragging() {
  const over = (event) => [...(event.dataTransfer?.types ?? [])].some((type) => type === "Files" || type === "application/x-item");
  addEventListener("dragover", (event) => {
    if (!over(event)) return;
    event.preventDefault();
    $("drop").hidden = false;
  });
  addEventListener("dragleave", (event) => { $("drop").hidden ||= event.relatedTarget === null; });
  addEventListener("drop", (event) => {
    $("drop").hidden = true;
    if (!over(event)) return;
    event.preventDefault();
    const id = event.dataTransfer.getData("application/x-item");
    const file = upload.pictureIn(event.dataTransfer);
    if (id) page.act.like({ id });
    else if (file) takePicture(file);
  });
  addEventListener("paste", (event) => {
    const file = upload.pictureIn(event.clipboardData);
    if (!file) return;
    event.preventDefault();
    takePicture(file);
  });
}
