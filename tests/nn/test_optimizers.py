"""Optimizers against the formulas of their papers in float64, against torch, and what they have in common."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import optimizer
from blockfuse.array import np
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.nn.optimizers import optimizer as base
from blockfuse.nn.optimizers.counts import UpdateCounts

RNG = numpy.random.default_rng(7)
WEIGHT = RNG.normal(size=(3, 4))
GRADS = RNG.normal(size=(5, 3, 4))
GRADS[:, 1, 2] = 0  # an element that nothing depends on
Array = numpy.ndarray


def trained(opt: optimizer.Optimizer, weight: Array, grads: Any, dtype: str = "float64") -> Array:
    """The weight after a step with each of the gradients."""
    value, step = np.array(weight, dtype=dtype), optimizer.get_updater(opt)
    for grad in grads:
        step(0, np.array(grad, dtype=dtype), value)
    return value.asnumpy()


# -- the papers, a generator each: takes gradients, yields new weights -----------------------------------------


def sgd(w: Array, lr: float, momentum: float = 0.0) -> Any:
    v = numpy.zeros_like(w)
    while True:
        g = yield w
        v = momentum * v - lr * g
        w = w + v


def nag(w: Array, lr: float, momentum: float = 0.9) -> Any:
    """Sutskever's form: the gradient is that at ``w``, the point ahead; the weight itself is ``theta``."""
    v = numpy.zeros_like(w)
    theta = w
    while True:
        g = yield theta + momentum * v
        v = momentum * v - lr * g
        theta = theta + v


def signum(w: Array, lr: float, momentum: float = 0.9, wd_lh: float = 0.0) -> Any:
    m = numpy.zeros_like(w)
    while True:
        g = yield w
        m = momentum * m + (1 - momentum) * g
        w = w - lr * (numpy.sign(m) + wd_lh * w)


def lars(w: Array, lr: float, momentum: float = 0.0, eta: float = 0.001, wd: float = 0.0) -> Any:
    v, size = numpy.zeros_like(w), numpy.linalg.norm
    while True:
        g = yield w
        local = eta * size(w) / (size(g) + wd * size(w)) if w.ndim > 1 else 1
        v = momentum * v + lr * local * (g + wd * w)
        w = w - v


def adagrad(w: Array, lr: float, epsilon: float = 1e-6) -> Any:
    total = numpy.zeros_like(w)
    while True:
        g = yield w
        total = total + g * g
        w = w - lr * g / (numpy.sqrt(total) + epsilon)


def rmsprop(w: Array, lr: float, rho: float = 0.9, epsilon: float = 1e-8) -> Any:
    square = numpy.zeros_like(w)
    while True:
        g = yield w
        square = rho * square + (1 - rho) * g**2
        w = w - lr * g / (numpy.sqrt(square) + epsilon)


def graves(w: Array, lr: float, rho: float = 0.9, momentum: float = 0.9, epsilon: float = 1e-8) -> Any:
    n, g_, delta = numpy.zeros_like(w), numpy.zeros_like(w), numpy.zeros_like(w)
    while True:
        e = yield w
        n = rho * n + (1 - rho) * e**2
        g_ = rho * g_ + (1 - rho) * e
        delta = momentum * delta - lr * e / numpy.sqrt(n - g_**2 + epsilon)
        w = w + delta


def adadelta(w: Array, lr: float = 1.0, rho: float = 0.9, epsilon: float = 1e-6) -> Any:
    gg, xx = numpy.zeros_like(w), numpy.zeros_like(w)
    while True:
        g = yield w
        gg = rho * gg + (1 - rho) * g**2
        dx = -numpy.sqrt(xx + epsilon) / numpy.sqrt(gg + epsilon) * g
        xx = rho * xx + (1 - rho) * dx**2
        w = w + lr * dx


def adam(
    w: Array, lr: float, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, wd: float = 0
) -> Any:
    m, v, t = numpy.zeros_like(w), numpy.zeros_like(w), 0
    while True:
        g = yield w
        t += 1
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        w = w - lr * (m_hat / (numpy.sqrt(v_hat) + epsilon) + wd * w)


