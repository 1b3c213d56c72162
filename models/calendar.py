"""Where in the day and in the week an event stands, as sines: what a model may know of the time itself.

    sin(2 pi k t / day), cos(2 pi k t / day) for k = 1, 2, 3;  sin(2 pi t / week), cos(2 pi t / week)

with t in seconds since 1970 (UTC): a day's course is a sum of such, and three harmonics of it are most of what hourly and
quicker series have. Rows as far apart as a day or more see constants, which do no harm.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.protocols import Array

DAY_SECONDS: Final = 86_400.0
WAVES: Final = ((DAY_SECONDS, 1.0), (DAY_SECONDS, 2.0), (DAY_SECONDS, 3.0), (7.0 * DAY_SECONDS, 1.0))
"""Periods in seconds, and which harmonic."""

N_CALENDAR: Final = 2 * len(WAVES)


def calendar(time: Array) -> Array:
    """Return sines and cosines of event times in seconds, (B,) -> (B, N_CALENDAR).

    Example:
        >>> import numpy as np
        >>> calendar(np.array([6 * 3600.0])).round(3)[0, :4].tolist()
        [1.0, 0.0, 0.0, -1.0]
    """
    columns = []
    for period, harmonic in WAVES:
        angle = 2.0 * np.pi * harmonic * (time % period / period)
        columns += [np.sin(angle), np.cos(angle)]
    return np.stack(columns, axis=1)
