"""Goal: the compiled event loops of diagonal cells are the numpy path: the same predictions, losses and states, to rounding.

Method: the same streams over several models through a bank with its twin and one without; cut anyhow; broken models.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from models.cells import CELLS
from models.kernels import fetching
from models.learner import OnlineLearner, features_of
from models.learner_bank import LearnerBank
from models.losses import LOSSES
from models.optimizers import JACOBIAN_OPTIMIZERS, OPTIMIZERS
from models.optimizers.adam import Adam
from models.optimizers.ekf import Ekf
from models.optimizers.obgd import Obgd
from models.optimizers.recursive_least_squares import Rls
from models.plasticity import ContinualBackprop, widths_of
from models.precision import Precision
from models.protocols import Array, BoolArray, Cell, IntArray
from models.readouts import READOUTS
from models.rules import RULES
from models.updates import Descent, Filter, Update

pytest.importorskip("numba", reason="the compiled twins need the extra `fast`")

MODELS, INPUTS = 3, 2
CELL_NAMES = ("elstm", "rtu", "lru")
DESCENTS = {"sgd": 0.01, "adam": 0.003}
"""And their rates. At .01 Adam takes an LRU along a path that carries one rounding to 1e-12, in numpy as well."""
FILTERS: dict[str, dict[str, float]] = {
    "obgd": {"kappa": 20.0},
    "ekf_node": {},
    "ekf_joint": {},
    "rls": {},
}
"""And their options. With its default of 2 ObGD takes complex cells along a path that carries one rounding to 1e-9."""
UPDATES = (*DESCENTS, *FILTERS)


def updating(name: str) -> Update:
    """Return an update by its optimizer's name."""
    if name in DESCENTS:
        return Descent(OPTIMIZERS[name](learning_rate=DESCENTS[name]))
    return Filter(JACOBIAN_OPTIMIZERS[name](**FILTERS[name]))


def make(
    cell_name: str,
    update: str | Update,
    *,
    n_outputs: int = 1,
    precision: Precision = "float64",
    of_traces: Precision = "float64",
) -> OnlineLearner:
    cell = CELLS[cell_name](n_inputs=INPUTS, n_units=6)
    readout = READOUTS["linear"](n_features=features_of(cell), n_outputs=n_outputs)
    moving = updating(update) if isinstance(update, str) else update
    rule = RULES["rtrl_trace"](cell, precision=of_traces)
    return OnlineLearner(cell, rule, readout, LOSSES["squared"](), moving, precision=precision)


def stream(events: int, n_outputs: int = 1) -> tuple[IntArray, Array, Array, BoolArray]:
    """Return models, inputs, targets that follow the inputs, and where they are scored."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(events, INPUTS))
    targets = 0.5 * inputs[:, :1] + 0.3 * inputs[:, 1:] * np.arange(n_outputs)
    return rng.integers(0, MODELS, events), inputs, targets, rng.random(events) < 0.9


def banks(learner: OnlineLearner) -> tuple[LearnerBank, LearnerBank]:
    """Return a bank with its twin and one without, of the same models."""
    both = LearnerBank(learner, capacity=2), LearnerBank(learner, capacity=2, compiled=False)
    assert both[0].compiled
    assert not both[1].compiled
    for bank in both:
        assert sorted(bank.admit(seed) for seed in range(MODELS)) == list(range(MODELS))
    return both


def assert_alike(one: LearnerBank, other: LearnerBank, tolerance: float = 1e-12) -> None:
    """Hold all fields of all models to a tolerance, relative to each field's greatest."""
    for slot in range(MODELS):
        found = one.snapshot(slot)
        for name, value in other.snapshot(slot).items():
            scale = max(float(np.abs(value).max(initial=0.0)), 1.0)
            np.testing.assert_allclose(found[name], value, rtol=0, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize("update", ["sgd", "ekf_node"])
@pytest.mark.parametrize("cell_name", CELL_NAMES)
def test_traces_in_single_precision_are_near_and_half_as_large(cell_name: str, update: str) -> None:
    models, inputs, targets, scored = stream(500)
    single, numpys = banks(make(cell_name, update, of_traces="float32"))
    double, _ = banks(make(cell_name, update))
    found, plain, exact = (
        bank.consume(models, inputs, targets, scored).prediction for bank in (single, numpys, double)
    )
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5)
    near, true = (bank.snapshot(0)["memory.trace"] for bank in (single, double))
    assert near.dtype == np.float32
    assert 0.0 < np.abs(near - true).max() < 1e-5 * np.abs(true).max()
    assert single.bytes_per_model() == double.bytes_per_model() - near.nbytes


