"""The sequential test: its equations, its rate of false promotions, its delay, and what a row may depend on."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from models.protocols import Array, Fields
from models.sequential import SequentialTest

Pair = tuple[Array, Array]
Draw = Callable[[np.random.Generator, int, int], Pair]


def begun(test: SequentialTest, rows: int) -> Fields:
    return {name: np.broadcast_to(value, (rows,)).copy() for name, value in test.init_state().items()}


def promoted_at(test: SequentialTest, draw: Draw, *, trials: int, rows: int, seed: int = 0) -> Array:
    """Return the row at which each trial first promoted, counted from 1; infinity where none did."""
    rng, state, first = np.random.default_rng(seed), begun(test, trials), np.full(trials, np.inf)
    for row in range(rows):
        champion, challenger = draw(rng, trials, row)
        better = test.update(state, champion, challenger, np.ones(trials, dtype=bool)).better
        first[better & np.isinf(first)] = row + 1
    return first


def alike(factor: float) -> Draw:
    """Errors on one label, and so alike, of which the challenger's are smaller by a factor on the average."""

    def draw(rng: np.random.Generator, trials: int, row: int) -> Pair:
        shared, own = rng.standard_normal((2, trials))
        return np.abs(shared), factor * np.abs(shared) * np.exp(0.3 * own - 0.045)

    return draw


def independent(rng: np.random.Generator, trials: int, row: int) -> Pair:
    champion, challenger = np.abs(rng.standard_normal((2, trials)))
    return champion, 0.95 * challenger


def wild(rng: np.random.Generator, trials: int, row: int) -> Pair:
    """Of infinite variance."""
    champion, challenger = np.abs(rng.standard_t(2.0, (2, trials)))
    return champion, 0.95 * challenger


def bursts(rng: np.random.Generator, trials: int, row: int) -> Pair:
    """Hundred rows a hundred times as large as the next hundred."""
    champion, challenger = alike(0.95)(rng, trials, row)
    size = 100.0 if row // 100 % 2 else 1.0
    return size * champion, size * challenger


def equal(rng: np.random.Generator, trials: int, row: int) -> Pair:
    champion, challenger = np.abs(rng.standard_normal((2, trials)))
    return champion, challenger


NULLS: dict[str, Draw] = {
    "alike": alike(0.95),
    "independent": independent,
    "wild": wild,
    "bursts": bursts,
    "equal": equal,
}


@pytest.mark.parametrize("name", NULLS)
def test_a_challenger_that_is_not_better_by_the_margin_is_promoted_in_no_more_than_alpha_of_the_trials(
    name: str,
) -> None:
    """Goal: the rate holds though one looks after every row. Method: 2,000 trials at the edge of the margin, of 1,000 rows."""
    alpha, trials = 0.05, 2000
    test = SequentialTest(margin=0.05, alpha=alpha, window=1000)
    false = np.isfinite(promoted_at(test, NULLS[name], trials=trials, rows=1000)).mean()
    assert false <= alpha + 3.0 * math.sqrt(alpha * (1.0 - alpha) / trials)


@pytest.mark.parametrize(("saved", "rows"), [(0.5, 60), (0.3, 120), (0.2, 250)])
def test_a_challenger_that_is_better_is_promoted_soon(saved: float, rows: int) -> None:
    test = SequentialTest(margin=0.05, alpha=0.01, window=2000)
    first = promoted_at(test, alike(1.0 - saved), trials=200, rows=2 * rows)
    assert np.median(first) <= rows
    assert first.min() >= 12, "evidence grows by half a row at most: 1.5^11 is less than 100"


def test_the_state_is_what_the_equations_say() -> None:
    """Method: the equations once more, over lists, one trial, with a row that does not count."""
    test = SequentialTest(margin=0.1, alpha=1e-9, window=50)
    rng, state = np.random.default_rng(1), begun(test, 1)
    past: list[Pair] = []
    xs: list[float] = []
    evidence = 1.0
    for row in range(49):
        champion, challenger = alike(0.7)(rng, 1, row)
        counts = row != 7
        verdict = test.update(state, champion, challenger, np.array([counts]))
        if counts:
            bet = min(max(sum(xs) / (0.25 + sum(x * x for x in xs)), 0.0), 0.5)
            x = 0.0
            if past:
                usual = math.sqrt(sum(float(a + b) ** 2 for (a,), (b,) in past) / len(past))
                x = min(max((0.9 * float(champion[0]) - float(challenger[0])) / usual, -1.0), 1.0)
            evidence *= 1.0 + bet * x
            past.append((champion, challenger))
            xs.append(x)
        assert verdict.evidence[0] == pytest.approx(evidence, rel=1e-12)
    assert state["rows"].tolist() == [48]


def test_a_trial_ends_after_its_window_and_at_a_promotion() -> None:
    test = SequentialTest(margin=0.0, alpha=0.01, window=30)
    state, one = begun(test, 2), np.ones(2)
    for row in range(29):
        better = test.update(state, one, np.array([0.2, 1.0]), one > 0).better
        if better[0]:
            assert row >= 12
            break
    assert (state["rows"][0], state["evidence"][0]) == (0, 1.0)
    while state["rows"][1]:
        test.update(state, one, one, one > 0)
    assert {name: value[1] for name, value in state.items()} == test.init_state()


def test_what_is_not_finite_or_does_not_count_changes_nothing() -> None:
    test = SequentialTest(margin=0.05, alpha=0.01, window=100)
    state, one = begun(test, 4), np.ones(4)
    for _ in range(5):
        test.update(state, one, 0.5 * one, one > 0)
    before = {name: value.copy() for name, value in state.items()}
    losses = np.array([np.nan, np.inf, 1e308, 1.0])
    verdict = test.update(
        state, losses, np.array([1.0, 1.0, 1e308, 1.0]), np.array([True, True, True, False])
    )
    assert not verdict.better.any()
    assert all((state[name] == value).all() for name, value in before.items())


def test_losses_of_zero_are_no_evidence() -> None:
    test = SequentialTest(margin=0.05, alpha=0.01, window=100)
    state, none = begun(test, 1), np.zeros(1)
    for _ in range(50):
        assert test.update(state, none, none, none == 0).evidence[0] == 1.0
    assert test.update(state, none + 1e100, none, none == 0).evidence[0] == 1.0


def test_a_row_depends_on_that_row_alone_to_the_bit() -> None:
    test = SequentialTest(margin=0.02, alpha=0.2, window=40)
    together, alone = begun(test, 9), [begun(test, 1) for _ in range(9)]
    rng = np.random.default_rng(3)
    for row in range(200):
        champion, challenger = alike(0.8)(rng, 9, row)
        valid = rng.random(9) < 0.9
        verdict = test.update(together, champion, challenger, valid)
        for i, state in enumerate(alone):
            own = test.update(state, champion[i : i + 1], challenger[i : i + 1], valid[i : i + 1])
            assert own.evidence[0] == verdict.evidence[i]
            assert own.better[0] == verdict.better[i]
            assert all(state[name][0] == together[name][i] for name in state)


@pytest.mark.parametrize(
    ("margin", "alpha", "window"),
    [(1.0, 0.1, 10), (-0.1, 0.1, 10), (0.1, 0.0, 10), (0.1, 1.0, 10), (0.1, 0.1, 0)],
)
def test_a_rule_that_cannot_work_is_refused(margin: float, alpha: float, window: int) -> None:
    with pytest.raises(ValueError, match="are needed"):
        SequentialTest(margin=margin, alpha=alpha, window=window)
