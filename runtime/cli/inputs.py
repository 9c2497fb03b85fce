"""Inputs as one writes them on a command line: ``2x20`` or ``2,20:float64``."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import click
import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

_DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
_SEED = 20_240_607


@dataclass(frozen=True)
class Input:
    """One argument of a net."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    value: float | None = None  # of all elements; None: random ones
    growing: tuple[int, ...] = (0,)  # the axes that are as long as the batch

    def __str__(self) -> str:
        sizes = "x".join(map(str, self.shape))
        return sizes if self.dtype == "float32" else f"{sizes}:{self.dtype}"

    def with_batch(self, batch: int | None) -> Input:
        """The same for another size of the batch."""
        if batch is None:
            return self
        sizes = (batch if axis in self.growing else size for axis, size in enumerate(self.shape))
        return replace(self, shape=tuple(sizes))

    def array(self, number: int) -> ndarray:
        """The value, or random ones, the same each time: between -1 and 1, or whole numbers below 10."""
        if self.value is not None:
            return ndarray(numpy.full(self.shape, self.value, self.dtype))
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


class NamedType(click.ParamType[tuple[str, float]]):
    """The type of ``--size`` and ``--value``: a name, and a number from ``least`` on."""

    def __init__(self, name: str, kind: type[int] | type[float], least: float) -> None:
        self.name, self._kind, self._least = name, kind, least

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        name, _, number = value.rpartition("=")
        try:
            found = self._kind(number)
        except ValueError:
            found = -math.inf
        if not name or not found >= self._least or not math.isfinite(found):
            self.fail(f"{value!r} is no {self.name}", param, ctx)
        return name, found


SIZE = NamedType("NAME=SIZE", int, 1)
VALUE = NamedType("NAME=NUMBER", float, -sys.float_info.max)


def input_options(command: Command) -> Command:
    """The options by which a command is told what to call nets with."""
    options = (
        click.option(
            "--input",
            "inputs",
            type=InputType(),
            multiple=True,
            help="An argument, as 2x20 or 2,20:float64; repeat for more.",
        ),
        click.option(
            "--size", "sizes", type=SIZE, multiple=True, help="A size that an .onnx file names, as n=4."
        ),
        click.option(
            "--value",
            "values",
            type=VALUE,
            multiple=True,
            help="All numbers of an .onnx file's input, as rate=16000.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


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
