"""The frame of an entry: which words it has, and what every part of an entry's code does with them.

NOTE [the frame]
The entry's ``self`` is a NumPy array of words: the header (``HEADER``), what tells the dtypes of arguments, the dtype
objects of results, then the table.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from blockfuse.codegen.cpu.process.cpython import ARRAY_DATA
from blockfuse.codegen.cpu.process.frame_words import HEADER
from blockfuse.codegen.cpu.program.plan import Plan
from blockfuse.codegen.scheduling.buffers import BufferKind
from blockfuse.codegen.values.emitter import I32, I64, POINTER, VOID, Emitter, Words, constant


@dataclass(frozen=True)
class FrameLayout:
    """Which word of the frame is the first of each part."""

    arguments: int  # words that tell the dtypes of arguments
    results: int  # the dtype objects of results
    table: int


def frame_layout(plan: Plan) -> FrameLayout:
    arguments, results = len(plan.buffers(BufferKind.ARGUMENT)), len(plan.buffers(BufferKind.RESULT))
    return FrameLayout(len(HEADER), len(HEADER) + arguments, len(HEADER) + arguments + results)


class Frame:
    """The frame in the code of an entry, with the two ways out: ``refused`` lets Python take over, ``failed`` raises."""

    def __init__(self, emit: Emitter, plan: Plan, this: ir.Value) -> None:
        """this: the entry's ``self``."""
        self.emit, self.plan, self.layout = emit, plan, frame_layout(plan)
        self.refused, self.failed = emit.block("refused"), emit.block("failed")
        self.base = emit.pointer(emit.field(this, ARRAY_DATA))
        self.words = Words(emit, self.base, HEADER)
        self.owned: list[ir.Value] = []  # new references, which go where the call is given up
        self._copies = self._no_copies()

    def argument_dtype(self, number: int) -> ir.Value:
        """The word that tells the dtype of an argument."""
        return self.emit.word(self.base, self.layout.arguments + number)

    def result_dtype(self, number: int) -> ir.Value:
        """The dtype object of a result."""
        return self.emit.pointer(self.emit.word(self.base, self.layout.results + number))

    def require(self, condition: ir.Value) -> None:
        """Go on if ``condition`` holds, else let Python take over."""
        self.emit.require(condition, self.refused)

    def require_made(self, made: ir.Value) -> None:
        """Go on if an allocation succeeded, else give back what was made, and raise what it raised."""
        with self.emit.builder.if_then(self.emit.is_null(made)):
            self.give_up(self.failed)

    def require_memory(self, address: ir.Value) -> None:
        """Go on if there was memory; else give back what was made, and let Python take over."""
        with self.emit.builder.if_then(self.emit.is_("==", address, 0)):
            self.words.call("clear_error", VOID)
            self.give_up(self.refused)

    def give_up(self, exit: ir.Block) -> None:
        for value in self.owned:
            self.words.call("decref", VOID, value)
        self.emit.builder.branch(exit)

    # -- copies of arguments -----------------------------------------------------------------------------------

    def _no_copies(self) -> ir.Value:
        """Room for the number of copies that there are, and for each of them."""
        room = self.emit.local(I64, 1 + len(self.plan.buffers(BufferKind.ARGUMENT)))
        self.emit.put(room, 0, 0)
        return room

    def copied(self, array: ir.Value) -> ir.Value:
        """A copy in C order, which goes with the call."""
        emit = self.emit
        made = self.words.call("new_copy", POINTER, array, constant(0, I32))
        self.require_memory(emit.address(made))
        count = emit.builder.add(emit.word(self._copies, 0), constant(1))
        emit.put(self._copies, count, emit.address(made))
        emit.put(self._copies, 0, count)
        return made

    def drop_copies(self) -> None:
        """At every end of a call."""
        emit, count = self.emit, self.emit.word(self._copies, 0)
        with emit.counted(0, count) as number:
            copy = emit.word(self._copies, emit.builder.add(number, constant(1)))
            self.words.call("decref", VOID, emit.pointer(copy))
