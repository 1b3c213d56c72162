"""What others take for an event, where they are installed beside: PyTorch's recurrent network, deep-river's LSTM.

`pip install torch deep-river` beside the project; without them the comparisons are left out, and said to be.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np

from benchmarks.tasks.recipe import Goal, at_most

Run = Callable[[], float]
"""Takes some events; returns seconds an event."""

WINDOW = 20
"""Steps that truncated backpropagation goes back."""
EVENTS = 16
PACE_MICROSECONDS = 819.0
"""What deep-river's LSTM takes for an event on the machine that goals in microseconds and seconds are meant for."""


def has_torch() -> bool:
    """Say whether PyTorch is there."""
    return importlib.util.find_spec("torch") is not None


def has_deep_river() -> bool:
    """Say whether deep-river is there."""
    return importlib.util.find_spec("deep_river") is not None


def versions() -> dict[str, str]:
    """Return the versions of those that are there, and what the others are."""
    names = ("torch", "deep_river", "numba")
    return {
        name: version(name.replace("_", "-")) if importlib.util.find_spec(name) else "not installed"
        for name in names
    }


def at_pace(name: str, value: float, limit: float, peer_microseconds: float | None) -> Goal:
    """Return a goal in time, by the pace of the machine it is meant for where deep-river was measured beside, else as it is."""
    if peer_microseconds is None:
        return at_most(name, value, limit)
    told = f"{name}, where deep-river's LSTM takes {PACE_MICROSECONDS:.0f} us and not {peer_microseconds:.0f}"
    return at_most(told, value * PACE_MICROSECONDS / peer_microseconds, limit)


def torch_truncated(n: int, n_inputs: int) -> Run:
    """Return PyTorch's `nn.RNN` of n tanh units, at each event run and learned over the last WINDOW inputs by SGD."""
    import torch  # noqa: PLC0415  not a dependency

    torch.set_num_threads(1)
    torch.manual_seed(0)
    cell, readout = torch.nn.RNN(n_inputs, n), torch.nn.Linear(n, 1)
    optimizer = torch.optim.SGD([*cell.parameters(), *readout.parameters()], lr=1e-3)
    inputs = torch.from_numpy(np.random.default_rng(0).normal(size=(WINDOW + EVENTS, 1, n_inputs))).float()
    start_state = torch.zeros(1, 1, n)

    def run() -> float:
        start = time.perf_counter()
        for event in range(EVENTS):
            output, _ = cell(inputs[event : event + WINDOW], start_state)
            loss = (0.5 * (readout(output[-1]) - inputs[event + WINDOW - 2, :, :1]) ** 2).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return (time.perf_counter() - start) / EVENTS

    return run


def deep_river_lstm(n_units: int = 32, window: int = 10) -> Run:
    """Return deep-river's LSTM: of a rolling window it predicts, then learns, at each event."""
    import torch  # noqa: PLC0415  not a dependency
    from deep_river.regression.zoo import LSTMRegressor  # noqa: PLC0415

    torch.set_num_threads(1)
    model = LSTMRegressor(
        n_features=1, hidden_size=n_units, window_size=window, optimizer_fn="sgd", lr=1e-3, seed=0
    )
    values = np.random.default_rng(0).normal(size=1000)
    place = 0

    def run() -> float:
        nonlocal place
        start = time.perf_counter()
        for _ in range(EVENTS):
            place = (place + 1) % 999
            event = {"value": float(values[place])}
            model.predict_one(event)
            model.learn_one(event, float(values[place + 1]))
        return (time.perf_counter() - start) / EVENTS

    return run
