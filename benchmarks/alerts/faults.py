"""One fault an alert. A fault is begun, and ended where it can be; none of them writes a metric.

A fault is a generator: what is before its `yield` begins it, what is behind ends it. What cannot come in by the events topic is what
an operator could do or meet: a signal, a setting, a lock on a file, a checkpoint with damage in it, a faulty build.
"""

from __future__ import annotations

import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.alerts import checkpoints
from benchmarks.alerts.rig import Stage
from benchmarks.alerts.rules import write_targets
from benchmarks.alerts.stream import RATE

HEALTHY_EVENTS: Final = 3000
HEALTHY_SECONDS: Final = 15.0
"""Learned before a fault, so many or what comes in this time: the models know something, and a quarter of an hour of the alerts' time has gone by."""
SLOW_RATE: Final = 60.0
BURST_RATE: Final = 6000.0
"""More than any worker learns in a second."""
QUICK_RATE: Final = 600.0
"""More than such a worker learns in a second."""
UNCOMPILED: Final = {"ONWARD_MODEL__OPTIMIZER": "adam", "ONWARD_MODEL__EXPERTS": "last_value,recurrent"}
"""A dense cell has no compiled twin in a worker; with these it is quick enough."""
UNCOMPILED_RATE: Final = 200.0
FAULTY_BUILD: Final = ("-m", "benchmarks.alerts.faulty_build", "worker")


@dataclass(frozen=True, slots=True)
class Fault:
    """What provokes an alert.

    Attributes:
        words: what is done, for the table.
        provoke: the generator.
        variables: settings of the worker beside those of the rig.
        rate: events a second before it; fewer where the worker is slow by its settings.
        padding: bytes that each event carries and nobody reads.
        ended: how the fault ends, or why it does so by itself.
    """

    words: str
    provoke: Callable[[Stage], Iterator[None]]
    ended: str
    variables: dict[str, str] = field(default_factory=dict)
    rate: float = RATE
    padding: int = 0


def _down(stage: Stage) -> Iterator[None]:
    stage.stop(signal.SIGKILL)
    yield
    stage.start()


def _absent(stage: Stage) -> Iterator[None]:
    stage.stop()
    write_targets(stage.folder.parent)
    yield
    stage.start()


def _restarting(stage: Stage) -> Iterator[None]:
    for _ in range(3):
        stage.kill()
        stage.until_learned(1)
    yield


def _stalled(stage: Stage) -> Iterator[None]:
    usual, stage.stream.rate = stage.stream.rate, BURST_RATE
    stage.until(lambda: stage.waiting() > 0, "records to wait")
    stage.broker.send_signal(signal.SIGSTOP)
    stage.stream.rate = usual
    yield
    stage.broker.send_signal(signal.SIGCONT)


def _lag(stage: Stage) -> Iterator[None]:
    usual, stage.stream.rate = stage.stream.rate, QUICK_RATE
    yield
    stage.stream.rate = usual


def _stale(stage: Stage) -> Iterator[None]:
    usual, stage.stream.rate = stage.stream.rate, 0.0
    yield
    stage.stream.rate = usual


def _dead_letters(stage: Stage) -> Iterator[None]:
    stage.stream.bad_share = 0.2
    yield
    stage.stream.bad_share = 0.0


def _never_saves(stage: Stage) -> Iterator[None]:
    stage.restart(
        ONWARD_CHECKPOINT__INTERVAL_SECONDS="86400", ONWARD_CHECKPOINT__INTERVAL_EVENTS="1000000000"
    )
    yield
    stage.restart()


