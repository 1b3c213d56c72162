"""Goal: a readout computes its equations, and its derivatives are theirs.

Method: every readout of READOUTS is compared with its equations written once more for one row, by automatic
differentiation and central differences; rows alone and together; and a start that must not be dead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from models.protocols import Array, Blocks, Readout
from models.readouts import READOUTS
from tests.oracles.gradients import central_differences

ROWS = 6
# The sizes go through the different code paths of a BLAS.
SIZES = ((5, 3), (1, 1), (24, 2))
OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    *((name, {}) for name in READOUTS),
    ("feed_forward", {"n_hidden": 3, "direct": False}),
    ("feed_forward", {"n_hidden": 1}),
)


def linear(params: Any, features: Any) -> Any:
    return anp.dot(params[0][:, :-1], features) + params[0][:, -1]


def feed_forward(params: Any, features: Any) -> Any:
    hidden = anp.tanh(anp.dot(params[0][:, :-1], features) + params[0][:, -1])
    n_hidden = len(hidden)
    outputs = anp.dot(params[1][:, :n_hidden], hidden) + params[1][:, -1]
    direct = params[1][:, n_hidden:-1]
    return outputs + anp.dot(direct, features) if direct.shape[1] else outputs


ORACLES: dict[str, Callable[[Any, Any], Any]] = {"linear": linear, "feed_forward": feed_forward}


def oracle(name: str) -> Callable[[Any, Any], Any]:
    """Return the equations of a readout for one row."""
    if name not in ORACLES:
        raise LookupError(f"add the equations of the readout {name!r} to ORACLES, written from its source")
    return ORACLES[name]


def case(
    name: str, options: dict[str, Any], sizes: tuple[int, int] = SIZES[0]
) -> tuple[Readout, Blocks, Array]:
    """Return a readout with the params of ROWS models that have learned something, and features."""
    rng = np.random.default_rng(3)
    readout = READOUTS[name](n_features=sizes[0], n_outputs=sizes[1], **options)
    params = tuple(
        np.stack([block + 0.5 * rng.normal(size=block.shape) for _ in range(ROWS)])
        for block in readout.init_params(rng)
    )
    return readout, params, rng.normal(size=(ROWS, sizes[0]))


for_every_readout = pytest.mark.parametrize(("name", "options"), OPTIONS)


@for_every_readout
@pytest.mark.parametrize("sizes", SIZES)
def test_outputs_and_derivatives_are_those_of_the_equations(
    name: str, options: dict[str, Any], sizes: tuple[int, int]
) -> None:
    readout, params, features = case(name, options, sizes)
    compute = oracle(name)
    outputs, of_params, of_features = readout.forward(params, features)
    for row in range(ROWS):
        own, seen = tuple(block[row] for block in params), features[row]
        np.testing.assert_allclose(outputs[row], compute(own, seen), rtol=1e-12, atol=1e-13)
        expected = autograd.jacobian(lambda a, own=own: compute(own, a))(seen)
        np.testing.assert_allclose(of_features[row], expected, rtol=1e-11, atol=1e-13)
        for at in range(len(own)):

            def with_block(block: Any, at: int = at, own: Any = own, seen: Any = seen) -> Any:
                return compute((*own[:at], block, *own[at + 1 :]), seen)

            expected = autograd.jacobian(with_block)(own[at])
            np.testing.assert_allclose(of_params[at][row], expected, rtol=1e-11, atol=1e-13)


@for_every_readout
def test_the_derivatives_are_those_of_its_own_outputs(name: str, options: dict[str, Any]) -> None:
    readout, params, features = case(name, options)
    own, seen = tuple(block[0] for block in params), features[0]
    _, of_params, of_features = readout.forward(params, features)

    def outputs_with(block: Array, at: int) -> Array:
        blocks = tuple((block if index == at else own[index])[None] for index in range(len(own)))
        outputs: Array = readout.forward(blocks, seen[None])[0][0]
        return outputs

    for at, block in enumerate(own):
        differences = central_differences(lambda b, at=at: outputs_with(b, at), block)  # type: ignore[misc]
        np.testing.assert_allclose(of_params[at][0], differences, rtol=1e-7, atol=1e-9)
    differences = central_differences(lambda a: readout.forward(params, a[None].repeat(ROWS, 0))[0][0], seen)
    np.testing.assert_allclose(of_features[0], differences, rtol=1e-7, atol=1e-9)


@for_every_readout
def test_shapes_are_those_of_the_protocol(name: str, options: dict[str, Any]) -> None:
    readout, params, features = case(name, options)
    outputs, of_params, of_features = readout.forward(params, features)
    o = readout.n_outputs
    assert tuple(block.shape[1:] for block in params) == readout.shapes
    assert outputs.shape == (ROWS, o)
    assert of_features.shape == (ROWS, o, readout.n_features)
    assert [block.shape for block in of_params] == [(ROWS, o, *shape) for shape in readout.shapes]


@for_every_readout
@pytest.mark.parametrize("sizes", SIZES)
def test_a_row_depends_on_itself_alone_to_the_bit(
    name: str, options: dict[str, Any], sizes: tuple[int, int]
) -> None:
    readout, params, features = case(name, options, sizes)

    def results(rows: list[int]) -> list[Array]:
        outputs, of_params, of_features = readout.forward(
            tuple(block[rows] for block in params), features[rows]
        )
        return [outputs, of_features, *of_params]

    together = results(list(range(ROWS)))
    for rows in ([3], [5, 3, 3, 0], [5, 4, 3, 2, 1, 0]):
        for all_rows, some in zip(together, results(rows), strict=True):
            assert all_rows[rows].tobytes() == some.tobytes()


@for_every_readout
def test_forward_changes_neither_parameters_nor_features(name: str, options: dict[str, Any]) -> None:
    readout, params, features = case(name, options)
    for array in (*params, features):
        array.flags.writeable = False
    readout.forward(params, features)


@for_every_readout
def test_a_new_readout_forecasts_zero_and_its_start_is_not_dead(name: str, options: dict[str, Any]) -> None:
    readout, _, features = case(name, options)
    rng = np.random.default_rng(0)
    params = tuple(block[None] for block in readout.init_params(rng))
    first = readout.forward(params, features[:1])[0]
    assert first.tolist() == [[0.0] * readout.n_outputs]
    for seen in features:  # plain gradient steps towards 1
        outputs, of_params, _ = readout.forward(params, seen[None])
        error = outputs - 1.0
        params = tuple(
            block - 0.1 * (error[:, :, None, None] * slope).sum(axis=1)
            for block, slope in zip(params, of_params, strict=True)
        )
    _, of_params, of_features = readout.forward(params, features[:1])
    assert all((block != 0.0).any() for block in of_params)
    assert (of_features != 0.0).any()
    for block in params[:-1]:  # no two hidden units are alike
        assert len(np.unique(block[0], axis=0)) == block.shape[1]


@pytest.mark.parametrize("name", READOUTS)
@pytest.mark.parametrize("sizes", [(0, 1), (1, 0), (-1, 1)])
def test_sizes_under_one_are_refused(name: str, sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least one feature"):
        READOUTS[name](n_features=sizes[0], n_outputs=sizes[1])


def test_no_hidden_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="hidden unit"):
        READOUTS["feed_forward"](n_features=1, n_outputs=1, n_hidden=0)


def test_a_readout_learns_what_it_can() -> None:
    """A product of two features: the feed-forward one finds it, the linear one cannot."""
    rng = np.random.default_rng(0)
    left: dict[str, float] = {}
    for name in READOUTS:
        readout = READOUTS[name](n_features=2, n_outputs=1)
        params = tuple(block[None] for block in readout.init_params(np.random.default_rng(1)))
        losses = []
        for seen in rng.choice(np.array([-1.0, 1.0]), size=(2000, 1, 2)):
            outputs, of_params, _ = readout.forward(params, seen)
            error = outputs[0, 0] - seen[0, 0] * seen[0, 1]
            losses.append(error**2)
            params = tuple(b - 0.05 * error * slope[:, 0] for b, slope in zip(params, of_params, strict=True))
        left[name] = float(np.mean(losses[-200:]))
    assert left["feed_forward"] < 0.01
    assert left["linear"] > 0.8
