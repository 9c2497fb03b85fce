"""A random program that shows a fault, made as short as can be: fewer lines, arguments and elements, plainer dtypes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from differing import Fault, quick
from isolated import native_apart
from random_graphs import Line, Program, Type, values_of

_PLAIN = "float32"


def shrunk(program: Program, fault: Fault, tries: int = 400) -> tuple[Program, Fault]:
    """The fault of the shortest program that was found, of the same kind. tries: programs that may be run."""
    while True:
        for smaller in _smaller(program):
            tries -= 1
            found = _fault_of(smaller, fault)
            if found is not None:
                program, fault = smaller, found
                break
            if tries <= 0:
                return program, fault
        else:
            return program, fault


def _fault_of(program: Program, fault: Fault) -> Fault | None:
    try:
        (quick if fault.mode == "quick" else native_apart)(program.case)
    except Fault as found:
        return found if found.kind == fault.kind else None
    except Exception:  # the rest is no program, or proves nothing
        return None
    return None


def _smaller(program: Program) -> Iterator[Program]:
    """Programs with a little less, those with much less first."""
    if len(program.results) > 1:
        yield from (_tidied(program, results=(name,)) for name in program.results)
    for place, line in reversed(list(enumerate(program.lines))):
        rest = (*program.lines[:place], *program.lines[place + 1 :])
        if line.writes:
            yield _tidied(program, lines=rest)
        else:
            yield from (_without(program, place, name) for name in _before(program, place))
            yield from _given(program, place)
    yield from (_tidied(program, arguments=types) for types in _plainer(program.arguments))
    for place, line in enumerate(program.lines):
        for old in dict.fromkeys(line.operands):
            names = [n for n in program.arguments if n != old and old not in program.arguments]
            yield from (_tidied(program, lines=_with(program, place, _renamed(line, old, n))) for n in names)


def _without(program: Program, place: int, name: str) -> Program:
    """The program without a line; what it made is ``name`` instead."""
    gone = program.lines[place].name
    later = tuple(_renamed(line, gone, name) for line in program.lines[place + 1 :])
    results = tuple(dict.fromkeys(name if r == gone else r for r in program.results))
    return _tidied(program, lines=(*program.lines[:place], *later), results=results)


def _given(program: Program, place: int) -> Iterator[Program]:
    """The program with what a line makes as an argument more."""
    name = program.lines[place].name
    value = values_of(program, place + 1).get(name)
    if value is not None:
        lines = (*program.lines[:place], *program.lines[place + 1 :])
        types = {**program.arguments, name: Type(value.shape, value.dtype.name)}
        yield _tidied(program, lines=lines, arguments=types)


def _with(program: Program, place: int, line: Line) -> tuple[Line, ...]:
    return (*program.lines[:place], line, *program.lines[place + 1 :])


def _before(program: Program, place: int) -> list[str]:
    return [*dict.fromkeys(program.lines[place].operands), *program.arguments]


def _renamed(line: Line, old: str, new: str) -> Line:
    text = re.sub(rf"\b{old}\b", new, line.text)
    name = new if line.writes and line.name == old else line.name
    return replace(line, name=name, text=text, operands=tuple(new if o == old else o for o in line.operands))


def _plainer(types: dict[str, Type]) -> Iterator[dict[str, Type]]:
    """Types with smaller sizes everywhere, without leading axes, or with a plainer dtype."""
    for size in sorted({n for t in types.values() for n in t.shape}, reverse=True):
        for smaller in (2, 3, size // 2):
            if 1 < smaller < size:
                yield {
                    name: replace(t, shape=tuple(smaller if n == size else n for n in t.shape))
                    for name, t in types.items()
                }
    for name, type in types.items():
        if len(type.shape) > 1:
            yield {**types, name: replace(type, shape=type.shape[1:])}
        if type.dtype != _PLAIN:
            yield {**types, name: replace(type, dtype=_PLAIN)}


def _tidied(program: Program, **changes: Any) -> Program:
    return replace(program, **changes).tidied()
