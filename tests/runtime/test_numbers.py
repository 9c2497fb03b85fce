"""Python numbers among the arguments: run-time arguments of a program where that is proven right, constants elsewhere."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import decimal
import fractions
import functools
import itertools
import json
import math
import numbers
import operator
import pickle
import struct
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampling import sampled
from tolerances import assert_close

import blockfuse
from blockfuse import nn, np, npx
from blockfuse.runtime.programs.number_arguments import conversion
from blockfuse.tracer.certificate.traced_numbers import (
    Escaped,
    Operand,
    TracedNumber,
    is_traced,
    text_of,
    value_of,
)

pytestmark = pytest.mark.spread(3)

FLOATS = (0.25, 0.5, 2.0, 1.5, -1.0, 0.0, -0.0, 3.0, math.inf, -math.inf, math.nan, 1e-320, 1e300, 0.5)
INTS = (3, 2, 1, 5, 0, -1, 127, 128, 300, 2**31, 2**53 + 1, 2**63, 10**30, 10**400, 2)
DEFAULT = 0.5


def x() -> Any:
    return np.array([[1, -2, 3], [4, 5, -6.5]])


def outcome(call: Callable[[], Any]) -> Any:
    """The results, or the kind of the exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = call()
        except Exception as error:
            return type(error)
    return result


def assert_same(found: Any, wanted: Any) -> None:
    if isinstance(wanted, tuple | list):
        assert type(found) is type(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other)
    elif hasattr(wanted, "asnumpy"):
        assert_close(found.asnumpy(), wanted.asnumpy())
    else:
        assert type(found) is type(wanted)
        assert repr(found) == repr(wanted)


def agree(function: Callable[..., Any], values: Any, make: Callable[[], Any] = x) -> Any:
    """A hybridized call gives what the function gives for each of the values in turn; the hybridized function."""
    fast = blockfuse.hybridize(function)
    for value in values:
        wanted = outcome(lambda value=value: function(make(), value))
        assert_same(outcome(lambda value=value: fast(make(), value)), wanted)
    return fast


def programs(fast: Any) -> list[Any]:
    return [case.program for case in fast._hybrid.cases.values() if case.program is not None]


def recordings(fast: Any) -> int:
    return sum(case.attempts for case in fast._hybrid.cases.values())


# -- numbers that become arguments -----------------------------------------------------------------------------


def helper(x: Any, scale: float) -> Any:
    return x * scale


def looping(x: Any, t: float) -> Any:
    while abs(x).sum() > 1:
        x = x * 0.25 / (1 + t * t)
    return x


def branching(x: Any, t: float) -> Any:
    return x - t if (x * t).sum() > 1 else x / (t + 3)


def generated(x: Any, t: float) -> Any:
    return sum_of(y * t for y in (x, x + 1))


def sum_of(values: Iterator[Any]) -> Any:
    total = np.zeros((2, 3))
    for value in values:
        total = total + value
    return total


def written(x: Any, t: float) -> Any:
    y = x * 1
    y += t
    y[0] = t
    y[1, 1:] = 2 * t
    return y


