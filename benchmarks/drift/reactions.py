"""What a model gains by reacting to drift: the error of the default forecaster on series that change, and on some that do not.

Autoregressive series whose coefficients go from one pair to another: at once, over some hundred events, back and forth, or not at
all: with normal noise, with Student's of three degrees, and with noise that is wild now and then. And a daily cycle with noise. All series of a kind stand side by side in one bank. Last the real series that are shipped.
Errors are mean squares one step ahead, over all events after the first 500 and over the events after a change; each beside the same
without a reaction.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.series import load
from benchmarks.tasks.plots import figure, save
from models.bank import Array, Bank
from models.drift.reactions import CHOICES
from models.specification import REACTIONS, from_profile

ROWS, SERIES, WARMUP = 5000, 24, 500
SLOW, FAST = np.array([1.6, -0.8]), np.array([-0.6, 0.3])
"""Coefficients: a wave of some 14 events, and noise that alternates; both with noise of deviation one."""
PERIOD, SPAN = 900, 600
"""Events between changes that recur, and over which a gradual one takes place."""
AFTER = 300
"""Events after each change over which the error is told by itself."""
HARM_MAX = 0.01
"""The goal: where nothing changes a reaction costs at most 1% of the error, so that it can be switched on before it is known what changes."""
WILD = 100
"""Events of a wild hour: one in ten has three times the noise, and nothing else is other."""


def shares(kind: str) -> tuple[Array, list[int]]:
    """Return how far the coefficients are on the way from one pair to the other, (T,), and where changes begin."""
    row: Array = np.arange(ROWS, dtype=np.float64)
    if kind == "abrupt":
        return (row >= ROWS // 2).astype(np.float64), [ROWS // 2]
    if kind == "gradual":
        return np.clip((row - ROWS // 2) / SPAN, 0.0, 1.0), [ROWS // 2]
    if kind == "recurring":
        return (row // PERIOD % 2).astype(np.float64), list(range(PERIOD, ROWS, PERIOD))
    return np.zeros(ROWS), []


def make(kind: str, n_series: int) -> tuple[Array, list[int]]:
    """Return series of a kind, (T, B), and where changes begin."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(ROWS, n_series))
    if kind == "heavy tails":
        noise = rng.standard_t(3.0, size=noise.shape)
    if kind == "wild hours":
        noise *= np.where(rng.random((ROWS // WILD, n_series)) < 0.1, 3.0, 1.0).repeat(WILD, axis=0)
    if kind == "daily cycle":
        hour = np.arange(ROWS)[:, None] / 24.0 + np.linspace(0.0, 1.0, n_series)
        return 3.0 * np.sin(2.0 * np.pi * hour) + noise, []
    share, changes = shares(kind)
    weights = SLOW * (1.0 - share)[:, None] + FAST * share[:, None]
    values = noise.copy()
    for row in range(2, ROWS):
        values[row] += weights[row, 0] * values[row - 1] + weights[row, 1] * values[row - 2]
    return values, changes


STAYING = ("stationary", "heavy tails", "daily cycle")
REAL = "six real series"
KINDS = ("abrupt", "gradual", "recurring", *STAYING, "wild hours")
"""Of wild hours the loss drifts, rightly, and there is nothing to learn from it: the worst case of a reaction."""


def run(profile: str, choice: str, values: Array, times: Array) -> tuple[Array, dict[str, int]]:
    """Return the squared errors, (T, B), NaN where there is no value, and how often what was done."""
    n_series = values.shape[1]
    bank = Bank(from_profile(profile, drift_reaction=choice), capacity=n_series)
    slots = np.array([bank.admit() for _ in range(n_series)])
    errors, counts, none = (
        np.zeros(values.shape),
        dict.fromkeys(("drift", *REACTIONS), 0),
        np.empty((n_series, 0)),
    )
    for row, value in enumerate(values):
        result = bank.step(slots, times[row], value[:, None], none)
        errors[row] = np.where(np.isnan(value), np.nan, result.error[:, 0, 0] ** 2)
        counts["drift"] += int(result.drift[..., 0].sum())
        for bit, name in enumerate(REACTIONS):
            counts[name] += int((result.reaction >> bit & 1).sum())
    return errors, counts


def real() -> tuple[Array, Array]:
    """Return the series that are shipped, each in units of its own increments and NaN behind its end, and their times, (T, B)."""
    series = load(None)
    values, times = np.full((2, max(len(one.values) for one in series), len(series)), np.nan)
    for at, one in enumerate(series):
        values[: len(one.values), at] = one.values / np.diff(one.values).std()
        times[:, at] = one.times[0] + (one.times[1] - one.times[0]) * np.arange(len(times))
    return values, times


def measure(quick: bool) -> dict[str, Any]:
    """Return the errors of each profile, kind of series and reaction."""
    rows: list[dict[str, Any]] = []
    for profile in ("fast",) if quick else ("fast", "accurate"):
        for kind in KINDS if quick else (*KINDS, REAL):
            n_series = 4 if quick else SERIES
            values, times = real() if kind == REAL else (np.empty((0, 0)), np.empty((0, 0)))
            changes: list[int] = []
            if kind != REAL:
                values, changes = make(kind, n_series)
                times = np.repeat(3600.0 * np.arange(len(values))[:, None], n_series, axis=1)
            for choice in CHOICES:
                errors, counts = run(profile, choice, values, times)
                # Of every kind series are alike, but of the real ones: the geometric mean lets each count as much.
                whole = float(np.exp(np.log(np.nanmean(errors[WARMUP:], axis=0)).mean()))
                near = [errors[at : at + AFTER].mean() for at in changes]
                after = float(np.mean(near)) if near else whole
                rows.append(
                    {"profile": profile, "series": kind, "reaction": choice, "all": whole, "after": after}
                    | {
                        "counts": counts,
                        "course": errors[:ROWS].mean(axis=1).reshape(-1, 50).mean(axis=1).tolist(),
                    }
                )
                print(_line(rows[-1], rows), flush=True)
    return {"rows": rows, "goals": _goals(rows)}


def _base(row: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of the same series without a reaction."""
    wanted = (row["profile"], row["series"], "none")
    return next(one for one in rows if (one["profile"], one["series"], one["reaction"]) == wanted)


def _goals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    harm = {
        choice: max(
            row["all"] / _base(row, rows)["all"] - 1.0
            for row in rows
            if row["series"] in STAYING and row["reaction"] == choice
        )
        for choice in CHOICES
        if choice != "none"
    }
    return [
        {"name": f"{choice}: harm where nothing changes", "value": value, "met": value <= HARM_MAX}
        for choice, value in harm.items()
    ]


def table(result: dict[str, Any]) -> str:
    """Return the table in Markdown."""
    head = "| profile | series | reaction | error | against none | after a change | against none | drifts | reactions | takeovers |"
    lines = [head, "|---|---|---|" + "---:|" * 7]
    return "\n".join(lines + [_line(row, result["rows"]) for row in result["rows"]])


def _line(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    base, counts = _base(row, rows), row["counts"]
    reactions = sum(counts[name] for name in REACTIONS if name != "takeover")
    cells = [row["profile"], row["series"], row["reaction"]]
    for name in ("all", "after"):
        cells += [f"{row[name]:.3f}", f"{100.0 * (row[name] / base[name] - 1.0):+.1f}%"]
    return (
        "| "
        + " | ".join([*cells, *(str(n) for n in (counts["drift"], reactions, counts["takeover"]))])
        + " |"
    )


def draw(result: dict[str, Any], folder: Path) -> None:
    """Draw the course of the error about an abrupt change, with each reaction, for the first and the last profile."""
    profiles = list(dict.fromkeys(row["profile"] for row in result["rows"]))
    shown = [profiles[0], profiles[-1]]
    canvas, axes = figure(width=11.0, height=4.0, columns=2)
    for axis, profile in zip(axes, shown, strict=True):
        for row in result["rows"]:
            if (row["profile"], row["series"]) == (profile, "abrupt"):
                course = np.array(row["course"])
                at = 50.0 * (np.arange(len(course)) + 0.5)
                near = (at > ROWS // 2 - 300) & (at < ROWS // 2 + 1500)
                axis.plot(at[near] - ROWS // 2, course[near], label=row["reaction"])
        axis.set(title=profile, xlabel="events after the change", ylabel="mean squared error", yscale="log")
        axis.grid(True, alpha=0.3)
        axis.legend()
    save(canvas, folder / "drift-reactions.svg")
