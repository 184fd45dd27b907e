// Keys and the dialogs that they open and close.

import { $, h } from "./dom.js";
import * as grid from "./grid.js";

const NAMES = { light: "light", dark: "dark" };

/** `state()` is the page's state, `hit(id)` a hit of it; `act` and `go` as in page.js. */
export function keyboard({ act, go, state, hit }) {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.metaKey || event.ctrlKey || event.altKey) return;
    const dialog = document.querySelector("dialog[open]");
    if (dialog) {
      if (dialog.id === "item" && inDialog(event, act, hit, state)) event.preventDefault();
      return;
    }
    if (press(event, { act, go, state, hit })) event.preventDefault();
  });
  for (const button of document.querySelectorAll("dialog [data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }
  $("keys").addEventListener("click", () => $("help").showModal());
  sheet();
  theme();
}

function inDialog(event, act, hit, state) {
  const writing = event.target.matches("input, textarea");
  if (writing) return false;
  if (event.key === "ArrowLeft") act.step(-1);
  else if (event.key === "ArrowRight") act.step(1);
  else if (event.key === "m") act.like(hit(state().open) ?? { id: state().open });
  else return false;
  return true;
}

function press(event, { act, go, state, hit }) {
  const writing = event.target.matches("input:not([type=checkbox]):not([type=radio]), textarea");
  if (writing) return event.target === $("words") && inWords(event.key, go);
  if (event.target.matches("input") && event.key.startsWith("Arrow")) return false;
  const [here, arm] = grid.current();
  switch (event.key) {
    case "/":
      $("words").focus();
      $("words").select();
      return true;
    case "?":
      $("help").showModal();
      return true;
    case "d":
      go({ details: !state().details }, { replace: true });
      return true;
    case "m":
      if (here) act.like(hit(here) ?? { id: here }, arm);
      return here !== null;
    case "b":
      grid.toggleBut();
      return here !== null;
    case "i":
      grid.toggleFacts();
      return here !== null;
    case "Escape":
      $("words").focus();
      return true;
    default:
      return ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key) && grid.move(event.key);
  }
}

function inWords(pressed, go) {
  if (pressed === "ArrowDown") return grid.enter();
  if (pressed === "Escape" && $("words").value) {
    $("words").value = "";
    go({ q: "" });
    return true;
  }
  if (pressed === "Escape") $("words").blur();
  return false;
}

/** On a narrow page the filters are a sheet: the same controls, moved there while it is open. */
function sheet() {
  const [from, to] = [$("facets"), $("sheet-body")];
  $("open-filters").addEventListener("click", () => {
    to.replaceChildren(...from.children);
    $("sheet").showModal();
  });
  $("sheet").addEventListener("close", () => from.replaceChildren(...to.children));
  matchMedia("(min-width: 56rem)").addEventListener("change", (event) => event.matches && $("sheet").open && $("sheet").close());
}

function theme() {
  const order = ["", "light", "dark"];
  const say = (chosen) => {
    const label = `Colours: ${NAMES[chosen] ?? "as the system"}`;
    $("theme").setAttribute("aria-label", label);
    $("theme").title = label;
    $("theme").querySelector("use").setAttribute("href", `#i-${{ light: "sun", dark: "moon" }[chosen] ?? "theme"}`);
  };
  say(document.documentElement.dataset.theme ?? "");
  $("theme").addEventListener("click", () => {
    const next = order[(order.indexOf(document.documentElement.dataset.theme ?? "") + 1) % order.length];
    if (next) document.documentElement.dataset.theme = next;
    else delete document.documentElement.dataset.theme;
    localStorage.setItem("theme", next);
    say(next);
  });
}
