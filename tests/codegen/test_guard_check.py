"""Native comparisons of Python objects say what Python's own would, and keep what they compare alive and nothing else."""

from __future__ import annotations

import gc
import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_guards import native_guard
from threads import together

import blockfuse
from blockfuse import np
from blockfuse.codegen.cpu.process import cpython
from blockfuse.ir.comparisons import Aspect, Comparison

VALUES = tuple(object() for _ in range(3))
NAMES = ("key", "other", "not an identifier", "")
_CHANGES = st.lists(
    st.tuples(st.sampled_from(["put", "drop", "again"]), st.sampled_from(NAMES), st.sampled_from(VALUES)),
    max_size=6,
)


def holds_in_python(comparison: Comparison) -> bool:
    """What the aspects of containers mean, by identity."""
    holder, parts = comparison.holder, comparison.parts
    if comparison.aspect is Aspect.ITEM:
        return holder.get(parts[0]) is parts[1]
    if comparison.aspect is Aspect.MISSING:
        return parts[0] not in holder
    found = [p for pair in holder.items() for p in pair] if comparison.aspect is Aspect.PAIRS else [*holder]
    return len(found) == len(parts) and all(a is b for a, b in zip(found, parts, strict=True))


def change(holder: dict[str, Any], how: str, name: str, value: Any) -> None:
    if how == "put":
        holder[name] = value
    elif how == "drop":
        holder.pop(name, None)
    elif name in holder:  # comes last from now on
        holder[name] = holder.pop(name)


@given(_CHANGES, _CHANGES)
def test_comparisons_of_dicts_say_what_python_says(
    before: list[tuple[str, str, Any]], after: list[tuple[str, str, Any]]
) -> None:
    holder: dict[str, Any] = {}
    for step in before:
        change(holder, *step)
    comparisons = [Comparison(Aspect.KEYS, holder, (*holder,))]
    comparisons.append(Comparison(Aspect.PAIRS, holder, tuple(p for pair in holder.items() for p in pair)))
    comparisons += [Comparison(Aspect.ITEM, holder, pair) for pair in holder.items()]
    comparisons += [Comparison(Aspect.MISSING, holder, (n,)) for n in NAMES if n not in holder]
    guards = [native_guard((comparison,)) for comparison in comparisons]
    assert all(guard.holds() and guard.covered for guard in guards)
    for step in after:
        change(holder, *step)
        assert [g.holds() for g in guards] == [holds_in_python(c) for c in comparisons]


@given(st.lists(st.sampled_from(VALUES), max_size=4), st.lists(st.sampled_from(VALUES), max_size=4))
def test_comparisons_of_lists_say_what_python_says(before: list[Any], after: list[Any]) -> None:
    holder = [*before]
    comparison = Comparison(Aspect.ELEMENTS, holder, tuple(before))
    guard = native_guard((comparison,))
    assert guard.holds()
    holder[:] = after
    assert guard.holds() is holds_in_python(comparison)
    holder[:] = before
    assert guard.holds()


def made_again(text: str) -> str:
    """Equal text that is another object."""
    return "".join([*text])


def test_keys_are_looked_up_as_text_and_elements_as_objects() -> None:
    name, value = "a name that is long", object()
    holder = {made_again(name): value}
    item = native_guard((Comparison(Aspect.ITEM, holder, (made_again(name), value)),))
    keys = native_guard((Comparison(Aspect.KEYS, holder, tuple(holder)),))
    assert (item.covered, item.holds(), keys.holds()) == ({0}, True, True)
    del holder[name]
    holder[name] = value
    assert item.holds()
    assert not keys.holds()  # it may say no
    listed = [made_again(name)]
    elements = native_guard((Comparison(Aspect.ELEMENTS, listed, tuple(listed)),))
    listed[0] = made_again(name)
    assert not elements.holds()


class Plain:
    pass


class Other:
    pass


class Kind(Plain):
    pass


def function(x: int = 1, *, y: int = 2) -> int:
    return x + y


