"""Goal: random numbers by counter are random, and depend on seed, counter and place alone.

Method: the mixing is compared with splitmix64 in whole numbers; means, variances and correlations over counters,
seeds and places are held to what chance leaves.
"""

from __future__ import annotations

import numpy as np
import pytest

from models.random import signs, uniforms

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def mixed(value: int) -> int:
    """Return splitmix64's finaliser, in whole numbers."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_the_numbers_are_those_of_splitmix64_in_whole_numbers(seed: int) -> None:
    counters = np.array([0, 1, 17, 2**50])
    start = mixed((seed + GOLDEN) & MASK)
    for row, counter in enumerate(counters.tolist()):
        stream = mixed((start + counter * GOLDEN) & MASK)
        bits = [mixed((stream + index * GOLDEN) & MASK) for index in range(1, 6)]
        assert uniforms(counters, 5, seed)[row].tolist() == [(b >> 11) * 2.0**-53 for b in bits]
        assert signs(counters, 5, seed)[row].tolist() == [2.0 * (b >> 63) - 1.0 for b in bits]


def test_uniforms_have_the_moments_of_uniforms() -> None:
    drawn = uniforms(np.arange(2000), 500, seed=3)
    assert 0.0 <= drawn.min() < 1e-5
    assert 1.0 - 1e-5 < drawn.max() < 1.0
    assert drawn.mean() == pytest.approx(0.5, abs=5 * np.sqrt(1 / 12 / drawn.size))
    assert drawn.var() == pytest.approx(1 / 12, rel=0.01)
    share = np.histogram(drawn, bins=64)[0] / drawn.size
    assert np.abs(share * 64 - 1.0).max() < 6 * np.sqrt(64 / drawn.size)


@pytest.mark.parametrize("axis", [0, 1])
def test_signs_are_fair_and_know_nothing_of_their_neighbours(axis: int) -> None:
    drawn = signs(np.arange(1000), 1000, seed=0)
    assert set(np.unique(drawn)) == {-1.0, 1.0}
    bound = 5.0 / np.sqrt(drawn.size)
    assert abs(drawn.mean()) < bound
    assert np.abs(drawn.mean(axis=axis)).max() < 5.5 / np.sqrt(1000)
    for lag in (1, 2, 7):
        one, other = np.take(drawn, range(1000 - lag), axis), np.take(drawn, range(lag, 1000), axis)
        assert abs((one * other).mean()) < 1.1 * bound


def test_seeds_give_streams_that_are_strangers() -> None:
    streams = [signs(np.arange(300), 300, seed) for seed in range(6)]
    for at, one in enumerate(streams):
        for other in streams[at + 1 :]:
            assert abs((one * other).mean()) < 5.0 / 300


def test_a_row_does_not_depend_on_the_batch() -> None:
    together = uniforms(np.arange(10), 7, seed=1)
    for row in range(10):
        assert uniforms(np.array([row]), 7, seed=1)[0].tobytes() == together[row].tobytes()
        assert uniforms(np.array([row]), 3, seed=1)[0].tobytes() == together[row, :3].tobytes()
