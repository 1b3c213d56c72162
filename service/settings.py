"""Settings: what a user may set, its defaults with their reasons, and where each value comes from.

Rules:

- Environment over file over default; what a command's options say stands over all three.
- The environment variable of `kafka.bootstrap_servers` is `ONWARD_KAFKA__BOOTSTRAP_SERVERS`: two underscores
  between a group and its member. A variable that is set to nothing counts as not set.
- The file is `onward.toml` in the current directory, or the one that `ONWARD_CONFIG` or an argument names.
- A key that nobody knows is an error, so that a slip of the pen never leaves a default in force unseen.
- Lists are `a,b`, mappings `name=path,name=path` in the environment; in the file they are TOML's own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator

from models.bank import Bank
from models.sequential import ALPHA_MIN
from models.specification import Specification, from_profile
from service.settings_kafka import KafkaSettings, SecuritySettings, TopicSettings
from service.settings_sources import SettingsError, merge, validate
from service.settings_types import Fractions, Group, Names, Numbers, Paths

__all__ = [
    "SERIES_FROM_KEY",
    "KafkaSettings",
    "SecuritySettings",
    "Settings",
    "SettingsError",
    "TopicSettings",
    "load_settings",
]

SERIES_FROM_KEY = "@key"
"""The value of `fields.series` that takes the record's key as the series' name."""


class FieldSettings(Group):
    """The names of the fields in your events. `a.b` is the member `b` of the object `a`."""

    series: str = "series"
    """The field that names the series, or `@key` for the record's key."""
    time: str = "time"
    targets: Paths = Field(default={"value": "value"}, min_length=1)
    """What is forecast: a list of fields, or a mapping from the name to be published to the field."""
    features: Paths = Field(default_factory=dict)
    """What helps to forecast: as `targets`."""
    extra: Literal["forbid", "ignore"] = "forbid"
    """Events with a field that nobody asked for: `forbid` rejects them, so that a renamed field is noticed."""
    time_unit: Literal["auto", "s", "ms"] = "auto"
    """The unit of times that are numbers. `auto` takes those of 1e11 and above (the year 5138, if they were
    seconds) as milliseconds."""

    group: str | None = None
    """A regular expression with one group, searched in the series' name: series of which it finds the same share what pooled experts
    learn, as `^(\\w+)-` for pump-1 and pump-2. Without it all series of a partition do."""

    @model_validator(mode="after")
    def _pattern(self) -> Self:
        if self.group is None:
            return self
        try:
            groups = re.compile(self.group).groups
        except re.error as error:
            raise ValueError(f"group: {self.group!r} is no regular expression: {error}") from error
        if groups != 1:
            raise ValueError(f"group: {self.group!r} has {groups} groups in parentheses, and needs one")
        return self

    @model_validator(mode="after")
    def _paths(self) -> Self:
        paths = [self.time, *self.targets.values(), *self.features.values()]
        if self.series != SERIES_FROM_KEY:
            paths.append(self.series)
        for path in paths:
            if not path or not all(path.split(".")):
                raise ValueError(f"{path!r} is no field; write a name, or names joined by single dots")
        for one in paths:
            if paths.count(one) > 1:
                raise ValueError(f"{one!r} stands for two things; give each its own field")
            for other in paths:
                if other.startswith(one + "."):
                    raise ValueError(f"{one!r} cannot be a value and hold {other!r} too; correct one of them")
        return self


class LimitSettings(Group):
    """What is refused before it can do harm."""

    record_bytes_max: int = Field(default=1_048_576, ge=64, le=104_857_600)
    """Kafka's own default for a message is about this."""
    depth_max: int = Field(default=8, ge=1, le=64)
    """Nesting of objects and arrays in an event; the event itself is the first level."""
    value_abs_max: float = Field(default=1e15, gt=0.0, le=1e100)
    """Squares and products of values stay far from overflow, and 1e15 is still an exact whole number."""
    series_name_length_max: int = Field(default=256, ge=1, le=4096)
    """In characters."""
    series_max: int = Field(default=10_000, ge=1)
    """Series of one partition; a bound on memory."""
    series_full: Literal["reject", "evict"] = "reject"
    """A new series beyond `series_max`: `reject` sends it to the dead letters, so that nothing learned is lost unasked;
    `evict` forgets the series whose last event is the longest ago, by offset. If it returns it begins anew."""
    pools_max: int = Field(default=100, ge=1, le=10_000)
    """Groups of series of one partition that share what they learn. Beyond it an event goes to the dead letters: a pattern that
    finds something else in each name would make a pool of each series."""
    series_idle_events: int | None = Field(default=None, ge=1)
    """A series is forgotten once its partition is more than this many offsets past the last event that it learned from;
    without it none is. Offsets, and not a clock, so that a restart forgets it at the same event."""


