"""Goal: each rung of the reaction ladder is climbed when it is provoked, does what it says, and never on ordinary data.

Method: a bank learns, its state is put into the trouble that a rung is for, and what the next events say and leave behind is looked
at; with the compiled forecaster and without. The first rung, a rejected event, is the shell's: tests/service.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.bank import Bank, StepResult
from models.experts import watch
from models.experts.recovery import (
    ACTIONS,
    ATTEND,
    CLIP,
    HEALTHY_EVENTS,
    QUARANTINE,
    RELEASE,
    RENEW,
    RESET,
    RESTORE,
    ROLL_BACK,
    SKIP,
    WINSORISE,
)
from models.kernels import COMPILES
from models.protocols import Array, Fields
from models.specification import Specification
from tests.models.streams import SMALL, Stream, make_stream, side_by_side, state_bytes, step

COMPILED = [
    pytest.param(True, marks=pytest.mark.skipif(not COMPILES, reason="needs the extra `fast`")),
    False,
]
EXPERT = "expert.recurrent/"
RECURRENT = replace(SMALL, experts=("last_value", "recurrent"))


def walk(rows: int, seed: int = 0) -> Array:
    """Return a random walk."""
    return np.random.default_rng(seed).normal(size=rows).cumsum()


class Trial:
    """A series in a bank, event by event, and a second one beside it that is left alone."""

    def __init__(self, specification: Specification, values: Array, *, compiled: bool) -> None:
        """Admit both; they take the same values."""
        self.bank = Bank(specification, compiled=compiled)
        self.slots = [self.bank.admit(), self.bank.admit()]
        self.stream: Stream = side_by_side(values, values)
        self.row = 0

    def go(self, rows: int) -> list[StepResult]:
        """Take so many rows."""
        told = [step(self.bank, self.slots, self.stream, self.row + at) for at in range(rows)]
        self.row += rows
        return told

    def change(self, **fields: object) -> None:
        """Set fields of the first series' recurrent expert: `_` stands for a dot, a function gets the value that is there."""
        state = self.bank.snapshot(self.slots[0])
        for name, value in fields.items():
            key = EXPERT + name.replace("_1", ".")
            state[key][...] = value(state[key]) if callable(value) else value
        self.bank.restore(self.slots[0], state)

    def field(self, name: str, series: int = 0) -> Array:
        """Return a field of a series' recurrent expert."""
        found: Array = self.state(series)[EXPERT + name][0]
        return found

    def state(self, series: int = 0) -> Fields:
        """Return all of a series."""
        return self.bank.snapshot(self.slots[series])


def silence(trial: Trial) -> None:
    """Let nothing into the second unit, as for nearly as long as is borne."""

    def deaf(params: Array) -> Array:
        params[..., 2:, 1] = 0.0
        return params

    unit = np.arange(SMALL.units) == 1
    moments = {}
    if trial.bank.specification.optimizer == "adam":  # so that it stays so
        moments = {"optimizer_1last_1first_moment": 0.0, "optimizer_1last_1second_moment": 1e9}
    trial.change(
        params=deaf,
        state=lambda state: np.where(unit, 0.0, state),
        stuck=np.where(unit, watch.STUCK_EVENTS - 1, 0),
        jacobian=0.0,
        **moments,
    )


def guards(told: list[StepResult], series: int = 0) -> list[int]:
    """Return what was done at each event."""
    return [int(result.guard[series, 0]) for result in told]


def places(told: list[StepResult], action: int, series: int = 0) -> list[int]:
    """Return at which events an action was taken."""
    return [at for at, done in enumerate(guards(told, series)) if done & action]


@pytest.mark.parametrize("compiled", COMPILED)
def test_the_second_rung_learns_from_an_outlier_as_if_it_were_smaller(compiled: bool) -> None:
    """However far out it is, what is learned from it is the same to the bit."""
    learned = []
    for size in (60.0, 6000.0):
        values = walk(400)
        values[350] += size
        trial = Trial(RECURRENT, values, compiled=compiled)
        assert not places(trial.go(350), WINSORISE)
        assert places(trial.go(1), WINSORISE) == [0]
        learned.append((trial.field("params").tobytes(), trial.field("weights").tobytes()))
    assert learned[0] == learned[1]


