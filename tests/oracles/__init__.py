"""What the numeric core is compared with: slow, plain, and written from the equations alone.

Nothing here calls a cell, a rule or an optimizer of `models`. The cells' equations are written once
more, for automatic differentiation, and every gradient is found in three ways that share no code:

    central differences       (L(theta + e) - L(theta - e)) / 2 e
    backpropagation           reverse mode through all steps at once, by autograd
    naive RTRL                M <- J M + I, with every matrix explicit and a loop over each index

Shapes are those of one model, without a batch: params (q, n), state (k, n), inputs (m,). Flattened,
state[a * n + i] is part a of unit i, and theta[j * n + i] is unit i's j-th parameter.
"""
