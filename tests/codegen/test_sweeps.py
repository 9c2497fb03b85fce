"""Sweeps along rows, and maps of them, as vector code: every length, the ends of rows, and what lies beyond them."""

from __future__ import annotations

import ctypes
import mmap
import re
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy
import pytest
from graphs import LEVELS, Memory, Native, graph_for, meant, natively
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import TOLERANCES

from blockfuse.codegen.compile import compile_flow
from blockfuse.codegen.cpu.native import engine, isa
from blockfuse.codegen.cpu.native.frontend import lowered
from blockfuse.codegen.cpu.native.object_code import kernel_code
from blockfuse.codegen.cpu.source.render import render
from blockfuse.codegen.kernels.loop_kernels import MapKernel, RowKernel
from blockfuse.ir.graph import Graph
from blockfuse.ir.operators import contractions, movement, neural, pointwise, reductions

pytestmark = pytest.mark.spread(3)

FLOATS = ("float32", "float64")


def folded(row: Any, x: Any) -> Any:
    return row(x, axis=(1,), keepdims=False)


def spread(x: Any) -> Any:
    """Two folds in one sweep."""
    return folded(reductions.max_, x) - folded(reductions.min_, x) * folded(reductions.sum_, x)


def masked(x: Any) -> Any:
    """Flags among the values of a sweep."""
    return folded(reductions.sum_, pointwise.where(pointwise.greater(x, 0), pointwise.exp(x), x))


def above_mean(x: Any) -> Any:
    """A result of flags."""
    return pointwise.greater(x, reductions.mean(x, axis=(1,), keepdims=True))


def doubled(x: Any) -> Any:
    """Two dtypes in one sweep."""
    return folded(reductions.sum_, pointwise.cast(x, dtype="float64") * 2)


def of_first(x: Any) -> Any:
    """A value that is the same along the row, and is folded with the others."""
    first = movement.get_item(x, index=(("slice", 0, x.shape[0], 1), ("slice", 0, 1, 1)))
    return folded(reductions.sum_, x * first)


def first_row(x: Any) -> Any:
    return movement.get_item(x, index=(("slice", 0, 1, 1), ("slice", 0, x.shape[1], 1)))


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "softmax": lambda x: neural.softmax(x, axis=1),
    "log softmax": lambda x: neural.log_softmax(x, axis=1),
    "layer norm": lambda x: (
        (x - reductions.mean(x, axis=(1,), keepdims=True))
        / reductions.std(x, axis=(1,), keepdims=True, ddof=0)
    ),
    "sum": lambda x: folded(reductions.sum_, x),
    "product": lambda x: folded(reductions.prod, x * 0.25 + 1),
    "maximum": lambda x: folded(reductions.max_, x),
    "minimum": lambda x: folded(reductions.min_, pointwise.tanh(x)),
    "spread": spread,
    "masked": masked,
    "above mean": above_mean,
    "doubled": doubled,
    "of first": of_first,
    "moved": lambda x: pointwise.tanh(x * 2 + first_row(x)),
}


def numbers(rows: int, columns: int, dtype: str) -> numpy.ndarray:
    return numpy.random.default_rng([rows, columns]).uniform(-2, 2, (rows, columns)).astype(dtype)


def check(recorded: Graph, x: numpy.ndarray, level: str = "") -> None:
    """As near to float64 as the tolerance of the dtype, times the length of a sum."""
    (found,), (plain,) = Native(recorded, level)(x), meant(recorded, [x])
    (wanted,) = meant(recorded, [x.astype("float64")])
    assert (found.shape, found.dtype) == (plain.shape, plain.dtype)
    rtol, atol = TOLERANCES[x.dtype.name]
    numpy.testing.assert_allclose(found, wanted, rtol=4 * rtol, atol=4 * atol * x.shape[1])


# -- every length ----------------------------------------------------------------------------------------------


@pytest.mark.spread(12)
@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=5)
@given(st.integers(1, 200), st.sampled_from(FLOATS), st.sampled_from(LEVELS))
def test_rows_of_any_length(name: str, columns: int, dtype: str, level: str) -> None:
    x = numbers(5, columns, dtype)
    check(graph_for(FUNCTIONS[name], [x]), x, level)


@pytest.mark.parametrize("columns", [1, 11, 16, 33, 127, 4096, 4097])
def test_a_softmax_of_rows_of_typical_lengths(columns: int) -> None:
    x = numbers(3, columns, "float32")
    check(graph_for(FUNCTIONS["softmax"], [x]), x)


# -- rows that are not numbers -----------------------------------------------------------------------------------