@pytest.mark.parametrize("compiled", COMPILED)
def test_the_third_rung_clips_a_large_gradient_and_skips_a_huge_one(compiled: bool) -> None:
    trial = Trial(replace(RECURRENT, optimizer="adam"), walk(300), compiled=compiled)
    trial.go(250)
    for factor, action in ((15.0, CLIP), (1e6, SKIP)):
        trial.change(jacobian=lambda kept, by=factor: kept * by / np.linalg.norm(kept))
        before = trial.field("params").copy()
        (told,) = trial.go(1)
        assert int(told.guard[0, 0]) & (CLIP | SKIP) == action
        assert (trial.field("params").tobytes() == before.tobytes()) == (action == SKIP)
        assert not told.guard[1, 0] & SKIP


@pytest.mark.parametrize("compiled", COMPILED)
def test_the_fourth_rung_begins_an_exploded_influence_anew_and_halves_the_learning_rate(
    compiled: bool,
) -> None:
    trial = Trial(RECURRENT, walk(300), compiled=compiled)
    trial.go(250)
    trial.change(memory_1trace=1e7)
    (told,) = trial.go(1)
    assert guards([told]) == [RESET]
    assert told.influence_norm[0, 0] == 0.0
    assert told.guard[1, 0] == 0
    assert trial.field("figures")[watch.RATE_FACTOR] == 0.5
    trial.change(memory_1trace=1e7)
    assert guards(trial.go(1)) == [RESET]
    assert trial.field("figures")[watch.RATE_FACTOR] == 0.25


def test_a_halved_learning_rate_moves_the_weights_half_as_far_and_comes_back_after_health() -> None:
    trial = Trial(RECURRENT, walk(4000), compiled=True)
    trial.go(250)
    trial.change(
        figures=lambda figures: np.where(np.arange(len(watch.FIGURES)) == watch.RATE_FACTOR, 0.5, figures)
    )
    before = trial.field("params").copy()
    trial.go(1)
    slow, usual = (trial.field("params", series) - before for series in (0, 1))
    np.testing.assert_allclose(slow, usual / 2.0, rtol=1e-9, atol=1e-13)
    told = trial.go(2000)
    factors = [result.stability[0, 0, watch.RATE_FACTOR] for result in told]
    assert factors[0] == 0.5
    assert factors[-1] == 1.0


def test_the_fourth_rung_acts_when_the_exponent_was_above_zero_for_long() -> None:
    """A fully connected cell of three times the recurrent weights is chaotic; an influence may be bounded by saturation."""
    specification = replace(RECURRENT, cell="vanilla", units=12, learning_rate=0.0)
    trial = Trial(specification, walk(1200), compiled=True)
    trial.go(5)

    def wild(params: Array) -> Array:
        params[:, :12] *= 4.0
        params[:, 12:] *= 0.1
        return params

    trial.change(params=wild)
    told = trial.go(1100)
    exponents = np.array([result.stability[:, 0, watch.LYAPUNOV] for result in told])
    assert exponents[150:, 0].max() > 0.05
    assert exponents[150:, 1].max() < 0.0
    assert places(told, RESET)
    assert not places(told, RESET, series=1)


@pytest.mark.parametrize("compiled", COMPILED)
def test_two_hundred_events_with_a_positive_exponent_begin_the_influence_anew(compiled: bool) -> None:
    trial = Trial(RECURRENT, walk(600), compiled=compiled)
    trial.go(250)
    above = watch.POSITIVE_EVENTS - 1
    trial.change(
        counts=lambda counts: np.where(np.arange(watch.N_COUNTS) == watch.POSITIVE, above, counts),
        figures=lambda figures: np.where(np.arange(len(watch.FIGURES)) == watch.LYAPUNOV, 0.5, figures),
    )
    assert guards(trial.go(1)) == [RESET]
    assert not trial.field("memory.trace").any()
    assert trial.field("state").any()
    assert trial.field("counts")[watch.POSITIVE] == 0
    assert guards(trial.go(1)) == [0]


@pytest.mark.parametrize("field", ["params", "weights"])
def test_the_fifth_rung_goes_back_from_weights_that_are_no_numbers_and_the_event_is_forecast(
    field: str,
) -> None:
    trial = Trial(RECURRENT, walk(3000), compiled=True)
    trial.go(2500)
    good = trial.field(f"good.{field}").copy()
    trial.change(**{field: np.nan})
    told = trial.go(1)
    assert guards(told) == [ROLL_BACK]
    assert np.isfinite(told[0].prediction).all()
    assert trial.field(field).tobytes() == good.tobytes()
    fresh = Bank(RECURRENT)
    assert good.tobytes() != fresh.snapshot(fresh.admit())[EXPERT + field][0].tobytes()
    assert all(np.isfinite(value).all() for value in trial.state().values())
    told = trial.go(400)
    assert not places(told, ROLL_BACK)
    errors = np.array([result.error[:, 0, 0] for result in told])
    assert np.abs(errors[:, 0]).mean() < 1.1 * np.abs(errors[:, 1]).mean()


