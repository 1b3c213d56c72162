// The live page: takes the server's events, keeps the last points of each series, and draws them.

import { errorChart, expertColour, exponentChart, normChart, seriesChart, timeLabels, weightChart } from "./charts.js";
import * as words from "./words.js";

const SILENCE_MS = 5000; // The server sends something each second; after this long it is taken for gone.
const RETRY_MS = 1000;
const COLUMNS = ["rows", "times", "actual", "predicted", "lower", "upper", "innerLower", "innerUpper", "anomaly", "marks", "gradient", "influence", "errors", "weights", "stability", "shadow"];

const $ = (id) => document.getElementById(id);
let panels = new Map();
let state = null;
let chosen = null;
let detail = null;
let connected = false;
let heardAt = 0;
let drawing = false;

// What is known ---------------------------------------------------------------------------------

function newPanel(name) {
  const panel = { name, card: null, small: null, changed: true };
  for (const column of COLUMNS) panel[column] = [];
  panel.timeOf = timeLabels(panel);
  return panel;
}

function take(update) {
  state = update;
  for (const { index, name, points } of update.panels) {
    if (!panels.has(index)) panels.set(index, newPanel(name));
    const panel = panels.get(index);
    panel.changed = true;
    for (const point of points) {
      const last = panel.rows.at(-1);
      if (last != null && point[0] !== last + 1) for (const column of COLUMNS) panel[column].length = 0;
      COLUMNS.forEach((column, place) => panel[column].push(point[place]));
    }
    const excess = panel.rows.length - update.points_max;
    if (excess > 0) for (const column of COLUMNS) panel[column].splice(0, excess);
  }
  schedule();
}

function forget() {
  for (const panel of panels.values()) panel.small?.chart.destroy();
  panels = new Map();
  $("panels").replaceChildren();
  closeDetail();
}

// How the newest errors compare: the forecast's, and the smallest of a method that learns nothing.
function standing(panel) {
  const errors = panel.errors.at(-1) ?? [];
  let best = null;
  for (const name of state.naive) {
    const error = errors[1 + state.experts.indexOf(name)];
    if (error != null && (best == null || error < best.error)) best = { name, error };
  }
  if (errors[0] == null || best == null) return { error: errors[0] ?? null, best, skill: null };
  return { error: errors[0], best, skill: best.error > 0 ? 1 - errors[0] / best.error : 0 };
}

// The cards -------------------------------------------------------------------------------------

function makeCard(index, panel) {
  const card = document.createElement("article");
  card.className = "card";
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = panel.name;
  button.title = panel.name;
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    choose(index);
    const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
    if ($("detail").getBoundingClientRect().top > innerHeight - 100) $("detail").scrollIntoView({ behavior });
  });
  const heading = document.createElement("h3");
  heading.append(button);
  const [answers, badge] = ["answers", "badge"].map((name) => {
    const element = document.createElement("span");
    element.className = name;
    return element;
  });
  const chart = document.createElement("div");
  chart.className = "chart";
  chart.setAttribute("role", "img");
  chart.setAttribute("aria-label", `Values and forecasts of ${panel.name}`);
  heading.append(answers);
  card.append(heading, badge, chart);
  $("panels").append(card);
  panel.card = { card, button, answers, badge, chart };
  panel.small = seriesChart(chart, panel, { small: true });
}

function drawCard(panel) {
  const { text, kind } = words.skillBadge(standing(panel).skill);
  panel.card.badge.textContent = text;
  panel.card.badge.dataset.kind = kind;
  panel.card.answers.textContent = panel.shadow.at(-1)?.[0] === "challenger" ? "by the challenger" : "";
  panel.small.draw();
}

// The chosen series -----------------------------------------------------------------------------

function choose(index) {
  chosen = index;
  closeDetail();
  for (const [other, { card }] of panels) {
    card?.card.classList.toggle("chosen", other === index);
    card?.button.setAttribute("aria-pressed", String(other === index));
  }
  schedule();
}

function closeDetail() {
  for (const { chart } of detail?.charts ?? []) chart.destroy();
  detail = null;
}

function openDetail(panel) {
  $("detail").hidden = false;
  $("detail-name").textContent = panel.name;
  const methods = [
    { name: "forecast", text: "the forecast", colour: "forecast", forecast: true },
    ...state.experts.map((name, place) => ({
      name,
      text: words.expertText(name),
      colour: expertColour(name, place),
      naive: state.naive.includes(name),
    })),
  ];
  makeKey($("error-key"), methods, "line");
  makeKey($("weight-key"), methods.slice(1), "block");
  $("error-caption").textContent =
    `Mean absolute error, in the series' own unit, with a memory of ${state.error_span} rows. Dashed: methods that learn nothing.`;
  detail = {
    panel,
    experts: state.experts.join(),
    place: null,
    charts: [
      seriesChart($("detail-chart"), panel, { small: false, reading: (place) => read(panel, place) }),
      errorChart($("error-chart"), panel, methods),
      weightChart($("weight-chart"), panel, state.experts),
      normChart($("norm-chart"), panel),
      exponentChart($("exponent-chart"), panel),
    ],
  };
}

