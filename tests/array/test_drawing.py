"""Random draws: pieces of the stream, the kernels of their numbers, what eager and compiled calls draw from one stream."""

import contextlib
import ctypes
import gc
import sys
from collections.abc import Callable
from functools import reduce
from itertools import chain, pairwise
from typing import Any

import numpy
import pytest
from graphs import LEVELS, Memory, Native, graph, graph_for, meant, natively
from hypothesis import given, settings
from hypothesis import strategies as st
from sampling import sampled
from threads import together

import blockfuse
from blockfuse import autograd, nn, np, npx
from blockfuse.codegen.compile import compile_flow
from blockfuse.codegen.cpu.native import engine, isa
from blockfuse.codegen.cpu.native.object_code import kernel_code
from blockfuse.codegen.cpu.source.render import render
from blockfuse.codegen.scheduling.steps import HostCall
from blockfuse.ir import stream
from blockfuse.ir.errors import UsageError
from blockfuse.ir.operators import drawing, movement, pointwise, reductions
from blockfuse.ir.stream import STREAM, generator_of, is_known

pytestmark = pytest.mark.spread(2)

WIDTHS = ["float32", "float64"]
COUNTS = [0, 1, 2, 3, 7, 8, 15, 16, 17, 18, 31, 1000, 1001]


def stream_state() -> Any:
    """Where the stream is."""
    return STREAM.generator.bit_generator.state


def reference(seed: int) -> numpy.random.Generator:
    """NumPy's generator for a seed, which nothing of ours touches."""
    return numpy.random.Generator(numpy.random.PCG64(seed))


def program_of(compiled: Any) -> Any:
    return next(reversed(compiled._hybrid.cases.values())).program


# -- pieces ----------------------------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(st.sampled_from(["reserve", "draw", "normal"]), st.sampled_from(WIDTHS), st.integers(0, 40)),
    min_size=1,
    max_size=12,
)


@given(seed=st.integers(0, 2**64), steps=steps)
@settings(max_examples=300)
def test_a_piece_holds_what_numpy_would_draw_and_leaves_the_stream_there(seed: int, steps: Any) -> None:
    STREAM.seed(seed)
    plain = reference(seed)
    for kind, width, count in steps:
        if kind == "normal":
            found, wanted = (g.standard_normal(count) for g in (STREAM.generator, plain))
        elif kind == "draw":
            found, wanted = (g.random(count, width) for g in (STREAM.generator, plain))
        else:
            piece, wanted = STREAM.reserve(count, width), plain.random(count, width)
            found = generator_of(piece).random(count, width)
            assert piece[0, 3] == count
        assert found.tobytes() == wanted.tobytes()
        assert stream_state() == plain.bit_generator.state


@pytest.mark.parametrize("kept", [0, 1])
def test_a_state_of_the_stream_brings_its_draws_back(kept: int) -> None:
    np.random.seed(5)
    np.random.uniform(size=(4 + kept,))
    state, where = np.random.get_state(), stream_state()
    first = np.random.uniform(size=(5,)).asnumpy(), np.random.normal(size=(5,)).asnumpy()
    np.random.seed(6)
    np.random.set_state(state.asnumpy().tolist() if kept else state)
    assert stream_state() == where
    assert where["has_uint32"] == kept
    again = np.random.uniform(size=(5,)).asnumpy(), np.random.normal(size=(5,)).asnumpy()
    assert [a.tobytes() for a in first] == [a.tobytes() for a in again]


@pytest.mark.parametrize(
    ("place", "value"), [(slice(5), 0), (2, 2), (4, 2), (5, 1 << 32)], ids=["few", "even", "halves", "wide"]
)
def test_what_is_no_state_of_the_stream_leaves_it_where_it_is(place: Any, value: int) -> None:
    before, words = stream_state(), np.random.get_state().asnumpy()
    words[place] = value
    for wrong in (words if place != slice(5) else words[:5], words.astype("float64"), "a state", None):
        with pytest.raises(UsageError, match="what get_state gave"):
            np.random.set_state(wrong)
    assert stream_state() == before


