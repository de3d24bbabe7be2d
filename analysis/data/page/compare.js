"use strict";
/** The section that compares arms by their scores, and two cells with one another. */

const MAX_DEFAULT_SCORES = 6;

class CompareView {
  /** @param {HTMLElement} section @param {RunDialog} dialog */
  constructor(section, dialog) {
    this.dialog = dialog;
    this.shownScores = null;
    this.chooser = createElement("div", { class: "legend", role: "group", "aria-label": "Columns" });
    this.table = new DataTable({
      label: "Arms by scores", noun: "arms", columns: [], onOpen: (arm) => this.showArm(arm),
    });
    this.cellBoxes = [0, 1].map((i) => createSelect(i ? "with" : "Compare", [], () => this.drawPair()));
    this.pair = createElement("div");
    this.chart = new Chart(260);
    section.append(
      createElement("h3", { text: "Arms" }),
      createDetails("Columns", this.chooser), this.table.element,
      createElement("p", { class: "notes", text: "Mean over seeds, and its standard error. A number leads to its runs." }),
      createElement("h3", { text: "Two cells" }),
      createElement("div", { class: "controls" }, ...this.cellBoxes.map((box) => box.element)),
      this.chart.element, this.pair);
  }

  /** @param {Sweep} sweep */
  update(sweep) {
    this.sweep = sweep;
    const { scores } = sweep.payload;
    if (this.shownScores === null && scores.length) {
      this.shownScores = new Set(scores.slice(0, MAX_DEFAULT_SCORES).map(getScoreKey));
    }
    this.drawChooser(scores);
    this.drawArms();
    const names = sweep.cells.map((cell) => [cell.name, cell.name]);
    const isFirst = !this.cellBoxes[0].select.options.length;
    this.cellBoxes.forEach(({ select }) => setOptions(select, names));
    if (isFirst) this.chooseCells();
    this.drawPair();
  }

  /** Choose the reference and the next arm, with the first seed. */
  chooseCells() {
    const { cells, payload } = this.sweep;
    const first = cells.find((cell) => cell.arm.name === payload.sweep.reference) || cells[0];
    const second = cells.find((cell) => cell.arm !== first?.arm && cell.seed === first?.seed) || cells[1] || first;
    [first, second].forEach((cell, i) => { if (cell) this.cellBoxes[i].select.value = cell.name; });
  }

  drawChooser(scores) {
    const key = scores.map(getScoreKey).join("\n");
    if (key === this.chooserKey) return;
    this.chooserKey = key;
    this.chooser.replaceChildren(...scores.map((score) => createCheckbox(
      score.label, this.shownScores.has(getScoreKey(score)), (isShown) => {
        if (isShown) this.shownScores.add(getScoreKey(score));
        else this.shownScores.delete(getScoreKey(score));
        this.drawArms();
      })));
  }

  drawArms() {
    const scores = this.sweep.payload.scores.filter((score) => this.shownScores.has(getScoreKey(score)));
    const columns = [
      { key: "arm", label: "arm", text: (arm) => arm.label },
      ...scores.map((score, i) => ({
        key: getScoreKey(score), label: score.unit ? `${score.label} (${score.unit})` : score.label,
        isNumber: true, priority: Math.min(3, i + 1),
        value: (arm) => score.arms[arm.name]?.mean ?? null,
        text: (arm) => score.arms[arm.name]?.text ?? "",
        render: (arm) => createElement("button", {
          type: "button", class: "link", text: score.arms[arm.name]?.text ?? "",
          onclick: () => this.dialog.showRunsBehind(this.sweep, arm, score),
        }),
      })),
      { key: "done", label: "seeds", isNumber: true, priority: 2, value: (arm) => this.countDone(arm), text: (arm) => `${this.countDone(arm)} of ${this.sweep.cellsByArm.get(arm.name).length}` },
    ];
    this.table.setColumns(columns);
    this.table.setRows(this.sweep.arms);
  }

  countDone(arm) {
    return this.sweep.cellsByArm.get(arm.name).filter((cell) => cell.status === "complete").length;
  }

  showArm(arm) {
    const rows = this.sweep.cellsByArm.get(arm.name).map((cell) => [
      createElement("button", { type: "button", class: "link", text: cell.name, onclick: () => this.dialog.showRun(this.sweep, cell) }),
      cell.status, cell.run,
    ]);
    const { reference } = this.sweep.payload.configs;
    const changes = Object.entries(this.sweep.payload.configs.arms[arm.name])
      .map(([key, value]) => [key, `${reference[key] ?? "not set"} \u2192 ${value ?? "not set"}`]);
    this.dialog.open(arm.label, createSmallTable(["cell", "status", "run"], rows, "Runs"),
      ...createPart("Differs from the reference arm in", changes));
  }

  drawPair() {
    const cells = this.cellBoxes.map(({ select }) => this.sweep.cells.find((cell) => cell.name === select.value));
    if (!cells[0] || !cells[1]) return;
    this.drawPairChart(cells);
    const names = ["", ...cells.map((cell) => cell.name)];
    const parts = [
      ["Configuration", compareTexts(...cells.map((cell) => ({ ...this.sweep.getConfig(cell.arm.name), seed: String(cell.seed) })))],
      ["Scores", this.compareScores(cells)],
      ["Costs", compareTexts(...cells.map((cell) => formatValues(this.sweep.getCosts(cell.run))))],
      ["Machine and code", compareTexts(...cells.map((cell) => this.sweep.getEnvironment(cell.run)))],
    ];
    this.pair.replaceChildren(...parts.flatMap(([title, rows]) => [
      createElement("h4", { text: title }),
      rows.length ? createSmallTable(title === "Scores" ? [...names, "difference"] : names, rows, `${title} of two cells`)
        : createElement("p", { class: "skipped", text: "no difference" }),
    ]));
  }

  drawPairChart(cells) {
    const quantity = this.sweep.payload.curves.quantities[0];
    const lines = quantity ? cells.map((cell, i) => {
      const curve = readCurve(this.sweep, cell.run, quantity, "step", cell.name);
      return curve && { ...curve, color: ["#0072B2", "#D55E00"][i], dash: i ? [6, 3] : [], width: 2 };
    }).filter(Boolean) : [];
    this.chart.draw(lines, { xLabel: "steps", yLabel: quantity?.label ?? "", isLogX: false, isLogY: false });
  }

  compareScores(cells) {
    return this.sweep.payload.scores
      .filter((score) => cells.some((cell) => score.cells[cell.index] !== null))
      .map((score) => {
        const [first, second] = cells.map((cell) => score.cells[cell.index]);
        const isKnown = first !== null && second !== null;
        const difference = isKnown ? (first - second) * score.factor : null;
        const sign = difference > 0 ? "+" : "";
        return [score.label, formatScore(score, first), formatScore(score, second),
          isKnown ? `${sign}${formatDecimals(difference, score.decimals)}`.replace(/^\+?0(\.0*)?$/, first === second ? "0" : "0$1") : ""];
      });
  }
}

function getScoreKey(score) {
  return `${score.dataset}/${score.name}`;
}

function formatValues(values) {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, formatNumber(value)]));
}

/** Return [name, first, second] for each name whose texts differ. */
function compareTexts(first, second) {
  const names = [...new Set([...Object.keys(first), ...Object.keys(second)])];
  return names.filter((name) => first[name] !== second[name]).map((name) => [name, first[name] ?? "not set", second[name] ?? "not set"]);
}
