"use strict";
/** The section of curves: mean and range over seeds by arm, or single seeds. */

const MAX_DEFAULT_ARMS = 12;
/** Arms that are shown at first, if there are more. */
const X_AXES = {
  step: "steps", samples: "samples seen", images: "images seen, all views", flops: "training FLOPs", seconds: "training seconds",
};
const PER_STEP = { samples: "samples_per_step", images: "images_per_step", flops: "flops_per_step" };

class CurvesView {
  /** @param {HTMLElement} section */
  constructor(section) {
    this.settings = { quantity: "", x: "step", mode: "mean", isLogX: false, isLogY: false, smoothing: 0 };
    this.hiddenArms = null;
    const change = (name) => (value) => { this.settings[name] = value; this.draw(); };
    this.quantity = createSelect("Show", [], change("quantity"));
    this.x = createSelect("against", [], change("x"));
    this.mode = createSelect("as", [["mean", "mean and range over seeds"], ["single", "single seeds"]], change("mode"));
    this.smoothingText = createElement("output");
    const smoothing = createElement("input", {
      type: "range", min: "0", max: "0.98", step: "0.02", value: "0",
      oninput: () => change("smoothing")(Number(smoothing.value)),
    });
    this.legend = createElement("div", { class: "legend", role: "group", "aria-label": "Arms" });
    this.notes = createElement("ul", { class: "notes" });
    this.chart = new Chart();
    section.append(
      createElement("div", { class: "controls" },
        this.quantity.element, this.x.element, this.mode.element,
        createCheckbox("log x", false, change("isLogX")), createCheckbox("log y", false, change("isLogY")),
        createElement("label", { class: "control" }, "smoothing ", smoothing, " ", this.smoothingText)),
      this.chart.element, this.legend, this.notes);
  }

  /** @param {Sweep} sweep */
  update(sweep) {
    this.sweep = sweep;
    const { quantities, runs } = sweep.payload.curves;
    setOptions(this.quantity.select, quantities.map(({ key, label }) => [key, label]));
    this.settings.quantity = this.quantity.select.value;
    const known = Object.values(runs);
    const axes = Object.entries(X_AXES).filter(([key]) => {
      return !(key in PER_STEP) || known.some((run) => run[PER_STEP[key]]);
    });
    setOptions(this.x.select, axes);
    this.arms = sweep.arms.filter((arm) => sweep.cellsByArm.get(arm.name).some((cell) => cell.run in runs));
    if (this.hiddenArms === null && this.arms.length) {
      this.hiddenArms = new Set(this.arms.slice(MAX_DEFAULT_ARMS).map((arm) => arm.name));
    }
    this.drawLegend();
    this.draw();
  }

  drawLegend() {
    const key = this.arms.map((arm) => arm.name).join("\n");
    if (key === this.legendKey) return;
    this.legendKey = key;
    const boxes = this.arms.map((arm) => {
      const box = createCheckbox(arm.label, !this.hiddenArms.has(arm.name), (isShown) => {
        if (isShown) this.hiddenArms.delete(arm.name);
        else this.hiddenArms.add(arm.name);
        this.draw();
      });
      box.querySelector("input").after(createLineSample(arm));
      return box;
    });
    const setAll = (isShown) => {
      this.hiddenArms = new Set(isShown ? [] : this.arms.map((arm) => arm.name));
      boxes.forEach((box) => { box.querySelector("input").checked = isShown; });
      this.draw();
    };
    const buttons = [["all", true], ["none", false]].map(([text, isShown]) => {
      return createElement("button", { type: "button", text, onclick: () => setAll(isShown) });
    });
    this.legend.replaceChildren(...boxes, ...(this.arms.length > 2 ? buttons : []));
  }

  draw() {
    const { quantities, notes } = this.sweep.payload.curves;
    const quantity = quantities.find(({ key }) => key === this.settings.quantity);
    this.smoothingText.textContent = this.settings.smoothing ? this.settings.smoothing.toFixed(2) : "off";
    const lines = quantity ? this.collectLines(quantity) : [];
    const suffix = this.settings.smoothing ? `, smoothed (EMA ${this.settings.smoothing.toFixed(2)})` : "";
    this.chart.draw(lines, {
      xLabel: X_AXES[this.settings.x], yLabel: `${quantity ? quantity.label : "value"}${suffix}`,
      isLogX: this.settings.isLogX, isLogY: this.settings.isLogY,
    });
    const range = "The band reaches from the lowest to the highest seed.";
    const hidden = this.arms.length ? this.hiddenArms.size : 0;
    const texts = [
      ...(this.settings.mode === "mean" && lines.length ? [range] : []), ...notes,
      ...(hidden ? [`${this.arms.length - hidden} of ${this.arms.length} arms are shown.`] : []),
      ...(this.settings.smoothing ? ["Smoothed: exponential moving average over records, without bias at the start."] : []),
    ];
    this.notes.replaceChildren(...texts.map((text) => createElement("li", { text })));
  }

