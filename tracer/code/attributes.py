"""Which attributes lines of code load, and of which objects, as the byte code tells."""

from __future__ import annotations

import dis
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from blockfuse.tracer.code.bytecode import instructions_of, once_per_code

Way = tuple[str, ...]  # to an object: a variable, then attributes; empty where the byte code does not tell


@dataclass(frozen=True)
class Load:
    """An attribute that a line may load. way: to the object whose attribute it is."""

    way: Way
    name: str


Loads = dict[int, tuple[Load, ...]]  # line -> what it loads


@once_per_code
def loads_of(code: types.CodeType) -> Loads:
    """Of the instructions of ``code`` itself; text may be the name of an attribute, too."""
    lines: dict[int, list[dis.Instruction]] = {}
    for instruction in instructions_of(code):
        lines.setdefault(line_of(instruction, code), []).append(instruction)
    found = {line: tuple(_loads(instructions)) for line, instructions in lines.items()}
    return {line: loads for line, loads in found.items() if loads}


@once_per_code
def assigned_names(code: types.CodeType) -> frozenset[str]:
    """The attributes that ``code`` itself assigns, to objects that it has not just made."""
    if code.co_name == "__init__":
        return frozenset()
    return frozenset(i.argval for i in instructions_of(code) if i.opname == "STORE_ATTR")


def line_of(instruction: dis.Instruction, code: types.CodeType) -> int:
    return (instruction.positions and instruction.positions.lineno) or code.co_firstlineno


def way_before(instructions: list[dis.Instruction], index: int) -> Way:
    """The way to what stands on the stack before the instruction at ``index`` of a line; empty where the line does not show
    it, or assigns to the variable.
    """
    names: list[str] = []
    while index:
        index -= 1
        one = instructions[index]
        if one.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            names.append(one.argval)
            continue
        if one.opname == "COPY" and one.arg == 1:
            continue
        if not one.opname.startswith("LOAD_FAST"):
            return ()
        name = one.argval[-1] if isinstance(one.argval, tuple) else one.argval
        stored = [i.argval for i in instructions if i.opname.startswith("STORE_FAST")]
        return () if any(name == s or name in s for s in stored) else (str(name), *names[::-1])
    return ()


def _loads(instructions: list[dis.Instruction]) -> Iterator[Load]:
    for index, one in enumerate(instructions):
        if one.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            yield Load(way_before(instructions, index), one.argval)
        elif one.opname == "LOAD_SUPER_ATTR":
            yield Load((), one.argval[-1] if isinstance(one.argval, tuple) else one.argval)
        elif one.opname == "LOAD_CONST":
            yield from (Load((), name) for name in _texts(one.argval))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from value.split(".")
    elif isinstance(value, tuple | frozenset):
        for item in value:
            yield from _texts(item)
