"""Goal: NAB's scorer is NAB's. Method: the values and counts that its paper and its own tests state, and a sweep by hand."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import pytest

from benchmarks.nab import command
from benchmarks.nab.files import nab_files
from benchmarks.nab.scorer import (
    NO_THRESHOLD,
    PROFILES,
    Profile,
    best_threshold,
    labelled,
    normalised,
    probation,
    raw_score,
    scaled_sigmoid,
)
from models.bank import Array

STANDARD = PROFILES["standard"]
EVEN = Profile(1.0, 1.0, 1.0)


def detections(rows: int, *at: int) -> Array:
    scores = np.zeros(rows)
    scores[list(at)] = 1.0
    return scores


@pytest.mark.parametrize(
    ("place", "value"),
    [(-1.0, 0.98661), (-0.5, 0.84828), (0.0, 0.0), (1.0, -0.98661), (3.0, -1.0), (50.0, -1.0)],
)
def test_the_scaled_sigmoid_is_the_papers(place: float, value: float) -> None:
    assert scaled_sigmoid(place) == pytest.approx(value, abs=5e-6)


@pytest.mark.parametrize(("rows", "expected"), [(100, 15), (4032, 604), (5000, 750), (22695, 750)])
def test_probation_is_15_in_a_hundred_rows_but_no_more_than_of_5000(rows: int, expected: int) -> None:
    assert probation(rows) == expected


def test_the_example_of_nabs_own_tests_scores_the_same() -> None:
    """Two windows of five: one found at its left edge and once more, one false alarm three rows after it, one missed."""
    file = labelled(100, [(40, 44), (80, 84)], first=0)
    raw = raw_score([file], [detections(100, 40, 41, 47)], 0.5, EVEN)
    assert raw == pytest.approx(-0.9540, abs=5e-5)


def test_a_detection_at_the_left_edge_is_worth_one_whatever_the_width_and_later_ones_add_nothing() -> None:
    for width in (2, 3, 50):
        file = labelled(200, [(100, 99 + width)], first=0)
        alone = raw_score([file], [detections(200, 100)], 0.5, EVEN)
        more = raw_score([file], [detections(200, 100, 101)], 0.5, EVEN)
        assert alone == more == pytest.approx(1.0)
        assert raw_score([file], [detections(200, 101)], 0.5, EVEN) < alone


def test_the_last_row_of_a_window_and_the_first_after_it_nearly_cancel() -> None:
    file = labelled(1000, [(500, 599)], first=0)
    found = raw_score([file], [detections(1000, 599)], 0.5, EVEN)
    late = raw_score([file], [detections(1000, 600)], 0.5, EVEN)
    assert found + late + 1.0 == pytest.approx(0.0, abs=1e-3)


def test_false_alarms_weigh_as_the_profile_says_and_not_in_probation() -> None:
    file = labelled(1000, [(500, 599)])
    quiet = raw_score([file], [detections(1000, 500)], 0.5, STANDARD)
    assert raw_score([file], [detections(1000, 500, 10)], 0.5, STANDARD) == quiet
    assert raw_score([file], [detections(1000, 500, 300)], 0.5, STANDARD) == pytest.approx(quiet - 0.11)
    low = PROFILES["reward_low_FP_rate"]
    assert raw_score([file], [detections(1000, 500, 300)], 0.5, low) == pytest.approx(1.0 - 0.22)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_nothing_found_is_0_a_constant_score_is_0_and_perfect_is_100(profile: Profile) -> None:
    files = [labelled(4000, [(2000, 2200)]), labelled(5000, [(1000, 1100), (3000, 3100)]), labelled(4000, [])]
    perfect = [detections(4000, 2000), detections(5000, 1000, 3000), np.zeros(4000)]
    constant = [np.full(len(one), 0.5) for one in perfect]
    assert normalised(raw_score(files, perfect, NO_THRESHOLD, profile), 3, profile) == 0.0
    threshold, raw = best_threshold(files, constant, profile)
    assert threshold == NO_THRESHOLD
    assert normalised(raw, 3, profile) == 0.0
    threshold, raw = best_threshold(files, perfect, profile)
    assert threshold == 1.0
    assert normalised(raw, 3, profile) == pytest.approx(100.0)


def test_the_sweep_finds_what_trying_every_threshold_finds() -> None:
    rng = np.random.default_rng(0)
    files = [labelled(300, [(100, 130), (200, 220)]), labelled(200, [(120, 139)]), labelled(150, [])]
    for profile in PROFILES.values():
        scores = [np.round(rng.random(len(file.window)) ** 0.1, 2) for file in files]
        for score, file in zip(scores, files, strict=True):
            score[rng.choice(np.flatnonzero(file.window >= 0), size=3) if file.n_windows else []] = 1.1
        tried = [raw_score(files, scores, one, profile) for one in np.unique(np.concatenate(scores))]
        threshold, raw = best_threshold(files, scores, profile)
        assert raw == pytest.approx(max(tried))
        assert raw == pytest.approx(raw_score(files, scores, threshold, profile))


def test_the_shipped_files_have_their_windows() -> None:
    files = nab_files(None)
    assert len(files) == 6
    assert sum(len(file.windows) for file in files) == 17
    for file in files:
        assert all(0 <= left < right < len(file.values) for left, right in file.windows)


def test_the_command_writes_results_as_nab_reads_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = argparse.Namespace(data=None, output=tmp_path, quick=True)
    assert command.main(arguments) == 0
    assert "log score" in capsys.readouterr().out
    results = sorted((tmp_path / "nab").glob("*/onward_*.csv"))
    assert len(results) == 6
    with results[-1].open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["timestamp", "value", "anomaly_score", "label"]
    assert all(0.0 <= float(row["anomaly_score"]) < 1.0 for row in rows)
