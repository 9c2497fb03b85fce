"""Each kind of fact is seen to change, by itself and by the guard that it gives a condition to."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy
import pytest

from blockfuse.runtime.programs.guards import quick_check
from blockfuse.tracer.state.facts import (
    Contents,
    Fact,
    Item,
    Kind,
    Names,
    Order,
    Setting,
    Values,
)
from blockfuse.tracer.state.picture import State
from blockfuse.tracer.state.stored import MISSING


class Slotted:
    __slots__ = ("held",)


def facts() -> dict[str, tuple[Fact, Callable[[], Any]]]:
    """A fact of each kind, and what makes it untrue."""
    one, other = object(), object()
    d, namespace, slotted, things = {"key": one}, SimpleNamespace(key=one), Slotted(), [one]
    slotted.held = one
    base, swapped = type("Base", (), {}), Other()
    kind = type("Kind", (base,), {})
    cell = (lambda: one).__closure__[0]  # type: ignore[index]
    values, asked = numpy.zeros(3), [1]
    function: Any = lambda n=one: n  # noqa: E731 - its defaults are changed
    return {
        "item of a dict": (Item(d, "key", one, False, ""), lambda: d.update(key=other)),
        "attribute": (Item(namespace, "key", one, False, ""), lambda: setattr(namespace, "key", other)),
        "slot": (Item(slotted, "held", one, False, ""), lambda: setattr(slotted, "held", other)),
        "cell": (Item(cell, None, one, False, ""), lambda: setattr(cell, "cell_contents", other)),
        "missing": (Item(d, "no", MISSING, False, ""), lambda: d.update(no=1)),
        "function": (
            Item(function, "__defaults__", function.__defaults__, False, ""),
            lambda: setattr(function, "__defaults__", (other,)),
        ),
        "names": (Names(namespace, ("key",), ""), lambda: setattr(namespace, "more", 1)),
        "kind": (Kind(swapped, Other, ""), lambda: setattr(swapped, "__class__", Another)),
        "order": (Order(kind, kind.__mro__, ""), lambda: setattr(kind, "__bases__", (Other,))),
        "values": (Values(values, values.copy(), ""), lambda: values.fill(1)),
        "contents": (Contents(things, (one,), ""), lambda: things.append(other)),
        "setting": (Setting(lambda: asked[0], 1, ""), lambda: asked.append(asked.pop() + 1)),
    }


class Another:
    pass


class Other:
    pass


@pytest.mark.parametrize("name", facts())
def test_the_guard_of_a_fact_says_no_once_it_does_not_hold(name: str) -> None:
    fact, change = facts()[name]
    check = quick_check(State(others=[fact]))
    assert check is not None
    assert check()
    assert fact.holds()
    change()
    assert not fact.holds()
    assert not check()


def test_a_new_kind_of_fact_is_one_class() -> None:
    class Smaller:
        text = "a number"

        def __init__(self, numbers: list[int]) -> None:
            self.numbers = numbers

        def holds(self) -> bool:
            return self.numbers[0] < 10

        def condition(self, bind: Callable[[Any], str]) -> str:
            return f"{bind(self.numbers)}[0] < {bind(10)}"

    numbers = [1]
    state = State(others=[Smaller(numbers)])
    check = quick_check(state)
    assert check is not None
    assert check()
    numbers[0] = 10
    assert not check()
    assert state.change() == "a number"
