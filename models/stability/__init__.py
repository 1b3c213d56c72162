"""How near the learning is to instability: figures of B rows, each a pure function of its row alone.

    gradient norm     |g|             before clipping; a trend upwards announces divergence
    influence norm    |M|_F           of dh/dtheta; grows without bound where the state is chaotic
    spectral radius   rho(J)          of the state Jacobian; above 1 for long, state and influence explode
    Lyapunov exponent lambda          mean log growth of a change of the state; above 0 it is chaotic
    memory horizon    k               steps after which a hundredth is left of such a change
    update ratio      |dtheta|/|theta| of a step; about 1e-3 is usual, 1e-1 throws away what was learned
    saturated ratio                   units that pass hardly any credit; near 1, nothing more is learned
    dead ratio                        units that have been silent or saturated for long
    effective rank                    directions that the units' read-outs have
    condition         log10           of the readout's covariance P

docs/STABILITY.md says in words what each means, and what to do when it moves.
"""

from __future__ import annotations

from models.stability.lyapunov import Lyapunov, memory_horizon
from models.stability.norms import frobenius_norm, saturated_ratio
from models.stability.rank import effective_rank, log_condition, units_correlation
from models.stability.spectrum import EXACT_STATES_MAX, spectral_radius, spectral_radius_bound, unit_radii

__all__ = [
    "EXACT_STATES_MAX",
    "Lyapunov",
    "effective_rank",
    "frobenius_norm",
    "log_condition",
    "memory_horizon",
    "saturated_ratio",
    "spectral_radius",
    "spectral_radius_bound",
    "unit_radii",
    "units_correlation",
]
