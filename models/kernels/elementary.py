"""Exponential, hyperbolic tangent, sine and cosine of one number, without a branch, so that a loop over an array takes several.

Compiled loops call the mathematics library for one value at a time; LLVM knows no other way. What is written out in sums,
products and choices it does for four or eight values at once, and a value comes out the same to the bit wherever it stands.

With k the whole number nearest to x / ln 2 and r = x - k ln 2, so that |r| <= ln 2 / 2,

    p = exp(r) - 1 = r + r^2 (1/2 + r E(r))                               (1)
    exp(x) = 2^k (1 + p),  exp(x) - 1 = (2^k - 1) + 2^k p                 (2)
    tanh(x) = (exp(2 x) - 1) / ((exp(2 x) - 1) + 2)                       (3)

neither of which cancels near 0; and with k the whole number nearest to 2 x / pi and r = x - k pi / 2,

    sin(r) = r + r z S(z),  cos(r) = 1 - z / 2 + z^2 C(z),  z = r^2       (4)

of which the quarter k modulo 4 gives sine and cosine of x. ln 2 and pi / 2 are held in two and three parts; all but the last have
40 bits, so that their products with k are exact. E, S and C are the polynomials that meet their series at Chebyshev's nodes,
coefficients computed with fractions: by them alone (1) is off by 1e-17 of p and (4) by 5e-17, half a rounding or less. In all a
result is within 4e-16 of its own size, two roundings, which `tests/models/test_kernels_elementary.py` measures.

Of what is not a number, of infinities and of zero they give what numpy gives.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from models.kernels.jit import inner

LOG2_E: Final = 1.4426950408889634
LN2_HIGH: Final = 0.6931471805592082
LN2_LOW: Final = 7.371002565167799e-13
EXP_MAX: Final = 800.0
"""Beyond it exp(x) is infinite or zero as it is at it."""
TANH_MAX: Final = 20.0
"""From 19.06 on tanh is 1 to a double's last digit."""
TWO_OVER_PI: Final = 0.6366197723675814
QUARTER_HIGH: Final = 1.5707963267941523
QUARTER_MIDDLE: Final = 7.443547480480255e-13
QUARTER_LOW: Final = 6.36831716351095e-25
ANGLE_MAX: Final = 1e4
"""The greatest angle whose quarters are exact, with room: 2^13 quarters."""

ROUNDER: Final = 6755399441055744.0
"""1.5 2^52: a number added to it is rounded to a whole one, which then stands in the sum's last bits, in two's complement."""
BIAS: Final = np.int64(1023)
PLACE: Final = np.int64(52)
"""A double is 2^(exponent - BIAS) times its fraction, and the exponent stands PLACE bits up."""
ONE_BIT: Final = np.int64(1)
TWO_BIT: Final = np.int64(2)


@inner
def power_of_two(rounded: float) -> float:
    """Return 2^k for what k + ROUNDER is, -1023 < k < 1024."""
    bits = np.float64(rounded).view(np.int64)
    return float(np.int64((bits + BIAS) << PLACE).view(np.float64))


@inner
def bend(r: float) -> float:
    """Return p - r of eq. (1)."""
    e = 2.091123498804083e-09
    e = 2.510038319586702e-08 + r * e
    e = 2.7557282973002415e-07 + r * e
    e = 2.7557268464831627e-06 + r * e
    e = 2.4801587317142276e-05 + r * e
    e = 0.00019841269863050506 + r * e
    e = 0.0013888888888886552 + r * e
    e = 0.008333333333330063 + r * e
    e = 0.041666666666666664 + r * e
    e = 0.16666666666666666 + r * e
    return r * r * (0.5 + r * e)


@inner
def exp(x: float) -> float:
    """Return e to the x, eq. (2): 2^k in two factors, since neither 2^1024 nor a subnormal one can be had from bits."""
    x = EXP_MAX if x > EXP_MAX else x  # noqa: FURB136  min and max would give a bound for what is no number
    x = -EXP_MAX if x < -EXP_MAX else x  # noqa: FURB136  as above
    rounded = x * LOG2_E + ROUNDER
    k = rounded - ROUNDER
    half = 0.5 * k + ROUNDER
    other = (k - (half - ROUNDER)) + ROUNDER
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    return ((1.0 + (r + bend(r))) * power_of_two(half)) * power_of_two(other)


@inner
def fallen(x: float) -> tuple[float, float]:
    """Return exp(-x) and 1 - exp(-x) for x from 0 to 700, eq. (2)."""
    rounded = ROUNDER - x * LOG2_E
    k = rounded - ROUNDER
    scale = power_of_two(rounded)
    r = -((x + k * LN2_HIGH) + k * LN2_LOW)
    grown = scale * (r + bend(r))
    return scale + grown, (1.0 - scale) - grown


@inner
def tanh(x: float) -> float:
    """Return the hyperbolic tangent of x, eq. (3)."""
    size = abs(x)
    doubled = 2.0 * (TANH_MAX if size > TANH_MAX else size)  # noqa: FURB136  as above
    rounded = doubled * LOG2_E + ROUNDER
    k = rounded - ROUNDER
    scale = power_of_two(rounded)
    coarse, fine = doubled - k * LN2_HIGH, k * LN2_LOW
    r = coarse - fine
    bent = bend(r) + ((coarse - r) - fine)  # with what r lost to rounding
    grown = ((scale - 1.0) + scale * r) + scale * bent
    return math.copysign(grown / (grown + 2.0), x)


@inner
def turn(angle: float) -> tuple[float, float]:
    """Return cosine and sine of an angle of at most ANGLE_MAX, eq. (4)."""
    rounded = angle * TWO_OVER_PI + ROUNDER
    k, quarter = rounded - ROUNDER, np.float64(rounded).view(np.int64)
    r = ((angle - k * QUARTER_HIGH) - k * QUARTER_MIDDLE) - k * QUARTER_LOW
    z = r * r
    s = 1.5917988944318716e-10
    s = -2.5051129895962807e-08 + z * s
    s = 2.7557316093196066e-06 + z * s
    s = -0.00019841269836740527 + z * s
    s = 0.008333333333330936 + z * s
    s = -0.16666666666666666 + z * s
    c = -1.1382544623404291e-11
    c = 2.087614504910828e-09 + z * c
    c = -2.7557317265876615e-07 + z * c
    c = 2.48015872987544e-05 + z * c
    c = -0.0013888888888887389 + z * c
    c = 0.041666666666666664 + z * c
    sine, cosine = r + r * (z * s), 1.0 - (0.5 * z - z * (z * c))
    odd = (quarter & ONE_BIT) != 0
    upright, across = (sine, cosine) if odd else (cosine, sine)
    across = -across if (quarter & TWO_BIT) != 0 else across
    upright = -upright if ((quarter + ONE_BIT) & TWO_BIT) != 0 else upright
    return upright, across