def _cell() -> tuple[Any, Comparison]:
    value = object()
    cell: Any = (lambda: value).__closure__[0]  # type: ignore[index]
    return cell, Comparison(Aspect.CELL, cell, (value,))


def _function() -> Any:
    return FunctionType(function.__code__, {}, "function", function.__defaults__, None)


def changed() -> dict[str, tuple[Comparison, Callable[[], Any], Callable[[], Any]]]:
    """A comparison, what makes it untrue, and what makes it true again."""
    cell, of_cell = _cell()
    instance, moved, one, two, three = Plain(), Plain(), _function(), _function(), _function()
    own, value = vars(moved), of_cell.parts[0]
    order, kind = Kind.__mro__, Kind
    defaults, lambda_code = one.__defaults__, (lambda: 1).__code__
    before = {"y": 3}
    two.__kwdefaults__ = before
    return {
        "cell": (
            of_cell,
            lambda: delattr(cell, "cell_contents"),
            lambda: setattr(cell, "cell_contents", value),
        ),
        "class": (
            Comparison(Aspect.CLASS, instance, (Plain,)),
            lambda: setattr(instance, "__class__", Other),
            lambda: setattr(instance, "__class__", Plain),
        ),
        "dict": (
            Comparison(Aspect.DICT, moved, (own,)),
            lambda: setattr(moved, "__dict__", {}),
            lambda: setattr(moved, "__dict__", own),
        ),
        "order": (
            Comparison(Aspect.ORDER, kind, (order,)),
            lambda: setattr(kind, "__bases__", (Other,)),
            None,  # the tuple is made anew
        ),
        "code": (
            Comparison(Aspect.CODE, three, (function.__code__,)),
            lambda: setattr(three, "__code__", lambda_code),
            lambda: setattr(three, "__code__", function.__code__),
        ),
        "defaults": (
            Comparison(Aspect.DEFAULTS, one, (defaults,)),
            lambda: setattr(one, "__defaults__", None),
            lambda: setattr(one, "__defaults__", defaults),
        ),
        "keyword defaults": (
            Comparison(Aspect.KEYWORD_DEFAULTS, two, (before,)),
            lambda: setattr(two, "__kwdefaults__", {"y": 3}),
            lambda: setattr(two, "__kwdefaults__", before),
        ),
        "no keyword defaults": (
            Comparison(Aspect.KEYWORD_DEFAULTS, one, (None,)),
            lambda: setattr(one, "__kwdefaults__", {"y": 3}),
            lambda: setattr(one, "__kwdefaults__", None),
        ),
    }  # type: ignore[return-value]


@pytest.mark.parametrize("name", changed())
def test_each_other_aspect_is_seen_to_change(name: str) -> None:
    comparison, spoil, repair = changed()[name]
    guard = native_guard((comparison,))
    assert guard.covered == {0}
    assert guard.holds() is True
    spoil()
    assert guard.holds() is False
    if repair is None:
        Kind.__bases__ = (Plain,)
    else:
        repair()
        assert guard.holds() is True


def test_all_comparisons_of_all_facts_must_hold() -> None:
    holder: dict[str, Any] = {"key": VALUES[0], "other": VALUES[1]}
    items = [Comparison(Aspect.ITEM, holder, pair) for pair in holder.items()]
    guard = native_guard((items[0],), (), (items[1], items[0]))
    assert guard.covered == {0, 2}
    for name in ("key", "other"):
        before, holder[name] = holder[name], VALUES[2]
        assert not guard.holds()
        holder[name] = before
        assert guard.holds()


def test_what_does_not_hold_from_the_start_is_not_looked_at() -> None:
    holder = {"key": VALUES[0]}
    wrong = Comparison(Aspect.ITEM, holder, ("key", VALUES[1]))
    elsewhere = Comparison(Aspect.DICT, (), ({},))  # has none: AttributeError
    guard = native_guard((wrong,), (Comparison(Aspect.ITEM, holder, ("key", VALUES[0])),), (elsewhere,))
    assert guard.covered == {1}
    assert guard.holds()


