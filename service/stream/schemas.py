"""The messages as JSON Schemas, for whoever writes events or reads predictions and dead letters.

The models below say what `messages` publishes and are the source of its schemas; the schema of events follows the
user's own names of the fields, and accepts what `decode` accepts, but for nesting, size and the calendar.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from service.ports import Promotion, Reason
from service.settings import SERIES_FROM_KEY, FieldSettings, LimitSettings, PolicySettings, Settings
from service.stream.messages import DEAD_LETTER_KEY_BYTES_MAX, DEAD_LETTER_VALUE_BYTES_MAX

Kind = Literal["event", "prediction", "dead-letter"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NO_CONTROL_CHARACTERS = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]+$"

GuardAction = Literal[
    "winsorise", "clip", "skip", "reset", "roll_back", "quarantine", "release", "renew", "restore"
]

Share = Annotated[float, Field(ge=0.0, le=1.0)]
DriftStream = Literal["loss", "inputs", "calibration"]
Reaction = Literal["quicken", "reset", "challenge", "takeover"]
NotNegative = Annotated[float, Field(ge=0.0)]


class _Message(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Settled(_Message):
    """What this event's value said of the forecast made that many events earlier."""

    error: float
    """Target minus prediction, in the unit of the target."""
    covered: dict[str, bool]
    """Whether the interval of each level held the target; the level is the name, narrowest first, such as "0.8"."""
    experts: dict[str, float]
    """The error of each expert."""


class HorizonForecast(_Message):
    """The forecast for one horizon."""

    horizon: Annotated[int, Field(ge=1)]
    """How many events ahead."""
    prediction: float | None
    """Null, as the quantiles and what the experts predict, until the target has had a value."""
    quantiles: dict[str, float | None]
    """By their share, ascending: of the targets a tenth should be less than "0.1", and a tenth greater than "0.9". The two
    that are equally far from one half are the interval of a level, "0.1" and "0.9" that of 0.8."""
    weights: dict[str, float]
    """The weight of each expert in the prediction; they sum to 1. With the mixture `stacked` some may be negative, and others over 1."""
    experts: dict[str, float | None]
    """What each expert predicts."""
    settled: Settled | None


class Stability(_Message):
    """How near the recurrent expert is to instability; docs/STABILITY.md says what each figure means. Zeros where there is none."""

    lyapunov: float
    """Mean log growth of a change of the state over the last 500 or so events; above 0 it is chaotic."""
    lyapunov_lifetime: float
    """The same since the series began."""
    update_ratio: NotNegative
    """Size of this event's update over the size of the weights."""
    dead_ratio: Share
    """Units that were silent or saturated for 1,000 events in a row."""
    rate_factor: Share
    """By what the learning rate is multiplied: guards halve it, health doubles it."""
    effective_rank: NotNegative
    """Directions that the units' read-outs have, as of the last of every 1,000 events; 0 before."""
    log_condition: NotNegative
    """log10 of the condition of the readout's covariance, as above."""
    weight_norm: NotNegative
    readout_norm: NotNegative


class TargetPrediction(_Message):
    """What is said of one target at one event."""

    observed: float | None
    """The value that the event brought; null where it was missing, and then nothing is settled or learned."""
    anomaly_score: Share
    """The share of past events that were less surprising than this one; 0 where there is nothing to be surprised by."""
    anomaly_log_score: NotNegative = 0.0
    """-log10 of how likely so surprising an event is, without an upper end; 0 while a stronger one is recent."""
    drift: list[DriftStream]
    """Where a drift is signalled: the loss has risen, the inputs are larger than they were, or the widest interval misses more
    values than it should."""
    drift_warning: list[DriftStream]
    """Where one is warned of and not signalled, if the detector has such a level."""
    drift_statistic: dict[DriftStream, float]
    """In units of its threshold: 1 signals drift, and then it begins anew."""
    reaction: list[Reaction]
    """What was done about it after this event."""
    gradient_norm: NotNegative
    """Before clipping; 0 where nothing was learned."""
    clipped: bool
    influence_norm: NotNegative
    spectral_radius: NotNegative
    saturated_ratio: Share
    stability: Stability
    guard: list[GuardAction]
    """What guards did at this event: learned from an outlier as if it were smaller (winsorise), clipped or refused the gradient (clip, skip), began
    the influence anew (reset), went back to the last good weights (roll_back), began or ended to publish the baseline
    instead (quarantine, release), made a unit anew (renew), put back
    what was learned before a fault (restore)."""
    horizons: list[HorizonForecast]