ODD = {
    "nan first": (0, numpy.nan),
    "nan last": (-1, numpy.nan),
    "infinite": (-1, numpy.inf),
    "minus infinite": (0, -numpy.inf),
    "minus zero": (slice(None), -0.0),
    "nothing but nan": (slice(None), numpy.nan),
    "nothing but minus infinity": (slice(None), -numpy.inf),
    "largest": (slice(None), numpy.finfo("float32").max),
}


DIVISORS = {
    "float32": (
        3.0,
        -11.3,
        1e-30,
        1e-40,
        -1e-45,
        1e-38,
        2.0**126,
        -3e38,
        0.0,
        -0.0,
        numpy.inf,
        -numpy.inf,
        numpy.nan,
        1.9999999,
    ),
    "float64": (
        3.0,
        -11.3,
        1e-300,
        1e-310,
        -5e-324,
        2.0**1022,
        -1.7e308,
        0.0,
        -0.0,
        numpy.inf,
        -numpy.inf,
        numpy.nan,
    ),
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_quotients_by_one_divisor_are_those_of_numpy(dtype: str, level: str) -> None:
    """Signs of zeros and what is not finite included; to the last place where what is left of a number is subnormal."""
    info = numpy.finfo(dtype)
    rng = numpy.random.default_rng(6)
    drawn = rng.uniform(1, 2, 4000) * 2.0 ** rng.integers(info.minexp, info.maxexp, 4000)
    special = [0.5, 0.0, info.tiny, info.smallest_subnormal, info.max, numpy.inf, numpy.nan, 1.0, 3.0]
    x = numpy.array([7.0, *drawn, *special, *(-v for v in special)], dtype)
    divisors = numpy.array(DIVISORS[dtype], dtype)
    values = [numpy.tile(x, (len(divisors), 1)), divisors[:, None]]
    found = Native(graph_for(pointwise.divide, values), level)(*values)[0]
    with numpy.errstate(all="ignore"):
        wanted = values[0] / values[1]
    numpy.testing.assert_array_equal(numpy.isnan(found), numpy.isnan(wanted))
    is_number = ~numpy.isnan(wanted)
    numpy.testing.assert_array_equal(numpy.signbit(found)[is_number], numpy.signbit(wanted)[is_number])
    rest = 2.0 * info.tiny / info.eps
    is_exact = (
        (abs(values[0]) >= rest) & (abs(wanted) >= info.tiny) | ~numpy.isfinite(wanted) | (values[0] == 0)
    )
    numpy.testing.assert_array_equal(found[is_exact], wanted[is_exact])
    near = {"rtol": info.eps, "atol": info.smallest_subnormal}
    numpy.testing.assert_allclose(found[~is_exact], wanted[~is_exact], **near)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["softmax", "maximum", "minimum", "sum", "masked", "above mean"])
def test_rows_that_hold_what_is_not_a_number(name: str, level: str) -> None:
    x = numbers(len(ODD), 43, "float32")
    for row, (place, value) in zip(x, ODD.values(), strict=True):
        row[place] = value
    recorded = graph_for(FUNCTIONS[name], [x])
    (found,), (wanted,) = Native(recorded, level)(x), meant(recorded, [x])
    numpy.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


# -- what lies beyond a row ------------------------------------------------------------------------------------


_MEMORY = Memory()


class Kernel:
    """The only kernel of a function of one matrix, called with memory of the test's own."""

    def __init__(self, function: Callable[[Any], Any], x: numpy.ndarray, level: str) -> None:
        machine = isa.machine(level)
        plan = compile_flow(graph_for(function, [x]), machine).schedule
        (launch,) = plan.launches
        assert isinstance(launch.kernel, RowKernel | MapKernel)
        self.source, self.name = render(launch.kernel), launch.kernel.name
        code = kernel_code(launch.kernel, self.source, machine, _MEMORY)
        self._loaded = engine.load(code, machine)
        signature = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 2)
        self._call = signature(self._loaded.address("kernel"))

    def __call__(self, x: int, out: int, begin: int, end: int) -> None:
        unused = ctypes.byref(ctypes.c_int64())
        self._call(unused, unused, x, out, begin, end)


LENGTHS = (3, 13, 23, 40, 71)


