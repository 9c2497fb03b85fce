"""The form of a call as parts that native code can check; see NOTE [forms of calls]."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from blockfuse.array.pytree import Branch, Leaf, Number, Static, Structure
from blockfuse.ir.argument_parts import OUT, Part, PartKind

MAX_PARTS = 1000  # that native code has room for


def has_only_positional_arrays(form: Structure) -> bool:
    """Whether an entry, which takes arrays only, can take calls of ``form`` as they come."""
    assert isinstance(form, Branch)
    positional, named = form.parts
    return not named.parts and all(isinstance(p, Leaf) for p in positional.parts)


def parts_of(form: Structure) -> list[Part] | None:
    """The parts of ``(args, kwargs)``; those of keywords only where there are some. None where native code cannot tell."""
    assert isinstance(form, Branch)
    positional, named = form.parts
    try:
        parts = [*_parts(positional), *(_parts(named) if named.parts else ())]
    except _UnknownPartError:
        return None
    return parts if len(parts) <= MAX_PARTS else None


def parts_with_out(form: Structure, result: Structure, place: int) -> list[Part] | None:
    """The same of calls with one keyword more, ``out`` at this place: arrays as in the structure of the result."""
    assert isinstance(form, Branch)
    positional, named = form.parts
    names = [*named.keys[:place], OUT, *named.keys[place:]]
    values = [*named.parts[:place], result, *named.parts[place:]]
    try:
        parts = [*_parts(positional), Part(PartKind.DICT, dict, tuple(names), len(names))]
        for name, value in zip(names, values, strict=True):
            parts += _parts(value, PartKind.OUT if name is OUT else PartKind.ARRAY)
    except _UnknownPartError:
        return None
    return parts if len(parts) <= MAX_PARTS else None


class _UnknownPartError(Exception):
    """A part for which there is no check: a list that stands in two places, a key that is no text, a result that is no
    array.
    """


def _parts(part: Structure, array: PartKind = PartKind.ARRAY) -> Iterator[Part]:
    """array: what an array is."""
    if isinstance(part, Branch):
        yield from _container(part, array)
    elif isinstance(part, Leaf):
        yield Part(array)
    elif array is PartKind.OUT:
        raise _UnknownPartError  # a caller brings no memory for it
    elif isinstance(part, Number):
        yield Part(PartKind.NUMBER, part.type)
    elif isinstance(part, Static):
        yield _value(part)
    else:
        raise _UnknownPartError


def _container(part: Branch, array: PartKind) -> Iterator[Part]:
    if part.type is dict and not all(type(key) is str for key in part.keys):
        raise _UnknownPartError
    kind = {list: PartKind.LIST, dict: PartKind.DICT}.get(part.type, PartKind.TUPLE)
    yield Part(kind, part.type, part.keys, len(part.parts))
    for inner in part.parts:
        yield from _parts(inner, array)


_SINGLETONS: dict[str, Any] = {"None": None, "True": True, "False": False, "Ellipsis": ...}


def _value(part: Static) -> Part:
    if part.text in _SINGLETONS:
        return Part(PartKind.SAME, None, (_SINGLETONS[part.text],))
    if part.type is float:
        return Part(PartKind.FLOAT, float, (float(part.text),))
    if part.type in (int, str, bytes):
        return Part(PartKind.EQUAL, part.type, (ast.literal_eval(part.text),))
    return Part(PartKind.REPR, part.type, (part.text,))