class PolicySettings(Group):
    """What to do with an event that is not simply the next one of its series."""

    duplicate: Literal["drop", "learn"] = "drop"
    """Same time as the series' last event: `drop` counts it as a duplicate."""
    late: Literal["reject", "learn"] = "reject"
    """Earlier than the series' last event: `reject` sends it to the dead letters."""
    gap: Literal["fill", "reset", "ignore"] = "fill"
    """An event that comes after missing rows: `fill` first takes the series past each of them as a row without a value, or
    resets if they are more than `gap_fill_max`; only where most intervals are the same does a series have missing rows.
    `reset` drops pending forecasts and the recurrent memory, and keeps what was learned. `ignore` takes the event as the next row."""
    gap_fill_max: int = Field(default=100, ge=1, le=10_000)
    """Rows that are filled at most, each at the cost of an event: two days of half hours, and no time in the far future
    can keep a worker busy."""
    gap_factor: float = Field(default=10.0, gt=1.0)
    """For `reset` a gap is longer than this many typical intervals of the series."""
    null_target: Literal["predict", "reject"] = "predict"
    """A target that is null: `predict` forecasts past it and learns nothing from it; `reject` sends the event to the dead
    letters. A target whose field is not there is always rejected, so that a renamed field is noticed."""
    missing_feature: Literal["impute", "reject"] = "impute"
    """A feature that is null or not there: `impute` takes it to be at its running mean; `reject` sends the event to the
    dead letters."""


class MakeSettings(Group):
    """What overrides a profile: keys of `models.specification.Specification`."""

    experts: Names | None = None
    mixture: str | None = None
    joint: bool | None = None
    cell: str | None = None
    rule: str | None = None
    optimizer: str | None = None
    precision: str | None = None
    units: int | None = None
    lags: int | None = None
    season_max: int | None = None
    learning_rate: float | None = None
    clip_norm: float | None = None
    interval_levels: Fractions | None = None
    drift_loss: str | None = None
    drift_inputs: str | None = None
    drift_calibration: str | None = None
    drift_reaction: str | None = None
    quarantine_span: int | None = None
    seed: int | None = None