# -- versions of dicts -----------------------------------------------------------------------------------------


IN_PLACE: dict[str, Callable[[dict[Any, Any]], Any]] = {
    "store": lambda d: d.__setitem__("key", VALUES[2]),
    "new": lambda d: d.__setitem__("new", VALUES[2]),
    "delete": lambda d: d.__delitem__("key"),
    "update": lambda d: d.update(key=VALUES[2]),
    "merge": lambda d: d.__ior__({"key": VALUES[2]}),
    "pop": lambda d: d.pop("key"),
    "last": lambda d: d.popitem(),
    "clear": lambda d: d.clear(),
    "default": lambda d: d.setdefault("new", VALUES[2]),
    "code": lambda d: exec("key = None", {}, d),
    "again": lambda d: d.update(key=d.pop("key")),
}


@pytest.mark.parametrize("act", IN_PLACE)
@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_each_way_to_change_a_dict_is_seen(act: str, kind: type[dict[Any, Any]]) -> None:
    holder: dict[str, Any] = kind(key=VALUES[0], other=VALUES[1])
    pairs = Comparison(Aspect.PAIRS, holder, tuple(p for pair in holder.items() for p in pair))
    guard = native_guard((pairs,))
    for _ in range(3):
        assert guard.holds()
    IN_PLACE[act](holder)
    for _ in range(3):
        assert guard.holds() is holds_in_python(pairs) is False
    holder.clear()
    holder.update(key=VALUES[0], other=VALUES[1])
    for _ in range(3):
        assert guard.holds()


def test_attributes_that_are_stored_quickly_are_seen() -> None:
    instance = Plain()
    instance.value = VALUES[0]  # type: ignore[attr-defined]
    guard = native_guard((Comparison(Aspect.ITEM, vars(instance), ("value", VALUES[0])),))

    def store(value: Any) -> None:
        instance.value = value  # type: ignore[attr-defined]

    for _ in range(100):
        assert guard.holds()
        store(VALUES[1])
        assert not guard.holds()
        store(VALUES[0])


def test_one_changed_dict_of_several_is_looked_at_with_the_others() -> None:
    holders: list[dict[str, Any]] = [{"key": value} for value in VALUES]
    guard = native_guard(*((Comparison(Aspect.ITEM, h, ("key", h["key"])),) for h in holders))
    for holder in holders:
        assert guard.holds()
        before = holder["key"]
        holder["unrelated"] = 1
        assert guard.holds()
        holder["key"] = None
        holders[0]["more"] = 1
        assert not guard.holds()
        assert not guard.holds()
        holder["key"] = before


def test_dicts_with_other_keys_are_looked_up_each_time() -> None:
    key, asked = Colliding("key"), []
    key.act = lambda: bool(asked.append(1))
    holder: dict[Any, Any] = {key: 1, "key": VALUES[0]}
    guard = native_guard((Comparison(Aspect.ITEM, holder, ("key", VALUES[0])),))
    del asked[:]
    assert holder["key"] is VALUES[0]
    of_one = len(asked)  # with some hashes of texts two probes of a look-up meet the same key
    assert of_one
    for times in range(2, 5):
        assert guard.holds()
        assert len(asked) == times * of_one


# -- references and exceptions ---------------------------------------------------------------------------------


