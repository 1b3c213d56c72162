"""One model's event, batched over models: settle, learn, advance, predict. The order is fixed here.

1. The value that came settles the forecasts that were made for it: they are scored, then learned from.
2. Scale, season and state advance by the event.
3. Each expert forecasts, the mixture combines, and the forecasts become pending.

Where the value is missing nothing is settled, and no statistic changes. The state advances with the model's own forecast for
this row in the value's place: the innovation is zero. Until a target has had a value it has no state, and no forecast.

No expert is handed a value before its forecast for it was stored, so that predicting after learning
cannot be written by accident.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from models.anomaly import AnomalyScore
from models.calendar import calendar
from models.drift.reactions import Reaction
from models.drift.watch import SEEN_MIN, VALUE_MAX, Watch, Watched
from models.experts import EXPERTS, NAIVE, prior_of
from models.experts.recovery import ATTEND, CLIP, RESTORE, SKIP, WINSORISE
from models.experts.watch import FIGURES
from models.faults import Faults
from models.forecast_protocols import Due, Observation, RecurrentExpert
from models.intervals import Interval
from models.labels import LabelClock
from models.mixtures import MIXTURES
from models.protocols import Array, BoolArray, Fields, IntArray, State
from models.scaling import FeatureScale, IncrementScale, winsorise
from models.season import Season
from models.specification import Specification
from models.steady import SteadyLevel
from models.step_result import StepResult, silent
from models.tables import entry
from models.trust import Trust

RESIDUAL_SPAN_EVENTS = 200.0
RESIDUAL_WINSOR = 4.0
"""Residuals further out than this many of their running root mean squares are learned as if there."""

OUTLIER_SPREADS = 8.0 / (2.0 / np.pi) ** 0.5
"""Errors of so many mean sizes are outliers: eight deviations, if errors were normal. They are learned from as if they were smaller."""

States = dict[str, State]


class Forecaster:
    """The whole of a model: clock, scales, season, experts, mixture, interval, anomaly, drift."""

    def __init__(self, specification: Specification) -> None:
        """Build every part from the specification."""
        horizons = specification.horizons
        self.n_horizons, self.n_experts = len(horizons), len(specification.experts)
        self.clock = LabelClock(horizons)
        self.scale, self.steady = IncrementScale(), SteadyLevel()
        self.n_inputs = specification.n_inputs
        self.features = FeatureScale(specification.n_inputs + specification.n_others)
        self.season = Season(specification.season_max, horizons)
        self.experts = {
            name: entry(EXPERTS, name, "experts")(specification) for name in specification.experts
        }
        self.recurrent = {
            name: expert for name, expert in self.experts.items() if isinstance(expert, RecurrentExpert)
        }
        self.naive = [place for place, name in enumerate(self.experts) if name in NAIVE][:1]
        self.mixture = entry(MIXTURES, specification.mixture, "mixture")(
            horizons, self.n_experts, prior_of(specification.experts)
        )
        self.trust = Trust(horizons)
        combined = {"mixture": self.mixture.init_state(), "trust": self.trust.init_state()}
        self.faults = Faults(self.experts, combined, horizons)
        self.interval = Interval(horizons, specification.interval_levels)
        self.anomaly = AnomalyScore()
        self.reaction = Reaction(specification.drift_reaction, self.experts, horizons)
        self.watch = Watch(specification.drift_detectors, 1.0 - specification.interval_levels[-1])

    def init_state(self) -> dict[str, Fields]:
        """Return a new model, part by part."""
        n_slots, n_horizons, n_experts = self.clock.n_slots, self.n_horizons, self.n_experts
        parts = {
            "clock": self.clock.init_state(),
            "scale": self.scale.init_state(),
            "features": self.features.init_state(),
            "season": self.season.init_state(),
            "mixture": self.mixture.init_state(),
            "trust": self.trust.init_state(),
            "interval": self.interval.init_state(),
            "anomaly": self.anomaly.init_state(),
            "steady": self.steady.init_state(),
            "fault": self.faults.init_state(),
            **self.watch.init_state(),
            "pending": {
                "level": np.zeros(n_slots),
                "scale": np.ones(n_slots),
                "scaled": np.zeros(n_slots, dtype=np.bool_),
                "mixed": np.zeros(n_slots),
                "whole": np.zeros(n_slots),
                "quantiles": np.zeros((n_slots, 2 * self.interval.n_levels)),
                "experts": np.zeros((n_slots, n_experts)),
            },
            "residual": {
                "variance": np.zeros((n_horizons, n_experts)),
                "seen": np.zeros(n_horizons, dtype=np.int64),
            },
        }
        parts |= {f"expert.{name}": expert.init_state() for name, expert in self.experts.items()}
        return parts | self.reaction.init_state()

    def step(self, states: States, *, time: Array, level: Array, features: Array) -> StepResult:
        """Take one event a row, in place. time (B,) seconds; level (B,) and features (B, n_inputs + n_others), NaN where missing.

        The state of rows that are not `begun` is of no use afterwards.
        """
        slot, due = self.clock.due(states["clock"])
        row, origin = self.clock.rows(states["clock"])
        rows = np.arange(len(level))[:, None]
        pending = states["pending"]
        observed = ~np.isnan(level)
        valid = due & observed[:, None]
        hasty = self.reaction.hasty(states)
        settled, watched = self._settle(
            states, slot=slot, origin=origin, valid=valid, level=level, hasty=hasty
        )
        expected = self._expected(states, slot[:, 0], due[:, 0])
        level = np.where(observed, level, expected)
        self.clock.tick(states["clock"])

        first = states["scale"]["seen"] == 0
        then, begin, known = self.season.update(states["season"], time, level)
        scale, increment, deviation = self.scale.update(states["scale"], level, observed)
        steady, change = self.steady.update(states["steady"], level, expected, observed, settled["outlier"])
        standard = self.features.update(states["features"], features)
        moved = observed & self.scale.known(states["scale"])
        inputs = self.watch.inputs(states["inputs"], increment, standard, moved)
        drift = self.watch.update(states, {**watched, "inputs": inputs})
        seasonal = np.where(known[..., 0], then[..., 0], states["scale"]["mean"][:, None])
        observation = Observation(
            level=level,
            scale=scale,
            increment=increment,
            deviation=deviation,
            steady_increment=np.where(first, 0.0, winsorise(change / scale)),
            steady_deviation=self.scale.deviation(states["scale"], steady),
            steady_offset=(steady - level) / scale,
            seasonal_level=(seasonal - level[:, None]) / scale[:, None],
            seasonal_change=winsorise((then - begin) / scale[:, None, None]),
            features=standard[:, : self.n_inputs],
            others=standard[:, self.n_inputs :],
            calendar=calendar(time),
            row=row,
            slot=slot,
            hasty=hasty,
        )
        if self.reaction.challengers is not None:
            self.reaction.challengers.forecast(states, observation)
        forecasts = np.stack(
            [expert.forecast(states[f"expert.{name}"], observation) for name, expert in self.experts.items()],
            axis=-1,
        )
        lowest, highest = self.scale.bounds(states["scale"])
        forecasts = np.clip(
            forecasts,
            ((lowest - level) / scale)[:, None, None],
            ((highest - level) / scale)[:, None, None],
        )
        whole, weights = self.mixture.combine(states["mixture"], forecasts)
        mixed, weights = self._trusted(states, forecasts, whole, weights)
        mixed, weights = self._quarantined(states, forecasts, mixed, weights)
        scaled = self.scale.known(states["scale"])[:, None]
        # While a series has not moved there is no scale, and nothing says that it ever will move.
        quantiles = np.where(scaled[..., None], self.interval.quantiles(states["interval"]), 0.0)
        pending["level"][rows, slot] = level[:, None]
        pending["scale"][rows, slot] = scale[:, None]
        pending["scaled"][rows, slot] = scaled
        pending["mixed"][rows, slot] = mixed
        pending["whole"][rows, slot] = whole
        pending["quantiles"][rows, slot] = quantiles
        pending["experts"][rows, slot] = forecasts

        unit, here = scale[:, None], level[:, None]
        prediction = here + unit * mixed
        figures = self._figures(states, np.any(valid, axis=1))
        figures["guard"] = (
            settled.pop("outlier") * WINSORISE
            | settled.pop("restored") * RESTORE
            | figures["clipped"] * CLIP
            | figures["skipped"] * SKIP
            | figures.pop("attends") * ATTEND
        )
        result = StepResult(
            begun=states["scale"]["seen"] > 0,
            prediction=prediction,
            quantiles=prediction[..., None] + unit[..., None] * quantiles,
            expert_predictions=here[..., None] + unit[..., None] * forecasts,
            weights=weights,
            scale=scale,
            **settled,
            **drift,
            reaction=self.reaction.end_event(states),
            **figures,
        )
        return result if result.begun.all() else silent(result)

    def react(self, states: States) -> IntArray:
        """Look at rows whose `guard` asked for it, in place; return what was done, bits of `recovery.ACTIONS`, (B,)."""
        done = np.zeros(len(states["clock"]["count"]), dtype=np.int64)
        for name, expert in self.recurrent.items():
            done |= expert.react(states[f"expert.{name}"])
        return done

    def _trusted(self, states: States, forecasts: Array, whole: Array, weights: Array) -> tuple[Array, Array]:
        """Return forecast and weights of the mixture, drawn to the naive expert; as they are where there is none."""
        if not self.naive:
            return whole, weights
        (naive,), share = self.naive, self.trust.share(states["trust"])
        weights = weights * share[..., None]
        weights[..., naive] += 1.0 - share
        drawn = forecasts[..., naive] + share * (whole - forecasts[..., naive])
        return np.where(share < 1.0, drawn, whole), weights

    def _quarantined(
        self, states: States, forecasts: Array, mixed: Array, weights: Array
    ) -> tuple[Array, Array]:
        """Return forecast and weights with the baseline alone in rows that are in quarantine: no change, where no expert is naive."""
        for name in self.recurrent:
            rows = states[f"expert.{name}"]["quarantined"]
            if rows.any():
                alone = np.zeros(self.n_experts)
                alone[self.naive] = 1.0
                baseline = forecasts[..., self.naive[0]] if self.naive else np.zeros_like(mixed)
                mixed = np.where(rows[:, None], baseline, mixed)
                weights = np.where(rows[:, None, None], alone, weights)
        return mixed, weights

    def reset_memory(self, states: States) -> None:
        """Forget what is pending, where the recurrent state was, and what stood a season ago; keep what was learned."""
        self.clock.reset(states["clock"])
        self.season.reset(states["season"])
        self.faults.reset(states["fault"])
        for name, expert in self.recurrent.items():
            expert.reset_memory(states[f"expert.{name}"])
        if self.reaction.challengers is not None:
            self.reaction.challengers.give_up(states["challenge"])

    def _expected(self, states: States, slot: IntArray, due: BoolArray) -> Array:
        """Return what stands in for a missing value, (B,): the shortest horizon's forecast for it, or else the last level."""
        rows, pending = np.arange(len(slot)), states["pending"]
        forecast = pending["level"][rows, slot] + pending["scale"][rows, slot] * pending["mixed"][rows, slot]
        return np.where(due, forecast, states["scale"]["level"])

    def _settle(
        self,
        states: States,
        *,
        slot: IntArray,
        origin: IntArray,
        valid: BoolArray,
        level: Array,
        hasty: BoolArray,
    ) -> tuple[dict[str, Any], dict[str, Watched]]:
        """Score the forecasts that are due, then let every part learn from them; return what there is to tell and to watch."""
        rows = np.arange(len(level))[:, None]
        pending, residuals = states["pending"], states["residual"]
        base, unit = pending["level"][rows, slot], pending["scale"][rows, slot]
        mixed, experts = pending["mixed"][rows, slot], pending["experts"][rows, slot]
        quantiles = pending["quantiles"][rows, slot]
        target = np.where(valid, (level[:, None] - base) / unit, 0.0)
        residual = np.where(valid[..., None], target[..., None] - experts, 0.0)

        # A forecast made before the series had a scale is in no unit: it is scored, but teaches nothing.
        known = valid & pending["scaled"][rows, slot]
        seen = residuals["seen"] + known
        prediction = base + unit * mixed
        error = np.where(valid, level[:, None] - prediction, 0.0)
        watched = known[:, 0] & (states["interval"]["seen"][:, 0] >= SEEN_MIN)
        rate = np.maximum(1.0 / RESIDUAL_SPAN_EVENTS, 1.0 / np.maximum(seen, 1))[..., None]
        variance = residuals["variance"]
        bound = RESIDUAL_WINSOR * np.sqrt(variance)
        bound = np.where(bound > 0.0, bound, RESIDUAL_WINSOR)
        bounded = np.clip(residual, -bound, bound)
        new_variance = variance + rate * (bounded * bounded - variance)
        residuals["variance"] = np.where(known[..., None], new_variance, variance)
        residuals["seen"] = seen

        all_due = {
            name: Due(
                valid=known,
                slot=slot,
                origin=origin,
                target=np.where(known, target, 0.0),
                residual=np.where(known, bounded[..., place], 0.0),
                bound=bound[..., place],
                hasty=hasty,
            )
            for place, name in enumerate(self.experts)
        }
        restored = self.faults.update(
            states,
            level=level,
            error=error[:, 0],
            unit=unit[:, 0],
            due=next(iter(all_due.values())),
            told=experts[:, 0],
            watched=watched,
        )
        for place, (name, expert) in enumerate(self.experts.items()):
            expert.learn(states[f"expert.{name}"], all_due[name])
            if name in self.recurrent:
                off, came = np.where(known[:, 0], residual[:, 0, place], 0.0), all_due[name].target[:, 0]
                self.recurrent[name].watch(states[f"expert.{name}"], off, came, known[:, 0])
        if self.reaction.challengers is not None:
            self.reaction.challengers.learn(states, all_due)
        self.mixture.learn(states["mixture"], forecasts=experts, target=target, valid=known)
        for naive in self.naive:
            self.trust.learn(
                states["trust"],
                target=target,
                mixed=pending["whole"][rows, slot],
                naive=experts[..., naive],
                seen=seen,
                valid=known,
            )

        told = prediction[..., None] + unit[..., None] * quantiles
        beyond = self.interval.beyond(np.broadcast_to(level[:, None], prediction.shape), told)
        off = np.where(known, target - mixed, 0.0)
        # The first horizon is the shortest: its residual says soonest that something is odd.
        spread = states["interval"]["spread"][:, 0]
        surprising = known[:, 0] & (spread > 0.0)
        surprise = np.where(surprising, np.abs(off[:, 0]) / np.where(surprising, spread, 1.0), 0.0)
        anomaly, anomaly_log = self.anomaly.update(states["anomaly"], level, error[:, 0], known[:, 0])
        self.interval.learn(states["interval"], off, beyond, known)
        raw_experts = base[..., None] + unit[..., None] * experts
        covered = self.interval.covered(beyond)
        calibration = np.where(covered[:, 0, -1], self.watch.held, self.watch.missed)
        told_of = {
            "settled": valid,
            "error": error,
            "expert_errors": np.where(valid[..., None], level[:, None, None] - raw_experts, 0.0),
            "covered": valid[..., None] & covered,
            "anomaly_score": anomaly,
            "anomaly_log_score": anomaly_log,
            "outlier": surprise > OUTLIER_SPREADS,
            "restored": restored,
        }
        return told_of, {
            "loss": (np.minimum(surprise, VALUE_MAX), surprising & watched),
            "calibration": (calibration, watched),
        }

    def _figures(self, states: States, labelled: BoolArray) -> dict[str, Any]:
        """Return the gradient figures of the first recurrent expert, zeros where there is none."""
        attends = [expert.attends(states[f"expert.{name}"]) for name, expert in self.recurrent.items()]
        for name, expert in self.recurrent.items():
            figures = expert.figures(states[f"expert.{name}"], labelled)
            return figures | {"attends": np.any(attends, axis=0)}
        none, never = np.zeros(len(labelled)), np.zeros(len(labelled), dtype=np.bool_)
        flags: dict[str, Any] = dict.fromkeys(("updated", "clipped", "skipped", "attends"), never)
        flags["stability"] = np.zeros((len(labelled), len(FIGURES)))
        names = ("gradient_norm", "influence_norm", "spectral_radius", "saturated_ratio")
        return flags | dict.fromkeys(names, none)
