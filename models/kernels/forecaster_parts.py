"""The forecaster's parts but its experts, for one row of the records: scale, season, interval.

Each function is the twin of the class that it names, and reads and writes the fields of that class's state at their places
in a row's records. Constants come as arguments, so that a kernel kept on disk cannot hold yesterday's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.kernels.jit import inner, lent
from models.protocols import Array, BoolArray, IntArray


class Places(NamedTuple):
    """Where each field begins in its record, named part_field; -1 where the forecaster has no such part."""

    clock_count: int
    scale_seen: int
    scale_level: int
    scale_mean: int
    scale_variance: int
    scale_spread: int
    steady_level: int
    steady_raw: int
    steady_expected: int
    steady_trust: int
    steady_outlier: int
    steady_judged: int
    fault_counts: int
    fault_figures: int
    fault_scale: int
    fault_mixture: int
    scale_lowest: int
    scale_highest: int
    features_seen: int
    features_mean: int
    features_variance: int
    season_time: int
    season_interval: int
    season_votes: int
    season_rows: int
    season_levels: int
    mixture_weights: int
    mixture_regret: int
    mixture_variation: int
    mixture_loss: int
    mixture_seen: int
    mixture_effective: int
    mixture_coefficients: int
    mixture_uncertainty: int
    mixture_square: int
    mixture_product: int
    mixture_power: int
    mixture_noise: int
    mixture_correction: int
    mixture_count: int
    trust_gain: int
    trust_variation: int
    trust_square: int
    interval_spread: int
    interval_size: int
    interval_quantile: int
    interval_seen: int
    anomaly_events: int
    anomaly_seen: int
    anomaly_counts: int
    anomaly_spread: int
    anomaly_surprise: int
    anomaly_lean: int
    anomaly_lowest: int
    anomaly_highest: int
    anomaly_record: int
    anomaly_left: int
    drift_loss_sum: int
    drift_inputs_sum: int
    drift_calibration_sum: int
    quicken_left: int
    challenge_age: int
    challenge_judged: int
    challenge_former: int
    challenge_loss: int
    challenge_pending: int
    inputs_size: int
    inputs_seen: int
    pending_level: int
    pending_scale: int
    pending_scaled: int
    pending_mixed: int
    pending_whole: int
    pending_quantiles: int
    pending_experts: int
    residual_variance: int
    residual_seen: int
    recurrent_params: int
    recurrent_state: int
    recurrent_lags: int
    recurrent_jacobian: int
    recurrent_gradient_norm: int
    recurrent_updated: int
    recurrent_clipped: int
    recurrent_influence_norm: int
    recurrent_spectral_radius: int
    recurrent_saturated_ratio: int
    recurrent_influence_resets: int
    recurrent_figures: int
    recurrent_tangent: int
    recurrent_counts: int
    recurrent_stuck: int
    recurrent_losses: int
    recurrent_reset: int
    recurrent_quarantined: int
    recurrent_rollbacks: int
    recurrent_renewed: int
    recurrent_good_params: int
    recurrent_good_weights: int
    recurrent_memory_trace: int
    recurrent_optimizer_guard_skipped: int
    recurrent_optimizer_guard_skip_count: int
    recurrent_optimizer_clip_norm: int
    recurrent_optimizer_clip_clipped: int
    recurrent_optimizer_clip_clip_count: int
    recurrent_optimizer_last_first_moment: int
    recurrent_optimizer_last_second_moment: int
    recurrent_optimizer_last_update_count: int
    recurrent_optimizer_median: int
    recurrent_optimizer_variance: int
    recurrent_optimizer_label_count: int
    recurrent_optimizer_covariance_0: int


@lent
class Experts(NamedTuple):
    """Of each expert the kind, the mixture's prior, and of its readout, see `models.experts.linear`, sizes and places.

    Arrays of one number an expert; 0 and -1 for one without a readout. `own_at` and `seen_at` are where the state begins of one
    that has another: its numbers, and its count of events.
    `exchanged` says what is copied when a fault begins: where it is, where it is kept, and how many numbers, (R, 3).
    """

    kinds: IntArray
    exchanged: IntArray
    prior: Array
    lags: IntArray
    lags_at: IntArray
    inputs: IntArray
    inputs_at: IntArray
    gain_at: IntArray
    weights_at: IntArray
    covariance_at: IntArray
    offset_at: IntArray
    held_at: IntArray
    own_at: IntArray
    seen_at: IntArray
    forgetting: Array


class Constants(NamedTuple):
    """The constants of the parts' modules, and the settings that are no sizes."""

    scale_span: float
    winsor: float
    feature_winsor: float
    range_margin: float
    tiny: float
    day: float
    hour: float
    week_days: float
    tolerance: float
    votes_min: int
    votes_max: int
    mixture_keep: float
    optimism: float
    mixture_span: float
    regret_max: float
    negligible: float
    interval_spread_span: float
    interval_size_span: float
    interval_winsor: float
    interval_spread_share: float
    interval_step: float
    interval_across: float
    interval_quantile_max: float
    bins: int
    log_lowest: float
    log_highest: float
    anomaly_span: float
    anomaly_early: float
    anomaly_surprise_events: float
    anomaly_lean_events: float
    anomaly_winsor: float
    anomaly_range_growth: float
    anomaly_negligible: float
    anomaly_tail_share: float
    anomaly_surprise_max: float
    anomaly_hold: int
    anomaly_prior: float
    cusum_mean: float
    cusum_delta: float
    cusum_threshold: float
    watch_seen_min: int
    watch_span: float
    watch_value_max: float
    watch_held: float
    watch_missed: float
    hasty_forgetting: float
    hasty_rate: float
    challenge_events: int
    challenge_judged: int
    challenge_better: float
    outlier_spreads: float
    fault_clean: int
    residual_span: float
    residual_winsor: float
    trace_ceiling: float
    log_max: float
    decay_min: float
    saturated_slope: float
    influence_ceiling: float
    guard_max: float
    clip_max: float
    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    process_noise: float
    trace_max: float
    gate: float
    memory: float


