"""Operators without operands: arrays that their attributes describe."""

from __future__ import annotations

import math
from typing import Any

import numpy

from blockfuse.ir.lowering import Composite, Host
from blockfuse.ir.operator import Example, row
from blockfuse.ir.operators.movement import filled, reshape
from blockfuse.ir.operators.pointwise import greater_equal
from blockfuse.ir.types import TensorType, tensor

Shape = tuple[int, ...]


def _full(shape: Shape, value: float, dtype: str) -> numpy.ndarray:
    return numpy.full(shape, value, dtype)


def _arange_type(start: float, stop: float, step: float, dtype: str) -> TensorType:
    return tensor((max(0, math.ceil((stop - start) / step)),), dtype)


def _eye_meaning(rows: int, columns: int, k: int, dtype: str) -> numpy.ndarray:
    return numpy.eye(rows, columns, k, dtype)


def _linspace_meaning(start: float, stop: float, num: int, endpoint: bool, dtype: str) -> numpy.ndarray:
    return numpy.asarray(numpy.linspace(start, stop, num, endpoint, dtype=dtype))


def on_or_below(rows: int, columns: int, k: int = 0) -> Any:
    """Which elements of a matrix lie on or below its ``k``-th diagonal."""
    row_numbers = arange(start=k, stop=k + rows, step=1, dtype="int64")
    column_numbers = arange(start=0, stop=columns, step=1, dtype="int64")
    return greater_equal(reshape(row_numbers, shape=(rows, 1)), column_numbers)


def _no_operands(g: Any, out: Any, **attrs: Any) -> tuple[Any, ...]:
    return ()


full = row(
    "full",
    _full,
    Composite(lambda shape, value, dtype: filled(value, shape, numpy.dtype(dtype))),
    type_rule=lambda shape, value, dtype: tensor(shape, dtype),
    gradient=_no_operands,
    examples=(
        Example((), {"shape": (2, 3), "value": 1.5, "dtype": "float32"}),
        Example((), {"shape": (), "value": True, "dtype": "bool"}),
    ),
)
arange = row(
    "arange",
    numpy.arange,
    Host("made once"),
    type_rule=_arange_type,
    gradient=_no_operands,
    examples=(
        Example((), {"start": 0, "stop": 7, "step": 2, "dtype": "float32"}),
        Example((), {"start": 1.5, "stop": -1, "step": -0.5, "dtype": "float64"}),
        Example((), {"start": 3, "stop": 1, "step": 1, "dtype": "int32"}),
    ),
)
linspace = row(
    "linspace",
    _linspace_meaning,
    Host("made once"),
    type_rule=lambda start, stop, num, endpoint, dtype: tensor((num,), dtype),
    gradient=_no_operands,
    examples=(Example((), {"start": -1.0, "stop": 2, "num": 5, "endpoint": True, "dtype": "float32"}),),
)
eye = row(
    "eye",
    _eye_meaning,
    Host("made once"),
    type_rule=lambda rows, columns, k, dtype: tensor((rows, columns), dtype),
    gradient=_no_operands,
    examples=(Example((), {"rows": 3, "columns": 4, "k": 1, "dtype": "int64"}),),
)