GIVEN: dict[str, Callable[..., Any]] = {
    "operand": lambda x, t: x * t,
    "left operand": lambda x, t: t - x,
    "two uses": lambda x, t: np.exp(x * t) + t,
    "arithmetic": lambda x, t: x * (1 - t) + x * -t / 2 + (t + t) * 3,
    "division": lambda x, t: x + 1 / t,
    "floor and rest": lambda x, t: x + t // 2 + t % 3 + 7 // (t + 0.125),
    "power of the number": lambda x, t: x + t**2 + t**-3,
    "function of np": lambda x, t: np.maximum(x, t) + np.add(t, x),
    "clip": lambda x, t: np.clip(x, -t, t),
    "where": lambda x, t: np.where(x > t, x, t),
    "comparison": lambda x, t: (x > t) * 1,
    "helper": lambda x, t: helper(x, t),
    "keyword of a helper": lambda x, t: helper(x, scale=t),
    "comprehension": lambda x, t: [y * t for y in (x, x + 1)],
    "generator": generated,
    "tuple": lambda x, t: (lambda pair: pair[0] * pair[1])((x, t)),
    "isinstance": lambda x, t: x * t if isinstance(t, float) else x,
    "None": lambda x, t: x * t if t is not None else x,
    "none of two": lambda x, t: x if t is None or callable(t) else x * t,
    "in place": written,
    "array branch": branching,
    "array loop": looping,
    "float64": lambda x, t: x.astype("float64") * t + t,
    "float16": lambda x, t: x.astype("float16") * t + t,
    "int array": lambda x, t: x.astype("int32") * t,
    "numpy function": lambda x, t: numpy.exp(x * t),
    "unused": lambda x, t: x * 2,
    "partial": lambda x, t: functools.partial(helper, scale=t)(x),
    "isclose": lambda x, t: np.isclose(x, x + 0.1, rtol=t) * 1,
    "leaky": lambda x, t: npx.leaky_relu(x, t) if hasattr(npx, "leaky_relu") else x * t,
}


@pytest.mark.spread(8)
@pytest.mark.parametrize("name", GIVEN)
def test_a_number_that_array_operators_take_is_given_at_each_call(name: str) -> None:
    fast = agree(GIVEN[name], FLOATS)
    before = recordings(fast)
    for n in range(20):
        wanted = GIVEN[name](x(), 1 + n / 8)
        assert_same(fast(x(), 1 + n / 8), wanted)
    assert recordings(fast) <= before + (3 if name.startswith("array") else 0), fast.explain()
    if name != "leaky":
        assert "given at each call" in fast.explain() or name == "unused", fast.explain()
    assert len(programs(fast)) <= 3


@sampled(1, 100)
@given(st.lists(st.floats(width=64), min_size=1, max_size=8))
def test_any_float_is_rounded_as_numpy_rounds_it(values: list[float]) -> None:
    for value, dtype in itertools.product(values, ("float16", "float32", "float64", "int8")):
        array = np.array([0, 1, 2, 3], dtype=dtype)
        for name, (function, fast) in all_rounded().items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found, wanted = fast(array, value), function(array, value)
            numpy.testing.assert_array_equal(found.asnumpy(), wanted.asnumpy(), err_msg=name)
            assert found.dtype == wanted.dtype


def rounded(function: Callable[..., Any]) -> tuple[Any, Any]:
    fast = blockfuse.hybridize(function)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for dtype in ("float16", "float32", "float64", "int8"):
            for value in FLOATS[:4]:
                fast(np.array([0, 1, 2, 3], dtype=dtype), value)
    return function, fast


@functools.cache
def all_rounded() -> dict[str, tuple[Any, Any]]:
    """Name -> function, hybridized function that has its programs."""
    return {
        "product": rounded(lambda x, t: x * t),
        "maximum": rounded(lambda x, t: np.maximum(x, t)),
        "difference": rounded(lambda x, t: x - (t - 1)),
        "order": rounded(lambda x, t: x >= t),
    }


def test_what_is_rounded_above_are_programs() -> None:
    for _, fast in all_rounded().values():
        assert fast.explain().count("given at each call") == 4, fast.explain()


