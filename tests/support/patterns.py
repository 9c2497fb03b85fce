"""Indices made of arrays: some by name, and random ones with a table and index arrays for each; calls that they fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy
import pytest
from hypothesis import strategies as st

from blockfuse.ir.operators import indexing

INDEX_DTYPES = ("int8", "int16", "int32", "int64", "uint8")
TABLE_DTYPES = ("float32", "float64", "float16", "int8", "int64", "uint8", "bool")


def rows_of(w: Any, i: Any) -> Any:
    return indexing.take_at(w, i, pattern=(("array", 0),))


def columns_of(w: Any, i: Any) -> Any:
    return indexing.take_at(w, i, pattern=(("slice", None, None, None), ("array", 0)))


def beyond(net: Any, *given: Any) -> str:
    """The message of the IndexError that a call raises."""
    with pytest.raises(IndexError) as error:
        net(*given)
    return str(error.value)


def case_of(function: Any) -> Any:
    """What is known of the one signature of a hybridized function."""
    (case,) = function._hybrid.cases.values()
    return case


@dataclass(frozen=True)
class Picked:
    """``table[pattern]``."""

    table: numpy.ndarray
    arrays: tuple[numpy.ndarray, ...]
    pattern: tuple[Any, ...]

    @property
    def numpy_index(self) -> tuple[Any, ...]:
        return tuple(self._item(entry) for entry in self.pattern)

    def _item(self, entry: Any) -> Any:
        if not isinstance(entry, tuple):
            return entry
        return self.arrays[entry[1]] if entry[0] == "array" else slice(*entry[1:])

    @property
    def walked(self) -> list[int]:
        """The size of the axis that each array walks."""
        rest = self.table.ndim - sum(e is not None and e is not Ellipsis for e in self.pattern)
        axes: list[Any] = []
        for entry in self.pattern:
            axes += [None] * rest if entry is Ellipsis else [] if entry is None else [entry]
        sizes = {
            e[1]: n
            for e, n in zip(axes, self.table.shape, strict=False)
            if isinstance(e, tuple) and e[0] == "array"
        }
        return [sizes[n] for n in range(len(self.arrays))]


@st.composite
def picked(draw: st.DrawFn, smallest: int = 1) -> Picked:
    """Any index that NumPy takes. smallest: size of an axis, of the table and of the arrays."""
    sizes = draw(st.lists(st.integers(max(smallest, 1), 5), min_size=1, max_size=4))
    common = draw(st.lists(st.integers(smallest, 3), max_size=2))
    arrays: list[numpy.ndarray] = []
    pattern: list[Any] = []
    chosen = draw(st.integers(0, len(sizes) - 1))  # at least one axis has an array
    for axis, size in enumerate(sizes):
        kind = "array" if axis == chosen else draw(st.sampled_from(("array", "slice", "int")))
        if kind == "array":
            pattern.append(("array", len(arrays)))
            arrays.append(draw(_indices(size, common)))
        elif kind == "int":
            pattern.append(draw(st.integers(-size, size - 1)))
        else:
            ends = st.none() | st.integers(-size - 1, size + 1)
            pattern.append(("slice", draw(ends), draw(ends), draw(st.sampled_from((None, 1, 2, -1, -2)))))
    while len(pattern) > 1 and pattern[-1] == ("slice", None, None, None):
        pattern.pop()
    if draw(st.booleans()):  # for the axes behind the last entry, or for none
        pattern.insert(
            draw(st.integers(0, len(pattern))) if len(pattern) == len(sizes) else len(pattern), ...
        )
    for _ in range(draw(st.integers(0, 2))):
        pattern.insert(draw(st.integers(0, len(pattern))), None)
    dtype = draw(st.sampled_from(TABLE_DTYPES))
    values = numpy.random.default_rng(len(sizes)).integers(0, 2 if dtype == "bool" else 100, sizes)
    return Picked(values.astype(dtype), tuple(arrays), tuple(pattern))


@st.composite
def _indices(draw: st.DrawFn, size: int, common: list[int]) -> numpy.ndarray:
    """In range, broadcast to ``common`` in some way."""
    shape = [n if draw(st.booleans()) else 1 for n in common][draw(st.integers(0, len(common))) :]
    dtype = draw(st.sampled_from(INDEX_DTYPES))
    least = 0 if dtype == "uint8" else -size
    count = int(numpy.prod(shape))
    numbers = draw(st.lists(st.integers(least, size - 1), min_size=count, max_size=count))
    return numpy.array(numbers, dtype).reshape(shape)
