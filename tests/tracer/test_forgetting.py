"""Rounds that a recording forgets: long loops become native, and whatever tells rounds apart is right all the same."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from sampling import sampled
from structured import program

import blockfuse
from blockfuse import np
from blockfuse.ir.errors import UsageError
from blockfuse.runtime.calls.function import FunctionOwner
from blockfuse.runtime.calls.straight_line import straight_line
from blockfuse.tracer.frames import frame_induction
from blockfuse.tracer.recording import forgetting, recorder
from blockfuse.tracer.recording.forgetting import Rounds

ROUNDS = 120


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Short loops count as long; how many rounds were forgotten."""
    monkeypatch.setattr(forgetting, "KEPT_EVENTS", 4)
    monkeypatch.setattr(recorder, "_OPEN_EVENTS", 40)
    monkeypatch.setattr(recorder, "_MAX_DECISIONS", 48)
    monkeypatch.setattr(frame_induction, "_LONG", 64)
    counts = [0]
    forget = Rounds._forget

    def counted(*arguments: Any) -> Any:
        counts[0] += 1
        return forget(*arguments)

    monkeypatch.setattr(Rounds, "_forget", counted)
    return counts


def held(function: Callable[..., Any], *calls: tuple[float, ...]) -> str:
    """What is said of the function, which gave in each of three calls what it gives in Python."""
    hybrid = blockfuse.hybridize(function)
    for values in calls * 3:
        found, wanted = (f(*map(np.array, values)) for f in (hybrid, function))
        numpy.testing.assert_array_equal(numpy.asarray(found), numpy.asarray(wanted))
    return str(hybrid.explain())


def test_a_loop_on_values_is_native_however_often_it_goes_round(forgotten: list[int]) -> None:
    def settle(x: Any, end: Any) -> Any:
        n = np.array(0)
        while n < end:
            x = x * 0.75 + 1
            n = n + 1
        return x

    said = held(settle, (5.0, ROUNDS), (1.0, 2 * ROUNDS), (7.0, 0))
    assert said.startswith("settle(float32[], float32[]): compiled")
    assert "1 ways back (loops)" in said
    assert forgotten[0] > ROUNDS / 2


@pytest.mark.long
@pytest.mark.parametrize("rounds", [range(121), range(122), range(5, 137), range(400, 0, -3)])
def test_a_loop_over_a_long_range_is_native(rounds: range, forgotten: list[int]) -> None:
    def settle(x: Any, limit: Any) -> Any:
        for _ in rounds:
            x = x + 1
        if x > limit:
            x = x * 2
        return x

    assert "1 ways back (loops)" in held(settle, (5.0, 100.0), (1.0, 200.0))
    assert forgotten[0] > 4


@pytest.mark.long
def test_a_long_range_may_be_left_early(forgotten: list[int]) -> None:
    def settle(x: Any, limit: Any) -> Any:
        for _ in range(ROUNDS):
            x = x + 1
            if x > limit:
                break
        return x

    assert "1 ways back (loops)" in held(
        settle, (5.0, 500.0), (1.0, 20.0), (1.0, 0.0), (1.0, 121.0), (1.0, 120.0)
    )
    assert forgotten[0] > 4


@pytest.mark.long
def test_decisions_that_begin_late_in_a_long_range_are_right() -> None:
    def settle(x: Any, limit: Any) -> Any:
        for i in range(ROUNDS):
            x = x + 1
            if i > 90 and x > limit:
                break
        return x

    held(settle, (5.0, 500.0), (1.0, 20.0), (1.0, 110.0), (1.0, 121.0), (1.0, 120.0))


@pytest.mark.long
def test_a_loop_with_a_counter_of_python_is_native(forgotten: list[int]) -> None:
    def settle(x: Any, limit: Any) -> Any:
        n = 0
        while n < ROUNDS and x < limit:
            x = x + 0.5
            n += 1
        return x

    assert "1 ways back (loops)" in held(settle, (5.0, 1e6), (1.0, 20.0))
    assert forgotten[0] > ROUNDS / 2


