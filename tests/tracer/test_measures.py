"""Numbers that a function takes of arrays and only compares: native loops. Any other use keeps the call in Python."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy
import pytest
from flows import case_of, ways_back
from hypothesis import given, settings
from hypothesis import strategies as st

import blockfuse
from blockfuse import autograd, np

SCALES = (1, 3, 1e-6, 0.0, -0.0, 1e4, 1e30, math.inf, math.nan, -5)
kept: list[float] = []


def settled(x: Any) -> Any:
    error = 1.0
    while error > 1e-3:
        new = 0.5 * (x + 2.0 / x)
        error = float(np.abs(new - x).max())
        x = new
    return x


def halved(x: Any) -> Any:
    rounds = 0
    high = x.max()
    while high.item() > 1 and rounds < 300:
        x = x * 0.5
        high = x.max()
        rounds += 1
    return x + 1


def sorted_out(x: Any) -> Any:
    high, low = float(x.max()), x.min().item()
    first = high
    high = float(x.max())
    low = float(x.min())
    if high == low:
        return x * 2
    return x * 3 if high < 1 else x - first


def two(x: Any) -> Any:
    high = float(x.max())
    low = float(x.min())
    if high == low:
        return x * 2
    if high != high:
        return x * 5
    return x * 3 if low <= -1.0 else x + 1


def alternating(x: Any) -> Any:
    error = float("inf")
    for _ in range(3):
        error = 2.0
        while error >= 1:
            x = x * 0.5
            error = float(x.max())
        x = x + 1
    return x


def both_sides(x: Any) -> Any:
    while float(x.max()) > float(x.min()) + 0:
        x = x * 0.5
    return x * 1


def compared(x: Any) -> Any:
    high, low = x.max(), x.min()
    return x * 2 if float(high) > low.item() else x * 3


NATIVE = (settled, halved, two, compared)


def arrays(scale: float) -> list[Any]:
    base = numpy.array([0.5, 0.75, 1.0], numpy.float32)
    with numpy.errstate(all="ignore"):
        return [np.array(base * numpy.float32(scale)), np.array(numpy.full(3, scale, numpy.float32))]


def same(function: Callable[..., Any], hybrid: Any, x: Any) -> None:
    with numpy.errstate(all="ignore"):
        assert hybrid(x).asnumpy().tobytes() == function(x).asnumpy().tobytes()


@pytest.mark.spread(4)
@pytest.mark.parametrize("function", NATIVE, ids=lambda f: f.__name__)
def test_a_number_that_is_only_compared_stays_native(function: Callable[..., Any]) -> None:
    hybrid = blockfuse.hybridize(function)
    scales = [s for s in SCALES if function is not settled or (s > 0 and s < 1e5)]
    for scale in scales * 2:
        for x in arrays(scale):
            same(function, hybrid, x)
    eager = case_of(hybrid).eager_calls
    for scale in scales:
        for x in arrays(scale):
            same(function, hybrid, x)
    assert case_of(hybrid).eager_calls == eager, hybrid.explain()
    assert ways_back(hybrid) >= (function in (settled, halved))


def test_an_outer_loop_may_begin_again() -> None:
    hybrid = blockfuse.hybridize(alternating)
    for scale in (1, 5, 1e3, 0.1, 77, 1e6):
        for x in arrays(scale):
            same(alternating, hybrid, x)


def begun_in_branches(x: Any) -> Any:
    error = 0.5
    if x.sum() > 3:
        error = float(x.max())
    while error > 0.1:
        x = x * 0.5
        error = 0.05
        if 0.2 < x.min() < 1e9:  # infinity never ends
            error = float(x.min())
    return x + 1


def stale(x: Any) -> Any:
    error = 0.0
    for _ in range(3):
        if error > 0.5:
            x = x * 0.25
        try:
            error = float(x.max())
            if error > 1:
                raise KeyError
        except KeyError:
            x = x - 1
            continue
        x = x + 0.1
    return x


def written_over(x: Any) -> Any:
    x = x * 1
    high = x.max()
    error = float(high)
    high += 10
    x += 1
    if error > 1:
        return x * 2
    return x * 3 if float(high) > 10.5 else x * 4


def returned(x: Any) -> Any:
    error = float(x.max())
    return x * 2 if error > 1 else x + error


def listed(x: Any) -> Any:
    error, seen = 0.0, []
    error = float(x.max())
    seen.append(error)
    return x * seen[0]


def enclosed(x: Any) -> Any:
    error = float(x.max())
    give = lambda: error  # noqa: E731
    return x * give() if error > 1 else x


def defaulted(x: Any) -> Any:
    error = float(x.max())

    def give(e: float = error) -> float:
        return e

    return x * give()


def by_locals(x: Any) -> Any:
    error = float(x.max())
    return x * locals()["error"] if error > 1 else x * 1


def computed(x: Any) -> Any:
    error = float(x.max())
    half = error / 2
    return x * 2 if half > 1 else x * 3


def chosen(x: Any) -> Any:
    error = float(x.max())
    return x * min(error, 1.0) if error > 0 else x * 2


def caught(x: Any) -> Any:
    error = 1.0
    try:
        error = float(x.max())
        if error > 1:
            raise ValueError
    except ValueError:
        return x * error
    return x + 1


def generated(x: Any) -> Any:
    def errors() -> Any:
        error = float(x.max())
        while error > 1:
            yield error
            error = 0.0

    return x * sum(errors())


def comprehended(x: Any) -> Any:
    error = float(x.max())
    return x * sum([error * 2 for error in (error, 1.0)])


class Magnitude:
    """Hands its number on by way of C code."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __float__(self) -> float:
        return abs(float(self.x))


