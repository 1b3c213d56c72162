"""What one model is made of. Every series of a bank has the same specification.

A default is one for all data, and each has its reason beside it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace

HORIZON_MAX = 512
FEATURES_MAX = 256
TARGETS_MAX = 64
LEVELS_MAX = 8

JOINT_EXPERTS = ("linear_joint", "recurrent_joint")
"""Those that see the other targets of their series."""

DRIFT_STREAMS = ("loss", "inputs", "calibration")
"""What is watched for drift, see `models.drift.watch`; the order of the axis of what is told of it."""
REACTIONS = ("quicken", "reset", "challenge", "takeover")
"""What is done about drift, by bit: 1 is the first."""


@dataclass(frozen=True, slots=True)
class Specification:
    """The make of the models of a bank.

    Attributes:
        targets: names of the targets of a series; each is forecast by a model of its own.
        features: names of the exogenous features.
        horizons: how many rows ahead to forecast, ascending.
        experts: names in `models.experts.EXPERTS`, in the order of the weights that are published.
        joint: let every expert of the model of one target see the other targets' increments as features. Without it those of
            JOINT_EXPERTS alone do.
        mixture: name in `models.mixtures.MIXTURES`; "stacked" may leave the experts' range, by weights that may be negative.
        cell: name in `models.cells.CELLS` of the recurrent expert's cell.
        rule: name in `models.rules.RULES` of how the recurrent expert's gradient is carried, or "exact": the cheapest
            exact one for the cell.
        optimizer: name in `models.optimizers.OPTIMIZERS` or `JACOBIAN_OPTIMIZERS` of what moves the recurrent weights. The joint
            filter makes the more of each label (`python -m benchmarks accuracy` compares it with Adam).
        precision: "float64", or "float32" for the influence of a dense cell under a block rule, which is most of its
            memory. All else stays in double precision: traces are small, and residuals and covariances need it.
        units: the recurrent expert's units.
        lags: increments that the linear expert sees; `linear_long` twice as many, `linear_quick` and the recurrent expert 24 at most.
        season_max: rows back that can be looked up: the season, and a week of seasons. 672 is a week of quarter hours, which is how loads are metered;
            a week of five minutes is 2016, a day of minutes 1440.
        learning_rate: step size of the recurrent weights, where an optimizer of gradients moves them.
        clip_norm: largest gradient norm that an optimizer of gradients sees. Residuals are in scales, so gradients are of
            order one on any series; five lets all but a few per cent pass as they are.
        interval_levels: nominal coverages of the published intervals, ascending. Four in five is what to expect, 19 in 20 what to
            be ready for.
        drift_loss: name in `models.drift.DETECTORS` of what watches the loss; what the three watch: see `models.drift.watch`. CUSUM: of those that
            find a small rise soon it has the fewest false signals, and it is the cheapest.
        drift_inputs: what watches the inputs.
        drift_calibration: what watches misses of the widest interval.
        drift_reaction: what is done when the loss drifts, one of `models.drift.reactions.CHOICES`. None: experts of several memories and their
            mixture follow by themselves, and on real series no reaction lowers the error of the default profile.
        quarantine_span: three rollbacks of the recurrent expert within so many events of a series are a quarantine: at one event in a few seconds
            an hour's worth.
        seed: of the recurrent weights. Each series starts from the same draw, so that its results
            do not depend on which series came before it.
    """

    targets: tuple[str, ...] = ("value",)
    features: tuple[str, ...] = ()
    horizons: tuple[int, ...] = (1,)
    experts: tuple[str, ...] = (
        "last_value",
        "seasonal",
        "linear",
        "linear_quick",
        "linear_long",
        "recurrent",
    )
    joint: bool = False
    mixture: str = "polynomial"
    cell: str = "rtu"
    rule: str = "exact"
    optimizer: str = "ekf_joint"
    precision: str = "float64"
    units: int = 16
    lags: int = 48
    season_max: int = 672
    learning_rate: float = 0.003
    clip_norm: float = 5.0
    interval_levels: tuple[float, ...] = (0.8, 0.95)
    drift_loss: str = "cusum"
    drift_inputs: str = "cusum"
    drift_calibration: str = "cusum"
    drift_reaction: str = "none"
    quarantine_span: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work, with a message that says what to change."""
        if not 1 <= len(self.targets) <= TARGETS_MAX or len(set(self.targets)) != len(self.targets):
            raise ValueError(f"targets: 1 to {TARGETS_MAX} different names are needed, not {self.targets}")
        if len(self.features) > FEATURES_MAX or len(set(self.features)) != len(self.features):
            raise ValueError(f"features: at most {FEATURES_MAX} different names, not {self.features}")
        if not self.horizons or list(self.horizons) != sorted(set(self.horizons)):
            raise ValueError(f"horizons: different whole numbers in ascending order, not {self.horizons}")
        if not (self.horizons[0] >= 1 and self.horizons[-1] <= HORIZON_MAX):
            raise ValueError(f"horizons: from 1 to {HORIZON_MAX} rows, not {self.horizons}")
        if not self.experts or len(set(self.experts)) != len(self.experts):
            raise ValueError(f"experts: different names, at least one, not {self.experts}")
        levels = self.interval_levels
        if not 1 <= len(levels) <= LEVELS_MAX or list(levels) != sorted(set(levels)):
            raise ValueError(
                f"interval_levels: 1 to {LEVELS_MAX} different ones in ascending order, not {levels}"
            )
        if not (levels[0] >= 0.5 and levels[-1] <= 0.999):
            raise ValueError(f"interval_levels: between 0.5 and 0.999, not {levels}")
        for name, low, high in (
            ("units", 1, 256),
            ("lags", 1, 512),
            ("season_max", 2, 4096),
            ("quarantine_span", 1, 1_000_000_000),
            ("learning_rate", 0.0, 1.0),
            ("clip_norm", 1e-6, 1e6),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name}: between {low} and {high}, not {value}")

    @property
    def n_inputs(self) -> int:
        """Exogenous inputs that every expert of a model sees: the features, and with `joint` the other targets' increments."""
        return len(self.features) + (len(self.targets) - 1 if self.joint else 0)

    @property
    def n_others(self) -> int:
        """Exogenous inputs that joint experts alone see: the other targets' increments, where not all see them."""
        some = not self.joint and any(name in JOINT_EXPERTS for name in self.experts)
        return len(self.targets) - 1 if some else 0

    @property
    def quantiles(self) -> tuple[float, ...]:
        """Shares of the quantiles that are published, ascending: two for each level, as 0.1 and 0.9 for 0.8."""
        upper = [round((1.0 + level) / 2.0, 9) for level in self.interval_levels]
        return (*(round(1.0 - share, 9) for share in reversed(upper)), *upper)

    @property
    def quantile_names(self) -> tuple[str, ...]:
        """Names of the quantiles, such as "0.1"."""
        return tuple(f"{share:.9g}" for share in self.quantiles)

    @property
    def drift_detectors(self) -> tuple[str, str, str]:
        """Names of the detectors, in the order of DRIFT_STREAMS."""
        return self.drift_loss, self.drift_inputs, self.drift_calibration

    @property
    def level_names(self) -> tuple[str, ...]:
        """Names of the levels, such as "0.8"."""
        return tuple(f"{level:.9g}" for level in self.interval_levels)

    def version(self) -> str:
        """Return a short name of this make: equal for equal specifications of one code version."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


PROFILES: dict[str, dict[str, object]] = {
    # One linear expert and the two naive ones: no recurrence, for the highest rates.
    "fast": {"experts": ("last_value", "seasonal", "linear"), "lags": 16},
    "balanced": {"experts": ("last_value", "seasonal", "linear", "recurrent"), "units": 8, "lags": 24},
    # The default: the figures in the documentation are this profile's.
    "accurate": {},
    # And what the series of a group have in common, learned from all of them: for series that are short, or just begun.
    "pooled": {"experts": (*Specification().experts, "linear_pooled")},
}


def from_profile(profile: str, **changes: object) -> Specification:
    """Return the specification of a profile with some fields changed."""
    if profile not in PROFILES:
        raise ValueError(f"profile: one of {', '.join(PROFILES)}, not {profile!r}")
    return replace(Specification(), **(PROFILES[profile] | changes))  # type: ignore[arg-type]
