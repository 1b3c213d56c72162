"""The default forecaster's anomaly score on the series of the Numenta Anomaly Benchmark, by NAB's rules.

One pass over each file, no settings by file, one threshold over all. Printed beside the best score: what is left where
the threshold is chosen on one half of the files and scored on the other, what each part of the score is worth, and
simple scores for comparison. With --output, the results also as NAB's own scorer reads them.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from benchmarks.nab.files import NabFile, nab_files
from benchmarks.nab.scorer import PROFILES, Labelled, best_threshold, labelled, normalised, raw_score
from models import anomaly
from models.anomaly import PARTS, AnomalyScore
from models.bank import Array, Bank
from models.specification import Specification

SPLITS = 100
"""Random halves of the files."""

QUICK_ROWS = 1500
STANDARD = PROFILES["standard"]


def main(arguments: argparse.Namespace) -> int:
    """Run the forecaster, print the tables, write results and JSON."""
    files = nab_files(arguments.data)
    if arguments.data is None:
        print("only the files that are shipped; for all: --data FOLDER with nab/data/ and nab/labels/")
    if arguments.quick:
        files = [file.first_rows(QUICK_ROWS) for file in files]
    labels = [labelled(len(file.values), file.windows) for file in files]
    start = time.perf_counter()
    log_scores, shares, errors = run(files)
    seconds = time.perf_counter() - start
    n_events = sum(len(file.values) for file in files)
    print(f"{n_events} events in {seconds:.0f} s, {sum(one.n_windows for one in labels)} windows")
    per_file = _print_files(files, labels, log_scores)
    rng = np.random.default_rng(0)
    candidates = {
        "log score": log_scores,
        "share of past events": shares,
        "absolute error": [np.abs(one) for one in errors],
        "random": [rng.random(len(one)) for one in errors],
    }
    if not arguments.quick:
        candidates |= {f"log score {name}": scores for name, scores in _ablations(files, errors).items()}
    figures = {name: _figures(labels, scores) for name, scores in candidates.items()}
    _print_figures(figures)
    _write_results(arguments.output / "nab", files, log_scores)
    target = arguments.output / "nab.json"
    document = {"machine": describe(), "seconds": seconds, "figures": figures, "files": per_file}
    target.write_text(json.dumps(document, indent=1))
    print(f"written: {target}, and {arguments.output / 'nab'} for NAB's own scorer")
    return 0


def run(files: Sequence[NabFile]) -> tuple[list[Array], list[Array], list[Array]]:
    """Return log scores, scores and errors of each file; row t of all files is one micro-batch, as in the worker."""
    bank = Bank(Specification(), capacity=len(files))
    slots = np.array([bank.admit() for _ in files])
    log_scores, shares, errors = ([np.zeros(len(file.values)) for file in files] for _ in range(3))
    for row in range(max(len(file.values) for file in files)):
        live = np.array([i for i, file in enumerate(files) if row < len(file.values)])
        result = bank.step(
            slots[live],
            np.array([files[i].times[row] for i in live]),
            np.array([[files[i].values[row]] for i in live]),
            np.empty((len(live), 0)),
        )
        for place, i in enumerate(live):
            log_scores[i][row] = result.anomaly_log_score[place, 0]
            shares[i][row] = result.anomaly_score[place, 0]
            errors[i][row] = result.error[place, 0, 0]
    return log_scores, shares, errors


def _ablations(files: Sequence[NabFile], errors: Sequence[Array]) -> dict[str, list[Array]]:
    """Return the log scores without one part each, from the same errors."""
    names = {
        anomaly.RECENT: "recent surprise",
        anomaly.LEAN: "lean",
        anomaly.LEVEL: "new level",
    }
    found = {}
    for left_out, name in names.items():
        found[f"without {name}"] = _replayed(
            AnomalyScore(tuple(p for p in PARTS if p != left_out)), files, errors
        )
    return found


def _replayed(score: AnomalyScore, files: Sequence[NabFile], errors: Sequence[Array]) -> list[Array]:
    rows = max(len(file.values) for file in files)
    levels, residuals = np.zeros((rows, len(files))), np.zeros((rows, len(files)))
    for i, file in enumerate(files):
        levels[: len(file.values), i], residuals[: len(file.values), i] = file.values, errors[i]
    state = {
        name: np.repeat(np.asarray(value)[None], len(files), axis=0)
        for name, value in score.init_state().items()
    }
    found = np.zeros((rows, len(files)))
    for row in range(rows):
        found[row] = score.update(state, levels[row], residuals[row], np.full(len(files), row > 0))[1]
    return [found[: len(file.values), i] for i, file in enumerate(files)]


def _figures(labels: Sequence[Labelled], scores: Sequence[Array]) -> dict[str, float]:
    """Return the score by each profile, the threshold of the standard one, and the score with a threshold from elsewhere."""
    n_windows = sum(one.n_windows for one in labels)
    figures: dict[str, float] = {}
    for name, profile in PROFILES.items():
        threshold, raw = best_threshold(labels, scores, profile)
        figures[name] = normalised(raw, n_windows, profile)
        if name == "standard":
            figures["threshold"] = threshold
    halves = _held_out(labels, scores)
    return figures | {"threshold from the other half": halves[0], "deviation of halves": halves[1]}


def _held_out(labels: Sequence[Labelled], scores: Sequence[Array]) -> tuple[float, float]:
    """Return mean and deviation of the score on one half of the files by the best threshold of the other."""
    rng, found = np.random.default_rng(0), []
    for _ in range(SPLITS):
        order = rng.permutation(len(labels))
        chosen, held = order[: len(order) // 2], order[len(order) // 2 :]
        threshold, _ = best_threshold([labels[i] for i in chosen], [scores[i] for i in chosen], STANDARD)
        files = [labels[i] for i in held]
        raw = raw_score(files, [scores[i] for i in held], threshold, STANDARD)
        found.append(normalised(raw, sum(file.n_windows for file in files), STANDARD))
    return float(np.mean(found)), float(np.std(found))


def _print_files(
    files: Sequence[NabFile], labels: Sequence[Labelled], scores: Sequence[Array]
) -> dict[str, dict[str, float]]:
    threshold, _ = best_threshold(labels, scores, STANDARD)
    rows: dict[str, dict[str, float]] = {}
    print(f"\n{'file':64}{'windows':>8}{'found':>6}{'false':>6}{'raw':>8}")
    for file, label, score in zip(files, labels, scores, strict=True):
        detected = np.flatnonzero(score >= threshold)
        detected = detected[detected >= label.first]
        rows[file.path] = {
            "windows": label.n_windows,
            "found": len(set(label.window[detected].tolist()) - {-1}),
            "false": int((label.window[detected] < 0).sum()),
            "raw": raw_score([label], [score], threshold, STANDARD),
        }
        one = rows[file.path]
        print(f"{file.path:64}{one['windows']:8}{one['found']:6}{one['false']:6}{one['raw']:8.2f}")
    return rows


def _print_figures(figures: dict[str, dict[str, float]]) -> None:
    columns: dict[str, Callable[[dict[str, float]], str]] = {
        "standard": lambda row: f"{row['standard']:.1f}",
        "low FP": lambda row: f"{row['reward_low_FP_rate']:.1f}",
        "low FN": lambda row: f"{row['reward_low_FN_rate']:.1f}",
        "threshold": lambda row: f"{row['threshold']:.4g}",
        "threshold from the other half": lambda row: (
            f"{row['threshold from the other half']:.1f} +- {row['deviation of halves']:.1f}"
        ),
    }
    print(f"\n{'score':36}" + "".join(f"{name:>{len(name) + 4}}" for name in columns))
    for name, row in figures.items():
        print(f"{name:36}" + "".join(f"{cell(row):>{len(title) + 4}}" for title, cell in columns.items()))


def _write_results(folder: Path, files: Sequence[NabFile], scores: Sequence[Array]) -> None:
    """Write each file as NAB does: scores in [0, 1], here L / (1 + L), and whether a row is in a window."""
    for file, score in zip(files, scores, strict=True):
        group, name = file.path.split("/")
        target = folder / group / f"onward_{name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        inside = np.zeros(len(score), dtype=np.int64)
        for left, right in file.windows:
            inside[left : right + 1] = 1
        with target.open("w", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(("timestamp", "value", "anomaly_score", "label"))
            told = (score / (1.0 + score)).tolist()
            writer.writerows(zip(file.texts, file.values.tolist(), told, inside.tolist(), strict=True))
