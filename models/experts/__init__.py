"""What forecasts. A new expert is one file here and one line in `EXPERTS`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.experts import linear, recurrent
from models.experts.drift import Drift
from models.experts.last_value import LastValue
from models.experts.recurrent import Recurrent
from models.experts.seasonal import SeasonalNaive
from models.experts.smoothing import Smoothing
from models.forecast_protocols import Expert
from models.specification import Specification

EXPERTS: dict[str, Callable[[Specification], Expert]] = {
    "last_value": LastValue,
    "seasonal": SeasonalNaive,
    "drift": Drift,
    "smoothing": Smoothing,
    "linear": linear.Linear,
    "linear_quick": linear.quick,
    "linear_long": linear.long,
    "linear_joint": linear.joint,
    "linear_pooled": linear.pooled,
    "recurrent": Recurrent,
    "recurrent_quick": recurrent.quick,
    "recurrent_gradient": recurrent.gradient,
    "recurrent_elstm": recurrent.elstm,
    "recurrent_gru": recurrent.gru,
    "recurrent_joint": recurrent.joint,
    "recurrent_pooled": recurrent.pooled,
}

NAIVE = ("last_value", "seasonal")
"""Experts that learn nothing: the first of them that a model has is what is published in quarantine."""

KINDS: dict[str, tuple[float, tuple[str, ...]]] = {
    "linear": (1.5, ("linear", "linear_quick", "linear_long", "linear_joint")),
    "recurrent": (
        1.5,
        (
            "recurrent",
            "recurrent_quick",
            "recurrent_gradient",
            "recurrent_elstm",
            "recurrent_gru",
            "recurrent_joint",
        ),
    ),
    "pooled": (1.5, ("linear_pooled", "recurrent_pooled")),
}
"""Kinds of experts that learn, what each counts in a mixture beforehand, and who shares it; any other expert counts one.

Without it three linear experts that say nearly the same outweigh one that says better. At one and a half the mixture is nearest to
the best expert where that is the recurrent one.
"""


def prior_of(names: tuple[str, ...]) -> np.ndarray:
    """Return what experts count beforehand, (E,).

    Example:
        >>> prior_of(("last_value", "linear", "linear_quick", "linear_long", "recurrent")).tolist()
        [1.0, 0.5, 0.5, 0.5, 1.5]
    """
    prior = np.ones(len(names))
    for total, kind in KINDS.values():
        there = np.isin(names, kind)
        prior[there] = total / max(1, int(there.sum()))
    return prior