def test_a_call_that_reads_or_moves_the_stream_runs_in_python() -> None:
    @blockfuse.hybridize
    def again(x: Any) -> Any:
        state = np.random.get_state()
        first = x + np.random.uniform(size=(3,))
        np.random.set_state(state)
        return first - x - np.random.uniform(size=(3,))

    for _ in range(3):
        assert not again(np.zeros(3)).asnumpy().any()
    assert "the random stream" in again.explain()


def test_a_generator_that_is_not_ours_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(STREAM, "generator", numpy.random.Generator(numpy.random.Philox(1)))
    with pytest.raises(AssertionError, match="seed"):
        STREAM.reserve(1, "float32")


def test_numbers_that_numpy_makes_in_another_way_are_noticed() -> None:
    class Rounded(numpy.random.Generator):
        def random(self, *args: Any) -> Any:
            return super().random(*args).round(6)

    assert all(is_known(numpy.random.PCG64(seed)) for seed in range(50))
    assert not is_known(numpy.random.PCG64DXSM(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numpy.random, "Generator", Rounded)
        assert not is_known(numpy.random.PCG64(1))
        patch.undo()
        patch.setattr(stream, "MULTIPLIER", stream.MULTIPLIER + 8)
        stream._steps.cache_clear()
        assert not is_known(numpy.random.PCG64(1))
    stream._steps.cache_clear()


# -- kernels ---------------------------------------------------------------------------------------------------


def piece_of(seed: int, kept: bool, count: int, width: str) -> numpy.ndarray:
    """A piece after an odd or an even number of float32 draws."""
    STREAM.seed(seed)
    STREAM.generator.random(4 + kept, "float32")
    return STREAM.reserve(count, width)


def numbers_of(count: int, width: str) -> Callable[[Any], Any]:
    return lambda piece: drawing.drawn(piece, shape=(count,), dtype=width)


@pytest.mark.spread(7)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("count", COUNTS)
def test_kernels_draw_the_bits_of_numpy(count: int, kept: bool, width: str) -> None:
    for seed in range(3):
        piece = piece_of(seed, kept, count, width)
        (found,) = natively(numbers_of(count, width), piece)
        assert found.tobytes() == generator_of(piece).random(count, width).tobytes()


# name -> what follows from each number alone, and how many kernels that takes
FOLLOWING: dict[str, tuple[Callable[[Any], Any], int]] = {
    "mask": (lambda u: pointwise.cast(pointwise.greater_equal(u, 0.4), dtype="float32") * 2.5, 1),
    "truth": (lambda u: pointwise.less(u, 0.4), 1),
    "square": (lambda u: u * u + 1.5, 1),
    "twice": (lambda u: ((u + 1) * 2, u - 1), 2),
    "many": (lambda u: reduce(lambda v, n: v * 1.25 + n, range(6), u), 2),
    "sum": (lambda u: reductions.sum_(u * 2, axis=(0,), keepdims=False), 2),
    "outer": (lambda u: movement.expand_dims(u, axis=(1,)) * u, 2),
}


@pytest.mark.spread(17)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", FOLLOWING)
def test_what_follows_from_numbers_alone_is_computed_with_them(name: str, width: str) -> None:
    follow, kernels = FOLLOWING[name]
    piece = piece_of(3, True, 45, width)
    program = Native(graph_for(lambda piece: follow(numbers_of(45, width)(piece)), [piece]))
    assert len(program.schedule.launches) == kernels
    for found, wanted in zip(program(piece), meant(program.graph, [piece]), strict=True):
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        numpy.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_mask_is_not_made_in_the_product_that_it_drops_from() -> None:
    net = nn.Sequential()
    net.add(nn.Dense(64, activation="relu", in_units=32), nn.Dropout(0.5))
    net.initialize()
    net.hybridize()
    with autograd.train_mode():
        net(np.ones((16, 32)))
    names = [launch.kernel.name for launch in program_of(net).schedule.launches]
    assert names == ["drawn_greater_equal_cast_multiply", "dense_relu_multiply"]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("level", LEVELS)
def test_kernels_of_every_instruction_set_and_of_several_threads_draw_the_same(
    level: str, width: str
) -> None:
    count = 200_001
    piece = piece_of(9, True, count, width)
    (found,) = natively(numbers_of(count, width), piece, level=level, threads=3)
    assert found.tobytes() == generator_of(piece).random(count, width).tobytes()


@pytest.mark.spread(2)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kept", [False, True])
def test_rows_can_be_cut_anywhere(kept: bool, width: str) -> None:
    count, machine = 301, isa.machine()
    piece = piece_of(5, kept, count, width)
    recorded = graph(numbers_of(count, width), x="uint64[41, 4]")
    (launch,) = compile_flow(recorded, machine).schedule.launches
    code = engine.load(kernel_code(launch.kernel, render(launch.kernel), machine, Memory()), machine)
    kernel = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_int64] * 6)(code.address("kernel"))
    pick = numpy.random.default_rng(2)
    for _ in range(20):
        out, unused = numpy.full(count + 2, -1, width), ctypes.addressof(ctypes.c_int64())
        cuts = [0, *sorted(pick.integers(0, launch.rows + 1, 5)), launch.rows]
        for begin, end in pairwise(cuts):
            address = out.ctypes.data + out.itemsize
            kernel(unused, unused, piece.ctypes.data, address, int(begin), int(end))
        assert out[1:-1].tobytes() == generator_of(piece).random(count, width).tobytes()
        assert out[0] == out[-1] == -1


