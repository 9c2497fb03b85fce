"""The key by which an operator is found among the steps of a tree: the operator, its attributes, where its operands are."""

from __future__ import annotations

from math import isnan
from typing import Any

import numpy

from blockfuse.array import stamps
from blockfuse.array.ndarray import is_ours, ndarray
from blockfuse.ir.builder import literal_dtype
from blockfuse.ir.operator import Operator
from blockfuse.ir.passes.dedupe import frozen
from blockfuse.ir.types import TensorType, type_of
from blockfuse.tracer.lazy.pending import Segment
from blockfuse.tracer.lazy.segment_tree import NUMBERS, WIDENED, Step, array_of

_MAX_EXACT_INTEGER = 1 << 53  # integers up to here are floats
_MAX_EQUAL_STEPS = 3  # that differ in a number only; then the number is read at every call
_PLAIN = frozenset([bool, int, str, type(None)])  # types whose equal values are the same
_COPIED = (numpy.ndarray, list, tuple)


def key_of(
    segment: Segment,
    held: dict[int, ndarray],
    operator: Operator,
    operands: tuple[Any, ...],
    attrs: dict[str, Any],
) -> Any:
    """Operator, attributes and indices of operands; leaves that are met for the first time are added, told by their types.

    held: the arrays of parameters, by id. None where an operand is something whose meaning only NumPy knows.
    """
    parts: list[Any] = [operator]
    for operand in operands:
        kind = type(operand)
        if kind is ndarray:
            pending = operand._pending
            waits = pending is not None and pending.segment is segment
            index = pending.number if waits else _index_or_type(segment, held, operand)
            if index is None:
                return None
            parts.append(index)
        elif kind is float:
            parts.append((kind, repr(operand) if not operand or isnan(operand) else operand))
        elif kind is int or kind is bool:
            parts.append((kind, operand))
        elif (kind in _COPIED or issubclass(kind, numpy.generic)) and is_ours(array_of(operand).dtype):
            parts.append(_copied(segment, array_of(operand), kind))
        else:  # of a class of somebody's own, or in another byte order
            return None
    for name, value in attrs.items():
        parts.append((name, frozen(value)) if type(value) not in _PLAIN else (name, type(value), value))
    return tuple(parts)


def _index_or_type(segment: Segment, held: dict[int, ndarray], array: ndarray) -> Any:
    """What stands for an array that does not wait in the segment; None where only NumPy knows what it holds."""
    index = segment.indices.get(id(array))
    if index is not None and (index < 0 or segment.values[index]() is array):
        return index
    data = array._data
    if id(array) in held and not stamps.is_exposed(data):
        segment.add_leaf(array, 0)
        return id(array), "held"
    if stamps.is_exposed(data):
        return _copied(segment, data, ndarray) if is_ours(data.dtype) else None
    segment.add_leaf(array, data.nbytes)
    if data.flags.c_contiguous:
        return data.shape, data.dtype, None
    return data.shape, data.dtype, data.strides


def _copied(segment: Segment, data: numpy.ndarray, kind: type) -> Any:
    """Memory that may be written unseen."""
    copy = data.copy()  # in C order, whatever the order of ``data``
    segment.add_leaf(ndarray(copy), data.nbytes)
    return data.shape, data.dtype, data.strides, kind


# -- steps that read their number at every call ----------------------------------------------------------------


def step_with_any_number(segment: Segment, parent: Step, key: tuple[Any, ...]) -> Step | None:
    """The step that reads its number at every call, with the number as a leaf."""
    if not parent.alike:
        return None
    step = parent.children.get(_without_number(key))
    if step is not None and step.number is not None:
        index, dtype = step.number
        segment.add_leaf(ndarray(numpy.array(_number_of(key[1 + index]), dtype)), 0)
    return step


def _without_number(key: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The key for any number of its type in the place of its one number; None where it does not have exactly one."""
    indices = [n for n, part in enumerate(key) if type(part) is tuple and part and part[0] in WIDENED]
    if len(indices) != 1:
        return None
    kind, value = key[indices[0]]
    if kind is int and abs(value) > _MAX_EXACT_INTEGER:
        return None
    return (*key[: indices[0]], ("any", kind), *key[indices[0] + 1 :])


def _number_of(part: tuple[type, Any]) -> Any:
    """The number of a key; zeros and nan are spelled there."""
    kind, value = part
    return kind(value)


# -- new steps -------------------------------------------------------------------------------------------------


def described(
    segment: Segment,
    step: Step,
    key: tuple[Any, ...],
    operator: Operator,
    operands: tuple[Any, ...],
    attrs: dict[str, Any],
    result: ndarray,
) -> tuple[Any, ...]:
    """Fill in ``step``; its key, which has no number any more where too many steps differ in nothing else."""
    parts = key[1 : 1 + len(operands)]
    fresh = [n for n, part in enumerate(parts) if type(part) is tuple and part[0] not in NUMBERS]
    first = len(segment.leaves) - len(fresh) + 1
    indices: list[Any] = [
        part if type(part) is int else (type(operand), operand)
        for part, operand in zip(parts, operands, strict=True)
    ]
    for count, index in enumerate(fresh):
        indices[index] = -(first + count)
    leaves = [operands[n] if parts[n][-1] == "held" else type_of(array_of(operands[n])) for n in fresh]
    if _has_equals(step, key):
        key = _with_number_as_leaf(segment, step, key, operator, operands, indices, leaves)
    step.operator, step.attrs, step.operands, step.leaves = operator, attrs, tuple(indices), tuple(leaves)
    step.shape, step.dtype = result.shape, result.dtype
    assert step.parent is not None
    step.work = step.parent.work + operator.lowering.numpy_work([array_of(o) for o in operands], result._data)
    return key


def _has_equals(step: Step, key: tuple[Any, ...]) -> bool:
    """Whether too many steps differ from the one with this key in a number only, counting it."""
    wide, parent = _without_number(key), step.parent
    if wide is None or parent is None:
        return False
    parent.alike[wide] = parent.alike.get(wide, 0) + 1
    return parent.alike[wide] > _MAX_EQUAL_STEPS and wide not in parent.children


def _with_number_as_leaf(
    segment: Segment,
    step: Step,
    key: tuple[Any, ...],
    operator: Operator,
    operands: tuple[Any, ...],
    indices: list[Any],
    leaves: list[ndarray | TensorType],
) -> tuple[Any, ...]:
    """The key without its number, which ``indices`` and ``leaves`` now have as a leaf, where its dtype has every number."""
    parts = key[1 : 1 + len(operands)]
    index = next(n for n, part in enumerate(parts) if type(part) is tuple and part[0] in WIDENED)
    dtypes = [o.dtype if isinstance(o, ndarray) else o for o in operands]
    dtype = literal_dtype(operator, dtypes, index)
    wide = _without_number(key)
    if dtype.kind != "f" or wide is None:  # an integer may be too large for another dtype
        return key
    step.number = index, dtype
    segment.add_leaf(ndarray(numpy.array(operands[index], dtype)), 0)
    indices[index] = -len(segment.leaves)
    leaves.append(type_of(segment.leaves[-1]._data))
    return wide
