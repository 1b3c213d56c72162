// What the report draws below the values: a table of figures over time, each with its key and its words.
/* global uPlot */

import { ANOMALY, axes, colour, create, decades, drawnOut, errorChart, expertColour, line, normChart, pointing, rowRange, weightChart } from "./charts.js";
import { MAKE_COLOURS } from "./facts.js";
import { axisText, countText, expertText, valueText } from "./words.js";

const RARE_MAX = 10_000; // Rarer than the score tells.
const DRIFT_COLOURS = { loss: "recurrent", inputs: "seasonal", calibration: "linear" };
const COVERED_MIN = 20; // A share of fewer values says nothing.

const percent = (value) => (value == null ? "–" : `${(100 * value).toFixed(1)}%`);

// Means over the last `buckets`: sum of w x over sum of w, null while the sum of w is below `least`.
export function rolling(values, weights, buckets, least = 1) {
  return values.map((_, i) => {
    let [sum, weight] = [0, 0];
    for (let j = Math.max(0, i - buckets + 1); j <= i; j += 1) {
      sum += weights[j] * (values[j] ?? 0);
      weight += weights[j];
    }
    return weight >= least ? sum / weight : null;
  });
}

// Draws upright lines, triangles at the upper edge, and level dashed lines.
function drawing({ uprights = [], ticks = [], levels = [] }) {
  return (chart) => {
    const { ctx, bbox } = chart;
    const pixel = devicePixelRatio || 1;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left - 5 * pixel, bbox.top, bbox.width + 10 * pixel, bbox.height);
    ctx.clip();
    for (const { rows, name, dash = [] } of uprights) {
      ctx.strokeStyle = colour(name);
      ctx.lineWidth = 1.5 * pixel;
      ctx.setLineDash(dash.map((length) => length * pixel));
      for (const row of rows) stroke(ctx, [chart.valToPos(row, "x", true), bbox.top], [0, bbox.height]);
    }
    for (const { rows, name, lower } of ticks) {
      ctx.fillStyle = colour(name);
      const y = bbox.top + (lower ? 8 : 0) * pixel;
      for (const row of rows) {
        const x = chart.valToPos(row, "x", true);
        ctx.beginPath();
        ctx.moveTo(x - 4 * pixel, y);
        ctx.lineTo(x + 4 * pixel, y);
        ctx.lineTo(x, y + 7 * pixel);
        ctx.fill();
      }
    }
    for (const { value, name } of levels) {
      ctx.strokeStyle = colour(name);
      ctx.lineWidth = 1.25 * pixel;
      ctx.setLineDash([5 * pixel, 4 * pixel]);
      stroke(ctx, [bbox.left, chart.valToPos(value, "y", true)], [bbox.width, 0]);
    }
    ctx.restore();
  };
}

function stroke(ctx, [x, y], [right, down]) {
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(x + right, y + down);
  ctx.stroke();
}

// Lines over time. `range` is that of the values, given the lowest and the highest that are seen.
function linesChart(element, panel, { lines, range, values = axisText, log = false, marks = {} }, hooks) {
  const chart = create(
    element,
    {
      scales: { x: { time: false, range: rowRange }, y: { distr: log ? 3 : 1, range: (_, low, high) => range(low, high) } },
      axes: axes(panel.timeOf, log ? { values, splits: decades } : { values }),
      cursor: pointing(panel),
      hooks: { ...hooks, draw: [drawing(marks)], setSelect: drawnOut(panel) },
      series: [{}, ...lines.map(({ name, width }) => line(name, width ?? 1.5))],
    },
    [panel.rows, ...lines.map(({ column }) => column)],
  );
  return { chart };
}

const total = (pairs) => pairs.reduce((sum, [, count]) => sum + count, 0);
const fromZero = (least) => (_, high) => [0, Math.max(least, (high ?? 0) * 1.08) || 1];
const placesOf = (pairs, panel) => pairs.map(([place]) => panel.rows[place]);
const scoredFrom = ({ series }) => ({ rows: series.warmup > 0 ? [series.warmup] : [], name: "restart", dash: [4, 3] });

