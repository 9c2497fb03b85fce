"""Calls that stay in Python: blocks in them have programs, loose operators run in compiled segments."""

from __future__ import annotations

import contextvars
import gc
import threading
import weakref
from typing import Any

import numpy
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from blockfuse import hybridize, nn, np, npx
from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter
from blockfuse.runtime import backend
from blockfuse.runtime.segments import Segments
from blockfuse.tracer.segments import Segmented

_RNG = numpy.random.default_rng(0)


def _array(*shape: int) -> numpy.ndarray:
    return _RNG.normal(size=shape).astype(numpy.float32)


class Twin:
    """``function`` in segments and eagerly, on the same arguments."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.segments = Segments(None, backend.backend)

    def segmented(self, *args: Any) -> Any:
        session = Segmented(self.segments.tree, weighing=False)
        try:
            with interpreter.interpreting(session):
                return self.function(*args)
        finally:
            session.finish()

    def agree(self, make: Any, calls: int = 5) -> None:
        """Results and arguments are as eager leaves them, call after call. make(): new arguments (NumPy's)."""
        for _ in range(calls):
            mine, theirs = (
                [np.array(a) if isinstance(a, numpy.ndarray) else a for a in arguments]
                for arguments in _twice(make())
            )
            got, want = self.segmented(*mine), self.function(*theirs)
            _same(got, want)
            _same(mine, theirs)


def _twice(arguments: Any) -> tuple[Any, Any]:
    return arguments, [a.copy() if isinstance(a, numpy.ndarray) else a for a in arguments]


def _same(got: Any, want: Any) -> None:
    if isinstance(want, list | tuple):
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            _same(a, b)
    elif isinstance(want, ndarray):
        assert type(got) is ndarray
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        assert_allclose(got.asnumpy(), want.asnumpy(), rtol=1e-5, atol=1e-6)
    elif isinstance(want, float):
        assert got == pytest.approx(want, rel=1e-5, nan_ok=True)
    else:
        assert type(got) is type(want)
        assert got == want


# -- programs ------------------------------------------------------------------------------------------------


def test_operators_between_escapes_run_as_one_program() -> None:
    def function(x: Any) -> Any:
        scale = float(np.abs(x).max())
        return np.tanh(x / scale) * 2 + np.exp(-x * x)

    twin = Twin(function)
    x = _array(4, 5)
    twin.agree(lambda: [x])
    assert len(twin.segments.programs) == 2  # before float() and after
    before = [p.executable.calls() for p in twin.segments.programs]
    twin.segmented(np.array(x))
    assert [p.executable.calls() for p in twin.segments.programs] == [n + 1 for n in before]


def test_a_number_that_changes_becomes_an_input() -> None:
    def function(x: Any, t: float) -> Any:
        return np.exp(x * t) + 1

    twin = Twin(function)
    x = _array(3, 3)
    for t in numpy.linspace(-2, 2, 40):
        _same(twin.segmented(np.array(x), float(t)), function(np.array(x), float(t)))
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
    x = np.array(_array(32, 64))
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
    Twin(function).agree(lambda: [_array(3, 3) for _ in range(count)])


def test_an_operand_is_read_when_the_operator_is_called() -> None:
    raw = _array(4)

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


# -- what outlives the call ----------------------------------------------------------------------------------


def test_pending_arrays_that_are_kept_get_their_values() -> None:
    kept: list[Any] = []

    def function(x: Any) -> Any:
        kept.append(x * 2 + 1)
        return x

    twin = Twin(function)
    for number in range(5):
        twin.segmented(np.array([float(number)]))
    assert [a.item() for a in kept] == [1, 3, 5, 7, 9]


def test_an_exception_keeps_what_was_computed_before() -> None:
    kept: list[Any] = []

    def function(x: Any) -> Any:
        kept.append(np.exp(x) * 2)
        raise KeyError("stop")

    twin = Twin(function)
    for _ in range(4):
        with pytest.raises(KeyError, match="stop"):
            twin.segmented(np.array([0.0]))
    assert [a.item() for a in kept] == [2, 2, 2, 2]


def test_operators_raise_where_they_are_called() -> None:
    seen: list[str] = []

    def function(x: Any, y: Any) -> Any:
        z = x * 2
        try:
            z = z + y
        except ValueError as error:
            seen.append(str(error))
        return z

    twin = Twin(function)
    for _ in range(4):
        twin.agree(lambda: [_array(3), _array(3)], 2)
        twin.agree(lambda: [_array(3), _array(4)], 2)
    assert len(seen) == 16
    assert len(set(seen)) == 1


def test_a_pending_value_that_nobody_needs_is_not_computed_nor_kept() -> None:
    alive: list[Any] = []

    def function(x: Any) -> Any:
        unused = x * 100
        alive.append(weakref.ref(unused))
        del unused
        return x + 1

    twin = Twin(function)
    for _ in range(5):
        twin.segmented(np.array([1.0]))
    gc.collect()
    assert all(r() is None for r in alive)


# -- what an array is while it is pending --------------------------------------------------------------------


def test_pending_arrays_know_what_they_are() -> None:
    seen: list[Any] = []

    def function(x: Any) -> Any:
        y = x * 2
        seen.append(
            (y.shape, y.dtype, y.ndim, y.size, y.nbytes, len(y), type(y) is ndarray, hasattr(y, "no"))
        )
        return y + 1

    twin = Twin(function)
    for _ in range(5):
        twin.segmented(np.ones((2, 3)))
    assert set(seen) == {((2, 3), numpy.dtype("float32"), 2, 6, 24, 2, True, False)}


def test_another_thread_sees_values() -> None:
    def function(x: Any) -> Any:
        y = np.exp(x) + 1
        found: list[Any] = []
        threads = [threading.Thread(target=lambda: found.append((y * 2).asnumpy())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return y, [np.array(f) for f in found]

    Twin(function).agree(lambda: [_array(50)])


def test_other_threads_and_contexts_may_use_the_session() -> None:
    def function(x: Any) -> Any:
        y = x + 1
        found: list[Any] = []
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: context.run(lambda: found.append(y * 2)))
        thread.start()
        thread.join()
        return found[0] + y

    Twin(function).agree(lambda: [_array(5)])


def test_many_threads_share_a_net() -> None:
    @hybridize
    def function(x: Any, t: float) -> Any:
        y = np.exp(x) * t
        return y + float(y.max())

    failures: list[Any] = []

    def work(seed: int) -> None:
        rng = numpy.random.default_rng(seed)
        for _ in range(60):
            x, t = rng.normal(size=7).astype(numpy.float32), float(rng.integers(1, 5))
            y = numpy.exp(x) * numpy.float32(t)
            got = function(np.array(x), t).asnumpy()
            if not numpy.allclose(got, y + y.max(), rtol=1e-5):
                failures.append((x, t, got))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


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
    net, x = Counting(), np.array(_array(2, 5))
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
