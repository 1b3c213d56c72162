"""The extended Kalman filter on the derivatives that a learning rule carries: second-order learning, online."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.optimizers.innovations import whitened
from models.optimizers.rls import forget_in
from models.protocols import Array, Blocks, BoolArray, Fields, State

NORMAL_FROM_MEDIAN: Final = 1.4826
"""Standard deviation of a Gaussian over the median of its magnitude."""

WARM_UP: Final = 10
"""Labels before the gate closes: a median of fewer says little."""


@final
class Ekf:
    """Extended Kalman filter over the parameters, joint or decoupled by unit.

        s = v + sum_g H_jg P_g H_jg'                                        (1)
        theta_g <- theta_g + P_g H_jg' (e_j - H_j d) / s                     (2)
        P_g <- P_g - P_g H_jg' H_jg P_g / s                                  (3)
        P_g <- P_g + Q, once a label                                         (4)

    H is the Jacobian of the outputs, so that with an exact rule beneath, the filter sees how every past
    step let each parameter act on this output. Outputs j are taken in turn, d being what the earlier ones
    have moved: for independent noise the same as all at once, without a matrix inverse. A group g is all
    parameters (joint), or those of one unit (decoupled: P is block-diagonal). P stays symmetric to the
    bit, since (3) subtracts a product of a vector with itself.

    H and e have their noise taken off (`innovations`), and v is the running mean square of e; an error
    over `gate` robust standard deviations is cut down to that, as otherwise one outlier undoes what was
    learned. The robust scale is 1.4826 times a running median of magnitudes: a single outlier moves it by
    a step of its own size at most.

    State: "covariance.<block>", P; "median", "variance", "label_count".
    Cost: about 3 o N^2 multiply-adds and N^2 memory for N parameters together; decoupled, the sum over
    units of their parameters squared.

    Args:
        decoupled: one covariance a unit instead of one for all.
        prior_variance: of every parameter at first: weights of order .2. Of .03 to .3 the one that serves a
            noiseless laser and noisy sunspots alike (`python -m benchmarks tasks`).
        process_noise: Q, how far a parameter may drift in a step: 1e-7 is .03 in 10,000 steps.
        gate: in robust standard deviations: as the Huber loss, which loses little on Gaussian errors at 2.
        memory: labels over which v is averaged: short, so that a change of the noise is followed.
        adaptive: whether v is estimated. Where the loss knows its noise (Bernoulli), v = 1 can be asked for.
        trace_max: P's mean diagonal above which Q is not added: directions that nothing excites.

    Source: Williams (1992); Puskorius & Feldkamp (1994), eq. 8-12 and the decoupled form.

    Example:
        >>> import numpy as np
        >>> ekf = Ekf(prior_variance=1.0, process_noise=0.0, adaptive=False)
        >>> state = {name: row[None] for name, row in ekf.init_state(((1, 1),)).items()}
        >>> (update,), _ = ekf.update(
        ...     state, (np.ones((1, 1, 1, 1)),), np.ones((1, 1)), np.ones((1, 1)), np.array([True])
        ... )
        >>> update.tolist(), np.round(state["covariance.0"], 9).tolist()
        ([[[0.5]]], [[[[0.5]]]])
    """

    def __init__(
        self,
        *,
        decoupled: bool = False,
        prior_variance: float = 0.05,
        process_noise: float = 1e-7,
        gate: float = 2.0,
        memory: float = 100.0,
        adaptive: bool = True,
        trace_max: float = 10.0,
    ) -> None:
        """Set the filter's constants."""
        if not (prior_variance > 0.0 and process_noise >= 0.0 and gate > 0.0 and memory >= 1.0):
            raise ValueError(
                "prior_variance and gate must be positive, process_noise at least 0, memory at least 1, not"
                f" {prior_variance}, {gate}, {process_noise} and {memory}"
            )
        self.decoupled = decoupled
        self.prior_variance = prior_variance
        self.process_noise = process_noise
        self.gate = gate
        self.memory = memory
        self.adaptive = adaptive
        self.trace_max = trace_max

    def init_state(self, shapes: tuple[tuple[int, int], ...]) -> Fields:
        """Return P of the prior, one (groups, size, size) a block, and the scales of no label yet."""
        fields: Fields = {
            f"covariance.{at}": np.tile(self.prior_variance * np.eye(size), (groups, 1, 1))
            for at, (groups, size) in enumerate(self._grouped(shapes))
        }
        return fields | {
            "median": np.ones(()),
            "variance": np.ones(()),
            "label_count": np.zeros((), dtype=np.int64),
        }

    def update(
        self, state: State, jacobian: Blocks, error: Array, noise: Array, active: BoolArray
    ) -> tuple[Blocks, BoolArray]:
        """Take one label a row by eq. (1) to (4)."""
        batch, n_outputs = error.shape
        shapes = tuple((block.shape[2], block.shape[3]) for block in jacobian)
        jacobian, error, moved = whitened(jacobian, error, noise, active)
        slopes = self._blocks_of(jacobian, n_outputs)
        error, level = self._scaled(state, error, moved)
        updates = [np.zeros((batch, *h.shape[2:])) for h in slopes]
        for j in range(n_outputs):
            surprise = error[:, j] - _inner([h[:, j] for h in slopes], updates)
            gains = [
                np.matmul(state[f"covariance.{at}"], h[:, j, :, :, None])[..., 0]
                for at, h in enumerate(slopes)
            ]
            total = level + _inner([h[:, j] for h in slopes], gains)
            for at, gain in enumerate(gains):
                updates[at] += gain * (surprise / total)[:, None, None]  # Eq. (2)
                root = gain / np.sqrt(total)[:, None, None]
                state[f"covariance.{at}"] -= root[..., :, None] * root[..., None, :]  # Eq. (3)
        for at in range(len(slopes)):
            covariance = state[f"covariance.{at}"]
            diagonal = np.einsum("...ii->...i", covariance)  # a view: nothing is summed
            room = diagonal.mean(axis=-1) < self.trace_max
            diagonal += np.where(moved[:, None] & room, self.process_noise, 0.0)[..., None]  # Eq. (4)
        return self._as_given(updates, shapes), moved

    def forget(self, state: State, params: tuple[BoolArray, ...]) -> None:
        """Give the parameters the prior's variance and no covariance."""
        blocks = params
        if not self.decoupled:
            blocks = (np.concatenate([block.reshape(len(block), -1) for block in params], axis=1)[:, None],)
        for at, block in enumerate(blocks):
            forget_in(state[f"covariance.{at}"], block, self.prior_variance)

    def bound(self, state: State) -> Array:
        """Return what an error is cut down to by the labels so far, whitened, (B,); infinite before there are enough."""
        bound = self.gate * NORMAL_FROM_MEDIAN * state["median"]
        return np.where(state["label_count"] >= WARM_UP, bound, np.inf)

    def _scaled(self, state: State, error: Array, moved: BoolArray) -> tuple[Array, Array]:
        """Return the errors cut down by the gate, and v; take them into median and variance."""
        count = state["label_count"] + moved
        magnitude = np.abs(error).mean(axis=1)
        first = moved & (count == 1)
        median = np.where(first, np.maximum(magnitude, 1e-6), state["median"])
        bound = np.where(count > WARM_UP, self.gate * NORMAL_FROM_MEDIAN * median, np.inf)[:, None]
        cut = np.clip(error, -bound, bound)
        # A step up and a step down balance where half of the magnitudes lie above.
        pace = np.maximum(1.0 / np.maximum(count, 1), 0.5 / self.memory)
        stepped = median * np.exp(np.where(magnitude > median, pace, -pace))
        weight = np.maximum(1.0 / np.maximum(count, 1), 1.0 / self.memory)
        mean_square = (cut * cut).mean(axis=1)
        variance = np.where(first, mean_square, state["variance"])
        variance = variance + weight * (mean_square - variance)
        state["median"] = np.where(moved, np.maximum(stepped, 1e-12), state["median"])
        state["variance"] = np.where(moved, np.maximum(variance, 1e-20), state["variance"])
        state["label_count"] = count
        level = state["variance"] if self.adaptive else np.ones(len(error))
        return cut, level

    def _grouped(self, shapes: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        """Return the shapes of the groups that have a covariance."""
        return shapes if self.decoupled else ((1, sum(groups * size for groups, size in shapes)),)

    def _blocks_of(self, jacobian: Blocks, n_outputs: int) -> Blocks:
        """Return the Jacobian by groups, (B, o, groups, size) each."""
        if self.decoupled:
            return jacobian
        batch = len(jacobian[0])
        flat = np.concatenate([block.reshape(batch, n_outputs, -1) for block in jacobian], axis=2)
        return (flat[:, :, None, :],)

    def _as_given(self, updates: list[Array], shapes: tuple[tuple[int, int], ...]) -> Blocks:
        """Return the updates in the blocks in which the Jacobian came."""
        if self.decoupled:
            return tuple(updates)
        flat, parts, start = updates[0][:, 0], [], 0
        for groups, size in shapes:
            parts.append(flat[:, start : start + groups * size].reshape(-1, groups, size))
            start += groups * size
        return tuple(parts)


def _inner(left: list[Array], right: list[Array]) -> Array:
    """Return the inner product over all blocks, (B, groups, size) each, -> (B,)."""
    total = np.zeros(len(left[0]))
    for one, other in zip(left, right, strict=True):
        total += (one * other).reshape(len(one), -1).sum(axis=1)
    return total
