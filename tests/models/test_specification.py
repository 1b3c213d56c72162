"""Goal: a make of model that cannot work is refused where it is written, with what to change.

Method: a table of wrong fields and the words that must stand in the complaint.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.bank import Bank
from models.specification import FEATURES_MAX, HORIZON_MAX, PROFILES, TARGETS_MAX, Specification, from_profile
from tests.models.streams import SMALL

WRONG: dict[str, tuple[dict[str, object], str]] = {
    "no target": ({"targets": ()}, "targets: 1 to"),
    "a target twice": ({"targets": ("a", "a")}, "targets: .* different"),
    "too many targets": (
        {"targets": tuple(map(str, range(TARGETS_MAX + 1)))},
        f"targets: 1 to {TARGETS_MAX}",
    ),
    "a feature twice": ({"features": ("f", "f")}, "features: .* different"),
    "too many features": ({"features": tuple(map(str, range(FEATURES_MAX + 1)))}, "features: at most"),
    "no horizon": ({"horizons": ()}, "horizons: "),
    "a horizon twice": ({"horizons": (1, 1)}, "horizons: different"),
    "horizons that fall": ({"horizons": (3, 1)}, "horizons: .* ascending"),
    "now": ({"horizons": (0, 1)}, "horizons: from 1"),
    "too far": ({"horizons": (1, HORIZON_MAX + 1)}, f"horizons: from 1 to {HORIZON_MAX}"),
    "no expert": ({"experts": ()}, "experts: .* at least one"),
    "an expert twice": ({"experts": ("linear", "linear")}, "experts: different"),
    "no units": ({"units": 0}, "units: between 1"),
    "no lags": ({"lags": 0}, "lags: between 1"),
    "a season of one": ({"season_max": 1}, "season_max: between 2"),
    "a negative rate": ({"learning_rate": -0.1}, "learning_rate: between 0"),
    "a rate that is no number": ({"learning_rate": float("nan")}, "learning_rate: between 0"),
    "a clip of zero": ({"clip_norm": 0.0}, "clip_norm: between"),
    "a level of one": ({"interval_levels": (0.8, 1.0)}, "interval_levels: between"),
    "no level": ({"interval_levels": ()}, "interval_levels: 1 to"),
    "levels that fall": ({"interval_levels": (0.9, 0.8)}, "interval_levels: .* ascending"),
}


@pytest.mark.parametrize(("fields", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_work_is_refused_by_its_name(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "there_are"),
    [
        ({"cell": "foo"}, "rtu"),
        ({"rule": "foo"}, "rtrl_trace"),
        ({"optimizer": "foo"}, "adam"),
        ({"experts": ("linear", "foo")}, "seasonal"),
        ({"mixture": "foo"}, "polynomial"),
        ({"drift_loss": "foo"}, "page_hinkley"),
    ],
)
def test_a_name_that_no_table_has_is_refused_with_those_that_there_are(
    fields: dict[str, object], there_are: str
) -> None:
    with pytest.raises(ValueError, match=rf"foo.*{there_are}|{there_are}.*foo"):
        Bank(replace(SMALL, **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        ({"rule": "rtrl_step"}, "use rtrl_trace"),
        ({"rule": "bptt"}, "take exact"),
        ({"rule": "bptt_disjoint"}, "take exact"),
        ({"rule": "dni"}, "take exact"),
        ({"cell": "gru", "rule": "rtrl_trace"}, "use rtrl_step"),
    ],
)
def test_a_rule_that_cannot_carry_the_experts_gradient_is_refused_with_advice(
    fields: dict[str, object], advice: str
) -> None:
    with pytest.raises(ValueError, match=advice):
        Bank(replace(from_profile("accurate"), **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_makes_a_bank_and_takes_changes(profile: str) -> None:
    specification = from_profile(
        profile, horizons=(1, 2), targets=("a", "b", "c"), features=("f",), joint=True
    )
    assert specification.n_inputs == 3
    assert replace(specification, joint=False).n_inputs == 1
    bank = Bank(specification, capacity=1)
    assert bank.bytes_per_series() > 0


def test_an_unknown_profile_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="profile: one of fast, balanced, accurate, pooled, not 'best'"):
        from_profile("best")


def test_the_default_is_the_accurate_profile() -> None:
    assert from_profile("accurate") == Specification()
