"""Lines that change something outside of their function, or depend on the locale, as the byte code tells."""

from __future__ import annotations

import dis
import re
import types
from dataclasses import dataclass

from blockfuse.tracer.code.attributes import Way, line_of, way_before
from blockfuse.tracer.code.bytecode import instructions_of, once_per_code

_STORES = {
    "STORE_GLOBAL": "assigns the global",
    "DELETE_GLOBAL": "deletes the global",
    "STORE_ATTR": "assigns the attribute",
    "DELETE_ATTR": "deletes the attribute",
    "IMPORT_NAME": "imports",
}
# What Python tells of functions that run: state that nobody compares.
_INSIDES = frozenset(
    {
        *("__globals__", "__builtins__", "f_globals", "f_builtins", "f_locals", "f_back", "tb_frame"),
        *("gi_frame", "cr_frame", "ag_frame"),
    }
)
# Specifications of formats that ask for the decimal point and the groups of the locale, and for its names of days.
_NUMBER = r"(?:.?[<>=^])?[-+ ]?z?#?0?\d*[,_]?(?:\.\d+)?n"
_DATE = r"[^{}]*%[A-Za-z][^{}]*"
_ALONE, _WRITTEN = re.compile(_NUMBER), re.compile(f"{_NUMBER}|{_DATE}")
_INSIDE = re.compile(rf"{{[^}}]*:(?:{_NUMBER}|{_DATE})}}")
_FORMATS = ("FORMAT_VALUE", "FORMAT_WITH_SPEC")


@dataclass(frozen=True)
class Effect:
    """What a line may do. way, name: of the attribute that it assigns, if they are known; what may be done without harm to
    an object which the call itself has made, or which tells of it.
    """

    what: str
    way: Way = ()
    name: str = ""


Effects = dict[int, tuple[Effect, ...]]  # line -> what it may do beside computing


@once_per_code
def effects_of(code: types.CodeType) -> Effects:
    """Of the instructions of ``code`` itself."""
    lines: dict[int, list[dis.Instruction]] = {}
    formatting = "__format__" in code.co_names
    for instruction in instructions_of(code):
        lines.setdefault(line_of(instruction, code), []).append(instruction)
        formatting |= instruction.opname == "LOAD_GLOBAL" and instruction.argval == "format"
    found = {line: _effects(instructions, code, formatting) for line, instructions in lines.items()}
    return {line: effects for line, effects in found.items() if effects}


def _effects(
    instructions: list[dis.Instruction], code: types.CodeType, formatting: bool
) -> tuple[Effect, ...]:
    effects = []
    for index, one in enumerate(instructions):
        following = instructions[index + 1].opname if index + 1 < len(instructions) else ""
        if one.opname in _STORES and not (one.opname == "STORE_ATTR" and code.co_name == "__init__"):
            way = way_before(instructions, _begin(instructions, index)) if one.opname == "STORE_ATTR" else ()
            effects.append(Effect(f"{_STORES[one.opname]} {one.argval}", way, one.argval))
        elif one.opname in ("STORE_DEREF", "DELETE_DEREF") and one.argval in code.co_freevars:
            effects.append(Effect(f"assigns {one.argval} of the enclosing function"))
        elif one.opname.startswith("LOAD_") and isinstance(one.argval, str) and one.argval in _INSIDES:
            effects.append(Effect(f"looks at {one.argval}"))
        elif one.opname == "LOAD_CONST" and _is_by_locale(one.argval, formatting, following in _FORMATS):
            effects.append(Effect("formats by the locale"))
    return tuple(effects)


def _is_by_locale(text: object, formatting: bool, written: bool) -> bool:
    """formatting: ``format`` may take the text. written: an f-string does."""
    if not isinstance(text, str):
        return False
    alone = (formatting and _ALONE.fullmatch(text)) or (written and _WRITTEN.fullmatch(text))
    return bool(alone or _INSIDE.search(text))


def _begin(instructions: list[dis.Instruction], index: int) -> int:
    """The instruction behind those that load the object whose attribute the store at ``index`` assigns."""
    copies = [n for n, i in enumerate(instructions) if i.opname == "COPY"]
    is_in_place = instructions[index - 1].opname == "SWAP" and len(copies) == 1  # ``x.y += 1``
    return copies[0] if is_in_place else index
