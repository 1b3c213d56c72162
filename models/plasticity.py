"""Continual backpropagation: units that are hardly heard are made anew, so that a learner does not lose its plasticity."""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, Blocks, BoolArray, Cell, Fields, IntArray, Readout, State
from models.rules.products import probe


@final
class ContinualBackprop:
    """Chooses the units that are made anew, in layers of units of one model each.

        u_i <- decay u_i + (1 - decay) c_i,  c_i = |h_i| sum_k |w_ki|       (1)
        v_i = u_i / (1 - decay^age_i)                                       (2)
        due <- due + rate (number of units of age > maturity)              (3)

    with h_i a unit's output and w_ki the weights that leave it for the layer above. Where due is over one, the mature unit
    with the least v_i is chosen, and one is taken off due: at most one a layer and step. A young unit is protected,
    since what leaves it is zero at first.

    Who calls makes the unit new: what comes in is drawn again, what leaves is zero, its state starts anew and leaves
    the influence, and the optimizer forgets its parameters. So the output does not jump but by what the unit did, which
    was least of all.

    State, a layer: "utility.<layer>", u, and "age.<layer>", (units,); "due.<layer>"; "replaced", how many were.
    Cost: O(units) time and memory, beside the sums of (1).

    Args:
        widths: units of each layer.
        rate: the source's 1e-4: of 16 units one in 625 steps.
        maturity: steps that a new unit has to become useful; the source's 100.
        decay: of the utility; the source's .99.
        seed: of what is drawn for new units.

    Source: Dohare et al. (2024), Loss of plasticity in deep continual learning, algorithm 1; with recurrent states
    beside what is there.

    Example:
        >>> import numpy as np
        >>> renewal = ContinualBackprop((2,), rate=0.5, maturity=1)
        >>> state = {name: np.asarray(row)[None] for name, row in renewal.init_state().items()}
        >>> heard = (np.array([[1.0, 0.1]]),)
        >>> [renewal.choose(state, heard, np.array([True]))[0].tolist() for _ in range(2)]
        [[[False, False]], [[False, True]]]
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        *,
        rate: float = 1e-4,
        maturity: int = 100,
        decay: float = 0.99,
        seed: int = 0,
    ) -> None:
        """Set the constants."""
        if not (0.0 <= rate < 1.0 and maturity >= 1 and 0.0 <= decay < 1.0):
            raise ValueError(
                "rate and decay must be at least 0 and under 1, maturity at least 1, not"
                f" {rate}, {decay} and {maturity}"
            )
        self.widths = widths
        self.rate = rate
        self.maturity = maturity
        self.decay = decay
        self.seed = seed

    def init_state(self) -> Fields:
        """Return the state of a new model: no utility, no age."""
        fields: Fields = {"replaced": np.zeros((), dtype=np.int64)}
        for at, width in enumerate(self.widths):
            fields[f"utility.{at}"] = np.zeros(width)
            fields[f"age.{at}"] = np.zeros(width, dtype=np.int64)
            fields[f"due.{at}"] = np.zeros(())
        return fields

    def choose(
        self, state: State, contributions: tuple[Array, ...], active: BoolArray
    ) -> tuple[BoolArray, ...]:
        """Take a step by eq. (1) to (3), in place; return which units are to be made anew, (B, units) a layer.

        Args:
            state: as `init_state`, batched.
            contributions: c of each layer's units, (B, units).
            active: rows that learned in this step; the others stay as they are.
        """
        chosen = []
        for at, contribution in enumerate(contributions):
            utility, age, due = state[f"utility.{at}"], state[f"age.{at}"], state[f"due.{at}"]
            rows = active[:, None]
            heard = self.decay * utility + (1.0 - self.decay) * contribution
            np.copyto(utility, heard, where=rows & np.isfinite(heard))
            age += rows
            mature = age > self.maturity
            due += np.where(active, self.rate * mature.sum(axis=1), 0.0)
            unbiased = utility / (1.0 - np.power(self.decay, np.maximum(age, 1)))
            least = np.argmin(np.where(mature, unbiased, np.inf), axis=1)
            replace = active & (due >= 1.0) & mature.any(axis=1)
            units = np.zeros_like(mature)
            units[np.flatnonzero(replace), least[replace]] = True
            due -= replace
            utility[units] = 0.0
            age[units] = 0
            chosen.append(units)
            state["replaced"] += replace
        return tuple(chosen)

    def draws(self, replaced: int) -> np.random.Generator:
        """Return the generator for what a row draws after so many units were replaced: its own, after a restart too."""
        return np.random.default_rng((self.seed, replaced))


def heard_units(cell: Cell) -> IntArray | None:
    """Return for each parameter the unit whose output it weighs, or -1, (q,); None for a cell that does not tell."""
    factors = probe(cell)
    if factors.presynaptic is None:
        return None
    places: IntArray = np.arange(cell.n_params_per_unit)
    if factors.wiring is not None:
        places = factors.wiring
    entry = places % factors.presynaptic.shape[1]
    heard: IntArray = np.where(entry < cell.n_units, entry, -1)
    return heard


@final
class Renewal:
    """Carries out what `ContinualBackprop` chooses, in a cell and the readout above it.

    Args:
        plasticity: chooses; its widths are `widths_of(cell, readout)`.
        cell: any but a layered one, of which a lower layer is heard by the one above as well.
        readout: above it.

    Raises:
        ValueError: a layered cell, or widths that do not fit.
    """

    def __init__(self, plasticity: ContinualBackprop, cell: Cell, readout: Readout) -> None:
        """Find out which parameters hear which unit."""
        if cell.recurrence == "layered":
            raise ValueError(
                "plasticity: units of a layered cell are heard by the layer above too: use one layer"
            )
        if plasticity.widths != widths_of(cell, readout):
            raise ValueError(
                f"plasticity: widths {widths_of(cell, readout)} are needed, not {plasticity.widths}"
            )
        self._plasticity, self._cell, self._readout = plasticity, cell, readout
        self._heard = heard_units(cell)

    def init_state(self) -> Fields:
        """Return the state of a new model."""
        return self._plasticity.init_state()

    def choose(
        self, state: State, blocks: Blocks, features: Array, active: BoolArray
    ) -> tuple[BoolArray, ...]:
        """Return which units of the cell, and of the readout's hidden layers, are to be made anew."""
        n_features = self._readout.n_features
        beside = np.zeros((len(features), n_features - features.shape[1]))  # inputs that it sees are no units
        of_features, *above = self._readout.contributions(blocks, np.concatenate((features, beside), axis=1))
        of_read = of_features[:, : features.shape[1]].reshape(len(features), self._cell.n_read_parts, -1)
        of_units = of_read[:, 0]
        for part in range(1, self._cell.n_read_parts):
            of_units = of_units + of_read[:, part]
        return self._plasticity.choose(state, (of_units, *above), active)

    def renew(
        self, state: State, units: tuple[BoolArray, ...], params: Array, hidden: Array, blocks: Blocks
    ) -> tuple[BoolArray, tuple[BoolArray, ...]]:
        """Make units new in a cell's parameters (B, q, n), its state and the readout's blocks, all in place.

        Returns:
            which of the cell's parameters changed, (B, q, n), and of the readout's, blocks (B, groups, size).
        """
        fresh, above = params.copy(), tuple(block.copy() for block in blocks)
        for row in np.flatnonzero(np.any([which.any(axis=1) for which in units], axis=0)):
            rng = self._plasticity.draws(int(state["replaced"][row]))
            fresh[row] = self._cell.init_params(rng)
            for block, drawn in zip(above, self._readout.init_params(rng), strict=True):
                block[row] = drawn
        changed = np.repeat(units[0][:, None], params.shape[1], axis=1)
        np.copyto(params, fresh, where=changed)
        if self._heard is not None:
            hears = units[0][:, self._heard] & (self._heard >= 0)
            others = hears[:, :, None] & ~units[0][:, None]
            params[others] = 0.0
            changed = changed | others
        parts = self._cell.n_parts
        np.copyto(hidden[:, :parts], self._cell.init_state()[:parts], where=units[0][:, None])
        beside = np.zeros(
            (len(params), self._readout.n_features - units[0].shape[1] * self._cell.n_read_parts)
        )
        features = np.concatenate(
            (np.tile(units[0], (1, self._cell.n_read_parts)), beside.astype(np.bool_)), axis=1
        )
        return changed, self._readout.renew(blocks, (features, *units[1:]), above)


def widths_of(cell: Cell, readout: Readout) -> tuple[int, ...]:
    """Return the widths of the layers whose units can be made anew: the cell's, then the readout's hidden ones.

    Example:
        >>> from models.cells import CELLS
        >>> from models.readouts import READOUTS
        >>> cell = CELLS["rtu"](n_inputs=1, n_units=4)
        >>> widths_of(cell, READOUTS["feed_forward"](n_features=8, n_outputs=1))
        (4, 16)
    """
    params = tuple(np.zeros((1, *shape)) for shape in readout.shapes)
    above = readout.contributions(params, np.zeros((1, readout.n_features)))[1:]
    return (cell.n_units, *(layer.shape[1] for layer in above))
