"""Goal: the recurrent expert keeps the true gradient of each forecast, learns by it, and survives its explosion.

Method: central differences through the whole expert with frozen weights; the update that a label makes, taken
apart; an ablation on a series that needs more memory than its lags; chaotic weights put in.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from models.bank import Bank
from models.calendar import N_CALENDAR
from models.cells import CELLS
from models.experts.cell_updates import PROCESS_NOISE, SKIP_CLIPS
from models.experts.recurrent import INFLUENCE_CEILING, Recurrent
from models.forecast_protocols import Due, Observation
from models.optimizers import JACOBIAN_OPTIMIZERS, OPTIMIZERS
from models.protocols import Array, State
from models.specification import Specification
from tests.models.streams import SMALL, make_stream, rows_of, run, side_by_side, state_bytes, step
from tests.oracles.gradients import central_differences_of_rows

HORIZONS = (1, 3)
NONE = np.empty((1, 0))
SPECIFICATION = replace(
    SMALL, horizons=HORIZONS, features=("f",), experts=("recurrent",), units=4, lags=2, optimizer="adam"
)


def observations(count: int, *, seed: int = 0) -> list[Observation]:
    """Return events of one series as the forecaster would hand them on, with slots as the label clock's."""
    rng = np.random.default_rng(seed)
    return [
        Observation(
            level=np.zeros(1),
            scale=np.ones(1),
            increment=rng.normal(size=1),
            deviation=3.0 * rng.normal(size=1),
            steady_increment=rng.normal(size=1),
            steady_deviation=rng.normal(size=1),
            steady_offset=rng.normal(size=1),
            seasonal_level=rng.normal(size=(1, 2)),
            seasonal_change=rng.normal(size=(1, 2, 2)),
            features=rng.normal(size=(1, 1)),
            others=np.empty((1, 0)),
            calendar=np.linspace(-1.0, 1.0, N_CALENDAR)[None],
            row=np.array([row % 3]),
            slot=np.array([[0, 1 + row % 3]]),
            hasty=np.array([False]),
        )
        for row in range(count)
    ]


def forecast_after(expert: Recurrent, state: State, events: list[Observation]) -> Array:
    """Return the last event's forecast, (B, H)."""
    for event in events[:-1]:
        expert.forecast(state, event)
    return expert.forecast(state, events[-1])


def repeated(event: Observation, rows: int) -> Observation:
    """Return the event as so many rows see it at once."""
    return Observation(**{one.name: getattr(event, one.name).repeat(rows, axis=0) for one in fields(event)})


def new_state(expert: Recurrent) -> State:
    """Return a new expert's state with a readout that listens to everything."""
    state = rows_of(expert.init_state())
    state["weights"] = np.random.default_rng(5).normal(size=state["weights"].shape)
    return state


def due_now(expert: Recurrent, event: Observation, residual: list[float], valid: list[bool]) -> Due:
    return Due(
        valid=np.array([valid]),
        slot=event.slot,
        origin=np.repeat(event.row[:, None], 2, axis=1),
        target=np.zeros((1, 2)),
        residual=np.where([valid], [residual], 0.0),
        bound=np.full((1, 2), 4.0),
        hasty=event.hasty,
    )


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("rows", [1, 2, 25])
def test_the_kept_gradient_equals_central_differences_through_the_whole_expert(cell: str, rows: int) -> None:
    expert = Recurrent(replace(SPECIFICATION, cell=cell))
    events = observations(rows)
    state = new_state(expert)
    forecast_after(expert, state, events)
    kept = state["jacobian"][0, events[-1].slot[0]]

    def by_params(params: Array) -> Array:
        rows = len(params)
        changed = {name: value.repeat(rows, axis=0) for name, value in new_state(expert).items()}
        changed["params"] = params.copy()
        return forecast_after(expert, changed, [repeated(event, rows) for event in events])

    expected = central_differences_of_rows(by_params, new_state(expert)["params"][0])
    assert np.abs(expected).max() > 0.01
    for horizon in range(len(HORIZONS)):
        error = np.abs(kept[horizon] - expected[horizon]).max() / np.abs(expected[horizon]).max()
        assert error < 1e-6


@pytest.mark.parametrize("cell", CELLS)
def test_the_readout_sees_the_units_the_lags_and_what_stands_beside_them(cell: str) -> None:
    expert = Recurrent(replace(SPECIFICATION, cell=cell, lags=3))
    events = observations(6)
    state = new_state(expert)
    (forecast,) = forecast_after(expert, state, events)
    last, read = events[-1], expert.cell.read_out(state["state"])[0][0]
    expected = [
        *read.reshape(-1),
        *(event.steady_increment[0] for event in events[:-4:-1]),
        last.steady_deviation[0],
        *last.features[0],
        1.0,
        *last.calendar[0],
        *last.seasonal_change[0, 0],
    ]
    assert state["inputs"][0, last.row[0]].tolist() == expected
    for place in range(len(HORIZONS)):
        np.testing.assert_allclose(
            forecast[place], last.steady_offset[0] + state["weights"][0, place] @ expected, rtol=1e-12
        )


