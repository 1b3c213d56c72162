"""The recurrent expert: a cell learned by exact RTRL, with a least-squares readout beside its lags.

    h_t = cell(theta, h_{t-1}, x_t),  phi_t = [read(h_t), d_t .. d_{t-L+1}, season, features, 1]
    y_{t+h} - y_t ~ s_t w_h' phi_t                                     (1)
    g_{t,h} = d(w_h' phi_t)/d theta = credit . dh_t/d theta            (2)

The readout w is learned by recursive least squares. For theta, Eq. (2) is taken at the moment of the
forecast, from the influence that RTRL carries forward, and kept until the label comes; then
theta moves by it and the residual, see `cell_updates`. Nothing else of the past is kept.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from models.cells import CELLS
from models.experts import recovery, watch
from models.experts.cell_updates import PROCESS_NOISE, ByGradient, cell_update_for
from models.experts.linear import (
    LONG_FORGETTING,
    forecast_readout,
    init_readout,
    learn_readout,
    linear_inputs,
    n_beside,
    season_horizons,
)
from models.forecast_protocols import Due, Observation
from models.optimizers.rls import FORGETTING
from models.protocols import Array, BoolArray, Cell, CreditedRule, Fields, IntArray, LearningRule, State
from models.rules import RULES, exact_rule_for
from models.rules.rtrl_block import RtrlBlock
from models.rules.rtrl_block_smooth import RtrlBlockSmooth
from models.specification import Specification
from models.stability import Lyapunov, frobenius_norm, saturated_ratio, spectral_radius
from models.tables import entry

LAGS_MAX = 24
"""Increments that the readout sees beside the state: the state is there for what is further back."""

INFLUENCE_CEILING = 1e6
"""An influence over this has exploded (inputs are of order one): it and the state start anew."""


HASTY_RATE = 3.0
"""While the expert is quickened it goes so many times as far down the gradient; a filter needs no such help."""

_SHARED: Final = ("params", "weights", "covariance", "good.params", "good.weights")
"""What a pooled expert shares, beside its optimizer's state; hidden state, influence and what waits for labels are each series' own."""

QUICK_PROCESS_NOISE = 1e-4
"""Ten times what is expected of the others."""


class Recurrent:
    """A recurrent cell under exact RTRL. The state's fields beside the weights carry its figures."""

    def __init__(
        self,
        specification: Specification,
        *,
        process_noise: float = PROCESS_NOISE,
        forgetting: float = FORGETTING,
        pooled: bool = False,
        joint: bool = False,
    ) -> None:
        """Build cell, rule and optimizer from the specification; the process noise is a Kalman filter's, the forgetting the readout's."""
        self.lags, self.forgetting = min(specification.lags, LAGS_MAX), forgetting
        self.n_horizons = len(specification.horizons)
        self.n_rows, self.horizon = specification.horizons[-1], specification.horizons[0]
        self.seed = specification.seed
        self.n_others = specification.n_others if joint else 0
        self.cell = entry(CELLS, specification.cell, "cell")(
            n_inputs=2 + specification.n_inputs + self.n_others, n_units=specification.units
        )
        self.rule = _in_precision(specification.precision, _rule(specification.rule, self.cell), self.cell)
        self.n_read = self.cell.n_read_parts * self.cell.n_units
        self.season_at = season_horizons(self.n_horizons, 1)
        self.n_readout = self.n_read + self.lags + n_beside(specification, self.season_at) + self.n_others
        self.cell_update = cell_update_for(
            specification, (self.cell.n_params_per_unit, self.cell.n_units), process_noise
        )
        self.lyapunov = Lyapunov(self.cell.n_parts, self.cell.n_units)
        of_optimizer = tuple(_prefixed("optimizer", self.cell_update.init_state()))
        self.shared = (*_SHARED, *of_optimizer) if pooled else ()
        # In layers a unit is heard by the layer above as well; and one that is of no use to a series may be to others.
        self.renews = self.cell.recurrence != "layered" and not pooled
        self._quarantine_span = specification.quarantine_span

    def init_state(self) -> Fields:
        """Return a new expert: seeded recurrent weights, a readout that forecasts no change."""
        zero, params = np.zeros(()), self.cell.init_params(np.random.default_rng(self.seed))
        fields: Fields = {
            "params": params,
            "state": self.cell.init_state(),
            "lags": np.zeros(self.lags),
            "offset": np.zeros(self.n_rows),
            "jacobian": np.zeros((self.cell_update.n_slots, self.cell.n_params_per_unit, self.cell.n_units)),
            "gradient_norm": zero,
            "updated": np.zeros((), dtype=np.bool_),
            "clipped": np.zeros((), dtype=np.bool_),
            "influence_norm": zero,
            "spectral_radius": zero,
            "saturated_ratio": zero,
            "influence_resets": np.zeros((), dtype=np.int64),
        }
        fields |= init_readout(self.n_horizons, self.n_rows, self.n_readout)
        fields |= _prefixed("memory", self.rule.init_memory())
        fields |= _prefixed("optimizer", self.cell_update.init_state())
        return fields | watch.init_watch(self.cell, fields["weights"], params)

    def learn(self, state: State, due: Due) -> None:
        """Take the labels that are due into the readout and, by the kept gradients, into the cell."""
        rows = np.arange(len(due.slot))[:, None]
        learn_readout(state, replace(due, target=due.target - state["offset"][rows, due.origin]))
        jacobian = state["jacobian"][rows, due.slot[:, : self.cell_update.n_kept]]
        optimizer = _part(state, "optimizer")
        update, figures = self.cell_update.learn(optimizer, due, jacobian, state["params"])
        factor = watch.rate_factor(state)
        if isinstance(self.cell_update, ByGradient):
            factor = factor * np.where(due.hasty, HASTY_RATE, 1.0)
        update = update * factor[:, None, None]
        state["figures"][:, watch.UPDATE_RATIO] = _over(
            frobenius_norm(update), frobenius_norm(state["params"])
        )
        state["params"] = state["params"] + update
        state.update(_prefixed("optimizer", optimizer) | figures)

    def forecast(self, state: State, observation: Observation) -> Array:
        """Advance the cell and its influence by this event, forecast, and keep each gradient, (B, H)."""
        seen = np.concatenate(
            (
                observation.steady_increment[:, None],
                observation.steady_deviation[:, None],
                observation.features,
                observation.others[:, : self.n_others],
            ),
            axis=1,
        )
        memory = _part(state, "memory")
        factors = self.cell.step(state["params"], state["state"], seen)
        self.rule.advance(memory, factors)
        norm = self.rule.memory_norm(memory)
        healthy = np.isfinite(norm) & (norm <= INFLUENCE_CEILING)
        if not healthy.all():
            self.rule.reset(memory, ~healthy)
        state["state"] = np.where(_like(healthy, factors.state), factors.state, self.cell.init_state())
        state["influence_resets"] = state["influence_resets"] + ~healthy
        state["reset"] = ~healthy
        watch.watch_step(state, self.lyapunov, factors.transition, factors.upward)
        state["influence_norm"] = np.where(healthy, norm, 0.0)
        state["spectral_radius"] = np.where(healthy, spectral_radius(factors.transition), 0.0)
        saturated = self.cell.saturated(state["state"])
        state["saturated_ratio"] = saturated_ratio(saturated)
        state.update(_prefixed("memory", memory))

        read, slope = self.cell.read_out(state["state"])
        watch.watch_units(state, read, saturated)
        n_rows = len(observation.slot)
        steady = replace(observation, deviation=observation.steady_deviation)
        state["lags"] = np.concatenate((observation.steady_increment[:, None], state["lags"][:, :-1]), axis=1)
        flat = read.reshape(n_rows, self.n_read)
        beside = linear_inputs(state["lags"], steady, self.season_at, self.n_others)
        inputs = np.concatenate((flat, beside), axis=1)
        n_kept = self.cell_update.n_kept
        of_units = state["weights"][:, :n_kept, : self.n_read].reshape(n_rows, n_kept, *read.shape[1:])
        credit = np.zeros((n_rows, n_kept, self.cell.n_parts, self.cell.n_units))
        for part in range(self.cell.n_read_parts):
            credit += of_units[:, :, part, None, :] * slope[:, None, part]
        rows = np.arange(n_rows)[:, None]
        state["jacobian"][rows, observation.slot[:, :n_kept]] = self.rule.gradient(memory, credit)  # Eq. (2)
        forecast = forecast_readout(state, inputs, observation, self.forgetting)  # Eq. (1)
        forecast = observation.steady_offset[:, None] + forecast
        state["offset"][rows[:, 0], observation.row] = observation.steady_offset
        lost: BoolArray = ~np.all(np.isfinite(forecast), axis=1)
        state["reset"] = (
            state["reset"] | lost
        )  # weights that are no numbers: no change is forecast, and `react` is called
        return np.where(lost[:, None], 0.0, forecast)

    def watch(self, state: State, error: Array, target: Array, valid: BoolArray) -> None:
        """Take a label of the shortest horizon into the figures: see `watch_loss`."""
        watch.watch_loss(state, error, target, valid)

    def attends(self, state: State) -> BoolArray:
        """Count the event, and return the rows of which `react` has to be called, (B,)."""
        return watch.watch_event(state)

    def react(self, state: State) -> IntArray:
        """Look at rows that are in trouble, or whose turn it is; return what was done: see `recovery`."""
        return recovery.react(self, state, self._quarantine_span)

    def figures(self, state: State, labelled: BoolArray) -> dict[str, Array | BoolArray]:
        """Return the gradient figures of this event; `labelled` says where something was learned."""
        return {
            "gradient_norm": state["gradient_norm"],
            "updated": state["updated"],
            "clipped": state["clipped"],
            "skipped": labelled & ~state["updated"],
            "influence_norm": state["influence_norm"],
            "spectral_radius": state["spectral_radius"],
            "saturated_ratio": state["saturated_ratio"],
            "stability": state["figures"].copy(),
        }

    def reset_memory(self, state: State) -> None:
        """Start the state and the influence anew; keep what was learned."""
        state["state"] = np.broadcast_to(self.cell.init_state(), state["state"].shape).copy()
        self.forget_influence(state, np.ones(len(state["state"]), dtype=np.bool_))

    def forget_influence(self, state: State, rows: BoolArray) -> None:
        """Begin the rule's memory of some rows anew, in place."""
        memory = _part(state, "memory")
        self.rule.reset(memory, rows)
        state.update(_prefixed("memory", memory))

    def forget_units(self, state: State, units: BoolArray) -> None:
        """Take units that were made anew, (B, n), out of the rule's memory, in place."""
        memory = _part(state, "memory")
        self.rule.forget_units(memory, units)
        state.update(_prefixed("memory", memory))

    def forget_params(self, state: State, params: BoolArray) -> None:
        """Take weights that were made anew, (B, q, n), out of what the optimizer knows, in place."""
        self.cell_update.forget(_part(state, "optimizer"), params)


