// The charts, all drawn by uPlot. Colours are those of the style sheet, so that both schemes fit.
/* global uPlot */

import { axisText, timeText } from "./words.js";

export const DRIFT = 1;
export const RESTART = 2;
export const GUARD = 4;
export const PROMOTED = 8;
// An anomaly score is the share of past events that were less surprising: this is one event in 200.
export const ANOMALY = 0.995;
// Lines over the whole height, by their bit: colour and dashes.
const MARKS = [[DRIFT, "drift", []], [RESTART, "restart", [4, 3]], [GUARD, "guard", [1, 2]], [PROMOTED, "promoted", []]];
const PADDING = 16; // At the right of a chart, in pixels.
const FONT = "11px system-ui, sans-serif";

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

const EXPERT_COLOURS = { last_value: "last-value", seasonal: "seasonal", linear: "linear", recurrent: "recurrent" };
const SPARE = ["spare-1", "spare-2", "spare-3"];
export const expertColour = (name, place) => EXPERT_COLOURS[name] ?? SPARE[place % SPARE.length];

// A label at the right end that would be cut off is left out; three pixels are half a letter.
function uncut(chart, row, text) {
  const room = chart.bbox.width / devicePixelRatio + PADDING - chart.valToPos(row, "x");
  return 3 * text.length > room ? "" : text;
}

// Short labels, or whole numbers where short ones would not tell two places apart.
function labels(places, short) {
  const texts = places.map(short);
  const said = texts.filter((text) => text);
  if (new Set(said).size === said.length) return texts;
  const step = Math.abs(places[1] - places[0]);
  const decimals = Math.min(Math.max(Math.ceil(-Math.log10(step)), 0), 12);
  return places.map((place) => place.toLocaleString("en", { maximumFractionDigits: decimals }));
}

export function axes(times, { small = false, values = axisText, splits = undefined } = {}) {
  const common = {
    stroke: colour("muted"),
    font: FONT,
    grid: { stroke: colour("grid"), width: 1 },
    ticks: { show: false },
  };
  return [
    {
      ...common,
      space: small ? 90 : 110,
      size: 24,
      gap: 6,
      grid: { show: false },
      values: (self, rows) => rows.map((row) => uncut(self, row, times(row))),
    },
    {
      ...common,
      ...(splits && { splits, filter: (_, all) => all }),
      size: (_, texts) => Math.max(small ? 42 : 50, 10 + 6 * Math.max(...(texts ?? []).map((text) => text.length))),
      gap: 4,
      space: small ? 30 : 34,
      values: (_, all) => labels(all, values),
    },
  ];
}

export const rowRange = (_, low, high) => (low == null ? [0, 1] : low === high ? [low - 1, high + 1] : [low, high]);

// The value axis holds what came, and of forecast and interval what is near: a first wild interval would
// flatten everything else. `from` and `to` are the first and the last place that are seen.
export function valueRange(panel, [from, to] = [0, panel.rows.length - 1]) {
  let low = Infinity;
  let high = -Infinity;
  for (let i = from; i <= to; i += 1) {
    const value = panel.actual[i];
    if (value == null) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return [0, 1];
  const room = (high - low || Math.abs(high) || 1) * 0.3;
  let [bottom, top] = [low, high];
  for (const column of [panel.predicted, panel.lower, panel.upper]) {
    for (let i = from; i <= to; i += 1) {
      const value = column[i];
      if (value == null) continue;
      bottom = Math.min(bottom, Math.max(value, low - room));
      top = Math.max(top, Math.min(value, high + room));
    }
  }
  const pad = (top - bottom || room) * 0.06;
  return [bottom - pad, top + pad];
}

// Drift, restarts, guards and promotions are lines over the whole height, anomalies are rings on the value: from `ringsFrom` on, where a
// panel has too many to ring them all.
function drawMarks(chart, panel) {
  const { ctx, bbox } = chart;
  const pixel = devicePixelRatio || 1;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width + 6 * pixel, bbox.height);
  ctx.clip();
  for (let i = 0; i < panel.rows.length; i += 1) {
    const x = chart.valToPos(panel.rows[i], "x", true);
    for (const [bit, name, dash] of MARKS) {
      if (!(panel.marks[i] & bit)) continue;
      ctx.strokeStyle = colour(name);
      ctx.lineWidth = 1.5 * pixel;
      ctx.setLineDash(dash.map((length) => length * pixel));
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.setLineDash([]);
      ctx.fillStyle = colour(name);
      ctx.beginPath();
      ctx.moveTo(x - 4 * pixel, bbox.top);
      ctx.lineTo(x + 4 * pixel, bbox.top);
      ctx.lineTo(x, bbox.top + 6 * pixel);
      ctx.fill();
    }
    if (panel.anomaly[i] >= (panel.ringsFrom ?? ANOMALY) && panel.actual[i] != null) {
      ctx.strokeStyle = colour("anomaly");
      ctx.lineWidth = 1.75 * pixel;
      ctx.beginPath();
      ctx.arc(x, chart.valToPos(panel.actual[i], "y", true), 4 * pixel, 0, 2 * Math.PI);
      ctx.stroke();
    }
  }
  ctx.restore();
}