const promotedAt = ({ series }) => ({ rows: series.promotions.map(({ row }) => row), name: "promoted" });
const PROMOTION = { text: "promotion", colour: "promoted", form: "bar" };

// Each: a title, what its key says, and how it is drawn. `shown` tells where it would say nothing.
export const FIGURES = [
  {
    name: "error",
    title: "Error",
    caption: ({ data, buckets, width }) =>
      `Mean absolute error over ${countText(buckets * width)} rows, ${data.standardised ? "standardised" : "in the series' own unit"}. Dashed: methods that learn nothing. Press a name to show or hide its line.`,
    make(element, view, hooks) {
      const { methods, figures, buckets } = view;
      const unit = view.series.unit;
      const columns = [figures.absolute, ...figures.experts].map((column) =>
        rolling(column, figures.n, buckets).map((value) => (value == null ? null : value / unit)),
      );
      const panel = { ...view.panel, errors: view.panel.rows.map((_, i) => columns.map((column) => column[i])) };
      const { chart } = errorChart(element, panel, methods, { ...hooks, draw: [drawing({ uprights: [scoredFrom(view)] })] });
      methods.forEach(({ hidden }, place) => hidden && chart.setSeries(methods.length - place, { show: false }));
      return {
        chart,
        key: methods.map((method, place) => ({ ...method, form: "line", column: columns[place], toggles: methods.length - place })),
      };
    },
  },
  {
    name: "makes",
    title: "Model and challenger",
    shown: ({ data }) => data.challenger != null,
    caption: ({ data, buckets, width }) =>
      `Mean absolute error of each over ${countText(buckets * width)} rows, ${data.standardised ? "standardised" : "in the series' own unit"}, whichever answered.`,
    make(element, view, hooks) {
      const { figures, buckets, data } = view;
      const columns = figures.makes.map((column) => rolling(column, figures.n, buckets).map((value) => (value == null ? null : value / view.series.unit)));
      const lines = columns.map((column, place) => ({ name: MAKE_COLOURS[place], column, width: 2 }));
      const key = [...columns.map((column, place) => ({ text: `the ${data.makes[place]}`, colour: MAKE_COLOURS[place], form: "line", column })), PROMOTION];
      return { ...linesChart(element, view.panel, { lines, range: fromZero(0), marks: { uprights: [promotedAt(view)] } }, hooks), key };
    },
  },
  {
    name: "evidence",
    title: "Evidence",
    shown: ({ data }) => data.challenger != null,
    caption: ({ data }) =>
      `That what is in the shadow is better by ${percent(data.challenger.margin)}, as a power of ten: 0 at the beginning of a trial. ${data.challenger.promotion === "rule" ? "At the dashed line it takes over, and a trial with the places changed begins." : "It takes over by command alone."}`,
    make(element, view, hooks) {
      const { evidence: column, answers } = view.figures;
      const { threshold } = view.data.challenger;
      const marks = { uprights: [promotedAt(view)], levels: [{ value: threshold, name: "muted" }] };
      const range = (low, high) => [Math.min(low ?? 0, -0.5), Math.max(high ?? 0, threshold) * 1.15];
      const who = (share) => (share == null ? "–" : share >= 0.5 ? "the challenger" : "the model");
      const key = [
        { text: "evidence 10^", colour: "influence", form: "line", column },
        { text: "promoted at", colour: "muted", form: "limit" },
        PROMOTION,
        { text: "answers:", colour: "forecast", form: "block", column: answers, format: who },
      ];
      return { ...linesChart(element, view.panel, { lines: [{ name: "influence", column }], range, marks }, hooks), key };
    },
  },
  {
    name: "weights",
    title: "Who is trusted",
    caption: () => "The forecast is a mixture. Each method's share grows when it has been right.",
    make(element, view, hooks) {
      const { weights } = view.figures;
      const panel = { ...view.panel, weights: view.panel.rows.map((_, i) => weights.map((column) => column[i])) };
      const key = view.methods.slice(1).map((method, place) => ({ ...method, form: "block", column: weights[place], format: percent }));
      return { ...weightChart(element, panel, view.data.experts, hooks), key };
    },
  },
  {
    name: "coverage",
    title: "Coverage",
    caption: ({ buckets, width, data }) =>
      `Share of values inside their range over ${countText(buckets * width)} rows. Dashed: ${percent(data.level)}, which the range is made for.`,
    make(element, view, hooks) {
      const { n, covered } = view.figures;
      const column = rolling(covered.map((count, i) => (n[i] > 0 ? count / n[i] : 0)), n, view.buckets, COVERED_MIN);
      const chart = {
        lines: [{ name: "forecast", column, width: 2 }],
        range: (low) => [Math.max(0, Math.min(low ?? 1, view.data.level) - 0.05), 1.005],
        values: (value) => (value > 1 ? "" : `${Math.round(100 * value)}%`),
        marks: { levels: [{ value: view.data.level, name: "muted" }], uprights: [scoredFrom(view)] },
      };
      const key = [{ text: "inside", colour: "forecast", form: "line", column, format: percent }];
      return { ...linesChart(element, view.panel, chart, hooks), key };
    },
  },
  {
    name: "width",
    title: "Width of the range",
    caption: () => "From the lower to the upper end, in the series' own unit: how sure the forecast claims to be.",
    make(element, view, hooks) {
      const column = view.figures.width;
      const key = [{ text: "width", colour: "forecast", form: "line", column }];
      return { ...linesChart(element, view.panel, { lines: [{ name: "forecast", column }], range: fromZero(0) }, hooks), key };
    },
  },
  {
    name: "anomaly",
    title: "Anomaly score",
    caption: () =>
      "How rare a row's surprise is: one row in so many, from the score, which is the share of past rows that were less surprising. Dashed: one in 200, which is marked above.",
    make(element, view, hooks) {
      const { anomaly, width } = view.series.points;
      const column = anomaly.map((score) => (score == null ? null : Math.min(1 / (1 - score), RARE_MAX)));
      const panel = { ...view.panel, rows: anomaly.map((_, i) => i * width) };
      const marks = { levels: [{ value: 1 / (1 - ANOMALY), name: "muted" }] };
      const chart = { lines: [{ name: "anomaly", column, width: 1 }], range: () => [1, RARE_MAX * 1.3], log: true, marks };
      const key = [{ text: "one row in", colour: "anomaly", form: "line", column, format: (value) => (value == null ? "–" : axisText(value)) }];
      return { ...linesChart(element, panel, chart, hooks), key };
    },
  },
  {
    name: "drift",
    title: "Drift",
    caption: ({ series }) =>
      `Each detector's statistic in units of its threshold; above 1 it signals, and begins anew. Signals: ${Object.entries(series.figures.drift)
        .map(([name, { signals }]) => `${countText(total(signals))} of ${name}`)
        .join(", ")}.`,
    make(element, view, hooks) {
      const streams = Object.entries(view.figures.drift);
      const lines = streams.map(([name, { statistic }]) => ({ name: DRIFT_COLOURS[name], column: statistic }));
      const signals = streams.flatMap(([, one]) => placesOf(one.signals, view.panel));
      const marks = { uprights: [{ rows: signals, name: "drift" }], levels: [{ value: 1, name: "muted" }] };
      const key = [
        ...streams.map(([name, { statistic: column }]) => ({ text: name, colour: DRIFT_COLOURS[name], form: "line", column })),
        { text: "threshold", colour: "muted", form: "limit" },
        { text: "signal", colour: "drift", form: "bar" },
      ];
      return { ...linesChart(element, view.panel, { lines, range: fromZero(1.15), marks }, hooks), key };
    },
  },
  {
    name: "norms",
    title: "Gradient and influence",
    shown: ({ series }) => series.figures.updated > 0,
    caption: ({ series }) =>
      `Gradient: how strongly a row moves the recurrent weights. Influence: how much the network's state depends on them. Updates: ${countText(series.figures.updated)}; clipped: ${countText(total(series.figures.clipped))}; refused by the guard: ${countText(total(series.figures.skipped))}.`,
    make(element, view, hooks) {
      const { gradient_norm: gradient, influence_norm: influence, clipped, skipped } = view.figures;
      const ticks = [
        { rows: placesOf(clipped, view.panel), name: "anomaly" },
        { rows: placesOf(skipped, view.panel), name: "drift", lower: true },
      ];
      const key = [
        { text: "gradient norm", colour: "gradient", form: "line", column: gradient },
        { text: "influence norm", colour: "influence", form: "line", column: influence },
        { text: "clipped", colour: "clipped", form: "tick" },
        { text: "refused", colour: "skipped", form: "tick" },
      ];
      return { ...normChart(element, { ...view.panel, gradient, influence }, { ...hooks, draw: [drawing({ ticks })] }), key };
    },
  },
  {
    name: "stability",
    title: "Stability of the network",
    shown: ({ series }) => series.figures.updated > 0,
    caption: () =>
      "Spectral radius of the state's Jacobian: below 1 (dashed) what was felt fades. Saturated: the share of units at the flat end of their function.",
    make(element, view, hooks) {
      const { spectral_radius: radius, saturated_ratio: saturated } = view.figures;
      const lines = [
        { name: "recurrent", column: radius, width: 2 },
        { name: "seasonal", column: saturated },
      ];
      const key = [
        { text: "spectral radius", colour: "recurrent", form: "line", column: radius },
        { text: "saturated share", colour: "seasonal", form: "line", column: saturated, format: percent },
      ];
      return { ...linesChart(element, view.panel, { lines, range: fromZero(1.1), marks: { levels: [{ value: 1, name: "muted" }] } }, hooks), key };
    },
  },
];