def adamw_without_correction(w: Array, lr: float) -> Any:
    m, v = numpy.zeros_like(w), numpy.zeros_like(w)
    while True:
        g = yield w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - lr * m / (numpy.sqrt(v) + 1e-6)


def adamax(w: Array, lr: float, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> Any:
    m, u, t = numpy.zeros_like(w), numpy.zeros_like(w), 0
    while True:
        g = yield w
        t += 1
        m, u = beta1 * m + (1 - beta1) * g, numpy.maximum(beta2 * u, abs(g))
        w = w - lr / (1 - beta1**t) * m / (u + epsilon)


def nadam(w: Array, lr: float, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> Any:
    m, n, t, product = numpy.zeros_like(w), numpy.zeros_like(w), 0, 1.0
    while True:
        g = yield w
        t += 1
        mu, mu_next = (beta1 * (1 - 0.5 * 0.96 ** (step * 0.004)) for step in (t, t + 1))
        product *= mu
        m, n = beta1 * m + (1 - beta1) * g, beta2 * n + (1 - beta2) * g**2
        m_bar = (1 - mu) * g / (1 - product) + mu_next * m / (1 - product * mu_next)
        w = w - lr * m_bar / (numpy.sqrt(n / (1 - beta2**t)) + epsilon)


def adabelief(w: Array, lr: float, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-6) -> Any:
    m, s, t = numpy.zeros_like(w), numpy.zeros_like(w), 0
    while True:
        g = yield w
        t += 1
        m = beta1 * m + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * (g - m) ** 2 + epsilon
        w = w - lr * (m / (1 - beta1**t)) / (numpy.sqrt(s / (1 - beta2**t)) + epsilon)


def lamb(w: Array, lr: float, wd: float = 0.0, bound: float = numpy.inf, epsilon: float = 1e-6) -> Any:
    m, v, t = numpy.zeros_like(w), numpy.zeros_like(w), 0
    while True:
        g = yield w
        t += 1
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        r = m / (1 - 0.9**t) / (numpy.sqrt(v / (1 - 0.999**t)) + epsilon) + wd * w
        w = w - lr * min(numpy.linalg.norm(w), bound) / numpy.linalg.norm(r) * r


def ftrl(w: Array, lr: float, lamda1: float = 0.01, beta: float = 1.0, wd: float = 0.0) -> Any:
    z, n = numpy.zeros_like(w), numpy.zeros_like(w)
    while True:
        g = yield w
        sigma = (numpy.sqrt(n + g**2) - numpy.sqrt(n)) / lr
        z, n = z + g - sigma * w, n + g**2
        solved = -(z - numpy.sign(z) * lamda1) / ((beta + numpy.sqrt(n)) / lr + wd)
        w = numpy.where(abs(z) <= lamda1, 0, solved)


def ftml(w: Array, lr: float, beta1: float = 0.6, beta2: float = 0.999, epsilon: float = 1e-8) -> Any:
    v, d, z, t = numpy.zeros_like(w), numpy.zeros_like(w), numpy.zeros_like(w), 0
    while True:
        g = yield w
        t += 1
        v = beta2 * v + (1 - beta2) * g**2
        d_new = (1 - beta1**t) / lr * (numpy.sqrt(v / (1 - beta2**t)) + epsilon)
        sigma = d_new - beta1 * d
        z, d = beta1 * z + (1 - beta1) * g - sigma * w, d_new
        w = -z / d


# optimizer, its options, the paper, its arguments
PAPERS: list[tuple[str, dict[str, Any], Callable[..., Any], dict[str, Any]]] = [
    ("sgd", {}, sgd, {"lr": 0.1}),
    ("sgd", {"learning_rate": 0.2, "momentum": 0.9}, sgd, {"lr": 0.2, "momentum": 0.9}),
    ("nag", {}, nag, {"lr": 0.1}),
    ("signum", {}, signum, {"lr": 0.01}),
    ("signum", {"momentum": 0.0, "wd_lh": 0.1}, signum, {"lr": 0.01, "momentum": 0.0, "wd_lh": 0.1}),
    ("lars", {"epsilon": 0}, lars, {"lr": 0.1}),
    (
        "lars",
        {"epsilon": 0, "momentum": 0.9, "eta": 0.1, "wd": 0.01},
        lars,
        {"lr": 0.1, "momentum": 0.9, "eta": 0.1, "wd": 0.01},
    ),
    ("adagrad", {}, adagrad, {"lr": 0.01}),
    ("adagrad", {"eps": 1e-3}, adagrad, {"lr": 0.01, "epsilon": 1e-3}),
    ("rmsprop", {}, rmsprop, {"lr": 0.001}),
    ("rmsprop", {"learning_rate": 0.01, "gamma1": 0.8}, rmsprop, {"lr": 0.01, "rho": 0.8}),
    ("rmsprop", {"centered": True}, graves, {"lr": 0.001}),
    ("adadelta", {}, adadelta, {}),
    ("adam", {}, adam, {"lr": 0.001}),
    ("adam", {"beta1": 0.5, "beta2": 0.9, "epsilon": 0.1}, adam, {"lr": 0.001, "beta1": 0.5, "beta2": 0.9, "epsilon": 0.1}),
    ("adamw", {}, adam, {"lr": 0.001, "epsilon": 1e-6}),
    ("adamw", {"wd": 0.1}, adam, {"lr": 0.001, "epsilon": 1e-6, "wd": 0.1}),
    ("adamw", {"correct_bias": False}, adamw_without_correction, {"lr": 0.001}),
    ("adamax", {}, adamax, {"lr": 0.002}),
    ("nadam", {}, nadam, {"lr": 0.001}),
    ("adabelief", {}, adabelief, {"lr": 0.001}),
    ("lamb", {}, lamb, {"lr": 0.001}),
    ("lamb", {"wd": 0.1, "upper_bound": 2.0}, lamb, {"lr": 0.001, "wd": 0.1, "bound": 2.0}),
    ("ftrl", {}, ftrl, {"lr": 0.1}),
    ("ftrl", {"wd": 0.1, "lamda1": 0.5}, ftrl, {"lr": 0.1, "wd": 0.1, "lamda1": 0.5}),
    ("ftml", {}, ftml, {"lr": 0.0025}),
]  # fmt: skip
IDS = [f"{name}-{n}" for n, (name, *_) in enumerate(PAPERS)]


def by_paper(formula: Callable[..., Any], settings: dict[str, Any], weight: Array, grads: Any) -> Array:
    steps = formula(weight, **settings)
    next(steps)
    new = weight
    for grad in grads:
        new = steps.send(grad)
    return new


@pytest.mark.parametrize(("name", "options", "formula", "settings"), PAPERS, ids=IDS)
def test_five_steps_are_those_of_the_paper(
    name: str, options: dict[str, Any], formula: Callable[..., Any], settings: dict[str, Any]
) -> None:
    wanted = by_paper(formula, settings, WEIGHT, GRADS)
    found = trained(optimizer.create(name, **options), WEIGHT, GRADS)
    numpy.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-13)
    narrow = trained(optimizer.create(name, **options), WEIGHT, GRADS, "float32")
    assert narrow.dtype == "float32"
    numpy.testing.assert_allclose(narrow, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "options", "formula", "settings"), PAPERS, ids=IDS)
