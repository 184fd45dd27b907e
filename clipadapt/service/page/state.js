// What the page shows, as the query string says it, and back: every state has an address.
//
//   ?q=striped skirt&where=price<50&w=0.7      words, filters, the words' weight beside a picture
//   ?item=1163&view=both&open=1170             more like 1163, both releases, with 1170 opened
//   ?item=1163&but=red                         the same but red
//   ?q=not so loud&plain=1                     the words as they stand, not read for what is not wanted
//
// An uploaded picture is named by a key only; the picture stays in this browser (see upload.js).

const PLAIN = { q: "", item: "", but: "", picture: "", plain: "", view: "", open: "" };
const VIEWS = ["", "current", "candidate", "both"]; // without one the service decides
export const PAGE = 24;
export const WEIGHT = 0.5;

export const empty = () => ({ ...PLAIN, where: [], w: WEIGHT, k: PAGE, details: false });

/** The state of an address's query string; what is no state is ignored. */
export function read(search) {
  const given = new URLSearchParams(search);
  const state = empty();
  for (const name of Object.keys(PLAIN)) state[name] = given.get(name) ?? PLAIN[name];
  if (!VIEWS.includes(state.view)) state.view = "";
  state.where = given.getAll("where").filter((clause) => clause.trim());
  if (!state.item) state.but = "";
  if (state.plain) state.plain = "1";
  const weight = Number.parseFloat(given.get("w"));
  if (weight >= 0 && weight <= 1) state.w = weight;
  const most = Number.parseInt(given.get("k"), 10);
  if (most >= 1) state.k = most;
  state.details = given.get("details") === "1";
  return state;
}

/** The shortest address of a state. */
export function write(state) {
  const address = new URLSearchParams();
  for (const [name, plain] of Object.entries(PLAIN)) if (state[name] !== plain) address.set(name, state[name]);
  for (const clause of state.where) address.append("where", clause);
  if (state.w !== WEIGHT && hasBoth(state)) address.set("w", state.w);
  if (state.k !== PAGE) address.set("k", state.k);
  if (state.details) address.set("details", "1");
  const text = address.toString();
  return text ? `/?${text}` : "/";
}

export const hasWords = (state) => state.q.trim() !== "";

export const hasPicture = (state) => state.item !== "" || state.picture !== "";

/** What is to be other than in the item: what was chosen, and what is typed beside it. */
export const changes = (state) => (state.but ? [state.but, state.q.trim()].filter(Boolean).join(", ") : "");

/** Words and a picture, so that one can count for more than the other. */
export const hasBoth = (state) => hasWords(state) && hasPicture(state) && state.but === "";

/** Whether there is anything to search for. */
export const asks = (state) => hasWords(state) || hasPicture(state);
