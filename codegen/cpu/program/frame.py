"""The frame of an entry, and the LLVM instructions that everything in an entry is made of.

NOTE [the frame]
The entry's ``self`` is a NumPy array of words: the header (``HEADER``), the dtype objects of arguments and
results, then the table.
"""

from __future__ import annotations

from llvmlite import ir

from blockfuse.codegen.cpu.native.words import I8, I32, I64, POINTER, call_at, word
from blockfuse.codegen.cpu.program.plan import Plan
from blockfuse.codegen.scheduling.buffers import BufferKind

HEADER = (
    *(
        "valid",
        "unusual",
        "wrapper",
        "slot",
        "array",
        "new_array",
        "new_object",
        "incref",
        "decref",
        "not_implemented",
    ),
    *("save_thread", "restore_thread", "aligned_alloc", "free", "workspace", "new_tuple", "binding", "calls"),
    *("pending", "none", "call", "draw", "mode", "sizes", "clear_error"),
    *("keeper", "keeper_state", "take", "give", "track"),
)


def place_of(name: str) -> int:
    """Where a word of the header stands in the frame."""
    return HEADER.index(name)


def dtype_places(plan: Plan) -> tuple[int, int, int]:
    """Where in the frame the dtype objects of arguments, those of results, and the table start."""
    arguments, results = len(plan.buffers(BufferKind.ARGUMENT)), len(plan.buffers(BufferKind.RESULT))
    return len(HEADER), len(HEADER) + arguments, len(HEADER) + arguments + results


class Frame:
    """A function in the making that reads the frame: ``refused`` lets Python take over, ``failed`` raises."""

    def __init__(self, module: ir.Module, plan: Plan) -> None:
        self.plan = plan
        signature = ir.FunctionType(POINTER, [POINTER, POINTER, I64])
        self.function = ir.Function(module, signature, "entry")
        self.builder = ir.IRBuilder(self.function.append_basic_block("start"))
        self.refused = self.function.append_basic_block("refused")
        self.failed = self.function.append_basic_block("failed")
        self.frame: ir.Value = None
        self.items: ir.Value | None = None  # of the batch, where the program is for any number
        self.owned: list[ir.Value] = []  # new references, which go where the call is given up

    def _pointer(self, value: ir.Value) -> ir.Value:
        return self.builder.inttoptr(value, POINTER)

    def _field(self, base: ir.Value, offset: int, type: ir.Type = I64) -> ir.Value:
        place = self.builder.gep(base, [ir.Constant(I64, offset)], source_etype=I8)
        return self.builder.load(place, typ=type, align=4 if type == I32 else 8)

    def _word(self, name: str) -> ir.Value:
        return word(self.builder, self.frame, place_of(name))

    def _put(self, table: ir.Value, place: int, value: ir.Value) -> None:
        self.builder.store(value, self.builder.gep(table, [ir.Constant(I64, place)], source_etype=I64))

    def _require(self, condition: ir.Value) -> None:
        """Go on if ``condition`` holds, else let Python take over."""
        onwards = self.function.append_basic_block()
        self.builder.cbranch(condition, onwards, self.refused)
        self.builder.position_at_end(onwards)

    def _require_made(self, made: ir.Value) -> None:
        """Go on if an allocation succeeded, else give back what was made, and raise what it raised."""
        none = self.builder.icmp_signed("==", self.builder.ptrtoint(made, I64), ir.Constant(I64, 0))
        with self.builder.if_then(none):
            self._give_up(self.failed)

    def _require_memory(self, address: ir.Value) -> None:
        """Go on if there was memory; else give back what was made, and let Python take over."""
        none = self.builder.icmp_signed("==", address, ir.Constant(I64, 0))
        with self.builder.if_then(none):
            self._call("clear_error", ir.VoidType())
            self._give_up(self.refused)

    def _give_up(self, exit: ir.Block) -> None:
        for value in self.owned:
            self._call("decref", ir.VoidType(), value)
        self.builder.branch(exit)

    def _call(self, name: str, result: ir.Type, *operands: ir.Value) -> ir.Value:
        return call_at(self.builder, self._word(name), result, *operands)

    def _either(self, results: list[tuple[ir.Value, ir.Block]]) -> ir.Value:
        value = self.builder.phi(results[0][0].type)
        for result, block in results:
            value.add_incoming(result, block)
        return value
