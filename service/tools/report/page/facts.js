// The report's head and tables. All that comes from the data is set as text.

import { countText, expertText, skillBadge, skillTotal, valueText } from "./words.js";

const byId = (id) => document.getElementById(id);
const share = (value) => (value == null ? "–" : `${(100 * value).toFixed(1)}%`);
const signed = (value) => (value == null ? "–" : `${value >= 0 ? "+" : "−"}${Math.abs(100 * value).toFixed(1)}%`);
const few = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

function figureText(value) {
  if (value == null) return "–";
  const size = Math.abs(value);
  return size !== 0 && (size >= 1e9 || size < 1e-3) ? value.toExponential(3) : few.format(value);
}

export const MAKE_COLOURS = ["linear", "promoted"];
const FILES_MAX = 12; // Those of which rows were skipped come first.
const DAY = 86_400_000;

// A moment as long as what is seen needs it; with a span of 0 the whole of it.
export function clockText(milliseconds, span) {
  const text = new Date(milliseconds).toISOString();
  if (span > 700 * DAY) return text.slice(0, 7);
  if (span > 12 * DAY) return text.slice(0, 10);
  if (span > 0) return span > 7_200_000 ? text.slice(5, 16).replace("T", " ") : text.slice(11, 19);
  return text.slice(0, 19).replace("T", " ");
}

// How values of a series are written: to a ten-thousandth of their range, or to five digits where that says nothing.
export function valueTextOf({ points }) {
  const high = points.high ?? points.low;
  const spread = high.reduce((a, b) => Math.max(a, b)) - points.low.reduce((a, b) => Math.min(a, b));
  const decimals = spread > 0 ? Math.max(4 - Math.floor(Math.log10(spread)), 0) : Infinity;
  if (decimals > 12) return valueText;
  const format = new Intl.NumberFormat("en", { maximumFractionDigits: decimals });
  return (value) => (value == null ? "–" : format.format(value));
}

// 1 - mse / mse of repeating the last value.
function skillOf(scores, data, mse = scores.mse) {
  const baseline = scores.experts[data.baseline]?.mse;
  return baseline && mse != null ? 1 - mse / baseline : null;
}

function add(list, term, ...texts) {
  const pair = document.createElement("div");
  const [name, value] = [document.createElement("dt"), document.createElement("dd")];
  name.textContent = term;
  texts.forEach((text, at) => {
    if (at > 0) value.append(document.createElement("br"));
    const line = document.createElement(text.code ? "code" : "span");
    line.textContent = text.code ?? text.bad ?? text;
    if (text.bad) line.className = "bad";
    value.append(line);
  });
  pair.append(name, value);
  list.append(pair);
}

function addTotal(term, text, kind) {
  const pair = document.createElement("div");
  const [name, value] = [document.createElement("dt"), document.createElement("dd")];
  name.textContent = term;
  value.textContent = text;
  if (kind) value.dataset.kind = kind;
  pair.append(name, value);
  byId("totals").append(pair);
}

const rowsText = (count) => `${countText(count)} ${count === 1 ? "row" : "rows"}`;

