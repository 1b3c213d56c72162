"""Goal: exp, tanh, sine and cosine of the compiled loops are numpy's, to two roundings, and numpy's where nothing rounds.

Method: dense draws over all of each one's range, its seams and its ends; the same numbers in arrays of other lengths.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models.kernels import elementary
from models.kernels.jit import jit
from models.protocols import Array

pytest.importorskip("numba", reason="the compiled twins need the extra `fast`")

SPECIAL = np.array([0.0, -0.0, 5e-324, -5e-324, 1e-310, 2.3e-308, 1e308, -1e308, np.inf, -np.inf, np.nan])
ROUNDINGS = 4e-16
"""Greatest relative error allowed, where two units of the last place are not more."""


@jit
def exp_of(values: Array, out: Array, _: Array) -> None:
    """Fill `out` with exp."""
    for i in range(len(values)):
        out[i] = elementary.exp(values[i])


@jit
def tanh_of(values: Array, out: Array, _: Array) -> None:
    """Fill `out` with tanh."""
    for i in range(len(values)):
        out[i] = elementary.tanh(values[i])


@jit
def turn_of(values: Array, cosine: Array, sine: Array) -> None:
    """Fill with cosine and sine."""
    for i in range(len(values)):
        cosine[i], sine[i] = elementary.turn(values[i])


@jit
def fallen_of(values: Array, left: Array, lost: Array) -> None:
    """Fill with exp(-x) and 1 - exp(-x)."""
    for i in range(len(values)):
        left[i], lost[i] = elementary.fallen(values[i])


def filled(function: Callable[[Array, Array, Array], None], values: Array) -> tuple[Array, Array]:
    """Return what a function writes."""
    one, other = np.zeros_like(values), np.zeros_like(values)
    function(values, one, other)
    return one, other


def assert_close(found: Array, expected: Array) -> None:
    """Hold to two units of the last place or `ROUNDINGS`, and to the same zeros, infinities and NaN."""
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite], expected[~finite])
    known, true = found[finite], expected[finite]
    bound = np.maximum(2.0 * np.spacing(np.abs(true)), ROUNDINGS * np.abs(true))
    worst = np.argmax(np.abs(known - true) / bound)
    assert (np.abs(known - true) <= bound).all(), (known[worst], true[worst])


def spread(low: float, high: float, draws: int = 200_000) -> Array:
    """Return draws from a range, of even size and of even logarithm of size, either sign that the range has."""
    rng = np.random.default_rng(0)
    even = rng.uniform(low, high, draws)
    small = 10.0 ** rng.uniform(-320.0, np.log10(high), draws)
    return np.concatenate((even, small, -small if low < 0.0 else small))


def test_exp_is_that_of_numpy() -> None:
    seams = (np.arange(-1076, 1025) + 0.5) * np.log(2.0)
    ends = np.array([709.78, 709.79, -708.3, -708.5, -745.1, -745.2, 800.0, -800.0, 1e4, -1e4])
    values = np.concatenate((spread(-750.0, 712.0), seams, np.nextafter(seams, 0.0), ends, SPECIAL))
    with np.errstate(over="ignore", under="ignore"):
        assert_close(filled(exp_of, values)[0], np.exp(values))


def test_tanh_is_that_of_numpy_and_odd() -> None:
    seams = np.arange(60) * np.log(2.0) / 4.0
    values = np.concatenate((spread(-25.0, 25.0), spread(-1.0, 1.0), seams, SPECIAL))
    found = filled(tanh_of, values)[0]
    assert_close(found, np.tanh(values))
    assert np.array_equal(np.signbit(found[:-1]), np.signbit(values[:-1]))
    assert np.array_equal(filled(tanh_of, -values)[0], -found, equal_nan=True)
    assert np.abs(found[:-1]).max() == 1.0


def test_sine_and_cosine_are_those_of_numpy() -> None:
    seams = np.arange(6000) * (np.pi / 4.0)
    values = np.concatenate((spread(0.0, 404.0), spread(-1e4, 1e4), seams, np.nextafter(seams, 0.0)))
    cosine, sine = filled(turn_of, values)
    assert_close(cosine, np.cos(values))
    assert_close(sine, np.sin(values))
    with np.errstate(invalid="ignore"):
        for found in filled(turn_of, np.array([np.inf, -np.inf, np.nan])):
            assert np.isnan(found).all()


def test_what_is_left_and_lost_of_one_does_not_cancel() -> None:
    values = spread(0.0, 700.0)
    left, lost = filled(fallen_of, values)
    assert_close(left, np.exp(-values))
    assert_close(lost, -np.expm1(-values))
    for found in filled(fallen_of, np.array([np.nan])):
        assert np.isnan(found).all()


@pytest.mark.parametrize("function", [exp_of, tanh_of, turn_of, fallen_of])
def test_a_value_is_the_same_to_the_bit_wherever_it_stands(
    function: Callable[[Array, Array, Array], None],
) -> None:
    values = np.random.default_rng(1).uniform(0.0, 30.0, 37)
    whole = filled(function, values)
    for at in range(37):
        for found, expected in zip(filled(function, values[at:].copy()), whole, strict=True):
            assert found.tobytes() == expected[at:].tobytes()
