"""``hybridize(precision=...)`` on the processor: narrow weights against float64 on the rounded ones."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import nn
from blockfuse.array import autograd, np, npx
from blockfuse.ir.errors import AuditError, CompilerWarning, UsageError
from blockfuse.ir.operators.narrow import rounded
from blockfuse.ir.passes import products
from blockfuse.runtime.audit import standard

FORMS = ("bf16", "int8")
# Of the largest element: float32 sums against float64 ones.
ROUNDING = 3e-6
# As measured for docs/contract.md, for one product of random weights, of the largest element of the result.
BOUNDS = {"bf16": 0.01, "int8": 0.02}

each_form = pytest.mark.parametrize("form", FORMS)


def values(*shape: int) -> numpy.ndarray:
    """The same for the same shape."""
    return numpy.random.default_rng(shape).normal(size=shape).astype("float32")


def narrowed(weight: Any, form: str, axis: int = 1) -> numpy.ndarray:
    """A weight in float64 as a program has it."""
    return rounded.meaning(numpy.asarray(weight), form=form, axis=axis).astype("float64")


def compiled(net: Any, *arguments: Any, form: str, **options: Any) -> list[numpy.ndarray]:
    """The first result of a program, which is not the recorded call's."""
    net.hybridize(precision=form, **options)
    net(*arguments)
    result = net(*arguments)
    assert "eager" not in net.explain().replace("of them eager", "")
    return [r.asnumpy() for r in (result if isinstance(result, tuple) else (result,))]


def assert_near(found: numpy.ndarray, wanted: numpy.ndarray) -> None:
    assert found.dtype == numpy.float32
    assert numpy.abs(found - wanted).max() <= ROUNDING * numpy.abs(wanted).max()


def mlp(*widths: int) -> Any:
    net = nn.HybridSequential()
    for inner, units in pairwise(widths):
        net.add(nn.Dense(units, in_units=inner, activation=None if units == widths[-1] else "relu"))
    net.initialize()
    for layer in net:
        layer.bias.set_data(np.array(values(layer.bias.shape[0])))
    return net


def simulated(net: Any, x: numpy.ndarray, form: str) -> numpy.ndarray:
    h = x.astype("float64")
    for number, layer in enumerate(net):
        h = h @ narrowed(layer.weight.data(), form).T + layer.bias.data().asnumpy()
        h = h if number == len(net) - 1 else numpy.maximum(h, 0)
    return h


def furthest(x: numpy.ndarray, weight: numpy.ndarray, form: str) -> numpy.ndarray:
    """How far each element of a product may be off, as docs/contract.md has it."""
    x, weight = numpy.abs(x), numpy.abs(weight)
    if form == "bf16":
        return x @ weight.T * 2**-8
    return numpy.multiply.outer(x.sum(axis=1), weight.max(axis=1) / 254)


class Function(nn.HybridBlock):
    """A function of the arguments of a call and a parameter of this shape."""

    def __init__(self, compute: Callable[..., Any], *shape: int) -> None:
        super().__init__()
        self.compute = compute
        self.w = nn.Parameter("w", shape=shape)
        self.initialize()
        self.w.set_data(np.array(values(*shape)))

    def forward(self, *arguments: Any) -> Any:
        return self.compute(*arguments, self.w.data())


# -- results ---------------------------------------------------------------------------------------------------


@pytest.mark.spread(5)
@each_form
@pytest.mark.parametrize(
    ("widths", "rows"),
    [
        ((20, 256, 10), 2),  # whole panels
        ((37, 24, 7, 3), 1),  # panels that are not whole
        ((7, 8, 5), 5),  # one vector of columns, a short inner axis
        ((900, 48), 19),  # sums in blocks, several tiles of rows
        ((61, 5), 3),  # vectors along an inner axis that is not whole
    ],
)
def test_products_are_those_of_rounded_weights(form: str, widths: tuple[int, ...], rows: int) -> None:
    net, x = mlp(*widths), values(rows, widths[0])
    exact = net(np.array(x)).asnumpy()
    (found,) = compiled(net, np.array(x), form=form)
    assert_near(found, simulated(net, x, form))
    apart = numpy.abs(found - exact).max() / numpy.abs(exact).max()
    assert 0 < apart < BOUNDS[form] * (len(widths) - 1), "it is narrow, and as near as measured"
    if len(widths) == 2:
        bound = furthest(x, net[0].weight.data().asnumpy(), form)
        assert (numpy.abs(found - exact) <= bound + ROUNDING * numpy.abs(exact).max()).all()


