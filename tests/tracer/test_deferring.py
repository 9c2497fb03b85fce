"""What operators are given and what they raise, in segments as eagerly; and random programs."""

from __future__ import annotations

import enum
import random
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy
import pytest
from segmented import Twin, array, same

from blockfuse import np, npx
from blockfuse.array.ndarray import ndarray

# -- what NumPy makes of operands ----------------------------------------------------------------------------


class _Two(enum.IntEnum):
    TWO = 2


class _Half(float):
    pass


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_operands_of_unusual_classes() -> None:
    masked = numpy.ma.array([1.0, 2, 3, 4], mask=[0, 1, 0, 1], dtype="float32")
    Twin(lambda x: x * _Two.TWO).agree(lambda: [numpy.arange(4, dtype="int32")])
    Twin(lambda x: (x * _Half(0.5), x * numpy.float64(2), x * numpy.float32(3))).agree(lambda: [array(4)])
    Twin(lambda x: x + masked).agree(lambda: [array(4)])
    matrix = numpy.matrix([[1.0, 2], [3, 4]], dtype="float32")
    Twin(lambda x: (x * matrix, (x + matrix).sum())).agree(lambda: [array(2, 2)])


def test_lists_of_waiting_arrays_and_lists_that_are_none() -> None:
    def function(x: Any, y: Any) -> Any:
        z = x * 2
        try:
            np.add(y, [1, [2, 3]])
        except TypeError as error:
            failure = type(error)
        except ValueError as error:
            failure = type(error)
        return np.add(y, [z[0], z[1], 3.0]), z * y, y * 3 + x, failure

    Twin(function).agree(lambda: [array(3), array(3)])


@pytest.mark.spread(3)
@pytest.mark.parametrize("dtype", ["int8", "int32", "uint8", "bool", "float32", "float64"])
@pytest.mark.parametrize(
    "operator",
    [
        *(lambda x, n: x * n + 1, lambda x, n: x < n, lambda x, n: n - x, lambda x, n: x // n),
        *(lambda x, n: x**n, lambda x, n: np.where(x > 0, x, n), lambda x, n: np.maximum(x, n)),
    ],
)
def test_numbers_that_change(operator: Any, dtype: str) -> None:
    def function(x: Any, number: Any) -> Any:
        try:
            with numpy.errstate(all="ignore"):
                return operator(x, number)
        except (OverflowError, ValueError, TypeError) as error:
            return type(error)

    twin = Twin(function)
    x = numpy.array([3, 4, 1, 0]).astype(dtype)
    for number in (
        1,
        2,
        3,
        4,
        5,
        6,
        300,
        2**40,
        2**70,
        -1,
        2**54 + 1,
        2**1100,
        0,
        True,
        1.0,
        2.0,
        3.0,
        4.5,
        -0.0,
    ):
        same(twin.segmented(np.array(x), number), function(np.array(x), number))


# -- what NumPy raises ---------------------------------------------------------------------------------------


def test_a_power_that_integers_do_not_have_is_refused_where_it_is_asked_for() -> None:
    def function(x: Any, y: Any) -> Any:
        z = x * 2
        try:
            return z**y
        except ValueError as error:
            return str(error)

    twin, x = Twin(function), numpy.array([3, 4], "int32")
    for powers in ([1, 2], [1, 2], [1, 3], [2, 2], [-1, 2], [1, 2], [0, -2]):
        y = numpy.array(powers, "int32")
        same(twin.segmented(np.array(x), np.array(y)), function(np.array(x), np.array(y)))


def test_floating_point_errors_are_raised_where_they_were_asked_for() -> None:
    def function(x: Any, y: Any) -> Any:
        z = x * 2
        with numpy.errstate(divide="raise"):
            try:
                z = z / y
            except FloatingPointError:
                return "division by zero"
        return z + 1

    twin = Twin(function)
    for divisor in (1.0, 2.0, 3.0, 1.0, 0.0, 1.0, 0.0):
        arguments = [np.array([1.0]), np.array([divisor])]
        same(twin.segmented(*arguments), function(*arguments))


def test_warnings_that_were_switched_off_do_not_come_later() -> None:
    def function(x: Any) -> Any:
        with numpy.errstate(all="ignore"):
            y = np.log((x / 0.0) * 0 - 1)
        return y.sum()

    twin = Twin(function)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            twin.segmented(np.ones(3))


# -- random programs -----------------------------------------------------------------------------------------


def _filled_elsewhere(a: Any) -> None:
    thread = threading.Thread(target=a.fill, args=(1.5,))
    thread.start()
    thread.join()


_ONE: list[Callable[[Any], Any]] = [
    *(np.exp, np.tanh, np.abs, npx.relu, npx.softmax, np.square, np.cumsum, np.argsort, np.floor, np.array),
    *(
        lambda a: a.sum(),
        lambda a: a.max(axis=0),
        lambda a: a * 1,
        lambda a: a.astype("int32"),
        lambda a: a > 0,
    ),
    *(
        lambda a: a.T,
        lambda a: a.reshape(-1),
        lambda a: a[1:],
        lambda a: a[:, ::-1],
        lambda a: a[0],
        np.asarray,
    ),
    *(lambda a: np.expand_dims(a, 0), lambda a: np.broadcast_to(a, (2, *a.shape)), lambda a: a.detach()),
]
_TWO: list[Callable[[Any, Any], Any]] = [
    *(np.add, np.multiply, np.maximum, np.dot, np.less, lambda a, b: np.where(a > 0, a, b)),
    lambda a, b: np.concatenate([a, b]),
]
_WRITES: list[Callable[[Any, Any], Any]] = [
    *(ndarray.__iadd__, ndarray.__imul__, lambda a, b: a.__setitem__(slice(1, None), b)),
    *(lambda a, b: a.__setitem__(a > 0.5, 0), lambda a, b: _filled_elsewhere(a)),
]
_ESCAPES: list[Callable[[Any], Any]] = [
    *(lambda a: bool(a.sum() > 0), lambda a: a.asnumpy().shape, lambda a: a.size),
]


class _Program:
    """A straight program over its arguments, written by ``rng``."""

    def __init__(self, rng: random.Random) -> None:
        self.steps = [
            (
                rng.choices([_ONE, _TWO, _WRITES, _ESCAPES], [8, 4, 3, 1])[0],
                rng.random(),
                rng.random(),
                rng.random(),
            )
            for _ in range(rng.randint(3, 16))
        ]

    def __call__(self, *arguments: Any) -> Any:
        values, seen = list(arguments), []
        for rows, chosen, one, other in self.steps:
            row = rows[int(chosen * len(rows))]
            a, b = (values[-1 - int(p * min(4, len(values)))] for p in (one, other))
            try:
                result = row(a, b) if rows is _TWO or rows is _WRITES else row(a)
            except (ValueError, TypeError, IndexError) as error:
                seen.append(type(error))
                continue
            (values if rows is _ONE or rows is _TWO else seen).append(result)
        return [*values, [s for s in seen if not isinstance(s, ndarray)]]


@pytest.mark.spread(31)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("seed", range(40))
def test_random_programs(seed: int) -> None:
    rng = random.Random(seed)
    twin = Twin(_Program(rng))
    shapes = [rng.choice([(4,), (3, 4), (4, 3), (1, 4), (2, 3, 4)]) for _ in range(2)]
    twin.agree(lambda: [array(*shape) for shape in shapes], 4)
