"""Rules of operators with graphs in them: choices and loops, which are Python's, over functions of the generated source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from blockfuse.array import np
from blockfuse.frontends.onnx.rules.table import Value, rule
from blockfuse.frontends.onnx.rules.values import is_known, number
from blockfuse.ir.errors import UsageError

Body = Callable[..., tuple[Any, ...]]
Declared = tuple[
    str | None, tuple[int | None, ...] | None
]  # dtype and shape, None where the file leaves them open


@rule("If", several=True)
def if_(condition: Value, then_branch: Body, else_branch: Body) -> tuple[Value, ...]:
    """One of two graphs: a decision of the program where the condition is computed."""
    if number(condition) if is_known(condition) else condition:
        return then_branch()
    return else_branch()


@rule("Loop", several=True)
def loop(
    trips: Value = None, condition: Value = None, *states: Value, body: Body, results: Sequence[Declared] = ()
) -> tuple[Value, ...]:
    """Rounds until ``trips`` are done or the condition fails; what rounds give besides states is stacked.

    results: what the file declares of the values that a round gives.
    """
    scanned = results[len(states) + 1 :]
    count = number(trips) if trips is not None and is_known(trips) else None
    if trips is None or count is not None:
        return _counted(count, condition, states, body, scanned)
    return _uncounted(trips, condition, states, body, scanned)


def _counted(
    count: int | None, condition: Value, states: tuple[Value, ...], body: Body, results: Sequence[Declared]
) -> tuple[Value, ...]:
    """A number of rounds that Python knows, or no bound."""
    scanned: list[tuple[Value, ...]] = []
    going = True if condition is None else condition
    done = 0
    while (count is None or done < count) and _holds(going):
        going, *rest = body(numpy.array(done, "int64"), going, *states)
        states = tuple(rest[: len(states)])
        if len(rest) > len(states):
            scanned.append(tuple(rest[len(states) :]))
        done += 1
    return *states, *_stacked(scanned, results)


def _uncounted(
    trips: Value, condition: Value, states: tuple[Value, ...], body: Body, results: Sequence[Declared]
) -> tuple[Value, ...]:
    """A number of rounds that is computed: a native loop."""
    scanned: list[tuple[Value, ...]] = []
    going = True if condition is None else condition
    done = np.zeros((), "int64")
    while _holds(numpy.less(done, trips)) and _holds(going):
        going, *rest = body(done, going, *states)
        states = tuple(rest[: len(states)])
        if len(rest) > len(states):
            scanned.append(tuple(rest[len(states) :]))
        done = done + 1
    return *states, *_stacked(scanned, results)


def _holds(condition: Value) -> bool:
    return bool(condition)


def _stacked(scanned: list[tuple[Value, ...]], results: Sequence[Declared]) -> Sequence[Value]:
    if scanned:
        return [numpy.stack(each) for each in zip(*scanned, strict=True)]
    return [
        numpy.zeros((0, *(size or 0 for size in shape or ())), dtype or "float32") for dtype, shape in results
    ]


@rule("Scan", several=True, since=9)
def scan(
    *values: Value,
    body: Body,
    num_scan_inputs: int = 1,
    scan_input_axes: tuple[int, ...] = (),
    scan_input_directions: tuple[int, ...] = (),
    scan_output_axes: tuple[int, ...] = (),
    scan_output_directions: tuple[int, ...] = (),
) -> tuple[Value, ...]:
    """A round for each place of an axis of the scanned inputs."""
    count = len(values) - num_scan_inputs
    states, inputs = values[:count], values[count:]
    axes = scan_input_axes or (0,) * num_scan_inputs
    backwards = scan_input_directions or (0,) * num_scan_inputs
    moved = [numpy.moveaxis(x, axis, 0) for x, axis in zip(inputs, axes, strict=True)]
    moved = [numpy.flip(x, 0) if back else x for x, back in zip(moved, backwards, strict=True)]
    scanned: list[tuple[Value, ...]] = []
    for time in range(moved[0].shape[0]):
        rest = body(*states, *(x[time] for x in moved))
        states = tuple(rest[:count])
        scanned.append(tuple(rest[count:]))
    outputs = list(zip(*scanned, strict=True))
    return *states, *_laid_out(outputs, scan_output_axes, scan_output_directions)


@rule("Scan", several=True, until=8)
def scan_8(
    lengths: Value, *values: Value, body: Body, num_scan_inputs: int = 1, directions: tuple[int, ...] = ()
) -> Any:
    """For each item of a batch its own rounds; only without lengths."""
    if lengths is not None:
        raise UsageError("Scan of opset 8 with sequence lengths is not supported")
    items = [
        scan(
            *(value[item] for value in values),
            body=body,
            num_scan_inputs=num_scan_inputs,
            scan_input_directions=directions,
        )
        for item in range(values[0].shape[0])
    ]
    return tuple(numpy.stack(each) for each in zip(*items, strict=True))


def _laid_out(outputs: list[Any], axes: tuple[int, ...], directions: tuple[int, ...]) -> list[Value]:
    axes, directions = axes or (0,) * len(outputs), directions or (0,) * len(outputs)
    return [
        numpy.stack(each[::-1] if back else each, axis=axis)
        for each, axis, back in zip(outputs, axes, directions, strict=True)
    ]


# -- sequences and optional values: Python's own -----------------------------------------------------------------------


@rule("OptionalHasElement")
def optional_has_element(value: Value = None) -> Value:
    """Whether there is a value."""
    return numpy.array(value is not None)


@rule("OptionalGetElement")
def optional_get_element(value: Value) -> Value:
    """The value."""
    return value


@rule("SequenceConstruct")
def sequence_construct(*values: Value) -> Value:
    """A sequence of values."""
    return tuple(values)


@rule("SequenceAt")
def sequence_at(sequence: Value, position: Value) -> Value:
    """One of them."""
    return sequence[int(number(position))]


@rule("SequenceEmpty")
def sequence_empty(dtype: int = 1) -> Value:  # what it may hold, which nobody asks
    """No values."""
    return ()


@rule("SequenceLength")
def sequence_length(sequence: Value) -> Value:
    """How many there are."""
    return numpy.array(len(sequence), "int64")


@rule("SequenceInsert")
def sequence_insert(sequence: Value, value: Value, position: Value = None) -> Value:
    """With a value more."""
    place = len(sequence) if position is None else int(number(position))
    return (*sequence[:place], value, *sequence[place:])


@rule("ConcatFromSequence")
def concat_from_sequence(sequence: Value, axis: int = 0, new_axis: int = 0) -> Value:
    """All of them as one array."""
    return numpy.stack(sequence, axis=axis) if new_axis else numpy.concatenate(sequence, axis=axis)
