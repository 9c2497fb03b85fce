"""The Python state that a call reads in unusual ways: what nobody names, returned containers, classes of classes."""

from __future__ import annotations

import abc
import contextlib
import enum
import functools
import gc
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy
import pytest
from tolerances import assert_close

import blockfuse
from blockfuse import nn, np
from blockfuse.tracer.state.visits import state_of

CALLS = 3  # the first meets the code, the second is recorded, the third is compiled if it may be


def x() -> Any:
    return np.array([[1, -2, 3], [4, 5, -6.5]])


def agree(function: Callable[[Any], Any], change: Callable[[], Any]) -> None:
    """A hybridized call gives what the function gives, before and after ``change``."""
    fast = blockfuse.hybridize(function)
    for _ in range(2):
        for _ in range(CALLS):
            assert_close(fast(x()).asnumpy(), function(x()).asnumpy())
        change()


def special(name: str) -> tuple[Any, list[float]]:
    """An object whose method ``name`` counts its calls in a list that only its closure holds."""
    calls = [0.0]

    def method(*_: Any) -> Any:
        calls[0] += 1
        return calls[0] if name in ("__add__", "__float__", "__getitem__", "__getattr__") else None

    return type("Special", (), {name: method})(), calls


def put_item(one: Any, value: Any) -> Any:
    one[0] = 1
    return value * 1


def delete_item(one: Any, value: Any) -> Any:
    del one[0]
    return value * 1


def enter(one: Any, value: Any) -> Any:
    one += 1
    return value * 1


USES: dict[str, Callable[[Any, Any], Any]] = {
    "__setitem__": put_item,
    "__delitem__": delete_item,
    "__iadd__": enter,
    "__add__": lambda one, value: value * (one + 1),
    "__float__": lambda one, value: value * float(one),
    "__getitem__": lambda one, value: value * one[3],
    "__getattr__": lambda one, value: value * one.anything,
}


@pytest.mark.parametrize("name", USES)
def test_a_special_method_with_effects_runs_at_every_call(name: str) -> None:
    counts = []
    for compiled in (False, True):
        one, calls = special(name)

        def function(value: Any, one: Any = one) -> Any:
            return USES[name](one, value)

        run = blockfuse.hybridize(function) if compiled else function
        results = [run(x()).asnumpy() for _ in range(CALLS + 1)]
        counts.append((calls, numpy.stack(results).tolist()))
    assert counts[0] == counts[1]


def test_a_finalizer_runs_at_every_call() -> None:
    ends: list[int] = []

    class Ending:
        def __del__(self) -> None:
            ends.append(1)

    def function(value: Any) -> Any:
        Ending()
        return value * 1

    fast = blockfuse.hybridize(function)
    for _ in range(CALLS + 1):
        fast(x())
    gc.collect()
    assert len(ends) == CALLS + 1


def test_what_a_special_method_encloses_is_guarded() -> None:
    factors = [2.0]

    class Scale:
        def __len__(self) -> int:
            return int(factors[0])

    scale = Scale()
    agree(lambda value: value * len(scale), lambda: factors.append(factors.pop() + 1))


def test_a_replaced_special_method_is_seen() -> None:
    class Scale:
        def __len__(self) -> int:
            return 2

    scale = Scale()
    agree(lambda value: value * len(scale), lambda: setattr(Scale, "__len__", lambda _: 5))


def test_attributes_of_a_metaclass_are_guarded() -> None:
    factors = [2.0]

    class Meta(type):
        scale = 3.0

        @property
        def factor(cls) -> float:
            return factors[0]

    class Scaled(metaclass=Meta):
        pass

    agree(lambda value: value * Scaled.scale, lambda: setattr(Meta, "scale", 4.0))
    agree(lambda value: value * Scaled.factor, lambda: factors.append(factors.pop() + 1))


# -- lists and dicts in results ------------------------------------------------------------------------------