@pytest.mark.parametrize("of_traces", ["float32", "float64"])
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("cell_name", CELL_NAMES)
def test_models_in_single_precision_are_near_and_half_as_large(
    cell_name: str, update: str, of_traces: Precision
) -> None:
    models, inputs, targets, scored = stream(500)
    single, numpys = banks(make(cell_name, update, precision="float32", of_traces=of_traces))
    double, _ = banks(make(cell_name, update, of_traces=of_traces))
    found, plain, exact = (
        bank.consume(models, inputs, targets, scored).prediction for bank in (single, numpys, double)
    )
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-4)  # Adam makes much of a little
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-4)
    near, true = single.snapshot(0), double.snapshot(0)
    halved = [name for name, value in near.items() if value.dtype != true[name].dtype]
    assert halved == ["params", "state", "readout.0"]
    for name in halved:
        assert near[name].dtype == np.float32
        assert 0.0 < np.abs(near[name] - true[name]).max() < 1e-4 * np.abs(true[name]).max()
    assert single.bytes_per_model() == double.bytes_per_model() - sum(near[name].nbytes for name in halved)


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("cell_name", CELL_NAMES)
def test_memory_that_is_asked_for_beforehand_changes_no_bit(
    cell_name: str, update: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, _ = banks(make(cell_name, update, of_traces="float32"))
    far, _ = banks(make(cell_name, update, of_traces="float32"))
    expected = near.consume(*stream(300))
    monkeypatch.setattr(fetching, "NEAR_BYTES", 0)
    found = far.consume(*stream(300))
    assert found.prediction.tobytes() == expected.prediction.tobytes()
    for slot in range(MODELS):
        other = near.snapshot(slot)
        assert all(value.tobytes() == other[name].tobytes() for name, value in far.snapshot(slot).items())


def test_slabs_are_far_once_they_outgrow_a_cores_caches() -> None:
    bank = LearnerBank(make("elstm", "adam"), capacity=1)
    models = fetching.NEAR_BYTES // bank.bytes_per_model()
    slabs = {"params": np.zeros((1, bank.bytes_per_model() // 8))}
    assert not fetching.are_far(slabs)
    assert fetching.are_far({"params": np.tile(slabs["params"], (models + 2, 1))})


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("cell_name", CELL_NAMES)
def test_the_twin_gives_what_numpy_gives(cell_name: str, update: str, n_outputs: int) -> None:
    with_it, without = banks(make(cell_name, update, n_outputs=n_outputs))
    models, inputs, targets, scored = stream(400, n_outputs)
    found = with_it.consume(models, inputs, targets, scored)
    expected = without.consume(models, inputs, targets, scored)
    np.testing.assert_allclose(found.prediction, expected.prediction, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=0, atol=1e-12)
    assert_alike(with_it, without)
    assert found.loss[-60:].mean() < 0.9 * found.loss[:60].mean()  # something was learned
    assert (found.loss[~scored] == 0.0).all()


OPTIONS: dict[str, Adam | Ekf | Rls | Obgd] = {
    "ekf that knows its noise": Ekf(adaptive=False, prior_variance=0.01),
    "ekf with a narrow gate": Ekf(decoupled=True, gate=0.5, memory=20.0, process_noise=1e-4),
    "ekf without room": Ekf(decoupled=True, process_noise=1e-3, trace_max=0.049),
    "rls that forgets": Rls(forgetting=0.95, prior_variance=0.5),
    "obgd that falls less short": Obgd(learning_rate=0.1),
    "adam of other decays": Adam(learning_rate=0.003, beta1=0.5, beta2=0.9, epsilon=1e-3),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_twin_heeds_an_optimizers_options(name: str) -> None:
    optimizer = OPTIONS[name]
    update: Update = Descent(optimizer) if isinstance(optimizer, Adam) else Filter(optimizer)
    both = banks(make("elstm", update, n_outputs=2))
    models, inputs, targets, scored = stream(400, 2)
    found, expected = (bank.consume(models, inputs, targets, scored) for bank in both)
    np.testing.assert_allclose(found.prediction, expected.prediction, rtol=0, atol=1e-12)
    assert_alike(*both)


@pytest.mark.parametrize("update", FILTERS)
def test_a_filter_learns_nothing_from_a_target_out_of_bounds(update: str) -> None:
    both = banks(make("lru", update))
    models, inputs, targets, scored = stream(200)
    targets[50:100] = -1e60
    for bank in both:
        bank.consume(models[:50], inputs[:50], targets[:50], scored[:50])
    before = both[0].snapshot(0)["params"]
    found, expected = (bank.consume(models[50:100], inputs[50:100], targets[50:100]) for bank in both)
    assert found.loss.min() > 1e119
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-12)
    assert np.array_equal(both[0].snapshot(0)["params"], before)
    for bank in both:
        bank.consume(models[100:], inputs[100:], targets[100:], scored[100:])
    assert_alike(*both)


@pytest.mark.parametrize("cuts", [[1, 2, 3], [7, 40, 41], [100]])
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_how_a_stream_is_cut_and_who_shares_it_changes_no_bit(
    precision: Precision, update: str, cuts: list[int]
) -> None:
    learner = make("rtu", update, precision=precision, of_traces=precision)
    models, inputs, targets, scored = stream(120)
    whole, cut, alone = (LearnerBank(learner) for _ in range(3))
    for bank in (whole, cut):
        for seed in range(MODELS):
            bank.admit(seed)
    expected = whole.consume(models, inputs, targets, scored).prediction
    edges = [0, *cuts, 120]
    parts = [
        cut.consume(models[a:b], inputs[a:b], targets[a:b], scored[a:b]).prediction
        for a, b in pairwise(edges)
    ]
    assert np.concatenate(parts).tobytes() == expected.tobytes()
    own = models == 1
    slot = alone.admit(1)
    single = alone.consume(np.full(int(own.sum()), slot), inputs[own], targets[own], scored[own])
    assert single.prediction.tobytes() == expected[own].tobytes()
    for name, value in alone.snapshot(slot).items():
        assert value.tobytes() == whole.snapshot(1)[name].tobytes(), name


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory.trace", np.nan),
        ("memory.trace", np.inf),
        ("memory.trace", 1e9),
        ("memory.trace", 1e200),
        ("state", np.nan),
        ("state", -np.inf),
    ],
)
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("cell_name", CELL_NAMES)
def test_what_is_broken_begins_anew_as_in_numpy(
    cell_name: str, update: str, field: str, value: float
) -> None:
    both = banks(make(cell_name, update))
    models, inputs, targets, scored = stream(200)
    for bank in both:
        bank.consume(models[:100], inputs[:100], targets[:100], scored[:100])
        fields = bank.snapshot(1)
        fields[field][:] = value
        bank.restore(1, fields)
    found, expected = (bank.consume(models[100:], inputs[100:], targets[100:], scored[100:]) for bank in both)
    assert np.isfinite(found.prediction).all()
    np.testing.assert_allclose(found.prediction, expected.prediction, rtol=0, atol=1e-11)
    assert_alike(*both, tolerance=1e-11)


@pytest.mark.parametrize("value", [np.nan, 1e9, 1e30])  # whose square overflows in single precision
@pytest.mark.parametrize("cell_name", CELL_NAMES)
def test_what_is_broken_in_single_precision_begins_anew_too(cell_name: str, value: float) -> None:
    both = banks(make(cell_name, "sgd", precision="float32", of_traces="float32"))
    models, inputs, targets, scored = stream(200)
    for bank in both:
        bank.consume(models[:100], inputs[:100], targets[:100], scored[:100])
        fields = bank.snapshot(1)
        fields["memory.trace"][:] = value
        bank.restore(1, fields)
    found, expected = (bank.consume(models[100:], inputs[100:], targets[100:], scored[100:]) for bank in both)
    assert np.isfinite(found.prediction).all()
    np.testing.assert_allclose(found.prediction, expected.prediction, rtol=0, atol=1e-5)
    assert_alike(*both, tolerance=1e-5)
    assert np.abs(both[0].snapshot(1)["memory.trace"]).max() < 1e3


@pytest.mark.parametrize("update", UPDATES)
def test_an_event_that_is_not_scored_changes_state_and_trace_alone(update: str) -> None:
    bank = LearnerBank(make("lru", update))
    slot = bank.admit()
    rng = np.random.default_rng(2)
    bank.consume(np.full(20, slot), rng.normal(size=(20, INPUTS)), rng.normal(size=(20, 1)))
    before = bank.snapshot(slot)
    bank.consume(np.full(3, slot), np.ones((3, INPUTS)), np.full((3, 1), np.nan), np.zeros(3, dtype=np.bool_))
    changed = {name for name, value in bank.snapshot(slot).items() if not np.array_equal(value, before[name])}
    assert changed == {"state", "memory.trace"}


def test_events_may_come_in_any_layout() -> None:
    learner = make("rtu", "sgd")
    models, inputs, targets, scored = stream(60)
    plain, odd = LearnerBank(learner), LearnerBank(learner)
    for bank in (plain, odd):
        for seed in range(MODELS):
            bank.admit(seed)
    fortran = np.asfortranarray(inputs)
    fortran.flags.writeable = False
    strided = np.repeat(targets, 2, axis=1)[:, ::2]
    expected = plain.consume(models, inputs, targets, scored)
    found = odd.consume(models.astype(np.int32), fortran, strided, np.repeat(scored, 2)[::2])
    assert found.prediction.tobytes() == expected.prediction.tobytes()


def other_learners() -> dict[str, OnlineLearner]:
    """Return learners that have no twin for diagonal cells."""

    def of(cell_name: str, update: Update, rule: str = "rtrl_trace", **parts: Any) -> OnlineLearner:
        cell: Cell = CELLS[cell_name](n_inputs=2, n_units=4)
        see = bool(parts.get("see_inputs"))
        readout = READOUTS[parts.get("readout", "linear")](
            n_features=features_of(cell) + (cell.n_inputs if see else 0), n_outputs=1
        )
        loss = LOSSES[parts.get("loss", "squared")]()
        plasticity = ContinualBackprop(widths_of(cell, readout)) if parts.get("renews") else None
        return OnlineLearner(
            cell, RULES[rule](cell), readout, loss, update, see_inputs=see, plasticity=plasticity
        )

    sgd = updating("sgd")
    return {
        "another cell": of("mingru", sgd),
        "another rule": of("rtu", sgd, "bptt_sliding"),
        "another loss": of("rtu", sgd, loss="huber"),
        "another readout": of("rtu", sgd, readout="feed_forward"),
        "inputs beside the units": of("rtu", sgd, see_inputs=True),
        "units made anew": of("rtu", sgd, renews=True),
        "another optimizer": of("rtu", Descent(OPTIMIZERS["rmsprop"](learning_rate=0.1))),
        "another filter": of("rtu", Filter(JACOBIAN_OPTIMIZERS["autostep"]())),
    }


@pytest.mark.parametrize("name", other_learners())
def test_a_learner_that_is_not_computed_exactly_has_no_twin(name: str) -> None:
    assert not LearnerBank(other_learners()[name]).compiled
