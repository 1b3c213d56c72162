"""The three sequence modes, as marks on one endless stream: where a loss is taken, and where a sequence begins.

    category        x_1 ... x_T          one target, for the last step
    synchronous     x_1 ... x_T          a target for every step
    asynchronous    x_1 ... x_T, then S steps without input, with a target each

All that a learner is told is `scored` and `reset`. The recurrent state and the learning rule's influence matrix
are carried through every step that has no reset, so that a loss gives credit to all steps of its sequence,
however long ago. No sequence is stored, none is padded: where one of a row ends, the row's next one begins at
the next step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from models.protocols import Array, BoolArray


@dataclass(frozen=True, slots=True)
class Event:
    """One step of one row.

    Attributes:
        inputs: (m,).
        target: (t,); NaN where not scored, so that no one can look at it unnoticed.
        scored: a loss is taken at this step.
        reset: a sequence begins with this step: recurrent state and influence start anew before it.
    """

    inputs: Array
    target: Array
    scored: bool
    reset: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """One step of B rows, as `OnlineLearner.step` takes it: inputs (B, m), target (B, t), the marks (B,)."""

    inputs: Array
    target: Array
    scored: BoolArray
    reset: BoolArray


def sequence_to_category(inputs: npt.ArrayLike, category: npt.ArrayLike) -> Iterator[Event]:
    """Yield a sequence whose category is asked for at its last step.

    Args:
        inputs: (T, m).
        category: (t,), one-hot for the cross-entropy loss; or any other target of the whole sequence.

    Example:
        >>> for event in sequence_to_category([[0.1], [0.2], [0.3]], [0.0, 1.0]):
        ...     print(event.inputs, event.target, event.scored, event.reset)
        [0.1] [nan nan] False True
        [0.2] [nan nan] False False
        [0.3] [0. 1.] True False
    """
    steps, asked = _table("inputs", inputs), _table("category", np.asarray(category)[None])
    targets = np.full((len(steps), asked.shape[1]), np.nan)
    targets[-1] = asked[0]
    scored = np.zeros(len(steps), dtype=np.bool_)
    scored[-1] = True
    return _events(steps, targets, scored)


def synchronous(
    inputs: npt.ArrayLike, targets: npt.ArrayLike, scored: npt.ArrayLike | None = None
) -> Iterator[Event]:
    """Yield a sequence that has a target at every step, or at the steps that are marked.

    Args:
        inputs: (T, m).
        targets: (T, t).
        scored: (T,); by default every step.

    Example:
        >>> for event in synchronous([[0.1], [0.2]], [[1.0], [2.0]]):
        ...     print(event.inputs, event.target, event.scored, event.reset)
        [0.1] [1.] True True
        [0.2] [2.] True False
    """
    steps, wanted = _table("inputs", inputs), _table("targets", targets)
    marks = np.ones(len(steps), dtype=np.bool_) if scored is None else np.asarray(scored, dtype=np.bool_)
    if not len(steps) == len(wanted) == marks.size:
        raise ValueError(
            f"inputs, targets and scored: as many steps are needed in each, not {len(steps)}, {len(wanted)} and"
            f" {marks.size}: use asynchronous for an output sequence of another length"
        )
    return _events(steps, np.where(marks[:, None], wanted, np.nan), marks)


def asynchronous(inputs: npt.ArrayLike, targets: npt.ArrayLike, *, forced: bool = False) -> Iterator[Event]:
    """Yield a whole input sequence, which is read, and then the steps at which the other one is emitted.

        reading    [x_t, 0]          or, forced, [x_t, 0, 0]
        emitting   [0, 1]                        [0, 1, y_{s-1}], with zeros for y_0

    The flag behind the inputs says which it is. Nothing is reset in between: the state that has read is the one
    that emits, and the influence matrix lets every loss give credit to the reading.

    Args:
        inputs: (T, m).
        targets: (S, t).
        forced: while emitting, the previous target is an input (teacher forcing). No foresight, where the
            true target becomes known after each step; where it does not, the model would be taught with
            what it never gets.

    Example:
        >>> for event in asynchronous([[0.1], [0.2]], [[5.0], [6.0], [7.0]], forced=True):
        ...     print(event.inputs, event.target, event.scored, event.reset)
        [0.1 0. 0. ] [nan] False True
        [0.2 0. 0. ] [nan] False False
        [0. 1. 0.] [5.] True False
        [0. 1. 5.] [6.] True False
        [0. 1. 6.] [7.] True False
    """
    read, emitted = _table("inputs", inputs), _table("targets", targets)
    n_read, n_emitted, n_inputs = len(read), len(emitted), read.shape[1]
    n_targets = emitted.shape[1]
    steps = np.zeros((n_read + n_emitted, n_inputs + 1 + (n_targets if forced else 0)))
    steps[:n_read, :n_inputs] = read
    steps[n_read:, n_inputs] = 1.0
    if forced:
        steps[n_read + 1 :, n_inputs + 1 :] = emitted[:-1]
    wanted = np.concatenate((np.full((n_read, n_targets), np.nan), emitted))
    return _events(steps, wanted, np.arange(len(steps)) >= n_read)


def endless(rows: Iterable[Iterable[Iterable[Event]]]) -> Iterator[Batch]:
    """Yield the steps of a micro-batch of rows, each of which has its sequences one after the other.

    The rows need not agree in the lengths of their sequences, nor in where these begin. It ends where a row has
    no more; what is left of the others' sequences is not learned from.

    Args:
        rows: for each row its sequences, which may go on for ever.

    Example:
        >>> short, long = [[1.0]], [[2.0], [3.0]]
        >>> first = [synchronous(short, short), synchronous(long, long)]
        >>> second = [synchronous(long, long), synchronous(short, short)]
        >>> for batch in endless([first, second]):
        ...     print(batch.inputs.tolist(), batch.reset.tolist())
        [[1.0], [2.0]] [True, True]
        [[2.0], [3.0]] [True, False]
        [[3.0], [1.0]] [False, True]
    """
    streams = [chain.from_iterable(sequences) for sequences in rows]
    if not streams:
        raise ValueError("rows: at least one is needed")
    for events in zip(*streams, strict=False):
        yield Batch(
            inputs=np.stack([event.inputs for event in events]),
            target=np.stack([event.target for event in events]),
            scored=np.array([event.scored for event in events], dtype=np.bool_),
            reset=np.array([event.reset for event in events], dtype=np.bool_),
        )


def _events(inputs: Array, targets: Array, scored: BoolArray) -> Iterator[Event]:
    """Yield the steps of a sequence; the first one resets."""
    for at in range(len(inputs)):
        yield Event(inputs[at], targets[at], bool(scored[at]), at == 0)


def _table(name: str, values: npt.ArrayLike) -> Array:
    """Return steps as a copy of shape (T, width), both at least 1."""
    table = np.array(values, dtype=np.float64)
    if table.ndim != 2 or 0 in table.shape:
        raise ValueError(f"{name}: at least one step of at least one number is needed, not {table.shape}")
    return table