class Returning(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.kept: Any = [1.0, {"a": 2.0}]

    def forward(self, x: Any) -> Any:
        return x * self.kept[0], self.kept


def test_a_list_of_the_block_is_returned_itself() -> None:
    net = Returning()
    net.hybridize()
    for _ in range(CALLS):
        _, kept = net(x())
        assert kept is net.kept
        kept[0] += 1
    assert_close(net(x())[0].asnumpy(), x().asnumpy() * numpy.float32(net.kept[0]))


def test_a_list_inside_of_one_that_is_kept_is_returned_itself() -> None:
    kept = ([1], {"a": [2]})
    fast = blockfuse.hybridize(lambda x: (x * 1, [kept[1]["a"]]))
    for _ in range(CALLS):
        assert fast(x())[1][0] is kept[1]["a"]


def test_a_list_that_was_passed_is_returned_itself() -> None:
    fast = blockfuse.hybridize(lambda x, given: {"y": x * 1, "given": given})
    for given in ([1, 2], {"a": 1}, [x()]):
        for _ in range(CALLS):
            assert fast(x(), given)["given"] is given


def test_a_list_stands_twice_in_a_result() -> None:
    def function(x: Any) -> Any:
        inner = [3]
        return x * 1, inner, inner

    fast = blockfuse.hybridize(function)
    for _ in range(CALLS):
        _, first, second = fast(x())
        assert first is second


def test_a_result_may_hold_itself() -> None:
    def function(x: Any) -> Any:
        result = [x * 1]
        result.append(result)
        return result

    fast = blockfuse.hybridize(function)
    for _ in range(CALLS):
        result = fast(x())
        assert result[1] is result


def test_fresh_lists_in_a_result_do_not_keep_a_call_from_being_compiled() -> None:
    fast = blockfuse.hybridize(lambda x: (x * 1, [3], {"a": [x + 1]}))
    for _ in range(CALLS):
        result = fast(x())
        result[1].append(4)
        result[2]["b"] = 1
    assert fast(x())[1] == [3]
    assert "compiled" in fast.explain()


# -- lists and dicts among the arguments ---------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: [1], lambda: {"a": 1}, lambda: [x()]])
def test_one_list_passed_twice_is_not_two_equal_lists(make: Callable[[], Any]) -> None:
    fast = blockfuse.hybridize(lambda x, a, b: x * 2 if a is b else x * 3)
    one = make()
    for _ in range(CALLS):
        assert_close(fast(x(), one, one).asnumpy(), x().asnumpy() * 2)
        assert_close(fast(x(), one, make()).asnumpy(), x().asnumpy() * 3)
        assert_close(fast(x(), one, b=one).asnumpy(), x().asnumpy() * 2)


def test_a_list_that_holds_itself_is_an_argument_like_others() -> None:
    one: list[Any] = [2]
    one.append(one)
    fast = blockfuse.hybridize(lambda x, a: x * a[1][1][0])
    for _ in range(CALLS):
        assert_close(fast(x(), one).asnumpy(), x().asnumpy() * 2)
        assert_close(fast(x(), [3, [4, [5]]]).asnumpy(), x().asnumpy() * 5)
    assert fast.explain().count("compiled") == 2


def test_equal_keys_of_other_types_are_told_apart() -> None:
    fast = blockfuse.hybridize(lambda x, a: x * 2 if True in [k is True for k in a] else x * 3)
    for _ in range(CALLS):
        assert_close(fast(x(), {1: 0}).asnumpy(), x().asnumpy() * 3)
        assert_close(fast(x(), {True: 0}).asnumpy(), x().asnumpy() * 2)


# -- state that changes before every call ----------------------------------------------------------------------


@pytest.mark.long
def test_an_attribute_that_changes_before_every_call_is_not_recorded_every_time() -> None:
    net, plain = Scaling(), Scaling()
    net.hybridize()
    for n in range(500):
        net.scale = plain.scale = n / 8
        assert_close(net(x()).asnumpy(), plain(x()).asnumpy())
    (case,) = net._hybrid.cases.values()
    assert case.attempts <= 20
    assert "its state changes too often: Scaling.scale" in net.explain()
    for _ in range(600):
        net(x())
    assert "compiled" in net.explain()


def test_an_attribute_that_changes_now_and_then_is_always_compiled() -> None:
    net = Scaling()
    net.hybridize()
    for n in range(20):
        net.scale = n / 8
        for _ in range(10):
            net(x())
    (case,) = net._hybrid.cases.values()
    assert case.attempts == 20
    assert case.eager_calls == 0


# -- memory that NumPy's arrays share ------------------------------------------------------------------------


@pytest.mark.parametrize("use", [lambda x, held: np.dot(x, held), lambda x, held: x * np.exp(held).sum()])
def test_an_array_on_the_memory_of_a_numpy_array_is_guarded(use: Callable[[Any, Any], Any]) -> None:
    values = numpy.ones((3, 3), numpy.float32)
    held = np.asarray(values)
    view = held.T
    for one in (held, view):
        agree(lambda x, one=one: use(x, one), lambda: values.__setitem__(1, values[1] + 1))


def test_an_array_on_memory_of_something_else_is_guarded() -> None:
    memory = bytearray(36)
    held = np.asarray(numpy.frombuffer(memory, numpy.float32).reshape(3, 3))
    agree(lambda x: np.dot(x, held), lambda: memory.__setitem__(slice(2, 4), b"@@"))


# -- what is no reason to run eagerly ------------------------------------------------------------------------


class Kind(enum.Enum):
    SUM = 1
    PRODUCT = 2


class Abstract(abc.ABC):
    factor = 2.0

    @abc.abstractmethod
    def scaled(self, x: Any) -> Any:
        """A factor times ``x``."""


class Concrete(Abstract):
    def scaled(self, x: Any) -> Any:
        return x * self.factor


class Pair(NamedTuple):
    first: Any
    second: float = 3.0


@contextlib.contextmanager
def lent(value: float) -> Iterator[float]:
    yield value


def with_context(x: Any) -> Any:
    with lent(2.0) as factor:
        return x * factor


concrete = Concrete()
HARMLESS: dict[str, Callable[[Any], Any]] = {
    "enum": lambda x: x * Kind.SUM.value if Kind.PRODUCT is not Kind.SUM else x,
    "abstract class": concrete.scaled,
    "named tuple": lambda x: Pair(x).first * Pair(x).second,
    "context manager": with_context,
    "reduce": lambda x: functools.reduce(lambda a, b: a + b, [x, x * 2]),
    "closure": lambda x: (lambda y: y * x)(x + 1),
    "generator": lambda x: sum(y for y in (x, x * 2)),
    "instance": lambda x: SimpleNamespace(factor=2.0).factor * x,
}


@pytest.mark.parametrize("name", HARMLESS)
def test_plain_python_is_compiled(name: str) -> None:
    function = HARMLESS[name]
    fast = blockfuse.hybridize(function)
    for _ in range(CALLS + 1):
        assert_close(fast(x()).asnumpy(), function(x()).asnumpy())
    assert "compiled" in fast.explain()


def test_an_enum_in_an_attribute_is_guarded() -> None:
    space = SimpleNamespace(kind=Kind.SUM)
    agree(lambda x: x * 2 if space.kind is Kind.SUM else x - 1, lambda: setattr(space, "kind", Kind.PRODUCT))


# -- not seen yet --------------------------------------------------------------------------------------------


class Scaling(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.scale = 2.0

    def forward(self, x: Any) -> Any:
        return x * self.scale


@pytest.mark.xfail(strict=True, reason="watchers of a block are told by __setattr__ alone")
def test_an_attribute_written_into_the_dict_of_a_block_is_seen() -> None:
    net = Scaling()
    before = net(x()).asnumpy()
    net.hybridize()
    for _ in range(CALLS):
        net(x())
    vars(net)["scale"] = 3.0
    assert_close(net(x()).asnumpy(), before * numpy.float32(1.5))


@pytest.mark.xfail(strict=True, reason="attributes of trusted modules are not guarded")
def test_a_patched_function_of_np_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    agree(lambda x: np.exp(x), lambda: monkeypatch.setattr(np, "exp", np.tanh))


def test_what_a_hybridized_function_inside_reads_is_guarded() -> None:
    scale = [2.0]
    inner = blockfuse.hybridize(lambda x: x * scale[0])
    outer = blockfuse.hybridize(lambda x: inner(x) + 1)
    x = np.array([1.0, 2.0])
    for _ in range(4):
        assert outer(x).tolist() == [3, 5]
    assert "compiled" in outer.explain()
    scale[0] = 3.0
    assert outer(x).tolist() == [4, 7]


# -- what classes declare to be no state -------------------------------------------------------------------------


class Counted(nn.Dense):
    """Counts its calls, as a layer of the library might for itself; what counts is declared, or not."""

    def __init__(self) -> None:
        super().__init__(3)
        vars(self)["_calls"] = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        vars(self)["_calls"] += 1
        return super().__call__(*args, **kwargs)


class Declared(Counted):
    __untracked__ = nn.Block.__untracked__ | {"_calls"}


def texts_of(value: Any) -> list[str]:
    state = state_of([(value, "net")])
    return [fact.text for fact in (*state.items, *state.watched_items)]


def test_bookkeeping_that_a_class_declares_is_no_state() -> None:
    net = Declared()
    state = state_of([(net, "net")])
    assert "net._calls" not in texts_of(net)
    vars(net)["_calls"] += 1
    assert not state.change()
    del vars(net)["_calls"]
    assert not state.change()


def test_an_attribute_that_no_class_declares_is_state() -> None:
    net = Counted()
    state = state_of([(net, "net")])
    assert "net._calls" in texts_of(net)
    vars(net)["_calls"] += 1
    assert state.change() == "net._calls"


def test_what_blocks_and_parameters_declare_exists() -> None:
    net = nn.Dense(3, in_units=3)
    net.initialize()
    net.hybridize()
    for holder in (net, net.weight):
        untracked = type(holder).__untracked__
        assert all(hasattr(holder, name) for name in untracked | {*type(holder).__registries__})
        assert not untracked & {fact.split(".")[-1] for fact in texts_of(holder)}


@pytest.mark.parametrize("name", sorted(nn.Block.__untracked__ | nn.Parameter.__untracked__))
def test_a_name_that_blocks_use_for_bookkeeping_is_state_elsewhere(name: str) -> None:
    """An attribute that appears and is only asked for, and one of a class."""
    holder = SimpleNamespace()
    agree(lambda x: x * 2 if hasattr(holder, name) else x * 3, lambda: setattr(holder, name, 1))
    kind = type("Kind", (), {name: 2})
    fast = blockfuse.hybridize(lambda x: x * getattr(kind, name))
    for _ in range(CALLS):
        assert_close(fast(x()).asnumpy(), x().asnumpy() * 2)
    assert ": compiled" in fast.explain(), fast.explain()


@pytest.mark.parametrize("given", [{}, {"other": 1}])
def test_an_attribute_that_a_function_gets_is_state(given: dict[str, int]) -> None:
    def helper(x: Any) -> Any:
        return x + 1

    vars(helper).update(given)
    agree(lambda x: helper(x) * getattr(helper, "scale", 3), lambda: setattr(helper, "scale", 2))


def test_an_object_of_users_with_watchers_is_not_believed_to_tell_them() -> None:
    """A set takes what is added to it, and nobody hears of it again."""
    holder = SimpleNamespace(_watchers=set(), scale=2.0)
    agree(lambda x: x * holder.scale, lambda: setattr(holder, "scale", 3.0))


@pytest.mark.parametrize("name", ["_name", "_options", "_shared", "_holder", "_data", "_shape", "_waiting"])
def test_an_attribute_of_a_block_of_users_is_state_whatever_its_name(name: str) -> None:
    """The library keeps to names that nobody takes by chance."""

    class Net(nn.Block):
        def forward(self, x: Any) -> Any:
            return x * getattr(self, name)

    net = Net()
    setattr(net, name, 2.0)
    net.hybridize()
    assert getattr(net, name) == 2
    for factor in (2.0, 3.0):
        setattr(net, name, factor)
        for _ in range(CALLS):
            assert_close(net(x()).asnumpy(), x().asnumpy() * factor)
    assert ": compiled" in net.explain(), net.explain()