@pytest.mark.parametrize("cell", CELLS)
def test_the_gradient_kept_for_each_pending_forecast_is_that_forecasts_own(cell: str) -> None:
    """Forecasts of three rows are pending for the far horizon; each slot must hold what belonged to its row."""
    expert = Recurrent(replace(SPECIFICATION, cell=cell))
    events = observations(9)
    state = new_state(expert)
    forecast_after(expert, state, events)
    for made_at in (6, 7, 8):
        alone = new_state(expert)
        forecast_after(expert, alone, events[: made_at + 1])
        slot = int(events[made_at].slot[0, 1])
        assert state["jacobian"][0, slot].tobytes() == alone["jacobian"][0, slot].tobytes()
        row = int(events[made_at].row[0])
        for name in ("inputs", "gain"):
            assert state[name][0, row].tobytes() == alone[name][0, row].tobytes()


@pytest.mark.parametrize(
    ("residual", "valid"),
    [([0.3, -0.2], [True, True]), ([0.3, 0.0], [True, False]), ([0.0, -0.2], [False, True])],
    ids=["both", "near", "far"],
)
def test_a_label_moves_the_weights_down_the_gradient_of_its_squared_error(
    residual: list[float], valid: list[bool]
) -> None:
    """The gradient of sum_h e_h^2 / 2 is -sum_h e_h d f_h / d theta; Adam's first moment is a tenth of what it got."""
    expert = Recurrent(replace(SPECIFICATION, clip_norm=1e6))
    events = observations(10)
    state = new_state(expert)
    forecast_after(expert, state, events)
    kept = state["jacobian"][0, events[-1].slot[0]].copy()
    before = state["params"].copy()
    expert.learn(state, due_now(expert, events[-1], residual, valid))
    gradient = -residual[0] * kept[0] - residual[1] * kept[1]
    np.testing.assert_allclose(state["optimizer.last.first_moment"][0], 0.1 * gradient, rtol=1e-12)
    np.testing.assert_allclose(state["gradient_norm"], [np.linalg.norm(gradient)], rtol=1e-12)
    moved = state["params"] - before
    assert (np.sign(moved[0]) == -np.sign(gradient)).all()
    assert state["updated"].tolist() == [True]


@pytest.mark.parametrize("cell", CELLS)
def test_a_small_step_by_a_label_lowers_the_error_of_the_same_forecast(cell: str) -> None:
    expert = Recurrent(replace(SPECIFICATION, cell=cell, learning_rate=1e-4))
    events = observations(12)
    state = new_state(expert)
    before = forecast_after(expert, state, events)
    residual = np.array([0.5, -0.7])
    expert.learn(state, due_now(expert, events[-1], residual.tolist(), [True, True]))
    again = new_state(expert)
    again["params"] = state["params"]
    left = residual - (forecast_after(expert, again, events) - before)
    assert (left**2).sum() < (residual**2).sum()


def test_without_a_label_nothing_is_learned() -> None:
    expert = Recurrent(SPECIFICATION)
    events = observations(10)
    state = new_state(expert)
    forecast_after(expert, state, events)
    before = {name: value.copy() for name, value in state.items()}
    expert.learn(state, due_now(expert, events[-1], [1.0, 1.0], [False, False]))
    changed = {name for name, value in state.items() if value.tobytes() != before[name].tobytes()}
    assert changed == set()
    assert not expert.figures(state, np.array([False]))["skipped"].any()


def test_a_gradient_far_over_the_clip_is_skipped_and_one_over_it_is_clipped() -> None:
    expert = Recurrent(SPECIFICATION)
    events = observations(10)
    state = new_state(expert)
    forecast_after(expert, state, events)
    norm = float(np.linalg.norm(state["jacobian"][0, events[-1].slot[0, 0]]))
    before = state["params"].copy()
    for clips, expected in (
        (1.5 * SKIP_CLIPS, (False, False, True)),
        (0.5 * SKIP_CLIPS, (True, True, False)),
    ):
        size = clips * SPECIFICATION.clip_norm
        due = due_now(expert, events[-1], [size / norm, 0.0], [True, False])
        expert.learn(state, due)
        figures = expert.figures(state, np.array([True]))
        assert (figures["updated"][0], figures["clipped"][0], figures["skipped"][0]) == expected
        np.testing.assert_allclose(figures["gradient_norm"], [size], rtol=1e-12)
        assert (state["params"].tobytes() == before.tobytes()) == expected[2]