@each_form
def test_stacks_vectors_and_matmul(form: str) -> None:
    net = Function(lambda x, v, w: (np.matmul(x, w), np.matmul(v, w)), 3, 12, 20)
    x, v = values(3, 5, 12), values(12)
    w = narrowed(net.w.data(), form)
    stacked, of_vector = compiled(net, np.array(x), np.array(v), form=form)
    assert_near(stacked, x.astype("float64") @ w)
    assert_near(of_vector, v.astype("float64") @ w)


@pytest.mark.spread(2)
@each_form
@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_read_narrow_weights(form: str, groups: int) -> None:
    def made() -> Any:
        net = nn.Conv2D(24, kernel_size=3, in_channels=4, padding=1, groups=groups, activation="relu")
        net.initialize()
        return net

    net, exact, x = made(), made(), values(2, 4, 5, 5)
    (found,) = compiled(net, np.array(x), form=form)
    assert f"weights in {form}" in net.explain()
    kernel = net.weight.data().asnumpy()
    exact.cast("float64")
    flat = narrowed(kernel.reshape(24, -1), form)
    exact.weight.set_data(np.array(flat.reshape(kernel.shape)))
    exact.bias.set_data(net.bias.data().astype("float64"))
    assert_near(found, exact(np.array(x.astype("float64"))).asnumpy())


@pytest.mark.long
@pytest.mark.spread(2)
@each_form
def test_every_batch_size_has_one_program(form: str) -> None:
    net = mlp(24, 40, 3)
    net.hybridize(precision=form)
    for rows in (3, 7, 7, 30):
        x = values(rows, 24)
        found = net(np.array(x)).asnumpy()
    assert_near(found, simulated(net, x, form))
    assert "[any, 24]" in net.explain()


@each_form
def test_new_weights_are_rounded_anew(form: str) -> None:
    net, x = mlp(20, 30), values(4, 20)
    compiled(net, np.array(x), form=form)
    net[0].weight.set_data(np.array(values(30, 20)))
    assert_near(net(np.array(x)).asnumpy(), simulated(net, x, form))


def test_nan_and_infinities_are_seen() -> None:
    net, x = mlp(8, 20), numpy.abs(values(3, 8)) + 1
    weight = values(20, 8)
    weight[3, 1], weight[5, 2] = numpy.nan, numpy.inf
    net[0].weight.set_data(np.array(weight))
    (bf16,) = compiled(net, np.array(x), form="bf16")
    assert numpy.isnan(bf16[:, 3]).all()
    assert numpy.isposinf(bf16[:, 5]).all()
    assert numpy.isfinite(numpy.delete(bf16, [3, 5], 1)).all()
    net[0].weight.set_data(np.array(numpy.where(numpy.isinf(weight), 1, weight)))
    (int8,) = compiled(net, np.array(x), form="int8")
    assert numpy.isnan(int8[:, 3]).all()
    assert numpy.isfinite(numpy.delete(int8, 3, 1)).all()


@pytest.mark.long
@pytest.mark.spread(2)
@each_form
def test_loops_and_branches(form: str) -> None:
    def compute(x: Any, w: Any) -> Any:
        while np.abs(x).sum() > 5:
            x = np.matmul(x, w) * 0.1
        return x + 1 if x.sum() > 0 else np.matmul(x, w)

    net = Function(compute, 16, 16)
    w = narrowed(net.w.data(), form, axis=0)
    net.hybridize(precision=form)
    for seed in range(3):
        x = numpy.random.default_rng(seed).normal(size=(4, 16)).astype("float32")
        found = net(np.array(x)).asnumpy()
    h = x.astype("float64")
    while numpy.abs(h).sum() > 5:
        h = h @ w * 0.1
    assert_near(found, h + 1 if h.sum() > 0 else h @ w)


# -- what stays in float32 -------------------------------------------------------------------------------------


def exactly(net: Any, *arguments: numpy.ndarray, form: str = "bf16") -> str:
    """What explain() says of a net whose compiled result is that of float32."""
    given = [np.array(a, dtype=a.dtype) for a in arguments]
    wanted = net(*given).asnumpy()
    (found,) = compiled(net, *given, form=form)
    numpy.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * numpy.abs(wanted).max())
    text: str = net.explain()
    assert "weights in bf16" not in text
    return text


def test_right_matrices_that_may_change_stay() -> None:
    text = exactly(Function(lambda x, w: np.matmul(w, x), 20, 30), values(30, 5))
    assert "all in float32, as the right matrix may change at each call" in text
    exactly(Function(lambda x, y, w: np.matmul(x, y) + w, 5), values(3, 30), values(30, 5))


def test_float64_stays() -> None:
    net = Function(lambda x, w: np.matmul(x, w.astype("float64")), 30, 20)
    x = np.array(values(3, 30).astype("float64"), dtype="float64")
    wanted = net(x).asnumpy()
    net.hybridize(precision="int8")
    net(x)
    numpy.testing.assert_allclose(net(x).asnumpy(), wanted, rtol=1e-12)
    assert "all in float64" in net.explain()