@pytest.mark.parametrize("level", LEVELS)
def test_neighbours_are_neither_written_nor_do_they_matter(level: str) -> None:
    for columns, dtype in product(LENGTHS, FLOATS):
        x = numbers(9, columns, dtype)
        kernel = Kernel(FUNCTIONS["softmax"], x, level)
        assert ("row_sweep" in kernel.source) == (columns > 10)
        wanted, out = numpy.full_like(x, 7), numpy.full_like(x, 7)
        kernel(x.ctypes.data, wanted.ctypes.data, 0, 9)
        others = numpy.full_like(x, numpy.nan)
        others[3:8] = x[3:8]
        kernel(others.ctypes.data, out.ctypes.data, 3, 8)
        assert out[3:8].tobytes() == wanted[3:8].tobytes()
        assert (out[:3] == 7).all()
        assert (out[8:] == 7).all()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["softmax", "above mean"])
def test_nothing_is_touched_beyond_the_last_row(name: str, level: str) -> None:
    for columns in (*LENGTHS, 12, 16, 18):
        x = numbers(2, columns, "float32")
        (wanted,) = meant(graph_for(FUNCTIONS[name], [x]), [x])
        kernel = Kernel(FUNCTIONS[name], x, level)
        with GuardedPage() as read, GuardedPage() as written:
            source, target = read.last(x.nbytes), written.last(wanted.nbytes)
            ctypes.memmove(source, x.ctypes.data, x.nbytes)
            kernel(source, target, 0, 2)
            found = numpy.frombuffer(ctypes.string_at(target, wanted.nbytes), wanted.dtype)
        numpy.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-5)


FLAT: dict[str, Callable[[Any], Any]] = {
    "numbers": lambda x: pointwise.exp(x) * 2 + 1,
    "flags": lambda x: pointwise.greater(neural.sigmoid(x), 0.5),
    "two dtypes": lambda x: pointwise.tanh(pointwise.cast(x, dtype="float64")) + x,
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", FLAT)
def test_flat_maps_of_functions_touch_their_elements_only(name: str, dtype: str, level: str) -> None:
    """Of any number, from anywhere on, and give the same bits wherever a launch is cut."""
    x = numbers(1, 300, dtype)[0]
    (wanted,) = meant(graph_for(FLAT[name], [x]), [x])
    kernel = Kernel(FLAT[name], x, level)
    assert "extent=0" in kernel.source
    whole = numpy.zeros_like(wanted)
    kernel(x.ctypes.data, whole.ctypes.data, 0, 300)
    numpy.testing.assert_allclose(whole, wanted, rtol=1e-5)
    for begin, end in ((0, 0), (7, 8), (3, 18), (5, 37), (1, 64), (0, 65), (2, 131), (11, 300)):
        found = numpy.full_like(wanted, 7)
        kernel(x.ctypes.data, found.ctypes.data, begin, end)
        assert found[begin:end].tobytes() == whole[begin:end].tobytes()
        assert (found[:begin] == found.dtype.type(7)).all()
        assert (found[end:] == found.dtype.type(7)).all()
        with GuardedPage() as read, GuardedPage() as written:
            source, target = read.last(x[:end].nbytes), written.last(wanted[:end].nbytes)
            ctypes.memmove(source, x.ctypes.data, x[:end].nbytes)
            kernel(source, target, begin, end)


class GuardedPage:
    """A page of memory before one that nobody may touch."""

    def __enter__(self) -> GuardedPage:
        self._memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
        self._beyond = ctypes.addressof(ctypes.c_char.from_buffer(self._memory)) + mmap.PAGESIZE
        self._protect(0)
        return self

    def last(self, size: int) -> int:
        """The address of the last ``size`` bytes of the page."""
        return self._beyond - size

    def __exit__(self, *_: object) -> None:
        self._protect(mmap.PROT_READ | mmap.PROT_WRITE)

    def _protect(self, access: int) -> None:
        done = ctypes.CDLL(None).mprotect(ctypes.c_void_p(self._beyond), mmap.PAGESIZE, access)
        assert done == 0


@pytest.mark.parametrize("name", ["softmax", "layer norm", "sum"])
def test_a_row_gives_the_same_bits_wherever_a_launch_is_cut(name: str) -> None:
    for columns in (13, 71, 260):
        x = numbers(13, columns, "float32")
        kernel = Kernel(FUNCTIONS[name], x, "")
        whole, parts = (numpy.zeros((13, columns), "float32") for _ in range(2))
        kernel(x.ctypes.data, whole.ctypes.data, 0, 13)
        for begin, end in ((0, 1), (1, 6), (6, 13)):
            kernel(x.ctypes.data, parts.ctypes.data, begin, end)
        assert whole.tobytes() == parts.tobytes()


# -- which sweeps are vector code --------------------------------------------------------------------------------


def source_of(function: Callable[[Any], Any], shape: tuple[int, ...], dtype: str = "float32") -> str:
    (source,) = Native(graph_for(function, [numpy.ones(shape, dtype)])).sources
    return source


def _every_second(x: Any) -> Any:
    return movement.get_item(x, index=(("slice", 0, x.shape[0], 1), ("slice", 0, x.shape[1], 2)))


LOOPS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...], str]] = {
    "rows of few elements": (FUNCTIONS["softmax"], (5, 10), "float32"),
    "elements that lie apart": (lambda x: folded(reductions.sum_, _every_second(x)), (5, 64), "float32"),
    "integers": (FUNCTIONS["sum"], (5, 64), "int32"),
    "flags that are folded": (
        lambda x: folded(reductions.any_, pointwise.greater(x, 0)),
        (5, 64),
        "float32",
    ),
    "functions of the C library": (
        lambda x: folded(reductions.sum_, pointwise.sin(x)),
        (5, 64),
        "float32",
    ),
    "an error function of float64": (
        lambda x: folded(reductions.sum_, neural.erf(x)),
        (5, 64),
        "float64",
    ),
    "long sums of float32": (FUNCTIONS["sum"], (2, 5000), "float32"),
    "maps of rows that end with a vector": (lambda x: x * 2 + first_row(x), (5, 48), "float32"),
}


