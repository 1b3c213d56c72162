"""The figures of gradient stability over many rows: quantiles over series, never a series by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, final

import numpy as np

from models.bank import GUARD_ACTIONS, STABILITY_FIGURES, Audit, IntArray, memory_horizon, step_size
from models.specification import Specification
from service.observe.figures import Array, MovingMean, Recent, add_counts, closed, count_bits

STATS: Final = (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
LOW_STATS: Final = (("min", 0.0), ("p50", 0.5), ("max", 1.0))
"""Where it is the low end that tells of trouble."""
AUDIT_SPAN: Final = 20
"""Audits of the moving means: by the defaults a worker of 1,000 events a second makes one in twenty seconds."""
OUTCOMES: Final = ("sound", "off", "approximate")
AGAINST: Final = ("rule", "in_use")

_Samples = dict[tuple[str, ...], float]


@final
class StabilityFigures:
    """Takes what the core says of the recurrent expert; says it in the samples of metrics, by name.

    Args:
        specification: of the models. Without a recurrent expert all figures are 0.
    """

    def __init__(self, specification: Specification) -> None:
        self._rate = step_size(specification)
        self._recurrent = "recurrent" in specification.experts
        self._recent = Recent(len(STABILITY_FIGURES))
        self._looked = Recent(len(STABILITY_FIGURES))
        self._audits = MovingMean(AUDIT_SPAN, 4)
        self.guards = closed(("reject", *GUARD_ACTIONS))
        self.checks = closed(OUTCOMES)

    def add(self, rows: Array, guard: IntArray) -> None:
        """Take rows of the figures, (n, S), all of them finite, and what guards did in all rows."""
        if self._recurrent:
            self._recent.add(rows)
            # Until it was looked at the first time, a series has neither rank nor condition.
            self._looked.add(rows[rows[:, STABILITY_FIGURES.index("weight_norm")] > 0.0])
        self.guarded(guard)

    def guarded(self, guard: IntArray) -> None:
        """Count what guards did in some rows."""
        add_counts(self.guards, count_bits(guard, GUARD_ACTIONS))

    def audited(self, audits: Sequence[Audit]) -> None:
        """Take in what audits of the gradient found."""
        for audit in audits:
            outcome = "approximate" if not audit.exact else "sound" if audit.sound else "off"
            self.checks[(outcome,)] += 1
            figures = (audit.rule_cosine, audit.rule_error, audit.in_use_cosine, audit.in_use_error)
            self._audits.add(np.array([figures]))

    def samples(self) -> Mapping[str, _Samples]:
        """Return the gauges as they are now."""
        found = self._audits.means().tolist() if any(self.checks.values()) else [1.0, 0.0, 1.0, 0.0]
        cosines: _Samples = {(name,): found[2 * place] for place, name in enumerate(AGAINST)}
        errors: _Samples = {(name,): found[2 * place + 1] for place, name in enumerate(AGAINST)}
        ratios = self._stats("update_ratio", STATS)
        return {
            "lyapunov_exponent": self._stats("lyapunov", STATS),
            "memory_horizon_events": self._horizons(),
            "update_to_weight_ratio": {("cell", stat): value for (stat,), value in ratios.items()},
            "dead_unit_ratio": {(): self._recent.mean(STABILITY_FIGURES.index("dead_ratio"))},
            "effective_rank": self._stats("effective_rank", LOW_STATS),
            "covariance_condition_log10": self._stats("log_condition", STATS),
            "learning_rate": {
                ("cell",): self._rate * self._recent.mean(STABILITY_FIGURES.index("rate_factor"))
            },
            "weight_norm": {
                ("cell",): self._looked.mean(STABILITY_FIGURES.index("weight_norm")),
                ("readout",): self._looked.mean(STABILITY_FIGURES.index("readout_norm")),
            },
            "gradient_check_cosine": cosines,
            "gradient_check_error_ratio": errors,
        }

    def _stats(self, name: str, stats: tuple[tuple[str, float], ...]) -> _Samples:
        rows = self._looked if name in ("effective_rank", "log_condition") else self._recent
        return {(stat,): rows.quantile(STABILITY_FIGURES.index(name), q) for stat, q in stats}

    def _horizons(self) -> _Samples:
        """Return quantiles of the memory's horizon: it grows with the exponent, so they are the exponent's own."""
        exponents = self._stats("lyapunov", LOW_STATS)
        known = any(exponents.values())
        return {
            stat: float(memory_horizon(np.array(value))) if known else 0.0
            for stat, value in exponents.items()
        }