def test_steps_of_training_stay() -> None:
    class Step(nn.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Dense(3, in_units=4)

        def forward(self, x: Any) -> Any:
            with autograd.record():
                total = (self.out(x) ** 2).mean()
            total.backward()
            weight = self.out.weight.data()
            weight -= self.out.weight.grad() * 0.01
            return total

    x = np.array(values(5, 4))
    results = []
    for form in ("float32", "int8"):
        net = Step()
        net.initialize()
        net.out.weight.set_data(np.array(numpy.arange(12).reshape(3, 4) / 7, dtype="float32"))
        net.hybridize(precision=form)
        results.append([net(x).item() for _ in range(4)])
    assert results[0] == results[1]
    assert "weights stay float32 because the call writes to parameters" in net.explain()


@pytest.mark.long
def test_calls_that_draw_stay() -> None:
    net = Function(lambda x, w: np.matmul(x, w) + np.random.uniform(size=(20,)), 30, 20)
    net.hybridize(precision="bf16")
    for _ in range(2):
        net(np.array(values(2, 30)))
    assert "weights stay float32 because the call draws random numbers" in net.explain()


def test_segments_and_recorded_pieces_stay() -> None:
    net = mlp(20, 30)
    net.hybridize(precision="int8")
    x = values(3, 20)
    with autograd.record():
        for _ in range(2):
            found = net(np.array(x))
    wanted = x @ net[0].weight.data().asnumpy().T + net[0].bias.data().asnumpy()
    numpy.testing.assert_allclose(found.asnumpy(), wanted, atol=1e-5)
    assert "keep weights in float32" in net.explain()


# -- options ---------------------------------------------------------------------------------------------------


def test_precisions_of_others_are_refused() -> None:
    for backend in ("auto", "cpu"):
        with pytest.raises(UsageError, match="precision='tf32' is for backend='cuda'"):
            mlp(3, 4).hybridize(backend=backend, precision="tf32")
    with pytest.raises(UsageError, match="precision='int8' is for backend='auto' or 'cpu'"):
        mlp(3, 4).hybridize(backend="cuda", precision="int8")


def test_float32_is_the_default() -> None:
    net = mlp(20, 30)
    net.hybridize()
    for _ in range(2):
        net(np.array(values(2, 20)))
    assert "weights in" not in net.explain()


def test_functions_narrow_constants() -> None:
    weight = np.array(values(12, 20))
    function = blockfuse.hybridize(lambda x: npx.relu(np.matmul(x, weight)), precision="int8")
    x = values(3, 12)
    for _ in range(2):
        found = function(np.array(x)).asnumpy()
    assert_near(found, numpy.maximum(x @ narrowed(weight, "int8", axis=0), 0))


# -- checks ----------------------------------------------------------------------------------------------------


@pytest.fixture
def wrong_epilogue(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Products with narrow weights whose bias is twice what it should be, by a little."""
    right = products._Packed.times

    def wrong(self: Any, product: Any, rows: Any, *bias: Any, **attrs: Any) -> Any:
        return right(self, product, rows, *(b * 1.001 for b in bias), **attrs)

    monkeypatch.setattr(products._Packed, "times", wrong)
    return iter(())


@each_form
@pytest.mark.usefixtures("wrong_epilogue")
def test_a_fault_below_what_rounding_costs_is_found(form: str) -> None:
    net, x = mlp(20, 30), values(3, 20)
    wanted = net(np.array(x)).asnumpy()
    net.hybridize(precision=form)
    with pytest.warns(CompilerWarning, match="first operator that differs: dense"):
        net(np.array(x))
    numpy.testing.assert_array_equal(net(np.array(x)).asnumpy(), wanted)


@pytest.mark.filterwarnings("ignore::blockfuse.CompilerWarning")
def test_a_recording_that_is_wrong_before_rounding_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = standard.flow_applied
    monkeypatch.setattr(standard, "flow_applied", lambda *given: [r * 1.001 for r in right(*given)])
    net = mlp(20, 30)
    net.hybridize(precision="bf16")
    net(np.array(values(3, 20)))
    assert "before weights are rounded, what was recorded differs" in net.explain()


@each_form
def test_audits_hold_calls_against_rounded_weights(form: str) -> None:
    net, x = mlp(20, 30), np.array(values(3, 20))
    net.hybridize(precision=form, audit=1)
    for _ in range(3):
        net(x)
    (case,) = net._hybrid.cases.values()
    assert case.audited == 2
    panels = next(a for a in case.program.bound if a.dtype.itemsize < 4)
    panels.flags.writeable = True
    panels[0, 0, 0] ^= 0x41
    with pytest.raises(AuditError, match="differs from eager operators on rounded weights"):
        net(x)