class ModelSettings(MakeSettings):
    """The model. Only `profile` and `horizons` are meant to be set; the rest overrides the profile."""

    profile: str = "accurate"
    horizons: Numbers = (1,)
    """How many events ahead to forecast."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        Bank(
            self.specification(), capacity=1, compiled=False
        )  # It knows the names of cells, experts and the rest.
        return self

    def specification(
        self, targets: tuple[str, ...] = ("value",), features: tuple[str, ...] = ()
    ) -> Specification:
        """Return the make of the models for targets and features of these names."""
        changes = {name: value for name, value in self if name != "profile" and value is not None}
        return from_profile(self.profile, targets=targets, features=features, **changes)


_MAKE_KEYS: Final = ("profile", *MakeSettings.model_fields)


class ChallengerSettings(MakeSettings):
    """A second model that learns in the shadow of the first, and may take its place; docs/CHALLENGER.md.

    There is one as soon as a key of `model` is set here; the keys that are not are as in `model`. Without one the others are refused.
    """

    profile: str | None = None
    promotion: Literal["rule", "command"] = "rule"
    """`rule`: whichever is in the shadow answers once the test says so. `command`: only after `onward checkpoint promote`."""
    margin: float = Field(default=0.05, ge=0.0, lt=1.0)
    """The part of the error that must be saved: less is not worth a change of what answers."""
    alpha: float = Field(default=0.01, ge=ALPHA_MIN, lt=1.0)
    """The chance that a trial promotes a model that is not better by the margin."""
    window: int = Field(default=2000, ge=10)
    """Settled forecasts of a trial, after which the evidence begins anew. A challenger that saves a fifth shows it in some hundred."""

    @model_validator(mode="after")
    def _of_a_challenger(self) -> Self:
        # By the values and not by what was written: settings that are dumped have every key.
        rule = [
            key
            for key, info in ChallengerSettings.model_fields.items()
            if key not in _MAKE_KEYS and getattr(self, key) != info.default
        ]
        if rule and not self.changes():
            raise ValueError(
                f"{', '.join(rule)} without a challenger; set a key of model in this group, such as profile, or leave the group out"
            )
        return self

    def changes(self) -> dict[str, Any]:
        """Return the keys of `model` that are set."""
        return {key: value for key in _MAKE_KEYS if (value := getattr(self, key)) is not None}


class CheckpointSettings(Group):
    """Where and how often the state is saved. After a crash at most one interval is learned again."""

    store: Literal["kafka", "sqlite"] = "kafka"
    """`sqlite` is for one worker on one machine, such as with the embedded broker."""
    interval_events: int = Field(default=10_000, ge=1)
    interval_seconds: float = Field(default=10.0, gt=0.0)
    sqlite_path: Path = Path("onward-checkpoints.sqlite")


class HttpSettings(Group):
    """The page, /metrics, /healthz and /readyz."""

    host: str = "127.0.0.1"
    """Seen from this machine alone unless you say so; `0.0.0.0` in a container."""
    port: int = Field(default=8080, ge=0, le=65535)
    """0 takes a free one."""


class LogSettings(Group):
    """What is written to standard error."""

    format: Literal["console", "json"] = "console"
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class ObserveSettings(Group):
    """What is looked at beside the learning."""

    audit_every: int = Field(default=20_000, ge=0)
    """At one offset in so many the gradient of that event's series is compared with finite differences, on copies, over its
    next events: 5 to 10 ms each. 0 is never."""


class StreamSettings(Group):
    """How the worker reads."""

    batch_size: int = Field(default=1000, ge=1, le=100_000)
    """Events handed over at once, at most; results do not depend on it."""
    within_seconds: float = Field(default=0.05, gt=0.0, le=10.0)
    """How long a batch may wait to be filled."""


class Settings(Group):
    """All settings. Made by `load_settings`, or in a test from a mapping by `Settings.model_validate`."""

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    fields: FieldSettings = FieldSettings()
    limits: LimitSettings = LimitSettings()
    policy: PolicySettings = PolicySettings()
    model: ModelSettings = ModelSettings()
    challenger: ChallengerSettings = ChallengerSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()
    stream: StreamSettings = StreamSettings()
    observe: ObserveSettings = ObserveSettings()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        own, *others = self.specifications()
        for other in others:
            if other == own:
                raise ValueError("challenger is the model itself; set a key to another value, or remove it")
            if other.interval_levels != own.interval_levels:
                raise ValueError("challenger.interval_levels must be the model's; remove them")
            try:
                Bank(other, capacity=1, compiled=False)
            except ValueError as error:
                raise ValueError(f"challenger: {error}") from error
        if self.fields.group is not None and not any(
            Bank(make, capacity=1, compiled=False).pooled for make in (own, *others)
        ):
            raise ValueError(
                "fields.group is of no use without a pooled expert in model.experts; add one, or remove it"
            )
        return self

    def specification(self) -> Specification:
        """Return the make of the models: the profile, its overrides and the names of the fields."""
        return self.specifications()[0]

    def specifications(
        self, targets: tuple[str, ...] | None = None, features: tuple[str, ...] | None = None
    ) -> tuple[Specification, ...]:
        """Return the make of the models, and that of their challengers where there are some; of the fields, unless told others."""
        makes, changes = [self.model], self.challenger.changes()
        if changes:
            makes.append(self.model.model_copy(update=changes))
        targets = tuple(self.fields.targets) if targets is None else targets
        features = tuple(self.fields.features) if features is None else features
        return tuple(make.specification(targets, features) for make in makes)


def load_settings(
    path: Path | None = None, *, environment: Mapping[str, str] | None = None, **overrides: Any
) -> Settings:
    """Return the settings from file, environment and overrides.

    Args:
        path: the file; without it `ONWARD_CONFIG` or `onward.toml` in the current directory, if there is one.
        environment: instead of this process' environment.
        overrides: what a command's options say, as `kafka__group_id="x"`; None is "not given".

    Raises:
        SettingsError: with one line for each thing that is wrong.
    """
    return validate(
        Settings, merge(Settings, path, os.environ if environment is None else environment, overrides)
    )
