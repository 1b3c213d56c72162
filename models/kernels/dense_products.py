"""A vector times a matrix, compiled: what most of an event of the dense cells is."""

from __future__ import annotations

from models.kernels.jit import inner
from models.protocols import SingleOrDouble


@inner
def add_weighed(weights: SingleOrDouble, rows: SingleOrDouble, summed: SingleOrDouble) -> None:
    """Add sum over s of weights[s] rows[s] to `summed`, (n,); all three are of one precision.

    Four rows at a time, so that the sum is read and written a fourth as often; first those that are left over.
    """
    count, n = len(weights), len(summed)
    over = count % 4
    if over == 1:
        one, of_one = weights[0], rows[0]
        for i in range(n):
            summed[i] += one * of_one[i]
    elif over == 2:
        one, two, of_one, of_two = weights[0], weights[1], rows[0], rows[1]
        for i in range(n):
            summed[i] += one * of_one[i] + two * of_two[i]
    elif over == 3:
        one, two, three = weights[0], weights[1], weights[2]
        of_one, of_two, of_three = rows[0], rows[1], rows[2]
        for i in range(n):
            summed[i] += (one * of_one[i] + two * of_two[i]) + three * of_three[i]
    for s in range(over, count, 4):
        one, two, three, four = weights[s], weights[s + 1], weights[s + 2], weights[s + 3]
        of_one, of_two, of_three, of_four = rows[s], rows[s + 1], rows[s + 2], rows[s + 3]
        for i in range(n):
            summed[i] += (one * of_one[i] + two * of_two[i]) + (three * of_three[i] + four * of_four[i])


@inner
def add_weighed_part(
    weights: SingleOrDouble, rows: SingleOrDouble, first: int, summed: SingleOrDouble
) -> None:
    """Add sum over s of weights[s] rows[s, first:first + n] to `summed`, (n,); eight at a time."""
    count, last = len(weights), first + len(summed)
    eights = count - count % 8
    for s in range(0, eights, 8):
        a, b, c, d = weights[s], weights[s + 1], weights[s + 2], weights[s + 3]
        e, f, g, h = weights[s + 4], weights[s + 5], weights[s + 6], weights[s + 7]
        of_a, of_b, of_c, of_d = (
            rows[s, first:last],
            rows[s + 1, first:last],
            rows[s + 2, first:last],
            rows[s + 3, first:last],
        )
        of_e, of_f, of_g, of_h = (
            rows[s + 4, first:last],
            rows[s + 5, first:last],
            rows[s + 6, first:last],
            rows[s + 7, first:last],
        )
        for i in range(len(summed)):
            summed[i] += ((a * of_a[i] + b * of_b[i]) + (c * of_c[i] + d * of_d[i])) + (
                (e * of_e[i] + f * of_f[i]) + (g * of_g[i] + h * of_h[i])
            )
    for s in range(eights, count):
        weight, row = weights[s], rows[s, first:last]
        for i in range(len(summed)):
            summed[i] += weight * row[i]