def remembering(rows: int, series: int) -> Array:
    """Return random walks whose every increment is mostly the one of five rows before, (T, N)."""
    rng = np.random.default_rng(0)
    increments = rng.normal(size=(rows, series))
    for t in range(5, rows):
        increments[t] = 0.8 * increments[t - 5] + 0.6 * rng.normal(size=series)
    walks: Array = increments.cumsum(axis=0)
    return walks


def run_recurrent(specification: Specification, walks: Array) -> tuple[Array, Bank, list[int]]:
    """Return the errors, (T, N), and the bank that made them."""
    bank = Bank(specification)
    slots = [bank.admit() for _ in range(walks.shape[1])]
    # Without a season: none of rows an hour apart fits into two.
    told = run(bank, slots, side_by_side(*walks.T, interval=3600.0))
    return told["error"][:, :, 0, 0], bank, slots


@pytest.mark.parametrize("optimizer", ["adam", "ekf_joint", "ekf_node"])
def test_training_the_recurrent_weights_helps_where_memory_beyond_the_lags_is_needed(optimizer: str) -> None:
    """The ablation: the same model with recurrent weights that stay as they were drawn, its readout learning alike."""
    walks = remembering(1200, 4)
    specification = Specification(experts=("recurrent",), units=2, lags=1, season_max=2, optimizer=optimizer)
    trained, bank, slots = run_recurrent(specification, walks)
    frozen, frozen_bank, _ = run_recurrent(replace(specification, optimizer="sgd", learning_rate=0.0), walks)
    fresh = Bank(specification)
    new = fresh.snapshot(fresh.admit())
    for slot in slots:
        before, after = new["expert.recurrent/params"], bank.snapshot(slot)["expert.recurrent/params"]
        assert (after != before).all()
        kept = frozen_bank.snapshot(slot)
        assert kept["expert.recurrent/params"].tobytes() == before.tobytes()
        assert (kept["expert.recurrent/weights"] != 0.0).any()
    assert (trained[600:] ** 2).mean() < 0.9 * (frozen[600:] ** 2).mean()


@pytest.mark.parametrize("optimizer", ["ekf_joint", "ekf_node"])
def test_a_filter_takes_the_shortest_horizons_error_as_the_kalman_filter_does(optimizer: str) -> None:
    """Against the textbook's matrices, from the prior: the first label's variance is its own square."""
    expert = Recurrent(replace(SPECIFICATION, optimizer=optimizer))
    events = observations(10)
    state = new_state(expert)
    forecast_after(expert, state, events)
    slope = state["jacobian"][0, events[-1].slot[0, 0]].T.reshape(-1)  # unit by unit
    before = state["params"][0].copy()
    expert.learn(state, due_now(expert, events[-1], [0.3, -0.7], [True, True]))
    prior = 0.05
    gain = prior * slope / (0.3**2 + prior * slope @ slope)
    np.testing.assert_allclose((state["params"][0] - before).T.reshape(-1), 0.3 * gain, rtol=1e-10)
    wanted = prior * np.eye(slope.size) - np.outer(gain, prior * slope) + PROCESS_NOISE * np.eye(slope.size)
    found = state["optimizer.covariance.0"][0]
    width = found.shape[-1]
    for group in range(len(found)):
        own = slice(group * width, (group + 1) * width)
        np.testing.assert_allclose(found[group], wanted[own, own], rtol=1e-10, atol=1e-12)
    assert len(found) == (1 if optimizer == "ekf_joint" else 4)
    np.testing.assert_allclose(state["gradient_norm"], [0.3 * np.linalg.norm(slope)], rtol=1e-12)


def test_a_filter_cuts_an_error_beyond_its_gate_and_says_so() -> None:
    expert = Recurrent(replace(SPECIFICATION, optimizer="ekf_joint"))
    events = observations(30)
    state = new_state(expert)
    forecast_after(expert, state, events)
    for residual in (0.1, -0.1) * 10:
        expert.learn(state, due_now(expert, events[-1], [residual, 0.0], [True, False]))
        assert not expert.figures(state, np.array([True]))["clipped"][0]
    moved = []
    for residual in (3.0, 30.0):
        copy = {name: value.copy() for name, value in state.items()}
        expert.learn(copy, due_now(expert, events[-1], [residual, 0.0], [True, False]))
        assert expert.figures(copy, np.array([True]))["clipped"][0]
        moved.append(copy["params"] - state["params"])
    np.testing.assert_allclose(moved[1], moved[0], rtol=1e-12)