def test_vectors_and_numbers_and_empty_weights(
    name: str, options: dict[str, Any], formula: Callable[..., Any], settings: dict[str, Any]
) -> None:
    for part in ((0,), (0, 0)):
        weight, grads = numpy.array(WEIGHT[part]), [numpy.array(g[part]) for g in GRADS]
        wanted = by_paper(formula, settings, weight, grads)
        found = trained(optimizer.create(name, **options), weight, grads)
        numpy.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-13)
    assert trained(optimizer.create(name, **options), WEIGHT[:0], GRADS[:, :0]).shape == (0, 4)


@pytest.mark.parametrize("name", sorted(base.REGISTRY))
def test_gradients_of_zero_leave_finite_weights(name: str) -> None:
    for weight in (WEIGHT, numpy.zeros((2, 3))):
        found = trained(optimizer.create(name), weight, [numpy.zeros_like(weight)] * 3, "float32")
        assert numpy.isfinite(found).all()


@pytest.mark.parametrize("name", sorted(base.REGISTRY))
def test_steps_write_into_the_memory_that_is_there(name: str) -> None:
    step = optimizer.get_updater(optimizer.create(name, wd=0.1))
    weight, grad = np.array(WEIGHT, dtype="float32"), np.array(GRADS[0])
    before = weight._data
    step(0, grad, weight)
    memory = [state._data for state in step.states[0]]
    step(0, grad, weight)
    assert weight._data is before
    assert all(state._data is old for state, old in zip(step.states[0], memory, strict=True))
    numpy.testing.assert_array_equal(grad.asnumpy(), GRADS[0])