function makeKey(list, methods, form) {
  list.replaceChildren(
    ...methods.map(({ text, colour, naive }) => {
      const item = document.createElement("li");
      const swatch = document.createElement("i");
      swatch.className = `${form} ${colour}${naive && form === "line" ? " dashed" : ""}`;
      item.append(swatch, text);
      return item;
    }),
  );
}

function read(panel, place) {
  const i = place ?? panel.rows.length - 1;
  if (panel.rows[i] == null) return;
  const forecast = panel.predicted[i] == null
    ? "no forecast yet"
    : `forecast ${words.valueText(panel.predicted[i])} (${words.valueText(panel.lower[i])} to ${words.valueText(panel.upper[i])})`;
  const came = panel.actual[i] == null ? "no value came" : `came ${words.valueText(panel.actual[i])}`;
  $("detail-reading").textContent = `${panel.times[i]}: ${came}, ${forecast}`;
}

function drawDetail() {
  const panel = panels.get(chosen);
  if (!panel) return;
  if (detail?.panel !== panel || detail.experts !== state.experts.join()) {
    closeDetail();
    openDetail(panel);
  }
  const { error, best, skill } = standing(panel);
  $("detail-sentence").textContent = words.errorSentence(error, best?.error, best?.name, state.error_span, panel.rows.at(-1) + 1);
  $("detail-sentence").dataset.kind = words.skillBadge(skill).kind;
  setText($("shadow-sentence"), words.shadowText(panel.shadow.at(-1)));
  setText($("stability-reading"), words.stabilityText(panel.stability.at(-1)));
  for (const { draw } of detail.charts) draw();
  read(panel, detail.charts[0].chart.cursor.idx);
}

// The head --------------------------------------------------------------------------------------

function drawHead() {
  $("promoted-key").hidden = [...panels.values()].every((panel) => panel.shadow.at(-1) == null);
  if (state.horizon) setText($("forecast-key"), words.forecastText(state.horizon));
  $("rate").textContent = words.rateText(state.rate);
  $("events").textContent = words.countText(state.events);
  $("series").textContent = words.countText(state.series);
  const skills = [...panels.values()].map((panel) => standing(panel).skill).filter((skill) => skill != null);
  const mean = skills.length ? skills.reduce((sum, skill) => sum + skill, 0) / skills.length : null;
  $("skill").textContent = words.skillTotal(mean);
  $("skill").dataset.kind = words.skillBadge(mean).kind;
}

function drawWorker() {
  if (!connected || !state) {
    $("worker").dataset.state = "lost";
    $("worker-state").textContent = state ? "The demo does not answer; trying again" : "Connecting…";
    $("kill").hidden = true;
    return;
  }
  const { worker } = state;
  $("worker").dataset.state = worker.state;
  setText($("worker-state"), words.workerSentence(worker, state.now));
  setText($("worker-history"), words.workerHistory(worker, state.repeated));
  $("kill").hidden = worker.state !== "running" || worker.pid == null;
  setText($("kill-command"), `kill -9 ${worker.pid}`);
}

// A screen reader speaks what changes, so nothing is set that is the same.
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Drawing ---------------------------------------------------------------------------------------

function schedule() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(draw);
}

function draw() {
  drawing = false;
  drawWorker();
  if (!state) return;
  $("empty").hidden = panels.size > 0;
  for (const [index, panel] of panels) {
    if (!panel.card) makeCard(index, panel);
    if (panel.changed) drawCard(panel);
  }
  if (panels.size && !panels.has(chosen)) choose(panels.keys().next().value);
  if (panels.get(chosen)?.changed || !detail) drawDetail();
  for (const panel of panels.values()) panel.changed = false;
  drawHead();
}

// Colours are fixed when a chart is made, and so is its size; both are made anew when they change.
function redraw() {
  for (const panel of panels.values()) {
    if (!panel.card) continue;
    panel.small.chart.destroy();
    panel.small = seriesChart(panel.card.chart, panel, { small: true });
    panel.changed = true;
  }
  closeDetail();
  schedule();
}

let resizing = 0;
let width = document.documentElement.clientWidth;
window.addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => {
    if (document.documentElement.clientWidth === width) return;
    width = document.documentElement.clientWidth;
    redraw();
  }, 150);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

// The connection --------------------------------------------------------------------------------

let source = null;

function connect() {
  source?.close();
  source = new EventSource("events");
  heardAt = performance.now();
  source.addEventListener("snapshot", (event) => {
    forget();
    hear(event);
  });
  source.addEventListener("update", hear);
  source.addEventListener("error", () => {
    connected = false;
    schedule();
  });
}

function hear(event) {
  connected = true;
  heardAt = performance.now();
  take(JSON.parse(event.data));
}

// A refused or silent connection is not tried again by the browser itself.
setInterval(() => {
  const silent = performance.now() - heardAt > SILENCE_MS;
  if (silent) connected = false;
  if (silent || source.readyState === EventSource.CLOSED) connect();
  if (!connected) schedule();
}, RETRY_MS);

if (navigator.clipboard) {
  $("copy").hidden = false;
  $("copy").addEventListener("click", async () => {
    await navigator.clipboard.writeText($("kill-command").textContent);
    $("copy").textContent = "Copied";
    setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
  });
}

connect();