// The methods of the error's lines: the forecast, then the experts. Shown at first are those that learn nothing and
// the one that was best in the end.
export function methodsOf(data, scores) {
  const errors = data.experts.map((name) => scores.experts[name].mse ?? Infinity);
  const best = errors.some(Number.isFinite) ? errors.indexOf(Math.min(...errors)) : -1;
  return [
    { name: "forecast", text: "the forecast", colour: "forecast", forecast: true },
    ...data.experts.map((name, place) => ({
      name,
      text: `${expertText(name)}${place === best ? ", best expert" : ""}`,
      colour: expertColour(name, place),
      naive: data.naive.includes(name),
      hidden: !data.naive.includes(name) && place !== best,
    })),
  ];
}

// One figure's elements. Key values follow the pointer; with none they are the last that are seen.
export function makeFigure(figure, view) {
  const element = document.createElement("figure");
  element.id = `figure-${figure.name}`;
  const [title, place, list, caption] = ["h3", "div", "ul", "figcaption"].map((tag) => document.createElement(tag));
  title.textContent = figure.title;
  place.className = "chart";
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", `${figure.title} over time`);
  list.className = "key";
  caption.textContent = figure.caption(view);
  element.append(title, place, list, caption);
  return {
    element,
    draw() {
      let outputs = [];
      const say = (self) => outputs.forEach(({ output, column, format }) => {
        output.textContent = (format ?? valueText)(column[self.cursor.idx ?? self.series[0].idxs?.[1] ?? column.length - 1]);
      });
      const { chart, key } = figure.make(place, view, { setCursor: [say], setScale: [say] });
      const items = key.map((one) => makeKey(one, chart));
      list.replaceChildren(...items.map(({ item }) => item));
      outputs = key.flatMap((one, at) => (one.column ? [{ ...one, output: items[at].output }] : []));
      say(chart);
      return chart;
    },
  };
}

function makeKey({ text, colour: name, form, naive, column, toggles, hidden }, chart) {
  const item = document.createElement("li");
  const swatch = document.createElement("i");
  swatch.className = `${form} ${name}${naive && form === "line" ? " dashed" : ""}`;
  let holder = item;
  if (toggles) {
    holder = document.createElement("button");
    holder.type = "button";
    holder.setAttribute("aria-pressed", String(!hidden));
    holder.addEventListener("click", () => {
      const show = !chart.series[toggles].show;
      chart.setSeries(toggles, { show });
      holder.setAttribute("aria-pressed", String(show));
    });
    item.append(holder);
  }
  const output = document.createElement("output");
  output.setAttribute("aria-live", "off");
  holder.append(swatch, text);
  if (column) item.append(output);
  return { item, output };
}
