"""Goal: the three sequence modes are masks; a loss is taken where they say, and gives credit to its whole sequence.

Method: streams are compared with lists written by hand. A learner that records its gradients, and does not
move, is compared with backpropagation through each sequence at once; another one does learn.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from models.cells import CELLS
from models.learner import OnlineLearner, features_of
from models.losses import LOSSES
from models.modes import Batch, Event, asynchronous, endless, sequence_to_category, synchronous
from models.optimizers import OPTIMIZERS
from models.protocols import Array, BoolArray, Fields, LearningRule, Loss, State
from models.readouts import READOUTS
from models.rules import RULES
from models.updates import Change, Descent, Scored, Shapes, weighted
from tests.oracles.cells import cell_oracle

LENGTHS = (5, 3, 7)
"""Of a row's sequences. The other row has them the other way round, so that no two begin together but the first."""


def marks(events: Iterator[Event]) -> tuple[list[bool], list[bool]]:
    every = list(events)
    return [event.scored for event in every], [event.reset for event in every]


def test_the_modes_differ_in_where_the_loss_is_taken_and_agree_in_where_a_sequence_begins() -> None:
    inputs = np.arange(8.0).reshape(4, 2)
    begin = [True, False, False, False]
    assert marks(sequence_to_category(inputs, [1.0, 0.0])) == ([False, False, False, True], begin)
    assert marks(synchronous(inputs, inputs)) == ([True] * 4, begin)
    assert marks(asynchronous(inputs, np.ones((2, 3)))) == ([False] * 4 + [True] * 2, [*begin, False, False])
    assert marks(synchronous(inputs, inputs, [0, 1, 1, 0])) == ([False, True, True, False], begin)


def test_a_category_is_the_target_of_the_last_step_alone() -> None:
    events = list(sequence_to_category([[1.0], [2.0], [3.0]], [0.0, 1.0]))
    assert [event.inputs.tolist() for event in events] == [[1.0], [2.0], [3.0]]
    assert all(np.isnan(event.target).all() for event in events[:-1])
    assert events[-1].target.tolist() == [0.0, 1.0]


def test_a_sequence_of_one_step_is_scored_and_resets_at_once() -> None:
    for event in (*sequence_to_category([[1.0]], [1.0]), *synchronous([[1.0]], [[1.0]])):
        assert (event.scored, event.reset) == (True, True)


def test_what_is_not_scored_has_no_target() -> None:
    events = list(synchronous(np.ones((3, 1)), [[1.0], [2.0], [3.0]], [True, False, True]))
    np.testing.assert_array_equal([event.target[0] for event in events], [1.0, np.nan, 3.0])


@pytest.mark.parametrize("forced", [False, True])
def test_an_asynchronous_sequence_is_read_and_then_emitted(forced: bool) -> None:
    events = list(asynchronous([[1.0, 2.0], [3.0, 4.0]], [[7.0], [8.0], [9.0]], forced=forced))
    fed = [0.0, 0.0, 0.0, 7.0, 8.0]
    plain = [[1.0, 2.0, 0.0], [3.0, 4.0, 0.0], *[[0.0, 0.0, 1.0]] * 3]
    expected = [[*row, last] for row, last in zip(plain, fed, strict=True)] if forced else plain
    assert [event.inputs.tolist() for event in events] == expected
    np.testing.assert_array_equal([event.target[0] for event in events], [np.nan, np.nan, 7.0, 8.0, 9.0])


def test_forcing_shows_no_target_before_it_was_scored() -> None:
    targets = np.random.default_rng(0).normal(size=(4, 2))
    changed = targets.copy()
    changed[2] += 1.0
    first, second = (list(asynchronous(np.ones((3, 1)), t, forced=True)) for t in (targets, changed))
    same = [one.inputs.tobytes() == other.inputs.tobytes() for one, other in zip(first, second, strict=True)]
    assert same == [True] * 6 + [False]  # read 3, emit 0 to 2; target 2 is seen while emitting 3


