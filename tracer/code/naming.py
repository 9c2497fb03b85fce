"""What a function names, line by line: globals, attributes, variables of enclosing functions, and text for ``getattr``."""

from __future__ import annotations

import dis
import re
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass

from blockfuse.tracer.code.bytecode import Anatomy, anatomy, once_per_code

_ASKING = ("isinstance", "issubclass")  # they look at types and do not call them
_BY_TEXT = {"getattr": 2, "hasattr": 2, "attrgetter": 1, "methodcaller": 1}  # -> which argument is the name
_ANY_NAME = frozenset({"__dict__", "__getattr__", "__getattribute__"})
COMPUTED = "*"  # in the place of a name that is made when the code runs
_TYPES_ONLY = (
    "LOAD_GLOBAL",
    "LOAD_ATTR",
    "LOAD_DEREF",
    "LOAD_FAST",
    "LOAD_CONST",
    "BUILD_TUPLE",
    "BINARY_OP",
)
# The first instruction of a call: arguments go off there in 3.11.
_CALL = "PRECALL" if "PRECALL" in dis.opmap else "CALL"


# Where a name is looked up: among globals, in a variable of an enclosing function, in an object.
GLOBAL, CELL, ATTRIBUTE = "global", "cell", "attribute"
_SCOPES = {
    **dict.fromkeys(("LOAD_GLOBAL", "LOAD_NAME"), GLOBAL),
    **dict.fromkeys(("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_CLOSURE", "LOAD_FROM_DICT_OR_DEREF"), CELL),
}


@dataclass(frozen=True)
class Named:
    """A name on a line. called: what it stands for is called on the spot. asked: it is only compared with."""

    line: int
    scope: str
    name: str
    called: bool
    asked: bool


@once_per_code
def named_in(code: types.CodeType) -> tuple[Named, ...]:
    """Every name through which the instructions of ``code`` itself may come by something from outside."""
    form = anatomy(code)
    asked = frozenset(index for first, end in _asking(form) for index in range(first, end))
    found: dict[Named, None] = {}
    for index, instruction in enumerate(form.instructions):
        line = (instruction.positions and instruction.positions.lineno) or code.co_firstlineno
        if instruction.opname == "MATCH_CLASS":  # its names stand in a tuple, or in the class
            found[Named(line, ATTRIBUTE, COMPUTED, False, False)] = None
        for name in _names(instruction):
            compared = index in asked or _is_compared(form, index)
            scope = _SCOPES.get(instruction.opname, ATTRIBUTE)
            found[Named(line, scope, name, _is_called(form, index), compared)] = None
            if name in _ANY_NAME or (name in _BY_TEXT and not _has_text(form, index, _BY_TEXT[name])):
                found[Named(line, ATTRIBUTE, COMPUTED, False, False)] = None
    return tuple(found)


def computes_names(code: types.CodeType) -> bool:
    """Whether the code asks for attributes by names that only show when it runs."""
    return any(named.name == COMPUTED for named in named_in(code))


def _has_text(form: Anatomy, callee: int, argument: int) -> bool:
    """Whether what is loaded at ``callee`` is called on the spot, and this argument (the first is 1) stands in the code."""
    if form.instructions[callee].opname == "LOAD_CONST":
        return True  # text, no function
    base = form.depth(callee + 1) - 1 + argument
    if not _is_called(form, callee):
        return False
    for index in range(callee + 1, len(form.instructions)):
        if form.depth(index) == base:
            instruction = form.instructions[index]
            return instruction.opname == "LOAD_CONST" and isinstance(instruction.argval, str)
    return False


def _names(instruction: dis.Instruction) -> Iterator[str]:
    if not instruction.opname.startswith("LOAD_") or instruction.opname.startswith("LOAD_FAST"):
        return
    if isinstance(instruction.argval, str):
        yield from (
            instruction.argval.split(".") if instruction.opname == "LOAD_CONST" else (instruction.argval,)
        )


def _is_called(form: Anatomy, index: int) -> bool:
    """CPython puts nothing beside a callee, if not the object whose method it is."""
    code = form.instructions
    name = code[index].opname
    if name == "LOAD_METHOD" or (
        name == "LOAD_ATTR" and sys.version_info >= (3, 12) and _is_flagged(code[index])
    ):
        return True
    following = code[index + 1].opname if index + 1 < len(code) else ""
    if sys.version_info >= (3, 13):
        return following == "PUSH_NULL" or (name == "LOAD_GLOBAL" and _is_flagged(code[index]))
    if following == "LOAD_ATTR":
        return False
    while code[index].opname == "LOAD_ATTR" and index:  # the nothing stands before the whole of ``a.b.c``
        index -= 1
    return (code[index].opname == "LOAD_GLOBAL" and _is_flagged(code[index])) or code[
        index - 1
    ].opname == "PUSH_NULL"


def _is_flagged(instruction: dis.Instruction) -> bool:
    return bool(int(instruction.arg or 0) & 1)


def _is_compared(form: Anatomy, index: int) -> bool:
    """Whether ``is`` or ``except`` follows."""
    following = form.instructions[index + 1].opname if index + 1 < len(form.instructions) else ""
    return following in ("IS_OP", "CHECK_EXC_MATCH")


def _asking(form: Anatomy) -> Iterator[tuple[int, int]]:
    """The stretches that make the second argument of an ``isinstance``, where they only name types."""
    for index, instruction in enumerate(form.instructions):
        if instruction.opname == "LOAD_GLOBAL" and instruction.argval in _ASKING and _is_called(form, index):
            end = _call_of(form, index)
            first = None if end is None else form.start_of(end)
            if end is not None and first is not None:
                stretch = range(first, end)
                if all(
                    form.instructions[n].opname in _TYPES_ONLY and not _is_called(form, n) for n in stretch
                ):
                    yield first, end


def _call_of(form: Anatomy, callee: int) -> int | None:
    """Where the function that is loaded at ``callee`` is called with two arguments, if all goes straight on to there."""
    base = form.depth(callee + 1)
    for index in range(callee + 1, len(form.instructions)):
        if form.depth(index) == base + 2 and form.instructions[index].opname == _CALL:
            return index
        if form.depth(index) < base:
            return None
    return None


# -- all names of a function, whatever the line ---------------------------------------------------------------

_WORD = re.compile(r"[^\W\d]\w*")


@once_per_code
def names_in(code: types.CodeType) -> set[str]:
    """Every name that the code may look up, in nested functions too; also as text, for ``getattr``."""
    names: set[str] = set()
    for inner in with_nested(code):
        names.update(inner.co_names)
        for text in inner.co_consts:
            if isinstance(text, str) and ("{" in text or text.replace(".", "_").isidentifier()):
                names.update(_WORD.findall(text))  # for ``getattr``, ``attrgetter`` and ``str.format``
    return names


@once_per_code
def globals_in(code: types.CodeType) -> frozenset[str]:
    """Every name that the code looks up among globals, in nested functions too."""
    return frozenset(
        instruction.argval
        for inner in with_nested(code)
        for instruction in dis.get_instructions(inner)
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    )


def with_nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from with_nested(constant)
