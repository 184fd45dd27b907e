// Tables sort by a press on a column's heading, and back by another. Without this script they stay as they were written.
for (const table of document.querySelectorAll("table:not(.confusion)")) {
  const body = table.tBodies[0];
  const written = [...body.rows];
  const number = (row, at) => Number.parseFloat(row.cells[at].textContent.trim().replace("−", "-").replace(/^[<\s]+|,/g, ""));
  [...table.tHead.rows[0].cells].forEach((heading, at) => {
    const button = document.createElement("button");
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const next = { none: "descending", descending: "ascending", ascending: "none" }[heading.ariaSort ?? "none"];
      for (const other of table.tHead.rows[0].cells) other.ariaSort = null;
      heading.ariaSort = next === "none" ? null : next;
      const sign = next === "descending" ? -1 : 1;
      const rows = next === "none" ? written : [...written].sort((one, two) => {
        const [a, b] = [number(one, at), number(two, at)];
        if (Number.isNaN(a) !== Number.isNaN(b)) return Number.isNaN(a) ? 1 : -1; // what holds no number is last
        return sign * (Number.isNaN(a) ? one.cells[at].textContent.localeCompare(two.cells[at].textContent) : a - b);
      });
      body.append(...rows);
    });
  });
}
