"""How the Numenta Anomaly Benchmark scores (Lavin & Ahmad 2015; NAB 1.1).

Each anomaly has a window. A row whose score is at least the threshold is a detection; y is its place relative to a
window: -1 at the left edge, towards 0 at the right edge, beyond it in widths of the last window.

    s(y) = 2 / (1 + exp(5 y)) - 1; -1 where y is 3 or more, or no window has been                (1)
    raw = sum over windows of (A_TP s(y) / s(-1) of the earliest detection, or -A_FN where there is none)
          + A_FP sum of s(y) of the detections outside                                           (2)
    score = 100 (raw - null) / (perfect - null)                                                  (3)

null detects nothing, perfect is at the left edge of each window. The first 15% of a file's rows, at most 750, are
not scored. One threshold, the best, holds for all files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.bank import Array
from models.protocols import IntArray

PROBATION_SHARE, PROBATION_ROWS_MAX = 0.15, 750
NO_THRESHOLD = math.inf
"""Nothing is detected."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a detection, a false one and a miss are worth."""

    true_positive: float
    false_positive: float
    false_negative: float


PROFILES = {
    "standard": Profile(1.0, 0.11, 1.0),
    "reward_low_FP_rate": Profile(1.0, 0.22, 1.0),
    "reward_low_FN_rate": Profile(1.0, 0.11, 2.0),
}


@dataclass(frozen=True, slots=True)
class Labelled:
    """A file's rows as the scorer sees them: N rows, of which some are not scored.

    Attributes:
        worth: s(y) over s(-1) in windows, s(y) outside, (N,).
        window: number of the window that a row is in, -1 outside, (N,).
        n_windows: of the file.
        first: the first row that is scored.
    """

    worth: Array
    window: IntArray
    n_windows: int
    first: int


def scaled_sigmoid(place: float) -> float:
    """Return eq. (1)."""
    return -1.0 if place >= 3.0 else 2.0 / (1.0 + math.exp(5.0 * place)) - 1.0


def probation(rows: int) -> int:
    """Return how many rows are not scored."""
    return min(int(PROBATION_SHARE * rows), PROBATION_ROWS_MAX)


def labelled(rows: int, windows: Sequence[tuple[int, int]], first: int | None = None) -> Labelled:
    """Return what each row is worth; windows are pairs of first and last row, in order."""
    worth, window = np.full(rows, -1.0), np.full(rows, -1, dtype=np.int64)
    for number, (left, right) in enumerate(windows):
        width = right - left + 1
        for row in range(left, right + 1):
            window[row] = number
            worth[row] = scaled_sigmoid((row - right - 1) / width) / scaled_sigmoid(-1.0)
        until = windows[number + 1][0] if number + 1 < len(windows) else rows
        for row in range(right + 1, until):
            worth[row] = scaled_sigmoid((row - right) / (width - 1))
    return Labelled(worth, window, len(windows), probation(rows) if first is None else first)


def raw_score(
    files: Sequence[Labelled], scores: Sequence[Array], threshold: float, profile: Profile
) -> float:
    """Return eq. (2) of all files at a threshold."""
    raw = 0.0
    for file, score in zip(files, scores, strict=True):
        detected = score >= threshold
        detected[: file.first] = False
        raw += profile.false_positive * float(file.worth[detected & (file.window < 0)].sum())
        for window in range(file.n_windows):
            found = file.worth[detected & (file.window == window)]
            raw += profile.true_positive * found.max() if len(found) else -profile.false_negative
    return float(raw)


def best_threshold(
    files: Sequence[Labelled], scores: Sequence[Array], profile: Profile
) -> tuple[float, float]:
    """Return the threshold of the highest raw score, and that; the highest threshold of those that are as good."""
    worth, window, score, n_windows = [], [], [], 0
    for file, one in zip(files, scores, strict=True):
        worth.append(file.worth[file.first :])
        number = file.window[file.first :]
        window.append(np.where(number >= 0, number + n_windows, -1))
        score.append(np.asarray(one, dtype=np.float64)[file.first :])
        n_windows += file.n_windows
    values = np.concatenate(score)
    order = np.argsort(-values, kind="stable")
    parts = [np.concatenate(one)[order].tolist() for one in (values[None], worth, window)]
    best_of = [-profile.false_negative] * n_windows
    raw = -profile.false_negative * n_windows
    best, threshold = raw, NO_THRESHOLD
    for place, (value, one_worth, number) in enumerate(zip(*parts, strict=True)):
        if number < 0:
            raw += profile.false_positive * one_worth
        elif (gained := profile.true_positive * one_worth) > best_of[number]:
            raw += gained - best_of[number]
            best_of[number] = gained
        last_of_value = place + 1 == len(order) or parts[0][place + 1] != value
        if last_of_value and raw > best:
            best, threshold = raw, value
    return threshold, best


def normalised(raw: float, n_windows: int, profile: Profile) -> float:
    """Return eq. (3); 0 where there is no window."""
    null, perfect = -profile.false_negative * n_windows, profile.true_positive * n_windows
    return 100.0 * (raw - null) / (perfect - null) if n_windows else 0.0