def test_an_influence_that_explodes_is_counted_and_started_anew() -> None:
    """A fully connected cell of four times the recurrent weights is chaotic: its influence grows until it is reset."""
    specification = replace(SMALL, cell="vanilla", units=12, experts=("recurrent",), learning_rate=0.0)
    bank = Bank(specification)
    wild, calm = bank.admit(), bank.admit()
    fields = bank.snapshot(wild)
    # The recurrent weights stand first; inputs as strong would drive the units into saturation and hold them.
    fields["expert.recurrent/params"][:, :12] *= 4.0
    fields["expert.recurrent/params"][:, 12:] *= 0.1
    bank.restore(wild, fields)
    stream = side_by_side(*np.random.default_rng(1).normal(size=(2, 400)))
    largest = 0.0
    for row in range(400):
        result = step(bank, [wild, calm], stream, row)
        assert np.isfinite(result.prediction).all()
        assert np.isfinite(result.influence_norm).all()
        assert (result.influence_norm <= INFLUENCE_CEILING).all()
        largest = max(largest, float(result.influence_norm[0, 0]))
    assert largest > 1e3
    resets = [int(bank.snapshot(slot)["expert.recurrent/influence_resets"][0]) for slot in (wild, calm)]
    assert resets[0] > 1
    assert resets[1] == 0
    assert all(np.isfinite(value).all() for value in bank.snapshot(wild).values())


def test_a_reset_is_as_if_the_state_had_been_new(monkeypatch: pytest.MonkeyPatch) -> None:
    expert = Recurrent(replace(SPECIFICATION, cell="vanilla"))
    state, events = new_state(expert), observations(6)
    forecast_after(expert, state, events[:5])
    monkeypatch.setattr("models.experts.recurrent.INFLUENCE_CEILING", 0.0)
    expert.forecast(state, events[5])
    assert state["influence_resets"].tolist() == [1]
    assert state["state"][0].tobytes() == expert.cell.init_state().tobytes()
    assert not state["memory.influence"].any()
    assert not state["jacobian"][0, events[5].slot[0]].any()
    assert state["influence_norm"].tolist() == state["spectral_radius"].tolist() == [0.0]


EXPERT_RULES = {
    "rtu": ("snap_1", "immediate", "uoro", "bptt_sliding"),
    "gru": ("rtrl_block", "snap_1", "eprop", "r_kf"),
}


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, *JACOBIAN_OPTIMIZERS])
@pytest.mark.parametrize(
    ("cell", "rule"), [(cell, rule) for cell, rules in EXPERT_RULES.items() for rule in rules]
)
def test_the_expert_learns_by_the_rule_and_the_optimizer_that_are_set(
    cell: str, rule: str, optimizer: str
) -> None:
    specification = replace(SMALL, experts=("recurrent",), units=4, cell=cell, rule=rule, optimizer=optimizer)
    bank = Bank(specification)
    slot, rng = np.array([bank.admit()]), np.random.default_rng(0)
    before = bank.snapshot(int(slot[0]))["expert.recurrent/params"].copy()
    for at in range(40):
        value = np.sin(0.4 * at) + 0.1 * rng.normal()
        result = bank.step(slot, np.array([float(at)]), np.array([[value]]), NONE)
        assert np.isfinite(result.prediction).all()
    assert (bank.snapshot(int(slot[0]))["expert.recurrent/params"] != before).any()
    assert specification.version() != replace(specification, rule="exact").version()


@pytest.mark.parametrize("rule", ["rtrl_block", "rtrl_block_smooth"])
def test_an_influence_in_single_precision_gives_nearly_the_same_in_less_memory(rule: str) -> None:
    double = replace(SMALL, experts=("recurrent",), units=8, cell="gru", rule=rule, optimizer="sgd")
    single = replace(double, precision="float32")
    stream = make_stream(double, rows=120, series=2, seed=4)
    banks = [Bank(specification) for specification in (double, single)]
    told = [run(bank, [bank.admit(), bank.admit()], stream) for bank in banks]
    unit = told[0]["scale"][..., None]
    np.testing.assert_allclose(
        told[1]["prediction"] / unit, told[0]["prediction"] / unit, rtol=1e-9, atol=1e-5
    )
    fields = banks[1].snapshot(0)
    halved = {name: value for name, value in fields.items() if value.dtype == np.float32}
    assert "expert.recurrent/memory.influence" in halved
    less = sum(value.nbytes for value in halved.values())
    assert banks[0].bytes_per_series() - banks[1].bytes_per_series() == less
    other = Bank(single)
    other.restore(other.admit(), fields)
    assert state_bytes(other, 0) == state_bytes(banks[1], 0)


@pytest.mark.parametrize("wrong", [{"precision": "float32"}, {"precision": "half"}])
def test_a_precision_that_cannot_be_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="precision"):
        Bank(replace(SMALL, **wrong))  # type: ignore[arg-type]