export function create(element, options, data) {
  return new uPlot(
    {
      width: Math.max(element.clientWidth, 160),
      height: element.clientHeight,
      legend: { show: false },
      padding: [8, PADDING, 0, 0],
      ...options,
    },
    data,
    element,
  );
}

export const line = (name, width, more = {}) => ({ stroke: colour(name), width, points: { show: false }, ...more });

// What all charts of one series do when pointed at. A panel with a `zoom` may be seen in part: it is told which rows
// were drawn out with the pointer, or null for all of them.
export function pointing(panel) {
  const cursor = { sync: { key: "detail" }, y: false, drag: { x: panel.zoom != null, y: false, setScale: false } };
  return panel.zoom ? { ...cursor, bind: { dblclick: () => () => panel.zoom(null) } } : cursor;
}

export function drawnOut(panel) {
  if (!panel.zoom) return [];
  return [
    (self) => {
      const { left, width } = self.select;
      self.setSelect({ left: 0, width: 0 }, false);
      if (width > 3) panel.zoom([self.posToVal(left, "x"), self.posToVal(left + width, "x")]);
    },
  ];
}

// A series: value, forecast, the widest interval, if told the narrowest upon it, and marks. `reading` is told the place that is pointed at.
export function seriesChart(element, panel, { small, reading = null }) {
  const ends = panel.innerLower ? ["upper", "lower", "innerUpper", "innerLower"] : ["upper", "lower"];
  const data = () => [panel.rows, ...ends.map((end) => panel[end]), panel.actual, panel.predicted];
  const chart = create(
    element,
    {
      scales: { x: { time: false, range: rowRange }, y: { range: (self) => valueRange(panel, self.series[0].idxs ?? undefined) } },
      axes: axes(panel.timeOf, { small }),
      cursor: reading ? pointing(panel) : { show: false },
      series: [
        {},
        ...ends.map(() => line("band", 0)),
        line("actual", small ? 1.5 : 2),
        line("forecast", small ? 1.25 : 1.75),
      ],
      bands: [[1, 2], [3, 4]].slice(0, ends.length / 2).map((series) => ({ series, fill: colour("band") })),
      hooks: {
        draw: [(self) => drawMarks(self, panel)],
        setCursor: reading ? [(self) => reading(self.cursor.idx)] : [],
        setSelect: drawnOut(panel),
      },
    },
    data(),
  );
  return { chart, draw: () => chart.setData(data()) };
}

// Moving means of the absolute error: the forecast's and each method's.
export function errorChart(element, panel, methods, hooks = {}) {
  const order = [...methods.keys()].reverse(); // The forecast is the first of them, and lies on top.
  const data = () => [panel.rows, ...order.map((place) => panel.errors.map((row) => row[place] ?? null))];
  const chart = create(
    element,
    {
      scales: { x: { time: false, range: rowRange }, y: { range: (_, __, high) => [0, high > 0 ? high * 1.08 : 1] } },
      axes: axes(panel.timeOf),
      cursor: pointing(panel),
      hooks: { ...hooks, setSelect: drawnOut(panel) },
      series: [
        {},
        ...order
          .map((place) => methods[place])
          .map(({ colour: name, naive, forecast }) => line(name, forecast ? 2.5 : 1.5, naive ? { dash: [5, 4] } : {})),
      ],
    },
    data(),
  );
  return { chart, draw: () => chart.setData(data()) };
}