# -- compiled calls --------------------------------------------------------------------------------------------

# name -> a draw of a shape and a dtype
DRAWS: dict[str, Callable[[Any, str], Any]] = {
    "uniform": lambda shape, dtype: np.random.uniform(size=shape, dtype=dtype),
    "between": lambda shape, dtype: np.random.uniform(-2, 3, size=shape, dtype=dtype),
    "bernoulli": lambda shape, dtype: np.random.bernoulli(0.3, size=shape, dtype=dtype),
    "dropout": lambda shape, dtype: npx.dropout(np.ones(shape, dtype=dtype), 0.4, mode="always"),
    "nothing": lambda shape, dtype: npx.dropout(np.ones(shape, dtype=dtype), 1.0, mode="always"),
    "normal": lambda shape, dtype: np.random.normal(size=shape, dtype=dtype),
    "integers": lambda shape, dtype: np.random.randint(0, 9, size=shape).astype(dtype),
}
shapes = st.sampled_from([(), (1,), (3,), (2, 5), (0,), (7, 3), (33,)])
sequences = st.lists(
    st.tuples(st.sampled_from(sorted(DRAWS)), shapes, st.sampled_from(["float16", *WIDTHS])),
    min_size=1,
    max_size=5,
)


@given(sequence=sequences, seed=st.integers(0, 2**32))
@sampled(2, 40)
def test_compiled_calls_draw_what_eager_calls_draw(sequence: Any, seed: int) -> None:
    def drawn(x: Any) -> Any:
        return [DRAWS[name](shape, dtype) + x.astype(dtype) for name, shape, dtype in sequence]

    x, compiled = np.zeros(()), blockfuse.hybridize(drawn)
    compiled(x)
    STREAM.seed(seed)
    wanted = [drawn(x) for _ in range(2)], stream_state()
    STREAM.seed(seed)
    found = [compiled(x) for _ in range(2)], stream_state()
    assert "compiled" in compiled.explain()
    assert found[1] == wanted[1]
    for one, other in zip(*(chain(*arrays) for arrays, _ in (found, wanted)), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.asnumpy().tobytes() == other.asnumpy().tobytes()


def test_a_net_with_dropout_drops_the_same_in_training() -> None:
    net = nn.Sequential()
    net.add(nn.Dense(30, activation="relu"), nn.Dropout(0.5), nn.Dense(7), nn.Dropout(0.25, axes=(0,)))
    net.initialize()
    x = np.random.uniform(size=(11, 5))
    results = []
    for hybrid in (False, True):
        net.hybridize(hybrid)
        with autograd.train_mode():
            net(x)
            STREAM.seed(3)
            results.append(([net(x).asnumpy() for _ in range(3)], stream_state()))
    (eager, end), (compiled, found_end) = results
    assert end == found_end
    for one, other in zip(eager, compiled, strict=True):
        assert ((one == 0) == (other == 0)).all()
        numpy.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert len({array.tobytes() for array in compiled}) == 3


def test_only_draws_that_take_as_many_words_as_they_need_run_through_numpy() -> None:
    def noisy(x: Any) -> Any:
        return x + np.random.uniform(size=(3,)) + np.random.normal(size=(3,))

    compiled = blockfuse.hybridize(noisy)
    compiled(np.ones(3))
    compiled(np.ones(3))
    text = compiled.explain()
    assert "kernel drawn: float32[3]" in text
    assert "numpy reserve: takes a piece of the random stream, whose numbers kernels compute" in text
    assert "numpy normal: a number takes as many words of the random stream as it needs" in text
    assert "numpy uniform" not in text


def test_draws_come_before_launches_in_the_order_of_the_program() -> None:
    def mixed(x: Any) -> Any:
        product = np.dot(x * 2, x + np.random.uniform(size=(4, 4)))
        normal = np.random.normal(size=(4, 4))
        return product + normal * np.random.uniform(size=(4, 1), dtype="float64")

    compiled = blockfuse.hybridize(mixed)
    compiled(np.ones((4, 4)))
    made = program_of(compiled).schedule.steps
    names = [step.operator.name if isinstance(step, HostCall) else "" for step in made]
    assert names[:3] == ["reserve", "normal", "reserve"]
    assert set(names[3:]) == {""}


def test_threads_draw_pieces_that_do_not_overlap() -> None:
    count, calls, threads = 5_000, 40, 3
    compiled = blockfuse.hybridize(lambda x: np.random.uniform(size=(count,), dtype="float64") + x)
    zero = np.zeros((), dtype="float64")
    compiled(zero)
    STREAM.seed(8)
    found: list[numpy.ndarray] = []

    def work(number: int) -> None:
        call = compiled if number else compiled.__wrapped__  # one of them is eager
        for _ in range(calls):
            found.append(call(zero).asnumpy())

    together(work, threads)
    pieces = reference(8).random((threads * calls, count))
    assert {array.tobytes() for array in found} == {piece.tobytes() for piece in pieces}
    assert len(found) == len(pieces)
    assert program_of(compiled).executable.calls() == (threads - 1) * calls


def test_a_loop_around_a_compiled_draw_draws_in_every_round() -> None:
    @blockfuse.hybridize
    def noise(x: Any) -> Any:
        return x + np.random.uniform(size=(3,))

    values = [noise(np.zeros(3)).tolist() for _ in range(6)]
    assert len({tuple(v) for v in values}) == 6


def test_draws_keep_their_order_whatever_needs_them_first() -> None:
    def crossed(x: Any) -> Any:
        a, b = np.random.uniform(size=(3,)), np.random.normal(size=(3,))
        c, d = np.random.uniform(size=(2, 3)), np.random.uniform(size=(1, 3), dtype="float64")
        return (d * c).sum(axis=0) - b * x, b + x - a

    compiled, x = blockfuse.hybridize(crossed), np.ones(3)
    compiled(x)
    STREAM.seed(6)
    found, end = compiled(x), stream_state()
    STREAM.seed(6)
    for one, other in zip(found, crossed(x), strict=True):
        numpy.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=1e-5, atol=1e-6)
    assert end == stream_state()
    assert program_of(compiled).entry is not None


