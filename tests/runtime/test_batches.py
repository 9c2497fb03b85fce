"""One program for every batch size, where that is provably right, and a limit to compiling where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampling import sampled
from threads import together
from tolerances import TOLERANCES

import blockfuse
from blockfuse import nn, np, npx
from blockfuse.examples import deep, exercise_1, exercise_2, exercise_3, function, mlp, seeds, transformer_mlp
from blockfuse.ir.errors import TraceError
from blockfuse.runtime.calls import batch_sizes, cases, learning
from blockfuse.tracer.generalize.every_size import EverySize
from blockfuse.tracer.recording.record import record
from blockfuse.tracer.recording.recorder import Recorder

pytestmark = pytest.mark.spread(3)

SIZES = (*range(1, 36), 40, 47, 64, 100, 127, 128, 129, 255, 300)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one entry with every recording."""
    calls: list[int] = []

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return learning_record(*arguments, **options)

    learning_record = learning.record
    monkeypatch.setattr(learning, "record", counted)
    return calls


def numbers(*shape: int, seed: int = 0, low: float = -2.0) -> Any:
    return np.array(numpy.random.default_rng(seed).uniform(low, 2.0, shape).astype("float32"))


def initialized(net: Any, **options: Any) -> Any:
    np.random.seed(3)
    net.initialize(init=blockfuse.init.Uniform(0.3), force_reinit=True)
    net.hybridize(**options)
    return net


def eager(net: Any, *arguments: Any) -> Any:
    hybrid = net._hybrid
    return hybrid.owner.run(arguments, {})


def close(found: Any, wanted: Any) -> None:
    if isinstance(wanted, tuple | list):
        assert type(found) is type(wanted)
        for a, b in zip(found, wanted, strict=True):
            close(a, b)
        return
    if isinstance(wanted, dict):
        assert list(found) == list(wanted)
        close(list(found.values()), list(wanted.values()))
        return
    a, b = found.asnumpy(), wanted.asnumpy()
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    rtol, atol = TOLERANCES.get(b.dtype.name, (0, 0))
    largest = float(abs(b).max()) if b.size and b.dtype != bool else 1.0
    numpy.testing.assert_allclose(a, b, rtol=rtol, atol=max(atol, rtol * largest))


def sweep(net: Any, make: Callable[[int], tuple[Any, ...]], sizes: Any = SIZES, start: Any = (5, 9)) -> None:
    """Two sizes to begin with, then all of them, through the entry and through Python."""
    for size in (*start, *sizes):
        arguments = make(size)
        wanted = eager(net, *arguments)
        close(net(*arguments), wanted)
        close(net(*arguments), wanted)


def any_size(net: Any) -> list[str]:
    """The lines of ``explain()`` that speak of a program for every size."""
    return [line for line in net.explain().split("\n") if "[any" in line and line.endswith("compiled")]


# -- nets that have a program for every size -------------------------------------------------------------------