// The shares of the methods, one upon the other up to 1. The highest is drawn first, the others over it. Of weights of which some are
// negative, each one's share of what the others weigh.
export function weightChart(element, panel, experts, hooks = {}) {
  const data = () => {
    const columns = experts.map(() => []);
    for (const weights of panel.weights) {
      const shares = experts.map((_, place) => Math.max(weights[place] ?? 0, 0));
      const whole = Math.max(1, shares.reduce((sum, share) => sum + share, 0));
      let sum = 0;
      shares.forEach((share, place) => {
        sum += share / whole;
        columns[place].push(sum);
      });
    }
    return [panel.rows, ...columns.reverse()];
  };
  const chart = create(
    element,
    {
      scales: { x: { time: false, range: rowRange }, y: { range: [0, 1] } },
      axes: axes(panel.timeOf, { values: (value) => `${Math.round(value * 100)}%` }),
      cursor: pointing(panel),
      hooks: { ...hooks, setSelect: drawnOut(panel) },
      series: [
        {},
        ...experts
          .map((name, place) => line(expertColour(name, place), 0, { fill: colour(expertColour(name, place)) }))
          .reverse(),
      ],
    },
    data(),
  );
  return { chart, draw: () => chart.setData(data()) };
}

// Powers of ten alone, and not more than about four of them.
export function decades(_, __, low, high) {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  const stride = Math.max(1, Math.ceil((last - first) / 4));
  const powers = [];
  for (let power = first; power <= last; power += stride) powers.push(10 ** power);
  return powers;
}

const positive = (values) => values.map((value) => (value > 0 ? value : null));

// Places of figures in what is told of stability.
const EXPONENT = 0;
const UPDATE = 1;
const told = (panel, place) => panel.stability.map((figures) => figures[place]);

// Gradient and influence norm, and where it is told the size of updates over that of the weights, on an axis of powers of ten.
export function normChart(element, panel, hooks = {}) {
  const updates = () => (panel.stability ? [positive(told(panel, UPDATE))] : []);
  const data = () => [panel.rows, positive(panel.gradient), positive(panel.influence), ...updates()];
  const chart = create(
    element,
    {
      scales: {
        x: { time: false, range: rowRange },
        y: { distr: 3, range: (_, low, high) => (low == null ? [0.1, 10] : uPlot.rangeLog(low, high, 10, false)) },
      },
      axes: axes(panel.timeOf, { splits: decades }),
      cursor: pointing(panel),
      hooks: { ...hooks, setSelect: drawnOut(panel) },
      series: [{}, line("gradient", 1.25), line("influence", 2), ...updates().map(() => line("update", 1.25))],
    },
    data(),
  );
  return { chart, draw: () => chart.setData(data()) };
}

// The Lyapunov exponent, with 0 always in sight: below it the past fades.
export function exponentChart(element, panel) {
  const data = () => [panel.rows, panel.rows.map(() => 0), told(panel, EXPONENT)];
  const chart = create(
    element,
    {
      scales: {
        x: { time: false, range: rowRange },
        y: { range: (_, low, high) => { const room = 0.08 * (high - low || 1); return [low - room, high + room]; } },
      },
      axes: axes(panel.timeOf),
      cursor: pointing(panel),
      hooks: { setSelect: drawnOut(panel) },
      series: [{}, line("muted", 1, { dash: [4, 4] }), line("exponent", 2)],
    },
    data(),
  );
  return { chart, draw: () => chart.setData(data()) };
}

export const timeLabels = (panel) => (row) => {
  const place = row - (panel.rows[0] ?? 0);
  return Number.isInteger(place) && panel.times[place] != null ? timeText(panel.times[place]) : "";
};