def test_the_fifth_rung_goes_back_when_the_loss_was_far_over_the_baselines_for_long() -> None:
    trial = Trial(replace(RECURRENT, horizons=(1, 3)), walk(3000), compiled=True)
    trial.go(2500)
    good = trial.field("good.weights").copy()
    trial.change(weights=lambda weights: weights + 40.0, covariance=0.0)  # it is wrong, and certain of it
    told = trial.go(watch.WORSE_LABELS + 30)
    (at,) = places(told, ROLL_BACK)
    assert at >= watch.WORSE_LABELS
    assert not places(told, ROLL_BACK, series=1)
    assert np.abs(trial.field("weights") - good).max() < 1.0
    assert trial.field("figures")[watch.RATE_FACTOR] == 0.5


def test_weights_are_kept_as_good_after_a_healthy_window_alone() -> None:
    trial = Trial(RECURRENT, walk(2100), compiled=True)
    trial.go(watch.LOOK_EVERY - 1)
    new = trial.field("good.params").copy()
    trial.change(counts=lambda counts: np.where(np.arange(watch.N_COUNTS) == watch.HEALTHY, 500, counts))
    trial.go(1)
    assert trial.field("counts")[watch.EVENTS] == watch.LOOK_EVERY
    assert trial.field("good.params").tobytes() == new.tobytes()
    trial.go(watch.LOOK_EVERY)
    assert trial.field("good.params").tobytes() == trial.field("params").tobytes() != new.tobytes()


@pytest.mark.parametrize("experts", [("seasonal", "recurrent", "last_value"), ("recurrent",)])
def test_the_sixth_rung_serves_the_baseline_and_comes_back_from_it(experts: tuple[str, ...]) -> None:
    trial = Trial(replace(RECURRENT, experts=experts), walk(4000), compiled=True)
    trial.go(1100)
    done = []
    for _ in range(watch.ROLLBACKS):
        trial.change(params=np.nan)
        done += trial.go(40)
    assert len(places(done, ROLL_BACK)) == watch.ROLLBACKS
    assert places(done, QUARANTINE) == [80]
    assert trial.bank.quarantined_count(np.array(trial.slots)) == 1
    told = trial.go(2 * HEALTHY_EVENTS)
    (freed,) = places(told, RELEASE)
    assert HEALTHY_EVENTS - 40 <= freed < 2 * HEALTHY_EVENTS
    levels = trial.stream.values[trial.row - len(told) :, 0, 0]
    for result, level in zip(told[:freed], levels, strict=False):
        if len(experts) > 1:
            assert result.prediction[0, 0, 0] == result.expert_predictions[0, 0, 0, 0]
            assert result.weights[0, 0, 0].tolist() == [1.0, 0.0, 0.0]
        else:
            assert result.prediction[0, 0, 0] == pytest.approx(level, rel=1e-12)
            assert result.weights[0, 0, 0].tolist() == [0.0]
    assert told[freed + 1].weights[0, 0, 0].tolist() not in ([1.0, 0.0, 0.0], [0.0])
    assert trial.bank.quarantined_count(np.array(trial.slots)) == 0
    assert not places(told, QUARANTINE, series=1)


def test_a_quarantine_goes_on_to_the_bit_after_a_restart() -> None:
    trial = Trial(RECURRENT, walk(3200), compiled=True)
    trial.go(300)
    for _ in range(watch.ROLLBACKS):
        trial.change(params=np.nan)
        trial.go(20)
    other = Trial(RECURRENT, walk(3200), compiled=True)
    for mine, saved in zip(other.slots, trial.slots, strict=True):
        other.bank.restore(mine, trial.bank.snapshot(saved))
    other.row = trial.row
    told, again = trial.go(2000), other.go(2000)
    assert guards(told) == guards(again)
    assert places(told, RELEASE)
    assert state_bytes(trial.bank, trial.slots[0]) == state_bytes(other.bank, other.slots[0])


def test_rollbacks_far_apart_are_no_quarantine() -> None:
    trial = Trial(replace(RECURRENT, quarantine_span=50), walk(400), compiled=True)
    trial.go(100)
    for _ in range(watch.ROLLBACKS + 1):
        trial.change(params=np.nan)
        told = trial.go(40)
        assert places(told, ROLL_BACK) == [0]
        assert not places(told, QUARANTINE)


