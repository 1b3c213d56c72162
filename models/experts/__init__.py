"""What forecasts. A new expert is one file here and one line in `EXPERTS`."""

from __future__ import annotations

from collections.abc import Callable

from models.experts import linear
from models.experts.last_value import LastValue
from models.experts.recurrent import Recurrent
from models.experts.seasonal import SeasonalNaive
from models.forecast_protocols import Expert
from models.specification import Specification

EXPERTS: dict[str, Callable[[Specification], Expert]] = {
    "last_value": LastValue,
    "seasonal": SeasonalNaive,
    "linear": linear.Linear,
    "linear_quick": linear.quick,
    "linear_long": linear.long,
    "recurrent": Recurrent,
}
