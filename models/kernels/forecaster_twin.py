"""The twin of a forecaster: recognises one that it can be, and drives the compiled events."""

from __future__ import annotations

from typing import Any, Final, final

import numpy as np

from models import season
from models.calendar import WAVES
from models.cells.rtu import Rtu
from models.drift.cusum import Cusum
from models.drift.reactions import PROVEN
from models.experts import prior_of
from models.experts.cell_updates import ByFilter, ByGradient
from models.experts.drift import Drift
from models.experts.last_value import LastValue
from models.experts.linear import Linear, season_horizons
from models.experts.recurrent import Recurrent
from models.experts.seasonal import SeasonalNaive
from models.experts.smoothing import Smoothing
from models.forecast_protocols import Expert
from models.forecaster import Forecaster
from models.kernels import forecaster as kernel
from models.kernels import forecaster_updates as updates
from models.kernels import forecaster_work as work
from models.kernels.arrays import laid
from models.kernels.fetching import are_far
from models.kernels.forecaster_constants import constants_of
from models.kernels.forecaster_drift import Others, detect_others, others_of
from models.kernels.forecaster_parts import Constants, Experts, Places
from models.mixtures.polynomial import PolynomialWeights
from models.mixtures.stacked import StackedWeights
from models.optimizers.adam import Adam
from models.optimizers.ekf import Ekf
from models.optimizers.sgd import Sgd
from models.optimizers.transforms import ClipByGlobalNorm, FiniteGuard
from models.pooling import SharedFields
from models.protocols import Array, BoolArray, IntArray
from models.records import Layout, Record
from models.rules.rtrl_trace import RtrlTrace
from models.step_result import StepResult

KINDS: Final[dict[type, int]] = {
    LastValue: work.LAST_VALUE,
    SeasonalNaive: work.SEASONAL,
    Linear: work.LINEAR,
    Recurrent: work.RECURRENT,
    Drift: work.DRIFT,
    Smoothing: work.SMOOTHING,
}

OWNERS: Final = ("expert.", "challenger.")
"""Of parts whose fields lie alike."""


def forecaster_twin(forecaster: Forecaster, layout: Layout, shared: SharedFields) -> ForecasterTwin | None:
    """Return the twin of a forecaster of the experts, mixture, cell, rule and optimizer that are compiled."""
    if type(forecaster.mixture) not in (PolynomialWeights, StackedWeights):
        return None
    if len(forecaster.recurrent) > 1 or not all(_has_twin(one) for one in forecaster.experts.values()):
        return None
    return ForecasterTwin(forecaster, layout, shared)


def _has_twin(expert: Expert) -> bool:
    if type(expert) is not Recurrent:
        return type(expert) in KINDS
    known = type(expert.cell) is Rtu and type(expert.rule) is RtrlTrace and not expert.n_others
    return known and _descent(expert) is not None


def _descent(expert: Recurrent) -> int | None:
    """Return how the expert's weights move, of those that are compiled."""
    update = expert.cell_update
    if isinstance(update, ByFilter):
        return updates.FILTER if type(update.filter) is Ekf and update.filter.adaptive else None
    if not isinstance(update, ByGradient):
        return None
    if not (
        type(update.chain.part("guard")) is FiniteGuard
        and type(update.chain.part("clip")) is ClipByGlobalNorm
    ):
        return None
    return {Adam: updates.ADAM, Sgd: updates.SGD}.get(type(update.chain.part("last")))


