"use strict";
/** The section of cells: progress of the sweep, and a row for each cell. */

const STATUS_SIGNS = {
  complete: "\u2713", running: "\u25b6", failed: "\u2715", diverged: "\u2197", stalled: "?",
  queued: "\u2026", pending: "\u00b7", blocked: "!", unreadable: "!",
};
/** Sign before a status, so that colour is not the only difference. */

class NowView {
  /** @param {HTMLElement} section @param {RunDialog} dialog */
  constructor(section, dialog) {
    this.dialog = dialog;
    this.bar = createElement("div", { class: "progress", role: "progressbar", "aria-label": "Cells with a result", "aria-valuemin": "0" });
    this.text = createElement("p", { class: "progress-text" });
    this.filters = createElement("div", { class: "chips", role: "group", "aria-label": "Show cells by status" });
    this.status = "";
    this.table = new DataTable({
      label: "Cells", noun: "cells", columns: [], onOpen: (cell) => dialog.showRun(this.sweep, cell),
    });
    section.append(this.text, this.bar, this.filters, this.table.element);
  }

  /** @param {Sweep} sweep */
  update(sweep) {
    this.sweep = sweep;
    this.drawProgress(sweep.payload.progress);
    this.table.setColumns(this.listColumns(sweep));
    this.table.setRows(sweep.cells);
  }

  /** Redraw what depends on the time of day only. */
  tick() {
    if (this.sweep?.columns.has("last_heartbeat")) this.table.draw(true);
  }

  drawProgress(progress) {
    const { num_cells: all, num_ended: ended, counts } = progress;
    const parts = [`${formatCount(ended)} of ${formatCount(all)} cells done`];
    if (progress.remaining_seconds !== null && progress.remaining_seconds !== undefined && ended < all) {
      parts.push(`about ${formatDuration(progress.remaining_seconds)} left`);
    }
    const hours = progress.gpu_hours;
    if (hours) parts.push(`${formatNumber(hours.spent)} of about ${formatNumber(hours.estimated)} GPU-hours`);
    this.text.replaceChildren(createElement("b", { text: `${Math.floor(100 * progress.done_fraction)} %` }), ` \u00a0${parts.join(", ")}`);
    this.bar.setAttribute("aria-valuemax", String(all));
    this.bar.setAttribute("aria-valuenow", String(ended));
    this.bar.replaceChildren(...Object.entries(counts).map(([status, count]) => {
      const part = createElement("span", { class: `status-${toClass(status)}`, title: `${count} ${status}` });
      part.style.flexGrow = String(count);
      return part;
    }));
    const chips = [["", all], ...Object.entries(counts)].map(([status, count]) => createElement("button", {
      type: "button", "data-status": status, "aria-pressed": String(this.status === status),
      onclick: () => this.filterBy(status),
    }, status || "all", " ", createElement("b", { text: formatCount(count) })));
    const focused = this.filters.contains(document.activeElement) ? document.activeElement.dataset.status : null;
    this.filters.replaceChildren(...chips);
    if (focused !== null) chips.find((chip) => chip.dataset.status === focused)?.focus();
  }

  filterBy(status) {
    this.status = status;
    this.table.setPredicate(status ? (cell) => cell.status === status : null);
    this.drawProgress(this.sweep.payload.progress);
  }

  /** Return the columns of which any cell has a value. */
  listColumns(sweep) {
    const columns = [
      { key: "name", label: "cell", text: (cell) => cell.name },
      { key: "status", label: "status", text: (cell) => cell.status, render: createStatus },
      { key: "step", label: "step", isNumber: true, value: (cell) => cell.step, text: (cell) => (cell.step === null ? "" : describeSteps(cell)) },
      { key: "loss", label: "loss", isNumber: true, priority: 2, value: (cell) => cell.loss, text: (cell) => formatNumber(cell.loss) },
      { key: "steps_per_second", label: "steps/s", isNumber: true, priority: 2, value: getRate, text: (cell) => formatNumber(getRate(cell)) },
      { key: "seconds_left", label: "left", isNumber: true, priority: 2, value: (cell) => cell.seconds_left, text: (cell) => formatDuration(cell.seconds_left) },
      { key: "phase", label: "phase", priority: 3, text: (cell) => (cell.status === "running" && cell.phase) || "" },
      { key: "last_heartbeat", label: "heartbeat", isNumber: true, priority: 2, value: getHeartbeatAge, text: (cell) => formatDuration(getHeartbeatAge(cell)) },
      { key: "location", label: "node", priority: 2, text: (cell) => cell.location || "" },
      { key: "reason", label: "reason", priority: 2, text: (cell) => cell.reason || "" },
      { key: "advice", label: "advice", priority: 3, text: (cell) => (cell.advice === "none" ? "" : cell.advice || "") },
      { key: "run", label: "run", priority: 3, text: (cell) => cell.run.slice(0, 8) },
    ];
    return columns.filter(({ key }) => key === "name" || sweep.columns.has(key));
  }
}

/** Return steps per second of a cell that is executed; null for others. */
function getRate(cell) {
  return cell.status === "running" && cell.steps_per_second ? cell.steps_per_second : null;
}

/** Return seconds since the last heartbeat of a cell that is executed or stalled; null for others. */
function getHeartbeatAge(cell) {
  const isClaimed = cell.status === "running" || cell.status === "stalled";
  return isClaimed && cell.last_heartbeat ? Math.max(0, Date.now() / 1000 - cell.last_heartbeat) : null;
}

function toClass(status) {
  return status.replace(/\W+/g, "-");
}

function createStatus(cell) {
  return createElement("span", { class: `status status-${toClass(cell.status)}` },
    createElement("i", { "aria-hidden": "true", text: STATUS_SIGNS[cell.status] || "\u25cb" }), cell.status);
}
