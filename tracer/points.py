"""Where in the program a decision was taken, and with which Python state: how loops are recognised.

NOTE [when a loop closes]
A path comes to a decision that it took before. If from there on Python must behave as it did then, up to the
values in arrays, the path has gone round a loop. That is so if every frame on the stack either has not moved since
(it waits in the same call), or stands at the same instruction, with nothing on its evaluation stack but the
operands of that instruction, with equal immutable values or the same known objects in its variables, and with
arrays of the same types, shared in the same way, in the same variables. What else Python could read is part of
the certified state and has not changed. An iterator on a stack, a list among the variables or a number that
counts keep the loop unrolled.
"""

from __future__ import annotations

import dis
import itertools
import sys
import types
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from blockfuse.array import stamps
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.graph import Node
from blockfuse.tracer.numbers import is_traced, text_of
from blockfuse.tracer.purity import is_interior
from blockfuse.tracer.structure import ATOMS

Slot = tuple[Any, ...]  # the variables (frame number, name) that hold one array


@dataclass(frozen=True)
class Standing:
    """One frame: its identity, where it stands, and its variables that are not arrays."""

    frame: types.FrameType
    code: types.CodeType
    offset: int
    values: tuple[Any, ...]  # comparable, or None where some variable cannot be compared
    comparable: bool
    clear: bool  # nothing on the evaluation stack but the operands of the present instruction

    def same_activation(self, other: Standing) -> bool:
        return self.frame is other.frame and self.offset == other.offset

    def same_state(self, other: Standing) -> bool:
        return (
            self.code is other.code
            and self.offset == other.offset
            and self.clear
            and self.comparable
            and other.comparable
            and self.values == other.values
        )


@dataclass(frozen=True)
class Point:
    """A decision on a path: the frames from the outermost in, and the arrays in their variables."""

    stack: tuple[Standing, ...]
    slots: tuple[tuple[Slot, Node, str], ...]  # variables, value, how its memory is shared

    def closes(self, earlier: Point) -> bool:
        """Whether the path, back at this point, goes on as from ``earlier``; see NOTE [when a loop closes]."""
        if len(self.stack) != len(earlier.stack):
            return False
        moved = next(
            (
                n
                for n, (a, b) in enumerate(zip(self.stack, earlier.stack, strict=True))
                if a.frame is not b.frame
            ),
            len(self.stack),
        )
        # The innermost frame that is still the same one has moved; those outside of it have waited.
        first = max(moved - 1, 0)
        waited = all(a.same_activation(b) for a, b in zip(self.stack[:first], earlier.stack, strict=False))
        inner = zip(self.stack[first:], earlier.stack[first:], strict=True)
        return waited and moved > 0 and all(a.same_state(b) for a, b in inner) and self._same_arrays(earlier)

    def _same_arrays(self, earlier: Point) -> bool:
        mine = [(names, node.type, sharing) for names, node, sharing in self.slots]
        return mine == [(names, node.type, sharing) for names, node, sharing in earlier.slots]


def point(outermost: types.FrameType | None, known: set[int], nodes: Any, given: Any) -> Point:
    """The present point. outermost: the frame that called the recorded call (not part of it).

    known: ids of objects whose state is certified. nodes(array): its value. given(array): whether its memory was
    there before.
    """
    frames = _frames(outermost)
    arrays: dict[int, tuple[list[Any], ndarray]] = {}
    stack = tuple(_standing(n, frame, known, arrays) for n, frame in enumerate(frames))
    owners: dict[int, int] = {}
    slots = []
    for names, array in arrays.values():
        owner = id(stamps.owner_of(array._data))
        group = owners.setdefault(owner, len(owners))
        own = array._data.base is None
        slots.append(
            (tuple(names), nodes(array), f"{group}{'given' if given(array) else ''}{'' if own else 'view'}")
        )
    return Point(stack, tuple(slots))


def _frames(outermost: types.FrameType | None) -> list[types.FrameType]:
    found: list[types.FrameType] = []
    frame: types.FrameType | None = sys._getframe(2)
    while frame is not None and is_interior(frame):
        frame = frame.f_back
    while frame is not None and frame is not outermost:
        found.append(frame)
        frame = frame.f_back
    return found[::-1]