def test_events_do_not_follow_the_callers_arrays() -> None:
    inputs = np.ones((2, 1))
    events = synchronous(inputs, inputs)
    inputs[:] = 5.0
    assert [event.inputs.tolist() for event in events] == [[1.0], [1.0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sequence_to_category(np.zeros((0, 2)), [1.0]), "inputs"),
        (lambda: sequence_to_category([1.0, 2.0], [1.0]), "inputs"),
        (lambda: sequence_to_category([[1.0]], []), "category"),
        (lambda: synchronous([[1.0]], [[1.0], [2.0]]), "asynchronous"),
        (lambda: synchronous([[1.0]], [[1.0]], [True, False]), "as many steps"),
        (lambda: asynchronous([[1.0]], np.zeros((0, 1))), "targets"),
        (lambda: next(endless([])), "rows"),
    ],
)
def test_what_is_no_sequence_is_refused_before_the_first_event(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_rows_of_other_lengths_run_on_without_padding() -> None:
    def of_length(length: int, tag: float) -> Iterator[Event]:
        return sequence_to_category(np.full((length, 1), tag), [tag])

    rows = [[of_length(2, 1.0), of_length(3, 2.0)], [of_length(4, 3.0), of_length(9, 4.0)]]
    batches = list(endless(rows))
    assert [batch.inputs[:, 0].tolist() for batch in batches] == [
        [1.0, 3.0],
        [1.0, 3.0],
        [2.0, 3.0],
        [2.0, 3.0],
        [2.0, 4.0],  # the first row has no more
    ]
    assert [batch.reset.tolist() for batch in batches] == [
        [True, True],
        [False, False],
        [True, False],
        [False, False],
        [False, True],
    ]
    assert [batch.scored.tolist() for batch in batches] == [
        [False, False],
        [True, False],
        [False, False],
        [False, True],
        [True, False],
    ]
    assert batches[0].inputs.shape == batches[0].target.shape == (2, 1)
    assert batches[0].scored.dtype == batches[0].reset.dtype == np.bool_


def test_sequences_may_go_on_for_ever() -> None:
    rows = [(synchronous([[float(at)]], [[0.0]]) for at in count(start)) for start in (0, 10)]
    inputs = [batch.inputs[:, 0].tolist() for batch in islice(endless(rows), 3)]
    assert inputs == [[0.0, 10.0], [1.0, 11.0], [2.0, 12.0]]


class Recorder:
    """Moves nothing, and keeps every step's gradient to the cell's parameters, (B, q, n)."""

    def __init__(self) -> None:
        self.gradients: list[Array] = []

    def check(self, rule: LearningRule) -> None:
        pass

    def init_state(self, cell_shape: tuple[int, int], shapes: Shapes) -> Fields:
        return {}

    def change(self, state: State, rule: LearningRule, memory: State, loss: Loss, step: Scored) -> Change:
        of_outputs = np.where(step.active[:, None], loss.gradient(step.outputs, step.target), 0.0)
        gradient = rule.gradient(memory, weighted(of_outputs, step.of_state)[:, None])[:, 0]
        self.gradients.append(gradient)
        still = tuple(np.zeros((len(gradient), *block.shape[2:])) for block in step.of_params)
        return Change(
            np.zeros_like(gradient), still, np.zeros(len(gradient)), step.active, np.zeros_like(step.active)
        )

    def flush(
        self, state: State, rule: LearningRule, memory: State, params: Array, ending: BoolArray
    ) -> tuple[Array, BoolArray]:
        return np.zeros_like(params), np.zeros_like(ending)

    def forget(self, state: State, cell: BoolArray, readout: tuple[BoolArray, ...]) -> None:
        pass


def sequence_of(mode: str, length: int, rng: np.random.Generator) -> list[Event]:
    """Return a sequence of two inputs and one target; the inputs of a mode that has no flag are wider."""
    targets = rng.normal(size=(length, 1))
    if mode == "asynchronous":
        return list(asynchronous(rng.normal(size=(length, 2)), targets[:2]))
    inputs = rng.normal(size=(length, 3))
    return list(
        sequence_to_category(inputs, targets[0]) if mode == "category" else synchronous(inputs, targets)
    )


def two_rows(mode: str) -> list[list[list[Event]]]:
    rng = np.random.default_rng(0)
    sequences = [sequence_of(mode, length, rng) for length in LENGTHS]
    return [sequences, sequences[::-1]]


def recording_learner(cell_name: str) -> tuple[OnlineLearner, Recorder, State]:
    """Return a learner of two equal models whose readout has learned something, and what it records."""
    cell = CELLS[cell_name](n_inputs=3, n_units=4)
    readout = READOUTS["linear"](n_features=features_of(cell), n_outputs=1)
    recorder = Recorder()
    rule = RULES["rtrl_step" if cell.recurrence == "dense" else "rtrl_trace"](cell)
    learner = OnlineLearner(cell, rule, readout, LOSSES["squared"](), recorder)
    state = learner.init_state([0, 0])
    state["readout.0"] += np.random.default_rng(1).normal(size=(1, *readout.shapes[0]))
    return learner, recorder, state


def feed(learner: OnlineLearner, state: State, batch: Batch) -> Any:
    return learner.step(state, batch.inputs, batch.target, batch.scored, batch.reset)


def backpropagated(learner: OnlineLearner, cell_name: str, state: State, events: list[Event]) -> Array:
    """Return the gradient of the losses of one whole sequence, (q, n), by autograd from the equations."""
    oracle, weights = cell_oracle(cell_name), state["readout.0"][0]

    def loss(params: Any) -> Any:
        hidden, total = learner.cell.init_state(), 0.0
        for event in events:
            hidden = oracle.step(params, hidden, event.inputs)
            if event.scored:
                read = anp.reshape(oracle.read_out(hidden), -1)
                output = anp.dot(weights[:, :-1], read) + weights[:, -1]
                total = total + anp.sum((output - event.target) ** 2) / 2.0
        return total

    gradient: Array = autograd.grad(loss)(state["params"][0])
    return gradient


@pytest.mark.parametrize("mode", ["category", "synchronous", "asynchronous"])
@pytest.mark.parametrize("cell_name", ["vanilla", "rtu"])
def test_each_sequence_gets_the_gradient_of_backpropagation_through_all_of_it_and_nothing_else(
    cell_name: str, mode: str
) -> None:
    learner, recorder, state = recording_learner(cell_name)
    rows = two_rows(mode)
    for batch in endless(rows):
        feed(learner, state, batch)
    recorded = np.stack(recorder.gradients)
    for row, sequences in enumerate(rows):
        start = 0
        for events in sequences:
            total = recorded[start : start + len(events), row].sum(axis=0)
            expected = backpropagated(learner, cell_name, state, events)
            assert np.abs(expected).max() > 1e-3
            np.testing.assert_allclose(total, expected, rtol=0, atol=1e-11 * np.abs(expected).max())
            start += len(events)


def test_a_reset_leaves_nothing_of_what_was_before_and_touches_no_other_row() -> None:
    rows = two_rows("asynchronous")
    learner, _, state = recording_learner("vanilla")
    predictions: list[list[bytes]] = [[], []]
    for batch in endless(rows):
        outcome = feed(learner, state, batch)
        for row in (0, 1):
            predictions[row].append(outcome.prediction[row].tobytes())
    ends = np.cumsum([len(events) for events in rows[0]])
    by_sequence = [predictions[0][start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    ends = np.cumsum([len(events) for events in rows[1]])
    other = [predictions[1][start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    assert by_sequence == other[::-1]


def test_a_late_loss_teaches_what_stood_at_the_start_and_only_a_rule_that_looks_back_learns_it() -> None:
    rows, steps, length = 3, 2400, 6

    def sequences(seed: int) -> Iterator[Iterator[Event]]:
        rng = np.random.default_rng(seed)
        while True:
            inputs = rng.choice(np.array([-1.0, 1.0]), size=(length, 1))
            yield sequence_to_category(inputs, [float(inputs[0, 0] > 0.0)])

    def last_losses(rule_name: str) -> float:
        cell = CELLS["rtu"](n_inputs=1, n_units=6)
        readout = READOUTS["linear"](n_features=features_of(cell), n_outputs=1)
        update = Descent(OPTIMIZERS["adam"](learning_rate=0.02))
        learner = OnlineLearner(cell, RULES[rule_name](cell), readout, LOSSES["bernoulli"](), update)
        state = learner.init_state(range(rows))
        stream = islice(endless([sequences(seed) for seed in range(rows)]), steps)
        losses = [feed(learner, state, batch).loss.mean() for batch in stream]
        return float(np.sum(losses[-600:]) / (600 / length))

    looks_back = last_losses("rtrl_trace")
    assert looks_back < 0.1
    assert looks_back < 0.5 * last_losses("immediate")
