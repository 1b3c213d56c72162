"""A feed-forward layer above the recurrent one."""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, Blocks, BoolArray
from models.readouts.linear import with_one


@final
class FeedForward:
    """One hidden layer of tanh units, with a direct linear path beside it.

        z = tanh(V [a, 1])                                                  (1)
        o = W [z, a, 1]    with the direct path, else  o = W [z, 1]         (2)
        d o / d V[u] = W[:, u] (1 - z_u^2) [a, 1]                           (3)
        d o / d a = W_z diag(1 - z^2) V + W_a                               (4)

    The recurrent layer keeps the past, this layer combines what it keeps: a linear diagonal cell under it
    can learn what depends on products of past inputs. The direct path makes what is linear as easy as for
    the linear readout.

    Blocks: V, (hidden, F + 1), and W, (o, hidden + F + 1), or (o, hidden + 1): a group is one unit's weights. V is
    Gaussian with variance 1/F, W zero: the first prediction is zero, and V learns once W has. That is no dead
    start: dL/dW = dL/do [z, a, 1] is not zero, and as V is random no two hidden units stay alike.

    Args:
        n_features: F.
        n_outputs: o.
        n_hidden: hidden units; 16 were enough for all tasks of `python -m benchmarks tasks`.
        direct: whether the outputs see the features beside the hidden layer.

    Cost: hidden (F + o) + o F multiply-adds for the outputs, O(o hidden F) for the derivatives, in time and memory.

    Example:
        >>> import numpy as np
        >>> readout = FeedForward(n_features=2, n_outputs=1, n_hidden=3)
        >>> params = tuple(block[None] for block in readout.init_params(np.random.default_rng(0)))
        >>> outputs, of_params, of_features = readout.forward(params, np.ones((1, 2)))
        >>> outputs.tolist(), [block.shape for block in of_params], of_features.shape
        ([[0.0]], [(1, 1, 3, 3), (1, 1, 1, 6)], (1, 1, 2))
    """

    def __init__(self, *, n_features: int, n_outputs: int, n_hidden: int = 16, direct: bool = True) -> None:
        """Set the sizes."""
        if n_features < 1 or n_outputs < 1 or n_hidden < 1:
            raise ValueError(
                "a readout needs at least one feature, output and hidden unit, not"
                f" {n_features}, {n_outputs} and {n_hidden}"
            )
        self.n_features = n_features
        self.n_outputs = n_outputs
        self.n_hidden = n_hidden
        self.direct = direct
        above = n_hidden + (n_features if direct else 0) + 1
        self.shapes: tuple[tuple[int, int], ...] = ((n_hidden, n_features + 1), (n_outputs, above))

    def init_params(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Return new parameters: V, then W."""
        hidden = np.zeros(self.shapes[0])
        hidden[:, :-1] = rng.normal(scale=self.n_features**-0.5, size=(self.n_hidden, self.n_features))
        return hidden, np.zeros(self.shapes[1])

    def forward(self, params: Blocks, features: Array) -> tuple[Array, Blocks, Array]:
        """Return eq. (2), and its derivatives (3) and (4)."""
        hidden_weights, weights = params
        below = with_one(features)
        hidden = np.tanh(np.matmul(hidden_weights, below[:, :, None])[:, :, 0])
        above = np.concatenate((hidden, below), axis=1) if self.direct else with_one(hidden)
        outputs = np.matmul(weights, above[:, :, None])[:, :, 0]
        through = weights[:, :, : self.n_hidden] * (1.0 - hidden * hidden)[:, None, :]
        of_hidden = through[:, :, :, None] * below[:, None, None, :]
        of_weights = np.eye(self.n_outputs)[None, :, :, None] * above[:, None, None, :]
        of_features = np.matmul(through, hidden_weights[:, :, :-1])
        if self.direct:
            of_features = of_features + weights[:, :, self.n_hidden : -1]
        return outputs, (of_hidden, of_weights), of_features

    def contributions(self, params: Blocks, features: Array) -> tuple[Array, ...]:
        """Return how strongly each feature and each hidden unit is heard."""
        hidden_weights, weights = params
        hidden = np.tanh(np.matmul(hidden_weights, with_one(features)[:, :, None])[:, :, 0])
        leaving = np.abs(hidden_weights[:, :, :-1]).sum(axis=1)
        if self.direct:
            leaving = leaving + np.abs(weights[:, :, self.n_hidden : -1]).sum(axis=1)
        of_hidden = np.abs(weights[:, :, : self.n_hidden]).sum(axis=1)
        return np.abs(features) * leaving, np.abs(hidden) * of_hidden

    def renew(self, params: Blocks, units: tuple[BoolArray, ...], fresh: Blocks) -> tuple[BoolArray, ...]:
        """Set what leaves features and hidden units that are new to zero; draw what enters the hidden ones."""
        features, hidden = units
        below, above = (np.zeros(block.shape, dtype=np.bool_) for block in params)
        below[:, :, :-1] = features[:, None]
        params[0][below] = 0.0
        if self.direct:
            above[:, :, self.n_hidden : -1] = features[:, None]
        above[:, :, : self.n_hidden] = hidden[:, None]
        params[1][above] = 0.0
        below |= hidden[:, :, None]
        np.copyto(params[0], fresh[0], where=hidden[:, :, None])
        return below, above