def quick(specification: Specification) -> Recurrent:
    """Return the expert whose weights are expected to change soon."""
    return Recurrent(specification, process_noise=QUICK_PROCESS_NOISE)


def joint(specification: Specification) -> Recurrent:
    """Return the expert whose cell sees the other targets too."""
    return Recurrent(specification, joint=True)


def pooled(specification: Specification) -> Recurrent:
    """Return the expert whose weights a group of series shares; its readout forgets late, as that of `linear.pooled`."""
    return Recurrent(specification, forgetting=LONG_FORGETTING, pooled=True)


def gradient(specification: Specification) -> Recurrent:
    """Return the expert whose weights go down the gradient by Adam."""
    return Recurrent(replace(specification, optimizer="adam"))


def elstm(specification: Specification) -> Recurrent:
    """Return the expert whose cell holds and forgets by what it sees."""
    return Recurrent(replace(specification, cell="elstm", rule="exact", precision="float64"))


def gru(specification: Specification) -> Recurrent:
    """Return the expert whose cell is fully connected, with a filter a unit: a joint one would have 10^6 covariances."""
    return Recurrent(
        replace(specification, cell="gru", rule="exact", precision="float64", optimizer="ekf_node")
    )


def _rule(name: str, cell: Cell) -> LearningRule:
    """Return the rule for a cell.

    Raises:
        ValueError: no such rule, or one that needs credit at the step itself: here it comes with the label, later.
    """
    if name == "exact":
        return exact_rule_for(cell)
    rule = entry(RULES, name, "rule")(cell)
    if isinstance(rule, CreditedRule) or rule.cost.grows:
        raise ValueError(
            f"rule: {name} cannot wait for a label, or keeps the whole past; take exact, or snap_1"
        )
    return rule


def _in_precision(precision: str, rule: LearningRule, cell: Cell) -> LearningRule:
    """Return the rule in a precision.

    Raises:
        ValueError: no such precision, or a rule that has no influence matrix to keep in single precision.
    """
    if precision == "float64":
        return rule
    if precision == "float32" and isinstance(rule, RtrlBlock | RtrlBlockSmooth):
        return type(rule)(cell, precision="float32")
    raise ValueError(
        f'precision: "float64", or "float32" with the rules rtrl_block and rtrl_block_smooth; not {precision!r}'
    )


def _prefixed(prefix: str, fields: Fields) -> Fields:
    return {f"{prefix}.{name}": value for name, value in fields.items()}


def _part(state: State, prefix: str) -> State:
    start = prefix + "."
    return {name[len(start) :]: value for name, value in state.items() if name.startswith(start)}


def _over(part: Array, whole: Array) -> Array:
    """Return part / whole, 0 where there is no whole."""
    return np.where(whole > 0.0, part / np.where(whole > 0.0, whole, 1.0), 0.0)


def _like(flags: Array | np.ndarray, value: np.ndarray) -> np.ndarray:
    return flags.reshape(flags.shape + (1,) * (value.ndim - 1))