  collectLines(quantity) {
    const arms = this.arms.filter((arm) => !this.hiddenArms.has(arm.name));
    const lines = arms.flatMap((arm) => {
      const runs = new Map(this.sweep.cellsByArm.get(arm.name).map((cell) => [cell.run, cell]));
      const curves = [...runs].map(([run, cell]) => readCurve(this.sweep, run, quantity, this.settings.x, cell.name))
        .filter((curve) => curve !== null);
      const style = { color: arm.color, dash: arm.dash, width: arm.width };
      if (this.settings.mode === "single") return curves.map((curve) => ({ ...curve, ...style, width: 1 }));
      return curves.length ? [{ ...averageCurves(curves), label: arm.label, ...style }] : [];
    });
    return this.settings.smoothing ? lines.map((line) => smoothLine(line, this.settings.smoothing)) : lines;
  }
}

/**
 * Return the curve of a run, or null if it did not log the quantity.
 * @param {Sweep} sweep
 * @param {string} run
 * @param {{key: string, phase: string, factor: ?number}} quantity
 * @param {string} axis key of `X_AXES`
 * @param {string} label
 * @returns {?Line} with the steps of its points
 */
function readCurve(sweep, run, quantity, axis, label) {
  const curves = sweep.payload.curves.runs[run];
  const records = curves?.[quantity.phase];
  const values = records?.values[quantity.key];
  if (!values) return null;
  const perStep = curves[PER_STEP[axis]];
  const xValues = axis === "step" ? records.step
    : axis === "seconds" ? records.seconds : records.step.map((step) => (perStep ? step * perStep : null));
  const chosen = values.map((value, i) => i).filter((i) => values[i] !== null && xValues?.[i] !== null && xValues?.[i] !== undefined);
  return {
    label, steps: chosen.map((i) => records.step[i]), x: chosen.map((i) => xValues[i]),
    y: chosen.map((i) => values[i] * (quantity.factor || 1)), color: "ink",
  };
}

/** Return the mean, lowest and highest value at each step, over the curves that have it. */
function averageCurves(curves) {
  const byStep = new Map();
  for (const { steps, x, y } of curves) {
    steps.forEach((step, i) => {
      if (!byStep.has(step)) byStep.set(step, { x: [], y: [] });
      byStep.get(step).x.push(x[i]);
      byStep.get(step).y.push(y[i]);
    });
  }
  const largest = Math.max(...[...byStep.values()].map(({ y }) => y.length));
  const points = [...byStep].sort(([a], [b]) => a - b).map(([, point]) => point)
    // a peak of one seed, shown besides the thinned steps, is no mean over seeds
    .filter(({ y }, i, all) => y.length > 1 || largest === 1 || isLonely(i, all));
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  return {
    x: points.map((point) => mean(point.x)),
    y: points.map((point) => mean(point.y)),
    low: points.map((point) => Math.min(...point.y)),
    high: points.map((point) => Math.max(...point.y)),
    notes: points.map(({ y }) => (y.length < 2 ? "1 seed"
      : `${y.length} seeds, ${formatNumber(Math.min(...y))} to ${formatNumber(Math.max(...y))}`)),
  };
}

/** Return whether no later step has more than one curve: the longest curve goes on alone. */
function isLonely(index, points) {
  return points.slice(index).every(({ y }) => y.length === 1);
}

/** Return a line smoothed by an exponential moving average that is unbiased at the start. */
function smoothLine(line, weight) {
  const smooth = (values) => {
    let [sum, total] = [0, 0];
    return values?.map((value) => {
      if (value === null) return null;
      sum = weight * sum + (1 - weight) * value;
      total = weight * total + (1 - weight);
      return sum / total;
    });
  };
  return { ...line, y: smooth(line.y), low: smooth(line.low), high: smooth(line.high), notes: line.notes && line.notes.map((note) => note.split(",")[0]) };
}

/** Return a sample of the line of an arm. */
function createLineSample(arm) {
  const sample = createElement("i", { class: `line-sample${arm.dash.length ? " dashed" : ""}`, "aria-hidden": "true" });
  sample.style.color = resolveColor(arm.color) === readColor("--ink") ? "var(--ink)" : arm.color;
  return sample;
}