@pytest.mark.parametrize("compiled", COMPILED)
def test_the_seventh_rung_makes_a_unit_anew_that_was_silent_for_long(compiled: bool) -> None:
    trial = Trial(replace(RECURRENT, horizons=(1, 3), optimizer="adam"), walk(400), compiled=compiled)
    trial.go(250)
    n, unit = SMALL.units, np.arange(SMALL.units) == 1
    silence(trial)
    before = trial.field("params").copy()
    assert guards(trial.go(1)) == [RENEW]
    after = trial.field("params")
    np.testing.assert_allclose(after[:, ~unit], before[:, ~unit], atol=1e-6)
    assert np.abs(after[2:, unit]).min() > 0.0
    weights = trial.field("weights")
    assert not weights[:, [1, n + 1]].any()
    assert weights[:, [0, n]].any()
    assert not trial.field("jacobian")[:, :, unit].any()
    assert not trial.field("memory.trace")[..., unit].any()
    assert trial.field("stuck").tolist() == [0, 0, 0]
    assert int(trial.field("renewed")) == 1
    told = trial.go(100)
    assert not places(told, RENEW)
    assert trial.field("weights")[:, [1, n + 1]].any()


@pytest.mark.parametrize("compiled", COMPILED)
@pytest.mark.parametrize("optimizer", ["ekf_joint", "ekf_node"])
def test_a_filter_knows_nothing_of_a_unit_that_was_made_anew(compiled: bool, optimizer: str) -> None:
    trial = Trial(replace(RECURRENT, optimizer=optimizer), walk(300), compiled=compiled)
    trial.go(250)
    silence(trial)
    assert guards(trial.go(1)) == [RENEW]
    covariance = trial.field("optimizer.covariance.0")
    q = trial.field("params").shape[0]
    own = covariance[1] if optimizer == "ekf_node" else covariance[0, q : 2 * q, q : 2 * q]
    np.testing.assert_array_equal(own, 0.05 * np.eye(q))
    if optimizer == "ekf_joint":
        assert not covariance[0, q : 2 * q, 2 * q :].any()
    other = covariance[0, :q, :q]
    assert (other != 0.05 * np.eye(q)).any()


def test_a_unit_that_was_made_anew_draws_by_its_count_and_not_by_its_batch() -> None:
    descending = replace(RECURRENT, optimizer="adam")
    left, right = (Trial(descending, walk(300), compiled=False) for _ in range(2))
    for trial in (left, right):
        trial.go(250)
        silence(trial)
    left.go(1)
    right.bank.step(
        np.array(right.slots[:1]), right.stream.times[250, :1], right.stream.values[250, :1], np.empty((1, 0))
    )
    assert left.field("renewed") == 1
    assert state_bytes(left.bank, left.slots[0]) == state_bytes(right.bank, right.slots[0])


def test_what_is_dear_is_computed_every_thousand_events() -> None:
    trial = Trial(RECURRENT, walk(1100), compiled=True)
    told = trial.go(watch.LOOK_EVERY + 1)
    dear = np.array([result.stability[0, 0, watch.EFFECTIVE_RANK :] for result in told])
    assert not dear[:-1].any()
    rank, condition, norm, readout = dear[-1]
    assert 1.0 <= rank <= 2 * SMALL.units
    assert 0.0 < condition < 16.0
    assert norm > 0.0
    assert readout > 0.0


def test_on_ordinary_data_no_rung_beyond_the_third_is_climbed() -> None:
    specification = replace(SMALL, targets=("a", "b"), features=("f",), horizons=(1, 3))
    stream = make_stream(specification, rows=2500, series=3, seed=7, missing=0.05)
    bank = Bank(specification)
    slots = [bank.admit() for _ in range(3)]
    seen = 0
    for row in range(2500):
        seen |= int(np.bitwise_or.reduce(step(bank, slots, stream, row).guard, axis=None))
    assert seen & WINSORISE
    assert not seen & (RESET | ROLL_BACK | QUARANTINE | RELEASE | RENEW | RESTORE | ATTEND)


def test_every_action_has_a_bit_of_its_own() -> None:
    bits = (WINSORISE, CLIP, SKIP, RESET, ROLL_BACK, QUARANTINE, RELEASE, RENEW, RESTORE, ATTEND)
    assert [1 << at for at in range(len(ACTIONS) + 1)] == list(bits)
