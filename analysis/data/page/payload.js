"use strict";
/**
 * The data of the page (`analysis.page.payload`), with cells as objects and what is looked up.
 *
 * @typedef {{name: string, label: string, role: string, color: string, dash: number[],
 *   width: number}} Arm
 * @typedef {{index: number, name: string, arm: Arm, seed: number, run: string, status: string}} Cell
 *   further fields as in `sweep.py status --json`
 */

class Sweep {
  /** @param {Object} payload as the server wrote it */
  constructor(payload) {
    this.payload = payload;
    /** @type {Arm[]} */
    this.arms = payload.arms;
    const { columns, rows } = payload.cells;
    this.columns = new Set(columns);
    /** @type {Cell[]} */
    this.cells = rows.map((values, index) => {
      const cell = { index };
      columns.forEach((column, i) => { cell[column] = values[i]; });
      cell.arm = payload.arms[cell.arm];
      cell.name = `${cell.arm.name}/${cell.seed}`;
      return cell;
    });
    /** @type {Map<string, Cell>} run id -> its first cell */
    this.cellByRun = new Map();
    /** @type {Map<string, Cell[]>} arm -> its cells */
    this.cellsByArm = new Map(this.arms.map((arm) => [arm.name, []]));
    for (const cell of this.cells) {
      if (!this.cellByRun.has(cell.run)) this.cellByRun.set(cell.run, cell);
      this.cellsByArm.get(cell.arm.name).push(cell);
    }
  }

  /** @param {string} arm @returns {Object<string, string>} key -> value of its configuration */
  getConfig(arm) {
    const { reference, arms } = this.payload.configs;
    const merged = { ...reference, ...arms[arm] };
    return Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== null));
  }

  /** @param {string} run @returns {Object<string, string>} facts on the machine and the code */
  getEnvironment(run) {
    const { list, runs } = this.payload.environments;
    return run in runs ? list[runs[run]] : {};
  }

  /** @param {string} run @returns {Object<string, ?number>} label -> measured cost */
  getCosts(run) {
    const { labels, runs } = this.payload.costs;
    return Object.fromEntries(labels.map((label, i) => [label, (runs[run] || [])[i] ?? null]));
  }

  /** @param {string} run @returns {Array<[string, string]>} label and address of its files */
  getFiles(run) {
    const base = this.payload.store_url;
    if (base === null) return [];
    const encode = (path) => path.split("/").map(encodeURIComponent).join("/");
    return (this.payload.files[run] || []).map(([label, path]) => {
      return [label, `${base}runs/${encode(path)}`];
    });
  }
}
