"""The figures of the challengers over many rows: how their errors compare, and what evidence there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, final

import numpy as np

from service.observe.catalog import WINDOWS
from service.observe.figures import MovingMean, Recent, add_counts, closed
from service.observe.stability import STATS
from service.ports import Promotion, Shadow

EVIDENCE_MIN: Final = 1e-300
"""Of a challenger that has lost everything the logarithm ends here."""

_Samples = dict[tuple[str, ...], float]


@final
class ShadowFigures:
    """Takes what was seen of challengers; says it in the samples of metrics, by name. Without any all is as in the beginning.

    >>> figures = ShadowFigures()
    >>> losses, evidence = np.array([[1.0, 0.5], [np.nan, np.nan]]), np.array([10.0, 1.0])
    >>> figures.add([Shadow(losses, evidence, {Promotion.RULE: 1})])
    >>> figures.samples()["challenger_loss_ratio"][("1000",)], figures.promotions[("rule",)]
    (0.5, 1.0)
    """

    def __init__(self) -> None:
        self._losses = {window: MovingMean(window, 2) for window in WINDOWS}
        self._evidence = Recent(1)
        self.promotions = closed(Promotion)

    def add(self, shadows: Sequence[Shadow]) -> None:
        """Take in rounds of events."""
        for shadow in shadows:
            settled = shadow.losses[np.isfinite(shadow.losses).all(axis=1)]
            for moving in self._losses.values():
                moving.add(settled)
            self._evidence.add(np.log10(np.maximum(shadow.evidence, EVIDENCE_MIN))[:, None])
            add_counts(self.promotions, shadow.promotions)

    def samples(self) -> Mapping[str, _Samples]:
        """Return the gauges as they are now."""
        ratios: _Samples = {}
        for window, moving in self._losses.items():
            model, challenger = moving.means().tolist()
            ratios[(str(window),)] = challenger / model if model > 0.0 else 1.0
        return {
            "challenger_loss_ratio": ratios,
            "challenger_evidence_log10": {(stat,): self._evidence.quantile(0, q) for stat, q in STATS},
        }
