"""What is published: predictions and dead letters as messages.

No wall clock and nothing random goes into them: a message that is published again after a crash has the same id and
the same content, so whoever reads the topic can drop it by its id.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from models.bank import GUARD_ACTIONS, STABILITY_FIGURES, BoolArray, StepResult
from models.specification import DRIFT_STREAMS, REACTIONS, Specification
from service.ports import Event, Message, Rejection
from service.stream.guards import names_of

DEAD_LETTER_VALUE_BYTES_MAX = 16_384
"""What is kept of a rejected record's value: enough to see what it was, whatever its size."""
DEAD_LETTER_KEY_BYTES_MAX = 1_024
"""What is kept of its key, in the dead letter and as the dead letter's own key."""


class PredictionEncoder:
    """Turns the rows of a step's result into messages, for one topic and one make of model."""

    def __init__(self, topic: str, specification: Specification) -> None:
        self._topic = topic
        self.version = specification.version()
        self._targets = specification.targets
        self._specification = specification

    def encode(
        self, events: Sequence[Event], result: StepResult, more: Sequence[Mapping[str, Any]] = ()
    ) -> list[Message]:
        """Return the message of each event; row i of the result is of event i, as is what else there is to say."""
        # To lists all at once: reading single numbers out of arrays would cost more than the encoding.
        observed_figures = {
            "anomaly_score": result.anomaly_score.tolist(),
            "anomaly_log_score": result.anomaly_log_score.tolist(),
            "drift": _named(result.drift, DRIFT_STREAMS),
            "drift_warning": _named(result.drift_warning, DRIFT_STREAMS),
            "drift_statistic": [
                [dict(zip(DRIFT_STREAMS, one, strict=True)) for one in row]
                for row in result.drift_statistic.tolist()
            ],
            "reaction": [[names_of(bits, REACTIONS) for bits in row] for row in result.reaction.tolist()],
            "gradient_norm": result.gradient_norm.tolist(),
            "clipped": result.clipped.tolist(),
            "influence_norm": result.influence_norm.tolist(),
            "spectral_radius": result.spectral_radius.tolist(),
            "saturated_ratio": result.saturated_ratio.tolist(),
        }
        watched, guards = result.stability.tolist(), result.guard.tolist()
        forecasts = _Forecasts(result, self._specification)
        messages = []
        for row, event in enumerate(events):
            targets = {
                target: {
                    "observed": event.values[k],
                    **{name: figure[row][k] for name, figure in observed_figures.items()},
                    "stability": dict(zip(STABILITY_FIGURES, watched[row][k], strict=True)),
                    "guard": names_of(guards[row][k], GUARD_ACTIONS),
                    "horizons": forecasts.of(row, k),
                }
                for k, target in enumerate(self._targets)
            }
            body = {
                "id": f"{self._topic}-{event.partition}-{event.offset}",
                "series": event.series,
                "time": event.time_text,
                "model_version": self.version,
                "targets": targets,
                **(more[row] if more else {}),
            }
            messages.append(Message(key=event.series.encode(), value=orjson.dumps(body)))
        return messages


class _Forecasts:
    """The part of a result that has a column for each horizon, as lists."""

    def __init__(self, result: StepResult, specification: Specification) -> None:
        self._horizons = specification.horizons
        self._experts = specification.experts
        self._quantile_names = specification.quantile_names
        self._level_names = specification.level_names
        self._prediction = result.prediction.tolist()
        self._quantiles = result.quantiles.tolist()
        self._weights = result.weights.tolist()
        self._expert_predictions = result.expert_predictions.tolist()
        self._settled = result.settled.tolist()
        self._error = result.error.tolist()
        self._covered = result.covered.tolist()
        self._expert_errors = result.expert_errors.tolist()

    def of(self, row: int, k: int) -> list[dict[str, Any]]:
        """Return what is said of each horizon, for one target of one event."""
        experts = self._experts
        return [
            {
                "horizon": horizon,
                "prediction": self._prediction[row][k][h],
                "quantiles": dict(zip(self._quantile_names, self._quantiles[row][k][h], strict=True)),
                "weights": dict(zip(experts, self._weights[row][k][h], strict=True)),
                "experts": dict(zip(experts, self._expert_predictions[row][k][h], strict=True)),
                "settled": {
                    "error": self._error[row][k][h],
                    "covered": dict(zip(self._level_names, self._covered[row][k][h], strict=True)),
                    "experts": dict(zip(experts, self._expert_errors[row][k][h], strict=True)),
                }
                if self._settled[row][k][h]
                else None,
            }
            for h, horizon in enumerate(self._horizons)
        ]


def _named(flags: BoolArray, names: Sequence[str]) -> list[list[list[str]]]:
    """Return the names of the flags that are up, (B, K, N): mostly none."""
    if not flags.any():
        return [[[]] * flags.shape[1]] * flags.shape[0]
    return [
        [[name for name, up in zip(names, one, strict=True) if up] for one in row] for row in flags.tolist()
    ]


def encode_dead_letter(rejection: Rejection) -> Message:
    """Return a rejected record with its reason; of a long value or key only the beginning."""
    record = rejection.record
    value, value_encoding = _as_text(record.value, DEAD_LETTER_VALUE_BYTES_MAX)
    key, key_encoding = _as_text(record.key, DEAD_LETTER_KEY_BYTES_MAX)
    body = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "reason": rejection.reason.value,
        "detail": rejection.detail,
        "key": key,
        "key_encoding": key_encoding,
        "value": value,
        "value_encoding": value_encoding,
        "value_bytes": len(record.value or b""),
    }
    return Message(
        key=None if record.key is None else record.key[:DEAD_LETTER_KEY_BYTES_MAX],
        value=orjson.dumps(body),
        headers=(("reason", rejection.reason.value.encode()),),
    )


def _as_text(raw: bytes | None, length_max: int) -> tuple[str | None, str]:
    """Return the beginning of some bytes as a text, and how it is to be read: "utf-8" or "base64"."""
    if raw is None:
        return None, "utf-8"
    kept = raw[:length_max]
    # A character that the cut went through is left out; anything else that is not UTF-8 makes it base64.
    for shorter in range(4 if len(raw) > length_max else 1):
        try:
            return kept[: len(kept) - shorter].decode("utf-8"), "utf-8"
        except UnicodeDecodeError:
            continue
    return base64.b64encode(kept).decode("ascii"), "base64"
