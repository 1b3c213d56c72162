// The page's sentences and numbers. What comes from the stream is text, and is only ever set as text.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const rounded = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const exact = new Intl.NumberFormat("en", { maximumSignificantDigits: 5 });

export const countText = (value) => whole.format(value);
export const rateText = (value) => (value >= 10 ? whole.format(value) : value.toFixed(1));
export const axisText = (value) =>
  value == null ? "" : Math.abs(value) < 0.01 && value !== 0 ? value.toExponential(0) : short.format(value);
const errorText = (value) => (Math.abs(value) >= 1000 ? whole : rounded).format(value);
export const valueText = (value) => (value == null ? "–" : exact.format(value));

// "2014-07-01 00:30:00" becomes "07-01 00:30"; a number of seconds or milliseconds likewise.
export function timeText(text) {
  const written = /^\d{4}-(\d\d-\d\d)[T ](\d\d:\d\d)/.exec(text);
  if (written) return `${written[1]} ${written[2]}`;
  if (/^\d+(\.\d+)?$/.test(text)) {
    const number = Number(text);
    const date = new Date(number >= 1e11 ? number : number * 1000);
    if (!Number.isNaN(date.getTime())) return date.toISOString().slice(5, 16).replace("T", " ");
  }
  return text;
}

export const forecastText = (horizon) =>
  `what was forecast for it ${horizon === 1 ? "one row" : `${countText(horizon)} rows`} before`;

export const expertText = (name) =>
  ({
    last_value: "repeat the last value",
    seasonal: "repeat the last season",
    linear: "linear (RLS)",
    linear_quick: "linear of few lags",
    linear_long: "linear of many lags",
    recurrent: "recurrent (RTRL)",
  })[name] ?? name;

export function skillBadge(skill) {
  if (skill == null) return { text: "warming up", kind: "none" };
  const percent = Math.round(Math.abs(skill) * 100);
  if (percent === 0) return { text: "error as naive", kind: "none" };
  return skill > 0
    ? { text: `${percent}% less error`, kind: "good" }
    : { text: `${percent}% more error`, kind: "bad" };
}

export function skillTotal(skill) {
  if (skill == null) return "–";
  const percent = Math.round(skill * 100);
  return percent === 0 ? "±0%" : percent > 0 ? `−${percent}%` : `+${-percent}%`;
}

const overText = (span, rows) =>
  rows < span ? `Over its first ${countText(rows)} rows` : `Over its last ${countText(span)} or so rows`;

export function errorSentence(error, naive, name, span, rows, over = overText(span, rows)) {
  if (error == null || naive == null) return "Its first labels have not arrived yet.";
  const skill = naive > 0 ? 1 - error / naive : 0;
  const verdict = Math.round(Math.abs(skill) * 100) === 0
    ? "as much as"
    : `${Math.round(Math.abs(skill) * 100)}% ${skill > 0 ? "less" : "more"} than`;
  return `${over} the forecast was wrong by ${errorText(error)} on average: ${verdict} the best naive forecast (${expertText(name)}: ${errorText(naive)}).`;
}

// Where a change of the state fades by its exponent, a hundredth is left of it after so many rows.
export function stabilityText(figures) {
  if (!figures || figures.every((figure) => figure === 0)) return "No recurrent method is in this model.";
  const [exponent, , dead, factor, rank, condition] = figures;
  const memory = exponent < 0 ? `It remembers some ${countText(Math.log(0.01) / exponent)} rows` : "Its state is chaotic";
  const looked = rank > 0
    ? `; its units say ${rounded.format(rank)} different things, and its readout is conditioned as 10^${rounded.format(condition)}`
    : "";
  const units = dead > 0 ? ` ${Math.round(100 * dead)}% of its units are dead.` : "";
  const slower = factor < 1 ? ` A guard has slowed its learning to ${rounded.format(100 * factor)}%.` : "";
  return `${memory}${looked}.${units}${slower}`;
}

// Who answers, and how the other one stands: evidence of 1 says nothing for or against it.
export function shadowText(shadow) {
  if (!shadow) return "";
  const [answers, evidence] = shadow;
  return `The ${answers} answers; evidence that the ${answers === "model" ? "challenger" : "model"} is better: ${rounded.format(evidence)}.`;
}

function ago(seconds) {
  const [value, unit] = seconds < 90 ? [seconds, "s"] : seconds < 5400 ? [seconds / 60, "min"] : [seconds / 3600, "h"];
  return `${Math.max(0, Math.round(value))}\u00a0${unit}`;
}

export function workerSentence(worker, now) {
  const since = worker.since == null ? "" : ` for ${ago(now - worker.since)}`;
  if (worker.state === "running") return `Worker running, process ${worker.pid}${since}`;
  if (worker.state === "down") return `Worker down${since}; it is being restarted`;
  return `Worker starting${worker.pid == null ? "" : `, process ${worker.pid}`}`;
}

export function workerHistory(worker, repeated) {
  const parts = [];
  if (worker.restarts > 0) {
    parts.push(worker.restarts === 1 ? "Restarted once." : `Restarted ${countText(worker.restarts)} times.`);
    if (worker.recovered_offset != null) {
      parts.push(`It went on from its checkpoint at offset ${countText(worker.recovered_offset)}.`);
    }
  }
  if (repeated > 0) {
    parts.push(`${countText(repeated)} predictions came again, were known by their id and are counted once.`);
  }
  if (worker.detail) parts.push(worker.detail);
  return parts.join(" ");
}
