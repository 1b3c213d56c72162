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

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from models.bank import Bank
from models.specification import Specification, from_profile
from service.settings_sources import SettingsError, merge, validate

__all__ = ["SERIES_FROM_KEY", "Settings", "SettingsError", "load_settings"]

SERIES_FROM_KEY = "@key"
"""The value of `fields.series` that takes the record's key as the series' name."""


class _Group(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


def _split(value: object) -> object:
    """Read `a,b` or a JSON array as a list; leave the rest to the validation."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def _pairs(value: object) -> object:
    """Read a list, `a,b`, `name=path,...` or JSON as a mapping from a name to the path of a field."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        return json.loads(value)
    value = _split(value)
    if not isinstance(value, list | tuple) or not all(isinstance(part, str) for part in value):
        return value
    pairs = [part.split("=", 1) if "=" in part else [part, part] for part in value]
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name stands twice; give each field once")
    return {name.strip(): path.strip() for name, path in pairs}


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Numbers = Annotated[tuple[int, ...], BeforeValidator(_split)]
Fractions = Annotated[tuple[float, ...], BeforeValidator(_split)]
Paths = Annotated[dict[str, str], BeforeValidator(_pairs)]
Topic = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]


class SecuritySettings(_Group):
    """How the brokers are to be trusted, and how we show who we are."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """As the brokers' listener has it."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """The strongest that the client speaks is the default."""
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    """A file that holds the password, as Docker and Kubernetes mount secrets."""
    ssl_cafile: Path | None = None
    """The authority's certificate; without it the system's own authorities are trusted."""
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None

    @field_validator("password_file", "ssl_cafile", "ssl_certfile", "ssl_keyfile")
    @classmethod
    def _readable(cls, path: Path | None) -> Path | None:
        if path is not None and not (path.is_file() and os.access(path, os.R_OK)):
            raise ValueError(f"there is no readable file {path}")
        return path

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.password is not None and self.password_file is not None:
            raise ValueError("both password and password_file are set; keep one")
        if self.sasl and (self.username is None or (self.password is None and self.password_file is None)):
            raise ValueError(f"{self.protocol} needs username and password (or password_file); set them")
        if not self.sasl and (self.username or self.password or self.password_file):
            raise ValueError(
                f"username and password are not used by {self.protocol}; use SASL_SSL or remove them"
            )
        if not self.ssl and (self.ssl_cafile or self.ssl_certfile or self.ssl_keyfile):
            raise ValueError(
                f"certificates are not used by {self.protocol}; use SSL or SASL_SSL or remove them"
            )
        if (self.ssl_certfile is None) != (self.ssl_keyfile is None):
            raise ValueError("ssl_certfile and ssl_keyfile go together; set both or neither")
        return self

    @property
    def sasl(self) -> bool:
        """Whether a name and a password are asked for."""
        return self.protocol.startswith("SASL")

    @property
    def ssl(self) -> bool:
        """Whether the connection is encrypted."""
        return self.protocol.endswith("SSL")

    def read_password(self) -> str | None:
        """Return the password, from its file if it is in one. Never log it."""
        if self.password_file is not None:
            return self.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        return None if self.password is None else self.password.get_secret_value()


class KafkaSettings(_Group):
    """The brokers and the consumer group."""

    bootstrap_servers: str = "localhost:9092"
    """`host:port`, several by commas."""
    group_id: str = Field(default="onward", min_length=1)
    session_timeout_seconds: float = Field(default=10.0, ge=6.0, le=300.0)
    """How long the partitions of a killed worker stay without one. 6 is the least that brokers allow by
    default; heartbeats have a thread of their own, so a busy worker does not miss them."""
    security: SecuritySettings = SecuritySettings()

    @field_validator("bootstrap_servers")
    @classmethod
    def _host_and_port(cls, servers: str) -> str:
        parts = [part.strip() for part in servers.split(",") if part.strip()]
        for part in parts:
            if not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}", part):
                raise ValueError("host:port is needed, several by commas, such as kafka-1:9092,kafka-2:9092")
        if not parts:
            raise ValueError("at least one host:port is needed, such as localhost:9092")
        return ",".join(parts)


