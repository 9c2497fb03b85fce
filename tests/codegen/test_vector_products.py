"""Products of a matrix and a vector, whichever way the matrix lies, against NumPy's in float64."""

from collections.abc import Callable
from typing import Any

import numpy
import pytest
from graphs import LEVELS, Native, graph

from blockfuse.ir.operators import pointwise
from blockfuse.ir.operators.contractions import dense, matmul
from blockfuse.ir.operators.movement import transpose

WAYS: dict[str, Callable[[Any, Any], Any]] = {  # of a matrix of n rows and k columns
    "rows": lambda a, v: matmul(a, v),
    "columns": lambda a, v: matmul(v, transpose(a, axes=(1, 0))),
    "turned": lambda a, v: matmul(transpose(pointwise.multiply(a, 2.0), axes=(1, 0)), v),
    "weight": lambda a, v: dense(v, a),
    "and more": lambda a, v: pointwise.tanh(pointwise.add(matmul(a, v), 1.0)),
}
MEANINGS: dict[str, Callable[[Any, Any], Any]] = {
    "rows": lambda a, v: a @ v,
    "columns": lambda a, v: a @ v,
    "turned": lambda a, v: 2.0 * a.T @ v,
    "weight": lambda a, v: a @ v,
    "and more": lambda a, v: numpy.tanh(a @ v + 1.0),
}


@pytest.mark.spread(40)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("parameters", ["", "a"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 40), (40, 1), (3, 8), (17, 33), (64, 16), (5, 1003), (130, 257)], ids=str
)
def test_a_matrix_times_a_vector_is_what_numpy_gives(
    shape: tuple[int, int], way: str, parameters: str, dtype: str, level: str
) -> None:
    n, k = shape
    length = n if way == "turned" else k
    native = Native(
        graph(WAYS[way], parameters=parameters, a=f"{dtype}[{n}, {k}]", v=f"{dtype}[{length}]"), level
    )
    rng = numpy.random.default_rng(n * k)
    a, v = rng.standard_normal((n, k)).astype(dtype), rng.standard_normal(length).astype(dtype)
    (found,) = native(a, v)
    wanted = MEANINGS[way](a.astype("float64"), v.astype("float64"))
    error = numpy.finfo(dtype).eps * (2 + length) * 4
    numpy.testing.assert_allclose(found, wanted, rtol=0, atol=error)


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf])
def test_what_is_no_number_stays_in_its_row(value: float) -> None:
    native = Native(graph(WAYS["rows"], a="float32[5, 20]", v="float32[20]"))
    a = numpy.ones((5, 20), "float32")
    a[3, 19] = value
    (found,) = native(a, numpy.ones(20, "float32"))
    numpy.testing.assert_array_equal(found, [20, 20, 20, value, 20])