def by_object(x: Any) -> Any:
    error = float(Magnitude(x.max()))
    return x * 2 if error > 1 else x * 3


def by_c_code(x: Any) -> Any:
    kind = type("Kind", (), {"__float__": functools.partial(math.fabs, x.max())})
    error = float(kind())
    return x * 2 if error > 1 else x * 3


def by_c_method(x: Any) -> Any:
    kind = type("Kind", (), {"item": functools.partial(math.fabs, x.max())})
    one = kind()
    if one.item() > 1:
        return x * 2
    error = one.item()
    return x * 4 if error > 0.5 else x * 3


def by_map(x: Any) -> Any:
    error = next(map(float, [x.max()]))
    return x * 2 if error > 1 else x * 3


OTHERS = (
    *(returned, listed, enclosed, defaulted, by_locals, computed, chosen, caught, generated, comprehended),
    *(
        begun_in_branches,
        stale,
        written_over,
        by_object,
        by_c_code,
        by_c_method,
        by_map,
        sorted_out,
        both_sides,
    ),
)


@pytest.mark.spread(4)
@pytest.mark.parametrize("function", OTHERS, ids=lambda f: f.__name__)
def test_a_number_that_goes_elsewhere_is_never_stale(function: Callable[..., Any]) -> None:
    hybrid = blockfuse.hybridize(function)
    scales = [s for s in SCALES if function is not both_sides] or [3.0]
    for scale in (*scales, 2, 7, -7, 7, -3):
        for x in arrays(scale)[function is both_sides :]:
            same(function, hybrid, x)


def test_the_reason_names_the_number() -> None:
    hybrid = blockfuse.hybridize(computed)
    for scale in (1, 2, 3):
        hybrid(arrays(scale)[0])
    assert "error, a number that was taken of an array" in str(hybrid.explain())


def test_an_error_on_the_way_is_that_of_eager() -> None:
    def wide(x: Any) -> Any:
        error = float(x)
        return x * 2 if error > 1 else x * 3

    hybrid = blockfuse.hybridize(wide)
    for _ in range(3):
        assert float(hybrid(np.array(3.0))) == 6
        with pytest.raises(TypeError):
            hybrid(np.array([1.0, 2.0]))


def test_gradients_are_those_of_eager() -> None:
    def scaled(x: Any) -> Any:
        error = float(x.max())
        return x * 2 if error > 1 else x * 3

    hybrid = blockfuse.hybridize(scaled)
    for value in (0.5, 2.0, 0.5, 2.0, math.nan) * 2:
        x = np.array([0.1, value])
        x.attach_grad()
        with autograd.record():
            y = hybrid(x)
        y.backward()
        assert x.grad.asnumpy().tolist() == [2 if value > 1 else 3] * 2


@pytest.mark.long
def test_two_threads_compare_their_own_numbers() -> None:
    hybrid = blockfuse.hybridize(settled)
    inputs = [x for scale in (1, 2, 3, 50, 1e3, 1e-2) for x in arrays(scale)] * 4
    with ThreadPoolExecutor(2) as pool:
        results = [r.asnumpy().tobytes() for r in pool.map(hybrid, inputs)]
    assert results == [settled(x).asnumpy().tobytes() for x in inputs]


numbers = st.floats(width=32, allow_nan=True, allow_infinity=True)


@pytest.mark.long
@pytest.mark.parametrize("function", [halved, two, compared], ids=lambda f: f.__name__)
def test_results_are_those_of_eager_bit_for_bit(function: Callable[..., Any]) -> None:
    hybrid = blockfuse.hybridize(function)

    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(st.lists(numbers, min_size=3, max_size=3))
    def agree(values: list[float]) -> None:
        same(function, hybrid, np.array(numpy.array(values, numpy.float32)))

    agree()