class ShadowForecast(_Message):
    """What the challenger says of one target, for the shortest horizon."""

    prediction: float | None
    """Null until the target has had a value."""
    error: float | None
    """Of its forecast that this event settled: target minus prediction; null where none was settled."""


class Challenger(_Message):
    """What learned from this event in the shadow; docs/CHALLENGER.md."""

    model_version: str
    """That of the prediction is the one that answers; they change places at a promotion."""
    place: Literal["model", "challenger"]
    """Its group in the settings; what stands in the other one answers."""
    promoted: Annotated[Promotion, Field(strict=False)] | None
    """Why what answers took over at this event, null where it did not."""
    evidence: NotNegative
    """That it is better by the margin than what answers, 1 at the beginning of a trial. At 1 / alpha it is promoted, and answers
    from this event on."""
    targets: dict[str, ShadowForecast]


class PredictionMessage(_Message):
    """A prediction, made at an event and before anything later was seen. Key: the series' name in UTF-8."""

    id: str
    """`topic-partition-offset` of the event. A message that comes twice comes with the same id and content."""
    series: str
    time: str
    """The event's time as its producer wrote it; a number as text."""
    model_version: str
    targets: dict[str, TargetPrediction]
    challenger: Challenger | None = None
    """Only where the settings have one."""


class DeadLetterMessage(_Message):
    """A record that was not learned from, and why. Key: the record's own."""

    topic: str
    partition: Annotated[int, Field(ge=0)]
    offset: Annotated[int, Field(ge=0)]
    reason: Annotated[Reason, Field(strict=False)]
    detail: str
    key: str | None = Field(description=f"The first {DEAD_LETTER_KEY_BYTES_MAX} bytes of the record's key.")
    key_encoding: Literal["utf-8", "base64"]
    value: str | None = Field(description=f"The first {DEAD_LETTER_VALUE_BYTES_MAX} bytes of the value.")
    value_encoding: Literal["utf-8", "base64"]
    value_bytes: Annotated[int, Field(ge=0)]
    """The length of the whole value."""


def json_schema(kind: Kind, settings: Settings) -> dict[str, Any]:
    """Return the JSON Schema of a kind of message."""
    match kind:
        case "event":
            return _event_schema(settings.fields, settings.limits, settings.policy)
        case "prediction":
            return {"$schema": _DIALECT} | PredictionMessage.model_json_schema()
        case "dead-letter":
            return {"$schema": _DIALECT} | DeadLetterMessage.model_json_schema()


def _event_schema(fields: FieldSettings, limits: LimitSettings, policy: PolicySettings) -> dict[str, Any]:
    series = {
        "type": "string",
        "minLength": 1,
        "maxLength": limits.series_name_length_max,
        "pattern": _NO_CONTROL_CHARACTERS,
        "description": "The name of the series.",
    }
    time = {
        "type": ["string", "number"],
        "description": f"ISO-8601 text (UTC where it has no zone), or epoch time; unit of numbers: {fields.time_unit}.",
    }
    number = {"type": "number", "minimum": -limits.value_abs_max, "maximum": limits.value_abs_max}
    root = _object(fields)
    root["title"] = "Event"
    target = number | ({"type": ["number", "null"]} if policy.null_target == "predict" else {})
    imputed = policy.missing_feature == "impute"
    feature = number | ({"type": ["number", "null"]} if imputed else {})
    root["description"] = "An event of a series."
    if fields.series == SERIES_FROM_KEY:
        root["description"] += " The record's key names the series, in UTF-8."
    else:
        _put(root, fields.series, series, fields)
    _put(root, fields.time, time, fields)
    for name, path in fields.targets.items():
        _put(root, path, target | {"description": f"The target {name}."}, fields)
    for name, path in fields.features.items():
        _put(root, path, feature | {"description": f"The feature {name}."}, fields, optional=imputed)
    return {"$schema": _DIALECT} | root


def _object(fields: FieldSettings, *, optional: bool = False) -> dict[str, Any]:
    return {
        "type": ["object", "null"] if optional else "object",
        "properties": {},
        "required": [],
        "additionalProperties": fields.extra == "ignore",
    }


def _put(
    root: dict[str, Any], path: str, schema: dict[str, Any], fields: FieldSettings, *, optional: bool = False
) -> None:
    """Put a field's schema at its path, with the objects on the way; those that only hold what is optional may be null."""
    node = root
    *outer, last = path.split(".")
    for name in outer:
        if name not in node["properties"]:
            node["properties"][name] = _object(fields, optional=optional)
            if not optional:
                node["required"].append(name)
        node = node["properties"][name]
    node["properties"][last] = schema
    if not optional:
        node["required"].append(last)
