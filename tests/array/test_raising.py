"""Operators that raise for some values: the call raises, or catches it, as in eager, and the program stays in use."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy
import pytest
from graphs import graph
from patterns import beyond, case_of, rows_of
from threads import together

import blockfuse
from blockfuse import nn, np
from blockfuse.array.functions import random
from blockfuse.codegen.cpu.program.native_program import program_ir
from blockfuse.ir.operators import linear_algebra, pointwise
from blockfuse.ir.passes.pipeline import optimize


def test_nothing_that_may_raise_is_computed_ahead_or_dropped() -> None:
    def function(w: Any, p: Any, x: Any, m: Any) -> Any:
        known = rows_of(w, numpy.array([3, 1])) if isinstance(w, numpy.ndarray) else w
        condition = pointwise.greater(rows_of(w, p), x)
        return pointwise.where(condition, x, x) + linear_algebra.inverse(m), known

    types = {"w": "float32[4]", "p": "int64[3]", "x": "float32[3]", "m": "float32[3, 3]"}
    main = optimize(graph(function, "w p m", **types), 32).main
    text = str(main)
    assert "take_at" in text
    assert "inverse" in text


TABLE = np.array(numpy.arange(12.0).reshape(6, 2))
GOOD, BAD = (np.array(numpy.array(values)) for values in ([1, -6, 2], [1, 9, 2]))


def hybrid(function: Callable[..., Any], **options: Any) -> Any:
    return blockfuse.hybridize(function, **options)


@pytest.mark.parametrize("threads", [1, 2])
def test_calls_beyond_the_axis_raise_as_eager_and_are_not_recorded_again(threads: int) -> None:
    def picked_rows(w: Any, i: Any) -> Any:
        return w[i] * 2 + 1

    compiled = hybrid(picked_rows, threads=threads)
    wanted, message = picked_rows(TABLE, GOOD).tolist(), beyond(picked_rows, TABLE, BAD)
    for _ in range(3):
        assert compiled(TABLE, GOOD).tolist() == wanted
    program = case_of(compiled).program
    assert program.entry is not None
    served = program.executable.calls()
    for _ in range(20):
        assert beyond(compiled, TABLE, BAD) == message
    assert program.executable.calls() == served
    assert compiled(TABLE, GOOD).tolist() == wanted
    assert program.executable.calls() == served + 1
    assert case_of(compiled).attempts == 1
    assert case_of(compiled).program is program


def test_the_first_call_may_be_beyond_the_axis() -> None:
    compiled = hybrid(lambda w, i: w[i] + 1)
    for _ in range(3):
        beyond(compiled, TABLE, BAD)
    assert compiled(TABLE, GOOD).tolist() == (TABLE[GOOD] + 1).tolist()


def caught(w: Any, i: Any) -> Any:
    try:
        y = w[i]
    except IndexError:
        y = w[:3] * 3
    return y + 1


def caught_and_unneeded(w: Any, i: Any) -> Any:
    try:
        w[i]
    except IndexError:
        return w * 3
    return w * 2


def caught_and_hidden(w: Any, i: Any) -> Any:
    try:
        c = w[i] > 3
    except IndexError:
        return w[:3] * 3
    return np.where(c, w[:3], w[:3])


@pytest.mark.parametrize("function", [caught, caught_and_unneeded, caught_and_hidden])
@pytest.mark.parametrize("order", ["gbgbgg", "bgbggb", "bbbbbbgggbg"])
def test_both_ways_of_a_forward_that_catches_the_error_are_those_of_eager(
    function: Callable[..., Any], order: str
) -> None:
    compiled = hybrid(function)
    for letter in order:
        index = GOOD if letter == "g" else BAD
        assert compiled(TABLE, index).tolist() == function(TABLE, index).tolist()


def test_a_matrix_without_an_inverse_is_caught_as_in_eager() -> None:
    def inverted(x: Any) -> Any:
        try:
            y = np.linalg.inv(x)
        except np.linalg.LinAlgError:
            y = x * 2
        return y + 1

    compiled = hybrid(inverted)
    good, bad = np.array([[2.0, 1.0], [1.0, 3.0]]), np.zeros((2, 2))
    for x in (bad, good, good, bad, good, good):
        numpy.testing.assert_allclose(compiled(x).asnumpy(), inverted(x).asnumpy())


def test_segments_raise_where_the_operator_is_called() -> None:
    seen: list[str] = []

    def logged(w: Any, i: Any) -> Any:
        x = np.tanh(w) * 2
        try:
            y = x[i]
        except IndexError:
            seen.append("caught")
            y = x[:3]
        seen.append("after")
        return np.exp(y) + 1

    compiled = hybrid(logged)
    for index in (GOOD, BAD, GOOD, GOOD, BAD, BAD, GOOD):
        expected = [logged(TABLE, index).tolist(), list(seen)]
        seen.clear()
        assert [compiled(TABLE, index).tolist(), list(seen)] == expected
        seen.clear()


def test_a_fault_stops_a_loop_that_would_not_end() -> None:
    def walk(w: Any, i: Any) -> Any:
        total = w[:1] * 0
        while (total < 100).all():
            total = total + w[i]
        return total

    steps = np.array([[30.0], [0.0]])
    compiled = hybrid(walk)
    for _ in range(3):
        assert compiled(steps, np.array([0])).tolist() == [[120.0]]
    assert len(case_of(compiled).program.flow.blocks) > 1
    # the clamped index reads the 0 of the last row, with which the loop would go on for ever
    assert beyond(compiled, steps, np.array([2])) == beyond(walk, steps, np.array([2]))
    assert case_of(compiled).attempts == 1
    plan = case_of(compiled).program.executable.plan
    blocks = plan.schedule.blocks
    ways = [way for block in blocks for way in block.successors or ()]
    counted = sum(block.successors is not None for block in blocks)
    # native code goes there after each block, and where a way is not proven or unknown
    assert program_ir(plan).count('label %"unknown"') == len(blocks) + counted + ways.count(None)


def test_indices_that_are_parameters_or_captured_are_checked_at_every_call() -> None:
    class Chosen(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.chosen = nn.Parameter("chosen", shape=(2,), dtype="int32", init="zeros")

        def forward(self, x: Any) -> Any:
            try:
                return x * 1 + OUTSIDE[self.chosen.data()] + OUTSIDE[np.array([0, -1])]
            except IndexError:
                return x * 100

    net, plain = Chosen(), Chosen()
    for one in (net, plain):
        one.initialize()
    net.hybridize()
    x = np.ones((2,))
    for chosen in ([0, 1], [2, 0], [5, 0], [-3, -4], [1, 1]):
        for one in (net, plain):
            one.chosen.set_data(np.array(chosen, dtype="int32"))
        for _ in range(3):
            assert net(x).tolist() == plain(x).tolist()


OUTSIDE = np.array([1.0, 2.0, 4.0])


def test_draws_of_a_call_that_raises_are_those_of_eager() -> None:
    def noisy(w: Any, i: Any) -> Any:
        return w[i] + np.random.uniform(size=(3, 2))

    def drawn(function: Any, index: Any) -> list[float]:
        random.seed(5)
        with suppress(IndexError):
            function(TABLE, index)
        return np.random.uniform(size=(2,)).tolist()  # type: ignore[no-any-return]

    compiled = hybrid(noisy)
    for index in (GOOD, GOOD, BAD, GOOD, BAD):
        assert drawn(compiled, index) == drawn(noisy, index)


def test_callers_do_not_see_each_others_faults() -> None:
    wide = np.array(numpy.random.default_rng(4).random((50, 700)).astype("float32"))
    compiled = hybrid(lambda w, i: np.tanh(w[i]) + 1)  # long enough to let other threads run
    good, bad = (np.array(numpy.full(200, n)) for n in (49, 50))
    wanted = compiled(wide, good).asnumpy()

    def call(number: int) -> None:
        for _ in range(30):
            if number % 2:
                beyond(compiled, wide, bad)
            else:
                numpy.testing.assert_allclose(compiled(wide, good).asnumpy(), wanted, rtol=1e-6)

    together(call)
    assert case_of(compiled).attempts == 1
