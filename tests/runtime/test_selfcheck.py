"""No program serves a call before it gave the eager result once: not a new one, and not a variant nobody has run yet."""

from __future__ import annotations

import copy
import re
import runpy
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import CompilerWarning, nn, np, npx
from blockfuse.codegen.cpu.program.executable import Executable
from blockfuse.codegen.cpu.source import products
from blockfuse.codegen.variants import ExecutionPolicy, Size, Way
from blockfuse.ir import stream
from blockfuse.ir.errors import UsageError
from blockfuse.ir.lowering import Pointwise
from blockfuse.ir.operator import TABLE
from blockfuse.ir.stream import STREAM


@contextmanager
def wrongly(name: str, expression: str) -> Iterator[None]:
    """Kernels take another expression for an operator."""
    row, right = TABLE[name], TABLE[name].lowering
    object.__setattr__(row, "lowering", Pointwise(expression, "f"))
    try:
        yield
    finally:
        object.__setattr__(row, "lowering", right)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ExecutionPolicy, set[Any]]]:
    """What programs ran by way of Python, and what of it was unproven."""
    seen: list[tuple[ExecutionPolicy, set[Any]]] = []
    rightly = Executable.run

    def run(
        self: Any, arguments: Any, unproven: Any = None, policy: ExecutionPolicy = ExecutionPolicy.ADAPTIVE
    ) -> Any:
        new: set[Any] = set() if unproven is None else unproven
        result = rightly(self, arguments, new, policy)
        seen.append((policy, set(new)))
        return result

    monkeypatch.setattr(Executable, "run", run)
    return seen


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.array(numpy.random.default_rng(seed).normal(size=shape).astype("float32"))


def net(*units: int, **options: Any) -> Any:
    layers = nn.Sequential()
    layers.add(*(nn.Dense(n, activation="tanh") for n in units))
    layers.initialize("normal")
    layers(numbers(1, 3))
    layers.hybridize(**options)
    return layers


def eager(function: Any, *arguments: Any) -> numpy.ndarray:
    plain = copy.deepcopy(getattr(function, "__wrapped__", function))  # of a block, its layers too
    if hasattr(plain, "hybridize"):
        plain.hybridize(False)
    return plain(*arguments).asnumpy()


def close(found: Any, wanted: numpy.ndarray) -> bool:
    return numpy.allclose(found.asnumpy(), wanted, rtol=1e-5, atol=1e-6)


# -- a wrong program -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["a function", "a block"])
def test_a_wrong_program_is_not_installed(kind: str, capsys: Any) -> None:
    call = blockfuse.hybridize(lambda x: np.tanh(x) * 2) if kind == "a function" else net(4)
    x = numbers(2, 3)
    wanted = eager(call, x)
    with wrongly("tanh", "exp({0})"):
        with pytest.warns(CompilerWarning, match="runs in Python, with right results, because") as told:
            assert close(call(x), wanted)
        for _ in range(3):
            assert close(call(x), wanted)
    assert len(told) == 1
    text = str(told[0].message)
    assert told[0].filename == __file__
    assert re.search(r"first operator that differs: tanh: float32\[2, [34]\] at (\S+:\d+|\d \(\w+\))", text)
    assert "its schedule gives another result, too: the passes or the scheduler are wrong" in text
    assert "eager, 4 calls" in call.explain()
    assert "first operator that differs: tanh" in call.explain()
    script = Path(re.search(r"run (\S+\.py)", text)[1])  # type: ignore[index]
    for wrong in (False, True):
        with pytest.raises(SystemExit) as left, wrongly("tanh", "exp({0})" if wrong else "tanh({0})"):
            runpy.run_path(str(script))
        assert left.value.code is wrong
    assert "compiled and eager differ by up to" in capsys.readouterr().out


def test_without_the_check_a_wrong_program_serves() -> None:
    call = blockfuse.hybridize(lambda x: np.tanh(x), check=False)
    x = numbers(2, 3)
    with wrongly("tanh", "exp({0})"):
        for _ in range(2):
            found = call(x)
    assert close(found, numpy.exp(x.asnumpy()))


def test_a_change_of_the_block_lets_it_be_tried_again() -> None:
    layers = net(4)
    x = numbers(2, 3)
    with wrongly("tanh", "exp({0})"), pytest.warns(CompilerWarning):
        layers(x)
    layers(x)
    assert "Sequential(float32[2, 3]): eager" in layers.explain()
    layers[0].changed = True
    for _ in range(3):
        assert close(layers(x), eager(layers, x))
    assert "Sequential(float32[2, 3]): compiled" in layers.explain()