def test_one_round_that_differs_is_a_way_of_its_own(forgotten: list[int]) -> None:
    def settle(x: Any) -> Any:
        for i in range(ROUNDS):
            x = x * 0.75 + 1
            if i == 40:
                x = x - 100
        return x

    held(settle, (5.0,), (1.0,))
    assert forgotten[0] > 4


@pytest.mark.long
def test_ways_within_rounds_are_all_kept(forgotten: list[int]) -> None:
    def collatz(x: Any) -> Any:
        n = np.array(0)
        while n < ROUNDS:
            if x % 2 > 0:
                x = 3 * x + 1
            elif x % 3 > 1:
                x = x / 2 + 3
            else:
                x = x / 2
            x = np.floor(x) % 1000
            n = n + 1
        return x

    assert "collatz(float32[]): compiled" in held(collatz, (27.0,), (97.0,), (871.0,))
    assert forgotten[0] > ROUNDS / 4


@pytest.mark.long
def test_a_number_of_one_round_that_is_used_leaves_the_call_to_python() -> None:
    def settle(x: Any) -> Any:
        for i in range(ROUNDS):
            x = x * 0.75 + 1
            if i == 77:
                x = x * i
        return x

    held(settle, (5.0,), (1.0,))


@pytest.mark.long
def test_a_counter_that_is_used_behind_its_loop_is_right() -> None:
    def settle(x: Any) -> Any:
        n = 0
        while n < ROUNDS and x < 100:
            x = x + 0.5
            n += 1
        return np.stack([x, x * n])

    held(settle, (-1e6,), (1.0,), (60.0,))


def test_a_counter_that_is_returned_is_right() -> None:
    def settle(x: Any, limit: Any) -> Any:
        n = 0
        while x < limit:
            x = x + 0.5
            n += 1
        return x, n

    hybrid = blockfuse.hybridize(settle)
    for limit in (50.0, 20.0, 50.0, 50.0, 0.0):
        assert hybrid(np.array(1.0), np.array(limit))[1] == max(0, 2 * (limit - 1))


@pytest.mark.long
def test_a_constant_array_that_went_on_is_right() -> None:
    def settle(x: Any, limit: Any) -> Any:
        n = np.zeros(())
        while x < limit:
            x = x + 0.5
            n = n + 1
        return x * float(n)

    held(settle, (1.0, 50.0), (1.0, 20.0))


@pytest.mark.long
def test_loops_of_few_rounds_in_a_long_one_are_right(forgotten: list[int]) -> None:
    def settle(x: Any, limit: Any) -> Any:
        while x < limit:
            for _ in range(3):
                x = x + 0.125
            for n in range(2):
                x = x + n
            k = 0
            while k < 2 and x < limit:
                x, k = x + 0.25, k + 1
        return x

    assert held(settle, (1.0, 200.0), (1.0, 300.0)).startswith("settle(float32[], float32[]): compiled")
    assert forgotten[0] > 20


@pytest.mark.long
def test_lists_that_grow_tell_rounds_apart(forgotten: list[int]) -> None:
    def settle(x: Any) -> Any:
        seen = []
        for _ in range(ROUNDS):
            x = x * 0.75 + 1
            seen.append(x)
        return np.stack(seen)

    held(settle, (5.0,), (1.0,))
    assert not forgotten[0]


@pytest.mark.long
def test_a_number_of_python_that_changes_late_is_right() -> None:
    def settle(x: Any) -> Any:
        scale, steps = 1.0, [0.5] * 80 + [0.25] * 40
        for step in steps:
            if x > -1:
                scale = scale * 1.0 if step == 0.5 else 2.0
                x = x * 0.75 + scale * step
        return x

    held(settle, (5.0,), (1.0,))


