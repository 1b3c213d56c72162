"""Specifications and streams to test with, and the few lines that run a bank over them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from hypothesis import strategies as st

from models.bank import Bank, StepResult
from models.cells import CELLS
from models.experts import EXPERTS
from models.mixtures import MIXTURES
from models.protocols import Array, Fields, State
from models.snapshot import dump
from models.specification import PROFILES, Specification, from_profile

RESULT_NAMES = tuple(field.name for field in fields(StepResult))
HALF_HOUR = 1800.0

SMALL = Specification(units=3, lags=4, season_max=24)
"""Sizes at which a step costs a millisecond and every part of a model still takes part."""

SMALL_SPECIFICATIONS = st.builds(
    Specification,
    targets=st.sampled_from([("a",), ("a", "b"), ("a", "b", "c")]),
    features=st.sampled_from([(), ("f",), ("f", "g")]),
    horizons=st.sampled_from([(1,), (2,), (1, 3), (1, 3, 24)]),
    experts=st.lists(st.sampled_from(sorted(EXPERTS)), min_size=1, unique=True).map(tuple),
    joint=st.booleans(),
    mixture=st.sampled_from(sorted(MIXTURES)),
    cell=st.sampled_from(sorted(CELLS)),
    units=st.sampled_from([1, 2, 4, 6]),  # what stacks of two layers can have too
    lags=st.sampled_from([1, 3, 26]),
    season_max=st.sampled_from([2, 24, 50]),
    optimizer=st.sampled_from(["adam", "ekf_joint", "obgd"]),
    learning_rate=st.sampled_from([0.0, 0.003, 0.1]),
    seed=st.integers(0, 3),
)
SPECIFICATIONS = st.one_of(
    SMALL_SPECIFICATIONS,
    st.builds(from_profile, st.sampled_from(sorted(PROFILES)), horizons=st.sampled_from([(1,), (1, 3)])),
)


@dataclass(frozen=True, slots=True)
class Stream:
    """Events of B series, row by row: times (T, B), values (T, B, K), features (T, B, F)."""

    times: Array
    values: Array
    features: Array

    def __len__(self) -> int:
        return len(self.times)


def make_stream(
    specification: Specification, *, rows: int, series: int = 1, seed: int = 0, missing: float = 0.0
) -> Stream:
    """Return random walks with a daily season, a wild value now and then, and a stretch that stands still.

    A series is hourly, half-hourly or daily, of any magnitude, and its clock has jitter and repeats a time. Of values and
    features that share is `missing`, the first and a whole stretch of values of the first series among them.
    """
    rng = np.random.default_rng(seed)
    n_targets, n_features = len(specification.targets), len(specification.features)
    interval = rng.choice([HALF_HOUR, 3600.0, 86400.0], size=series)
    times = np.arange(rows)[:, None] * interval + rng.uniform(0.0, 1.0, size=(rows, series))
    times[1::17] = times[0::17][: len(times[1::17])]
    unit = 10.0 ** rng.uniform(-6.0, 6.0, size=(series, n_targets))
    steps = rng.normal(size=(rows, series, n_targets))
    steps[rng.random(size=steps.shape) < 0.02] *= 50.0
    steps[rows // 3 : rows // 3 + 3] = 0.0
    hour = (times / 3600.0 % 24.0)[:, :, None]
    values = unit * (steps.cumsum(axis=0) + 4.0 * np.sin(2.0 * np.pi * hour / 24.0) + 10.0)
    features = rng.normal(3.0, 2.0, size=(rows, series, n_features))
    if missing:
        values[rng.random(size=values.shape) < missing] = np.nan
        features[rng.random(size=features.shape) < missing] = np.nan
        values[:2, 0] = values[rows // 2 : rows // 2 + 9, 0] = np.nan
    return Stream(times, values, features)


def together(*streams: Stream) -> Stream:
    """Return the series of several streams as one: a step of numpy's costs the same for few series as for one."""
    return Stream(
        *(np.concatenate([getattr(one, field.name) for one in streams], axis=1) for field in fields(Stream))
    )


