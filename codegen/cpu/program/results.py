"""The results of an entry: new arrays, and what Python gets of them."""

from __future__ import annotations

from math import prod

from llvmlite import ir

from blockfuse.codegen.cpu.native.words import I8, I32, I64, POINTER, word
from blockfuse.codegen.cpu.process.allocator import LEAST
from blockfuse.codegen.cpu.process.cpython import (
    ARRAY_DATA,
    ARRAY_FLAGS,
    ARRAY_HANDLER,
    C_CONTIGUOUS_AND_ALIGNED,
    NUMPY_DOMAIN,
    OWNS_DATA,
    TUPLE_ITEMS,
    WRITEABLE,
)
from blockfuse.codegen.cpu.program.frame import Frame, dtype_places
from blockfuse.codegen.scheduling.buffers import Buffer, BufferKind

_NOTHING = ir.Constant(POINTER, None)


def may_be_large(buffer: Buffer) -> bool:
    """Whether a result can be so large that it has memory of NOTE [kept memory]."""
    return buffer.rows_per_item > 0 or buffer.type.nbytes >= LEAST


class Results(Frame):
    """Makes and wraps the arrays that an entry returns."""

    def _results(self, table: ir.Value) -> list[ir.Value]:
        """New NumPy arrays; their addresses go into the table."""
        builder = self.builder
        for place, (number, buffer) in enumerate(self.plan.buffers(BufferKind.RESULT)):
            dtype = self._pointer(word(builder, self.frame, dtype_places(self.plan)[1] + place))
            sizes = builder.alloca(I64, max(buffer.type.ndim, 1))
            for axis, size in enumerate(buffer.type.shape):
                self._put(sizes, axis, ir.Constant(I64, size))
            if buffer.rows_per_item:
                self._put(sizes, 0, builder.mul(self.items, ir.Constant(I64, buffer.rows_per_item)))
            made = self._made(dtype, buffer, sizes)
            self._require_memory(builder.ptrtoint(made, I64))
            self._put(table, number, self._field(made, ARRAY_DATA))
            self.owned.append(made)
        return list(self.owned)

    def _new_array(
        self,
        dtype: ir.Value,
        buffer: Buffer,
        sizes: ir.Value,
        data: ir.Value = _NOTHING,
        flags: int = 0,
    ) -> ir.Value:
        self._call("incref", ir.VoidType(), dtype)  # PyArray_NewFromDescr takes the reference
        return self._call(
            "new_array",
            POINTER,
            *(self._pointer(self._word("array")), dtype, ir.Constant(I32, buffer.type.ndim), sizes),
            *(_NOTHING, data, ir.Constant(I32, flags), _NOTHING),
        )

    def _made(self, dtype: ir.Value, buffer: Buffer, sizes: ir.Value) -> ir.Value:
        """A result, in memory that is kept where it is large."""
        if not may_be_large(buffer):
            return self._new_array(dtype, buffer, sizes)
        builder, size = self.builder, self._bytes(buffer)
        keeps = builder.icmp_signed("!=", self._word("keeper"), ir.Constant(I64, 0))
        large = builder.and_(keeps, builder.icmp_signed(">=", size, ir.Constant(I64, LEAST)))
        results: list[tuple[ir.Value, ir.Block]] = []
        with builder.if_else(large) as (kept, other):
            with kept:
                results.append((self._in_kept_memory(dtype, buffer, sizes, size), builder.block))
            with other:
                results.append((self._new_array(dtype, buffer, sizes), builder.block))
        return self._either(results)

    def _bytes(self, buffer: Buffer) -> ir.Value:
        """How large a result is."""
        if not buffer.rows_per_item:
            return ir.Constant(I64, buffer.type.nbytes)
        each = buffer.rows_per_item * buffer.type.dtype.itemsize * prod(buffer.type.shape[1:])
        return self.builder.mul(self.items, ir.Constant(I64, each))

    def _in_kept_memory(self, dtype: ir.Value, buffer: Buffer, sizes: ir.Value, size: ir.Value) -> ir.Value:
        """An array in memory of NOTE [kept memory], which it owns; null where there is not enough for it."""
        builder, state = self.builder, self._pointer(self._word("keeper_state"))
        memory = self._call("take", POINTER, state, size)
        self._require_memory(builder.ptrtoint(memory, I64))
        made = self._new_array(dtype, buffer, sizes, memory, C_CONTIGUOUS_AND_ALIGNED | WRITEABLE)
        missing = builder.icmp_signed("==", builder.ptrtoint(made, I64), ir.Constant(I64, 0))
        with builder.if_else(missing) as (none, there):
            with none:
                self._call("give", ir.VoidType(), state, memory, size)
            with there:
                self._own(made)
                self._call("track", I32, ir.Constant(I32, NUMPY_DOMAIN), memory, size)
        return made

    def _own(self, array: ir.Value) -> None:
        """Let an array own its memory, by the functions of the keeper."""
        keeper = self._pointer(self._word("keeper"))
        self._call("incref", ir.VoidType(), keeper)
        place = self.builder.gep(array, [ir.Constant(I64, ARRAY_HANDLER)], source_etype=I8)
        self.builder.store(keeper, place)
        flags = self.builder.gep(array, [ir.Constant(I64, ARRAY_FLAGS)], source_etype=I8)
        owning = self.builder.or_(self._field(array, ARRAY_FLAGS, I32), ir.Constant(I32, OWNS_DATA))
        self.builder.store(owning, flags)

    def _wrapped(self, arrays: list[ir.Value]) -> ir.Value:
        """The arrays as blockfuse arrays, which own them: one alone, several as a tuple."""
        builder = self.builder
        for place, array in enumerate(arrays):
            wrapper = self._call(
                "new_object", POINTER, self._pointer(self._word("wrapper")), ir.Constant(I64, 0)
            )
            self._require_made(wrapper)
            builder.store(array, builder.gep(wrapper, [self._word("slot")], source_etype=I8))
            none = self._pointer(self._word("none"))
            self._call("incref", ir.VoidType(), none)
            builder.store(none, builder.gep(wrapper, [self._word("pending")], source_etype=I8))
            self.owned[place] = wrapper
        if len(self.owned) == 1:
            return self.owned[0]
        made = self._call("new_tuple", POINTER, ir.Constant(I64, len(self.owned)))
        self._require_made(made)
        for place, wrapper in enumerate(self.owned):
            self._put(made, TUPLE_ITEMS + place, builder.ptrtoint(wrapper, I64))
        return made
