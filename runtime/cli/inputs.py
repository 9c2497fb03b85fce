"""Inputs as one writes them on a command line: ``2x20`` or ``2,20:float64``."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import click
import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import UsageError

_DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
_SEED = 20_240_607


@dataclass(frozen=True)
class Input:
    """One argument of a net."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    def __str__(self) -> str:
        sizes = "x".join(map(str, self.shape))
        return sizes if self.dtype == "float32" else f"{sizes}:{self.dtype}"

    def with_batch(self, batch: int | None) -> Input:
        """The same with another first axis."""
        return self if batch is None else replace(self, shape=(batch, *self.shape[1:]))

    def array(self, number: int) -> ndarray:
        """Random values, the same each time: between -1 and 1, or whole numbers below 10."""
        draw = numpy.random.default_rng(_SEED + number)
        floating = self.dtype.startswith("float")
        values = draw.uniform(-1, 1, self.shape) if floating else draw.integers(0, 10, self.shape)
        return ndarray(numpy.asarray(values > 4 if self.dtype == "bool" else values, self.dtype))


def parsed(text: Any) -> Input:
    """The input that ``text`` describes."""
    shape, _, dtype = str(text).strip().partition(":")
    sizes = re.split(r"\s*[x,]\s*", shape.strip("()[] ,"))
    if not isinstance(text, str) or not all(s.isdigit() for s in sizes):
        raise UsageError(f"{text!r} is no input: write sizes and perhaps a dtype, as 2x20 or 2,20:float64")
    if dtype and dtype not in _DTYPES:
        raise UsageError(f"input {text!r}: there is no dtype {dtype!r}; there are {', '.join(_DTYPES)}")
    return Input(tuple(map(int, sizes)), dtype or "float32")


class InputType(click.ParamType[Input]):
    """The type of ``--input``."""

    name = "SHAPE[:DTYPE]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Input:
        if isinstance(value, Input):
            return value
        try:
            return parsed(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class BatchType(click.ParamType[tuple[int, ...]]):
    """The type of ``--batch``: sizes with commas in between."""

    name = "N,N,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        if not all(size.strip().isdigit() and int(size) for size in value.split(",")):
            self.fail(
                f"{value!r} is no list of batch sizes: write whole numbers from 1 on, as 1,32,256", param, ctx
            )
        return tuple(map(int, value.split(",")))
