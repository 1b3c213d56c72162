"""The gradient audit: now and then, on copies, the gradient in use is compared with finite differences.

There is no history to compare with, so a little of it is made. From one event of a series on, K more of its events are kept, as they
come. Then, on a copy of the series as it was at the first:

    the influence is set to zero, and the cell's weights theta_0 are held;
    the copy takes the K events, by the same code that serves (compiled, if it is), which gives g = d f_K / d theta;
    f_K(theta_0 +- epsilon) is computed by the cell alone from the same state and inputs, which gives central differences d.

"rule" compares g and d. Both are of the same K steps, so that with an exact rule they are equal to rounding: what is checked is cell, rule, credit
and kernel on this machine, with the weights and the inputs that this series has. "in_use" compares what the series itself kept for
the same forecast with central differences about its weights of now. That gradient has the whole past in it, and weights
that moved on the way: the difference is what is older than K steps, and what RTRL owes to learning at every step. It is no error, but
where it grows the learning rate is high for the memory.

Nothing that is learned depends on it. It is not saved: a restart drops the one that is under way.
Cost: K events of one series, and 4 K steps of the cell for each parameter looked at: 2 to 8 ms (`python -m benchmarks kernels --stability`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import numpy as np

from models.experts.recovery import RENEW, RESET, ROLL_BACK
from models.experts.recurrent import Recurrent
from models.experts.watch import RATE_FACTOR
from models.protocols import Array, IntArray
from models.records import view

if TYPE_CHECKING:
    from models.bank import Bank

STEPS: Final = 8
"""K: as many steps as carry the influence through every path of a cell and a stack."""
PARAMS_MAX: Final = 48
"""Parameters that are looked at, evenly spread and others each time: the default cell has 96, a dense one thousands."""
EPSILON: Final = 1e-5
"""Of the differences, times the parameter where that is over 1: half of the digits, at an error of 1e-10."""
ERROR_MAX: Final = 1e-3
"""An exact rule's gradient may be off by so much of its size: single precision and differences are off by less than a hundredth of it."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found.

    Attributes:
        exact: the rule says that it is exact for its cell, so that `rule_error` has to be small.
        rule_cosine: between the rule's gradient and central differences of the same steps.
        rule_error: their distance over the size of the latter.
        in_use_cosine: of the gradient that the series kept, see the module.
        in_use_error: as above.
    """

    exact: bool
    rule_cosine: float
    rule_error: float
    in_use_cosine: float
    in_use_error: float

    @property
    def sound(self) -> bool:
        """Whether the gradient is what it should be; an approximation always is."""
        return not self.exact or self.rule_error <= ERROR_MAX


@dataclass(frozen=True, slots=True)
class LookedAt:
    """Parameters of a cell, the weights above it, which of the parameters are looked at, and the gradient that was kept for them."""

    params: Array
    weights: Array
    chosen: IntArray
    kept: Array

    @property
    def width(self) -> Array:
        """How far each of those parameters is moved."""
        width: Array = EPSILON * np.maximum(1.0, np.abs(self.params.reshape(-1)[self.chosen]))
        return width

    def moved(self) -> Array:
        """Return the parameters with each of those moved up, and then with each moved down, (2 N, q, n)."""
        n, width = len(self.chosen), self.width
        moved = np.repeat(self.params.reshape(1, -1), 2 * n, axis=0)
        moved[np.arange(n), self.chosen] += width
        moved[n + np.arange(n), self.chosen] -= width
        return moved.reshape(2 * n, *self.params.shape)


@final
class GradientAudit:
    """Follows one series of a bank for `STEPS` events.

    Args:
        recurrent: name and expert.
        bank: it is only read.
        slot: of the series, which has taken its last event.
        shadow: a bank of the same make with room for one series.
    """

    def __init__(self, recurrent: tuple[str, Recurrent], bank: Bank, slot: int, shadow: Bank) -> None:
        """Copy the series as it is, with the influence and the learning rate at zero."""
        self._name, self._expert = recurrent
        self.slot, self._bank, self._shadow, self._at = slot, bank, shadow, shadow.admit()
        fields = bank.snapshot(slot)
        memory = {name: value.copy() for name, value in fields.items() if self._is_memory(name)}
        parts = {name.removeprefix(self._key("memory.")): value for name, value in memory.items()}
        self._expert.rule.reset(parts, np.ones(len(fields[self._key("params")]), dtype=np.bool_))
        fields |= {self._key("memory.") + name: value for name, value in parts.items()}
        fields[self._key("figures")][:, RATE_FACTOR] = 0.0
        shadow.restore(self._at, fields)
        self._target = int(fields["clock/count"][0]) % len(fields["clock/count"])
        self._start: Array = fields[self._key("state")][self._target].copy()
        self._events: list[tuple[float, Array, Array]] = []

    def take(self, time: float, values: Array, features: Array) -> bool:
        """Keep an event that the series has taken; return whether it was the last one that is needed."""
        self._events.append((time, values.copy(), features.copy()))
        return len(self._events) == STEPS

    def result(self) -> Audit | None:
        """Return what was found after the last event; None where a guard or a reaction to drift changed the model on the way.

        Then there is nothing to compare. The copy may come to it by itself, for its errors are not those of the series.
        """
        inputs = []
        for time, values, features in self._events:
            told = self._shadow.step(np.array([self._at]), np.array([time]), values[None], features[None])
            if (told.guard & (RESET | ROLL_BACK | RENEW)).any() or told.reaction.any():
                return None
            inputs.append(self._cell_inputs())
        looked_at = [self._looked_at(*where) for where in ((self._shadow, self._at), (self._bank, self.slot))]
        by_rule, in_use = (
            (_cosine(one.kept, differences), _error(one.kept, differences))
            for one, differences in zip(looked_at, self._differences(looked_at, inputs), strict=True)
        )
        return Audit(self._expert.rule.exact, *by_rule, *in_use)

    def close(self) -> None:
        """Give the shadow's room back."""
        self._shadow.release(self._at)

    def _key(self, field: str) -> str:
        return f"expert.{self._name}/{field}"

    def _is_memory(self, name: str) -> bool:
        return name.startswith(self._key("memory."))

    def _of(self, bank: Bank, slot: int, name: str) -> Array:
        """Return a field of the expert as it is in a bank; a view."""
        return self._field(bank, slot, f"expert.{self._name}", name)

    def _count(self, bank: Bank, slot: int) -> int:
        return int(self._field(bank, slot, "clock", "count"))

    def _field(self, bank: Bank, slot: int, part: str, name: str) -> Array:
        place = bank.layout.places[part][name]
        return view(bank.records_of(slot)[place.record][self._target], place)

    def _cell_inputs(self) -> Array:
        """Return what the shadow's cell saw at the last event, (m,): it stands among what the readout saw."""
        expert, count = self._expert, self._count(self._shadow, self._at)
        seen = self._of(self._shadow, self._at, "inputs")[(count - 1) % expert.n_rows]
        n_others = expert.n_others
        deviation, *features = seen[expert.n_read + expert.lags :][: expert.cell.n_inputs - 1 - n_others]
        others = seen[len(seen) - n_others :]
        return np.array([self._of(self._shadow, self._at, "lags")[0], deviation, *features, *others])

    def _looked_at(self, bank: Bank, slot: int) -> LookedAt:
        """Return the gradient that was kept for the shortest horizon's last forecast, where it is looked at."""
        expert, count = self._expert, self._count(bank, slot)
        params = self._of(bank, slot, "params")
        spread = max(1, -(-params.size // PARAMS_MAX))
        chosen = np.arange(count % spread, params.size, spread)
        kept = self._of(bank, slot, "jacobian")[(count - 1) % expert.horizon].reshape(-1)
        return LookedAt(params, self._of(bank, slot, "weights")[0, : expert.n_read], chosen, kept[chosen])

    def _differences(self, looked_at: list[LookedAt], inputs: list[Array]) -> list[Array]:
        """Return central differences of the last forecasts by the chosen parameters, from the state at the start.

        All in one batch, since most of a step's cost is that it is called.
        """
        cell = self._expert.cell
        moved = np.concatenate([one.moved() for one in looked_at])
        state = np.repeat(self._start[None], len(moved), axis=0)
        for seen in inputs:
            state = cell.step(moved, state, np.repeat(seen[None], len(moved), axis=0)).state
        read = cell.read_out(state)[0].reshape(len(moved), -1)
        found: list[Array] = []
        for one, own in zip(looked_at, np.split(read, len(looked_at)), strict=True):
            above, below = np.split((own * one.weights).sum(axis=1), 2)
            found.append((above - below) / (2.0 * one.width))
        return found


@final
class Audits:
    """The audits of a bank's series, one at a time.

    Args:
        bank: whose series they are.
        make_shadow: makes a bank of the same make, which is made once, at the first audit.
    """

    def __init__(self, bank: Bank, make_shadow: Callable[[], Bank]) -> None:
        """Have none under way."""
        self._bank, self._make_shadow = bank, make_shadow
        self._shadow: Bank | None = None
        self._now: GradientAudit | None = None
        self._found: list[Audit] = []

    def begin(self, slot: int) -> bool:
        """Begin one with a series; return False where one is under way, or there is no recurrent expert of the kind that is known here."""
        found = [(name, e) for name, e in self._bank.recurrent.items() if isinstance(e, Recurrent)]
        if self._now is not None or not found:
            return False
        self._shadow = self._shadow or self._make_shadow()
        self._now = GradientAudit(found[0], self._bank, slot, self._shadow)
        return True

    def follow(self, slots: IntArray, times: Array, values: Array, features: Array) -> None:
        """Take note of events that the bank's series have taken."""
        if self._now is None:
            return
        for row in np.flatnonzero(slots == self._now.slot):
            if self._now.take(float(times[row]), values[row], features[row]):
                found = self._now.result()
                self._found += [] if found is None else [found]
                self.drop(self._now.slot)

    def drop(self, slot: int) -> None:
        """End the audit of a slot, if there is one: it holds another series now, or the audit is done."""
        if self._now is not None and self._now.slot == slot:
            self._now.close()
            self._now = None

    def taken(self) -> list[Audit]:
        """Return what was found since the last time."""
        found, self._found = self._found, []
        return found


def _cosine(one: Array, other: Array) -> float:
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / size if size > 0.0 else float(not (one.any() or other.any()))


def _error(one: Array, other: Array) -> float:
    """Return |one - other| / |other|, bounded, so that a mean of it is one."""
    size = float(np.linalg.norm(other))
    apart = float(np.linalg.norm(one - other))
    return min(apart / size, 1e3) if size > 0.0 else float(apart > 0.0)
