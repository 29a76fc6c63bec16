"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const one = (selector, root = document) => root.querySelector(selector);
const element = (tag, text = "", more = {}) => Object.assign(document.createElement(tag), { textContent: text, ...more });

// The picture: the nearest mark that is shown says its numbers; nearest by its edge, not its centre.
const NEAR_PX = 24;
const plot = one("#plane svg"), ring = one("#ring"), tip = one("#tip"), form = one("#filters");
const points = JSON.parse(one("#points").textContent);
const marks = all("#plane .mark");
const radius = marks.map((mark) => mark.getBBox().width / 2);
const shown = (mark) => !mark.closest("[hidden]");

function nearest(x, y) {
  const box = plot.getBoundingClientRect();
  let best = -1, least = NEAR_PX;
  marks.forEach((mark, i) => {
    if (!shown(mark)) return;
    const dx = (parseFloat(mark.getAttribute("x")) / 100) * box.width - (x - box.left);
    const dy = (parseFloat(mark.getAttribute("y")) / 100) * box.height - (y - box.top);
    const distance = Math.hypot(dx, dy) - radius[i];
    if (distance <= least) { best = i; least = distance; }
  });
  return best;
}

function tell(i) {
  tip.hidden = i < 0;
  ring.toggleAttribute("hidden", i < 0);
  if (i < 0) return;
  ring.setAttribute("cx", marks[i].getAttribute("x"));
  ring.setAttribute("cy", marks[i].getAttribute("y"));
  tip.replaceChildren(element("b", points[i].title), "\n" + points[i].text);
  const at = ring.getBoundingClientRect(), size = tip.getBoundingClientRect();
  const width = document.documentElement.clientWidth;
  const left = Math.max(8, Math.min(at.right + 6, width - size.width - 8));
  tip.style.left = `${left + scrollX}px`;
  tip.style.top = `${at.bottom + 6 + scrollY}px`;
}

for (const event of ["pointermove", "pointerdown"])
  one("#plane").addEventListener(event, (e) => tell(nearest(e.clientX, e.clientY)));
one("#plane").addEventListener("pointerleave", (e) => e.pointerType === "mouse" && tell(-1));

// Filters hide marks, and rows of the front's table.
function filter() {
  const wanted = Object.fromEntries(new FormData(form));
  const fits = (point, ms) =>
    (!wanted.blocks || point.blocks.includes(wanted.blocks)) &&
    (!wanted.stem || point.stem === wanted.stem) &&
    (!wanted.stages || point.stages === Number(wanted.stages)) &&
    (!wanted.least || ms >= Number(wanted.least)) && (!wanted.most || ms <= Number(wanted.most));
  marks.forEach((mark, i) => mark.toggleAttribute("hidden", !fits(points[i], points[i].ms)));
  const rows = all(".of-front");
  for (const row of rows) row.hidden = !fits(JSON.parse(row.dataset.choices), Number(row.dataset.ms));
  const left = rows.filter((row) => !row.hidden).length;
  one("output", form).value = `${left} of ${rows.length} networks of the front`;
  tell(-1);
}
form.addEventListener("input", filter);
form.addEventListener("submit", (e) => e.preventDefault());
form.addEventListener("reset", () => setTimeout(filter));
for (const box of all(".legend input"))
  box.addEventListener("change", () =>
    one(`.group[data-group="${box.value}"]`).toggleAttribute("hidden", !box.checked));

// A column's title sorts by it, and turns the order at the second time.
const value = (cell) => cell.dataset.value ?? cell.textContent.trim();
for (const button of all(".sortable th button"))
  button.addEventListener("click", () => {
    const title = button.parentElement, body = one("tbody", title.closest("table"));
    const down = title.getAttribute("aria-sort") === "ascending";
    const column = title.cellIndex;
    const rows = [...body.rows].map((row) => [value(row.cells[column]), row]);
    const numeric = rows.every(([text]) => text === "" || !isNaN(text));
    const order = (a, b) => (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
    // What has no value stands last, whichever the order.
    rows.sort(([a], [b]) => (a === "") - (b === "") || (down ? -1 : 1) * order(a, b));
    body.append(...rows.map(([, row]) => row));
    for (const other of title.parentElement.cells) other.removeAttribute("aria-sort");
    title.setAttribute("aria-sort", down ? "descending" : "ascending");
  });

// Two networks side by side: the last two that were ticked.
const compared = one("#compared");
let chosen = [];
for (const box of all(".compare"))
  box.addEventListener("change", () => {
    chosen = chosen.filter((other) => other !== box);
    if (box.checked) chosen.push(box);
    if (chosen.length > 2) chosen.shift().checked = false;
    compared.hidden = chosen.length < 2;
    if (chosen.length < 2) return;
    compare(...chosen.map((other) => other.closest("tr")));
    compared.scrollIntoView({ block: "nearest" });
  });

const signed = (number, digits, unit) =>
  isFinite(number) ? `${number < 0 ? "" : "+"}${number.toFixed(digits)}${unit}` : "";
const part = (words, i) => (i === 0 ? "stem" : words.endsWith(" head") ? "head" : `stage ${i}`);

function compare(a, b) {
  const table = element("table"), frame = element("div", "", { className: "scroll" });
  const add = (tag, ...cells) => {
    const row = table.insertRow();
    row.append(...cells.map((text) => element(tag, text)));
  };
  add("th", "", a.dataset.name, b.dataset.name, "difference");
  const titles = all("thead th", a.closest("table")).map((th) => th.textContent);
  [...a.cells].forEach((cell, i) => {
    if (i < 2) return;
    const other = b.cells[i], [x, y] = [cell, other].map((c) => parseFloat(c.dataset.value));
    const difference = cell.dataset.points ? signed(y - x, 2, "") : signed((100 * (y - x)) / x, 1, " %");
    add("td", titles[i], cell.innerText, other.innerText, difference);
  });
  const [left, right] = [a, b].map((row) => row.dataset.blocks.split("; "));
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const [x, y] = [left[i] ?? "", right[i] ?? ""];
    add("td", part(x || y, i), x, y, x === y ? "" : "differs");
  }
  frame.append(table);
  const drawings = [a, b].map((row) => {
    const place = element("div", "", { className: "scroll drawing" });
    place.append(one("template", row).content.cloneNode(true));
    return place;
  });
  compared.replaceChildren(element("h3", `${a.dataset.name} and ${b.dataset.name}`), frame, ...drawings);
}

for (const button of all(".copy"))
  button.addEventListener("click", async () => {
    const text = one("pre", button.parentElement);
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(text); // to be copied by hand
    }
  });
