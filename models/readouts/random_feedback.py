"""Feedback by fixed random weights: a readout that does not tell the layer below its own weights."""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, Blocks, BoolArray, Readout


@final
class RandomFeedback:
    """Any readout, with fixed random numbers for its derivatives to the features.

        o = readout(w, a),  d o / d w  as they are                          (1)
        d o / d a = B,  B_jf ~ N(0, 1 / F), drawn once                      (2)

    What RFLO and random e-prop ask for: credit without weight transport. It is no gradient, but where the readout's
    own weights turn towards B, what is learned below helps. The readout itself is learned as ever. One B for all
    models: they differ by their data, and the draw is no parameter.

    Args:
        readout: what is wrapped.
        seed: of B.

    Cost: the readout's.

    Source: Lillicrap et al. (2016) for feed-forward networks; Murray (2019) and Bellec et al. (2020) online.

    Example:
        >>> import numpy as np
        >>> from models.readouts import READOUTS
        >>> readout = RandomFeedback(READOUTS["linear"](n_features=2, n_outputs=1))
        >>> params = tuple(block[None] for block in readout.init_params(np.random.default_rng(0)))
        >>> outputs, _, of_features = readout.forward(params, np.ones((1, 2)))
        >>> outputs.tolist(), bool((of_features[0] == readout.feedback).all())
        ([[0.0]], True)
    """

    def __init__(self, readout: Readout, *, seed: int = 0) -> None:
        """Draw B."""
        self._readout = readout
        self.n_features, self.n_outputs, self.shapes = readout.n_features, readout.n_outputs, readout.shapes
        shape = (readout.n_outputs, readout.n_features)
        self.feedback: Array = np.random.default_rng(seed).normal(scale=readout.n_features**-0.5, size=shape)

    def init_params(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Return the readout's."""
        return self._readout.init_params(rng)

    def forward(self, params: Blocks, features: Array) -> tuple[Array, Blocks, Array]:
        """Return eq. (1), and B for every row."""
        outputs, of_params, _ = self._readout.forward(params, features)
        return outputs, of_params, np.repeat(self.feedback[None], len(features), axis=0)

    def contributions(self, params: Blocks, features: Array) -> tuple[Array, ...]:
        """Return the readout's."""
        return self._readout.contributions(params, features)

    def renew(self, params: Blocks, units: tuple[BoolArray, ...], fresh: Blocks) -> tuple[BoolArray, ...]:
        """Make the readout's units new; B stays."""
        return self._readout.renew(params, units, fresh)