class Attention(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Dense(8, flatten=False, in_units=6), nn.Dense(8, flatten=False, in_units=6)
        self.norm = nn.LayerNorm(in_channels=6)

    def forward(self, x: Any) -> Any:
        scores = npx.softmax(npx.batch_dot(self.query(x), self.key(x), transpose_b=True) / 8**0.5)
        return self.norm(x + npx.batch_dot(scores, x))


class Several(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(12, in_units=10)

    def forward(self, x: Any, y: Any, scale: Any) -> Any:
        left, right = np.split(self.dense(x), 2, axis=1)
        gated = npx.sigmoid(left) * np.tanh(right)
        both = np.concatenate([gated, y * scale], axis=1)
        return (
            both,
            {"first": both[:, 0] + 1, "wide": both[:, None, 1:4] * 2},
            [np.ones_like(gated) * 2, scale * 3],
        )


def flattening() -> Any:
    net = nn.Sequential()
    net.add(nn.Dense(7, flatten=False, in_units=4), nn.Flatten(), nn.Dense(3, in_units=35, activation="tanh"))
    return net


def layers(*blocks: Any) -> Any:
    net = nn.Sequential()
    net.add(*blocks)
    return net


NETS: dict[str, tuple[Callable[[], Any], Callable[[int], tuple[Any, ...]]]] = {
    "mlp": (mlp.make_mlp, lambda n: (numbers(n, 784),)),
    "deep": (lambda: deep.deep, lambda n: (numbers(n, 64),)),
    "seed mlp": (lambda: seeds.mlp, lambda n: (numbers(n, 20),)),
    "my sequential": (lambda: seeds.my_sequential, lambda n: (numbers(n, 20),)),
    "nested": (lambda: seeds.nest_mlp, lambda n: (numbers(n, 20),)),
    "registered": (lambda: exercise_1.registered, lambda n: (numbers(n, 20),)),
    "parallel": (lambda: exercise_2.parallel, lambda n: (numbers(n, 20),)),
    "stacked": (lambda: exercise_3.stacked, lambda n: (numbers(n, 20),)),
    "feed forward": (lambda: transformer_mlp.FeedForward(64), lambda n: (numbers(n, 5, 64),)),
    "attention": (Attention, lambda n: (numbers(n, 7, 6),)),
    "several": (Several, lambda n: (numbers(n, 10), numbers(n, 4, seed=1), numbers(4, seed=2))),
    "flattening": (flattening, lambda n: (numbers(n, 5, 4),)),
    "one unit": (lambda: layers(nn.Dense(1, in_units=3)), lambda n: (numbers(n, 3),)),
    "wide": (lambda: layers(nn.Dense(130, in_units=33), nn.Dense(130)), lambda n: (numbers(n, 33),)),
    "doubles": (
        lambda: layers(nn.Dense(9, in_units=5, dtype="float64")),
        lambda n: (numbers(n, 5).astype("float64"),),
    ),
}


@pytest.mark.spread(16)
@pytest.mark.parametrize("name", NETS)
def test_one_program_runs_every_size(name: str, recorded: list[int]) -> None:
    kind, make = NETS[name]
    net = initialized(kind())
    sweep(net, make)
    assert len(any_size(net)) == len(net._hybrid.cases) == 1
    assert len(recorded) <= 4  # two sizes and size 1; the first call of all may be recorded twice


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "softmax": lambda x: npx.softmax(x * 2),
    "mean of rows": lambda x: (
        (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1)
    ),
    "sum of rows": lambda x: x.sum(axis=1),
    "flat": lambda x: np.exp(x.reshape(-1)) + 1,
    "pairs": lambda x: x.reshape((-1, 3)).max(axis=1),
    "folded": lambda x: x.reshape((-1, 2, 3)).sum(axis=1) * 2,
    "inner transpose": lambda x: x.reshape((-1, 2, 3)).transpose((0, 2, 1)).reshape((-1, 6)) + x,
    "slices": lambda x: x[:, ::-1] + x[..., 1:2] - x[:, 3:4],
    "expanded": lambda x: x[:, None] * np.ones((1, 4, 1)),
    "squeezed": lambda x: np.squeeze(x[:, None, :]) * 3,
    "written": lambda x: _written(x),
    "masked": lambda x: np.where(x > 0, x, -x) + (x > 1),
    "integers": lambda x: (x * 10).astype("int32") * 3 + 1,
    "repeated": lambda x: np.repeat(x, 2, axis=1) + 1,
    "repeated rows": lambda x: np.repeat(x, 3, axis=0) * 2,
    "same twice": lambda x: (x + 1, x * 0, np.zeros_like(x) + x),
    "einsum": lambda x: np.einsum("bij,bjk->bik", x.reshape((-1, 2, 3)), x.reshape((-1, 3, 2))),
    "matmul with a vector": lambda x: np.dot(x, np.array([1.0, 2, 3, 4, 5, 6])),
    "stacked": lambda x: np.stack([x, x + 1], axis=1),
    "fixed": lambda x: (x + 1, np.ones((2, 3)) * 2),
    "norm of rows": lambda x: x / np.sqrt((x * x).sum(axis=1, keepdims=True) + 1e-3),
    "axes that are counted": lambda x: x * x.ndim if x.ndim == 2 else x,
    "bools": lambda x: (x > 0) & (x < 1),
}


def _written(x: Any) -> Any:
    y = x * 2
    y[:, 1:3] = x[:, :2]
    y[:, 5] = 7
    y += 1
    return y


@pytest.mark.spread(31)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_program_runs_every_size_of_a_function(name: str, recorded: list[int]) -> None:
    function = blockfuse.hybridize(FUNCTIONS[name])
    sweep(function, lambda n: (numbers(n, 6),), sizes=(*range(1, 20), 64, 65, 300))
    assert len(any_size(function)) == 1, function.explain()
    assert len(recorded) <= 4


def test_the_example_function_has_a_program_for_every_size() -> None:
    gain = numbers(64)
    sweep(function.normalized, lambda n: (numbers(n, 64), gain))
    assert any_size(function.normalized)


# -- functions that have none ----------------------------------------------------------------------------------


class Sized(nn.Block):
    def forward(self, x: Any) -> Any:
        return x * x.shape[0]


def _branching(x: Any) -> Any:
    return x * 2 if len(x) < 12 else x * 3


def _counting(x: Any) -> Any:
    total = x[0] * 0
    for row in x:
        total = total + row
    return total


def _trying(x: Any) -> Any:
    try:
        return x.reshape((7, -1)) * 2
    except ValueError:
        return x


def _counted_ones(x: Any) -> Any:
    return x * 2 if np.ones_like(x).sum() < 70 else x * 3


INELIGIBLE: dict[str, Callable[..., Any]] = {
    "shape": lambda x: x * x.shape[0],
    "shape of a part": lambda x: x / (x * 2).shape[0],
    "numpy shape": lambda x: x * np.shape(x)[0],
    "numpy's own shape": lambda x: x * numpy.shape(x)[0],
    "size": lambda x: x / x.size,
    "numpy size": lambda x: x / np.size(x),
    "nbytes": lambda x: x / x.nbytes,
    "length": _branching,
    "iteration": _counting,
    "exceptions": _trying,
    "constants that count": _counted_ones,
    "first rows": lambda x: x[:12] * 2,
    "rows from the end": lambda x: x[-12:] * 2,
    "all but one": lambda x: x[1:] * 2,
    "one row": lambda x: x[0] * 2,
    "reversed rows": lambda x: x[::-1] * 2,
    "first rows, unused": lambda x: (x[:12] * 2, x * 3)[1],
    "softmax over the batch": lambda x: npx.softmax(x, axis=0),
    "mean over the batch": lambda x: x - x.mean(axis=0),
    "mean of all": lambda x: x - x.mean(),
    "sum over the batch": lambda x: x.sum(axis=0),
    "transposed": lambda x: x.T * 2,
    "transposed twice": lambda x: x.T @ x,
    "gram": lambda x: x @ x.T,
    "rows into columns": lambda x: x.reshape((6, -1)) * 2,
    "halves": lambda x: x.reshape((-1,)).reshape((6, -1)) + 1,
    "joined": lambda x: np.concatenate([x, x * 2], axis=0),
    "stacked first": lambda x: np.stack([x, x * 2]),
    "cumulated": lambda x: np.cumsum(x, axis=0),
    "sorted": lambda x: np.sort(x, axis=0) * 2,
    "flipped": lambda x: np.flip(x, 0) + x,
    "rolled": lambda x: np.roll(x, 2, axis=0) + x,
    "arange": lambda x: x + npx.arange_like(x, axis=1),
}


@pytest.mark.long
@pytest.mark.spread(48)
@pytest.mark.parametrize("name", INELIGIBLE)
def test_what_depends_on_the_size_is_compiled_for_each_size(name: str) -> None:
    function = blockfuse.hybridize(INELIGIBLE[name])
    for size in (30, 14, 28, 12, 13, 7, 2, 1, 3, 70, 71, 72, 73, 74, 75, 30):
        x = numbers(size, 6)
        wanted = eager(function, x)
        for _ in range(3):
            close(function(x), wanted)
    assert not any_size(function), function.explain()


@pytest.mark.parametrize("pair", [(64, 32), (32, 64), (12, 24), (6, 7), (7, 6)])
def test_slices_that_are_whole_by_chance_are_not_taken_for_whole(pair: tuple[int, int]) -> None:
    function = blockfuse.hybridize(lambda x: x[:64] * 2)
    for size in (*pair, 100, 65, 63):
        x = numbers(size, 6)
        close(function(x), eager(function, x))
    assert not any_size(function)


# -- coincidences ----------------------------------------------------------------------------------------------


@pytest.mark.spread(16)
@pytest.mark.parametrize("pair", [(6, 9), (9, 6), (6, 36), (3, 6), (12, 6), (61, 67), (122, 61)])
@pytest.mark.parametrize("features", [6, 61])
def test_a_size_that_equals_another_axis_is_no_trap(pair: tuple[int, int], features: int) -> None:
    net = initialized(layers(nn.Dense(features, in_units=features, activation="relu"), nn.LayerNorm()))
    sweep(net, lambda n: (numbers(n, features),), sizes=(2, 6, 12, 60, 61, 62, 122, 134), start=pair)
    assert any_size(net)


def test_an_argument_of_a_fixed_size_is_not_the_batch() -> None:
    function = blockfuse.hybridize(lambda x, w: np.dot(x, w) + w[0])
    for size in (6, 9, 2, 6, 30):  # 6: as large as the weight
        x, w = numbers(size, 6), numbers(6, 5, seed=1)
        close(function(x, w), eager(function, x, w))
    assert any_size(function)
    with pytest.raises(ValueError, match=r"must equal|expects|last axis"):
        function(numbers(4, 6), numbers(5, 5))


@pytest.mark.long
def test_arguments_whose_sizes_part_are_not_one_batch() -> None:
    function = blockfuse.hybridize(lambda x, y: (x * 2, y.sum(axis=1)))
    for first, second in ((4, 4), (8, 8), (16, 16), (5, 7), (1, 9), (9, 1), (8, 3), (4, 4)):
        x, y = numbers(first, 3), numbers(second, 3, seed=1)
        wanted = eager(function, x, y)
        close(function(x, y), wanted)
        close(function(x, y), wanted)


def test_what_only_broadcasts_at_size_one_fails_as_eagerly() -> None:
    function = blockfuse.hybridize(lambda x, y: x + y)
    for size in (4, 8):
        close(function(numbers(size, 3), numbers(size, 3)), numbers(size, 3) * 2)
    close(function(numbers(1, 3), numbers(5, 3)), numbers(1, 3) + numbers(5, 3))
    for first, second in ((4, 5), (3, 2)):
        with pytest.raises(ValueError, match="broadcast"):
            function(numbers(first, 3), numbers(second, 3))


def test_a_row_beside_the_batch_is_for_every_item() -> None:
    function = blockfuse.hybridize(lambda x, y: x * y + 1)
    row = numbers(1, 3, seed=1)
    sweep(function, lambda n: (numbers(n, 3), row), sizes=(1, 2, 3, 30, 64))
    assert any_size(function)


def test_a_constant_as_long_as_the_batch_once_is_none_of_it() -> None:
    table = numbers(8, 3, seed=1)
    function = blockfuse.hybridize(lambda x: (x * 2, table + 1))
    sweep(function, lambda n: (numbers(n, 3),), sizes=(2, 8, 16), start=(8, 4))
    assert any_size(function)


_factor = 2.0


@pytest.mark.long
def test_state_that_changes_with_the_size_is_seen() -> None:
    global _factor
    function = blockfuse.hybridize(lambda x: x * _factor)
    try:
        for size in (4, 8, 4, 16, 5, 5, 6):
            _factor = float(size)
            close(function(numbers(size, 3)), numbers(size, 3) * float(size))
        for size in (3, 4, 5):
            close(function(numbers(size, 3)), numbers(size, 3) * 6.0)
    finally:
        _factor = 2.0


def test_a_size_kept_in_a_global_is_no_size_of_the_batch() -> None:
    global _factor
    function = blockfuse.hybridize(lambda x: np.reshape(x, (int(_factor), -1)) * 2)
    try:
        for rows, size in ((4, 4), (8, 8), (8, 16), (8, 24), (4, 8)):
            _factor = float(rows)
            assert function(numbers(size, 3)).shape == (rows, size * 3 // rows)
    finally:
        _factor = 2.0


def _caught(x: Any) -> Any:
    try:
        return x.reshape((7, -1)).sum(axis=1)
    except ValueError:
        return x * 3


def test_an_error_that_depends_on_the_size_may_be_caught() -> None:
    function = blockfuse.hybridize(_caught)
    for size in (4, 8, 5, 7, 14):
        close(function(numbers(size, 3)), _caught(numbers(size, 3)))
    assert "handles exceptions" in function.explain()


def _looking_at_ones(x: Any) -> Any:
    return x * 2 if np.ones_like(x).asnumpy().shape[0] < 12 else x * 3


def test_a_fixed_value_that_leaves_must_not_tell_the_size() -> None:
    function = blockfuse.hybridize(_looking_at_ones)
    for size in (4, 8, 5, 20, 12):
        close(function(numbers(size, 3)), _looking_at_ones(numbers(size, 3)))


def test_size_one_tells_nothing_of_other_sizes() -> None:
    function = blockfuse.hybridize(lambda x: np.squeeze(x[:, None]) * 2)
    for size in (1, 5):
        close(function(numbers(size, 3)), eager(function, numbers(size, 3)))
    assert not any_size(function)
    for size in (9, 1, 2, 1):
        close(function(numbers(size, 3)), eager(function, numbers(size, 3)))
    assert any_size(function)
    assert "(float32[1, 3]): compiled" in function.explain()


@pytest.mark.long
def test_size_one_and_another_are_enough(recorded: list[int]) -> None:
    net = initialized(layers(nn.Dense(8, in_units=5, activation="relu"), nn.Dense(3, in_units=8)))
    sweep(net, lambda n: (numbers(n, 5),), start=(1, 7))
    assert any_size(net)
    assert len(recorded) == 2


def test_a_table_is_not_the_batch_where_size_one_hides_it() -> None:
    table = numbers(5, 3, seed=1)
    function = blockfuse.hybridize(lambda x: x + table)
    for size in (1, 5, 1, 5):
        close(function(numbers(size, 3)), eager(function, numbers(size, 3)))
    for size in (2, 7):
        with pytest.raises(ValueError, match="broadcast"):
            function(numbers(size, 3))
    assert not any_size(function)


def _measuring_the_sum(x: Any) -> Any:
    return x * len(x + np.zeros((5, 3)))


def test_a_size_that_is_the_same_by_broadcasting_counts_as_measured() -> None:
    function = blockfuse.hybridize(_measuring_the_sum)
    for size in (1, 5, 1, 5):
        close(function(numbers(size, 3)), _measuring_the_sum(numbers(size, 3)))
    assert not any_size(function)


def test_recordings_with_other_constants_or_operators_are_not_one_path() -> None:
    def recording(forward: Callable[..., Any], size: int) -> Any:
        x = numbers(size, 3)
        code: list[Any] = []
        for _ in range(3):  # functions that are met for the first time are looked through
            found = record(partial(forward, x), Recorder([x]), [(forward, "forward")], code)
            code = found.code
        assert not found.problem
        found.measured = []  # as if nobody had looked
        return found

    for forward, reason in (
        (lambda x: x * x.shape[0], "constant depends on the size"),
        (lambda x: x * 2 if len(x) < 6 else x + 2, "becomes add"),
        (lambda x: x * 2 if len(x) < 6 else np.exp(x * 2), "does other things"),
        (lambda x: x.sum(axis=int(len(x) < 6)), "becomes"),
    ):
        with pytest.raises(TraceError, match=reason):
            EverySize(recording(forward, 5), recording(forward, 7))


@pytest.mark.long
def test_parameters_may_change_between_sizes(recorded: list[int]) -> None:
    net = initialized(layers(nn.Dense(8, in_units=5, activation="relu"), nn.Dense(3, in_units=8)))
    for round_, size in enumerate((4, 9, 30, 2, 17, 64, 9)):
        x = numbers(size, 5)
        close(net(x), eager(net, x))
        net[0].weight.set_data(numbers(8, 5, seed=round_))
        net[1].bias.data()[:] = float(round_)
        close(net(x), eager(net, x))
    assert len(recorded) == 2
    net.add(initialized(nn.Dense(2, in_units=3)))
    for size in (4, 9, 30, 2):
        x = numbers(size, 5)
        close(net(x), eager(net, x))
    assert any_size(net)


@pytest.mark.long
def test_memory_layouts_and_numpy_arguments_are_taken_at_every_size() -> None:
    net = initialized(layers(nn.Dense(8, in_units=6), nn.Dense(3, in_units=8)))
    sweep(net, lambda n: (numbers(n, 6),), sizes=())
    for size in (3, 20, 64):
        wide = numbers(size, 12)
        close(net(wide[:, ::2]), eager(net, wide[:, ::2]))
        plain = wide.asnumpy()[:, :6]
        found = net(plain)
        assert type(found) is numpy.ndarray
        close(np.array(found), eager(net, np.array(plain)))
    empty = numbers(0, 6)
    close(net(empty), eager(net, empty))


@pytest.mark.long
def test_results_stay_when_other_sizes_are_called() -> None:
    net = initialized(layers(nn.Dense(40, in_units=6), nn.Dense(30, in_units=40)))
    inputs = [numbers(size, 6, seed=size) for size in (4, 8, 300, 2, 90, 7, 300)]
    results = [net(x) for x in inputs]
    for x, result in zip(inputs, results, strict=True):
        close(result, eager(net, x))


# -- threads ---------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("threads", [1, 3])
def test_sizes_around_those_that_fork(threads: int) -> None:
    net = initialized(
        layers(nn.Dense(300, in_units=200, activation="relu"), nn.LayerNorm(in_channels=300), nn.Dense(50)),
        threads=threads,
    )
    sweep(net, lambda n: (numbers(n, 200),), sizes=(*range(2, 90, 3), 200, 513))
    assert any_size(net)


@pytest.mark.long
def test_small_batches_of_large_layers_are_left_to_programs_of_their_own() -> None:
    net = initialized(layers(nn.Dense(700, in_units=700)), threads=4)
    sweep(net, lambda n: (numbers(n, 700),), sizes=(2, 5, 40, 3, 70), start=(50, 60))
    assert any_size(net)
    assert "(float32[5, 700]): compiled" in net.explain()
    assert "(float32[40, 700]): compiled" not in net.explain()


@pytest.mark.long
def test_threads_that_call_with_different_sizes_get_their_own_results() -> None:
    net = initialized(layers(nn.Dense(64, in_units=32, activation="relu"), nn.Dense(48, in_units=64)))
    sweep(net, lambda n: (numbers(n, 32),), sizes=())

    def calling(seed: int) -> None:
        draw = numpy.random.default_rng(seed)
        for _ in range(60):
            x = numbers(int(draw.integers(1, 200)), 32, seed=seed)
            close(net(x), eager(net, x))

    together(calling)


# -- how much is compiled --------------------------------------------------------------------------------------


@pytest.mark.long
def test_random_sizes_settle_without_recording(recorded: list[int]) -> None:
    net = initialized(layers(nn.Dense(16, in_units=8, activation="relu"), nn.Dense(4, in_units=16)))
    draw = numpy.random.default_rng(5)
    inputs = {size: numbers(size, 8) for size in range(1, 257)}
    for size in draw.integers(1, 257, 600):
        net(inputs[int(size)])
    assert len(recorded) <= 3
    case = next(c for s, c in net._hybrid.cases.items() if s[1][0][0][0] is None)
    native = case.program.executable.calls()
    for size in draw.integers(2, 257, 100):
        net(inputs[int(size)])
    assert case.program.executable.calls() >= native + 98  # the entry itself takes nearly any size


def random_calls(function: Any, count: int) -> Iterator[tuple[Any, Any]]:
    draw = numpy.random.default_rng(5)
    for size in draw.integers(1, 200, count):
        x = numbers(int(size), 3)
        yield function(x), x


@pytest.mark.long
def test_without_such_a_program_random_sizes_stop_compiling(recorded: list[int]) -> None:
    function = blockfuse.hybridize(lambda x: x * x.shape[0])
    for found, x in random_calls(function, 600):
        close(found, x * x.shape[0])
    assert len(recorded) <= 12
    assert "calls of further sizes eager" in function.explain()
    assert "Python looks at a size" in function.explain()


def test_a_forward_that_cannot_be_recorded_is_not_tried_for_every_size(recorded: list[int]) -> None:
    function = blockfuse.hybridize(lambda x: x * float(x.sum()))
    for _ in random_calls(function, 300):
        pass
    assert len(recorded) <= 12


@pytest.mark.long
def test_a_size_that_comes_back_often_is_compiled_all_the_same(recorded: list[int]) -> None:
    function = blockfuse.hybridize(lambda x: x * x.shape[0])
    for size in range(1, 12):
        function(numbers(size, 3))
    before = len(recorded)
    for _ in range(40):
        close(function(numbers(11, 3)), numbers(11, 3) * 11)
    assert len(recorded) == before + 1
    assert "(float32[11, 3]): compiled" in function.explain()


@pytest.mark.long
def test_what_is_known_of_batches_does_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_sizes, "MAX_BATCHES", 6)
    monkeypatch.setattr(cases, "MAX_SIGNATURES", 6)
    function = blockfuse.hybridize(lambda x: x * 2)
    for length in range(1, 9):
        for size in (2, 3):
            close(function(numbers(size, length)), numbers(size, length) * 2)
    assert len(function._hybrid.cases.batches._batches) == 6
    assert len(any_size(function)) <= 6


@pytest.mark.long
def test_state_that_changes_at_every_call_ends_in_eager_calls(recorded: list[int]) -> None:
    class Counter(nn.Block):
        scale = 1.0

        def forward(self, x: Any) -> Any:
            return x * self.scale

    net = initialized(Counter())
    for n in range(500):
        net.scale = float(n % 3)
        size = 2 + n % 2
        close(net(numbers(size, 3)), numbers(size, 3) * float(n % 3))
    assert len(recorded) < 450


# -- nets drawn at random --------------------------------------------------------------------------------------

MATRIX = numbers(6, 6)
STEPS: tuple[Callable[[Any], Any], ...] = (
    lambda x: npx.relu(x) + 1,
    lambda x: npx.softmax(x, axis=-1),
    lambda x: npx.log_softmax(x),
    lambda x: x - x.mean(axis=1, keepdims=True),
    lambda x: x * np.array([1.0, -2.0, 3.0, 0.5, 1.5, 2.5]),
    lambda x: np.dot(x, MATRIX),
    lambda x: np.concatenate([x[:, 3:], x[:, :3]], axis=1),
    lambda x: x.reshape((-1, 3, 2)).sum(axis=2).repeat(2, axis=1),
    lambda x: x[:, ::-1] * 0.5,
    lambda x: np.tanh(x) + x.sum(axis=1, keepdims=True) * 0.1,
    lambda x: x.reshape((-1, 2, 3)).transpose((0, 2, 1)).reshape((-1, 6)),
    lambda x: np.where(x > 0.2, x, x * x),
    lambda x: x / (np.abs(x).max(axis=1, keepdims=True) + 1),
    lambda x: npx.layer_norm(x, np.ones(6), np.zeros(6), eps=1.0),
    lambda x: np.einsum("bi,bj->bij", x, x).sum(axis=2) * 0.1,
    lambda x: x - x.mean(axis=0),  # from here on: not for every size
    lambda x: x[::-1] + 1,
    lambda x: x * x.shape[0] * 0.1,
    lambda x: x + x[:1],
    lambda x: npx.softmax(x, axis=0),
)
_LAST = 5  # steps that have no program for every size


@sampled(1, 25)
@given(
    st.lists(st.integers(0, len(STEPS) - 1), min_size=1, max_size=6),
    st.lists(st.integers(1, 90), min_size=3, max_size=8),
)
def test_random_nets_agree_with_eager_at_random_sizes(chosen: list[int], sizes: list[int]) -> None:
    steps = [STEPS[n] for n in chosen]

    def forward(x: Any) -> Any:
        for step in steps:
            x = step(x)
        return x

    function = blockfuse.hybridize(forward)
    sweep(function, lambda n: (numbers(n, 6),), sizes=sizes, start=())
    if any(n >= len(STEPS) - _LAST for n in chosen):
        assert not any_size(function)


# -- library code that looks at sizes --------------------------------------------------------------------------

NORMALISING = """
from blockfuse import nn, np
from blockfuse.array.sizes import size_agnostic

class Centred(nn.Block):
    {declared}
    def forward(self, x):
        return np.exp(x - x.sum(axis=-1, keepdims=True) / x.shape[-1])
"""


@pytest.mark.parametrize("declared", ["@size_agnostic", ""])
def test_a_layer_in_a_new_file_of_the_library_declares_that_sizes_do_not_matter(declared: str) -> None:
    scope: dict[str, Any] = {"__name__": "blockfuse.nn.fresh"}
    exec(
        compile(NORMALISING.format(declared=declared), str(Path(nn.__file__).with_name("fresh.py")), "exec"),
        scope,
    )
    net = initialized(scope["Centred"]())
    sweep(net, lambda n: (numbers(n, 5),))
    assert len(any_size(net)) == bool(declared)


@pytest.mark.spread(16)
@pytest.mark.parametrize(
    "layer",
    [
        nn.AvgPool2D(3, 2, 1, count_include_pad=False),
        nn.GlobalAvgPool1D(),
        nn.AvgPool2D(2),
        nn.AvgPool3D(2, ceil_mode=True),
        nn.Conv2D(4, 3, in_channels=4, groups=2),
        nn.Conv1DTranspose(4, 3, in_channels=4),
        nn.UpSampling(2),
        nn.UpSampling(2, "bilinear", in_channels=4),
        nn.GroupNorm(2, in_channels=4),
    ],
    ids=repr,
)
def test_one_program_of_a_layer_of_images_serves_every_batch(layer: nn.Block) -> None:
    layer.initialize()
    layer.hybridize()
    axes = 1 if "1D" in repr(layer) else 3 if "3D" in repr(layer) else 2
    for batch in (2, 3, 5, 7):
        layer(np.ones((batch, 4, *(8,) * axes)))
    assert "float32[any," in layer.explain()