def test_no_reference_is_lost_or_kept() -> None:
    (_, of_cell), instance, own, listed = _cell(), Plain(), {"key": VALUES[0]}, [VALUES[1]]
    comparisons = [
        of_cell,
        Comparison(Aspect.CLASS, instance, (Plain,)),
        Comparison(Aspect.DICT, instance, (vars(instance),)),
        Comparison(Aspect.ITEM, own, ("key", VALUES[0])),
        Comparison(Aspect.MISSING, own, ("other",)),
        Comparison(Aspect.PAIRS, own, ("key", VALUES[0])),
        Comparison(Aspect.ELEMENTS, listed, (VALUES[1],)),
        Comparison(Aspect.CODE, function, (function.__code__,)),
        Comparison(Aspect.DEFAULTS, function, (function.__defaults__,)),
    ]
    guard = native_guard(*((comparison,) for comparison in comparisons))
    assert len(guard.covered) == len(comparisons)
    held = [part for c in comparisons for part in (c.holder, *c.parts)] + [guard.table, None, True, False]

    def counts() -> list[int]:
        return [sys.getrefcount(object) for object in held]

    for answer in (True, False):
        before = counts()
        for _ in range(1000):
            assert guard.holds() is answer
        assert max(abs(a - b) for a, b in zip(before, counts(), strict=True)) < 20
        listed.append(VALUES[0])


def test_a_table_keeps_its_objects_alive_and_goes_with_the_guard() -> None:
    instance = Plain()
    there = weakref.ref(instance)
    guard = native_guard((Comparison(Aspect.CLASS, instance, (Plain,)),))
    del instance
    gc.collect()
    assert there() is not None
    assert guard.holds()
    del guard
    assert there() is None


def test_a_guard_that_its_own_objects_refer_to_is_collected() -> None:
    instance: Any = Plain()
    instance.guard = native_guard((Comparison(Aspect.CLASS, instance, (Plain,)),))
    there = weakref.ref(instance)
    del instance
    assert there() is not None
    gc.collect()
    assert there() is None


class Colliding:
    """A key with the hash of a text; comparing it does what ``act`` does."""

    def __init__(self, name: str) -> None:
        self.hash, self.act = hash(name), lambda: False

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        return self.act()


def _raising(error: type[BaseException]) -> Callable[[], bool]:
    def act() -> bool:
        raise error

    return act


@pytest.mark.parametrize("aspect", [Aspect.ITEM, Aspect.MISSING])
def test_what_a_key_raises_is_a_no_unless_it_is_meant_for_all(aspect: Aspect) -> None:
    key = Colliding("key")
    holder: dict[Any, Any] = {key: 1}
    if aspect is Aspect.ITEM:
        holder["key"] = VALUES[0]
    guard = native_guard((Comparison(aspect, holder, ("key", VALUES[0])),))
    assert guard.holds()
    for error in (ValueError, ZeroDivisionError, MemoryError):
        key.act = _raising(error)
        assert guard.holds() is False
    for error in (KeyboardInterrupt, SystemExit):
        key.act = _raising(error)
        with pytest.raises(error):
            guard.holds()
    key.act = lambda: False
    assert guard.holds()


def test_order_and_items_are_compared_without_a_key_being_asked() -> None:
    key = Colliding("key")
    key.act = _raising(AssertionError)
    holder = {key: key}
    pairs, keys = (Comparison(a, holder, p) for a, p in ((Aspect.PAIRS, (key, key)), (Aspect.KEYS, (key,))))
    guard = native_guard((pairs,), (keys,))
    assert guard.covered == {0, 1}
    assert guard.holds()


def test_threads_ask_while_another_one_changes() -> None:
    holder: dict[str, Any] = {"key": VALUES[0]}
    listed = [VALUES[0]]
    guard = native_guard(
        (Comparison(Aspect.PAIRS, holder, ("key", VALUES[0])),),
        (Comparison(Aspect.ELEMENTS, listed, (VALUES[0],)),),
    )

    def work(number: int) -> None:
        for round in range(2000):
            if number == 0:
                holder[str(round % 50)] = listed
                listed[:] = [VALUES[1]] * (round % 9)
                holder.clear()
            else:
                assert guard.holds() in (True, False)

    together(work)
    holder.update(key=VALUES[0])
    listed[:] = [VALUES[0]]
    assert guard.holds()


# -- in an entry -----------------------------------------------------------------------------------------------

X = np.array([1.0, 2.0, 3.0])


