"use strict";
/**
 * A table that sorts and filters its rows, and draws only those that are visible.
 *
 * @typedef {Object} Column
 * @property {string} key
 * @property {string} label heading
 * @property {function(Object): string} text text of a row, by which it is filtered
 * @property {function(Object): (number|string|null)} [value] what rows are sorted by; else the text
 * @property {function(Object): Node} [render] content of the cell, if it is not just the text
 * @property {boolean} [isNumber] whether it is aligned to the right and sorted downwards first
 * @property {number} [priority] 1: always shown; where there is no room, columns of 3 are hidden before those of 2
 */

const ROW_HEIGHT = 34;
const EXTRA_ROWS = 12;
/** Rows drawn above and below the visible ones. */
const MAX_COLUMN_CHARACTERS = 46;
const MAX_PRINTED_ROWS = 2000;

class DataTable {
  /**
   * @param {{label: string, noun: string, columns: Column[], onOpen: function(Object): void}} options
   *   label: name for screen readers; noun: plural of what a row is; onOpen: called with a row
   */
  constructor({ label, noun, columns, onOpen }) {
    this.noun = noun;
    this.onOpen = onOpen;
    this.rows = [];
    this.shownRows = [];
    this.sorting = null;
    this.predicate = null;
    this.hiddenKeys = new Set();
    this.input = createElement("input", {
      type: "search", placeholder: `Filter ${noun}`, "aria-label": `Filter ${noun}`,
      oninput: () => this.refresh(),
    });
    this.count = createElement("span", { class: "count", role: "status" });
    this.head = createElement("tr", { "aria-rowindex": "1" });
    this.body = createElement("tbody");
    this.columnGroup = createElement("colgroup");
    this.table = createElement("table", { class: "virtual", "aria-label": label },
      this.columnGroup, createElement("thead", {}, this.head), this.body);
    this.box = createElement("div", {
      class: "scroll rows", tabindex: "0", role: "region", "aria-label": label,
      onscroll: () => this.draw(), onkeydown: (event) => this.handleKey(event),
    }, this.table);
    this.element = createElement("div", { class: "data-table" },
      createElement("div", { class: "controls" }, this.input, this.count), this.box);
    this.setColumns(columns);
    new ResizeObserver(() => {
      this.fitColumns();
      this.draw(true);
    }).observe(this.box);
    window.addEventListener("beforeprint", () => this.draw(true, MAX_PRINTED_ROWS));
    window.addEventListener("afterprint", () => this.draw(true));
  }

  /** @param {Column[]} columns */
  setColumns(columns) {
    const keys = columns.map((column) => column.key).join("\n");
    if (keys === this.columnKeys) {
      this.columns = columns;
      return;
    }
    this.columnKeys = keys;
    this.columns = columns;
    this.headings = columns.map((column) => createElement("th", {
      scope: "col", class: this.getClass(column), "aria-sort": "none",
    }, createElement("button", { type: "button", text: column.label, onclick: () => this.sortBy(column.key) })));
    this.head.replaceChildren(...this.headings);
    this.measureColumns();
    this.refresh();
  }

  /** @param {Object[]} rows */
  setRows(rows) {
    this.rows = rows;
    this.measureColumns();
    this.refresh();
  }

  /** Show only the rows for which a function is true; null for all. */
  setPredicate(predicate) {
    this.predicate = predicate;
    this.refresh();
  }

  /** Sort by a column; a second call turns the order round. */
  sortBy(key) {
    const column = this.columns.find((candidate) => candidate.key === key);
    const isAscending = this.sorting?.key === key ? !this.sorting.isAscending : !column.isNumber;
    this.sorting = { key, isAscending };
    this.refresh();
    this.box.scrollTop = 0;
  }

  /** Filter and sort the rows again, and draw. */
  refresh() {
    const words = this.input.value.toLowerCase().split(/\s+/).filter(Boolean);
    this.shownRows = this.rows.filter((row) => {
      if (this.predicate && !this.predicate(row)) return false;
      if (!words.length) return true;
      const text = this.columns.map((column) => column.text(row)).join(" ").toLowerCase();
      return words.every((word) => text.includes(word));
    });
    const column = this.columns.find((candidate) => candidate.key === this.sorting?.key);
    if (column) this.shownRows = sortRows(this.shownRows, column, this.sorting.isAscending);
    this.columns.forEach((candidate, i) => {
      const order = this.sorting?.isAscending ? "ascending" : "descending";
      this.headings[i].setAttribute("aria-sort", candidate === column ? order : "none");
    });
    const [shown, all] = [this.shownRows.length, this.rows.length];
    this.count.textContent = shown === all
      ? `${formatCount(all)} ${this.noun}`
      : `${formatCount(shown)} of ${formatCount(all)} ${this.noun}`;
    this.table.setAttribute("aria-rowcount", String(shown + 1));
    this.draw(true);
  }

