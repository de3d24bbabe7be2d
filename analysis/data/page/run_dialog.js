"use strict";
/** The dialog on a run: status, configuration, scores, costs, machine, files and the end of its log. */

class RunDialog {
  constructor() {
    this.title = createElement("h2", { id: "dialog-title" });
    this.content = createElement("div", { class: "dialog-content" });
    this.element = createElement("dialog", { "aria-labelledby": "dialog-title" },
      createElement("div", { class: "dialog-head" }, this.title,
        createElement("button", { type: "button", class: "close", "aria-label": "Close", text: "\u00d7", onclick: () => this.element.close() })),
      this.content);
    this.element.addEventListener("click", (event) => {
      if (event.target === this.element) this.element.close();
    });
    document.body.append(this.element);
  }

  open(title, ...content) {
    this.title.textContent = title;
    this.content.replaceChildren(...content.filter(Boolean));
    if (!this.element.open) this.element.showModal();
    this.element.scrollTop = 0;
  }

  /** @param {Sweep} sweep @param {Cell} cell */
  showRun(sweep, cell) {
    const facts = [["run", cell.run], ["arm", cell.arm.label], ["status", cell.status]];
    for (const key of ["reason", "advice", "phase", "location", "attempt"]) {
      if (cell[key]) facts.push([key, String(cell[key])]);
    }
    if (cell.step !== null && cell.step !== undefined) facts.push(["step", describeSteps(cell)]);
    const log = sweep.payload.logs[cell.run];
    const links = sweep.getFiles(cell.run).map(([label, href]) => createElement("a", { href, text: label }));
    this.open(cell.name,
      createFacts(facts),
      links.length ? createElement("p", { class: "files" }, ...links) : null,
      ...createLogParts(log),
      ...createPart("Scores", listScores(sweep, cell)),
      ...createPart("Costs", Object.entries(sweep.getCosts(cell.run)).filter(([, v]) => v !== null)
        .map(([label, value]) => [label, formatNumber(value)])),
      ...createPart("Machine and code", Object.entries(sweep.getEnvironment(cell.run))),
      createDetails("Configuration", createFacts(Object.entries(sweep.getConfig(cell.arm.name)))));
  }

  /** Show the runs whose mean a number is. */
  showRunsBehind(sweep, arm, score) {
    const rows = sweep.cellsByArm.get(arm.name).map((cell) => [
      createElement("button", { type: "button", class: "link", text: cell.name, onclick: () => this.showRun(sweep, cell) }),
      formatScore(score, score.cells[cell.index]), cell.status, cell.run,
    ]);
    const summary = score.arms[arm.name];
    const seeds = summary ? `mean of ${summary.num_seeds} seed${summary.num_seeds > 1 ? "s" : ""}` : "no value yet";
    this.open(`${score.label}: ${arm.label}`,
      createElement("p", { text: summary ? `${summary.text} ${score.unit} (${seeds})` : seeds }),
      createSmallTable(["cell", score.label, "status", "run"], rows, "Runs behind the number"));
  }
}

/** Return "120/400" for a cell. */
function describeSteps(cell) {
  const isWhole = !cell.total_steps || cell.step === cell.total_steps;
  return isWhole ? formatCount(cell.step) : `${formatCount(cell.step)}/${formatCount(cell.total_steps)}`;
}

function listScores(sweep, cell) {
  return sweep.payload.scores
    .filter((score) => score.cells[cell.index] !== null)
    .map((score) => [score.label, formatScore(score, score.cells[cell.index])]);
}

function createPart(title, facts) {
  return facts.length ? [createElement("h3", { text: title }), createFacts(facts)] : [];
}

function createDetails(title, body) {
  return createElement("details", {}, createElement("summary", { text: title }), body);
}

/** Return the traceback that a log ends with, if it does, and the log. */
function createLogParts(log) {
  if (!log) return [];
  const start = log.lastIndexOf("Traceback (most recent call last)");
  const parts = start < 0 ? [] : [
    createElement("h3", { text: "Traceback" }),
    createElement("pre", { class: "traceback", tabindex: "0", "aria-label": "Traceback", text: log.slice(start) }),
  ];
  const rest = start < 0 ? log : log.slice(0, start).trimEnd();
  const tail = createElement("pre", { class: "log", tabindex: "0", "aria-label": "Log", text: rest });
  if (rest) parts.push(createElement("h3", { text: start < 0 ? "End of the log" : "Log before it" }), tail);
  return parts;
}