@pytest.mark.long
def test_values_of_earlier_rounds_are_carried_or_the_call_is_pythons(forgotten: list[int]) -> None:
    class Box:
        value: Any = None

    def settle(x: Any, end: Any) -> Any:
        box, last = Box(), collections.deque([x * 1, x * 1], maxlen=2)
        n = np.array(0)
        while n < end:
            box.value = x
            last.append(x)
            x = x * 0.75 + last[0] * 0.125
            n = n + 1
        return x + box.value

    held(settle, (5.0, 50.0), (1.0, 20.0))

    def turned(a: Any, b: Any, end: Any) -> Any:
        n = np.array(0)
        while n < end:
            a, b = b, a * 0.5 + b * 0.25
            n = n + 1
        return a - b

    assert "1 ways back (loops)" in held(turned, (5.0, 1.0, ROUNDS), (1.0, 2.0, 31.0))
    assert forgotten[0] > ROUNDS / 2


@pytest.mark.long
def test_writes_in_rounds_are_right(forgotten: list[int]) -> None:
    def settle(x: Any, end: Any) -> Any:
        total, n = np.zeros(3), np.array(0)
        while n < end:
            total += x
            total[1] = total[0] * 0.5
            n = n + 1
        return total

    assert "settle(float32[], float32[]): compiled" in held(settle, (5.0, ROUNDS), (1.0, 31.0))
    assert forgotten[0] > ROUNDS / 2


@pytest.mark.long
def test_an_exception_in_a_late_round_is_raised() -> None:
    def settle(x: Any) -> Any:
        for i in range(ROUNDS):
            x = x * 0.75 + 1
            if i == 100:
                raise ValueError("late")
        return x

    hybrid = blockfuse.hybridize(settle)
    for _ in range(3):
        with pytest.raises(ValueError, match="late"):
            hybrid(np.array(1.0))


@pytest.mark.long
def test_draws_in_rounds_are_those_of_python() -> None:
    def walk(x: Any) -> Any:
        for _ in range(ROUNDS):
            x = x + np.random.uniform(size=())
        return x

    hybrid = blockfuse.hybridize(walk)
    for seed in (1, 2, 1):
        found = []
        for function in (hybrid, walk):
            np.random.seed(seed)
            found.append(float(function(np.array(1.0))))
        assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("limit", ["_MAX_POINTS", "_MAX_OPERATORS"])
def test_a_loop_that_would_be_recorded_for_minutes_is_pythons(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, limit, 80)

    def settle(x: Any, end: Any) -> Any:
        n = np.array(0)
        while n < end:
            x, n = x * 0.75 + 1, n + 1
        return x

    assert "docs/reasons.md#long-loops" in held(settle, (5.0, ROUNDS))


@pytest.mark.long
def test_a_long_loop_is_no_straight_line() -> None:
    def settle(x: Any) -> Any:
        for _ in range(ROUNDS):
            x = x * 0.75 + 1
        return x

    with pytest.raises(UsageError, match="too often to be written out"):
        straight_line(FunctionOwner(settle, blockfuse.hybridize(settle)), [np.array(1.0)], {})


@pytest.mark.long
@sampled(1, 30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_random_programs_agree_with_eager(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "KEPT_EVENTS", 0)
    source = program(seed)
    scope: dict[str, Any] = {"__name__": "program"}
    exec(compile(source, f"program{seed}", "exec"), scope)
    forward, hybrid = scope["forward"], blockfuse.hybridize(scope["forward"])
    for n in range(6):
        values = numpy.random.default_rng([seed, n]).integers(-6, 30, (2, 2)).astype("float64")
        found, wanted = (f(*map(np.array, values)) for f in (hybrid, forward))
        for a, b in zip(found, wanted, strict=True):
            numpy.testing.assert_array_equal(a.asnumpy(), b.asnumpy(), f"program {seed}\n{source}")