export function fillFacts(data) {
  const known = data.overview.map(({ skill }) => skill).filter((skill) => skill != null);
  const skill = known.length ? known.reduce((sum, one) => sum + one, 0) / known.length : null;
  const skipped = data.files.flatMap(({ skipped: reasons }) => reasons).reduce((sum, { count }) => sum + count, 0);
  addTotal("rows learned", countText(data.files.reduce((sum, { used }) => sum + used, 0)));
  addTotal("rows skipped", countText(skipped), skipped ? "bad" : undefined);
  addTotal("series", countText(data.series_all));
  addTotal("MSE against last value", skillTotal(skill), skillBadge(skill).kind);

  const about = byId("about");
  const names = data.files.map(({ label }) => label);
  document.title = `Onward: replay of ${names.slice(0, 3).join(", ")}${names.length > 3 ? " and more" : ""}`;
  add(about, "Made by", `Onward ${data.version}`, ...(data.command ? [{ code: data.command }] : []));
  const files = [...data.files].sort((a, b) => (b.skipped.length > 0) - (a.skipped.length > 0));
  const lines = files.slice(0, FILES_MAX).flatMap(({ label, used, skipped: reasons }) => [
    `${label}: ${rowsText(used)} learned${reasons.length ? "" : ", none skipped"}`,
    ...reasons.map(({ reason, count, first_line: line }) => ({ bad: `${rowsText(count)} of it skipped, first at line ${countText(line)}: ${reason}` })),
  ]);
  if (files.length > FILES_MAX) lines.push(`and ${countText(files.length - FILES_MAX)} more`);
  add(about, files.length > 1 ? "Files" : "File", ...lines);
  const { specification, profile, version } = data.model;
  add(about, "Model", `profile ${profile}, make ${version}: ${specification.experts.map(expertText).join(", ")}; ${rowsAhead(data.horizons_all)} ahead`);
  if (data.challenger) {
    const { version: make, changes, promotion, margin } = data.challenger;
    const changed = Object.entries(changes).map(([name, value]) => `${name.replaceAll("_", " ")} ${Array.isArray(value) ? value.map(expertText).join(", ") : value}`);
    const when = promotion === "rule" ? `promoted where it saves ${share(margin)} of the error` : "not promoted but by command";
    add(about, "Challenger", `make ${make}, with ${changed.join("; ")}; ${when}`);
  }
  const shown = data.series.length;
  add(about, "Time", spanText(data.series));
  if (data.series_all > shown) add(about, "Charts", `of the first ${countText(shown)} of ${countText(data.series_all)} series`);
  if (data.horizons_all.length > data.horizons.length) {
    add(about, "Horizons", `charts of ${data.horizons.join(", ")}; the tables have all ${countText(data.horizons_all.length)}`);
  }
  for (const [name, value] of Object.entries(specification)) {
    const text = Array.isArray(value) ? value.join(", ") || "none" : typeof value === "boolean" ? (value ? "yes" : "no") : String(value);
    add(byId("specification"), name.replaceAll("_", " "), text);
  }
}

// The earliest and the latest time of the series with charts.
function spanText(series) {
  const first = Math.min(...series.map(({ points }) => points.start));
  return `${clockText(first, 0)} to ${clockText(Math.max(...series.map(({ end }) => end)), 0)}`;
}

// A time as it stands in the file; a number of seconds or milliseconds as a date.
function momentText(text) {
  const number = /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : NaN;
  return Number.isNaN(number) ? text : clockText(Math.abs(number) >= 1e11 ? number : 1000 * number, 0);
}

const rowsAhead = (horizons) => (horizons.length === 1 ? rowsText(horizons[0]) : `${horizons.join(", ")} rows`);

// A table from its columns: { head, cell(row) -> text or element, text: set at the left, kind(row) }.
function fill(table, columns, rows, mark = () => {}) {
  const head = document.createElement("tr");
  for (const { head: text, text: left } of columns) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = text;
    if (left) cell.className = "text";
    head.append(cell);
  }
  const [top, body] = [document.createElement("thead"), document.createElement("tbody")];
  top.append(head);
  for (const row of rows) {
    const line = document.createElement("tr");
    for (const { cell: make, text: left, kind } of columns) {
      const cell = document.createElement("td");
      cell.append(make(row));
      if (left) cell.className = `text ${left}`;
      if (kind && kind(row)) cell.dataset.kind = kind(row);
      line.append(cell);
    }
    mark(line, row);
    body.append(line);
  }
  table.replaceChildren(top, body);
}

function button(text, press) {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = text;
  element.addEventListener("click", press);
  return element;
}

const skillKind = (skill) => (skill == null ? null : skillBadge(skill).kind);

const coverages = ({ levels }) =>
  levels.map((level) => ({ head: `in ${figureText(100 * level)}% range`, cell: ({ coverage }) => share(coverage[level]) }));

export function fillOverview(data, choose) {
  const lines = data.overview;
  byId("all").hidden = lines.length < 2;
  const which = lines.length < data.series_all ? `The ${countText(lines.length)} worst of ${countText(data.series_all)} series` : "All series";
  byId("all-title").textContent = `${which}, ${rowsAhead(data.horizons_all.slice(0, 1))} ahead`;
  const columns = [
    { head: "series", text: "name", cell: (one) => (one.shown == null ? one.name : button(one.name, () => choose(one.shown))) },
    { head: "rows", cell: ({ events }) => countText(events) },
    { head: "MSE", cell: ({ mse }) => figureText(mse) },
    { head: "MAE", cell: ({ mae }) => figureText(mae) },
    { head: "skill", cell: ({ skill }) => signed(skill), kind: ({ skill }) => skillKind(skill) },
    ...coverages(data),
  ];
  fill(byId("overview"), columns, lines, (line, one) => {
    if (one.shown != null) line.dataset.place = one.shown;
  });
}

