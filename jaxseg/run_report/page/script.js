
"use strict";
// Tables sort by a column at a click on its head, falling first where it holds numbers.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent : cell.dataset.value;
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rows = [...body.rows];
      const numbers = rows.every((row) => row.cells[column].classList.contains("number"));
      const before = head.getAttribute("aria-sort");
      const falling = before === null ? numbers : before === "ascending";
      rows.sort((a, b) => numbers ? value(a, column) - value(b, column) : value(a, column).localeCompare(value(b, column)));
      if (falling) rows.reverse();
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      body.append(...rows);
    });
  });
}
// On paper nothing can be opened.
let opened = [];
window.addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const closed of opened) closed.open = true;
});
window.addEventListener("afterprint", () => {
  for (const one of opened) one.open = false;
});