def scaled_by(scope: dict[Any, Any], code: CodeType = (lambda x: x * factor).__code__) -> Any:  # type: ignore[name-defined]  # noqa: F821
    """A compiled function whose globals are ``scope``."""
    made = FunctionType(code, scope, "scaled")
    return blockfuse.hybridize(made)


def compiled(scaled: Any) -> Any:
    for _ in range(4):
        scaled(X)
    [program] = [case.program for case in scaled._hybrid.cases.values() if case.program]
    return program


def test_an_entry_looks_itself_and_python_is_not_between() -> None:
    scope: dict[Any, Any] = {"factor": 2.0}
    scaled = scaled_by(scope)
    program = compiled(scaled)
    assert program.call is program.entry is program.executable.entry
    before = program.executable.calls()
    assert scaled(X).tolist() == [2, 4, 6]
    assert program.executable.calls() == before + 1
    scope["factor"] = 3.0
    assert program.call(X) is NotImplemented
    assert scaled(X).tolist() == [3, 6, 9]


def test_an_equal_number_costs_a_look_by_dispatch_and_no_new_program() -> None:
    scope: dict[Any, Any] = {"factor": float("2.5")}
    scaled = scaled_by(scope)
    program = compiled(scaled)
    scope["factor"] = float("2.5")
    assert program.call(X) is NotImplemented
    assert scaled(X).tolist() == [2.5, 5, 7.5]
    assert compiled(scaled) is program


def test_what_a_key_does_while_it_is_compared_is_seen_by_the_call() -> None:
    weight, key = np.array([1.0, 1.0, 1.0]), Colliding("factor")
    scope: dict[Any, Any] = {key: 0, "factor": weight}
    scaled = scaled_by(scope, (lambda x: x * (factor * 3)).__code__)  # type: ignore[name-defined]  # noqa: F821
    compiled(scaled)

    def write() -> bool:
        weight[:] = weight + 1
        return False

    key.act = write
    given = scaled(X).tolist()
    key.act = lambda: False
    assert given == (X * (weight * 3)).tolist()  # what is computed of weights alone was computed again


@pytest.mark.long
def test_a_key_that_ends_the_program_or_the_process_does_so_safely() -> None:
    key = Colliding("factor")
    scope: dict[Any, Any] = {key: 0, "factor": 2.0}
    scaled = scaled_by(scope)
    entry, hybrid = compiled(scaled).entry, scaled._hybrid
    key.act = _raising(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        entry(X)

    def forget() -> bool:
        hybrid.cases.clear()  # noqa: F821 - deleted in the end
        gc.collect()
        return False

    key.act = forget
    assert scaled(X).tolist() == [2, 4, 6]
    key.act = lambda: False
    del scaled, hybrid
    gc.collect()
    assert entry(X) is NotImplemented  # of a program that is gone


def test_a_program_and_what_its_guard_holds_go_together() -> None:
    held: Any = Plain()
    held.factor = 2.0
    scaled = blockfuse.hybridize(lambda x: x * held.factor)  # noqa: F821 - deleted in the end
    compiled(scaled)
    held.function = scaled
    there = weakref.ref(held)
    del held, scaled
    gc.collect()
    assert there() is None


def test_where_objects_are_not_known_python_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpython, "layout_is_known", lambda _: False)
    scope: dict[Any, Any] = {"factor": 2.0}
    scaled = scaled_by(scope)
    program = compiled(scaled)
    assert program._guard is None
    assert program.is_current(program.version)
    scope["factor"] = 3.0
    assert not program.is_current(program.version)
    assert scaled(X).tolist() == [3, 6, 9]


def test_a_setting_is_asked_behind_what_native_code_looks_at() -> None:
    values = numpy.ones(3, numpy.float32)
    scope: dict[Any, Any] = {"factor": values}
    scaled = scaled_by(scope)
    program = compiled(scaled)
    assert program.call is not program.entry
    assert program.is_current(program.version)
    values[1] = 5
    assert not program.is_current(program.version)
    assert scaled(X).tolist() == [1, 10, 3]