def test_code_from_the_cache_is_checked_like_new_code() -> None:
    x = numbers(5, 7)

    def function(x: Any) -> Any:
        return np.arctan(x) + 0.123

    with wrongly("arctan", "sinh({0})"):
        for _ in range(2):  # the second time, its code is there already
            call = blockfuse.hybridize(function)
            with pytest.warns(CompilerWarning, match="arctan"):
                assert close(call(x), eager(call, x))


@pytest.mark.parametrize("wanted", [1, 0, None, "yes"])
def test_the_option_is_true_or_false(wanted: Any) -> None:
    with pytest.raises(UsageError, match=f"check is {wanted!r}; it must be True or False"):
        nn.Dense(3).hybridize(check=wanted)


# -- variants --------------------------------------------------------------------------------------------------


def halved(x: Any) -> Any:
    y = x * 1.0
    while np.abs(y).sum() > 1:
        y = y / 2
    return np.sinh(y) if y.sum() > 0 else np.cosh(y)


def test_a_way_out_of_a_decision_is_proven_by_the_first_call_that_takes_it(runs: Any) -> None:
    call = blockfuse.hybridize(halved)
    ways = [numbers(2) * 0 + v for v in (0.1, 8.0, -0.1, -8.0)]
    for x in ways * 2:
        assert close(call(x), eager(call, x))
    runs.clear()
    for x in (*ways, numbers(2) * 0 + 5.0, numbers(2) * 0 - 0.2):
        assert close(call(x), eager(call, x))
    assert not runs  # all of them native


def test_a_way_that_was_recorded_earlier_is_proven_again_in_the_new_program(runs: Any) -> None:
    call = blockfuse.hybridize(halved)
    small, large = numbers(2) * 0 + 0.1, numbers(2) * 0 + 8.0
    call(small)
    call(large)  # a new program with both ways
    runs.clear()
    call(small)
    (seen,) = (new for _, new in runs)
    assert all(isinstance(variant, Way) for variant in seen)
    call(small)
    assert len(runs) == 1 + (not seen)


def test_a_wrong_way_is_noticed_when_it_is_taken_first() -> None:
    def function(x: Any) -> Any:
        return np.sinh(x) if x.sum() > 0 else np.cosh(x)

    call = blockfuse.hybridize(function)
    plus, minus = numbers(2) * 0 + 0.5, numbers(2) * 0 - 0.5
    with wrongly("sinh", "cosh({0})"):
        assert close(call(minus), eager(call, minus))
        with pytest.warns(CompilerWarning, match="differs: sinh"):
            assert close(call(plus), eager(call, plus))
        for _ in range(3):
            assert close(call(plus), eager(call, plus))
            assert close(call(minus), eager(call, minus))
    assert re.search(r"compiled(.|\n)*some calls run eagerly because(.|\n)*sinh", call.explain())


@pytest.mark.long
def test_a_size_of_the_batch_is_proven_where_its_tiles_are_new(runs: Any) -> None:
    layers = net(40, 24)
    for size in (2, 3):
        layers(numbers(size, 3))
    for size in (*range(2, 40), 64, 100, 127):
        assert close(layers(numbers(size, 3)), eager(layers, numbers(size, 3)))
    proven = {variant for _, new in runs for variant in new}
    assert all(isinstance(variant, Size) for variant in proven)
    assert 4 <= len(proven) < 40
    assert layers.explain().count("compiled") == 1
    runs.clear()
    for size in (*range(2, 40), 64, 100, 127):
        layers(numbers(size, 3))
    assert not runs


def test_a_wrong_size_of_the_batch_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    rightly = products._row_blocks

    def shifted(tile: Any, begin: str, end: str, whole: str = "") -> Any:
        """Tiles of four rows do not overlap their neighbours: the last rows are left out."""
        loop = rightly(tile, begin, end, whole)
        lines = [line.replace(f"{whole or end} - 4", begin) for line in loop.first]
        return loop._replace(first=lines) if tile.rows == 4 else loop

    monkeypatch.setattr(products, "_row_blocks", shifted)
    layers = net(40)
    for size in (2, 3, 4, 4):
        assert close(layers(numbers(size, 3)), eager(layers, numbers(size, 3)))
    assert "compiled" in layers.explain()
    with pytest.warns(CompilerWarning, match="differs from the eager call") as told:
        assert close(layers(numbers(5, 3)), eager(layers, numbers(5, 3)))
    assert "its schedule gives the eager result: the native code is wrong" in str(told[0].message)
    for size in (5, 6, 4):
        assert close(layers(numbers(size, 3)), eager(layers, numbers(size, 3)))


