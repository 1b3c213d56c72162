"""Goal: the mixture is followed as far as its gain over the naive forecast is told from noise.

Method: labels whose gain is known, one at a time; and whole models on random walks, of which nothing can be forecast.
"""

from __future__ import annotations

import numpy as np
import pytest

from models.bank import Bank
from models.protocols import State
from models.specification import Specification
from models.trust import START, Trust

HORIZONS = (6, 24)
SERIES = 8


def made() -> tuple[Trust, State]:
    trust = Trust(HORIZONS)
    return trust, {name: row[None].copy() for name, row in trust.init_state().items()}


def learn(trust: Trust, state: State, mixed: float, *, target: float = 1.0, times: int = 1) -> None:
    """Take labels whose naive forecast is 0, and the mixture's this one."""
    full = np.ones((1, len(HORIZONS)))
    for _ in range(times):
        trust.learn(
            state,
            target=target * full,
            mixed=mixed * full,
            naive=0.0 * full,
            seen=np.full((1, len(HORIZONS)), 1000),
            valid=np.ones((1, len(HORIZONS)), dtype=np.bool_),
        )


def test_labels_that_overlap_count_as_few() -> None:
    trust, state = made()
    assert (trust.share(state) == START).all()
    learn(trust, state, 1.0 - np.sqrt(1.5))  # a loss of one half
    near, far = trust.share(state)[0] - START
    assert near < far < 0.0
    assert far / near == pytest.approx(np.sqrt(6 / 24), rel=1e-9)


def test_a_mixture_that_is_plainly_better_is_followed_whole() -> None:
    trust, state = made()
    learn(trust, state, 1.0, times=100)
    assert (trust.share(state) == 1.0).all()


def test_a_mixture_that_is_worse_is_not_followed() -> None:
    trust, state = made()
    learn(trust, state, -0.2, times=300)
    assert (trust.share(state) == 0.0).all()


def test_a_mixture_that_was_useless_for_long_is_followed_soon_after_it_is_not() -> None:
    trust, state = made()
    rng = np.random.default_rng(0)
    for target in rng.normal(size=5000):  # a forecast of noise by noise
        learn(trust, state, 0.3 * rng.normal(), target=target)
    assert (trust.share(state) < START).all()
    learn(trust, state, 1.0, times=300)
    assert trust.share(state)[0, 0] > 0.9
    learn(trust, state, 1.0, times=500)
    assert (trust.share(state) > 0.9).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_labels_beyond_sense_leave_it_as_it_was_or_count_as_one(bad: float) -> None:
    trust, state = made()
    learn(trust, state, 1.0, times=100)
    before = trust.share(state)
    with np.errstate(over="ignore", invalid="ignore"):
        learn(trust, state, bad)
    assert np.isfinite(state["gain"]).all()
    assert np.isfinite(state["variation"]).all()
    assert np.abs(trust.share(state) - before).max() < 0.5


def test_on_random_walks_the_mixture_costs_much_less_than_if_it_were_followed_whole() -> None:
    values = np.random.default_rng(5).normal(size=(2000, SERIES)).cumsum(axis=0)
    excess = {}
    for followed in ("by trust", "whole"):
        bank = Bank(Specification(horizons=HORIZONS), capacity=SERIES)
        slots = np.array([bank.admit() for _ in range(SERIES)])
        states = [bank.layout.views(bank.records_of(slot)) for slot in slots.tolist()]
        total = np.zeros((2, len(HORIZONS)))
        for row, now in enumerate(values):
            if followed == "whole":
                for state in states:
                    state["trust"]["gain"][...] = 1e9
            told = bank.step(slots, np.full(SERIES, 3600.0 * row), now[:, None], np.empty((SERIES, 0)))
            np.testing.assert_allclose(told.weights.sum(axis=-1), 1.0, rtol=0, atol=1e-12)
            if row >= 200:
                total[0] += (told.error[:, 0] ** 2).sum(axis=0)
                total[1] += (told.expert_errors[:, 0, :, 0] ** 2).sum(axis=0)
        excess[followed] = total[0] / total[1] - 1.0
    assert (excess["whole"] > 0.0).all()
    assert (excess["by trust"] < 0.75 * excess["whole"]).all()


def test_one_row_ahead_the_mixture_is_followed_whole() -> None:
    trust = Trust((1, 2))
    state = {name: row[None] for name, row in trust.init_state().items()}
    assert trust.share(state).tolist() == [[1.0, START]]


def test_sums_that_would_overflow_are_left_out() -> None:
    trust, state = made()
    with np.errstate(over="ignore", invalid="ignore"):
        learn(trust, state, 5e76, target=5e76, times=3000)
    assert all(np.isfinite(values).all() for values in state.values())
    assert np.isfinite(trust.share(state)).all()
