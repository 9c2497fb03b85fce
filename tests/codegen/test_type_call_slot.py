"""Calls of instances go to the entry without a Python frame, and nobody can tell but by the time."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import nn, np
from blockfuse.codegen.cpu.process import type_call_slot
from blockfuse.codegen.cpu.process.type_call_slot import _generic, _tp_call

X = np.array([[1.0, -2.0, 3.0]])


def quickened(cls: type) -> bool:
    return _tp_call(cls).value != _generic()


def compiled(net: Any) -> Any:
    net.initialize()
    net.hybridize()
    for _ in range(3):
        net(X)
    assert net._entry is not None
    return net


@pytest.fixture
def kind() -> type:
    """A class that nobody has called yet."""

    class Doubled(nn.Block):
        def forward(self, x: Any) -> Any:
            return x * 2

    return Doubled


def test_the_slot_is_found_and_taken(kind: type) -> None:
    assert _generic()
    assert not quickened(kind)
    net = compiled(kind())
    assert quickened(kind)
    assert net(X).tolist() == [[2, -4, 6]]
    assert kind.__call__ is nn.Block.__call__


def test_nothing_happens_where_the_type_is_not_as_it_should_be(
    kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type_call_slot, "_generic", lambda: 0)
    net = compiled(kind())
    assert not quickened(kind)
    assert net(X).tolist() == [[2, -4, 6]]


def test_a_call_of_ones_own_is_called(kind: type) -> None:
    class Counted(kind):  # type: ignore[misc]
        calls = 0

        def __call__(self, *args: Any) -> Any:
            vars(self)["calls"] = self.calls + 1
            return super().__call__(*args)

    compiled(kind())
    net = compiled(Counted())
    assert not quickened(Counted)
    before = net.calls
    net(X)
    assert net.calls == before + 1


def test_another_call_given_to_the_class_counts_from_then_on(kind: type) -> None:
    net = compiled(kind())
    kind.__call__ = lambda self, x: "another"  # type: ignore[misc, assignment]
    assert net(X) == "another"
    del kind.__call__
    assert net(X).tolist() == [[2, -4, 6]]


def test_another_call_given_to_the_base_counts_from_then_on(
    kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = compiled(kind())
    monkeypatch.setattr(nn.Block, "__call__", lambda self, x: "another")
    assert net(X) == "another"
    monkeypatch.undo()
    assert net(X).tolist() == [[2, -4, 6]]


def test_a_class_derived_later_has_its_own_call(kind: type) -> None:
    compiled(kind())

    class Tripled(kind):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x * 3

    class Silent(kind):  # type: ignore[misc]
        def __call__(self, *_: Any) -> Any:
            return None

    assert compiled(Tripled())(X).tolist() == [[3, -6, 9]]
    assert Silent()(X) is None


def test_what_the_entry_refuses_goes_through_python(kind: type) -> None:
    net = compiled(kind())
    assert net(x=X).tolist() == [[2, -4, 6]]
    assert net(np.ones((2, 2))).tolist() == [[2, 2], [2, 2]]
    assert type(net(numpy.ones((1, 3), "float32"))) is numpy.ndarray
    with pytest.raises(TypeError, match=r"takes \(x\)"):
        net()
    with pytest.raises(TypeError, match=r"takes \(x\)"):
        net(X, X)
    net.hybridize(False)
    assert net(X).tolist() == [[2, -4, 6]]


def test_an_entry_that_is_missing_or_raises_is_as_in_python(kind: type) -> None:
    net = compiled(kind())

    def failing(*_: Any) -> Any:
        raise KeyError("entry")

    net._entry = failing
    with pytest.raises(KeyError, match="entry"):
        net(X)
    del vars(net)["_entry"]
    with pytest.raises(AttributeError, match="_entry"):
        net(X)


def test_an_attribute_function_of_the_class_is_asked_as_in_python() -> None:
    class Watched(nn.Block):
        asked = 0

        def __getattribute__(self, name: str) -> Any:
            if name == "_entry":
                Watched.asked += 1
            return super().__getattribute__(name)

        def forward(self, x: Any) -> Any:
            return x + 1

    net = compiled(Watched())
    before = Watched.asked
    assert net(X).tolist() == [[2, -1, 4]]
    assert Watched.asked > before


def _counts(entry: Any) -> Iterator[int]:
    for value in (entry, NotImplemented, None, X):
        yield sys.getrefcount(value)


@pytest.mark.long
def test_references_stay_as_many(kind: type) -> None:
    """A call that kept one would keep it in every round; those that others come to hold meanwhile are in one of them."""
    net = compiled(kind())
    net(np.ones((2, 2)))

    def change() -> int:
        gc.collect()  # what other tests left holds references to None, too
        before = list(_counts(net._entry))
        for _ in range(300):
            net(X)
            net(x=X)
        gc.collect()
        return max(abs(a - b) for a, b in zip(before, _counts(net._entry), strict=True))

    assert min(change() for _ in range(3)) < 50


def test_functions_are_called_so_too() -> None:
    @blockfuse.hybridize
    def doubled(x: Any) -> Any:
        return x * 2

    for _ in range(3):
        assert doubled(X).tolist() == [[2, -4, 6]]
    assert quickened(type(doubled))
