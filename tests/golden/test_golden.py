"""Goal: what the default model says of a known series changes only on purpose.

Method: the first rows of nyc_taxi, by the default model for one row and for half a day ahead; every tenth row is
compared with what was kept in nyc_taxi.csv, to a relative tolerance of 1e-9. Rounding differs between makes of
processors: after six hundred steps by at most 1e-13 on four that were tried. A change of the method shows in the
first digits. After a change that is meant, write the file anew, and let the commit say why it differs:

    .venv/bin/python -m tests.golden.test_golden
"""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import service.tools
from models.bank import Bank
from models.specification import Specification

SERIES = Path(service.tools.__file__).parent / "data" / "nyc_taxi.csv"
GOLDEN = Path(__file__).with_name("nyc_taxi.csv")
SPECIFICATION = Specification(horizons=(1, 24))
ROWS, EVERY = 600, 10
RELATIVE_TOLERANCE = 1e-9
COLUMNS = (
    "row",
    "horizon",
    "prediction",
    *(f"q{name}" for name in SPECIFICATION.quantile_names),
    "anomaly_score",
    *(f"weight_{name}" for name in SPECIFICATION.experts),
)


def golden_run() -> list[list[float]]:
    """Return the lines of the file, in the order of COLUMNS."""
    with SERIES.open(newline="") as file:
        rows = list(csv.reader(file))[1 : ROWS + 1]
    bank = Bank(SPECIFICATION)
    slot = np.array([bank.admit()])
    lines = []
    for row, (time, value) in enumerate(rows):
        seconds = datetime.fromisoformat(time).replace(tzinfo=UTC).timestamp()
        result = bank.step(slot, np.array([seconds]), np.array([[float(value)]]), np.empty((1, 0)))
        if row % EVERY == EVERY - 1:
            for place, horizon in enumerate(SPECIFICATION.horizons):
                lines.append(
                    [
                        float(row),
                        float(horizon),
                        float(result.prediction[0, 0, place]),
                        *result.quantiles[0, 0, place].tolist(),
                        float(result.anomaly_score[0, 0]),
                        *result.weights[0, 0, place].tolist(),
                    ]
                )
    return lines


def test_the_default_model_says_of_nyc_taxi_what_it_said() -> None:
    """Goal and method above. Beside the tolerance, 1e-12 absolute, for weights and scores that are zero."""
    with GOLDEN.open(newline="") as file:
        header, *kept = list(csv.reader(file))
    assert tuple(header) == COLUMNS
    expected = np.array([[float(cell) for cell in line] for line in kept])
    told = np.array(golden_run())
    assert told.shape == expected.shape == (ROWS // EVERY * len(SPECIFICATION.horizons), len(COLUMNS))
    for place, name in enumerate(COLUMNS):
        np.testing.assert_allclose(
            told[:, place], expected[:, place], rtol=RELATIVE_TOLERANCE, atol=1e-12, err_msg=name
        )


def test_the_kept_run_is_one_that_learned() -> None:
    """Goal: no file of nonsense is held to. Method: the kept forecasts are clearly better than the last value."""
    with SERIES.open(newline="") as file:
        values = np.array([float(row[1]) for row in list(csv.reader(file))[1 : ROWS + 30]])
    with GOLDEN.open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["horizon"] == "1.0"]
    rows = np.array([int(float(line["row"])) for line in lines])[20:]
    said = np.array([float(line["prediction"]) for line in lines])[20:]
    error = np.abs(said - values[rows + 1]).mean()
    assert error < 0.75 * np.abs(values[rows] - values[rows + 1]).mean()


def write() -> None:
    """Keep the run of today."""
    with GOLDEN.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(golden_run())


if __name__ == "__main__":
    write()