class TopicSettings(_Group):
    """The topics. `onward doctor` checks them and says how to create what is missing."""

    events: Topic = "onward.events"
    labels: Topic = "onward.labels"
    """Reserved for labels that come apart from their events; nothing reads it yet."""
    predictions: Topic = "onward.predictions"
    dead_letters: Topic = "onward.dead-letters"
    checkpoints: Topic = "onward.checkpoints"
    create: bool = True
    """Whether a worker makes the topics that are missing."""
    partitions: int = Field(default=6, ge=1, le=10_000)
    """Of topics that are made, where there is no events topic to go by; the most workers that can share them."""
    replication_factor: int | None = Field(default=None, ge=1, le=32)
    """Of topics that are made; without it three, or as many as there are brokers."""

    @model_validator(mode="after")
    def _different(self) -> Self:
        names = [self.events, self.labels, self.predictions, self.dead_letters, self.checkpoints]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(
                f"{', '.join(sorted(twice))} is used for two things; give each topic its own name"
            )
        return self


class FieldSettings(_Group):
    """The names of the fields in your events. `a.b` is the member `b` of the object `a`."""

    series: str = "series"
    """The field that names the series, or `@key` for the record's key."""
    time: str = "time"
    targets: Paths = Field(default={"value": "value"}, min_length=1)
    """What is forecast: a list of fields, or a mapping from the name to be published to the field."""
    features: Paths = {}
    """What helps to forecast: as `targets`."""
    extra: Literal["forbid", "ignore"] = "forbid"
    """Events with a field that nobody asked for: `forbid` rejects them, so that a renamed field is noticed."""
    time_unit: Literal["auto", "s", "ms"] = "auto"
    """The unit of times that are numbers. `auto` takes those of 1e11 and above (the year 5138, if they were
    seconds) as milliseconds."""

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


class LimitSettings(_Group):
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
    series_idle_events: int | None = Field(default=None, ge=1)
    """A series is forgotten once its partition is more than this many offsets past the last event that it learned from;
    without it none is. Offsets, and not a clock, so that a restart forgets it at the same event."""


class PolicySettings(_Group):
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


class ModelSettings(_Group):
    """The model. Only `profile` and `horizons` are meant to be set; the rest overrides the profile."""

    profile: str = "accurate"
    horizons: Numbers = (1,)
    """How many events ahead to forecast."""
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


class CheckpointSettings(_Group):
    """Where and how often the state is saved. After a crash at most one interval is learned again."""

    store: Literal["kafka", "sqlite"] = "kafka"
    """`sqlite` is for one worker on one machine, such as with the embedded broker."""
    interval_events: int = Field(default=10_000, ge=1)
    interval_seconds: float = Field(default=10.0, gt=0.0)
    sqlite_path: Path = Path("onward-checkpoints.sqlite")


class HttpSettings(_Group):
    """The page, /metrics, /healthz and /readyz."""

    host: str = "127.0.0.1"
    """Seen from this machine alone unless you say so; `0.0.0.0` in a container."""
    port: int = Field(default=8080, ge=0, le=65535)
    """0 takes a free one."""


class LogSettings(_Group):
    """What is written to standard error."""

    format: Literal["console", "json"] = "console"
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class ObserveSettings(_Group):
    """What is looked at beside the learning."""

    audit_every: int = Field(default=20_000, ge=0)
    """At one offset in so many the gradient of that event's series is compared with finite differences, on copies, over its
    next events: some ten milliseconds each on a busy machine. 0 is never."""


class StreamSettings(_Group):
    """How the worker reads."""

    batch_size: int = Field(default=1000, ge=1, le=100_000)
    """Events handed over at once, at most; results do not depend on it."""
    within_seconds: float = Field(default=0.05, gt=0.0, le=10.0)
    """How long a batch may wait to be filled."""


class Settings(_Group):
    """All settings. Made by `load_settings`, or in a test from a mapping by `Settings.model_validate`."""

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    fields: FieldSettings = FieldSettings()
    limits: LimitSettings = LimitSettings()
    policy: PolicySettings = PolicySettings()
    model: ModelSettings = ModelSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()
    stream: StreamSettings = StreamSettings()
    observe: ObserveSettings = ObserveSettings()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        self.specification()
        return self

    def specification(self) -> Specification:
        """Return the make of the models: the profile, its overrides and the names of the fields."""
        return self.model.specification(tuple(self.fields.targets), tuple(self.fields.features))


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