@final
class ForecasterTwin:
    """Takes a micro-batch in one compiled call, and gives its results their names."""

    def __init__(self, forecaster: Forecaster, layout: Layout, shared: SharedFields) -> None:
        """Take what the events need to know."""
        self._shared = shared.parts[0], shared.parts[1]
        experts = forecaster.experts
        recurrent = next((e for e in experts.values() if isinstance(e, Recurrent)), None)
        self._horizons, self._missed = forecaster.clock.horizons, forecaster.interval.missed
        self._cycles = np.array(season.CYCLES, dtype=np.int64)
        self._season_at = season_horizons(forecaster.n_horizons)
        self._periods, self._harmonics = np.array(WAVES).T.copy()
        challenged = forecaster.reaction.challengers is not None
        self._sizes = work.Sizes(
            horizons=forecaster.n_horizons,
            first=int(self._horizons[0]),
            challengers=int(challenged),
            rows=int(self._horizons[-1]),
            experts=forecaster.n_experts,
            quantiles=len(forecaster.interval.missed),
            features=forecaster.features.n_features,
            others=forecaster.features.n_features - forecaster.n_inputs,
            levels=forecaster.season.length,
            units=recurrent.cell.n_units if recurrent else 0,
            naive=forecaster.naive[0] if forecaster.naive else -1,
            watched=1,
            kept=recurrent.cell_update.n_kept if recurrent else 0,
            descent=(_descent(recurrent) if recurrent else None) or updates.SGD,
            groups=_groups(recurrent),
        )
        self._told = work.told_types(self._sizes)
        self._work = work.work_for(self._sizes, len(self._cycles), len(WAVES), len(self._season_at))
        stacked = type(forecaster.mixture) is StackedWeights
        self._stacking = np.empty((2, forecaster.n_experts)) if stacked else None
        self._experts = _experts(forecaster, layout)
        self._born = _experts(forecaster, layout, "challenger.") if challenged else self._experts
        self._others = others_of(forecaster.watch, Cusum)
        self._layout = layout
        self._saved_parts = _between(layout)
        self._n_params = int(np.prod(recurrent.cell_update.shape)) if recurrent else 0
        constants = constants_of(forecaster, recurrent)
        self._settings = (
            _as_record(_places(layout, experts, self._others)),
            _as_record(self._sizes),
            _as_record(constants),
        )
        self._born_at = (
            _as_record(_places(layout, experts, self._others, "challenger."))
            if challenged
            else self._settings[0]
        )

    def unwatched(self) -> None:
        """Leave out from now on what is watched at each event, and with it the ladder: to measure what they cost."""
        self._settings[1]["watched"] = 0

    def __call__(
        self,
        records: tuple[Record, ...],
        slots: IntArray,
        pools: IntArray,
        times: Array,
        values: Array,
        features: Array,
    ) -> tuple[StepResult, BoolArray]:
        """Take one event of each series; see `models.kernels.ForecasterKernel`."""
        n_rows, n_targets = values.shape
        n_models = n_rows * n_targets
        floats, ints, flags = (record.reshape(-1, record.shape[-1]) for record in records)
        numbers, of_flags = self._told
        told, told_flags = np.empty((n_rows, n_targets), numbers), np.empty((n_rows, n_targets), of_flags)
        watched, signals = np.empty((n_models, 6)), np.empty((n_models, 3), dtype=np.bool_)
        asked, sound = np.empty(n_models, dtype=np.bool_), np.empty(n_rows, dtype=np.bool_)
        taken = kernel.events(
            floats,
            ints,
            flags,
            *self._settings,
            self._experts,
            self._born_at,
            self._born,
            self._missed,
            self._horizons,
            self._cycles,
            self._season_at,
            self._periods,
            self._harmonics,
            slots * n_targets,
            pools * n_targets,
            *self._shared,
            n_rows > 1 and are_far({"floats": floats}),
            n_targets,
            laid(times, np.float64),
            laid(values, np.float64).reshape(-1),
            laid(features, np.float64),
            told.view(np.float64).reshape(n_models, -1),
            told_flags.view(np.bool_).reshape(n_models, -1),
            watched,
            signals,
            asked,
            sound,
            np.empty((n_targets, floats.shape[1])),
            np.empty((n_targets, ints.shape[1]), np.int64),
            np.empty((n_targets, flags.shape[1]), np.bool_),
            self._saved_parts,
            np.empty((2 * n_targets, self._sizes.experts)),
            np.zeros((2 * n_targets, self._n_params + 1)),
            self._work,
            self._stacking,
        )
        if taken < n_rows:
            n_rows, n_models, slots, sound = taken, taken * n_targets, slots[:taken], sound[:taken]
            told, told_flags, asked = told[:n_rows], told_flags[:n_rows], asked[:n_models]
            watched, signals = watched[:n_models], signals[:n_models]
        warnings = np.zeros(signals.shape, dtype=np.bool_)
        if self._others:
            fit = np.flatnonzero((sound[:, None] & told_flags["begun"]).reshape(-1))
            models = (slots[:, None] * n_targets + np.arange(n_targets)).reshape(-1)[fit]
            flat = (floats, ints, flags)
            told_of = watched[fit], signals[fit], warnings[fit]
            detect_others(self._others, self._layout, flat, models, *told_of)
            watched[fit], signals[fit], warnings[fit] = told_of
        by_field = {name: told[name] for name in numbers.names or ()}
        by_field |= {name: told_flags[name] for name in of_flags.names or ()}
        by_field["guard"] = by_field["guard"].astype(np.int64)
        result = StepResult(
            **by_field,
            drift=signals.reshape(n_rows, n_targets, 3),
            drift_warning=warnings.reshape(n_rows, n_targets, 3),
            drift_statistic=watched[:, 3:].reshape(n_rows, n_targets, 3),
            reaction=np.where(asked, PROVEN, 0).reshape(n_rows, n_targets),
        )
        return result, sound


READOUT_FIELDS: Final = ("lags", "inputs", "gain", "weights", "covariance", "offset")


