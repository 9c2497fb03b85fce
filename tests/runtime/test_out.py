"""``out=``: results in memory of the caller, natively and in Python, whatever that memory is besides."""

from __future__ import annotations

import collections
import sys
from collections.abc import Callable
from typing import Any

import numpy
import pytest

from blockfuse import autograd, hybridize, nn, np, npx
from blockfuse.array import stamps
from blockfuse.array.memory import registries
from blockfuse.ir.argument_parts import Part, PartKind
from blockfuse.ir.errors import DTypeError, GradientError, ShapeError, UsageError
from blockfuse.runtime.programs.backend import backend

pytestmark = pytest.mark.spread(2)

Pair = collections.namedtuple("Pair", "a b")


def _x(*shape: int, seed: int = 0) -> numpy.ndarray:
    return numpy.random.default_rng(seed).normal(size=shape or (4, 3)).astype(numpy.float32)


def _frames(call: Callable[[], Any]) -> list[str]:
    """The functions of Python's that a call enters."""
    found: list[str] = []
    sys.setprofile(lambda frame, event, _: found.append(frame.f_code.co_name) if event == "call" else None)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found[1:]  # without the one that calls


def _affine(x: Any) -> Any:
    return np.tanh(x * 2 + 1)


def _warm(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The compiled function, after the calls that make its native way."""
    compiled = hybridize(function)
    for _ in range(3):
        compiled(*args, **kwargs)
    return compiled


def _dense() -> nn.Block:
    net = nn.Sequential()
    net.add(nn.Dense(8, activation="relu", in_units=3), nn.Dense(2, in_units=8))
    net.initialize()
    return net


# -- that it is native ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [np.array, numpy.array], ids=["ours", "numpy's"])
@pytest.mark.parametrize("make_out", [np.array, numpy.array], ids=["ours", "numpy's"])
def test_results_come_into_the_array_without_python(make: Any, make_out: Any) -> None:
    net, x = _dense(), make(_x())
    want = numpy.asarray(net(x))
    net.hybridize()
    out = make_out(numpy.zeros((4, 2), numpy.float32))
    for _ in range(3):
        assert net(x, out=out) is out
    out[...] = 0
    assert _frames(lambda: net(x, out=out)) == []
    numpy.testing.assert_allclose(numpy.asarray(out), want, rtol=1e-5)


def test_rows_and_columns_of_a_larger_array_are_filled_without_python() -> None:
    x, buffer = _x(), numpy.full((5, 4, 6), 7, numpy.float32)
    compiled = _warm(_affine, x, out=numpy.empty_like(x))
    want = compiled(x)
    for part in (buffer[2, :, :3], buffer[:4, :3, 5], buffer[3, :, 1:6:2]):
        before = buffer.copy()
        assert _frames(lambda part=part: compiled(x, out=part)) == []
        numpy.testing.assert_array_equal(part, want)
        part[...] = 7
        before[before != 7] = 7
        numpy.testing.assert_array_equal(buffer, before)


@pytest.mark.parametrize("size", [(1 << 22) + 5, 1000])  # the first is written past the caches
def test_memory_that_begins_anywhere_takes_large_results(size: int) -> None:
    x = numpy.linspace(-1, 1, size, dtype=numpy.float32)
    memory = numpy.full(size + 40, 9, numpy.float32)
    compiled = _warm(lambda x: x * 2 + 1, x, out=numpy.empty_like(x))
    for start in (0, 1, 7):
        compiled(x, out=memory[start : start + size])
        numpy.testing.assert_array_equal(memory[start : start + size], x * 2 + 1)
        assert (memory[start + size :] == 9).all()


def test_every_form_of_call_and_structure_of_results() -> None:
    def several(x: Any, k: float, *, more: Any) -> Any:
        return {"a": x * k, "b": [more["z"] + 1, Pair(x - more["z"], x.sum())]}

    x, z = _x(), _x(seed=1)
    out = {"a": numpy.empty_like(x), "b": [np.zeros((4, 3)), Pair(np.zeros((4, 3)), np.zeros(()))]}
    compiled = hybridize(several)
    for k in (0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5):
        assert compiled(x, k, out=out, more={"z": z}) is out
        numpy.testing.assert_allclose(out["a"], x * k, rtol=1e-6)
        numpy.testing.assert_array_equal(out["b"][0].asnumpy(), z + 1)
        numpy.testing.assert_array_equal(out["b"][1].a.asnumpy(), x - z)
        numpy.testing.assert_allclose(out["b"][1].b.asnumpy(), x.sum(), rtol=1e-5)
    assert "several" not in _frames(lambda: compiled(x, 7.5, out=out, more={"z": z}))


@pytest.mark.long
def test_every_size_of_the_batch_is_native() -> None:
    net = _dense()
    net.hybridize()
    for items in (2, 3, 5):
        out = numpy.empty((items, 2), numpy.float32)
        for _ in range(2):
            net(_x(items, 3), out=out)
        numpy.testing.assert_allclose(out, net(_x(items, 3)), rtol=1e-6)
    assert _frames(lambda: net(_x(5, 3), out=numpy.empty((5, 2), numpy.float32)))[-1:] != ["forward"]


def test_references_stay_as_many() -> None:
    x, out, ours = _x(), numpy.empty((4, 3), numpy.float32), np.zeros((4, 3))
    other = numpy.empty((4, 4), numpy.float32)
    compiled = _warm(_affine, x, out=out)
    objects = (x, out, ours, ours._data, other, None)
    before = [*map(sys.getrefcount, objects)]
    for _ in range(50):
        compiled(x, out=out)
        compiled(x, out=ours)
        compiled(x, out=other[:, :3])
        compiled(x, out=x)
        with pytest.raises(ShapeError):
            compiled(x, out=other)
    after = [*map(sys.getrefcount, objects)]
    assert after[:-1] == before[:-1]
    assert abs(after[-1] - before[-1]) < 40


# -- the same in Python -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [True, False])
def test_none_stands_for_new_memory_and_for_what_is_no_array(compiled: bool) -> None:
    class Net(nn.Block):
        def forward(self, x: Any) -> Any:
            return x * 2, [x + 1, "text"]

    net, x, out = Net(), _x(), numpy.empty((4, 3), numpy.float32)
    if compiled:
        net.hybridize()
    for _ in range(3):
        got = net(x, out=(None, [out, None]))
        assert got[1][0] is out
        assert got[1][1] == "text"
        numpy.testing.assert_array_equal(got[0], x * 2)
        numpy.testing.assert_array_equal(out, x + 1)


WRONG = [
    (numpy.zeros((4, 3)), DTypeError, "out has dtype float64, the result float32: give numpy.empty"),
    (numpy.zeros((4, 3), ">f4"), DTypeError, "out has dtype >f4"),
    (numpy.zeros((3, 4), "f4"), ShapeError, r"out has shape \(3, 4\), the result \(4, 3\)"),
    (numpy.broadcast_to(numpy.float32(0), (4, 3)), UsageError, "read-only"),
    (numpy.lib.stride_tricks.as_strided(numpy.zeros(9, "f4"), (4, 3), (4, 4)), UsageError, "share memory"),
    ([[0.0] * 3] * 4, TypeError, "out is a list of length 4; it must be an array"),
    ((numpy.zeros((4, 3), "f4"),), TypeError, "out is a tuple of length 1; it must be an array"),
    (numpy.ma.zeros((4, 3), "f4"), TypeError, "MaskedArray"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_what_does_not_fit_is_told(number: int) -> None:
    out, error, text = WRONG[number]
    x = _x()
    eager = nn.Lambda(_affine)
    for call in (eager, _warm(_affine, x, out=numpy.empty_like(x))):
        with pytest.raises(error, match=text):
            call(x, out=out)


@pytest.mark.parametrize("compiled", [True, False])
def test_nothing_is_written_where_one_does_not_fit(compiled: bool) -> None:
    def two(x: Any) -> Any:
        return x * 2, x.sum(axis=0)

    x = _x()
    call = _warm(two, x, out=(numpy.empty_like(x), numpy.empty(3, "f4"))) if compiled else nn.Lambda(two)
    first = numpy.full_like(x, 5)
    for second in (numpy.zeros(3), numpy.zeros(4, "f4"), first[0], 3):
        with pytest.raises((TypeError, ValueError), match=r"out\[[01]\]"):
            call(x, out=(first, second))
        assert (first == 5).all()
    with pytest.raises(TypeError, match="out is a list of length 2, but the result is a tuple of length 2"):
        call(x, out=[first, numpy.zeros(3, "f4")])
    with pytest.raises(TypeError, match="a tuple of length 1"):
        call(x, out=(first,))


@pytest.mark.parametrize("compiled", [True, False])
def test_results_that_interleave_are_apart(compiled: bool) -> None:
    x, memory = _x(), numpy.zeros((4, 6), "f4")
    two: Any = lambda x: (x * 2, x * 3)  # noqa: E731
    call = _warm(two, x, out=(numpy.empty_like(x), numpy.empty_like(x))) if compiled else nn.Lambda(two)
    call(x, out=(memory[:, ::2], memory[:, 1::2]))
    numpy.testing.assert_array_equal(memory[:, ::2], x * 2)
    numpy.testing.assert_array_equal(memory[:, 1::2], x * 3)


# -- memory that is something else, too -------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [-1, 0, 1, 3])
def test_the_memory_may_be_that_of_an_argument(shift: int) -> None:
    def mixed(x: Any) -> Any:
        return np.flip(x, axis=0) + x.sum()

    memory = _x(40)
    compiled = _warm(mixed, memory[5:30], out=numpy.empty(25, "f4"))
    given, out = memory[5:30], memory[5 + shift : 30 + shift]
    want = given[::-1] + given.sum()
    assert _frames(lambda: compiled(given, out=out)) == []
    numpy.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("compiled", [True, False])
def test_arguments_may_change_places(compiled: bool) -> None:
    swap: Any = lambda a, b: (b, a)  # noqa: E731
    call = hybridize(swap) if compiled else nn.Lambda(swap)
    a, b = _x(), _x(seed=1)
    one, other = a.copy(), b.copy()
    for _ in range(3):
        call(a, b, out=(a, b))
        one, other = other, one
        numpy.testing.assert_array_equal(a, one)
        numpy.testing.assert_array_equal(b, other)


def test_a_parameter_may_be_the_memory_and_nets_see_it() -> None:
    net = nn.Dense(3, in_units=3, use_bias=False, weight_initializer="ones")
    net.initialize()
    net.hybridize()
    x = np.array(_x(3, 3) / 4)
    for _ in range(3):
        net(x)
    weight, want = net.weight.data(), numpy.ones((3, 3), "f4")
    for _ in range(4):
        assert net(x, out=weight) is weight
        want = x.asnumpy() @ want.T
        numpy.testing.assert_allclose(weight.asnumpy(), want, rtol=1e-4, atol=1e-6)
        numpy.testing.assert_allclose(net(x).asnumpy(), x.asnumpy() @ want.T, rtol=1e-4, atol=1e-6)


def test_an_array_that_another_net_rests_on_may_be_the_memory() -> None:
    class Scaled(nn.Block):
        def __init__(self, scale: Any) -> None:
            super().__init__()
            self.scale = scale

        def forward(self, x: Any) -> Any:
            return x * self.scale

    for scale in (np.ones((4, 3)), numpy.ones((4, 3), "f4")):
        reader, x = Scaled(scale), np.array(_x())
        reader.hybridize()
        writer = _warm(_affine, x, out=np.zeros((4, 3)))
        for k in range(4):
            given = np.array(_x(seed=k))
            reader(x)
            writer(given, out=scale)
            numpy.testing.assert_array_equal(reader(x).asnumpy(), x.asnumpy() * writer(given).asnumpy())
        for _ in range(3):  # what the program itself reads
            want = x.asnumpy() * numpy.asarray(scale)
            reader(x, out=scale)
            numpy.testing.assert_array_equal(numpy.asarray(scale), want)


def test_operators_that_wait_read_what_was_there() -> None:
    inner = _warm(_affine, np.array(_x()), out=np.zeros((4, 3)))

    class Net(nn.Block):
        def forward(self, x: Any) -> Any:
            y = np.exp(x * 1)
            late = np.exp(y) * 2 + y  # waits
            inner(x, out=y)
            return late + y, float(y.sum())

    net, x = Net(), np.array(_x() / 4)
    want = net(x)[0].asnumpy()
    net.hybridize()
    for _ in range(4):
        numpy.testing.assert_allclose(net(x)[0].asnumpy(), want, rtol=1e-5)


def test_who_begins_to_watch_the_memory_meanwhile_is_told() -> None:
    """As another thread may, while kernels run."""

    class Watcher:
        told, raises = 0, False

        def invalidate(self) -> None:
            self.told += 1
            if self.raises:
                raise ValueError("told")

    watcher, out = Watcher(), np.zeros(3)
    parts = [Part(PartKind.TUPLE, tuple), Part(PartKind.DICT, dict, ("out",), 1), Part(PartKind.OUT)]
    entry: Any = lambda *_: stamps.watch_buffer(out._data, watcher)  # noqa: E731
    call = backend().fast_call(parts, True, entry, None, 0, registries())
    assert call is not None
    given = {"out": out}
    before = sys.getrefcount(out)
    assert call((), given) is out
    assert watcher.told == 1
    assert call((), given) is NotImplemented  # the memory is watched
    out._data, watcher.raises = numpy.zeros(3, "f4"), True
    with pytest.raises(ValueError, match="told"):
        call((), given)
    assert sys.getrefcount(out) == before


# -- calls that end otherwise -----------------------------------------------------------------------------------


def test_nothing_is_written_where_the_call_raises() -> None:
    def picked(x: Any, i: Any) -> Any:
        return np.take(x * 2, i, axis=0, mode="raise")

    x, good, bad = np.array(_x()), np.array([0, 1, 3], dtype="int32"), np.array([0, 1, 4], dtype="int32")
    out = numpy.full((3, 3), 5, "f4")
    compiled = _warm(picked, x, good, out=out)
    out[...] = 5
    assert _frames(lambda: compiled(x, good, out=out)) == []
    numpy.testing.assert_array_equal(out, x.asnumpy()[[0, 1, 3]] * 2)
    out[...] = 5
    with pytest.raises(IndexError):
        compiled(x, bad, out=out)
    assert (out == 5).all()


def test_loops_give_their_results_too() -> None:
    def halved(x: Any) -> Any:
        while np.abs(x).sum() > 1:
            x = x / 2
        return x

    x = np.array(_x())
    want = nn.Lambda(halved)(x).asnumpy()
    out = numpy.empty((4, 3), "f4")
    compiled = _warm(halved, x, out=out)
    out[...] = 0
    assert _frames(lambda: compiled(x, out=out)) == []
    numpy.testing.assert_array_equal(out, want)


def test_programs_that_write_write_once() -> None:
    class Counting(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.total = np.zeros(3)

        def forward(self, x: Any) -> Any:
            self.total[...] = self.total + x.sum(axis=0)
            return x * self.total

    x = np.array(_x())
    eager, net = Counting(), Counting()
    net.hybridize()
    out = numpy.empty((4, 3), "f4")
    for _ in range(5):
        want = eager(x).asnumpy()
        net(x, out=out)
        numpy.testing.assert_allclose(out, want, rtol=1e-5)
    numpy.testing.assert_allclose(net.total.asnumpy(), eager.total.asnumpy(), rtol=1e-5)
    row = np.zeros((1, 3))
    one = np.array(_x(1, 3))
    for _ in range(3):
        want = eager(one).asnumpy()
        net(one, out=row)
        numpy.testing.assert_allclose(row.asnumpy(), want, rtol=1e-5)
    assert net.total.shape == (3,)


def test_the_state_that_a_program_writes_may_be_the_memory() -> None:
    class Moving(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.state = np.ones((4, 3))

        def forward(self, x: Any) -> Any:
            self.state[...] = self.state + x
            return self.state * 2

    x = np.array(_x())
    eager, net = Moving(), Moving()
    net.hybridize()
    for _ in range(4):
        eager(x, out=eager.state)
        net(x, out=net.state)
        numpy.testing.assert_allclose(net.state.asnumpy(), eager.state.asnumpy(), rtol=1e-5)


# -- gradients, modes, other nets --------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [True, False])
def test_gradients_go_through_an_array_of_ours(compiled: bool) -> None:
    net = nn.Dense(2, in_units=3, weight_initializer="ones")
    net.initialize()
    if compiled:
        net.hybridize()
    x = np.array(_x())
    for _ in range(4):
        y = np.zeros((4, 2))
        with autograd.record():
            total = (net(x, out=y) * 3).sum()
        total.backward()
        want = numpy.broadcast_to(3 * x.asnumpy().sum(axis=0), (2, 3))
        numpy.testing.assert_allclose(net.weight.grad().asnumpy(), want, rtol=1e-5)


@pytest.mark.parametrize("compiled", [True, False])
def test_gradients_are_not_lost_in_an_array_of_numpys(compiled: bool) -> None:
    net, out = _dense(), numpy.full((4, 2), 5, "f4")
    if compiled:
        net.hybridize()
    x = np.array(_x())
    for _ in range(3):
        with autograd.record(), pytest.raises(GradientError, match="out="):
            net(x, out=out)
        assert (out == 5).all()


def test_a_recorded_value_is_kept_for_its_gradient() -> None:
    x, other = np.array(_x()), np.array(_x(seed=1))
    compiled = _warm(_affine, other, out=np.zeros((4, 3)))
    x.attach_grad()
    with autograd.record():
        y = x * 1
        total = (y * y).sum()
    want = 2 * x.asnumpy()
    compiled(other, out=y)
    total.backward()
    numpy.testing.assert_allclose(x.grad.asnumpy(), want, rtol=1e-6)
    numpy.testing.assert_array_equal(y.asnumpy(), compiled(other).asnumpy())


def test_train_mode_is_the_threads() -> None:
    net = nn.Dropout(0.5)
    net.hybridize()
    x, out = np.ones((50, 50)), np.zeros((50, 50))
    for _ in range(3):
        net(x, out=out)
    with autograd.train_mode():
        net(x, out=out)
    assert (out.asnumpy() == 0).any()
    net(x, out=out)
    assert (out.asnumpy() == 1).all()


@pytest.mark.parametrize("inner_compiled", [True, False])
def test_blocks_inside_of_a_forward_take_it(inner_compiled: bool) -> None:
    class Outer(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Dense(2, in_units=3)

        def forward(self, x: Any) -> Any:
            y = np.zeros((4, 2))
            self.inner(x, out=y)
            return npx.relu(y) + 1

    net, x = Outer(), np.array(_x())
    net.initialize()
    want = net(x).asnumpy()
    if inner_compiled:
        net.inner.hybridize()
    numpy.testing.assert_allclose(net(x).asnumpy(), want, rtol=1e-6)
    net.hybridize()
    for _ in range(3):
        numpy.testing.assert_allclose(net(x).asnumpy(), want, rtol=1e-6)
    assert all(case.program is not None for case in net._hybrid.cases.values())


def test_numpys_arrays_inside_of_a_forward_are_filled_at_each_call() -> None:
    class Outer(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Dense(2, in_units=3)
            self.seen = numpy.zeros((4, 2), "f4")

        def forward(self, x: Any) -> Any:
            self.inner(x, out=self.seen)
            return x * 2

    net, x = Outer(), np.array(_x())
    net.initialize()
    net.hybridize()
    for k in range(4):
        net.seen[...] = 0
        net(x * k)
        numpy.testing.assert_allclose(net.seen, net.inner(x * k).asnumpy(), rtol=1e-6)


def test_out_is_forwards_where_forward_has_it() -> None:
    seen: list[Any] = []

    class Named(nn.Block):
        def forward(self, x: Any, out: Any = None) -> Any:
            seen.append(out)
            return x * 2

    class Others(nn.Block):
        def forward(self, x: Any, **options: Any) -> Any:
            seen.append(options["out"])
            return x * 2

    class Positional(nn.Block):
        def forward(self, x: Any, out: Any = 3, /) -> Any:
            return x * out

    x, out = np.array(_x()), np.zeros((4, 3))
    for kind in (Named, Others):
        for compiled in (False, True):
            net = kind()
            if compiled:
                net.hybridize()
            assert net(x, out=out) is not out
            assert seen[-1] is out
            assert (out.asnumpy() == 0).all()
    assert Positional()(x, out=out) is out
    numpy.testing.assert_allclose(out.asnumpy(), x.asnumpy() * 3, rtol=1e-6)


def test_audited_calls_take_it() -> None:
    net, x = _dense(), np.array(_x())
    net.hybridize(audit=1.0)
    out = np.zeros((4, 2))
    for _ in range(4):
        out[...] = 0
        net(x, out=out)
        numpy.testing.assert_allclose(out.asnumpy(), net(x).asnumpy(), rtol=1e-5, atol=1e-7)