// Which of the two makes answered, and from when on.
export function duelText(data, series) {
  if (!data.challenger) return "";
  const [first, ...more] = series.promotions.map(({ row, time, place }) => `the ${place} answers from row ${countText(row)} on (${momentText(time)})`);
  if (!first) return "The model answered to the end: its challenger did not prove better.";
  return `${first[0].toUpperCase()}${[first, ...more].join("; then ").slice(1)}.`;
}

export function fillScores(data, series, chosen) {
  const rows = Object.entries(series.scores.horizons).map(([horizon, one]) => ({ horizon, skill: skillOf(one, data), ...one }));
  const columns = [
    { head: "rows ahead", cell: ({ horizon }) => horizon },
    { head: "scored", cell: ({ n }) => countText(n) },
    { head: "MSE", cell: ({ mse }) => figureText(mse) },
    { head: "MAE", cell: ({ mae }) => figureText(mae) },
    { head: "skill", cell: ({ skill }) => signed(skill), kind: ({ skill }) => skillKind(skill) },
    ...coverages(data),
  ];
  fill(byId("scores"), columns, rows, (line, { horizon }) => line.classList.toggle("chosen", Number(horizon) === chosen));
  const unit = data.standardised ? "Errors are divided by the standard deviation of the series' first rows" : "Errors are in the series' own unit";
  const from = series.warmup > 0 ? `; the first ${rowsText(series.warmup)} are not scored` : "";
  byId("scores-note").textContent = `${unit}${from}. Skill is 1 − MSE over that of repeating the last value; of the values, so many should be in a range as its name says.`;
}

export function fillMethods(data, scores, methods, horizon) {
  byId("methods-title").textContent = `The mixture and its experts, ${rowsAhead([horizon])} ahead`;
  const rows = methods.map((method) => ({ ...method, ...(method.forecast ? scores : scores.experts[method.name]) }));
  const makes = data.makes.map((name, place) => ({ text: `the ${name}, had it always answered`, colour: MAKE_COLOURS[place], ...scores.makes[name] }));
  rows.splice(1, 0, ...makes);
  const named = ({ text, colour }) => {
    const [holder, swatch] = [document.createElement("span"), document.createElement("i")];
    swatch.className = colour;
    holder.append(swatch, text);
    return holder;
  };
  const columns = [
    { head: "method", text: "method", cell: named },
    { head: "MSE", cell: ({ mse }) => figureText(mse) },
    { head: "MAE", cell: ({ mae }) => figureText(mae) },
    { head: "skill", cell: ({ mse }) => signed(skillOf(scores, data, mse)), kind: ({ mse }) => skillKind(skillOf(scores, data, mse)) },
  ];
  fill(byId("methods"), columns, rows, (line, { forecast }) => line.classList.toggle("own", forecast === true));
}

export function fillMoments(series, horizon, valueText, go) {
  const columns = [
    { head: "time", text: "time", cell: ({ time, row }) => button(momentText(time), () => go(row)) },
    { head: "row", cell: ({ row }) => countText(row) },
    { head: "came", cell: ({ value }) => valueText(value) },
    { head: "forecast", cell: ({ predicted }) => valueText(predicted) },
    { head: "from", cell: ({ lower }) => valueText(lower) },
    { head: "to", cell: ({ upper }) => valueText(upper) },
    { head: "score", cell: ({ anomaly_score: score }) => score.toFixed(4) },
    { head: "error in steps", cell: ({ error_scales: scales }) => figureText(scales) },
  ];
  fill(byId("moments"), columns, series.moments);
  byId("moments-note").textContent = series.moments.length
    ? `By anomaly score, ${rowsAhead([horizon])} ahead; then by the error in units of the series' usual step from row to row. Press a time to see it.`
    : "No row has an anomaly score yet.";
}