@pytest.mark.spread(7)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adam", {}),
        ("nadam", {}),
        ("lamb", {"wd": 0.1}),
        ("ftrl", {}),
        ("rmsprop", {"centered": True}),
        ("lars", {}),
    ],
)
def test_a_compiled_step_is_the_eager_one_for_every_count(name: str, options: dict[str, Any]) -> None:
    opt = optimizer.create(name, **options)
    schedule = S.CosineScheduler(20, base_lr=0.1, warmup_steps=2)

    def step(weight: Any, grad: Any, states: Any, count: Any) -> Any:
        hyper = optimizer.Hyper(schedule(count), opt.wd, count.astype("float64"))
        return opt.step(weight, grad, states, hyper)

    compiled = blockfuse.hybridize(step)
    weight = np.array(WEIGHT, dtype="float32")
    states = opt.states(weight)
    for n, slope in enumerate(GRADS, 1):
        arguments = weight, np.array(slope, dtype="float32"), states, np.array(n, dtype="int64")
        wanted, _ = step(*arguments)
        weight, states = compiled(*arguments)
        numpy.testing.assert_allclose(weight.asnumpy(), wanted.asnumpy(), rtol=1e-5, atol=1e-6)
    assert ": compiled" in compiled.explain()
    assert "1 recordings" in compiled.explain()


# -- torch -----------------------------------------------------------------------------------------------------

# optimizer, its options, torch's, its options
TORCHS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("sgd", {"learning_rate": 0.1, "wd": 0.01}, "SGD", {"lr": 0.1, "weight_decay": 0.01}),
    ("sgd", {"learning_rate": 0.1, "momentum": 0.9}, "SGD", {"lr": 0.1, "momentum": 0.9}),
    ("nag", {"wd": 0.01}, "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("adam", {}, "Adam", {}),
    ("adam", {"wd": 0.1, "beta1": 0.8}, "Adam", {"weight_decay": 0.1, "betas": (0.8, 0.999)}),
    ("adamw", {"wd": 0.1, "epsilon": 1e-8}, "AdamW", {"weight_decay": 0.1}),
    ("adagrad", {}, "Adagrad", {"eps": 1e-6}),
    ("rmsprop", {"wd": 0.1}, "RMSprop", {"lr": 0.001, "alpha": 0.9, "weight_decay": 0.1}),
    ("adadelta", {}, "Adadelta", {}),
    ("adamax", {"epsilon": 0}, "Adamax", {"eps": 0}),
    ("nadam", {}, "NAdam", {"lr": 0.001}),
]


@pytest.mark.parametrize(
    ("name", "options", "theirs", "settings"), TORCHS, ids=[f"{t[0]}-{n}" for n, t in enumerate(TORCHS)]
)
def test_five_steps_are_those_of_torch(
    name: str, options: dict[str, Any], theirs: str, settings: dict[str, Any]
) -> None:
    torch = pytest.importorskip("torch")
    grads = GRADS + (GRADS == 0)  # Adamax without epsilon has no answer for zeros
    weight = torch.tensor(WEIGHT, requires_grad=True)
    opt = getattr(torch.optim, theirs)([weight], **settings)
    for grad in grads:
        weight.grad = torch.tensor(grad)
        opt.step()
    found = trained(optimizer.create(name, **options), WEIGHT, grads)
    rtol = 1e-6 if name == "nadam" else 1e-11  # torch keeps a product in float32
    numpy.testing.assert_allclose(found, weight.detach().numpy(), rtol=rtol)