OWN_FIELDS: Final[dict[type, str]] = {Drift: "mean", Smoothing: "levels"}
"""The first field of numbers of the experts without a readout that have a state."""


def _experts(forecaster: Forecaster, layout: Layout, prefix: str = "expert.") -> Experts:
    """Return the experts' kinds and priors, and the readouts of those that have one, in parts with a prefix."""
    ints = [name for name in Experts._fields if name not in ("exchanged", "prior", "forgetting")]
    found: dict[str, list[int]] = {name: [] for name in ints}
    forgetting: list[float] = []
    for name, expert in forecaster.experts.items():
        own = expert if isinstance(expert, Linear | Recurrent) else None
        places = layout.places.get(f"{prefix}{name}", {})
        found["kinds"].append(KINDS[type(expert)])
        for field in READOUT_FIELDS:
            found[f"{field}_at"].append(places[field].start if field in places else -1)
        held = layout.places["fault"].get(f"readout.{name}")
        found["held_at"].append(held.start if held else -1)
        found["own_at"].append(places[OWN_FIELDS[type(expert)]].start if type(expert) in OWN_FIELDS else -1)
        found["seen_at"].append(places["seen"].start if "seen" in places else -1)
        found["lags"].append(own.lags if own else 0)
        found["inputs"].append(own.n_readout if isinstance(own, Recurrent) else own.n_inputs if own else 0)
        forgetting.append(own.forgetting if own else 1.0)
    return Experts(
        **{name: np.array(values, dtype=np.int64) for name, values in found.items()},
        exchanged=_exchanged(forecaster, layout),
        prior=prior_of(tuple(forecaster.experts)),
        forgetting=np.array(forgetting),
    )


def _exchanged(forecaster: Forecaster, layout: Layout) -> IntArray:
    """Return what is copied when a fault begins, where it is kept, and how many numbers it is, (R, 3)."""
    kept, faults = layout.places["fault"], forecaster.faults
    of_mixture = [
        (layout.places[part][name].start, kept["mixture"].start + span.start, span.stop - span.start)
        for (part, name), span in faults.spans()
    ]
    of_readouts = [
        (layout.places[f"expert.{name}"]["weights"].start, place.start, place.size)
        for name in faults.weights
        for place in (kept[f"readout.{name}"],)
    ]
    return np.array(of_mixture + of_readouts, dtype=np.int64).reshape(-1, 3)


def _between(layout: Layout) -> IntArray:
    """Return what of a record of floats lies before, between and behind the covariances, (P, 2)."""
    places = [
        place
        for part in layout.places.values()
        for name, place in part.items()
        if name in ("covariance", "optimizer.covariance.0")
    ]
    ends = [0]
    for place in sorted(places, key=lambda place: place.start):
        ends += [place.start, place.start + place.size]
    return np.array([*ends, layout.sizes[0]], dtype=np.int64).reshape(-1, 2)


def _places(layout: Layout, experts: dict[str, Expert], others: Others, prefix: str = "expert.") -> Places:
    """Return where each field begins that is not told by `Experts` and no other detector's, under the name part_field.

    Of experts and challengers, those in parts with the prefix.
    """
    skipped = {part for part, _ in others.values()}
    held = tuple(name for name in layout.places["fault"] if name.startswith("readout."))
    found: dict[str, int] = {}
    for part, fields in layout.places.items():
        owned = part.startswith(OWNERS)
        if part in skipped or (owned and not part.startswith(prefix)):
            continue
        if owned and not isinstance(experts[part.removeprefix(prefix)], Recurrent):
            continue
        told, name_of_part = (READOUT_FIELDS, "recurrent") if owned else (held, part)
        found |= {
            f"{name_of_part}_{name}".replace(".", "_"): place.start
            for name, place in fields.items()
            if name not in told
        }
    if unknown := set(found) - set(Places._fields):
        raise ValueError(f"the compiled forecaster does not know the fields {sorted(unknown)}")
    return Places(**{name: found.get(name, -1) for name in Places._fields})


def _as_record(settings: Places | work.Sizes | Constants) -> Any:  # noqa: ANN401  stands for a tuple, field by field
    """Return settings as an array of one record, (1,): a compiled function takes it by its address, and a tuple number by number.

    The record alone would be described anew, field by field, at each call.
    """
    fields = [(name, type(value)) for name, value in settings._asdict().items()]
    return np.array([tuple(settings)], dtype=fields)


def _groups(recurrent: Recurrent | None) -> int:
    """Return how many covariances the expert's filter has: one, or one a unit."""
    update = recurrent.cell_update if recurrent else None
    decoupled = isinstance(update, ByFilter) and isinstance(update.filter, Ekf) and update.filter.decoupled
    return update.shape[1] if decoupled and update else 1
