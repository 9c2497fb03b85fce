"""What the byte code of a function says without running it: jumps, the evaluation stack, variables still needed."""

from __future__ import annotations

import dis
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Found = TypeVar("Found")
_MAX_REMEMBERED_CODES = 4096  # code objects

# for each value the index of what made it, if that is a GET_ITER, or the step of a ``with`` that makes the way out of it
Stack = tuple[int | None, ...]

_LEAVING = frozenset(
    {
        *("RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE", "JUMP_FORWARD"),
        *("JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"),
    }
)
_ONLY_PUSH = frozenset(
    {
        *("LOAD_CONST", "LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_GLOBAL", "LOAD_DEREF", "LOAD_CLOSURE"),
        *("PUSH_NULL", "FOR_ITER", "LOAD_FAST_AND_CLEAR", "PUSH_EXC_INFO", "LOAD_COMMON_CONSTANT"),
    }
)
_ONLY_POP = ("POP_", "STORE_FAST", "STORE_DEREF", "STORE_GLOBAL", "END_FOR", "RETURN_VALUE")
_READS = ("LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_AND_CLEAR", "DELETE_FAST")
_KNOWN = (*_READS, "STORE_FAST")
# What CPython 3.14 names anew -> the name of before
_EARLIER = {
    "LOAD_FAST_BORROW": "LOAD_FAST",
    "LOAD_FAST_BORROW_LOAD_FAST_BORROW": "LOAD_FAST_LOAD_FAST",
    "LOAD_SMALL_INT": "LOAD_CONST",
}


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Of one code object. An index is the number of an instruction."""

    instructions: tuple[dis.Instruction, ...]
    indices: dict[int, int]  # offset -> index; prefixes and caches belong to their instruction
    targets: frozenset[int]  # indices that are jumped to
    stacks: tuple[Stack | None, ...]  # the evaluation stack before each; None where nothing leads
    # variables that may be read from each on; None where the byte code is not understood
    live: tuple[frozenset[str], ...] | None

    def index(self, frame: types.FrameType) -> int:
        """Where ``frame``, which runs this code, stands."""
        return self.indices[max(frame.f_lasti, 0)]

    def together(self, index: int) -> list[int]:
        """The indices of what CPython does in one instruction."""
        offset = self.instructions[index].offset
        return [
            n for n in (index, index + 1) if n < len(self.stacks) and self.instructions[n].offset == offset
        ]

    def depth(self, index: int) -> int:
        """How many values are on the evaluation stack before an instruction, -1 where it cannot be reached."""
        stack = self.stacks[index] if 0 <= index < len(self.stacks) else None
        return -1 if stack is None else len(stack)

    def start_of(self, index: int, values: int = 1) -> int | None:
        """Where the computation of the topmost ``values`` before ``index`` starts, if it is one straight line."""
        level = self.depth(index) - values
        start = next((n for n in range(index - 1, -1, -1) if self.depth(n) == level), None)
        straight = start is not None and not any(n in self.targets for n in range(start + 1, index + 1))
        return start if straight else None


def once_per_code(find: Callable[[types.CodeType], Found]) -> Callable[[types.CodeType], Found]:
    """Remember what is found for a code object by its identity: its hash goes through all that it holds."""
    known: dict[int, tuple[types.CodeType, Found]] = {}

    def remembered(code: types.CodeType) -> Found:
        found = known.get(id(code))
        if found is None:
            if len(known) >= _MAX_REMEMBERED_CODES:
                known.clear()
            found = known[id(code)] = (code, find(code))
        return found[1]

    return remembered


def instructions_of(code: types.CodeType) -> Iterator[dis.Instruction]:
    """The instructions of ``code`` in the words of CPython 3.13; the number of an operation stays that of this version."""
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if name == "BINARY_OP" and instruction.argrepr == "[]":
            yield instruction._replace(opname="BINARY_SUBSCR")
        else:
            yield instruction._replace(opname=_EARLIER[name]) if name in _EARLIER else instruction


@once_per_code
def anatomy(code: types.CodeType) -> Anatomy:
    """The anatomy of ``code``, found once."""
    indices: dict[int, int] = {}
    instructions: list[dis.Instruction] = []
    for instruction in instructions_of(code):
        indices[instruction.offset] = len(instructions)
        if instruction.opname not in ("EXTENDED_ARG", "NOT_TAKEN"):
            instructions += _apart(instruction)
    for offset in range(0, len(code.co_code), 2):
        indices.setdefault(offset, indices.get(offset - 2, 0))  # a cache
    handlers = _handlers(code, indices)
    stacks = _stacks(instructions, indices, handlers)
    targets = {indices[i.argval] for i in instructions if jumps(i)} | {
        target for _, _, target, _, _ in handlers
    }
    live = _live(code, instructions, indices, handlers)
    return Anatomy(tuple(instructions), indices, frozenset(targets), tuple(stacks), live)


def _apart(instruction: dis.Instruction) -> list[dis.Instruction]:
    """What CPython 3.13 does in one instruction, as two."""
    if not isinstance(instruction.argval, tuple) or instruction.opname.count("_FAST") != 2:
        return [instruction]
    first, second = instruction.opname.split("_FAST_")
    names = (f"{first}_FAST", second if second.endswith("_FAST") else f"{second}_FAST")
    return [
        instruction._replace(opname=name, opcode=dis.opmap[name], argval=variable, argrepr=variable)
        for name, variable in zip(names, instruction.argval, strict=True)
    ]


def jumps(instruction: dis.Instruction) -> bool:
    """Whether an instruction may lead elsewhere than to the next."""
    return instruction.opcode in dis.hasjrel or instruction.opcode in dis.hasjabs


# first index, index after the last, index of the handler, how many values stay on the stack, how many are put there
_Handler = tuple[int, int, int, int, int]


def _handlers(code: types.CodeType, indices: dict[int, int]) -> list[_Handler]:
    def after(offset: int) -> int:
        return next((p for o, p in indices.items() if o >= offset), len(indices))

    return [
        (after(e.start), after(e.end), indices[e.target], e.depth, 1 + int(e.lasti))
        for e in dis._parse_exception_table(code)  # type: ignore[attr-defined]
    ]


# -- the evaluation stack --------------------------------------------------------------------------------------


def _stacks(
    instructions: list[dis.Instruction], indices: dict[int, int], handlers: list[_Handler]
) -> list[Stack | None]:
    stacks: list[Stack | None] = [None] * len(instructions)
    waiting: list[tuple[int, Stack]] = [(0, ())]
    while waiting:
        index, stack = waiting.pop()
        known = stacks[index]
        if known is not None:
            stack = tuple(a if a == b else None for a, b in zip(stack, known, strict=False))
            if len(stack) < len(known) or stack == known:
                continue
        stacks[index] = stack
        for first, end, target, kept, put in handlers:
            if first <= index < end and len(stack) >= kept:
                waiting.append((target, stack[:kept] + (None,) * put))
        instruction = instructions[index]
        if jumps(instruction):
            waiting.append((indices[instruction.argval], _after(instruction, index, stack, jump=True)))
        if instruction.opname not in _LEAVING and index + 1 < len(instructions):
            waiting.append((index + 1, _after(instruction, index, stack, jump=False)))
    return stacks


def _after(instruction: dis.Instruction, index: int, stack: Stack, jump: bool) -> Stack:
    """The stack behind an instruction. What is not known to stay where it was counts as something else."""
    name = instruction.opname
    argument = instruction.arg if instruction.opcode >= dis.HAVE_ARGUMENT else None
    effect = dis.stack_effect(instruction.opcode, argument, jump=jump)
    depth = len(stack) + effect
    if name == "GET_ITER":
        return (*stack[:-1], index)
    if name == "BEFORE_WITH":
        return (*stack[:-1], index, None)
    if name == "LOAD_SPECIAL" and instruction.argrepr == "__exit__":
        return (*stack[:-1], index, None)  # the object may be beside it
    if name == "SWAP" and 0 < (argument or 1) <= depth:
        swapped = list(stack)
        swapped[-1], swapped[-(argument or 1)] = swapped[-(argument or 1)], swapped[-1]
        return tuple(swapped)
    if name in _ONLY_PUSH or (effect == 0 and not _replaces(name)):
        return stack + (None,) * effect if effect >= 0 else stack[:depth]
    if name.startswith(_ONLY_POP) and effect < 0:
        return stack[:depth]
    kept = max(min(len(stack) - 1, depth - 1), 0)
    return stack[:kept] + (None,) * (depth - kept)


def _replaces(name: str) -> bool:
    """Whether an instruction that leaves the depth as it is may put another value on top."""
    return not name.startswith(
        ("NOP", "RESUME", "JUMP", "PRECALL", "KW_NAMES", "CACHE", "MAKE_CELL", "COPY_FREE")
    )


# -- variables -------------------------------------------------------------------------------------------------


def _live(
    code: types.CodeType,
    instructions: list[dis.Instruction],
    indices: dict[int, int],
    handlers: list[_Handler],
) -> tuple[frozenset[str], ...] | None:
    if any("FAST" in i.opname and i.opname not in _KNOWN for i in instructions):
        return None
    always = frozenset((*code.co_cellvars, *code.co_freevars))
    if "__class__" in always or "super" in code.co_names:
        always |= set(code.co_varnames[:1])  # super() reads the first argument of its frame
    live = [always] * len(instructions)
    following = [list(_following(n, i, indices, len(instructions))) for n, i in enumerate(instructions)]
    caught = [[t for first, end, t, _, _ in handlers if first <= n < end] for n in range(len(instructions))]
    changed = True
    while changed:
        changed = False
        for n in range(len(instructions) - 1, -1, -1):
            after = frozenset().union(*(live[m] for m in following[n]))
            named = frozenset([instructions[n].argval] if instructions[n].opname in _KNOWN else [])
            before = after | named if instructions[n].opname in _READS else after - named
            before = before.union(always, *(live[m] for m in caught[n]))
            if before != live[n]:
                live[n], changed = before, True
    return tuple(live)


def _following(
    index: int, instruction: dis.Instruction, indices: dict[int, int], count: int
) -> Iterator[int]:
    if jumps(instruction):
        yield indices[instruction.argval]
    if instruction.opname not in _LEAVING and index + 1 < count:
        yield index + 1