def _locked(stage: Stage) -> Iterator[None]:
    with closing(sqlite3.connect(stage.store, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


def _wild(stage: Stage) -> Iterator[None]:
    stage.stream.wild = True
    yield
    stage.stream.wild = False


def _clipping(stage: Stage) -> Iterator[None]:
    # Of another make, so that it learns the log anew into checkpoints of its own.
    stage.restart(ONWARD_MODEL__CLIP_NORM="0.001", ONWARD_CHECKPOINT__SQLITE_PATH=f"{stage.store}.clipping")
    yield
    stage.restart()


def _damaged(how: checkpoints.Damage, times: int = 1) -> Callable[[Stage], Iterator[None]]:
    def provoke(stage: Stage) -> Iterator[None]:
        for _ in range(times):
            stage.stop()
            checkpoints.damage(stage.settings, how)
            stage.start()
            stage.until_learned(800)
        yield

    return provoke


def _chaotic(stage: Stage) -> Iterator[None]:
    stage.stop()
    good = Path(f"{stage.store}.good")
    shutil.copy(stage.store, good)
    checkpoints.damage(stage.settings, checkpoints.make_chaotic)
    stage.start()
    yield
    stage.stop()
    shutil.copy(good, stage.store)
    stage.start()


def _faulty_build(stage: Stage) -> Iterator[None]:
    stage.restart(FAULTY_BUILD)
    yield
    stage.restart()


BY_ITSELF: Final = "it is over once it is out of the window"
FAULTS: Final[dict[str, Fault]] = {
    "OnwardTargetDown": Fault("the only worker is killed and not started again", _down, "it is started"),
    "OnwardAbsent": Fault(
        "the worker is stopped, and its name stands for no address", _absent, "it is started"
    ),
    "OnwardRestarting": Fault(
        "the worker is killed three times, and started again each time", _restarting, BY_ITSELF
    ),
    "OnwardStalled": Fault("the broker is frozen (kill -STOP) while records wait", _stalled, "kill -CONT"),
    "OnwardLagGrowing": Fault(
        "a stream of large records becomes ten times as quick, for a worker that takes them one by one (stream.batch_size)",
        _lag,
        "it is as before",
        {
            # It is slow, and still answers Prometheus at every scrape.
            "ONWARD_MODEL__HORIZONS": ",".join(map(str, range(1, 25))),
            "ONWARD_STREAM__BATCH_SIZE": "1",
            "ONWARD_FIELDS__EXTRA": "ignore",
        },
        SLOW_RATE,
        # The lag is known as of the last fetch, which is of megabytes: of small ones it would hold for as long as the shortened windows are.
        padding=32_000,
    ),
    "OnwardStale": Fault("the producer falls silent", _stale, "it sends again"),
    "OnwardDeadLetterBurn": Fault(
        "a fifth of the records is no event", _dead_letters, "the records are good again"
    ),
    "OnwardCheckpointOld": Fault(
        "the worker is set to save once a day (checkpoint.interval_seconds, interval_events)",
        _never_saves,
        "it is set as before",
    ),
    "OnwardCheckpointFailing": Fault(
        "somebody holds a lock on the checkpoint file", _locked, "the lock is let go"
    ),
    "OnwardSkillNegative": Fault(
        "the series become walks with steps of very different size (Student's t, 1.2 degrees of freedom)",
        _wild,
        "they are waves again",
    ),
    "OnwardClipRatioHigh": Fault(
        "model.clip_norm is set to a thousandth",
        _clipping,
        "it is set as before",
        {"ONWARD_MODEL__OPTIMIZER": "adam"},
    ),
    "OnwardNonFinite": Fault(
        "NaN in the filter's covariance, in the checkpoint", _damaged(checkpoints.lose_covariance), BY_ITSELF
    ),
    "OnwardChaotic": Fault(
        "wild recurrent weights of a tanh cell, in the checkpoint",
        _chaotic,
        "the checkpoint from before is put back",
        {"ONWARD_MODEL__CELL": "vanilla"} | UNCOMPILED,
        UNCOMPILED_RATE,
    ),
    "OnwardRolledBack": Fault(
        "NaN in the cell's weights, in the checkpoint", _damaged(checkpoints.lose_weights), BY_ITSELF
    ),
    "OnwardQuarantined": Fault(
        "a readout that is wrong and certain of it, in the checkpoint, three times",
        _damaged(checkpoints.mislead_readout, times=3),
        "by itself, after 1,000 healthy events of each series",
    ),
    "OnwardGradientOff": Fault(
        "a build of which a cell's derivative is a tenth too large",
        _faulty_build,
        "the right build runs again, and the last audit is out of the window",
        {"ONWARD_MODEL__CELL": "gru", "ONWARD_MODEL__UNITS": "4", "ONWARD_OBSERVE__AUDIT_EVERY": "200"}
        | UNCOMPILED,
        UNCOMPILED_RATE,
    ),
}
"""By the alert's name; a test compares them with deploy/prometheus/alerts.yml."""