def test_draws_that_nothing_is_made_of_are_drawn() -> None:
    def function(x: Any) -> Any:
        noise = np.random.uniform(size=(3,))
        noise[...] = x
        return np.where(np.random.uniform(size=(3,)) > 0.5, noise, noise)

    compiled, x = blockfuse.hybridize(function), np.ones(3)
    for call in (function, compiled):
        np.random.seed(2)
        for _ in range(3):
            call(x)
    found = np.random.uniform(size=(3,)).tolist()
    np.random.seed(2)
    for _ in range(3):
        function(x)
    assert found == np.random.uniform(size=(3,)).tolist()
    assert "compiled" in compiled.explain()


def test_an_order_that_cannot_be_told_is_refused() -> None:
    def crossed(x: Any) -> Any:
        first, second = np.random.uniform(size=(3,)), np.random.uniform(size=(3,))
        return second - first + npx.dropout(x, 1.0, mode="always")

    compiled, x = blockfuse.hybridize(crossed), np.ones(3)
    compiled(x)
    STREAM.seed(6)
    found = compiled(x).tolist()
    STREAM.seed(6)
    assert found == crossed(x).tolist()
    assert "in an order that the compiled program would change" in compiled.explain()


# -- draws of an entry -----------------------------------------------------------------------------------------


