"""Calls that stay in Python: blocks in them have programs, loose operators run in compiled segments."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from segmented import Twin, array, same

from blockfuse import hybridize, nn, np, npx

# -- programs ------------------------------------------------------------------------------------------------


def test_operators_between_escapes_run_as_one_program() -> None:
    def function(x: Any) -> Any:
        scale = float(np.abs(x).max())
        return np.tanh(x / scale) * 2 + np.exp(-x * x)

    twin = Twin(function)
    x = array(4, 5)
    twin.agree(lambda: [x])
    assert len(twin.segments.programs) == 2  # before float() and after
    before = [p.executable.calls() for p in twin.segments.programs]
    twin.segmented(np.array(x))
    assert [p.executable.calls() for p in twin.segments.programs] == [n + 1 for n in before]


def test_a_number_that_changes_becomes_an_input() -> None:
    def function(x: Any, t: float) -> Any:
        return np.exp(x * t) + 1

    twin = Twin(function)
    x = array(3, 3)
    for t in numpy.linspace(-2, 2, 40):
        same(twin.segmented(np.array(x), float(t)), function(np.array(x), float(t)))
    assert len(twin.segments.programs) == 1
    assert twin.segments.tree.size < 20


@pytest.mark.parametrize("value", [0.0, -0.0, float("nan"), float("inf"), 1e300])
def test_special_numbers(value: float) -> None:
    twin = Twin(lambda x, t: np.array([1.0]) / (x * t))
    for number in (1.0, 2.0, 3.0, 4.0, 5.0, value, 6.0, value):
        with numpy.errstate(all="ignore"):
            got, want = twin.segmented(np.array([1.0]), number), twin.function(np.array([1.0]), number)
        assert_array_equal(got.asnumpy(), want.asnumpy())


def test_true_one_and_one_point_zero_are_different_numbers() -> None:
    twin = Twin(lambda x, t: (x + t) * 2)
    for number in (1, True, 1.0, 1, True, 1.0, 1, True, 1.0):
        ints = np.array([1, 2], dtype="int32")
        got, want = twin.segmented(ints, number), twin.function(ints, number)
        assert got.dtype == want.dtype
        assert_array_equal(got.asnumpy(), want.asnumpy())


def test_parameters_are_read_at_each_call() -> None:
    class Net(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.scale = self.params.get("scale", shape=(64, 64), init="ones")
            self.calls: list[float] = []

        def forward(self, x: Any) -> Any:
            self.calls.append(float(x.sum()))
            return np.dot(npx.relu(np.dot(x, self.scale.data())), self.scale.data()) + 1

    net = Net()
    net.initialize()
    x = np.array(array(32, 64))
    net.hybridize()
    for number in range(6):
        net.scale.set_data(np.full((64, 64), float(number)))
        want = numpy.maximum(x.asnumpy() @ net.scale.data().asnumpy(), 0) @ net.scale.data().asnumpy() + 1
        assert_allclose(net(x).asnumpy(), want, rtol=1e-4)
    net.cast("float64")
    assert net(np.array(x.asnumpy(), dtype="float64")).dtype == numpy.float64
    assert len(net.calls) == 7


# -- values at the time, aliasing ----------------------------------------------------------------------------


def _written_operand(x: Any, y: Any) -> Any:
    z = x + y
    x += 1
    w = z * x
    x[0] = 5
    return z, w, x * 2


def _view_then_write(x: Any) -> Any:
    y = x * 2
    view = y.reshape(-1)
    view += 1
    other = y.T
    other[0] = 7
    return y, view, other


def _view_of_argument(x: Any) -> Any:
    view = x[1:]
    view *= 3
    total = x.sum()
    x[:] = 0
    return total, view


def _write_to_pending(x: Any) -> Any:
    y = x + 1
    z = y
    y += x
    y[0, 0] = -1
    y *= y
    return y, z


def _copied_reshape(x: Any) -> Any:
    y = x.T + 1
    flat = y.reshape(-1)
    flat += 1
    return y, flat


def _swapped(x: Any, y: Any) -> Any:
    for _ in range(3):
        x, y = y + 1, x * 2
    return x, y


def _masked(x: Any) -> Any:
    y = x * 1
    y[y > 0] = 0
    return y, y.sum()


@pytest.mark.spread(3)
@pytest.mark.parametrize(
    ("function", "count"),
    [
        (_written_operand, 2),
        (_view_then_write, 1),
        (_view_of_argument, 1),
        (_write_to_pending, 1),
        (_copied_reshape, 1),
        (_swapped, 2),
        (_masked, 1),
    ],
)
def test_writes_and_views_are_as_eager(function: Any, count: int) -> None:
    Twin(function).agree(lambda: [array(3, 3) for _ in range(count)])


def test_an_operand_is_read_when_the_operator_is_called() -> None:
    raw = array(4)

    def function(x: Any) -> Any:
        y = x + 1
        view = x[1:]
        raw[:] = 5
        return y * 2, view + 0

    net = hybridize(function)
    for _ in range(5):
        raw[:] = 1
        first, second = net(raw)
        assert_array_equal(first, numpy.full(4, 4, numpy.float32))
        assert_array_equal(second, numpy.full(3, 5, numpy.float32))


def test_a_numpy_operand_is_read_when_the_operator_is_called() -> None:
    held = numpy.zeros(3, numpy.float32)

    def function(x: Any) -> Any:
        held[:] = 1
        y = x + held
        held[:] = 9
        return y * 2

    net = hybridize(function)
    for _ in range(5):
        assert_array_equal(net(np.zeros(3)).asnumpy(), numpy.full(3, 2, numpy.float32))


def test_results_are_not_touched_by_later_calls() -> None:
    twin = Twin(lambda x: (np.exp(x) + 1, x * 2))
    results = [twin.segmented(np.array([float(n)])) for n in range(8)]
    for number, (first, second) in enumerate(results):
        assert_allclose(first.asnumpy(), [numpy.exp(numpy.float32(number)) + 1], rtol=1e-6)
        assert_array_equal(second.asnumpy(), [2.0 * number])
        first += 1


# -- blocks --------------------------------------------------------------------------------------------------


class Counting(nn.Block):
    """Writes Python state at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential()
        self.body.add(nn.Dense(8, activation="relu"), nn.Dense(3))
        self.count = 0

    def forward(self, x: Any) -> Any:
        self.count += 1
        return self.body(x) * self.count


