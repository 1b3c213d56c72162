"""A sequential test of whether a challenger's forecasts are better than a champion's by a margin; it may be looked at at any time.

With L and L' the losses of champion and challenger at a row, m the margin, and all sums over the earlier rows of the trial:

    d_t = (1 - m) L_t - L'_t                        (1) what the challenger saved beyond the margin
    c_t^2 = mean_{s<t} (L_s + L'_s)^2               (2) what is usual, known before the row
    x_t = clip(d_t / c_t, -1, 1)                    (3)
    b_t = clip(sum x_s / (V + sum x_s^2), 0, 1/2)   (4) the bet, known before the row
    E_t = E_{t-1} (1 + b_t x_t),    E_0 = 1         (5) the evidence: what a gambler has made of 1

Where the challenger is not better by the margin, E[x_t | past] <= 0, and E is a supermartingale that is not negative: the chance
that it ever reaches 1 / alpha is at most alpha (Ville 1939), however often it is looked at. No forecast errors have to be
independent or of one distribution. By the clip in Eq. (3) a row counts for no more than the usual loss of both, so a single outlier
is no evidence; it is the clipped losses that are compared. The mean square follows a burst within some rows, and then little is clipped.

A trial ends after a window of rows, and the next begins at E = 1: the chance of a false promotion is alpha a trial, and a challenger that was
worse while it was new is not held back by it for ever.

Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", Journal of the Royal Statistical Society B 86
(2024), of which Eq. (4) is the growth-rate bet, kept positive. Cost: O(1) a row, no history.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from models.protocols import Array, BoolArray, Fields, State

BET_MAX: Final = 0.5
"""A row can at worst halve the evidence; whoever bets all is ruined by the first bad one."""

SQUARES_PRIOR: Final = 0.25
"""V of Eq. (4): models that differ by a tenth have x^2 of about 0.02, so that bets are small in the first dozen rows."""

ALPHA_MIN: Final = 1e-12
"""Less would need hundreds of rows of the best challenger that there can be."""


class Verdict(NamedTuple):
    """What a row said."""

    evidence: Array
    """E after the row, (B,)."""
    better: BoolArray
    """E has reached 1 / alpha at this row, (B,)."""


class SequentialTest:
    """The trials of many pairs of a champion and a challenger.

    Args:
        margin: m, the part of the champion's loss that the challenger must save.
        alpha: largest chance of a false promotion in a trial.
        window: rows of a trial.

    Example:
        >>> test = SequentialTest(margin=0.05, alpha=0.01, window=1000)
        >>> state = {name: value[None].copy() for name, value in test.init_state().items()}
        >>> one = np.ones(1)
        >>> next(row for row in range(1, 99) if test.update(state, one, 0.5 * one, one > 0).better[0])
        35
    """

    def __init__(self, *, margin: float, alpha: float, window: int) -> None:
        """Take the rule.

        Raises:
            ValueError: a number is out of its range.
        """
        if not (0.0 <= margin < 1.0 and ALPHA_MIN <= alpha < 1.0 and window >= 1):
            raise ValueError(
                f"margin in [0, 1), alpha in [{ALPHA_MIN}, 1) and a window of at least 1 are needed, not {margin}, {alpha}, {window}"
            )
        self.margin, self.alpha, self.window = margin, alpha, window

    def init_state(self) -> Fields:
        """Return a new trial."""
        zero = np.zeros(())
        return {
            "rows": np.zeros((), dtype=np.int64),
            "losses": zero,
            "sum": zero,
            "squares": zero,
            "evidence": np.ones(()),
        }

    def update(self, state: State, champion: Array, challenger: Array, valid: BoolArray) -> Verdict:
        """Take one row of each trial where valid and both losses are finite, in place.

        A trial that has shown the challenger to be better, or has had its rows, is a new one afterwards.

        Args:
            state: as `init_state`, each array (B,).
            champion: its losses, not negative, (B,).
            challenger: its losses, (B,).
            valid: rows that count, (B,).
        """
        with np.errstate(over="ignore", invalid="ignore"):
            both = (champion + challenger) ** 2
        valid = valid & np.isfinite(both)
        both = np.where(valid, both, 0.0)
        saved = (1.0 - self.margin) * np.where(valid, champion, 0.0) - np.where(valid, challenger, 0.0)  # (1)
        rows, before = state["rows"], state["losses"]
        usual = np.sqrt(before / np.maximum(rows, 1))  # Eq. (2)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            x = np.where(usual > 0.0, np.clip(saved / usual, -1.0, 1.0), 0.0)  # Eq. (3)
        bet = np.clip(state["sum"] / (SQUARES_PRIOR + state["squares"]), 0.0, BET_MAX)  # Eq. (4)
        evidence = state["evidence"] * (1.0 + bet * x)  # Eq. (5)
        better: BoolArray = valid & (evidence >= 1.0 / self.alpha)
        with np.errstate(over="ignore"):
            losses = np.minimum(before + both, np.finfo(np.float64).max)
        after = {
            "rows": rows + valid,
            "losses": losses,
            "sum": state["sum"] + x,
            "squares": state["squares"] + x * x,
            "evidence": evidence,
        }
        over = better | (after["rows"] >= self.window)
        for name, new in self.init_state().items():
            state[name][...] = np.where(over, new, np.where(valid, after[name], state[name]))
        return Verdict(evidence, better)
