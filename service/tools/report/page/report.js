// The report of a replay: reads the data that stand in the page, and draws the series and the horizon that are chosen.

import { ANOMALY, DRIFT, GUARD, PROMOTED, RESTART, seriesChart } from "./charts.js";
import { FIGURES, makeFigure, methodsOf } from "./figures.js";
import { clockText, duelText, fillFacts, fillMethods, fillMoments, fillOverview, fillScores, valueTextOf } from "./facts.js";
import { countText, errorSentence, forecastText } from "./words.js";

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const SPANS = [50, 200, 1000, 5000];
const SPAN = 200; // As the live page's.
const RINGS_MAX = 60; // More of them hide what they are on.
const SEEN_MIN = 20; // Rows; closer there is nothing more to see.

const chosen = { series: 0, horizon: data.horizons[0], span: SPAN };
let view = null;
let charts = [];
let seen = [0, 1];

// What is chosen --------------------------------------------------------------------------------

// The first row of each bucket, and its time. Where a bucket holds many rows, its lowest and highest are two points.
function pointsOf({ points, rows, warmup }, horizon) {
  const { width, low, high } = points;
  const forecast = points.horizons[horizon];
  const spread = (lower, upper) => (width === 1 ? lower : lower.flatMap((value, i) => [value, upper[i]]));
  const twice = (column) => spread(column, column);
  const starts = low.map((_, i) => i * width);
  const marks = low.map(() => 0);
  for (const [places, bit] of [[points.drift, DRIFT], [points.guard, GUARD], [points.promoted, PROMOTED]]) {
    for (const place of places) marks[place] |= bit;
  }
  // The dashed line that is the worker's return on the live page says here from where on rows are scored.
  if (warmup > 0 && warmup < rows) marks[Math.floor(warmup / width)] |= RESTART;
  return {
    rows: spread(starts, starts.map((row) => Math.min(row + width / 2, rows - 0.5))),
    actual: spread(low, high),
    predicted: spread(forecast.predicted, forecast.predicted_high),
    lower: twice(forecast.lower),
    upper: twice(forecast.upper),
    anomaly: spread(...ringed(points, forecast)),
    marks: spread(marks, low.map(() => 0)),
  };
}

// The scores, and of buckets those of their lowest and of their highest value: the one that is further from the forecast.
function ringed({ width, low, high, anomaly }, { predicted, predicted_high: above }) {
  if (width === 1) return [anomaly];
  const up = low.map((value, i) => high[i] - above[i] >= predicted[i] - value);
  return [anomaly.map((score, i) => (up[i] ? null : score)), anomaly.map((score, i) => (up[i] ? score : null))];
}

// From which score on anomalies are ringed, so that not too many of those that are seen are.
function ringsFrom({ rows, anomaly }, [low, high]) {
  const scores = anomaly.filter((score, i) => score >= ANOMALY && rows[i] >= low && rows[i] <= high);
  return scores.length > RINGS_MAX ? scores.sort((a, b) => b - a)[RINGS_MAX - 1] : ANOMALY;
}

function timesOf({ points }) {
  let time = points.start;
  return points.low.map((_, i) => {
    if (i > 0) time += Array.isArray(points.steps) ? points.steps[i - 1] : points.steps;
    return time;
  });
}

function makeView() {
  const series = data.series[chosen.series];
  const { width } = series.figures;
  const times = timesOf(series);
  const timeAt = (row) => times[Math.min(Math.floor(row / series.points.width), times.length - 1)];
  const timeOf = (row) => (Number.isInteger(row) && row >= 0 && row < series.rows ? clockText(timeAt(row), timeAt(seen[1]) - timeAt(seen[0])) : "");
  const scores = series.scores.horizons[chosen.horizon];
  const figures = { ...series.figures, ...series.figures.horizons[chosen.horizon], width: series.figures.horizons[chosen.horizon].width };
  return {
    data,
    series,
    scores,
    figures,
    width,
    times,
    timeAt,
    valueText: valueTextOf(series),
    methods: methodsOf(data, scores),
    buckets: Math.max(1, Math.round(chosen.span / width)),
    points: { ...pointsOf(series, chosen.horizon), timeOf, zoom: see },
    panel: { rows: figures.n.map((_, i) => i * width), timeOf, zoom: see },
  };
}

function show() {
  view = makeView();
  const { series, scores } = view;
  $("name").textContent = series.name;
  const naive = data.naive
    .map((name) => ({ name, error: scores.experts[name].mae }))
    .filter(({ error }) => error != null)
    .sort((a, b) => a.error - b.error)[0];
  $("sentence").textContent = scores.n
    ? errorSentence(scores.mae, naive?.error, naive?.name, scores.n, scores.n, "Over all scored rows")
    : `No row was scored ${countText(chosen.horizon)} ahead: the series is too short, or all of it is left out.`;
  $("forecast-key").textContent = forecastText(chosen.horizon);
  $("band-key").textContent = `range that should hold ${Math.round(100 * data.level)}% of the values`;
  $("scored-key").hidden = series.warmup === 0;
  $("guard-key").hidden = series.points.guard.length === 0;
  $("promoted-key").hidden = series.points.promoted.length === 0;
  $("duel").textContent = duelText(data, series);
  const thinned = [];
  if (series.points.width > 1) thinned.push(`Too many rows to keep each: ${countText(series.points.width)} rows are drawn as their lowest and highest value.`);
  if (view.width > 1) thinned.push(`Below, each point stands for ${countText(view.width)} rows: errors, shares and widths are means, all else is the highest.`);
  $("thinned").textContent = thinned.join(" ");
  $("thinned").hidden = thinned.length === 0;
  fillScores(data, series, chosen.horizon);
  fillMethods(data, view.scores, view.methods, chosen.horizon);
  fillMoments(series, data.horizons[0], view.valueText, (row) => {
    const half = Math.min(100, series.rows / 2);
    see([row - half, row + half]);
    $("values").focus();
    $("values").scrollIntoView({ block: "center" });
  });
  for (const row of $("overview").querySelectorAll("tr[data-place]")) row.classList.toggle("chosen", row.dataset.place === String(chosen.series));
  draw();
}

