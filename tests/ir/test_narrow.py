"""How weights are rounded to fewer bits, and which of them: see NOTE [narrow weights]."""

from typing import Any

import numpy
import pytest
from graphs import graph

from blockfuse.ir.operators import narrow
from blockfuse.ir.operators.contractions import dense, matmul
from blockfuse.ir.passes.narrow import narrow_weights

FLOATS = numpy.random.default_rng(3).integers(0, 1 << 32, 20_000, "uint32").view("float32")
LARGEST = numpy.finfo("float32").max


def as_bf16(values: Any) -> numpy.ndarray:
    return narrow.rounded.meaning(numpy.asarray(values, "float32"), form="bf16", axis=0)


def as_int8(weight: Any) -> numpy.ndarray:
    return narrow.rounded.meaning(numpy.asarray(weight, "float32"), form="int8", axis=1)


def test_bf16_is_the_nearest_and_from_the_middle_the_even_one() -> None:
    values = FLOATS[numpy.isfinite(FLOATS)].astype("float64")
    step = 2.0 ** numpy.maximum(numpy.frexp(values)[1] - 8, -133)  # 8 bits of which the first is not kept
    wanted = numpy.rint(values / step) * step  # NumPy rounds to even, and a power of two lies in both grids
    found = as_bf16(values).astype("float64")
    fits = numpy.abs(wanted) <= LARGEST
    numpy.testing.assert_array_equal(found[fits], wanted[fits])
    assert numpy.isinf(found[~fits]).all()


def test_bf16_keeps_middles_signs_infinities_and_nan() -> None:
    one = numpy.array(
        [1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-8 + 2.0**-20, -0.0, numpy.inf, -numpy.inf, LARGEST]
    )
    found = as_bf16(one)
    wanted = [1, 1 + 2.0**-6, 1 + 2.0**-7, -0.0, numpy.inf, -numpy.inf, numpy.inf]
    numpy.testing.assert_array_equal(found, numpy.array(wanted, "float32"))
    assert numpy.signbit(found[3])
    low_bits = numpy.array([0x7F800001, 0xFF80FFFF, 0x7FFFFFFF], "uint32").view("float32")
    assert numpy.isnan(as_bf16(low_bits)).all(), "a nan whose bits are all cut off is no infinity"


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1.0, 1e30, LARGEST])
def test_int8_is_off_by_half_a_step_of_its_column(scale: float) -> None:
    weight = (numpy.random.default_rng(1).uniform(-1, 1, (50, 40)) * scale).astype("float32")
    largest = numpy.abs(weight).max(axis=1, keepdims=True).astype("float64")
    steps = numpy.maximum(largest / 127, numpy.finfo("float32").tiny)
    assert (numpy.abs(as_int8(weight) - weight.astype("float64")) <= steps * (0.5 + 1e-4)).all()


def test_int8_is_nan_where_a_column_has_no_scale_and_exact_for_zeros() -> None:
    weight = numpy.array([[0, 0], [1, numpy.inf], [numpy.nan, 1], [127, -5]], "float32")
    found = as_int8(weight)
    numpy.testing.assert_array_equal(found[[0, 3]], weight[[0, 3]])
    assert numpy.isnan(found[[1, 2]]).all()


@pytest.mark.parametrize("dtype", ["uint16", "int8", "float32"])
@pytest.mark.parametrize("panel", [1, 2, 16])
def test_interleaved_panels_are_put_in_order_again(dtype: str, panel: int) -> None:
    codes = numpy.arange(3 * 4 * panel).reshape(3, 4, panel).astype(dtype)
    if dtype != "uint16":
        assert narrow.widened(codes) is codes
        return
    found = narrow.widened(narrow.interleaved(codes))
    numpy.testing.assert_array_equal(found.view("uint32") >> 16, codes)


# -- which weights ---------------------------------------------------------------------------------------------


def narrowed(function: Any, **types: str) -> str:
    return str(narrow_weights(graph(function, "w", **types), "int8"))


def test_the_right_matrix_of_a_product_is_rounded_along_what_is_summed() -> None:
    text = narrowed(matmul, x="float32[3, 4]", w="float32[4, 5]")
    assert "rounded(w, form='int8', axis=0)" in text
    text = narrowed(lambda x, w: matmul(x, w * 2), x="float32[3, 4]", w="float32[2, 4, 5]")
    assert "form='int8', axis=1)" in text
    text = narrowed(dense, x="float32[3, 4]", w="float32[5, 4]")
    assert "rounded(w, form='int8', axis=1)" in text


@pytest.mark.parametrize(
    ("x", "w"),
    [("float32[3, 4]", "float64[4, 5]"), ("float64[3, 4]", "float32[4, 5]"), ("float32[3, 4]", "float32[4]")],
)
def test_other_dtypes_and_vectors_stay(x: str, w: str) -> None:
    assert "rounded" not in narrowed(matmul, x=x, w=w)


def test_what_changes_from_call_to_call_stays() -> None:
    types = {"x": "float32[3, 4]", "w": "float32[5, 3]", "y": "float32[4, 5]"}
    assert "rounded" not in narrowed(lambda x, w, y: (matmul(w, x), matmul(x, y)), **types)


def test_weights_are_rounded_once() -> None:
    once = narrow_weights(graph(matmul, "w", x="float32[3, 4]", w="float32[4, 5]"), "bf16")
    assert str(narrow_weights(once, "bf16")) == str(once)
