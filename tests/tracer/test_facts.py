"""Each kind of fact is seen to change: by itself, by the guard that it gives a condition to, and by native code."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_guards import native_guard

import blockfuse
from blockfuse import np
from blockfuse.ir.comparisons import Comparison
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
from blockfuse.tracer.state.stored import MISSING, own_dict


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
    values, asked, chosen = numpy.zeros(3), [1], {one}
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
        "attribute of a function": (
            Item(_with_attribute(one), "key", one, False, ""),
            lambda: setattr(_with_attribute.made, "key", other),  # type: ignore[attr-defined]
        ),
        "names": (Names(namespace, ("key",), ""), lambda: setattr(namespace, "more", 1)),
        "names of a class": (Names(kind, tuple(vars(kind)), ""), lambda: setattr(kind, "more", 1)),
        "attribute of a class": (
            Item(kind, "__module__", kind.__module__, False, ""),
            lambda: setattr(kind, "__module__", other),
        ),
        "kind": (Kind(swapped, Other, ""), lambda: setattr(swapped, "__class__", Another)),
        "order": (Order(kind, kind.__mro__, ""), lambda: setattr(kind, "__bases__", (Other,))),
        "values": (Values(values, values.copy(), ""), lambda: values.fill(1)),
        "contents": (Contents(things, (one,), ""), lambda: things.append(other)),
        "contents of a dict": (Contents(d, ("key", one), ""), lambda: d.update(key=other)),
        "contents of a set": (Contents(chosen, tuple(chosen), ""), lambda: chosen.add(other)),
        "setting": (Setting(lambda: asked[0], 1, ""), lambda: asked.append(asked.pop() + 1)),
    }


def _with_attribute(value: Any) -> Any:
    made: Any = lambda: None  # noqa: E731 - has attributes
    made.key = value
    _with_attribute.made = made  # type: ignore[attr-defined]
    return made


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


ONLY_PYTHON_LOOKS = {"slot", "values", "setting", "contents of a set"}


@pytest.mark.parametrize("name", facts())
def test_the_native_guard_of_a_fact_says_no_once_it_does_not_hold(name: str) -> None:
    fact, change = facts()[name]
    guard = native_guard(fact.comparisons())
    assert (0 in guard.covered) is (name not in ONLY_PYTHON_LOOKS)
    assert guard.holds()
    change()
    assert not guard.covered or not guard.holds()


class Keys(dict):  # type: ignore[type-arg]
    """Look-ups of its own."""

    def __getitem__(self, key: Any) -> Any:
        return None


class Name(str):
    """Text whose comparisons are the user's."""


class Hiding:
    """Shows another dict than attributes are looked up in."""

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        return SHOWN


class Looking(type):
    """A metaclass that answers itself."""

    def __getattribute__(cls, name: str) -> Any:
        if name == "__class__":  # ``isinstance`` asks
            return Looking
        raise AssertionError(name)


class Looked(metaclass=Looking):
    by = 2.0


SHOWN = {"key": 1}


@pytest.mark.parametrize(
    "fact",
    [
        Item(Keys(key=1), "key", 1, False, ""),
        Item({Name("key"): 1}, Name("key"), 1, False, ""),
        Item({1: SHOWN}, 1, SHOWN, False, ""),
        Contents(Keys(key=1), ("key", 1), ""),
        Kind(Hiding(), Hiding, ""),
    ],
)
def test_what_may_run_code_of_the_user_is_left_to_python(fact: Fact) -> None:
    assert fact.comparisons() == ()


def test_a_metaclass_is_not_asked_for_the_attributes_of_its_class() -> None:
    names = tuple(own_dict(Looked))
    facts = (Item(Looked, "by", own_dict(Looked)["by"], True, ""), Names(Looked, names, ""))
    guard = native_guard(*(fact.comparisons() for fact in facts))
    assert guard.covered == {0, 1}
    type.__setattr__(Looked, "by", 3.0)
    assert not guard.holds()


_STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "drop", "replace"]), st.sampled_from("abc"), st.sampled_from([1, 2])),
    max_size=8,
)


@given(_STEPS, _STEPS)
def test_no_guard_says_yes_where_the_facts_of_an_object_do_not_hold(
    before: list[tuple[str, str, int]], after: list[tuple[str, str, int]]
) -> None:
    holder: Any = Other()
    for step in before:
        _change(holder, *step)
    stored = vars(holder)
    facts: list[Fact] = [Kind(holder, Other, ""), Names(holder, tuple(stored), "")]
    facts += [Item(holder, name, value, True, "") for name, value in stored.items()]
    facts += [Item(holder, name, MISSING, False, "") for name in "abc" if name not in stored]
    check, guard = quick_check(State(others=facts)), native_guard(*(fact.comparisons() for fact in facts))
    assert check is not None
    assert len(guard.covered) == len(facts)
    for step in after:
        _change(holder, *step)
        holds = all(fact.holds() for fact in facts)
        assert check() is guard.holds()
        assert holds or not guard.holds()


def _change(holder: Any, how: str, name: str, value: int) -> None:
    if how == "put":
        setattr(holder, name, value)
    elif how == "replace":
        holder.__dict__ = {**vars(holder), name: value}
    else:
        vars(holder).pop(name, None)


def test_names_of_the_same_number_with_the_same_last_one_are_told_apart() -> None:
    holder: Any = SimpleNamespace(a=1, b=2)
    fact = Names(holder, ("a", "b"), "")
    check, guard = quick_check(State(others=[fact])), native_guard(fact.comparisons())
    assert check is not None
    del holder.a, holder.b
    holder.c, holder.b = 1, 2
    assert (fact.holds(), check(), guard.holds()) == (False, False, False)


def test_another_dict_in_the_place_of_that_of_a_function_is_seen() -> None:
    made = _with_attribute(1)
    fact = Names(made, ("key",), "")
    check, guard = quick_check(State(others=[fact])), native_guard(fact.comparisons())
    assert check is not None
    assert (check(), guard.holds()) == (True, True)
    made.__dict__ = {"key": 1, "more": 2}
    assert (fact.holds(), check(), guard.holds()) == (False, False, False)


def test_a_new_kind_of_fact_is_one_class() -> None:
    class Smaller:
        text = "a number"

        def __init__(self, numbers: list[int]) -> None:
            self.numbers = numbers

        def holds(self) -> bool:
            return self.numbers[0] < 10

        def condition(self, bind: Callable[[Any], str]) -> str:
            return f"{bind(self.numbers)}[0] < {bind(10)}"

        def comparisons(self) -> tuple[Comparison, ...]:
            return ()

    numbers = [1]
    state = State(others=[Smaller(numbers)])
    check = quick_check(state)
    assert check is not None
    assert check()
    numbers[0] = 10
    assert not check()
    assert state.change() == "a number"


class StandIn:
    """A proxy: it says of itself to be a dict, and is none."""

    def __init__(self, items: dict[str, float]) -> None:
        object.__setattr__(self, "items_of_another", items)

    @property
    def __class__(self) -> Any:
        return dict

    def __getitem__(self, name: str) -> float:
        return self.items_of_another[name]


STANDS_IN = StandIn({"scale": 2.0})


def test_a_proxy_of_a_container_is_no_container_whose_items_are_known() -> None:
    fast = blockfuse.hybridize(lambda x: x * STANDS_IN["scale"])
    for scale in (2.0, 2.0, 2.0, 3.0):
        STANDS_IN.items_of_another["scale"] = scale
        assert fast(np.ones(2)).tolist() == [scale, scale]
    assert "whose state cannot be seen" in fast.explain()
