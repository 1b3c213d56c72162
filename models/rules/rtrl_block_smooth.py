"""The block engine without its spike: a block is folded a share at each event of the next one."""

from __future__ import annotations

from typing import final

import numpy as np

from models.precision import Precision
from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.rules.products import backward
from models.rules.rtrl_block import RtrlBlock
from models.stability import frobenius_norm


@final
class RtrlBlockSmooth:
    """Exact RTRL by blocks of k steps, as `RtrlBlock`, with the fold of a block spread evenly over the next.

    The parameters of a unit are folded row after row. While that goes on, the influence's first rows are those of the newer
    block's start, M_1, and the rest those of the older one's, M_0, so a credit is taken back through the newer
    block, and for the rest through the older one as well:

        g[j] = newer[j] + (c_1 M_1)[j]              j folded                (1)
        g[j] = newer[j] + older[j] + (c_0 M_0)[j]   j not yet               (2)

    with c_1 and c_0 the credit at the two starts, and newer and older the sums of eq. (2) of `RtrlBlock`. Nothing is
    approximated: every event gives the step engine's gradient, to rounding.

    Memory: "influence", (S, q, n); "transition", (2, k, S, S), "sensitivity", (2, k, parts, G, n) and "presynaptic",
    (2, k, p), of both blocks; "current", which is the newer; "filled", its steps; of the fold "product", (S, S), A_s,
    "through", (k, S, G, n), A_s D_s, "products_done", and "rows_done", q when it is over.
    Cost: that of `RtrlBlock` and O(k (S^2 + G n p)) an event for the older block; twice its blocks' memory and k S G n.

    Args:
        cell: dense, with gates that each see some of one vector z.
        block: k; half the units, however few, since each event has its share of a fold.
        precision: as for `RtrlBlock`.

    Example:
        >>> from models.cells import CELLS
        >>> rule = RtrlBlockSmooth(CELLS["vanilla"](n_inputs=1, n_units=4))
        >>> rule.exact, rule.init_memory()["transition"].shape
        (True, (2, 2, 4, 4))
    """

    def __init__(self, cell: Cell, *, block: int | None = None, precision: Precision = "float64") -> None:
        """Take the sizes of the cell; a ValueError as for `RtrlBlock`."""
        own = max(1, cell.n_units // 2) if block is None else block
        self._plain = plain = RtrlBlock(cell, block=own, precision=precision)
        self.block, self.precision = plain.block, plain.precision
        self.exact = self.unbiased = True
        self._memory = plain.init_memory()
        size, q, n = self._memory["influence"].shape
        _, parts, gates, _ = self._memory["sensitivity"].shape
        inputs = self._memory["presynaptic"].shape[1]
        self._size, self._params, self._units, self._parts, self._gates = size, q, n, parts, gates
        places = np.arange(q) if plain.wiring is None else plain.wiring
        self.gate_of, self.input_of = places // inputs, places % inputs
        self._of_product = float(size**3 + parts * size * gates * n)
        self._of_row = float(size * size * n + self.block * size * n)
        older = self.block * (size**2 + gates * n * inputs)
        blocks = sum(self._memory[name].size for name in ("transition", "sensitivity", "presynaptic"))
        self.cost = Cost(
            time=plain.cost.time + older,
            memory=plain.cost.memory + blocks + size**2 + self.block * size * gates * n + 3,
        )

    def init_memory(self) -> Fields:
        """Return the memory of a new model: an influence of zeros, empty blocks, and no fold under way."""
        two = {
            name: np.zeros((2, *self._memory[name].shape), dtype=self._memory[name].dtype)
            for name in ("transition", "sensitivity", "presynaptic")
        }
        counts = {"current": 0, "filled": 0, "products_done": self.block, "rows_done": self._params}
        return {
            "influence": self._memory["influence"].copy(),
            **two,
            "product": np.zeros((self._size, self._size), dtype=self.precision),
            "through": np.zeros((self.block, self._size, self._gates, self._units), dtype=self.precision),
            **{name: np.array(count, dtype=np.int64) for name, count in counts.items()},
        }

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Take one step of the cell into the newer block, in place, and fold a share of the older."""
        self.turn(memory)
        rows, block, at = np.arange(len(factors.state)), memory["current"], memory["filled"]
        memory["transition"][rows, block, at] = factors.transition
        memory["sensitivity"][rows, block, at] = factors.sensitivity
        memory["presynaptic"][rows, block, at] = factors.presynaptic
        memory["filled"] += 1
        self.fold_share(memory)

    def turn(self, memory: State) -> None:
        """Where the newer block is full, make it the older one, and begin another, in place."""
        for row in np.flatnonzero(memory["filled"] == self.block):
            self._fold(memory, int(row), 1.0)  # nothing, as a rule: it was folded in shares
            memory["current"][row] ^= 1
            memory["filled"][row] = 0
            memory["products_done"][row] = memory["rows_done"][row] = 0
            memory["product"][row] = np.eye(self._size)

    def fold_share(self, memory: State) -> None:
        """Fold as much of the older blocks as is due by how full the newer ones are, in place."""
        for row in np.flatnonzero(memory["rows_done"] < self._params):
            self._fold(memory, int(row), int(memory["filled"][row]) / self.block)

    def settle(self, memory: State) -> None:
        """Fold everything, in place: "influence" is then the influence, and the blocks are empty."""
        for row in range(len(memory["filled"])):
            self._fold(memory, row, 1.0)
            if taken := int(memory["filled"][row]):
                newer = int(memory["current"][row])
                own = {
                    name: memory[name][row : row + 1, newer]
                    for name in ("transition", "sensitivity", "presynaptic")
                }
                own |= {"influence": memory["influence"][row : row + 1], "filled": np.array([taken])}
                self._plain.settle(own)
                memory["filled"][row] = 0

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return eq. (1) and (2) for C credits at once: (B, C, k, n) -> (B, C, q, n)."""
        gradient = np.empty((*credit.shape[:2], self._params, self._units))
        credit = credit.astype(self.precision, copy=False)  # of the matrices that it goes through
        for row in range(len(credit)):
            newer, done = int(memory["current"][row]), int(memory["rows_done"][row])
            influence = memory["influence"][row]
            own, later = self._through_block(memory, row, newer, int(memory["filled"][row]), credit[row])
            gradient[row] = own
            flat = later.reshape(len(later), -1)
            gradient[row, :, :done] += (flat @ influence[:, :done].reshape(self._size, -1)).reshape(
                len(flat), done, self._units
            )
            if done < self._params:
                own, earlier = self._through_block(memory, row, newer ^ 1, self.block, later)
                start = earlier.reshape(len(flat), -1)
                rest = start @ influence[:, done:].reshape(self._size, -1)
                gradient[row, :, done:] += own[:, done:] + rest.reshape(len(flat), -1, self._units)
        return gradient

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place."""
        memory["influence"][rows] = 0.0
        memory["filled"][rows] = 0
        memory["rows_done"][rows] = self._params

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take what units that were made anew have to do with the past out of the influence, in place.

        The blocks of their rows are folded for it.
        """
        for row in np.flatnonzero(units.any(axis=1)):
            own = {name: value[row : row + 1] for name, value in memory.items()}
            self.settle(own)
            self._plain.forget_units(
                {"influence": own["influence"], "filled": own["filled"]}, units[row : row + 1]
            )

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of what is kept of the influence, (B,): that of now would cost the folds."""
        return frobenius_norm(memory["influence"])

    def _through_block(
        self, memory: State, row: int, block: int, steps: int, credit: Array
    ) -> tuple[Array, Array]:
        """Take credits (C, k, n) back through a block; return what its steps owe, (C, q, n), and the credits at its start."""
        gated = np.zeros((steps, len(credit), self._gates, self._units))
        for step in range(steps - 1, -1, -1):
            sensitivity = memory["sensitivity"][row, block, step]
            for part in range(self._parts):
                gated[step] += credit[:, part, None] * sensitivity[part]
            credit = backward(memory["transition"][row, block, step][None], credit[None])[0]
        z = memory["presynaptic"][row, block, :steps]
        by_gate = np.matmul(z.T, gated.transpose(1, 2, 0, 3))  # (C, G, p, n)
        return by_gate[:, self.gate_of, self.input_of], credit

    def _fold(self, memory: State, row: int, share: float) -> None:
        """Fold a row's older block until this share of the work is done, in place."""
        products, rows = int(memory["products_done"][row]), int(memory["rows_done"][row])
        if rows == self._params:
            return
        older, product = int(memory["current"][row]) ^ 1, memory["product"][row]
        of_products, of_rows = self.block * self._of_product, self._params * self._of_row
        due = share * (of_products + of_rows)
        last = min(self.block, int(np.ceil(due / self._of_product)))
        through, sensitivity = memory["through"][row], memory["sensitivity"][row, older]
        for step in range(self.block - 1 - products, self.block - 1 - last, -1):
            by_part = product.reshape(self._size, self._parts, 1, self._units)
            through[step] = by_part[:, 0] * sensitivity[step, 0]
            for part in range(1, self._parts):
                through[step] += by_part[:, part] * sensitivity[step, part]
            product = product @ memory["transition"][row, older, step]
        memory["product"][row], memory["products_done"][row] = product, last
        end = min(self._params, int(np.ceil(max(0.0, due - of_products) / self._of_row)))
        if end <= rows:
            return
        influence = memory["influence"][row]
        folded = (product @ influence[:, rows:end].reshape(self._size, -1)).reshape(
            self._size, -1, self._units
        )
        z = memory["presynaptic"][row, older]
        for gate in np.unique(self.gate_of[rows:end]):
            own = np.flatnonzero(self.gate_of[rows:end] == gate)
            seen = z[:, self.input_of[rows + own]].astype(influence.dtype, copy=False)
            immediate = seen.T @ through[:, :, gate].reshape(self.block, -1)
            folded[:, own] += immediate.reshape(len(own), self._size, self._units).swapaxes(0, 1)
        influence[:, rows:end] = folded
        memory["rows_done"][row] = end