def noisy(x: Any) -> Any:
    return (x + np.random.normal(size=(4, 3))).tanh() * np.random.uniform(size=(3,))


def test_an_entry_draws_before_it_runs() -> None:
    compiled, x = blockfuse.hybridize(noisy), np.ones((4, 3))
    compiled(x)
    STREAM.seed(4)
    found, end = [compiled(x).tolist() for _ in range(3)], stream_state()
    STREAM.seed(4)
    assert numpy.allclose(found, [noisy(x).tolist() for _ in range(3)], rtol=1e-5, atol=1e-6)
    assert end == stream_state()
    assert program_of(compiled).executable.calls() == 3


def test_a_call_that_the_entry_refuses_has_drawn_nothing() -> None:
    compiled, x = blockfuse.hybridize(noisy), np.ones((4, 3))
    compiled(x)
    STREAM.seed(4)
    before = stream_state()
    entry = program_of(compiled).entry
    turned = np.ones((3, 4)).T
    assert all(entry(*given) is NotImplemented for given in ((), (x, x), (np.ones((4, 4)),)))
    assert stream_state() == before
    found, end = compiled(turned), stream_state()
    STREAM.seed(4)
    assert numpy.allclose(found, noisy(turned), rtol=1e-5, atol=1e-6)
    assert end == stream_state()


@pytest.mark.parametrize("first", [True, False])
def test_a_call_that_meets_a_fault_has_drawn_what_python_draws(first: bool) -> None:
    table = np.array(numpy.arange(12, dtype="float32").reshape(4, 3))

    def picked(places: Any) -> Any:
        noise = np.random.uniform(size=(2, 3)) if first else 0
        rows = table[places]
        return (rows + np.random.uniform(size=(2, 3)) + noise).tanh()

    compiled, good, bad = blockfuse.hybridize(picked), np.array([0, 3]), np.array([1, 4])
    compiled(good)
    program = program_of(compiled)
    calls = program.executable.calls()
    found, ends = [], []
    for call in (compiled, picked):
        STREAM.seed(4)
        found.append(call(good))
        with pytest.raises(IndexError):
            call(bad)
        found.append(call(good))
        ends.append(stream_state())
    assert ends[0] == ends[1]
    assert np.allclose(found[0], found[2])
    assert np.allclose(found[1], found[3])
    assert program.executable.calls() == calls + 2
    before = stream_state()
    references = sys.getrefcount(numpy.dtype("float32"))
    assert all(program.entry(bad) is NotImplemented for _ in range(200))
    assert stream_state() == before
    assert abs(sys.getrefcount(numpy.dtype("float32")) - references) < 50


def test_draws_are_taken_back_only_while_nobody_else_has_drawn() -> None:
    np.random.seed(3)
    bits = STREAM.generator.bit_generator
    before, first, after = bits.state, np.random.uniform().item(), bits.state
    STREAM.take_back(bits, before, after)
    assert np.random.uniform().item() == first
    second = np.random.uniform().item()
    STREAM.take_back(bits, before, after)
    third = np.random.uniform().item()
    np.random.seed(3)
    assert [first, second, third] == [np.random.uniform().item() for _ in range(3)]


@pytest.mark.long
def test_what_drawing_raises_is_raised_by_the_call_and_nothing_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, x = blockfuse.hybridize(noisy), np.ones((4, 3))
    compiled(x)
    owner = program_of(compiled).executable._owner

    def counts() -> numpy.ndarray:
        gc.collect()  # what earlier tests left behind refers to the empty binding as well
        return numpy.array([sys.getrefcount(owner.binding), sys.getrefcount(numpy.dtype("float32"))])

    for generator in (numpy.random.Generator(numpy.random.Philox(1)), STREAM.generator):
        monkeypatch.setattr(STREAM, "generator", generator)
        before = counts()
        for _ in range(100):
            with contextlib.suppress(AssertionError):
                compiled(x)
                assert generator.bit_generator.state["bit_generator"] == "PCG64"
        assert numpy.abs(counts() - before).max() < 50  # others come and go; a leak of each call is 100
    assert program_of(compiled).executable.calls() == 100  # what raises is not counted


