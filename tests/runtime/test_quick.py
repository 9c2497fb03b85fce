"""Calls with keywords, containers, numbers and NumPy's arrays go to the entry, and only where they are what was recorded."""

from __future__ import annotations

import collections
import functools
import pickle
import sys
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
    if isinstance(value, slice | range | complex | bytes):
        return len(repr(value))
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
    ((_a(), [slice(1, None), slice(None, 2, -1), range(3), 2j, b"ab"]), {}),
    ((_a(), Point(_a(1), _a(2))), {}),
    ((_a(), []), {"y": {}}),
    ((_a().asnumpy(),), {}),
    ((_a().asnumpy(), [_a(1).asnumpy(), 2]), {"y": _a(3).asnumpy()}),
]


@pytest.mark.spread(7)
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
    (((_a(), range(0, 3, 2)), {}), ((_a(), range(0, 4, 2)), {})),
    (((_a(), slice(1)), {}), ((_a(), slice(True)), {})),
    (((_a(), b"a"), {}), ((_a(), "a"), {})),
    (((_a(), 2**70), {}), ((_a(), 2**71), {})),
]


@pytest.mark.spread(7)
@pytest.mark.parametrize("number", range(len(OTHERS)))
def test_calls_that_only_look_alike_are_told_apart(number: int) -> None:
    for first, second in (OTHERS[number], OTHERS[number][::-1]):
        net = hybridize(_function)
        for args, kwargs in (first, first, first, second, first, second):
            _same(net(*args, **kwargs), _function(*args, **kwargs))


def _misaligned(x: numpy.ndarray) -> numpy.ndarray:
    memory = numpy.zeros(x.nbytes + 1, numpy.uint8)[1:]
    made = memory.view(x.dtype).reshape(x.shape)
    made[...] = x
    return made


LAYOUTS: dict[str, Any] = {
    "in order": lambda x: x.copy(),
    "rows of a larger array": lambda x: numpy.concatenate([x, x], 1)[:, : x.shape[1]],
    "every second row": lambda x: numpy.repeat(x, 2, 0)[::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
    "by columns": numpy.asfortranarray,
    "not aligned": _misaligned,
    "read only": lambda x: numpy.broadcast_to(x, x.shape),
    "repeated": lambda x: numpy.broadcast_to(x[:1], x.shape),
    "pickled": lambda x: pickle.loads(pickle.dumps(x)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_numpy_arrays_of_every_layout_reach_the_entry(layout: str) -> None:
    x = LAYOUTS[layout](_a(0, (4, 3)).asnumpy())
    net = hybridize(lambda x, y: np.maximum(x, 0) + y)
    y = _a(1, (4, 3))
    for _ in range(3):
        net(x.copy(), y._data)
    before, references = _entries(net), sys.getrefcount(x)
    got, mixed, ours = net(x, y._data), net(x, y), net(np.array(x), y)
    assert _entries(net) == before + 3
    assert [type(got), type(mixed), type(ours)] == [numpy.ndarray, ndarray, ndarray]
    for one in (got, mixed._data, ours._data):
        numpy.testing.assert_array_equal(one, numpy.maximum(x, 0) + y._data)
    assert sys.getrefcount(x) == references


def test_a_view_of_ours_that_lies_otherwise_reaches_the_entry() -> None:
    net = hybridize(lambda x: x * 2)
    x = _a(0, (4, 6))
    for _ in range(3):
        net(x[:, :3].copy())
    before = _entries(net)
    _same(net(x[:, :3]), x[:, :3] * 2)
    assert _entries(net) == before + 1


def test_calls_of_other_forms_run_no_python() -> None:
    net = hybridize(lambda x, pair, scale: x * pair[0] + pair[1]["b"] * scale.get("k", 1))
    x, a, b = (_a(n).asnumpy() for n in range(3))
    call = functools.partial(net, x, (a, {"b": b}), scale={"k": 3})
    for _ in range(3):
        call()
    frames: list[Any] = []
    sys.setprofile(lambda frame, event, _: frames.append(frame) if event == "call" else None)
    try:
        got = call()
    finally:
        sys.setprofile(None)
    assert frames == []
    numpy.testing.assert_array_equal(got, x * a + b * 3)


def test_references_of_calls_of_every_form_stay_as_many() -> None:
    net = hybridize(lambda x, more, k=1.0, text="": x * more["a"] * k)
    x, a, k, text, more = _a(), _a(1), 0.123, "some text", dict[str, Any]()
    more["a"] = a
    objects = (x, a, k, text, more, x._data)
    for n in range(6):
        net(x, more, k=k + n, text=text)
    net(x, more, k=k, text=text)
    entry = net._fast_call
    assert entry is not None
    given = (x, more), {"k": k, "text": text}
    refused = (x, {"a": 3}), {"k": k, "text": text}
    before = [*map(sys.getrefcount, objects)]
    for _ in range(50):
        assert entry(*given) is not NotImplemented
        assert entry(*refused) is NotImplemented
        assert entry((x,), None) is NotImplemented
    assert [*map(sys.getrefcount, objects)] == before


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
