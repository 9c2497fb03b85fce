"""Loops with a counter: native for any number of rounds, and unrolled where the number is used."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from flows import agrees, case_of, program_of, same, scaled, ways_back

import blockfuse
from blockfuse import nn, np

pytestmark = pytest.mark.spread(2)

FEW = (0.01, 1, 10)
MANY = (0.001, 0.3, 3, 77, 1e3, 1e5, 1e7, 1e9, 1e11, 1e14, 1e17)
LIMIT = 30


def closes(function: Callable[..., Any], first: tuple[float, ...] = FEW, loops: int = 1) -> Any:
    """The hybridized function: once it has seen ``first`` and the limit, no number of rounds needs a recording."""
    hybrid = blockfuse.hybridize(function)
    for (x,) in scaled(scales=(*first, 1e30)):
        same(hybrid(x), function(x))
    recorded = case_of(hybrid).attempts
    for (x,) in scaled(scales=MANY):
        same(hybrid(x), function(x))
    assert case_of(hybrid).attempts <= recorded + 1, hybrid.explain()
    assert case_of(hybrid).eager_calls == 0
    assert ways_back(hybrid) >= loops
    return hybrid


# -- loops that close ------------------------------------------------------------------------------------------


@pytest.mark.spread(2)
@pytest.mark.parametrize("first", [(1e-3, 10), (10, 1e-3), (1e12,), (1, 1e3)])
def test_a_while_loop_with_a_limit_closes_whatever_comes_first(first: tuple[float, ...]) -> None:
    def limited(x: Any) -> Any:
        i = 0
        while x.sum() > 1 and i < 50:
            x = x / 2
            i += 1
        return x + 1

    closes(limited, first)


def test_the_limit_may_be_tested_first() -> None:
    def limited(x: Any) -> Any:
        i = 0
        while i < LIMIT and x.sum() > 1:
            x = x / 2
            i = i + 1
        return x + 1

    closes(limited)


def test_a_for_loop_with_a_break_closes() -> None:
    def broken(x: Any) -> Any:
        for _ in range(40):
            x = x / 2
            if x.sum() < 1:
                break
        return x + 1

    closes(broken)


def test_a_for_loop_with_a_branch_closes() -> None:
    def branching(x: Any) -> Any:
        for i in range(30, 0, -2):
            x = x * 1.5 if x.sum() < 1 and i > 3 else x / 2
        return x + 1

    closes(branching)


@pytest.mark.long
def test_while_else_for_else_and_continue_close() -> None:
    def searching(x: Any) -> Any:
        i = 20
        while i:
            i -= 1
            if x.sum() < 1:
                continue
            x = x / 2
        else:
            x = x + 3
        for _ in range(9):
            if x.sum() < 3.4:
                break
            x = x * 0.9
        else:
            x = x - 1
        return x

    closes(searching, loops=2)


@pytest.mark.long
def test_nested_loops_with_counters_close() -> None:
    def nested(x: Any) -> Any:
        rounds = 0
        while rounds < 12:
            for _ in range(5):
                x = x * 0.7
                if x.sum() < 2:
                    break
            rounds += 1
            if x.sum() < 1:
                break
        return x + 1

    closes(nested, loops=2)


@pytest.mark.long
def test_two_counters_and_a_copy_of_one_close() -> None:
    def double(x: Any) -> Any:
        i = j = 0
        last = -1
        while i < LIMIT:
            i += 1
            if x.sum() > 1:
                j += 1
                last = i
                x = x / 2
            if j > 12 or last > 25:
                break
        return x + 1

    closes(double)


@pytest.mark.long
def test_loops_with_counters_in_sub_blocks_and_helpers_close() -> None:
    def settle(x: Any, most: int) -> Any:
        done = 0
        while done < most and np.abs(x).max() > 0.5:
            x = x / 2
            done += 1
        return x

    class Settling(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.dense, self.rounds = nn.Dense(5, in_units=5), 25

        def forward(self, x: Any) -> Any:
            for _ in range(self.rounds):
                x = x * 0.6
                if np.abs(x).sum() < 1:
                    break
            return settle(self.dense(x), self.rounds)

    np.random.seed(5)
    net = nn.Sequential()
    net.add(nn.Dense(5, in_units=5), Settling())
    net.initialize(init=blockfuse.init.Uniform(0.5))
    inputs = [np.random.normal(size=(2, 5)) * s for s in (1, 1e9, *MANY)]
    wanted = [net(x) for x in inputs]
    net.hybridize()
    for x, w in zip(inputs * 2, wanted * 2, strict=True):
        same(net(x), w)
    assert case_of(net).attempts <= 12
    assert ways_back(net) == 2


def test_the_number_of_rounds_may_be_an_argument() -> None:
    def repeated(x: Any, most: int) -> Any:
        for _ in range(most):
            if x.sum() < 1:
                break
            x = x / 2
        return x + 1

    hybrid = blockfuse.hybridize(repeated)
    for most in (0, 1, 7, 60):
        for (x,) in scaled(scales=MANY):
            same(hybrid(x, most), repeated(x, most))
        assert case_of(hybrid).attempts <= 4


def test_a_changed_limit_is_seen() -> None:
    class Limited(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.most = 3

        def forward(self, x: Any) -> Any:
            i = 0
            while x.sum() > 1 and i < self.most:
                x, i = x / 2, i + 1
            return x + 1

    net = Limited()
    x = np.ones((4,)) * 1e4
    plain = net(x)
    net.hybridize()
    same(net(x), plain)
    net.most = 9
    same(net(x), net._run((x,), {}))
    assert float(net(x).sum()) < float(plain.sum())


# -- loops that stay as they are -------------------------------------------------------------------------------


def test_a_loop_over_a_range_without_a_decision_stays_a_straight_line() -> None:
    def straight(x: Any) -> Any:
        for i in range(3):
            x = x * 2 + i
        return x

    assert len(program_of(agrees(straight, scaled())).flow.blocks) == 1


@pytest.mark.spread(6)
@pytest.mark.parametrize("use", ["x + i", "x[i]", "(i, x)[1] * W[i]", "x * float(i)", "x * len([i] * i)"])
def test_a_counter_that_is_used_as_a_value_keeps_its_loop_unrolled(use: str) -> None:
    lines = [
        "def used(x):",
        "    i = 0",
        "    while x.sum() > 1 and i < 5:",
        "        x = x / 2",
        "        i += 1",
        f"    return {use} + x",
    ]
    scope: dict[str, Any] = {"W": [1, 2, 3, 4, 5, 6]}
    exec("\n".join(lines), scope)
    hybrid = agrees(scope["used"], scaled(shape=(6,), scales=(0.01, 1, 3, 10, 100)))
    assert "unrolled because i is used as a value" in hybrid.explain()


@pytest.mark.long
def test_a_counter_used_on_one_way_only_is_right_on_all() -> None:
    def sometimes(x: Any, g: Any) -> Any:
        i = 0
        while x.sum() > 1 and i < 6:
            x, i = x / 2, i + 1
        if g.sum() > 0:
            return x * i
        return x + 1

    calls = [(x, np.array([s])) for s in (-1.0, 1.0) for (x,) in scaled(scales=(0.01, 1, 3, 10, 100))]
    agrees(sometimes, calls)


def test_the_variable_of_a_loop_is_right_behind_it() -> None:
    def behind(x: Any) -> Any:
        for i in range(12):  # noqa: B007 - it is read behind the loop
            x = x / 2
            if x.sum() < 1:
                break
        return x + i

    agrees(behind, scaled(scales=MANY))


def test_a_counter_in_a_cell_or_a_container_is_right() -> None:
    def enclosed(x: Any) -> Any:
        i = 0

        def late() -> bool:
            return i < 4

        while x.sum() > 1 and late():
            x, i = x / 2, i + 1
        return x + 1

    def contained(x: Any) -> Any:
        i = [0]
        while x.sum() > 1 and i[0] < 4:
            x = x / 2
            i[0] += 1
        return x + 1

    for function in (enclosed, contained):
        agrees(function, scaled(scales=(0.01, 1, 3, 10, 100)))


@pytest.mark.long
def test_numbers_that_leave_64_bits_are_right() -> None:
    def large(x: Any) -> Any:
        i = 2**63 - 3
        while x.sum() > 1 and i < 2**63 + 2:
            x, i = x / 2, i + 1
        return x + 1

    def growing(x: Any) -> Any:
        i, j = 1, 1
        while x.sum() > 1 and i < 10**40:
            x = x / 1.5
            i, j = j, i + j
        return x + 1

    def doubling(x: Any) -> Any:
        i = j = 1
        while x.sum() > 1 and i < 10**40:
            x = x / 1.5
            j = i + j
            i = j
        return x + 1

    for function in (large, growing, doubling):
        agrees(function, scaled(scales=(0.01, 1, 3, 1e9, 1e15)))


@pytest.mark.spread(7)
@pytest.mark.parametrize(
    "test",
    [
        "0 <= i < 9",
        "i < 7.5",
        "not i >= 8",
        "i != 6",
        "(n := i) < 5",
        "i < 9 and i % 4 != 3",
        "i in (0, 1, 2)",
    ],
)
def test_every_way_to_write_the_limit_is_right(test: str) -> None:
    lines = [
        "def written(x):",
        "    i = n = 0",
        f"    while {test} and x.sum() > 1:",
        "        x = x / 2",
        "        i += 1",
        "    return x + 1",
    ]
    scope: dict[str, Any] = {}
    exec("\n".join(lines), scope)
    agrees(scope["written"], scaled(scales=MANY))


@pytest.mark.long
def test_a_counter_that_some_rounds_change_otherwise_is_right() -> None:
    def jumping(x: Any) -> Any:
        i, j, k = 0, 9, 0
        while i < 25 and x.sum() > 1:
            if x.max() > 40:
                i += 3
            elif x.max() > 5:
                j -= 2
                i = j
            else:
                i = 20 - i
                k += 1
            if k > 5:
                i = 30
            x = x / 2
        return x + 1

    agrees(jumping, scaled(scales=MANY))


@pytest.mark.long
def test_recursion_with_counters_is_right() -> None:
    def deeper(x: Any, depth: int) -> Any:
        i = 0
        while i < 3 and x.sum() > 1:
            x, i = x / 2, i + 1
        return deeper(x - 0.1, depth - 1) * 0.9 if depth else x

    def recursive(x: Any) -> Any:
        return deeper(x * 1, 3)

    agrees(recursive, scaled(scales=MANY))


def test_without_the_place_of_the_tracer_a_loop_is_unrolled_and_right() -> None:
    def limited(x: Any) -> Any:
        i = 0
        while x.sum() > 1 and i < 4:
            x, i = x / 2, i + 1
        return x + 1

    before = sys.gettrace()
    sys.settrace(lambda *_: None)
    try:
        hybrid = agrees(limited, scaled(scales=(0.01, 1, 3, 10)), rounds=1)
    finally:
        sys.settrace(before)
    assert ways_back(hybrid) == 0