class Meddling:
    """A generator; when it is asked for the first time, it does something else before."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work: Callable[[], None] | None = work
        self.generator = STREAM.generator

    @property
    def bit_generator(self) -> Any:
        work, self.work = self.work, None
        if work is not None:
            work()
        return self.generator.bit_generator


def test_parameters_that_change_while_a_call_draws_are_old_or_new(monkeypatch: pytest.MonkeyPatch) -> None:
    class Noisy(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Dense(40, in_units=30)

        def forward(self, x: Any) -> Any:
            return self.dense(x) + np.random.uniform(size=(40,)) * 0

    net, x = Noisy(), np.random.uniform(size=(8, 30))
    net.initialize()
    net.hybridize()
    old = net.forward(x).asnumpy()
    net(x)

    def meddle() -> None:
        weight = net.dense.weight
        weight.set_data(weight.data() * 2)
        net(x)  # the program has the new ones now
        garbage.extend(
            numpy.full(n, numpy.nan, "float32") for n in (1200, 1920) * 50
        )  # in their place, if they are gone

    garbage: list[numpy.ndarray] = []

    calls = program_of(net).executable.calls()
    with monkeypatch.context() as patch:
        patch.setattr(STREAM, "generator", Meddling(meddle))
        found = net(x).asnumpy()
    assert program_of(net).executable.calls() > calls
    new = net.forward(x).asnumpy()
    assert min(abs(found - wanted).max() for wanted in (old, new)) < 1e-5
    assert abs(net(x).asnumpy() - new).max() < 1e-5
    assert abs(old - new).max() > 1e-2


def test_draws_that_are_results_are_not_written_by_later_calls() -> None:
    def both(x: Any) -> Any:
        return np.random.normal(size=(5,)), np.random.uniform(size=(5,)), x + np.random.normal(size=(5,))

    compiled, x = blockfuse.hybridize(both), np.ones(5)
    compiled(x)
    assert program_of(compiled).entry is not None
    STREAM.seed(2)
    found = [compiled(x) for _ in range(3)]
    STREAM.seed(2)
    for one, other in zip(found, [both(x) for _ in range(3)], strict=True):
        assert [a.tolist() for a in one] == [a.tolist() for a in other]


# -- ranges and parameters -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("bounds", [(0, 1), (0, 3), (1, 2), (-3, 7), (100, 100.001)], ids=str)
def test_uniform_draws_stay_below_their_upper_bound(dtype: str, bounds: tuple[float, float]) -> None:
    """The numbers of a piece that are nearest to 1 are rounded up, where they are moved or cast."""
    low, high = (numpy.dtype(dtype).type(b) for b in bounds)
    np.random.seed(0)
    drawn = np.random.uniform(*bounds, size=200_000, dtype=dtype).asnumpy()
    assert (drawn >= low).all()
    assert (drawn < high).all() or low == high


def test_bounds_that_are_arrays_are_kept_too() -> None:
    low, high = np.array([100.0, 0.0, 5.0]), np.array([100.001, 1.0, 5.0])
    drawn = np.random.uniform(low, high, size=(50_000, 3)).asnumpy()
    assert (drawn[:, :2] < high.asnumpy()[:2]).all()
    assert (drawn[:, 2] == 5).all()


@pytest.mark.long
def test_compiled_draws_of_halves_are_those_of_eager_calls() -> None:
    def draws(x: Any) -> Any:
        return np.random.uniform(size=(64,), dtype="float16"), np.random.uniform(1, 2, size=(64,)) + x

    compiled = blockfuse.hybridize(draws)
    for _ in range(3):
        np.random.seed(5)
        wanted = draws(np.ones(64))
        np.random.seed(5)
        assert all((x == y).all() for x, y in zip(compiled(np.ones(64)), wanted, strict=True))


R = np.random
WRONG: dict[str, Callable[[Any], Any]] = {
    "normal": lambda x: R.normal(0.0, x),
    "laplace": lambda x: R.laplace(0.0, x),
    "gumbel": lambda x: R.gumbel(0.0, x),
    "logistic": lambda x: R.logistic(0.0, x),
    "lognormal": lambda x: R.lognormal(0.0, x),
    "exponential": lambda x: R.exponential(x),
    "gamma's shape": lambda x: R.gamma(x),
    "gamma's scale": lambda x: R.gamma(2.0, x),
    "beta's a": lambda x: R.beta(x, 1.0),
    "beta's b": lambda x: R.beta(1.0, x),
    "chisquare": lambda x: R.chisquare(x),
    "poisson": lambda x: R.poisson(x),
    "binomial": lambda x: R.binomial(3, x),
    "bernoulli": lambda x: R.bernoulli(x),
    "uniform": lambda x: R.uniform(0.0, x),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize(
    "value", [-1, -0.5, numpy.float32(-1), [0.5, -1.0], numpy.array([-1.0]), np.array([0.5, -1.0])], ids=repr
)
def test_parameters_that_no_distribution_has_are_refused(name: str, value: Any) -> None:
    before = stream_state()
    with pytest.raises(ValueError, match=r"must|< 0"):
        WRONG[name](value)
    assert stream_state() == before, "nothing was drawn"
    WRONG[name](0.5)
    WRONG[name](np.array([0.5, 0.25]))


def test_a_compiled_call_with_a_wrong_parameter_raises_as_eager_does() -> None:
    compiled = blockfuse.hybridize(lambda x, scale: x + np.random.normal(0, scale, size=x.shape))
    x = np.ones(3)
    for scale in (2.0, np.array([1.0, 2.0, 3.0])):
        for _ in range(3):
            compiled(x, scale)
        with pytest.raises(ValueError, match="scale must not be negative; found -"):
            compiled(x, scale * -1)
        compiled(x, scale)


@pytest.mark.parametrize(
    "call",
    [
        lambda: R.choice(5, p=[0.1] * 5),
        lambda: R.choice(5, p=[0.2] * 4),
        lambda: R.choice(2, p=[-0.5, 1.5]),
        lambda: R.choice(0),
        lambda: R.choice(3, 4, replace=False),
        lambda: R.multinomial(3, [0.6, 0.6, 0.0]),
        lambda: R.multinomial(3, [-0.5, 1.5]),
        lambda: R.multinomial(-3, [0.5, 0.5]),
        lambda: R.binomial(-1, 0.5),
        lambda: R.binomial(3, 1.5),
        lambda: R.bernoulli(1.5),
        lambda: R.randint(0, 300, dtype="uint8"),
        lambda: R.randint(-1, 3, dtype="uint8"),
        lambda: R.randint(3, 3),
        lambda: R.uniform(1, 0),
        lambda: R.normal(np.zeros(3), 1.0, size=(1,)),
        lambda: R.exponential(float("-inf")),
    ],
)
def test_draws_that_cannot_be_are_refused(call: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        call()


def test_the_last_outcome_has_what_the_others_leave() -> None:
    drawn = np.random.multinomial(1000, [0.25, 0.0], size=4)
    assert (drawn[:, 1] > 600).all()
    assert np.random.choice(3, p=[0.1, 0.2, 0.7]) < 3, "single precision does not sum to 1"


def test_integers_of_numpy_are_sizes_and_counts() -> None:
    five, three = numpy.int64(5), numpy.uint8(3)
    assert np.random.choice(five, size=three).shape == (3,)
    assert np.random.choice(np.array(5, dtype="int32"), three, replace=False).shape == (3,)
    assert np.random.permutation(five).shape == (5,)
    assert np.random.uniform(size=five).shape == np.random.normal(size=(five,)).shape == (5,)
    assert np.random.rand(three, five).shape == np.random.gamma(1.0, size=numpy.array([3, 5])).shape == (3, 5)
    assert np.random.randint(three, five, five).shape == (5,)
    assert np.random.multinomial(three, [0.5, 0.5], three).shape == (3, 2)