def test_shared_steps_are_run_in_parts_and_alone(runs: Any) -> None:
    call = blockfuse.hybridize(lambda x: np.tanh(x) * x, threads=2)
    x = numbers(400, 400)
    assert close(call(x), eager(call, x))
    assert [policy for policy, _ in runs] == [ExecutionPolicy.PARALLEL, ExecutionPolicy.SERIAL]
    runs.clear()
    alone = blockfuse.hybridize(lambda x: np.tanh(x) * x, threads=1)
    alone(x)
    assert [policy for policy, _ in runs] == [ExecutionPolicy.ADAPTIVE]


# -- what a check must not change --------------------------------------------------------------------------------


def test_draws_are_those_of_the_eager_call() -> None:
    def noisy(x: Any) -> Any:
        return x + np.random.uniform(size=(3,)) + np.random.normal(size=(3,))

    x = numbers(3)
    np.random.seed(7)
    wanted = [noisy(x).asnumpy() for _ in range(4)]
    np.random.seed(7)
    call = blockfuse.hybridize(noisy)
    for one in wanted:
        assert close(call(x), one)
    after = STREAM.generator.bit_generator.state
    np.random.seed(7)
    for _ in range(4):
        noisy(x)
    assert STREAM.generator.bit_generator.state == after


def test_draws_of_other_threads_are_left_alone() -> None:
    seen: list[numpy.ndarray] = []
    with STREAM.drawing_again(STREAM.generator.bit_generator.state):
        thread = threading.Thread(target=lambda: seen.append(np.random.uniform(size=(2,)).asnumpy()))
        before = STREAM._generator.bit_generator.state
        np.random.uniform(size=(2,))
        assert STREAM._generator.bit_generator.state == before
        thread.start()
        thread.join()
    assert STREAM._generator.bit_generator.state != before


def test_wrong_draws_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    rightly = stream._after
    call = blockfuse.hybridize(lambda x: x * np.random.uniform(size=(5,)))
    x = numbers(5)
    monkeypatch.setattr(stream, "_after", lambda state, count, width: rightly(state, count + 2, width))
    with pytest.warns(CompilerWarning, match="they draw random numbers differently"):
        call(x)


def test_rounding_is_no_difference() -> None:
    def ill(x: Any) -> Any:
        return (x + 1e6 - x.mean()).sum() - 4e6 + np.exp(x).sum() * 1e-3

    call = blockfuse.hybridize(ill)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(5):
            call(numbers(64, seed=seed))
    assert "compiled" in call.explain()


def test_a_check_keeps_no_result() -> None:
    call = blockfuse.hybridize(lambda x: np.tanh(x))
    call(numbers(4))
    (case,) = call._hybrid.cases.values()
    assert case.recordings[0].result is None


def test_arguments_given_twice_and_numbers_are_checked(runs: Any) -> None:
    call = blockfuse.hybridize(lambda x, y: np.tanh(x) @ y)
    x = numbers(6, 6)
    assert close(call(x, x), eager(call, x, x))
    assert runs
    scaled = blockfuse.hybridize(lambda x, t: np.tanh(x * t))
    for t in (0.1, 0.2):
        assert close(scaled(x, t), eager(scaled, x, t))
    with wrongly("tanh", "exp({0})"), pytest.warns(CompilerWarning, match="tanh"):
        assert close(scaled(x, 0.3), eager(scaled, x, 0.3))  # from now on a number of any value


# -- segments --------------------------------------------------------------------------------------------------


def test_a_wrong_segment_is_left_to_numpy() -> None:
    def escapes(x: Any) -> Any:
        y = x
        for _ in range(12):
            y = np.tanh(y) * 2
        return y * float(y.sum())

    def calls() -> None:
        for _ in range(5):
            assert close(call(x), eager(call, x))

    x = numbers(40, 200)
    call = blockfuse.hybridize(escapes)
    with wrongly("tanh", "atan({0})"), pytest.warns(CompilerWarning, match="differs") as told:
        calls()
    assert len(told) == 1
    assert "a segment runs in NumPy because" in call.explain()


@pytest.mark.long
def test_softmax_and_layer_norm_pass() -> None:
    call = blockfuse.hybridize(lambda x: npx.softmax(x) + npx.layer_norm(x, np.ones((9,)), np.zeros((9,))))
    for size in (1, 2, 3, 9):
        assert close(call(numbers(size, 9)), eager(call, numbers(size, 9)))
    assert "eager," not in call.explain()