@inner
def clipped(value: float, bound: float) -> float:
    """Return the value within plus and minus the bound; NaN stays."""
    return min(max(value, -bound), bound) if value == value else value  # noqa: PLR0124


@inner
def season_length(floats: Array, ints: IntArray, at: Places, c: Constants, season_max: int) -> int:
    """Twin of `Season.rows_per_season`."""
    interval = floats[at.season_interval]
    if not (interval > 0.0 and ints[at.season_votes] >= c.votes_min and interval < 1.5 * c.day):
        return 0
    season = np.rint(c.day / interval)
    if not season >= 2.0:
        season = c.week_days
    if season > season_max:
        season = np.rint(c.hour / interval)
    return int(season) if 2.0 <= season <= season_max else 0


@inner
def season_update(
    floats: Array,
    ints: IntArray,
    at: Places,
    c: Constants,
    length: int,
    time: float,
    level: float,
    cycles: IntArray,
    horizons: IntArray,
    then: Array,
    begin: Array,
    known: BoolArray,
) -> None:
    """Twin of `Season.update`: write levels one season and one week of seasons before, (H, C)."""
    rows = ints[at.season_rows]
    gap = time - floats[at.season_time] if rows > 0 else 0.0
    counts = gap > 0.0
    interval = floats[at.season_interval]
    same = counts and abs(gap - interval) <= c.tolerance * interval
    votes = ints[at.season_votes] + (1 if same else (-1 if counts else 0))
    if votes < 0:
        floats[at.season_interval] = gap
        votes = 0
    ints[at.season_votes] = min(votes, c.votes_max)
    floats[at.season_time] = time
    levels = floats[at.season_levels : at.season_levels + length]
    levels[rows % length] = level
    season = season_length(floats, ints, at, c, length - 1)
    for cycle in range(len(cycles)):
        around = season * cycles[cycle]
        step = max(around, 1)
        for h in range(len(horizons)):
            whole = step * -(-horizons[h] // step)
            there = around > 0 and whole <= length - 1 and rows >= whole
            start = rows - whole if there else rows
            ahead = start + horizons[h] if there else rows
            known[h, cycle] = there
            then[h, cycle], begin[h, cycle] = levels[ahead % length], levels[start % length]
    ints[at.season_rows] = rows + 1


@inner
def calendar_update(time: float, periods: Array, harmonics: Array, waves: Array) -> None:
    """Twin of `calendar` for one time: write sines and cosines by turns."""
    for k in range(len(periods)):
        period = periods[k]
        angle = 2.0 * np.pi * harmonics[k] * (time % period / period)
        waves[2 * k], waves[2 * k + 1] = np.sin(angle), np.cos(angle)


@inner
def interval_learn(
    floats: Array,
    ints: IntArray,
    at: Places,
    c: Constants,
    h: int,
    residual: float,
    beyond: BoolArray,
    missed: Array,
) -> None:
    """Twin of `Interval.learn` for one horizon whose label is due; `beyond` and `missed` are of its quantiles."""
    seen = ints[at.interval_seen + h] + 1
    ints[at.interval_seen + h] = seen
    _mean_size(floats, at.interval_spread + h, c.interval_winsor, c.interval_spread_span, seen, residual)
    _mean_size(floats, at.interval_size + h, c.interval_winsor, c.interval_size_span, seen, residual)
    n = len(missed)
    quantiles = floats[at.interval_quantile + h * n : at.interval_quantile + (h + 1) * n]
    lower, upper = 0.0, 0.0
    for j in range(n // 2 - 1, -1, -1):
        below = (1.0 if beyond[j] else 0.0) - missed[j]
        above = (1.0 if beyond[n - 1 - j] else 0.0) - missed[n - 1 - j]
        lower -= c.interval_step * below + c.interval_across * above
        upper += c.interval_step * above + c.interval_across * below
        quantiles[j] += lower
        quantiles[n - 1 - j] += upper
    for j in range(n):  # in ascending order
        moved, place = min(max(quantiles[j], -c.interval_quantile_max), c.interval_quantile_max), j
        while place > 0 and quantiles[place - 1] > moved:
            quantiles[place] = quantiles[place - 1]
            place -= 1
        quantiles[place] = moved


@inner
def _mean_size(floats: Array, place: int, winsor: float, span: float, seen: int, residual: float) -> None:
    mean = floats[place]
    size, bound = abs(residual), winsor * mean
    if bound > 0.0:
        size = min(size, bound)
    floats[place] = mean + max(1.0 / span, 1.0 / seen) * (size - mean)