# -- what they have in common ----------------------------------------------------------------------------------


def test_gradients_are_rescaled_then_clipped_then_decay_is_added() -> None:
    opt = optimizer.SGD(learning_rate=1.0, rescale_grad=0.5, clip_gradient=0.2, wd=0.1)
    wanted = WEIGHT - (numpy.clip(GRADS[0] / 2, -0.2, 0.2) + 0.1 * WEIGHT)
    numpy.testing.assert_allclose(trained(opt, WEIGHT, GRADS[:1]), wanted, rtol=1e-14)
    opt.rescale_grad = 2.0
    assert opt.rescale_grad == 2


def test_multipliers_of_parameters_are_read_live() -> None:
    parameter = SimpleNamespace(lr_mult=0.5, wd_mult=2.0)
    opt = optimizer.SGD(learning_rate=1.0, wd=0.1, param_dict={0: parameter})
    weight = np.array(WEIGHT, dtype="float64")
    opt.update(0, weight, np.array(GRADS[0], dtype="float64"), ())
    wanted = WEIGHT - 0.5 * (GRADS[0] + 0.2 * WEIGHT)
    numpy.testing.assert_allclose(weight.asnumpy(), wanted, rtol=1e-14)
    parameter.lr_mult = 0
    opt.update(0, weight, np.array(GRADS[0], dtype="float64"), ())
    numpy.testing.assert_allclose(weight.asnumpy(), wanted, rtol=1e-14)


def test_a_wrong_gradient_changes_nothing() -> None:
    opt = optimizer.SGD(momentum=0.9)
    weights = [np.ones((2,)), np.ones((3,))]
    states = [opt.create_state(i, weight) for i, weight in enumerate(weights)]
    with pytest.raises(ShapeError, match=r"shape \(4,\) cannot change a weight of \(3,\)"):
        opt.update([0, 1], weights, [np.ones((2,)), np.ones((4,))], states)
    assert all((weight == 1).all() for weight in weights)
    assert opt.num_update == 0


def test_help_says_the_learning_rate_that_is_the_default() -> None:
    for kind in base.REGISTRY.values():
        if kind.__module__.startswith("blockfuse."):
            assert f"learning_rate: {kind.default_learning_rate:g} by default." in (kind.__doc__ or "")


def test_learning_rate_is_set_and_scheduled() -> None:
    opt = optimizer.SGD(learning_rate=0.5)
    assert opt.learning_rate == 0.5
    opt.set_learning_rate(0.1)
    assert opt.learning_rate == 0.1
    scheduled = optimizer.SGD(lr_scheduler=lambda count: 1.0 / count)
    weight = np.zeros((1,), dtype="float64")
    for _ in range(3):
        scheduled.update(0, weight, np.ones((1,)), ())
    assert float(weight[0]) == pytest.approx(-(1 + 1 / 2 + 1 / 3))
    assert scheduled.learning_rate == pytest.approx(1 / 3)
    with pytest.raises(UsageError, match="lr_scheduler"):
        scheduled.set_learning_rate(0.1)


def test_a_given_learning_rate_is_the_base_of_the_schedule() -> None:
    schedule = blockfuse.lr_scheduler.CosineScheduler(max_update=10, base_lr=0.3)
    assert optimizer.Adam(lr_scheduler=schedule).learning_rate == pytest.approx(0.3)
    with pytest.warns(UserWarning, match="takes the place of base_lr=0.3"):
        assert optimizer.Adam(learning_rate=0.5, lr_scheduler=schedule).learning_rate == pytest.approx(0.5)


@pytest.mark.parametrize("name", sorted(base.REGISTRY))
@pytest.mark.parametrize("multi_precision", [False, True])
def test_halves_are_stepped_in_float32(name: str, multi_precision: bool) -> None:
    half = WEIGHT.astype("float16")
    grads = GRADS.astype("float16")
    found = trained(optimizer.create(name, multi_precision=multi_precision), half, grads, "float16")
    assert found.dtype == "float16"
    wanted = trained(optimizer.create(name), half.astype("float32"), grads, "float32")
    numpy.testing.assert_allclose(found, wanted, rtol=2e-3, atol=2e-3)


