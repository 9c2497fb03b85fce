"""The results of an entry: new arrays, or those of the caller, and what Python gets of them."""

from __future__ import annotations

from functools import partial
from math import prod

from llvmlite import ir

from blockfuse.codegen.cpu.process.allocator import MIN_OWN_BYTES
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
from blockfuse.codegen.cpu.program.frame import Frame
from blockfuse.codegen.cpu.program.outs import Outs
from blockfuse.codegen.scheduling.buffers import Buffer, BufferKind
from blockfuse.codegen.values.emitter import I8, I32, I64, NULL, POINTER, VOID, constant


def may_have_own_memory(buffer: Buffer) -> bool:
    """Whether a result can be so large that it has memory of NOTE [kept memory]."""
    return buffer.rows_per_item > 0 or buffer.type.nbytes >= MIN_OWN_BYTES


class Results:
    """Makes and wraps the arrays that an entry returns."""

    def __init__(self, frame: Frame, items: ir.Value | None, outs: Outs) -> None:
        self.frame, self.emit, self.words, self.items, self._outs = (
            frame,
            frame.emit,
            frame.words,
            items,
            outs,
        )

    def make(self, table: ir.Value) -> None:
        """NumPy arrays, new ones where kernels may not write to those of the caller; their addresses go into the table."""
        emit, frame = self.emit, self.frame
        for order, (number, buffer) in enumerate(frame.plan.buffers(BufferKind.RESULT)):
            made = self._outs.taken(order, partial(self._new, order, buffer))
            frame.require_memory(emit.address(made))
            emit.put(table, number, emit.field(made, ARRAY_DATA))
            frame.owned.append(made)

    def _new(self, order: int, buffer: Buffer) -> ir.Value:
        return self._made(self.frame.result_dtype(order), buffer, self._shape(buffer))

    def _shape(self, buffer: Buffer) -> ir.Value:
        sizes = self.emit.builder.alloca(I64, max(buffer.type.ndim, 1))
        for axis, size in enumerate(buffer.type.shape):
            self.emit.put(sizes, axis, size)
        if buffer.rows_per_item:
            self.emit.put(sizes, 0, self.emit.times(self.items, buffer.rows_per_item))
        return sizes

    def _made(self, dtype: ir.Value, buffer: Buffer, sizes: ir.Value) -> ir.Value:
        """A result, in memory of ours where it is not small."""
        if not may_have_own_memory(buffer):
            return self._new_array(dtype, buffer, sizes)
        nbytes = self.nbytes(buffer)
        keeps = self.emit.is_("!=", self.words.get("allocator"), 0)
        own = self.emit.builder.and_(keeps, self.emit.is_(">=", nbytes, MIN_OWN_BYTES))
        return self.emit.choice(
            own,
            lambda: self._in_own_memory(dtype, buffer, sizes, nbytes),
            lambda: self._new_array(dtype, buffer, sizes),
        )

    def _new_array(
        self, dtype: ir.Value, buffer: Buffer, sizes: ir.Value, data: ir.Value = NULL, flags: int = 0
    ) -> ir.Value:
        self.words.call("incref", VOID, dtype)  # PyArray_NewFromDescr takes the reference
        subtype, ndim = self.words.pointer("array"), constant(buffer.type.ndim, I32)
        operands = (subtype, dtype, ndim, sizes, NULL, data, constant(flags, I32), NULL)
        return self.words.call("new_array", POINTER, *operands)

    def nbytes(self, buffer: Buffer) -> ir.Value:
        """How large a result is."""
        if not buffer.rows_per_item:
            return constant(buffer.type.nbytes)
        each = buffer.rows_per_item * buffer.type.dtype.itemsize * prod(buffer.type.shape[1:])
        return self.emit.times(self.items, each)

    def _in_own_memory(self, dtype: ir.Value, buffer: Buffer, sizes: ir.Value, nbytes: ir.Value) -> ir.Value:
        """An array in memory of NOTE [kept memory], which it owns; null where there is not enough for it."""
        state = self.words.pointer("allocator_state")
        memory = self.words.call("take", POINTER, state, nbytes)
        self.frame.require_memory(self.emit.address(memory))
        made = self._new_array(dtype, buffer, sizes, memory, C_CONTIGUOUS_AND_ALIGNED | WRITEABLE)
        with self.emit.builder.if_else(self.emit.is_null(made)) as (none, there):
            with none:
                self.words.call("give", VOID, state, memory, nbytes)
            with there:
                self._own(made)
                self.words.call("track", I32, constant(NUMPY_DOMAIN, I32), memory, nbytes)
        return made

    def _own(self, array: ir.Value) -> None:
        """Let an array own its memory, by the functions of the allocator."""
        builder, allocator = self.emit.builder, self.words.pointer("allocator")
        self.words.call("incref", VOID, allocator)
        builder.store(allocator, self.emit.at(array, ARRAY_HANDLER, I8))
        flags = self.emit.at(array, ARRAY_FLAGS, I8)
        owning = builder.or_(self.emit.field(array, ARRAY_FLAGS, I32), constant(OWNS_DATA, I32))
        builder.store(owning, flags)

    def given_back(self) -> ir.Value:
        """None, with the results in the arrays of the caller."""
        buffers = [buffer for _, buffer in self.frame.plan.buffers(BufferKind.RESULT)]
        for order, (array, buffer) in enumerate(zip(self.frame.owned, buffers, strict=True)):
            self._outs.fill(order, array, self.nbytes(buffer))
        for array in self.frame.owned:
            self.words.call("decref", VOID, array)
        none = self.words.pointer("none")
        self.words.call("incref", VOID, none)
        return none

    def wrap(self, plain: ir.Value | None) -> ir.Value:
        """The arrays: one alone, several as a tuple.

        plain: whether as NumPy's, which the arguments are; else as blockfuse's, which own them.
        """
        emit, owned = self.emit, self.frame.owned
        for number, array in enumerate(list(owned)):
            owned[number] = self._wrapped(array) if plain is None else self._as(plain, array)
        if len(owned) == 1:
            return owned[0]
        made = self.words.call("new_tuple", POINTER, len(owned))
        self.frame.require_made(made)
        for number, wrapper in enumerate(owned):
            emit.put(made, TUPLE_ITEMS + number, emit.address(wrapper))
        return made

    def _as(self, plain: ir.Value, array: ir.Value) -> ir.Value:
        return self.emit.choice(plain, lambda: array, lambda: self._wrapped(array))

    def _wrapped(self, array: ir.Value) -> ir.Value:
        emit, words = self.emit, self.words
        wrapper = words.call("new_object", POINTER, words.pointer("wrapper"), 0)
        self.frame.require_made(wrapper)
        emit.builder.store(array, emit.at(wrapper, words.get("slot"), I8))
        none = words.pointer("none")
        words.call("incref", VOID, none)
        emit.builder.store(none, emit.at(wrapper, words.get("pending"), I8))
        return wrapper