@pytest.mark.parametrize("name", LOOPS)
def test_what_stays_a_loop(name: str) -> None:
    function, shape, dtype = LOOPS[name]
    source = source_of(function, shape, dtype)
    assert "row_sweep" not in source


def test_what_is_kept_for_the_next_sweep_stays_near() -> None:
    assert "sweep2(near, out, r, t3)" in source_of(FUNCTIONS["softmax"], (5, 64))
    assert "near" not in source_of(FUNCTIONS["softmax"], (5, 4097), "float64")


def test_near_memory_has_room_for_whole_vectors() -> None:
    kernel = Kernel(FUNCTIONS["softmax"], numbers(5, 1000, "float32"), "")
    text = lowered(kernel.source, kernel.name, ("float32", "float32"), isa.machine())
    assert re.search(r"alloca float, i\d+ 1008, align 64", text)


def test_the_rows_of_a_map_that_end_within_a_vector_are_sweeps() -> None:
    for columns in (9, 47):
        assert "sweep(x0, x1, out, i)" in source_of(FUNCTIONS["moved"], (5, columns))
    assert "sweep" not in source_of(FUNCTIONS["moved"], (5, 8))


def test_integers_of_a_row_keep_their_sign() -> None:
    x, counts = numbers(3, 20, "float64"), numpy.ones((3, 20), "uint64")
    counts[1:, 4] = 2**63
    recorded = graph_for(lambda x, n: x * reductions.sum_(n, axis=(1,), keepdims=True), [x, counts])
    program = Native(recorded)
    (found,), (wanted,) = program(x, counts), meant(recorded, [x, counts])
    assert "float64(t0)" in program.sources[0].partition("def sweep1")[2]
    numpy.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("columns", [17, 33])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_last_column_alone_in_its_vector_is_a_scalar(columns: int, dtype: str) -> None:
    """LLVM aborts where it combines vectors of one element: the process would be gone."""

    def shares(x: Any, mask: Any) -> Any:
        kept = pointwise.where(mask, x, 0.0)
        return kept / reductions.sum_(kept, axis=(1,), keepdims=True)

    x = numpy.random.default_rng(3).uniform(1, 2, (columns, columns)).astype(dtype)
    mask = numpy.tri(columns, dtype=bool)
    (found,) = natively(shares, x, mask)
    kept = numpy.where(mask, x, 0)
    numpy.testing.assert_allclose(found, kept / kept.sum(axis=1, keepdims=True), rtol=1e-6)


@pytest.mark.parametrize("columns", [5, 16, 31, 37])
def test_flags_are_stored_as_bytes_of_0_and_1(columns: int) -> None:
    """NumPy takes every byte but 0 for true, and counts on 1."""
    x, y = (numpy.random.default_rng(n).integers(0, 3, (4, columns)).astype("float32") for n in range(2))
    w = numpy.eye(columns, dtype="float32")

    def compared(x: Any, y: Any, w: Any) -> tuple[Any, ...]:
        total = reductions.sum_(x, axis=(1,), keepdims=True)
        return (
            pointwise.greater(x, y),
            pointwise.less(x, total),
            pointwise.greater(contractions.dense(x, w), y),
        )

    for found, wanted in zip(
        natively(compared, x, y, w), (x > y, x < x.sum(1, keepdims=True), x > y), strict=True
    ):
        assert found.view("uint8").tolist() == wanted.view("uint8").tolist()