  /** Draw the visible rows, unless they are drawn already. */
  draw(isForced = false, numPrinted = 0) {
    const visible = Math.ceil((this.box.clientHeight || 600) / ROW_HEIGHT);
    const top = Math.floor(this.box.scrollTop / ROW_HEIGHT);
    let first = Math.max(0, Math.min(top, this.shownRows.length - visible) - EXTRA_ROWS);
    let last = Math.min(this.shownRows.length, first + visible + 2 * EXTRA_ROWS);
    if (numPrinted) [first, last] = [0, Math.min(numPrinted, this.shownRows.length)];
    const needsDrawing = top < this.firstDrawn + EXTRA_ROWS / 2
      || top + visible > this.lastDrawn - EXTRA_ROWS / 2;
    if (!isForced && !needsDrawing) return;
    [this.firstDrawn, this.lastDrawn] = [first === 0 ? -EXTRA_ROWS : first, last];
    const focusedName = document.activeElement?.closest?.("tr")?.dataset.index;
    const hasFocus = this.body.contains(document.activeElement);
    const rows = [];
    for (let i = first; i < last; i += 1) rows.push(this.drawRow(this.shownRows[i], i));
    this.body.replaceChildren(
      createSpacer(first), ...rows, createSpacer(numPrinted ? 0 : this.shownRows.length - last));
    if (hasFocus) this.focusRow(Number(focusedName));
  }

  drawRow(row, index) {
    const cells = this.columns.map((column, i) => {
      const text = column.text(row);
      const content = column.render ? column.render(row)
        : i === 0 ? createElement("button", { type: "button", class: "link", text, onclick: () => this.onOpen(row) })
          : text;
      return createElement(i === 0 ? "th" : "td", {
        class: this.getClass(column), scope: i === 0 ? "row" : null, title: text || null,
      }, content);
    });
    return createElement("tr", { "aria-rowindex": String(index + 2), "data-index": String(index) }, ...cells);
  }

  /** Set the widths of columns from the longest texts, so that scrolling does not change them. */
  measureColumns() {
    this.columnGroup.replaceChildren(...this.columns.map((column) => {
      const col = createElement("col");
      let longest = column.label.length + 2;
      const signLength = column.render ? 3 : 0;
      for (const row of this.rows) longest = Math.max(longest, column.text(row).length + signLength);
      col.style.width = `calc(${Math.min(longest, MAX_COLUMN_CHARACTERS)}ch + 22px)`;
      return col;
    }));
    this.fitColumns();
  }

  /** Hide columns, the least important and the last ones first, until the others fit in the box. */
  fitColumns() {
    const cols = [...this.columnGroup.children];
    this.columnGroup.hidden = true; // else styles are of columns that were widened to fill the table
    const widths = cols.map((col) => parseFloat(getComputedStyle(col).width));
    this.columnGroup.hidden = false;
    let total = widths.reduce((sum, width) => sum + width, 0);
    const order = this.columns.map((column, i) => i).filter((i) => this.columns[i].priority > 1)
      .sort((a, b) => this.columns[b].priority - this.columns[a].priority || b - a);
    this.hiddenKeys.clear();
    for (const i of order) {
      if (!this.box.clientWidth || total <= this.box.clientWidth) break;
      this.hiddenKeys.add(this.columns[i].key);
      total -= widths[i];
    }
    this.columns.forEach((column, i) => {
      cols[i].className = this.getClass(column);
      this.headings[i].className = this.getClass(column);
    });
  }

  getClass(column) {
    return `${column.isNumber ? "num " : ""}${this.hiddenKeys.has(column.key) ? "hidden" : ""}`;
  }

  /** Move between rows by the arrow keys, Home and End. */
  handleKey(event) {
    const row = event.target.closest("tr[data-index]");
    if (!row) return;
    const index = Number(row.dataset.index);
    const target = {
      ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: this.shownRows.length - 1,
    }[event.key];
    if (target === undefined || target < 0 || target >= this.shownRows.length) return;
    event.preventDefault();
    const [top, height] = [target * ROW_HEIGHT, this.box.clientHeight - 2 * ROW_HEIGHT];
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    if (top > this.box.scrollTop + height) this.box.scrollTop = top - height;
    this.draw(true);
    this.focusRow(target);
  }

  focusRow(index) {
    this.body.querySelector(`tr[data-index="${index}"] button`)?.focus({ preventScroll: true });
  }
}

/** Return rows in the order of a column; rows without a value come last, equal ones stay. */
function sortRows(rows, column, isAscending) {
  const getValue = column.value || column.text;
  const keyed = rows.map((row) => [getValue(row), row]);
  const isMissing = (value) => value === null || value === undefined || value === "";
  const collator = new Intl.Collator("en", { numeric: true });
  keyed.sort(([a], [b]) => {
    if (isMissing(a) || isMissing(b)) return Number(isMissing(a)) - Number(isMissing(b));
    const order = typeof a === "number" ? a - b : collator.compare(a, b);
    return isAscending ? order : -order;
  });
  return keyed.map(([, row]) => row);
}

/** Return a row that has the height of rows that are not drawn. */
function createSpacer(numRows) {
  const spacer = createElement("tr", { class: "spacer", "aria-hidden": "true" });
  spacer.style.height = `${Math.max(0, numRows) * ROW_HEIGHT}px`;
  return spacer;
}
