// The filters of an address, in the command line's own syntax, and what the page's controls make of them.
//
//   Pattern=Striped    Pattern in (Striped, "Polka, large")    price>=10    price<=50
//
// Anything else that somebody wrote by hand is passed on as it is, and shown as a chip.

const QUOTED = String.raw`"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'`;
const CLAUSE = new RegExp(String.raw`^\s*(${QUOTED}|.+?)\s*(?:(==|!=|<=|>=|=|<|>)\s*(.+)|\s(in)\s*\((.+)\))\s*$`, "is");
const VALUES = new RegExp(String.raw`\s*(${QUOTED}|[^,]*?)\s*(?:,|$)`, "gs");

const unquoted = (text) =>
  text.length > 1 && text[0] === text.at(-1) && `"'`.includes(text[0]) ? text.slice(1, -1).replace(/\\(.)/gs, "$1") : text;

const quoted = (text) => `"${text.replace(/["\\]/g, "\\$&")}"`;

const column = (name) => (/^[\p{L}\p{N}_ -]+$/u.test(name) && !/\s(in|not|is)(\s|$)/i.test(name) && name === name.trim() ? name : quoted(name));

const value = (text) => (/^[\p{L}\p{N}_.-][\p{L}\p{N}_. -]*$/u.test(text) && text === text.trim() ? text : quoted(text));

/** {column, operator, values} of a clause; null where it is of another form. */
export function parse(clause) {
  const match = CLAUSE.exec(clause);
  if (!match) return null;
  const name = unquoted(match[1].trim());
  if (match[4]) {
    const values = [...match[5].matchAll(VALUES)].map((part) => unquoted(part[1])).filter((text) => text !== "");
    return { column: name, operator: "in", values };
  }
  return { column: name, operator: match[2] === "==" ? "=" : match[2], values: [unquoted(match[3].trim())] };
}

function clause(name, values) {
  if (values.length === 1) return `${column(name)}=${value(values[0])}`;
  return `${column(name)} in (${values.map(value).join(", ")})`;
}

const chooses = (parsed, name) => parsed?.column === name && ["=", "in"].includes(parsed.operator);

/** The values of a column that are chosen. */
export const chosen = (where, name) => where.map(parse).filter((parsed) => chooses(parsed, name)).flatMap((parsed) => parsed.values);

/** The same filters with a column's values replaced; none: the column is free. */
export function choose(where, name, values) {
  const others = where.filter((text) => !chooses(parse(text), name));
  return values.length ? [...others, clause(name, values)] : others;
}

/** The same filters with one value taken in, or out if it was in. */
export function toggle(where, name, text) {
  const now = chosen(where, name);
  return choose(where, name, now.includes(text) ? now.filter((other) => other !== text) : [...now, text]);
}

/** The bound of a column: operator ">=" or "<="; "" where there is none. */
export const bound = (where, name, operator) =>
  where.map(parse).find((parsed) => parsed?.column === name && parsed.operator === operator)?.values[0] ?? "";

/** The same filters with a bound set, or taken away by "". */
export function setBound(where, name, operator, text) {
  const others = where.filter((other) => {
    const parsed = parse(other);
    return !(parsed?.column === name && parsed.operator === operator);
  });
  return text === "" ? others : [...others, `${column(name)}${operator}${text}`];
}

/** Every filter as something to show and take away: {label, without}. */
export function chips(where) {
  return where.flatMap((text, place) => {
    const parsed = parse(text);
    if (parsed && ["=", "in"].includes(parsed.operator)) {
      return parsed.values.map((one) => ({ label: `${parsed.column}: ${one}`, without: toggle(where, parsed.column, one) }));
    }
    const signs = { ">=": "from", "<=": "up to", "!=": "is not", "<": "below", ">": "above" };
    const label = parsed ? `${parsed.column} ${signs[parsed.operator]} ${parsed.values[0]}` : text;
    return [{ label, without: where.filter((_, other) => other !== place) }];
  });
}