def _standing(
    number: int, frame: types.FrameType, known: set[int], arrays: dict[int, tuple[list[Any], ndarray]]
) -> Standing:
    values: list[Any] = []
    comparable = True
    for name, value in frame.f_locals.items():
        key = _comparable(value, known, (number, name), arrays)
        if key is None:
            comparable = False
        values.append((name, key))
    return Standing(
        frame, frame.f_code, frame.f_lasti, tuple(values), comparable, _is_clear(frame.f_code, frame.f_lasti)
    )


def _comparable(value: Any, known: set[int], name: Slot, arrays: dict[int, tuple[list[Any], ndarray]]) -> Any:
    """What stands for the value of a variable: for an array its place among the slots, the text of an immutable value,
    the identity of a known object; None if there is nothing of that kind.
    """
    if type(value) is ndarray:
        arrays.setdefault(id(value), ([], value))[0].append(name)
        return "array"
    if type(value) in ATOMS:
        return type(value), repr(value)
    if is_traced(value):
        return "number", text_of(value)
    if type(value) is tuple or (type(value) is dict and not value):
        parts = tuple(_comparable(v, known, (*name, n), arrays) for n, v in enumerate(value))
        return None if None in parts else (type(value), parts)
    return ("known", id(value)) if id(value) in known or isinstance(value, type | types.ModuleType) else None


# -- the evaluation stack --------------------------------------------------------------------------------------

# Instructions at which user code may be left for a decision, by how many operands they have on the stack
# (CPython 3.11 to 3.13).
_ONE = ("POP_JUMP", "JUMP_IF", "UNARY_NOT", "TO_BOOL", "LOAD_ATTR", "LOAD_METHOD")
_TWO = ("BINARY_OP", "COMPARE_OP", "BINARY_SUBSCR", "CONTAINS_OP", "IS_OP")


def _operands(instruction: dis.Instruction) -> int | None:
    name = instruction.opname
    if name.startswith(_ONE):
        return 1
    if name in _TWO:
        return 2
    if name == "CALL":  # 3.11 accounts for the arguments at the PRECALL before
        return 2 if "PRECALL" in dis.opmap else int(instruction.arg or 0) + 2
    if name == "CALL_FUNCTION_EX":
        return 3 + (int(instruction.arg or 0) & 1)
    return None


@lru_cache(maxsize=1024)
def _depths(code: types.CodeType) -> dict[int, int]:
    """Offset of an instruction -> how many values are on the evaluation stack before it."""
    instructions = list(dis.get_instructions(code))
    following = {a.offset: b.offset for a, b in itertools.pairwise(instructions)}
    by_offset = {i.offset: i for i in instructions}
    depths: dict[int, int] = {}
    waiting = [(instructions[0].offset, 0)]
    for entry in dis._parse_exception_table(code):  # type: ignore[attr-defined]
        waiting.append((entry.target, entry.depth + 1 + int(entry.lasti)))
    while waiting:
        offset, depth = waiting.pop()
        if offset in depths:
            continue
        depths[offset] = depth
        instruction = by_offset[offset]
        argument = instruction.arg if instruction.opcode >= dis.HAVE_ARGUMENT else None
        if instruction.opcode in (*dis.hasjrel, *dis.hasjabs):
            waiting.append(
                (instruction.argval, depth + dis.stack_effect(instruction.opcode, argument, jump=True))
            )
        if instruction.opname not in _LEAVING and offset in following:
            waiting.append(
                (following[offset], depth + dis.stack_effect(instruction.opcode, argument, jump=False))
            )
    return depths


_LEAVING = (
    "RETURN_VALUE",
    "RETURN_CONST",
    "RAISE_VARARGS",
    "RERAISE",
    "JUMP_FORWARD",
    "JUMP_BACKWARD",
    "JUMP_BACKWARD_NO_INTERRUPT",
)


def _is_clear(code: types.CodeType, offset: int) -> bool:
    """Whether the instruction at ``offset`` has nothing below its operands on the stack."""
    instruction = _instructions(code).get(offset)
    operands = _operands(instruction) if instruction is not None else None
    return operands is not None and _depths(code).get(offset) == operands


@lru_cache(maxsize=1024)
def _instructions(code: types.CodeType) -> dict[int, dis.Instruction]:
    return {i.offset: i for i in dis.get_instructions(code)}