def test_copies_in_float32_keep_what_halves_cannot() -> None:
    grads = [numpy.full((1,), 1e-4)] * 100
    plain = trained(optimizer.SGD(learning_rate=1.0), numpy.ones(1), grads, "float16")
    exact = trained(optimizer.SGD(learning_rate=1.0, multi_precision=True), numpy.ones(1), grads, "float16")
    assert plain[0] == 1
    assert exact[0] == pytest.approx(0.99, abs=1e-3)


def test_counts_are_shared_by_what_is_updated_together() -> None:
    counts = UpdateCounts()

    def advance(*indices: int) -> list[int]:
        counts.advance(counts.following(indices))
        return [int(counts[i]) for i in range(3)]

    assert advance(0, 1, 2) == [1, 1, 1]
    assert counts[0] is counts[1] is counts[2]
    memory = counts[0]
    assert advance(0, 1, 2) == [2, 2, 2]
    assert counts[0] is memory
    assert advance(1) == [2, 3, 2]
    assert advance(0, 1, 2) == [3, 4, 3]
    assert counts[0] is counts[2] is memory
    assert int(counts.most()) == 4
    assert int(counts.most(counts.following([0, 1, 2]))) == 5
    assert int(counts.most()) == 4, "nothing is counted by looking ahead"
    counts.restore({0: 7, 1: 8, 2: 7})
    assert counts[0] is memory
    assert [int(counts[i]) for i in range(3)] == [7, 8, 7]
    counts.restore({0: 1, 1: 1, 2: 2})
    assert [int(counts[i]) for i in range(3)] == [1, 1, 2]
    assert counts[0] is counts[1] is not counts[2]


def test_weights_count_their_own_updates() -> None:
    step = optimizer.get_updater(optimizer.Adam())
    weights = [np.array(WEIGHT, dtype="float64") for _ in range(2)]
    for n, grad in enumerate(GRADS):
        step(0, np.array(grad, dtype="float64"), weights[0])
        if n % 2:
            step(1, np.array(grad, dtype="float64"), weights[1])
    for weight, grads in zip(weights, (GRADS, GRADS[1::2]), strict=True):
        wanted = by_paper(adam, {"lr": 0.001}, WEIGHT, grads)
        numpy.testing.assert_allclose(weight.asnumpy(), wanted, rtol=1e-11)
    assert step.optimizer.num_update == 5


def test_an_optimizer_of_ones_own() -> None:
    @optimizer.register
    class Downhill(optimizer.Optimizer):
        def states(self, weight: Any) -> Any:
            return (np.zeros_like(weight),)

        def step(self, weight: Any, grad: Any, states: Any, hyper: optimizer.Hyper) -> Any:
            return weight - grad * hyper.lr.astype(weight.dtype), (states[0] + 1,)

    try:
        opt = optimizer.create("downhill", learning_rate=0.5)
        step = optimizer.get_updater(opt)
        weight = np.ones((2,))
        step(0, np.ones((2,)), weight)
        numpy.testing.assert_array_equal(weight.asnumpy(), 0.5)
        numpy.testing.assert_array_equal(step.states[0][0].asnumpy(), 1)
    finally:
        del base.REGISTRY["downhill"]


def test_wrong_names_are_refused_with_the_right_ones() -> None:
    with pytest.raises(UsageError, match=r"no optimizer 'sdg'; use one of adabelief, .*sgd"):
        optimizer.create("sdg")
    with pytest.raises(TypeError, match=r"SGD has no option 'lr'; it has .*learning_rate, .*momentum"):
        optimizer.create("sgd", lr=0.1)
    with pytest.raises(UsageError, match="clip_gradient"):
        optimizer.Adam(clip_gradient=0)
    with pytest.raises(UsageError, match="made already"):
        optimizer.create(optimizer.SGD(), wd=0.1)
    assert optimizer.SGD(lazy_update=True, aggregate_num=4).learning_rate == 0.1


# -- schedules -------------------------------------------------------------------------------------------------

