"""Assignments at arrays of indices and masks, functions with ``where=``: NumPy's results, compiled, with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import np, npx
from blockfuse.array import autograd

pytestmark = pytest.mark.spread(3)

ROWS, COLUMNS = numpy.array([0, 1, 1, -1]), numpy.array([2, 2, 2, 0])
X = numpy.random.default_rng(1).uniform(0.1, 1, (4, 5, 3))
V = numpy.random.default_rng(2).uniform(0.1, 1, (4, 3))
MASK = X > 0.5


def assigned(index: Any, value: Any = None) -> Callable[..., Any]:
    """What ``y[index] = value`` makes; index, value: of x, v, the rows and the columns."""

    def forward(x: Any, v: Any, rows: Any, columns: Any) -> Any:
        y = x * 1
        y[index(y, rows, columns)] = v if value is None else value(v)
        return y * 2

    return forward


def added(x: Any, v: Any, rows: Any, columns: Any) -> Any:
    y = x * 1
    y[rows, columns] += v
    return y


CASES: dict[str, Callable[..., Any]] = {
    "places": assigned(lambda y, i, j: (i, j)),
    "rows": assigned(lambda y, i, j: i, lambda v: v[:, None]),
    "behind a slice": assigned(lambda y, i, j: (slice(1, None), i), lambda v: v[None]),
    "a list": assigned(lambda y, i, j: [0, 2], lambda v: 7),
    "one for many": assigned(lambda y, i, j: (..., [0, 2]), lambda v: v[None, :1, :1]),
    "a mask": assigned(lambda y, i, j: y > 0.5, lambda v: -1.5),
    "a mask of rows": assigned(lambda y, i, j: y[:, :, 0] > 0.5, lambda v: v[0]),
    "a mask and a value of one element": assigned(lambda y, i, j: y > 0.5, lambda v: v[:1, 0]),
    "added": added,
}
# of a library, numpy or ours
PARTLY: dict[str, Callable[..., Any]] = {
    "divide": lambda lib, x, v, m: lib.divide(
        x, v[0] - v[0, 0], where=m & (v[0] != v[0, 0]), out=lib.ones(x.shape, dtype=x.dtype)
    ),
    "log": lambda lib, x, v, m: lib.log(x - 0.5, where=x > 0.5, out=lib.zeros_like(x)),
    "into a broadcast": lambda lib, x, v, m: lib.add(v[0], 1, where=m[0], out=x * 2),
    "of NumPy": lambda lib, x, v, m: numpy.maximum(x, v[0], where=m, out=lib.zeros_like(x)),
    "arccosh": lambda lib, x, v, m: lib.arccosh(x + 0.5, where=x > 0.5, out=x * 1),
}


def slopes(forward: Callable[..., Any], arguments: tuple[Any, ...]) -> list[numpy.ndarray]:
    floats = [a for a in arguments if a.dtype.kind == "f"]
    for array in floats:
        array.attach_grad()
    with autograd.record():
        y = forward(*arguments)
        y = (y * np.arange(1, 1 + y.size, dtype="float64").reshape(y.shape)).sum()
    y.backward()
    return [array.grad.asnumpy() for array in floats]


def hold(forward: Callable[..., Any], *values: numpy.ndarray, wanted: numpy.ndarray) -> None:
    """Eager against NumPy, compiled against eager, and the gradients of both against each other."""
    arguments = tuple(map(np.array, values))
    fast = blockfuse.hybridize(forward)
    for call in (forward, fast, fast, fast):
        numpy.testing.assert_allclose(call(*arguments), wanted, rtol=1e-12, strict=False)
    assert fast.explain().split("\n")[0].endswith("compiled")
    expected = slopes(forward, arguments)
    assert all(numpy.isfinite(slope).all() for slope in expected)
    for _ in range(2):
        for found, slope in zip(slopes(fast, arguments), expected, strict=True):
            numpy.testing.assert_allclose(found, slope, rtol=1e-12, atol=1e-12)


@pytest.mark.spread(7)
@pytest.mark.parametrize("name", CASES)
def test_assignments_at_arrays_are_numpys(name: str) -> None:
    values = X, V, ROWS, COLUMNS
    hold(CASES[name], *values, wanted=CASES[name](*values))


@pytest.mark.spread(7)
@pytest.mark.parametrize("name", PARTLY)
def test_functions_of_some_elements_are_numpys(name: str) -> None:
    function = PARTLY[name]
    hold(lambda *arrays: function(np, *arrays), X, V, MASK, wanted=function(numpy, X, V, MASK))


def test_places_that_do_not_count_give_no_warning() -> None:
    x = np.array([0.0, -1.0, 4.0])
    with numpy.errstate(all="raise"):
        assert np.log(x, where=x > 0)[:2].asnumpy().tolist() == [0, 0]
        assert np.divide(1, x, where=x > 0, out=np.ones(3)).asnumpy().tolist() == [1, 1, 0.25]


def test_a_mask_that_takes_one_value_for_each_element_stays_in_python() -> None:
    def forward(x: Any) -> Any:
        y = x * 1
        y[y > 0.5] = y[y > 0.5] * 2
        return y

    fast = blockfuse.hybridize(forward)
    wanted = numpy.where(MASK, X * 2, X)
    for _ in range(3):
        numpy.testing.assert_array_equal(fast(np.array(X)), wanted)
    assert "a boolean mask" in fast.explain() or "nonzero()" in fast.explain()


def test_a_place_beyond_its_axis_raises() -> None:
    fast = blockfuse.hybridize(assigned(lambda y, i, j: i, lambda v: 1.0))
    x, v = np.array(X), np.array(V)
    for _ in range(3):
        fast(x, v, np.array(ROWS), np.array(COLUMNS))
    with pytest.raises(IndexError):
        fast(x, v, np.array([0, 1, 1, 4]), np.array(COLUMNS))


def test_a_number_that_no_integer_array_takes_raises_when_it_comes() -> None:
    def forward(x: Any, n: Any) -> Any:
        y = x * 1
        y[y > 3] = n
        return y

    fast, x = blockfuse.hybridize(forward), np.array([1, 5, 7], dtype="uint8")
    for n in range(5):
        assert fast(x, n).asnumpy().tolist() == [1, n, n]
    with pytest.raises(OverflowError):
        fast(x, 300)


def test_index_update_and_index_add_are_compiled() -> None:
    places = np.array([[0, 1, 1], [2, 2, 2]])
    for function, write in ((npx.index_update, None), (npx.index_add, numpy.add.at)):
        wanted = X.copy()
        if write is None:
            wanted[ROWS[:3], COLUMNS[:3]] = V[:3]
        else:
            write(wanted, (ROWS[:3], COLUMNS[:3]), V[:3])
        fast = blockfuse.hybridize(lambda x, v, function=function: function(x, places, v) * 1)
        for _ in range(3):
            numpy.testing.assert_array_equal(fast(np.array(X), np.array(V[:3])), wanted)
        assert fast.explain().split("\n")[0].endswith("compiled")
