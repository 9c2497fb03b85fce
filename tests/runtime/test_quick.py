"""Calls with keywords, containers, numbers and NumPy's arrays go to the entry, and only where they are what was recorded."""

from __future__ import annotations

import collections
from typing import Any

import numpy
import pytest

from blockfuse import hybridize, np
from blockfuse.array.ndarray import ndarray

Point = collections.namedtuple("Point", "x y")


class Text(str):
    """Compares as text does."""


def _function(x: Any, *more: Any, **named: Any) -> Any:
    total = x * 2
    for value in (*more, *named.values()):
        total = total + _sum(value)
    return total


def _sum(value: Any) -> Any:
    if isinstance(value, dict):
        return sum((_sum(v) * (n + 1) for n, v in enumerate(value.values())), 0)
    if isinstance(value, list | tuple):
        return sum((_sum(v) for v in value), len(value))
    if isinstance(value, str):
        return len(value) if type(value) is str else -1
    if value is None or value is ...:
        return 7
    return value if isinstance(value, int | float) else value * 3


def _a(seed: int = 0, shape: tuple[int, ...] = (3,)) -> ndarray:
    return np.array(numpy.random.default_rng(seed).normal(size=shape).astype(numpy.float32))


def _entries(net: Any) -> int:
    return sum(c.program.executable.calls() for c in net._hybrid.cases.values() if c.program)


def _same(got: Any, want: Any) -> None:
    assert type(got) is type(want)
    numpy.testing.assert_array_equal(numpy.asarray(got), numpy.asarray(want))


FORMS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((_a(), None), {}),
    ((_a(), True), {}),
    ((_a(), ..., "text"), {}),
    ((_a(), 3, -2.5), {}),
    ((_a(),), {"y": _a(1)}),
    ((_a(),), {"y": _a(1), "z": 2}),
    ((_a(), [_a(1), (_a(2), None)]), {}),
    ((_a(), {"a": _a(1), "b": [_a(2), 4]}), {}),
    ((_a(), Point(_a(1), _a(2))), {}),
    ((_a(), []), {"y": {}}),
    ((_a().asnumpy(),), {}),
    ((_a().asnumpy(), [_a(1).asnumpy(), 2]), {"y": _a(3).asnumpy()}),
]


@pytest.mark.parametrize("number", range(len(FORMS)))
def test_calls_of_every_form_reach_the_entry(number: int) -> None:
    args, kwargs = FORMS[number]
    net = hybridize(_function)
    want = _function(*args, **kwargs)
    for _ in range(3):
        _same(net(*args, **kwargs), want)
    before = _entries(net)
    _same(net(*args, **kwargs), want)
    assert _entries(net) == before + 1


_one, _list = _a(5), [1]

OTHERS: list[tuple[Any, Any]] = [
    (((_a(), 1), {}), ((_a(), True), {})),
    (((_a(), 1), {}), ((_a(), 1.0), {})),
    (((_a(), 0.0), {}), ((_a(), -0.0), {})),
    (((_a(), float("nan")), {}), ((_a(), float("inf")), {})),
    (((_a(), "ab"), {}), ((_a(), Text("ab")), {})),
    (((_a(), [1, 2]), {}), ((_a(), (1, 2)), {})),
    (((_a(), [1]), {}), ((_a(), [1, 1]), {})),
    (((_a(), {"a": 1, "b": 2.5}), {}), ((_a(), {"b": 2.5, "a": 1}), {})),
    (((_a(), {"a": 1}), {}), ((_a(), {Text("a"): 1}), {})),
    (((_a(), {1: 1}), {}), ((_a(), {True: 1}), {})),
    (((_a(), Point(1, 2)), {}), ((_a(), (1, 2)), {})),
    (((_a(), [1], [1]), {}), ((_a(), _list, _list), {})),
    (((_a(), _a(1)), {}), ((_one, _one), {})),
    (((_a(), [_a(1)]), {}), ((_one, [_one]), {})),
    (((_a().asnumpy(), [_a(1).asnumpy()]), {}), ((_one._data, [_one._data]), {})),
    (((_a().asnumpy(),), {}), ((_a(),), {})),
    (((_a().asnumpy(), [_a(1).asnumpy()]), {}), ((_a().asnumpy(), [_a(1)]), {})),
    (((_a().asnumpy(),), {}), ((_a().asnumpy().astype(">f4"),), {})),
    (((_a().asnumpy(),), {}), ((_a(0, (6,)).asnumpy()[::2],), {})),
    (((_a(),), {"y": 1, "z": 2.5}), ((_a(),), {"z": 2.5, "y": 1})),
    (((_a(),), {"y": 1}), ((_a(), 1), {})),
    (((_a(), [_a(1)]), {}), ((_a(), [_a(1, (3, 1))]), {})),
]


@pytest.mark.spread(3)
@pytest.mark.parametrize("number", range(len(OTHERS)))
def test_calls_that_only_look_alike_are_told_apart(number: int) -> None:
    for first, second in (OTHERS[number], OTHERS[number][::-1]):
        net = hybridize(_function)
        for args, kwargs in (first, first, first, second, first, second):
            _same(net(*args, **kwargs), _function(*args, **kwargs))


def test_results_of_every_structure_come_back_as_numpy_arrays() -> None:
    net = hybridize(lambda x, k: {"a": x + k["b"], "c": [x * 2, (x * 3, 1)]})
    x, b = _a().asnumpy(), _a(1).asnumpy()
    for _ in range(5):
        got = net(x, {"b": b})
    assert _entries(net) > 0
    assert type(got["a"]) is numpy.ndarray
    assert type(got["c"][1][0]) is numpy.ndarray
    numpy.testing.assert_array_equal(got["a"], x + b)
    numpy.testing.assert_array_equal(got["c"][1][0], x * 3)
    assert got["c"][1][1] == 1


def test_calls_of_compiled_blocks_inside_of_a_recording_are_no_effects() -> None:
    inner = hybridize(lambda x, k, scale=1: x * k + scale)
    x = _a()
    for k in (0.5, 1.5, 2.5, 3.5, 4.5):  # ``k`` becomes an argument of the program
        inner(x, k, scale=2)
    outer = hybridize(lambda x: inner(x, 3.25, scale=2) + inner(x.T, 1.25, scale=2))
    for _ in range(3):
        _same(outer(x), _function_of(x))
    assert "compiled" in outer.explain(), outer.explain()


def _function_of(x: Any) -> Any:
    return (x * 3.25 + 2) + (x.T * 1.25 + 2)


def test_calls_without_arrays() -> None:
    net = hybridize(lambda values, k=1: np.array(values) * k)
    for values in ([1.0, 2.0], [3.0, 4.0], [1.0, 2.0], (1, 2)):
        for _ in range(3):
            _same(net(values), np.array(values))
            _same(net(values, k=2), np.array(values) * 2)
