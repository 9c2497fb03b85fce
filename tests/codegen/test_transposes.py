"""Copies across a diagonal: every element lands where it should, at every size, on every instruction set."""

from __future__ import annotations

import numpy
import pytest
from graphs import LEVELS, assert_equal, graph_for, whole
from hypothesis import given
from hypothesis import strategies as st
from sampling import sampled

from blockfuse.ir.operators import movement

CASES = {
    "a square": ((16, 16), (1, 0)),
    "what is left of rows and columns": ((37, 43), (1, 0)),
    "rows that several threads share": ((2000, 70), (1, 0)),
    "matrices": ((3, 20, 18), (0, 2, 1)),
    "rows far apart": ((20, 3, 18), (2, 1, 0)),
    "two axes as one": ((20, 3, 18), (2, 0, 1)),
    "five axes": ((2, 3, 17, 2, 9), (1, 4, 0, 3, 2)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_transposed_value(name: str) -> None:
    shape, axes = CASES[name]
    values = [numpy.arange(numpy.prod(shape)).reshape(shape).astype("float32")]
    recorded = graph_for(lambda x: movement.transpose(x, axes=axes), values)
    program = assert_equal(recorded, values, threads=2)
    assert any("transpose_of(" in source for source in program.sources)


@pytest.mark.parametrize("dtype", ["float64", "int64", "bool", "float16"])
def test_dtypes(dtype: str) -> None:
    values = [(numpy.arange(21 * 19) % 101).reshape(21, 19).astype(dtype)]
    program = assert_equal(graph_for(lambda x: movement.transpose(x, axes=(1, 0)), values), values)
    assert any("transpose_of(" in s for s in program.sources) == (numpy.dtype(dtype).itemsize >= 4)


def test_bits_move() -> None:
    """Also those of numbers that are none, which a float register could change."""
    bits = numpy.arange(20 * 20, dtype="uint32").reshape(20, 20) + 0x7F800001
    values = [bits.view("float32")]
    recorded = graph_for(lambda x: movement.transpose(x, axes=(1, 0)), values)
    (found,) = assert_equal(recorded, values)(*values)
    assert found.tobytes() == bits.T.tobytes()


def test_short_sides_and_changed_elements_are_loops() -> None:
    for shape, change in (((7, 40), lambda x: x), ((40, 40), lambda x: x * 2)):
        values = [whole(*shape)]
        recorded = graph_for(lambda x, change=change: change(movement.transpose(x, axes=(1, 0))), values)
        program = assert_equal(recorded, values)
        assert not any("transpose_of(" in source for source in program.sources)


sides = st.integers(8, 40)


@given(sides, sides, st.integers(1, 3), st.permutations(range(3)), st.sampled_from(LEVELS))
@sampled(3, 60)
def test_any_sides(rows: int, columns: int, stack: int, axes: list[int], level: str) -> None:
    values = [numpy.arange(stack * rows * columns, dtype="float64").reshape(stack, rows, columns)]
    assert_equal(graph_for(lambda x: movement.transpose(x, axes=tuple(axes)), values), values, level)
