"use strict";
/**
 * A chart of lines with their ranges, drawn by uPlot, that reads values by mouse, touch and keys.
 *
 * @typedef {Object} Line
 * @property {string} label
 * @property {number[]} x increasing
 * @property {Array<?number>} y
 * @property {Array<?number>} [low] lower end of the range
 * @property {Array<?number>} [high] upper end of the range
 * @property {string[]} [notes] a text for each point, such as the number of seeds
 * @property {string} color a CSS colour, or "ink" for that of text
 * @property {number[]} [dash]
 * @property {number} [width] pixels
 *
 * @typedef {{xLabel: string, yLabel: string, isLogX: boolean, isLogY: boolean}} Axes
 */

const CHART_HEIGHT = 360;
const MAX_X_VALUES = 4096;
/** Different x values of a chart; beyond, they are rounded to as many: less than a pixel. */
const MAX_READ_LINES = 8;
const LOGARITHMIC = 3;
/** uPlot's number for a logarithmic scale. */

class Chart {
  /** @param {number} [height] pixels */
  constructor(height = CHART_HEIGHT) {
    this.height = height;
    this.tooltip = createElement("div", { class: "tooltip", hidden: true });
    this.plotBox = createElement("div", { class: "plot" });
    this.element = createElement("div", {
      class: "chart", role: "img", tabindex: "0",
      onkeydown: (event) => this.handleKey(event), onblur: () => this.hideReading(),
    }, this.plotBox, this.tooltip);
    new ResizeObserver(() => this.resize()).observe(this.element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  /** @param {Line[]} lines @param {Axes} axes */
  draw(lines, axes) {
    [this.lines, this.axes] = [lines, axes];
    this.element.setAttribute("aria-label", describeLines(lines, axes));
    this.redraw();
  }

  redraw() {
    if (!this.lines) return;
    this.plot?.destroy();
    this.plot = null;
    this.hideReading();
    this.plotBox.replaceChildren();
    const drawn = this.lines.map((line) => dropUndrawable(line, this.axes));
    if (!drawn.some((line) => line.x.length)) {
      this.plotBox.append(createElement("p", { class: "skipped", text: "Nothing to draw." }));
      return;
    }
    const { data, series, bands, lineOfSeries } = arrangeSeries(drawn);
    [this.drawn, this.lineOfSeries] = [drawn, lineOfSeries];
    this.plot = new uPlot(this.buildOptions(series, bands), data, this.plotBox);
  }

  buildOptions(series, bands) {
    const ink = readColor("--muted");
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { font, labelFont: font, stroke: ink, grid: { stroke: readColor("--line"), width: 1 }, ticks: { stroke: readColor("--line"), width: 1 } };
    const values = (plot, splits) => splits.map((value) => (value === null ? "" : formatTick(value)));
    return {
      width: this.element.clientWidth || 600,
      height: this.height,
      legend: { show: false },
      scales: {
        x: { time: false, distr: this.axes.isLogX ? LOGARITHMIC : 1 },
        y: { distr: this.axes.isLogY ? LOGARITHMIC : 1 },
      },
      axes: [
        { ...axis, label: this.axes.xLabel, labelSize: 24, values },
        { ...axis, label: this.axes.yLabel, labelSize: 24, size: 58, values },
      ],
      cursor: {
        drag: { x: true, y: false },
        focus: { prox: 1e6 },
        dataIdx: findNearestIndex,
        points: { size: 7 },
      },
      focus: { alpha: 1 },
      hooks: { setCursor: [(plot) => this.showReading(plot)] },
      series,
      bands,
    };
  }

  /** Show the values at the cursor, those nearest to it first. */
  showReading(plot) {
    const { left, top, idx } = plot.cursor;
    if (idx === null || idx === undefined || left < 0) {
      this.tooltip.hidden = true;
      return;
    }
    const readings = [];
    this.lineOfSeries.forEach((line, seriesIndex) => {
      const index = line && plot.cursor.idxs[seriesIndex];
      if (!line || index === null || index === undefined) return;
      const value = plot.data[seriesIndex][index];
      if (value === null || value === undefined) return;
      const distance = Math.abs(plot.valToPos(value, "y") - top);
      readings.push({ line, value, x: plot.data[0][index], distance });
    });
    readings.sort((a, b) => a.distance - b.distance);
    const rows = readings.slice(0, MAX_READ_LINES).map(({ line, value, x }) => describeReading(line, value, x));
    const more = readings.length - rows.length;
    this.tooltip.replaceChildren(
      createElement("p", { class: "x", text: `${this.axes.xLabel}: ${formatNumber(plot.data[0][idx])}` }),
      ...rows, ...(more > 0 ? [createElement("p", { class: "more", text: `and ${more} more` })] : []));
    this.tooltip.hidden = !rows.length;
    const over = plot.over.getBoundingClientRect();
    const box = this.element.getBoundingClientRect();
    const x = over.left - box.left + left;
    const isRight = left > over.width / 2;
    this.tooltip.style.left = isRight ? "auto" : `${x + 14}px`;
    this.tooltip.style.right = isRight ? `${box.width - x + 14}px` : "auto";
    this.tooltip.style.top = `${over.top - box.top + 6}px`;
  }

  hideReading() {
    this.tooltip.hidden = true;
  }

  /** Move the cursor by the arrow keys, to read values without a mouse. */
  handleKey(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!this.plot || !move) return;
    event.preventDefault();
    const last = this.plot.data[0].length - 1;
    const step = event.shiftKey ? Math.max(1, Math.round(last / 20)) : 1;
    const index = Math.min(last, Math.max(0, (this.plot.cursor.idx ?? (move > 0 ? -1 : last + 1)) + move * step));
    const value = this.plot.data.slice(1).map((values) => values[index]).find((v) => v !== null && v !== undefined);
    this.plot.setCursor({
      left: this.plot.valToPos(this.plot.data[0][index], "x"),
      top: value === undefined ? 0 : this.plot.valToPos(value, "y"),
    });
  }

  resize() {
    const width = this.element.clientWidth;
    if (this.plot && width && width !== this.plot.width) this.plot.setSize({ width, height: this.height });
  }
}

/** Return one line of the reading: colour, label, value, and its range or number of seeds. */
function describeReading(line, value, x) {
  const swatch = createElement("i", { class: "swatch" });
  swatch.style.background = resolveColor(line.color);
  const note = line.noteAt?.get(x);
  return createElement("p", {}, swatch, `${line.label} `, createElement("b", { text: formatNumber(value) }),
    note ? ` (${note})` : "");
}

/** Return a description of a chart for those who do not see it. */
function describeLines(lines, axes) {
  const ends = lines.slice(0, 10).map((line) => {
    const last = line.y.findLast((value) => value !== null);
    return last === undefined ? null : `${line.label} ${formatNumber(last)}`;
  }).filter(Boolean);
  const more = lines.length > 10 ? `, and ${lines.length - 10} more` : "";
  return `${axes.yLabel} against ${axes.xLabel}. Last values: ${ends.join("; ")}${more}. `
    + "Arrow keys move the cursor.";
}

/** Return a line without the points that a logarithmic axis cannot show. */
function dropUndrawable(line, axes) {
  const chosen = line.x.map((x, i) => i).filter((i) => {
    return line.x[i] !== null && (!axes.isLogX || line.x[i] > 0) && (!axes.isLogY || !(line.y[i] <= 0));
  });
  const take = (values) => values && chosen.map((i) => values[i]);
  const clip = (values) => take(values)?.map((v) => (axes.isLogY && v <= 0 ? null : v));
  return { ...line, x: take(line.x), y: take(line.y), low: clip(line.low), high: clip(line.high), notes: take(line.notes) };
}

/** Arrange lines as uPlot takes them: one list of x, and lists of values with gaps. */
function arrangeSeries(lines) {
  const xValues = snapValues(lines.map((line) => line.x));
  const tables = [];
  const series = [{}];
  const bands = [];
  const lineOfSeries = [null];
  const addSeries = (x, y, options, line) => {
    tables.push([x, y]);
    series.push({ spanGaps: true, points: { show: false }, ...options });
    lineOfSeries.push(line);
    return series.length - 1;
  };
  lines.forEach((line, i) => {
    const color = resolveColor(line.color);
    const x = xValues[i];
    if (line.low && line.high) {
      const high = addSeries(x, line.high, { stroke: "transparent", width: 0 }, null);
      const low = addSeries(x, line.low, { stroke: "transparent", width: 0 }, null);
      bands.push({ series: [high, low], fill: addAlpha(color, 0.1) });
    }
    line.noteAt = new Map((line.notes || []).map((note, k) => [x[k], note]));
    const points = { show: line.x.length <= 5, size: 5, fill: color, stroke: color };
    addSeries(x, line.y, { stroke: color, width: line.width || 1.4, dash: line.dash?.length ? line.dash : undefined, points }, line);
  });
  return { data: uPlot.join(tables.map((table) => table)), series, bands, lineOfSeries };
}

/** Round x values, if they are very many, to a grid finer than a pixel. */
function snapValues(lists) {
  const distinct = new Set(lists.flat());
  if (distinct.size <= MAX_X_VALUES) return lists;
  let [least, largest] = [Infinity, -Infinity];
  for (const value of distinct) {
    least = Math.min(least, value);
    largest = Math.max(largest, value);
  }
  const step = (largest - least) / MAX_X_VALUES;
  return lists.map((list) => {
    let previous = -Infinity;
    return list.map((value) => {
      const snapped = least + Math.round((value - least) / step) * step;
      previous = snapped > previous ? snapped : value > previous ? value : previous + step / 1000;
      return previous;
    });
  });
}

/** Return the index of the value of a series that is nearest to an index, if not far from it. */
function findNearestIndex(plot, seriesIndex, index) {
  const values = plot.data[seriesIndex];
  if (index === null || values[index] !== null && values[index] !== undefined) return index;
  for (let distance = 1; distance < values.length; distance += 1) {
    for (const candidate of [index - distance, index + distance]) {
      if (values[candidate] !== null && values[candidate] !== undefined) {
        const pixels = Math.abs(plot.valToPos(plot.data[0][candidate], "x") - plot.valToPos(plot.data[0][index], "x"));
        return pixels < 40 ? candidate : null;
      }
    }
  }
  return null;
}

/** Return a number on an axis as text. */
function formatTick(value) {
  const size = Math.abs(value);
  if (size >= 1e6 || (size > 0 && size < 1e-3)) return value.toExponential().replace("-", MINUS).replace("e+", "e");
  return Number(value.toPrecision(6)).toLocaleString("en-US", { maximumFractionDigits: 6 }).replace("-", MINUS);
}

/** Return the value of a CSS variable of the page. */
function readColor(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Return a colour of a line; that of text depends on the light or dark scheme. */
function resolveColor(color) {
  return color === "ink" ? readColor("--ink") : color;
}

/** Return a colour such as #0072B2 with an opacity. */
function addAlpha(color, alpha) {
  return color + Math.round(alpha * 255).toString(16).padStart(2, "0");
}
