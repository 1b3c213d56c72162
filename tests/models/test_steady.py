"""Goal: outliers that go back are past for a state, moves are not, and a series says itself which of the two it has.

Method: votes by hand; a stream with spikes and one with steps through the whole model; the values beneath, forecast with and without spikes.
"""

from __future__ import annotations

import numpy as np
import pytest

from models.bank import Bank
from models.protocols import Array
from models.specification import Specification
from models.steady import SteadyLevel
from tests.models.streams import SMALL, rows_of, run, side_by_side, step

SEEN, MISSING = np.array([True]), np.array([False])


def levels_after(levels: list[float], expected: float = 0.0) -> list[float]:
    """Return what is followed where each level over 5 is an outlier."""
    steady = SteadyLevel()
    state = rows_of(steady.init_state())
    return [
        float(
            steady.update(state, np.array([level]), np.array([expected]), SEEN, np.array([level > 5.0]))[0][0]
        )
        for level in levels
    ]


def test_the_fifth_spike_that_goes_back_is_past_the_state() -> None:
    followed = levels_after([0.0, 9.0, 0.0] * 6)
    assert followed == [0.0, 9.0, 0.0] * 4 + [0.0, 0.0, 0.0] * 2


def test_steps_are_followed_for_ever() -> None:
    steps = [0.0, 9.0, 9.0, 9.0, 1.0] * 10
    assert levels_after(steps) == steps


def test_of_several_in_a_row_the_first_alone_is_held() -> None:
    assert levels_after([0.0, 9.0, 0.0] * 4 + [9.0, 8.0, 7.0])[-3:] == [0.0, 8.0, 7.0]


def test_trust_is_lost_to_steps_and_won_by_spikes() -> None:
    spikes, steps = [0.0, 9.0, 0.0] * 5, [0.0, 9.0, 9.0]
    followed = levels_after(spikes + steps * 3 + spikes)
    assert followed[13] == 0.0  # the fifth spike
    assert followed[16] == 0.0  # the first step is held for a row
    assert followed[17] == 9.0
    assert followed[18:24] == steps * 2
    assert followed[24:] == [0.0, 9.0, 0.0] * 4 + [0.0, 0.0, 0.0]  # it takes four spikes again


def test_how_far_it_went_is_told_of_the_level_that_is_followed() -> None:
    steady = SteadyLevel()
    state = rows_of(steady.init_state())
    state["trust"][:] = 1.0
    told = [
        steady.update(state, np.array([level]), np.array([2.0]), SEEN, np.array([level > 5.0]))
        for level in (1.0, 9.0, 4.0)
    ]
    assert [float(level[0]) for level, _ in told] == [1.0, 2.0, 4.0]
    assert [float(change[0]) for _, change in told] == [1.0, 1.0, 2.0]


def test_a_missing_value_has_no_vote_and_the_next_one_has() -> None:
    steady = SteadyLevel()
    state = rows_of(steady.init_state())
    no, yes, nothing = np.array([False]), np.array([True]), np.zeros(1)
    steady.update(state, nothing, nothing, SEEN, no)
    steady.update(state, np.array([9.0]), nothing, SEEN, yes)
    followed, _ = steady.update(state, np.array([0.1]), np.array([0.1]), MISSING, no)
    assert followed == 0.1
    assert state["trust"] == 0.0
    steady.update(state, np.array([9.0]), nothing, SEEN, no)  # it had moved
    assert state["trust"] < 0.0


@pytest.mark.parametrize("compiled", [True, False])
def test_the_forecaster_holds_spikes_and_follows_steps(compiled: bool) -> None:
    rng = np.random.default_rng(0)
    spikes, steps = rng.normal(size=(2, 600))
    spikes[100::50] += 60.0
    steps += 60.0 * (np.arange(600) // 60 % 2)
    bank = Bank(SMALL, compiled=compiled)
    slots = [bank.admit(), bank.admit()]
    stream = side_by_side(spikes, steps, interval=3600.0)
    held: list[list[bool]] = []
    for row in range(600):
        step(bank, slots, stream, row)
        held.append([bool(bank.snapshot(s)["steady/level"][0] != stream.values[row, s, 0]) for s in slots])
    rows = np.flatnonzero([spiky for spiky, _ in held])
    assert 300 <= rows[0] <= 350  # the first spike came when little was known
    assert rows.tolist() == list(range(rows[0], 600, 50))
    assert not any(stepped for _, stepped in held)


def switching(seed: int) -> tuple[Array, Array]:
    """Return an AR(2) that changes its coefficients half way, (T,), and the same with outliers of 20 deviations of its noise."""
    rng = np.random.default_rng(seed)
    one = two = 0.0
    values = []
    for frequency, radius in ((0.25, 0.995), (0.6, 0.98)):
        for _ in range(1200):
            one, two = 2 * radius * np.cos(frequency) * one - radius**2 * two + 0.1 * rng.normal(), one
            values.append(one)
    clean = np.array(values)
    return clean, clean + np.where(rng.random(2400) < 0.01, rng.choice([-2.0, 2.0], 2400), 0.0)


def test_an_outlier_does_not_echo_in_the_state() -> None:
    """Goal: forecasts after outliers are as good as without them. Method: the values beneath, forecast from series with and without."""
    pairs = [switching(seed) for seed in range(3)]
    specification = Specification(horizons=(1, 4))
    off = []
    for series in zip(*pairs, strict=True):
        bank = Bank(specification)
        told = run(bank, [bank.admit() for _ in pairs], side_by_side(*series, interval=3600.0))
        forecasts = told["expert_predictions"][:, :, 0, 0]
        beneath = np.stack(next(zip(*pairs, strict=True)), axis=1)
        off.append(((beneath[1801:] - forecasts[1800:-1].transpose(2, 0, 1)) ** 2).mean(axis=(1, 2)))
    worse = dict(zip(specification.experts, off[1] / off[0], strict=True))
    assert worse["recurrent"] < 2.0
    assert worse["linear"] > 3.0