// The charts ------------------------------------------------------------------------------------

function draw() {
  for (const chart of charts) chart.destroy();
  $("values").replaceChildren();
  const { chart } = seriesChart($("values"), view.points, { small: false, reading: read });
  $("values").setAttribute("aria-label", `Values and forecasts of ${view.series.name}`);
  const figures = FIGURES.filter(({ shown }) => !shown || shown(view)).map((figure) => makeFigure(figure, view));
  $("figures").replaceChildren(...figures.map(({ element }) => element));
  charts = [chart, ...figures.map((figure) => figure.draw())];
  see(seen);
}

// See some rows, or with null all of them.
function see(range) {
  const last = Math.max(view.series.rows - 1, 1);
  let [low, high] = range ?? [0, last];
  const length = Math.min(Math.max(high - low, SEEN_MIN), last);
  low = Math.min(Math.max((low + high - length) / 2, 0), last - length);
  high = low + length;
  seen = [low, high];
  view.points.ringsFrom = ringsFrom(view.points, seen);
  $("anomaly-key").textContent = view.points.ringsFrom > ANOMALY ? "the rarest anomalies seen here" : "anomaly: one row in 200";
  for (const chart of charts) chart.batch(() => chart.setScale("x", { min: low, max: high }));
  const all = length === last;
  $("seen").textContent = all
    ? `all ${countText(view.series.rows)} rows`
    : `rows ${countText(Math.round(low))} to ${countText(Math.round(high))} of ${countText(view.series.rows)}`;
  $("back").disabled = low <= 0;
  $("on").disabled = high >= last;
  $("out").disabled = $("whole").disabled = all;
  $("in").disabled = length <= SEEN_MIN;
  read(null);
}

function zoom(factor) {
  const [low, high] = seen;
  const [middle, half] = [(low + high) / 2, ((high - low) / 2) * factor];
  see([middle - half, middle + half]);
}

function move(share) {
  const [low, high] = seen;
  const [last, length] = [Math.max(view.series.rows - 1, 1), high - low];
  const start = Math.min(Math.max(low + share * length, 0), last - length);
  see([start, start + length]);
}

function read(place) {
  const { points, series, valueText } = view;
  const i = place ?? points.rows.findLastIndex((row) => row <= seen[1]);
  if (points.rows[i] == null) return;
  const forecast = points.predicted[i] == null
    ? "no forecast"
    : `forecast ${valueText(points.predicted[i])} (${valueText(points.lower[i])} to ${valueText(points.upper[i])})`;
  const anomaly = series.points.anomaly[Math.floor(points.rows[i] / series.points.width)];
  const score = anomaly == null ? "" : `, anomaly score ${anomaly.toFixed(3)}`;
  $("reading").textContent =
    `Row ${countText(Math.floor(points.rows[i]))}, ${clockText(view.timeAt(points.rows[i]), 0)}: came ${valueText(points.actual[i])}, ${forecast}${score}`;
}

// The controls ----------------------------------------------------------------------------------

function fillSelect(select, options, value, change) {
  select.replaceChildren(...options.map(([key, text]) => new Option(text, key, false, key === value)));
  select.addEventListener("change", () => change(Number(select.value)));
}

function choose(place) {
  chosen.series = place;
  $("series").value = place;
  seen = [0, data.series[place].rows];
  const { width } = data.series[place].figures;
  const spans = SPANS.filter((span) => span >= width && span < data.series[place].rows);
  if (!spans.length) spans.push(Math.max(width, SPAN));
  if (!spans.includes(chosen.span)) chosen.span = spans.find((span) => span >= SPAN) ?? spans.at(-1);
  $("span").replaceChildren(...spans.map((span) => new Option(`${countText(span)} rows`, span, false, span === chosen.span)));
  show();
}

fillFacts(data);
fillOverview(data, choose);
fillSelect($("series"), data.series.map(({ name }, place) => [place, name]), 0, choose);
fillSelect($("horizon"), data.horizons.map((h) => [h, h === 1 ? "1 row" : `${countText(h)} rows`]), chosen.horizon, (h) => {
  chosen.horizon = h;
  show();
});
$("span").addEventListener("change", () => {
  chosen.span = Number($("span").value);
  show();
});
$("series-label").hidden = data.series.length < 2;
$("controls").addEventListener("submit", (event) => event.preventDefault());

const ACTIONS = {
  ArrowLeft: () => move(-0.25),
  ArrowRight: () => move(0.25),
  "+": () => zoom(0.5),
  "=": () => zoom(0.5),
  "-": () => zoom(2),
  0: () => see(null),
};
for (const [id, key] of [["back", "ArrowLeft"], ["on", "ArrowRight"], ["in", "+"], ["out", "-"], ["whole", "0"]]) {
  $(id).addEventListener("click", ACTIONS[key]);
}
$("values").addEventListener("keydown", (event) => {
  const action = ACTIONS[event.key];
  if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  action();
});

let resizing = 0;
let width = document.documentElement.clientWidth;
window.addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => {
    if (document.documentElement.clientWidth === width) return;
    width = document.documentElement.clientWidth;
    draw();
  }, 150);
});
// Colours are fixed when a chart is made.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

choose(0);
