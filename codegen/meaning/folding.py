"""Folds in NumPy: accumulators side by side take a few steps each, then they are joined pair by pair.

So a fold means something only if its step, its start and its join agree; what order a backend takes is left open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.codegen.kernels.loop_kernels import Fold
from blockfuse.codegen.meaning.expressions import Values, value_of, value_of_text
from blockfuse.codegen.meaning.memory import MeaningError

_STEPS = 4  # of one accumulator

Totals = list[numpy.ndarray]  # of several folds


def folded(fold: Fold, values: Values, shape: tuple[int, ...]) -> numpy.ndarray:
    """``fold`` along axis 1 of a domain of ``shape``, which stays as an axis of size 1.

    values: over the domain; those with size 1 along axis 1 are the same for all elements.
    """
    named = {name: values[name] for name in fold.step.names if name in values}
    start = value_of(fold.start, {})
    if start.dtype != fold.dtype:
        raise MeaningError(f"{fold} starts as {start.dtype}")
    size = width(shape[1])
    starts = [numpy.full((shape[0], size, *shape[2:]), start)]

    def step(totals: Totals, first: int, end: int) -> Totals:
        taken = {n: v[:, first:end] if v.shape[1:2] == shape[1:2] else v for n, v in named.items()}
        return [value_of(fold.step, {**taken, fold.name: totals[0]})]

    def join(_: int, a: numpy.ndarray, b: numpy.ndarray) -> numpy.ndarray:
        return value_of_text(fold.join.format("a", "b"), {"a": a, "b": b})

    return folded_by(step, join, starts, shape[1])[0]


def width(extent: int) -> int:
    """How many accumulators a fold of so many elements has."""
    return max(1, -(-extent // _STEPS))


def folded_by(
    step: Callable[[Totals, int, int], Totals],
    join: Callable[[int, Any, Any], Any],
    starts: Totals,
    extent: int,
) -> Totals:
    """Several folds at once, along axis 1 of ``starts``, where each has ``width(extent)`` accumulators.

    step: the totals after elements ``first`` to ``end``, one for each accumulator. join: of fold number n, two totals.
    """
    totals = [start.copy() for start in starts]
    size = width(extent)
    for first in range(0, extent, size):
        taken = min(size, extent - first)
        now = step([total[:, :taken] for total in totals], first, first + taken)
        for total, value in zip(totals, now, strict=True):
            _put(total[:, :taken], value)
    return [_joined(lambda a, b, n=n: join(n, a, b), total) for n, total in enumerate(totals)]  # type: ignore[misc]


def _joined(join: Callable[[Any, Any], Any], total: numpy.ndarray) -> numpy.ndarray:
    while total.shape[1] > 1:
        half = -(-total.shape[1] // 2)
        rest = total.shape[1] - half
        _put(total[:, :rest], join(total[:, :rest], total[:, half:]))
        total = total[:, :half]
    return total


def _put(target: numpy.ndarray, value: Any) -> None:
    value = numpy.asarray(value)
    if value.dtype != target.dtype:
        raise MeaningError(f"a fold of {target.dtype} becomes {value.dtype}")
    target[...] = value