S = blockfuse.lr_scheduler


def factor(count: int, base_lr: float, by: float, every: int, least: float) -> float:
    """As Gluon's loop has it: a decay when a count is more than ``every`` past the last one."""
    last = 0
    while count > last + every:
        last += every
        base_lr = max(base_lr * by, least)
    return base_lr


def closed_forms() -> Iterator[tuple[Any, Callable[[int], float]]]:
    yield S.FactorScheduler(3, 0.5, base_lr=1.0), lambda n: factor(n, 1.0, 0.5, 3, 1e-8)
    yield S.FactorScheduler(1, 0.1, 1e-3, base_lr=0.5), lambda n: factor(n, 0.5, 0.1, 1, 1e-3)
    yield S.FactorScheduler(2), lambda n: 0.01
    yield (
        S.MultiFactorScheduler([2, 5, 6], 0.1, base_lr=2.0),
        lambda n: 2.0 * 0.1 ** sum(n > s for s in (2, 5, 6)),
    )
    yield S.PolyScheduler(10, base_lr=0.5, final_lr=0.1), lambda n: 0.1 + 0.4 * (1 - min(n, 10) / 10) ** 2
    yield S.PolyScheduler(8, 1.0, 3), lambda n: (1 - min(n, 8) / 8) ** 3
    yield (
        S.CosineScheduler(10, base_lr=0.5, final_lr=0.1),
        lambda n: 0.1 + 0.2 * (1 + numpy.cos(numpy.pi * min(n, 10) / 10)),
    )
    yield (
        S.CosineScheduler(10, base_lr=0.5, warmup_steps=4, warmup_begin_lr=0.1),
        lambda n: 0.1 + n * 0.1 if n < 4 else 0.25 * (1 + numpy.cos(numpy.pi * (min(n, 10) - 4) / 6)),
    )
    yield (
        S.PolyScheduler(10, 1.0, warmup_steps=3, warmup_begin_lr=0.2, warmup_mode="constant"),
        lambda n: 0.2 if n < 3 else (1 - (min(n, 10) - 3) / 7) ** 2,
    )
    yield (
        S.FactorScheduler(3, 0.5, base_lr=1.0, warmup_steps=2),
        lambda n: n / 2 if n < 2 else factor(n, 1.0, 0.5, 3, 1e-8),
    )


def test_schedules_are_their_closed_forms() -> None:
    for schedule, wanted in closed_forms():
        for count in (*range(15), 1000):
            found = schedule(count)
            assert type(found) is float
            assert found == pytest.approx(wanted(count), rel=1e-12, abs=1e-15), (schedule, count)
            array = schedule(np.array(count, dtype="int64"))
            assert (array.shape, array.dtype) == ((), "float64")
            assert float(array) == found


@pytest.mark.long
def test_schedules_compile_to_a_program_of_the_count() -> None:
    for schedule, wanted in closed_forms():
        compiled = blockfuse.hybridize(schedule)
        for count in range(12):
            found = float(compiled(np.array(count, dtype="int64")))
            assert found == pytest.approx(wanted(count), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: S.FactorScheduler(0),
        lambda: S.FactorScheduler(1, factor=1.5),
        lambda: S.MultiFactorScheduler([]),
        lambda: S.MultiFactorScheduler([3, 3]),
        lambda: S.PolyScheduler(0),
        lambda: S.CosineScheduler(5, warmup_steps=5),
        lambda: S.CosineScheduler(5, warmup_mode="cosine"),
        lambda: S.CosineScheduler(5, base_lr=0.1, warmup_begin_lr=0.2),
        lambda: S.CosineScheduler(5, warmup_steps=-1),
    ],
)
def test_impossible_schedules_are_refused(wrong: Callable[[], Any]) -> None:
    with pytest.raises(UsageError):
        wrong()


def test_a_schedule_of_ones_own() -> None:
    class Gluons(S.LRScheduler):
        def __call__(self, num_update: Any) -> Any:
            return self.base_lr / num_update

    assert optimizer.SGD(lr_scheduler=Gluons(base_lr=1.0), begin_num_update=4).learning_rate == 0.25
