"use strict";
/** The section of machines: use of CPU, GPU and memory over time. */

const MAX_USAGE_LINES = 12;
const USAGE_COLORS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8a6d00", "#7f7f7f"];

class SystemView {
  /** @param {HTMLElement} section */
  constructor(section) {
    this.cell = createSelect("Cells", [], () => this.draw());
    this.notes = createElement("ul", { class: "notes" });
    this.grid = createElement("div", { class: "chart-grid" });
    this.charts = new Map();
    section.append(createElement("div", { class: "controls" }, this.cell.element), this.grid, this.notes);
  }

  /** @param {Sweep} sweep */
  update(sweep) {
    this.sweep = sweep;
    this.sampled = [...sweep.cellByRun].filter(([run]) => run in sweep.payload.usage.runs).map(([, cell]) => cell);
    setOptions(this.cell.select, [["", "running, then newest"], ...this.sampled.map((cell) => [cell.run, cell.name])]);
    this.draw();
  }

  draw() {
    const { quantities, runs, notes } = this.sweep.payload.usage;
    const chosen = this.cell.select.value;
    const isRunning = (cell) => Number(cell.status === "running");
    const cells = chosen ? this.sampled.filter((cell) => cell.run === chosen)
      : [...this.sampled].reverse().sort((a, b) => isRunning(b) - isRunning(a)).slice(0, MAX_USAGE_LINES);
    const texts = [...notes, ...(!chosen && this.sampled.length > cells.length
      ? [`${cells.length} of ${this.sampled.length} runs are drawn; choose another one above.`] : [])];
    if (!this.sampled.length) texts.push("No run has recorded its use of the machine.");
    this.notes.replaceChildren(...texts.map((text) => createElement("li", { text })));
    this.cell.element.hidden = !this.sampled.length;
    for (const { key, label } of quantities) {
      if (!this.charts.has(key)) {
        this.charts.set(key, new Chart(200));
        this.grid.append(this.charts.get(key).element);
      }
      const lines = cells.filter((cell) => runs[cell.run].values[key]).map((cell, i) => ({
        label: cell.name, x: runs[cell.run].hours, y: runs[cell.run].values[key],
        color: USAGE_COLORS[i % USAGE_COLORS.length], dash: i < USAGE_COLORS.length ? [] : [6, 3],
      }));
      this.charts.get(key).draw(lines, { xLabel: "hours since the start of the run", yLabel: label, isLogX: false, isLogY: false });
    }
  }
}