def univariate(values: Array, *, interval: float = HALF_HOUR) -> Stream:
    """Return one series of one target without features, at even intervals."""
    rows = len(values)
    times: Array = interval * np.arange(rows, dtype=np.float64)[:, None]
    return Stream(
        times,
        np.asarray(values, float).reshape(rows, 1, 1),
        np.empty((rows, 1, 0)),
    )


def side_by_side(*columns: Array, interval: float = HALF_HOUR) -> Stream:
    """Return several series of one target without features, at even intervals."""
    values = np.stack([np.asarray(column, float) for column in columns], axis=1)[:, :, None]
    times = np.repeat(interval * np.arange(len(values))[:, None], len(columns), axis=1)
    return Stream(times, values, np.empty((*values.shape[:2], 0)))


def step(
    bank: Bank, slots: list[int], stream: Stream, row: int, series: list[int] | None = None
) -> StepResult:
    """Give the bank one row of some of the stream's series; of all by default."""
    which = list(range(len(slots))) if series is None else series
    return bank.step(
        np.array(slots, dtype=np.int64),
        stream.times[row, which],
        stream.values[row, which],
        stream.features[row, which],
    )


def run(bank: Bank, slots: list[int], stream: Stream, rows: range | None = None) -> dict[str, Array]:
    """Run all series together over the rows; return each field of the results with the rows as first axis."""
    results = [step(bank, slots, stream, row) for row in rows or range(len(stream))]
    return {name: np.stack([getattr(result, name) for result in results]) for name in RESULT_NAMES}


def run_new(specification: Specification, stream: Stream) -> dict[str, Array]:
    """Run the stream's series from their first event, in a bank of their own."""
    bank = Bank(specification)
    return run(bank, [bank.admit() for _ in range(stream.values.shape[1])], stream)


def state_bytes(bank: Bank, slot: int) -> bytes:
    """Return all that a series is, as bytes."""
    return dump(bank.snapshot(slot), version="test")


def row_bytes(result: StepResult, row: int) -> dict[str, bytes]:
    """Return one series' part of a result, as bytes, by field."""
    return {name: np.ascontiguousarray(getattr(result, name)[row]).tobytes() for name in RESULT_NAMES}


def is_same(found: Array, expected: Array) -> bool:
    """Whether two arrays are the same to the bit; numpy's comparisons cost as much as a step of a model."""
    return (found.shape, found.dtype) == (
        expected.shape,
        expected.dtype,
    ) and found.tobytes() == expected.tobytes()


def units_of(result: dict[str, Array]) -> dict[str, Array]:
    """Return what each result is measured in: raw units go by the level, all else is of order one or tells its own size."""
    level = np.nan_to_num(np.abs(result["prediction"]).max(axis=-1)) + result["scale"]
    raw = {"prediction", "quantiles", "error", "expert_predictions", "expert_errors", "scale"}
    units = {}
    for name, value in result.items():
        unit = level if name in raw else 1.0 + np.abs(value).reshape(*level.shape, -1).max(axis=-1)
        units[name] = unit.reshape(*level.shape, *[1] * (value.ndim - level.ndim))
    return units


def assert_alike(found: dict[str, Array], expected: dict[str, Array], tolerance: float) -> None:
    """Hold numbers to a tolerance, and flags to equality."""
    units = units_of({name: np.asarray(value) for name, value in expected.items()})
    for name in RESULT_NAMES:
        assert found[name].shape == expected[name].shape, name
        assert found[name].dtype == expected[name].dtype, name
        if expected[name].dtype == np.bool_:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
        else:
            np.testing.assert_array_equal(np.isnan(found[name]), np.isnan(expected[name]), err_msg=name)
            apart = np.nan_to_num(np.abs(found[name] - expected[name])) / units[name]
            assert apart.max(initial=0.0) <= tolerance, (name, apart.max())


def rows_of(fields_: Fields, *, rows: int = 1) -> State:
    """Return the state of a micro-batch of so many new components."""
    return {name: np.repeat(np.array(value)[None], rows, axis=0) for name, value in fields_.items()}


def fields_of(result: StepResult) -> dict[str, Array]:
    """Return the result's fields by name."""
    return {name: getattr(result, name) for name in RESULT_NAMES}