def test_blocks_in_a_block_that_runs_in_python_are_compiled() -> None:
    net, x = Counting(), np.array(array(2, 5))
    net.initialize()
    body = net.body(x).asnumpy()
    net.hybridize()
    for number in range(1, 8):
        assert_allclose(net(x).asnumpy(), body * number, rtol=1e-5)
    assert net.count == 7
    assert "compiled" in net.body.explain()
    net.hybridize(False)
    assert "plain Python" in net.body.explain()


def test_a_block_called_with_numpy_arrays_inside_of_a_call_gives_numpy_arrays() -> None:
    class Net(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Dense(3)
            self.given = numpy.ones((2, 4), numpy.float32)

        def forward(self, x: Any) -> Any:
            y = self.dense(self.given)
            return x + (1 if type(y) is numpy.ndarray else 2)

    net = Net()
    net.initialize()
    x = np.zeros((2,))
    want = net(x).asnumpy()
    net.hybridize()
    for _ in range(4):
        assert_array_equal(net(x).asnumpy(), want)


def test_a_function_packs_the_weights_of_blocks_that_it_calls_once() -> None:
    layer = nn.Dense(64, in_units=64)
    layer.initialize()

    @hybridize
    def function(x: Any) -> Any:
        return layer(x) / float(np.abs(x).max())

    x = np.array(array(32, 64))
    for number in range(6):
        layer.bias.set_data(np.full((64,), float(number)))
        want = (x.asnumpy() @ layer.weight.data().asnumpy().T + number) / numpy.abs(x.asnumpy()).max()
        assert_allclose(function(x).asnumpy(), want, rtol=1e-3, atol=1e-5)
    hoisted = [
        len(o.prologue.outputs) for p in function._hybrid._segments.programs for o in p.compiled.optimized
    ]
    assert sum(hoisted) > 0
