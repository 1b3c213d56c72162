"""Damage in what is saved: what a broken disk, a faulty memory or a careless hand would leave, with checksums that are right."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import numpy as np

from models.bank import Array
from service.bootstrap import checkpoint_store
from service.ports import SeriesCheckpoint
from service.settings import Settings
from service.stream.model import Model

Damage = Callable[[dict[str, Array], np.random.Generator], None]
"""Changes the fields of the recurrent expert of one series, by name, in place."""


def lose_weights(fields: dict[str, Array], _rng: np.random.Generator) -> None:
    """Make the cell's weights no numbers."""
    fields["params"][...] = np.nan


def lose_covariance(fields: dict[str, Array], _rng: np.random.Generator) -> None:
    """Make what the filter knows of its own errors no numbers."""
    fields["optimizer.covariance.0"][...] = np.nan


def mislead_readout(fields: dict[str, Array], rng: np.random.Generator) -> None:
    """Make the readout wrong, and certain of it."""
    fields["weights"] += 3.0 * rng.normal(size=fields["weights"].shape)
    fields["covariance"][...] = 0.0


CHAOTIC_GAIN: Final = 4.0
"""A network of tanh with random weights of deviation g / sqrt(n) is chaotic from g = 1 on where no input holds it; inputs do hold it."""


def make_chaotic(fields: dict[str, Array], rng: np.random.Generator) -> None:
    """Give a tanh cell recurrent weights that no small change of the state survives."""
    params = fields["params"]
    n = params.shape[-1]
    params[..., :n, :] = CHAOTIC_GAIN / np.sqrt(n) * rng.normal(size=params[..., :n, :].shape)
    params[..., n:, :] = 0.1


def damage(settings: Settings, how: Damage) -> None:
    """Change the checkpoint of every series; no worker may run."""
    asyncio.run(_damage(settings, how))


async def _damage(settings: Settings, how: Damage) -> None:
    store, rng = checkpoint_store(settings), np.random.default_rng(0)
    model = Model(settings.topics.events, settings.specification())
    await store.start()
    try:
        for partition in range(settings.topics.partitions):
            found = await store.load(partition)
            if found is None:
                continue
            changed = []
            for name, saved in found.series.items():
                slot = model.admit()
                cadence = model.restore(slot, saved.state)
                fields = model.bank.snapshot(slot)
                prefix = "expert.recurrent/"
                how(
                    {
                        key.removeprefix(prefix): value
                        for key, value in fields.items()
                        if key.startswith(prefix)
                    },
                    rng,
                )
                model.bank.restore(slot, fields)
                changed.append(SeriesCheckpoint(name, saved.last_offset, model.dump(slot, cadence)))
            await store.save(partition, changed, found.next_offset)
    finally:
        await store.stop()
