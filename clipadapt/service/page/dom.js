// Makes elements and small texts. Values of a catalogue only ever become text nodes or attributes, never HTML.

/** An element: h("button", {class: "solid", onclick: act, dataset: {id}}, "Text", child). */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An icon of index.html's set. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

export const $ = (id) => document.getElementById(id);

const numbers = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });

export const count = (number) => numbers.format(number);

export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** An attribute's value as text; lists joined. */
export function shown(value) {
  if (Array.isArray(value)) return value.map(shown).join(", ");
  if (typeof value === "number") return count(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  return String(value);
}

/** What an item has, without what is unknown: [["Pattern", "Striped"], ...]. */
export function known(attributes) {
  return Object.entries(attributes)
    .filter(([, value]) => value !== null && value !== "" && !(Array.isArray(value) && !value.length))
    .map(([name, value]) => [name, shown(value)]);
}

/** A short name: the catalogue's own where it has one, else the item's first few texts. */
export function title(item) {
  const own = Object.entries(item.attributes).find(([name, value]) => /^(name|title)$/i.test(name) && value);
  if (own) return shown(own[1]);
  const texts = known(item.attributes).filter(([name]) => typeof item.attributes[name] === "string");
  return texts.slice(0, 3).map(([, text]) => text).join(", ") || item.id;
}

/** What a picture shows, for those who cannot see it. */
export function alt(item) {
  const name = title(item);
  const facts = known(item.attributes)
    .filter(([column, text]) => typeof item.attributes[column] === "string" && !name.toLowerCase().includes(text.toLowerCase()))
    .slice(0, 5)
    .map(([column, text]) => `${column} ${text}`);
  return [name, ...facts].join(", ");
}

/** A picture, or its attributes in words where there is none. */
export function picture(item, size, { eager = false } = {}) {
  const instead = () => h("span", { class: "no-picture" }, title(item));
  if (!item.image_url) return instead();
  const image = h("img", { alt: alt(item), loading: eager ? "eager" : "lazy", decoding: "async", draggable: "false" });
  image.addEventListener("load", () => image.classList.add("there"), { once: true });
  image.addEventListener("error", () => image.replaceWith(instead()), { once: true });
  image.src = `${item.image_url}?size=${size}`;
  return image;
}

let hiding = 0;

/** Says something for a few seconds. */
export function toast(message) {
  const box = $("toast");
  box.textContent = message;
  box.classList.add("seen");
  clearTimeout(hiding);
  hiding = setTimeout(() => {
    box.classList.remove("seen");
    box.textContent = "";
  }, 6000);
}
