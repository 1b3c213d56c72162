"""Goal: a loss is what it is called, its gradient is the derivative, and a filter that follows it goes the same way.

Method: every loss of LOSSES is compared with its definition written once more for one row, by automatic
differentiation and by central differences; minimised over samples; and asked about numbers beyond reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from models.losses import LOSSES
from models.losses.bernoulli import VARIANCE_MIN
from models.optimizers.ekf import Ekf
from models.protocols import Array, Loss
from tests.oracles.gradients import central_differences

ROWS = 9
TARGETS = {"cross_entropy": 3}
DELTA = 1.345


def squared(o: Any, y: Any) -> Any:
    return sum((o[j] - y[j]) ** 2 / 2.0 for j in range(len(o)))


def huber(o: Any, y: Any) -> Any:
    total = 0.0
    for j in range(len(o)):
        e = abs(o[j] - y[j])
        total = total + (e * e / 2.0 if e <= DELTA else DELTA * (e - DELTA / 2.0))
    return total


def pinball(o: Any, y: Any) -> Any:
    total = 0.0
    for j in range(len(y)):
        for at, level in enumerate((0.1, 0.5, 0.9)):
            e = y[j] - o[3 * j + at]
            total = total + (level * e if e >= 0.0 else (level - 1.0) * e)
    return total


def cross_entropy(o: Any, y: Any) -> Any:
    return -anp.sum(y * anp.log(anp.exp(o) / anp.sum(anp.exp(o))))


def bernoulli(o: Any, y: Any) -> Any:
    p = 1.0 / (1.0 + anp.exp(-o))
    return -anp.sum(y * anp.log(p) + (1.0 - y) * anp.log(1.0 - p))


ORACLES: dict[str, Callable[[Any, Any], Any]] = {
    "squared": squared,
    "huber": huber,
    "pinball": pinball,
    "cross_entropy": cross_entropy,
    "bernoulli": bernoulli,
}


def oracle(name: str) -> Callable[[Any, Any], Any]:
    """Return the definition of a loss for one row."""
    if name not in ORACLES:
        raise LookupError(f"add the definition of the loss {name!r} to ORACLES, written from its source")
    return ORACLES[name]


def case(name: str, *, seed: int = 0, scale: float = 2.0, rows: int = ROWS) -> tuple[Loss, Array, Array]:
    """Return a loss with outputs (B, o) and targets (B, t) of its kind."""
    loss, rng = LOSSES[name](), np.random.default_rng(seed)
    n_targets = TARGETS.get(name, 2)
    outputs = scale * rng.normal(size=(rows, loss.n_outputs(n_targets)))
    target = rng.normal(size=(rows, n_targets))
    if name == "bernoulli":
        target = rng.random(size=(rows, n_targets))
        target[::2] = np.round(target[::2])
    elif name == "cross_entropy":
        target = np.exp(target) / np.exp(target).sum(axis=1, keepdims=True)
        target[::2] = np.eye(n_targets)[rng.integers(n_targets, size=len(target[::2]))]
    return loss, outputs, target


for_every_loss = pytest.mark.parametrize("name", LOSSES)


@for_every_loss
def test_the_value_and_the_gradient_are_those_of_the_definition(name: str) -> None:
    loss, outputs, target = case(name)
    define = oracle(name)
    value, gradient = loss.value(outputs, target), loss.gradient(outputs, target)
    assert value.shape == (ROWS,)
    assert gradient.shape == outputs.shape
    assert loss.valid(target).all()
    for row in range(ROWS):
        o, y = outputs[row], target[row]
        np.testing.assert_allclose(value[row], define(o, y), rtol=1e-12)

        def of_outputs(o: Any, y: Any = y) -> Any:
            return define(o, y)

        def own_value(o: Array, y: Array = y) -> Array:
            value: Array = loss.value(o[None], y[None])[0]
            return value

        expected = autograd.grad(of_outputs)(o)
        np.testing.assert_allclose(gradient[row], expected, rtol=1e-10, atol=1e-13)
        differences = central_differences(own_value, o)
        np.testing.assert_allclose(gradient[row], differences, rtol=1e-7, atol=1e-8)


@for_every_loss
def test_a_filter_is_shown_the_same_gradient_and_the_derivative_of_what_is_published(name: str) -> None:
    loss, outputs, target = case(name, scale=1.0)
    seen = loss.innovation(outputs, target)
    assert seen.error.shape == seen.noise.shape == outputs.shape
    assert seen.slope.shape == (*outputs.shape, outputs.shape[1])
    assert (seen.noise > 0.0).all()
    for row, o in enumerate(outputs):
        differences = central_differences(lambda o: loss.predict(o[None])[0], o)
        np.testing.assert_allclose(seen.slope[row], differences, rtol=1e-7, atol=1e-9)
    for scale in (1.0, 10.0, 1000.0):  # and where probabilities are 0 and 1, too
        loss, outputs, target = case(name, scale=scale)
        seen = loss.innovation(outputs, target)
        pull = np.matmul(seen.slope.swapaxes(1, 2), (seen.error / seen.noise)[:, :, None])[:, :, 0]
        np.testing.assert_allclose(pull, -loss.gradient(outputs, target), rtol=1e-12, atol=1e-12)


@for_every_loss
def test_a_row_depends_on_itself_alone_to_the_bit(name: str) -> None:
    loss, _, _ = case(name)
    rng = np.random.default_rng(1)
    wide = 11  # more classes than a pairwise sum takes in one go
    outputs = rng.normal(size=(ROWS, loss.n_outputs(wide)))
    target = rng.random(size=(ROWS, wide))
    target /= target.sum(axis=1, keepdims=True)

    def results(rows: list[int]) -> list[Array]:
        o, y = outputs[rows], target[rows]
        seen = loss.innovation(o, y)
        figures = [loss.value(o, y), loss.gradient(o, y), loss.predict(o)]
        return [*figures, seen.error, seen.slope, seen.noise]

    together = results(list(range(ROWS)))
    for rows in ([4], [7, 4, 4, 0], list(range(8, -1, -1))):
        for all_rows, some in zip(together, results(rows), strict=True):
            assert all_rows[rows].tobytes() == some.tobytes()


@for_every_loss
def test_nothing_that_is_finite_overflows(name: str) -> None:
    loss, outputs, target = case(name, rows=4)
    if name not in {"bernoulli", "cross_entropy"}:
        target = np.array([[1e300, -1e300], [-1e300, 1e300], [0.0, 1e-300], [1e150, 3.0]])
    for size in (1e-300, 40.0, 800.0, 1e17, 1e154, 1e300):
        for signs in (1.0, -1.0, np.where(np.arange(outputs.shape[1]) % 2 == 0, 1.0, -1.0)):
            far = np.full_like(outputs, size) * signs
            seen = loss.innovation(far, target)
            figures = (
                loss.value(far, target),
                loss.gradient(far, target),
                loss.predict(far),
                seen.error,
                seen.slope,
                seen.noise,
            )
            assert all(np.isfinite(figure).all() for figure in figures)
            assert (figures[0] >= 0.0).all()


def test_the_widest_huber_loss_does_not_overflow() -> None:
    value = LOSSES["huber"](delta=1e150).value(np.array([[1e300, -1e300]]), np.array([[-1e300, 0.0]]))
    np.testing.assert_allclose(value, 1e300, rtol=1e-12)


@for_every_loss
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_target_that_is_not_finite_is_not_valid_and_spoils_no_other_row(name: str, bad: float) -> None:
    loss, _, target = case(name)
    target[2, 1] = bad
    assert loss.valid(target).tolist() == [row != 2 for row in range(ROWS)]


@pytest.mark.parametrize(
    ("name", "target", "valid"),
    [
        ("bernoulli", [2.0, 0.5], False),
        ("bernoulli", [-1e-9, 0.5], False),
        ("bernoulli", [0.0, 1.0], True),
        ("cross_entropy", [0.5, 0.6, 0.0], False),
        ("cross_entropy", [1.5, -0.5, 0.0], False),
        ("cross_entropy", [0.0, 0.0, 0.0], False),
        ("cross_entropy", [0.1, 0.2, np.float64(np.float32(0.7))], True),
        ("cross_entropy", [1e308, 1e308, 1e308], False),
        ("squared", [1e300, -1e300], True),
        ("pinball", [1e300, -1e300], True),
        ("huber", [1e300, -1e300], True),
    ],
)
def test_a_target_of_another_kind_is_not_valid(name: str, target: list[float], valid: bool) -> None:
    assert LOSSES[name]().valid(np.array([target])).tolist() == [valid]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("huber", {"delta": 0.0}, "delta"),
        ("huber", {"delta": np.nan}, "delta"),
        ("huber", {"delta": np.inf}, "delta"),
        ("pinball", {"levels": ()}, "levels"),
        ("pinball", {"levels": (0.5, 1.0)}, "levels"),
        ("pinball", {"levels": (0.0, 0.5)}, "levels"),
        ("pinball", {"levels": (np.nan,)}, "levels"),
        ("pinball", {"levels": (0.9, 0.1)}, "increasing"),
        ("pinball", {"levels": (0.5, 0.5)}, "increasing"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LOSSES[name](**options)


@for_every_loss
def test_so_many_outputs_are_needed_and_a_target_of_nothing_is_refused(name: str) -> None:
    loss = LOSSES[name]()
    assert loss.n_outputs(4) == (12 if name == "pinball" else 4)
    with pytest.raises(ValueError, match="n_targets"):
        loss.n_outputs(1 if name == "cross_entropy" else 0)


def test_the_subgradient_at_the_kink_is_zero_and_a_filter_stays() -> None:
    loss, at = LOSSES["pinball"](), np.array([[1.0, 1.0, 1.0]])
    assert loss.gradient(at, np.ones((1, 1))).tolist() == [[0.0, 0.0, 0.0]]
    assert loss.innovation(at, np.ones((1, 1))).error.tolist() == [[0.0, 0.0, 0.0]]


def test_outputs_of_quantiles_are_target_major() -> None:
    gradient = LOSSES["pinball"]().gradient(np.zeros((1, 6)), np.array([[1.0, -1.0]]))
    np.testing.assert_allclose(gradient, [[-0.1, -0.5, -0.9, 0.9, 0.5, 0.1]], rtol=1e-15)


@pytest.mark.parametrize("size", [30.0, 500.0])
def test_certainty_that_is_right_costs_what_it_should(size: float) -> None:
    bernoulli_loss, classes = LOSSES["bernoulli"](), LOSSES["cross_entropy"]()
    expected = np.exp(-size)
    sure = np.array([[size], [-size]])
    np.testing.assert_allclose(bernoulli_loss.value(sure, np.array([[1.0], [0.0]])), expected, rtol=1e-12)
    wrong = bernoulli_loss.value(sure, np.array([[0.0], [1.0]]))
    np.testing.assert_allclose(wrong, size, rtol=1e-12)
    values = classes.value(np.array([[size, 0.0]]), np.array([[0.0, 1.0]]))
    np.testing.assert_allclose(values, size, rtol=1e-12)


def test_two_classes_cost_as_much_as_one_event() -> None:
    rng = np.random.default_rng(0)
    logits, happened = 3.0 * rng.normal(size=(20, 1)), rng.random(size=(20, 1))
    one = LOSSES["bernoulli"]().value(logits, happened)
    both = np.concatenate((logits, np.zeros_like(logits)), axis=1)
    two = LOSSES["cross_entropy"]().value(both, np.concatenate((happened, 1.0 - happened), axis=1))
    np.testing.assert_allclose(one, two, rtol=1e-12)


@pytest.mark.parametrize("name", ["bernoulli", "cross_entropy"])
def test_a_filter_sees_the_fisher_information(name: str) -> None:
    loss, outputs, target = case(name, scale=0.5)
    seen = loss.innovation(outputs, target)
    assert (seen.noise > 10 * VARIANCE_MIN).all()
    information = np.matmul(seen.slope.swapaxes(1, 2), seen.slope / seen.noise[:, :, None])
    for row, o in enumerate(outputs):  # for a loss of the exponential family it is the loss's Hessian

        def gradient(o: Array, y: Array = target[row]) -> Array:
            of_outputs: Array = loss.gradient(o[None], y[None])[0]
            return of_outputs

        hessian = central_differences(gradient, o)
        np.testing.assert_allclose(information[row], hessian, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("level", [0.05, 0.5, 0.9])
def test_a_filter_that_gates_errors_finds_the_quantile(level: float) -> None:
    """Were the error the plain push, a gate would cut the rarer and larger one, and 0.9 become 0.7."""
    rows, steps = 20, 1500
    loss, ekf, rng = LOSSES["pinball"](levels=(level,)), Ekf(prior_variance=1.0), np.random.default_rng(0)
    state = {
        name: np.repeat(np.asarray(row)[None], rows, 0) for name, row in ekf.init_state(((1, 1),)).items()
    }
    outputs, covered = np.zeros((rows, 1)), []
    for _ in range(steps):
        target = rng.normal(size=(rows, 1))
        covered.append((target < outputs).mean())
        seen = loss.innovation(outputs, target)
        (change,), _ = ekf.update(
            state, (seen.slope[:, :, None],), seen.error, seen.noise, np.ones(rows, dtype=np.bool_)
        )
        outputs = outputs + change[:, 0]
    assert np.mean(covered[-1000:]) == pytest.approx(level, abs=0.02)


def test_a_sure_event_that_fails_to_come_is_learned_by_a_filter() -> None:
    loss, ekf = LOSSES["bernoulli"](), Ekf(adaptive=False, gate=float("inf"), prior_variance=1.0)
    state = {name: np.asarray(row)[None] for name, row in ekf.init_state(((1, 1),)).items()}
    outputs = np.array([[-40.0]])  # p = 4e-18: the slope of p is nothing
    for _ in range(50):
        seen = loss.innovation(outputs, np.ones((1, 1)))
        (change,), _ = ekf.update(state, (seen.slope[:, :, None],), seen.error, seen.noise, np.array([True]))
        outputs = outputs + change[:, 0]
    assert loss.predict(outputs)[0, 0] > 0.3


MINIMA: dict[str, Callable[[Array], Any]] = {
    "squared": lambda y: [y.mean()],
    "pinball": lambda y: np.quantile(y, (0.1, 0.5, 0.9)),
    "bernoulli": lambda y: [np.log(y.mean() / (1.0 - y.mean()))],
}


@pytest.mark.parametrize("name", MINIMA)
def test_the_minimum_is_what_is_to_be_forecast(name: str) -> None:
    loss, rng = LOSSES[name](), np.random.default_rng(0)
    target = rng.gamma(2.0, size=(999, 1))
    if name == "bernoulli":
        target = (target > 2.0).astype(np.float64)
    best = np.asarray(MINIMA[name](target[:, 0]))

    def mean_loss(outputs: Array) -> float:
        return float(loss.value(np.repeat(outputs[None], len(target), axis=0), target).mean())

    for index in range(len(best)):
        for step in (-0.05, 0.05):
            moved = best.copy()
            moved[index] += step
            assert mean_loss(moved) > mean_loss(best)