@pytest.mark.spread(12)
@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int32", "int64", "float16", "float32", "float64", "bool"]
)
@pytest.mark.parametrize(
    "function",
    [lambda x, n: x * n, lambda x, n: x > n, lambda x, n: n - x, lambda x, n: x // n, lambda x, n: x + n * n],
)
def test_ints_beside_arrays_are_refused_where_numpy_refuses_them(
    dtype: str, function: Callable[..., Any]
) -> None:
    fast = agree(function, INTS, lambda: np.array([0, 1, 1, 0], dtype=dtype) + np.array(0, dtype=dtype))
    for n in range(-3, 9):
        if n:
            agree_once(fast, function, np.array([3, 1, 2, 0], dtype=dtype), n)


def agree_once(fast: Any, function: Callable[..., Any], *arguments: Any) -> None:
    assert_same(outcome(lambda: fast(*arguments)), outcome(lambda: function(*arguments)))


@sampled(2, 100)
@given(st.lists(st.integers(-(2**70), 2**70) | st.integers(-300, 300), min_size=1, max_size=8))
def test_any_int_agrees(values: list[int]) -> None:
    for value in values:
        for dtype in ("int8", "int64", "float32"):
            for function, fast in INTEGERS:
                agree_once(fast, function, np.array([0, 1, 2, 3], dtype=dtype), value)


INTEGERS = [
    (function, blockfuse.hybridize(function))
    for function in (lambda x, n: x + n, lambda x, n: x * (n // 3 - 1), lambda x, n: x != n)
]


@pytest.mark.parametrize(
    ("text", "kind", "dtype", "value", "wanted"),
    [
        ("n0", int, "int8", 127, 127),
        ("n0", int, "int8", 128, None),
        ("n0", int, "uint8", -1, None),
        ("n0", int, "int64", 2**63, None),
        ("n0", int, "float64", 2**53, 2.0**53),
        ("n0", int, "float32", 2**53 + 1, None),
        ("n0", int, "float16", 65505, None),
        ("n0", float, "float32", 0.1, numpy.float32(0.1)),
        ("n0", float, "float32", 3.5e38, None),
        ("n0", float, "float32", -math.inf, -math.inf),
        ("n0", float, "float16", 65519.0, None),
        ("((1) / n0)", float, "float64", 0.0, None),
        ("((2) ** n0)", int, "int64", -1, None),
        ("((-2.0) ** n0)", float, "float64", 0.5, None),
        ("(n0 * n0)", float, "float64", 1e200, math.inf),
        ("(n0 * (inf))", float, "float64", -2.0, -math.inf),
    ],
)
def test_what_numpy_would_refuse_or_round_in_its_own_way_is_left_to_it(
    text: str, kind: type, dtype: str, value: Any, wanted: Any
) -> None:
    made = conversion([Operand(text, kind, numpy.dtype(dtype))])([value])
    assert (made is None) == (wanted is None)
    if made is not None:
        (array,) = made
        assert (array.shape, array.dtype) == ((), numpy.dtype(dtype))
        assert array.item() == wanted


# -- numbers that Python looks at -------------------------------------------------------------------------------


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclasses.dataclass
class Box:
    content: Any


class Flag:
    def __eq__(self, other: object) -> bool:
        return other == 0.5

    __hash__ = None  # type: ignore[assignment]


def caught(x: Any, t: Any) -> Any:
    try:
        return x * math.sqrt(t)
    except ValueError:
        return x - 1


def swallowed(x: Any, t: Any) -> Any:
    try:
        y = int(t * 2)
    except BaseException:
        y = 7
    return x * y


def matched(x: Any, t: Any) -> Any:
    match t:
        case 0.5:
            return x + 1
        case float():
            return x * t
    return x


def finally_(x: Any, t: Any) -> Any:
    y = x
    try:
        y = y * (t > 0.3)
    finally:
        y = y + 1
    return y


def counted(x: Any, t: Any) -> Any:
    for _ in range(int(abs(t)) if abs(t) < 5 else 1):
        x = x * 0.5
    return x


def walrus(x: Any, t: Any) -> Any:
    return x * 2 if (s := t + 1) > 1.4 else x * s


LOOKED_AT: dict[str, Callable[..., Any]] = {
    "math": lambda x, t: x * math.sin(t),
    "fsum": lambda x, t: x * math.fsum([t, 1.0]),
    "prod": lambda x, t: x * math.prod([t, 2.0]),
    "ldexp": lambda x, t: x * math.ldexp(t, 2),
    "hypot": lambda x, t: x * math.hypot(t, 2),
    "isclose": lambda x, t: x * math.isclose(t, 0.5),
    "int": lambda x, t: x * int(t),
    "float": lambda x, t: x * float(t),
    "bool": lambda x, t: x * 2 if t else x * 3,
    "not": lambda x, t: x * (not t),
    "round": lambda x, t: x * round(t, 1),
    "abs": lambda x, t: x * abs(t),
    "divmod": lambda x, t: x * divmod(t, 2)[1],
    "complex": lambda x, t: x * complex(t).real,
    "text": lambda x, t: x * len(f"{t}"),
    "percent": lambda x, t: x * len("%g" % t),  # noqa: UP031 - on purpose
    "percent repr": lambda x, t: x * len("%r" % (t,)),  # noqa: UP031 - on purpose
    "format": lambda x, t: x * len("{:.3f}".format(t)),  # noqa: UP032 - on purpose
    "repr of a list": lambda x, t: x * len(repr([t])),
    "greater": lambda x, t: x * 2 if t > 0.3 else x * 3,
    "chained": lambda x, t: x * 2 if 0.3 < t < 1.7 else x * 3,
    "equal": lambda x, t: x * (t == 0.5),
    "in a tuple": lambda x, t: x * (t in (0.5, 1.5)),
    "in a set": lambda x, t: x * (t in {0.5, 1.5}),
    "key": lambda x, t: x * {0.5: 4.0}.get(t, 1.0),
    "index of a list": lambda x, t: x * [0.25, 0.5, t].index(t),
    "max": lambda x, t: x * max(t, 0.4),
    "sorted": lambda x, t: x * sorted([t, 0.4])[0],
    "sum": lambda x, t: x * sum([t, 0.1, 0.2]),
    "type": lambda x, t: x * round(t, 1) if type(t) is float else x * t,
    "class": lambda x, t: x * round(t, 1) if t.__class__ is float else x * t,
    "type name": lambda x, t: x * t if t.__class__.__name__ == "float" else x,
    "identity": lambda x, t: x * 9 if t is DEFAULT else x * t,
    "id": lambda x, t: x * 9 if id(t) == id(DEFAULT) else x * t,
    "attribute": lambda x, t: x * t.real,
    "method": lambda x, t: x * t.is_integer(),
    "hasattr": lambda x, t: x * 9 if hasattr(t, "is_integer") else x * t,
    "hasattr array": lambda x, t: x * 9 if hasattr(t, "__array__") else x * t,
    "getattr": lambda x, t: x * getattr(t, "value", t),
    "unbound": lambda x, t: x * float.is_integer(t),
    "dunder": lambda x, t: x * float.__mul__(t, 2.0),
    "numpy scalar": lambda x, t: x * numpy.float32(t),
    "numpy product": lambda x, t: x * (numpy.float32(2) * t),
    "numpy array": lambda x, t: x * (numpy.ones(3, numpy.float32) * t),
    "numpy exp": lambda x, t: x * numpy.exp(t),
    "numpy asarray": lambda x, t: x * numpy.asarray(t),
    "numpy full": lambda x, t: x * numpy.full(3, t),
    "numpy result_type": lambda x, t: x.astype(numpy.result_type(numpy.float32(1), t)) * t,
    "numpy sum": lambda x, t: x * numpy.sum([t, 1.0]),
    "numpy multiply": lambda x, t: numpy.multiply(x, t),
    "our exp": lambda x, t: x * np.exp(t),
    "our array": lambda x, t: x * np.array([t, 1, t]),
    "list operand": lambda x, t: x * [t, 1, t],
    "full": lambda x, t: x * np.full((3,), t),
    "full_like": lambda x, t: x * np.full_like(x, t),
    "linspace": lambda x, t: x * np.linspace(0, t, 3),
    "exponent": lambda x, t: (x * x) ** t,
    "power": lambda x, t: np.power(x * x, t),
    "dropout": lambda x, t: npx.dropout(x, t),
    "struct": lambda x, t: x * len(struct.pack("d", t)),
    "json": lambda x, t: x * len(json.dumps(t)),
    "decimal": lambda x, t: x * float(decimal.Decimal(t)),
    "pickle": lambda x, t: x * pickle.loads(pickle.dumps(t)),
    "named tuple": lambda x, t: x * (Pair(x, t) == Pair(x, 0.5)) if Pair(0, t) == Pair(0, 0.5) else x * t,
    "data class": lambda x, t: x * 5 if Box(t) == Box(0.5) else x * t,
    "foreign equality": lambda x, t: x * 5 if Flag() == t else x * t,
    "caught": caught,
    "swallowed": swallowed,
    "matched": matched,
    "finally": finally_,
    "counted": counted,
    "walrus": walrus,
    "returned": lambda x, t: (x * t, t),
    "returned sum": lambda x, t: (x * t, t + 1),
    "complex number": lambda x, t: x * (t * 1j).imag,
    "bool arithmetic": lambda x, t: x * (True * t),
    "string": lambda x, t: x * float(str(t)),
    "hash": lambda x, t: x * (hash(t) % 7),
    "cached": lambda x, t: x * halved(t),
    "shape": lambda x, t: x.reshape(int(abs(t)) if t in (1.0, 2.0, 3.0) else 6, -1),
}


def test_an_exponent_has_the_short_cuts_of_numpy() -> None:
    """``x ** 0.5`` is a root, which differs from the power at minus zero and minus infinity."""
    for function in (lambda x, t: x**t, lambda x, t: np.power(x, t), lambda x, t: x ** (t + 0.0)):
        agree(function, (3.0, 1.5, 2.5, 0.5, 2.0, 1.0, 3.5), lambda: np.array([-0.0, -math.inf, 4]))


@functools.lru_cache
def halved(t: float) -> float:
    return t / 2


@pytest.mark.spread(97)
@pytest.mark.parametrize("name", LOOKED_AT)
def test_a_number_that_python_looks_at_decides_at_every_call(name: str) -> None:
    function = LOOKED_AT[name]
    agree(function, (0.25, 0.3, 0.5, DEFAULT, 2.0, 1.0, -0.0, 0.0, math.nan, -math.inf, 1e300, 0.75))
    agree(function, (DEFAULT, 2.0, 1.5, -1.0, 1e-5, 0.5, DEFAULT))


INT_USES: dict[str, Callable[..., Any]] = {
    "item": lambda x, n: x * [1.0, 2.0, 3.0][n],
    "items": lambda x, n: [x * f for f in [1.0, 2.0, 3.0][:n]],
    "repeated": lambda x, n: x * len([1] * n),
    "repeated left": lambda x, n: x * len(n * (1,)),
    "range": lambda x, n: [x * k for k in range(n % 7)],
    "reshape": lambda x, n: x.reshape(n, -1),
    "axis": lambda x, n: x.sum(axis=n),
    "row": lambda x, n: x[n],
    "rows": lambda x, n: x[:n] * 2,
    "bits": lambda x, n: x * (n & 1),
    "shift": lambda x, n: x * (n << 2 if n < 9 else 0),
    "text": lambda x, n: x * len("%d" % n),  # noqa: UP031 - on purpose
    "hex": lambda x, n: x * len(hex(n)),
    "unpacked": lambda x, n: x * len(("a" * 3)[:n]),
    "zeros": lambda x, n: np.zeros((n,)) + 1,
    "exponent": lambda x, n: x**n,
    "repeat": lambda x, n: np.repeat(x, n, axis=0),
    "power of ints": lambda x, n: x * (2**n),
    "floor": lambda x, n: x * (n // 2),
    "division": lambda x, n: x * (6 / n),
    "remainder branch": lambda x, n: x * 2 if n % 2 else x * 3,
    "chr": lambda x, n: x * len(chr(n)),
    "written": lambda x, n: put(x.astype("int8"), n),
    "written float": lambda x, n: put(x * 1, n),
}


def put(x: Any, n: int) -> Any:
    x[0] = n
    return x * 1


@pytest.mark.spread(6)
@pytest.mark.parametrize("name", INT_USES)
def test_an_int_that_python_looks_at_decides_at_every_call(name: str) -> None:
    agree(INT_USES[name], (1, 2, 0, -1, 3, 6, 130, 300, 2))


@pytest.mark.long
def test_a_value_whose_call_cannot_be_compiled_does_not_keep_others_from_it() -> None:
    def function(x: Any, t: float) -> Any:
        return x if t < 0.4 else x * t

    fast = blockfuse.hybridize(function)
    for _ in range(4):
        for n in range(16):
            assert_same(fast(x(), n / 8), function(x(), n / 8))
    assert programs(fast)


@pytest.mark.long
def test_the_reason_names_the_use() -> None:
    def function(x: Any, t: float) -> Any:
        return x * math.sin(t)

    fast = agree(function, [n / 8 for n in range(30)])
    assert "function uses it in Python (float()) at test_numbers.py:" in fast.explain()
    assert "changes too often" in fast.explain()
    assert recordings(fast) < 12


def test_effects_of_a_call_happen_once() -> None:
    """Also where a rehearsal stops or fails."""
    calls: list[Any] = []

    def function(x: Any, t: float) -> Any:
        calls.append(1)
        return x * t

    agree(function, FLOATS)
    assert len(calls) == 2 * len(FLOATS)


def test_values_that_come_again_have_programs_of_their_own() -> None:
    def function(x: Any, t: float) -> Any:
        return x * 2 if t > 1 else x * t

    fast = blockfuse.hybridize(function)
    for n in range(40):
        value = float(n % 4)
        assert_same(fast(x(), value), function(x(), value))
    assert recordings(fast) == 4
    assert len(programs(fast)) == 4


def divmod_two(n: Any) -> Any:
    return divmod(n, 2)


@pytest.mark.spread(3)
@pytest.mark.parametrize(
    "use",
    [
        *(
            bool,
            int,
            float,
            complex,
            str,
            repr,
            hash,
            abs,
            round,
            math.floor,
            math.ceil,
            math.trunc,
            math.sqrt,
        ),
        *(copy.copy, copy.deepcopy, pickle.dumps, numpy.asarray, numpy.exp, numpy.float32, numpy.float64),
        *(decimal.Decimal, fractions.Fraction, json.dumps, dir, operator.index, range, format, divmod_two),
        *(lambda n: n == 1, lambda n: 1 == n, lambda n: n < 2.0, lambda n: 2.0 < n, lambda n: n != n),  # noqa: SIM300
        *(
            lambda n: [1, 2, 3][n],
            lambda n: [1] * n,
            lambda n: n * [1],
            lambda n: "%d" % n,  # noqa: UP031 - on purpose
            lambda n: f"{n:.2f}",
        ),
        *(
            lambda n: n.real,
            lambda n: n.value,
            lambda n: hasattr(n, "x"),
            lambda n: {n: 1},
            lambda n: n in {1, 2},
        ),
        *(lambda n: n * 1j, lambda n: n * True, lambda n: numpy.float64(2) * n, lambda n: numpy.ones(2) * n),
        *(lambda n: n & 1, lambda n: 1 << n, lambda n: ~n, lambda n: (-2.0) ** (n / 2), lambda n: n @ n),
        *(lambda n: struct.pack("d", n), lambda n: sorted([2, n, 1])),
        *(
            lambda n: math.fsum([n]),
            lambda n: numpy.add(numpy.ones(2), n),
            lambda n: numpy.where([True], n, 1),
        ),
        *(lambda n: numpy.full(2, n), lambda n: numpy.array([n]), lambda n: numpy.ones(2).fill(n)),
        *(lambda n: numpy.int64(n), lambda n: numpy.zeros(2).__setitem__(0, n), lambda n: bytearray(3)[n]),
        *(lambda n: datetime.timedelta(seconds=n), lambda n: numpy.arange(n), lambda n: max(n, 1)),
    ],
)
@pytest.mark.parametrize("value", [1, 1.0])
def test_no_way_leads_to_the_value_of_a_traced_number(use: Callable[[Any], Any], value: Any) -> None:
    number = TracedNumber(value, "n0", frozenset((0,)))
    with pytest.raises((Escaped, Exception)):
        use(number)


def test_a_traced_number_passes_for_a_number() -> None:
    number = TracedNumber(2.0, "n0", frozenset((0,)))
    assert isinstance(number, float)
    assert not isinstance(number, int)
    assert isinstance(number, int | float)
    assert isinstance(number, numbers.Real)
    assert not callable(number)
    assert number is not None
    total = (1 - number) / 2 + -number
    assert is_traced(total)
    assert text_of(total) == "((((1) - n0) / (2)) + (-n0))"
    assert value_of(total) == -2.5


# -- several numbers, other places -------------------------------------------------------------------------------


@pytest.mark.long
def test_one_number_is_given_though_another_is_looked_at() -> None:
    def function(x: Any, t: float, n: int, mode: str) -> Any:
        for _ in range(n):
            x = x * t
        return x if mode == "plain" else -x

    fast = blockfuse.hybridize(function)
    for mode in ("plain", "negative"):
        for n in (1, 2, 3, 2):
            for t in (0.5, 0.25, 0.75, 1.5, 2.5, 3.5):
                assert_same(fast(x(), t, n, mode), function(x(), t, n, mode))
    before = recordings(fast)
    for k in range(20):
        assert_same(fast(x(), k / 16, 2, "plain"), function(x(), k / 16, 2, "plain"))
    assert recordings(fast) == before
    assert "given at each call" in fast.explain()


@pytest.mark.parametrize("style", ["keyword", "list", "dict", "named tuple", "nested"])
def test_numbers_in_keywords_and_containers_are_given(style: str) -> None:
    def function(x: Any, given: Any) -> Any:
        for key in (0, "t", 1):
            if isinstance(given, float):
                return x * given
            if isinstance(given, dict) and key == "t":
                return x * given[key]
        return x * given[0][0] if isinstance(given[0], list) else x * given[0]

    makes: dict[str, Callable[[float], Any]] = {
        "keyword": lambda t: t,
        "list": lambda t: [t, 2],
        "dict": lambda t: {"t": t},
        "named tuple": lambda t: Pair(t, 1),
        "nested": lambda t: ([t, {"u": 1}], 3),
    }
    fast = blockfuse.hybridize(function)
    for n in range(12):
        value = makes[style](n / 8)
        found = fast(x(), given=value) if style == "keyword" else fast(x(), value)
        assert_same(found, function(x(), value))
    assert recordings(fast) == 3
    assert "given at each call" in fast.explain()


@pytest.mark.long
def test_numbers_of_other_types_have_other_programs() -> None:
    def function(x: Any, t: Any) -> Any:
        return x * t

    fast = blockfuse.hybridize(function)
    one = np.array([1, 2, 3], dtype="int32")
    for value in (1.5, 2, True, 2.5, 3, False, 3.5, 4, 4.5, 5, True, numpy.float64(2.5), numpy.float32(1.5)):
        assert_same(fast(one, value), function(one, value))
    for value in (2.5, 7, True, numpy.float64(0.1), 8, 9.5, numpy.float32(0.1), numpy.int8(3)):
        assert_same(fast(one, value), function(one, value))


class Scaled(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(4, activation="relu")
        self.tail = Tail()

    def forward(self, x: Any, t: float) -> Any:
        return self.tail(self.dense(x * t), t)


class Tail(nn.Block):
    def forward(self, x: Any, t: float) -> Any:
        return x + t


@pytest.mark.long
def test_a_number_passes_through_blocks_and_parameters_may_change() -> None:
    net, plain = Scaled(), Scaled()
    for block in (net, plain):
        block.initialize("ones")
    net.hybridize()
    for n in range(8):
        assert_same(net(x(), n / 4), plain(x(), n / 4))
    assert "given at each call" in net.explain()
    for block in (net, plain):
        block.dense.weight.set_data(np.ones((4, 3)))
    attempts = recordings(net)
    for n in range(8):
        assert_same(net(x(), n / 8), plain(x(), n / 8))
    assert recordings(net) == attempts
    with blockfuse.autograd.train_mode():
        assert_same(net(x(), 0.3), plain(x(), 0.3))


@pytest.mark.long
def test_numpy_arrays_transposed_arrays_and_the_same_array_twice_take_numbers_too() -> None:
    def function(x: Any, t: float, y: Any) -> Any:
        return x * t + y

    fast = blockfuse.hybridize(function)
    one = x()
    for n in range(10):
        t = n / 4
        assert_same(fast(one, t, one), function(one, t, one))
        assert_same(fast(one.T, t, one.T * 1), function(one.T, t, one.T * 1))
        numpy.testing.assert_allclose(fast(one.asnumpy(), t, one.asnumpy()), function(one, t, one).asnumpy())
    for wrong in ((one,), (one, 1.0), (one, 1.0, one, 2.0)):
        with pytest.raises(TypeError):
            fast(*wrong)


@pytest.mark.long
def test_a_changed_global_is_seen_beside_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def function(x: Any, t: float) -> Any:
        return x * t * DEFAULT

    fast = blockfuse.hybridize(function)
    for n in range(6):
        assert_same(fast(x(), n / 4), function(x(), n / 4))
    monkeypatch.setitem(globals(), "DEFAULT", 2.0)
    for n in range(6):
        assert_same(fast(x(), n / 4), function(x(), n / 4))


@pytest.mark.long
def test_several_ways_and_numbers_make_one_program() -> None:
    def function(x: Any, t: float) -> Any:
        if x.sum() > 0:
            return x * t
        return x - (1 - t) if x.max() > 0 else x / t

    fast = blockfuse.hybridize(function)
    inputs = [x(), -x(), -abs(x())]
    for n in range(1, 12):
        for one in inputs:
            assert_same(fast(one, n / 4), function(one, n / 4))
    assert "2 ways" in fast.explain() or "blocks between decisions" in fast.explain()
    assert recordings(fast) <= 3 * len(inputs)


@pytest.mark.long
def test_a_way_that_looks_at_the_number_is_seen_when_it_is_first_taken() -> None:
    def function(x: Any, t: float) -> Any:
        return x * t if x.sum() > 0 else x * math.floor(t)

    fast = blockfuse.hybridize(function)
    for n in range(8):
        assert_same(fast(x(), n / 4), function(x(), n / 4))
    for n in range(12):
        for one in (-x(), x()):
            assert_same(fast(one, n / 4), function(one, n / 4))


def test_overflow_warns_as_in_eager_calls() -> None:
    def function(x: Any, t: float) -> Any:
        return x * t

    fast = blockfuse.hybridize(function)
    for n in range(6):
        fast(x(), n / 4)
    with pytest.warns(RuntimeWarning):
        fast(x(), 1e300)
    assert_same(fast(x(), -math.inf), function(x(), -math.inf))


@pytest.mark.alone
def test_a_call_with_a_new_number_is_quicker_than_eager() -> None:
    import timeit

    def function(x: Any, t: float) -> Any:
        return np.exp(x * t) + (1 - t) * x - t

    fast, one, numbers = blockfuse.hybridize(function), x(), iter(range(10**9))
    best = [
        min(timeit.repeat(lambda run=run: run(one, next(numbers) * 1e-6), number=300, repeat=5))
        for run in (fast, function)
    ]
    assert best[0] < best[1], best


@pytest.mark.long
def test_values_that_serve_many_native_calls_earn_new_programs() -> None:
    fast = blockfuse.hybridize(lambda x, t: x * t if t > 0 else x)
    x = np.ones((3,))
    for value in range(1, 15):
        for _ in range(50):
            fast(x, float(value))
    assert len(programs(fast)) == 14
