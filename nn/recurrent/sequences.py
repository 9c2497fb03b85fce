"""Sequences as cells are given them, and give them back: one array with an axis of times, or a list of one array a time."""

from __future__ import annotations

from typing import Any

from blockfuse.array import np
from blockfuse.array.functions.recurrent import at_time, times_of
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError, UsageError

LAYOUTS = {"TNC": 0, "NTC": 1}  # layout -> the axis of times


def time_axis(layout: str) -> int:
    if layout not in LAYOUTS:
        raise UsageError(f"layout={layout!r}; use {' or '.join(map(repr, LAYOUTS))}")
    return LAYOUTS[layout]


@size_agnostic
def checked_sequence(inputs: Any, length: int | None, axis: int, label: str) -> Any:
    """The inputs, as an array or a list of arrays, if they have ``length`` times. Raises ShapeError."""
    if isinstance(inputs, tuple | list):
        found, inputs = len(inputs), list(inputs)
    elif isinstance(inputs, ndarray) and inputs.ndim > 1:
        found = inputs.shape[axis]
    else:
        what = f"one of shape {inputs.shape}" if isinstance(inputs, ndarray) else type(inputs).__name__
        raise ShapeError(f"{label} expects an array of times and batch, or a list of arrays; found {what}")
    if not found or length not in (None, found):
        raise ShapeError(f"{label} is unrolled over {length} times, and its inputs have {found}")
    return inputs


@size_agnostic
def batch_of(sequence: Any, axis: int) -> int:
    """How many sequences there are."""
    size: int = sequence[0].shape[0] if isinstance(sequence, list) else sequence.shape[1 - axis]
    return size


@size_agnostic
def as_array(sequence: Any, axis: int) -> Any:
    return np.stack(sequence, axis) if isinstance(sequence, list) else sequence


@size_agnostic
def as_list(sequence: Any, axis: int) -> list[Any]:
    if isinstance(sequence, list):
        return sequence
    return [at_time(sequence, axis, time) for time in range(times_of(sequence, axis))]
