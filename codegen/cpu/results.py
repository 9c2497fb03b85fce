"""The results of an entry: new arrays, and what Python gets of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from llvmlite import ir

from blockfuse.codegen.buffers import Buffer
from blockfuse.codegen.cpu.cpython import ARRAY_DATA, TUPLE_ITEMS
from blockfuse.codegen.cpu.frame import Frame, dtype_places
from blockfuse.codegen.cpu.keeper import LEAST
from blockfuse.codegen.cpu.words import I8, I32, I64, POINTER, word


def may_be_large(buffer: Buffer) -> bool:
    """Whether a result can be so large that it has memory of NOTE [kept memory]."""
    return buffer.share > 0 or buffer.type.nbytes >= LEAST


class Results(Frame):
    """Makes and wraps the arrays that an entry returns."""

    def _results(self, table: ir.Value) -> list[ir.Value]:
        """New NumPy arrays; their addresses go into the table."""
        builder = self.builder
        for place, (number, buffer) in enumerate(self.plan.buffers("result")):
            dtype = self._pointer(word(builder, self.frame, dtype_places(self.plan)[1] + place))
            self._call("incref", ir.VoidType(), dtype)  # PyArray_NewFromDescr takes the reference
            sizes = builder.alloca(I64, max(buffer.type.ndim, 1))
            for axis, size in enumerate(buffer.type.shape):
                self._put(sizes, axis, ir.Constant(I64, size))
            if buffer.share:
                self._put(sizes, 0, builder.mul(self.items, ir.Constant(I64, buffer.share)))
            made = self._made(buffer, partial(self._new_array, dtype, buffer, sizes))
            self._require_memory(builder.ptrtoint(made, I64))
            self._put(table, number, self._field(made, ARRAY_DATA))
            self.owned.append(made)
        return self.owned

    def _new_array(self, dtype: ir.Value, buffer: Buffer, sizes: ir.Value) -> ir.Value:
        nothing = ir.Constant(POINTER, None)
        return self._call(
            "new_array",
            POINTER,
            *(self._pointer(self._word("array")), dtype, ir.Constant(I32, buffer.type.ndim), sizes),
            *(nothing, nothing, ir.Constant(I32, 0), nothing),
        )

    def _made(self, buffer: Buffer, make: Callable[[], ir.Value]) -> ir.Value:
        """A result, in memory that is kept where it is large."""
        if not buffer.share:
            return self._with_keeper(make) if may_be_large(buffer) else make()
        many = ir.Constant(I64, -(-LEAST * self.plan.schedule.batch // max(buffer.type.nbytes, 1)))
        results: list[tuple[ir.Value, ir.Block]] = []
        with self.builder.if_else(self.builder.icmp_signed(">=", self.items, many)) as (large, small):
            with large:
                results.append((self._with_keeper(make), self.builder.block))
            with small:
                results.append((make(), self.builder.block))
        return self._either(results)

    def _with_keeper(self, make: Callable[[], ir.Value]) -> ir.Value:
        """What ``make`` makes, in memory of NOTE [kept memory]."""
        before = self._call("set_handler", POINTER, self._pointer(self._word("keeper")))
        self._require_made(before)
        made = make()
        ours = self._call("set_handler", POINTER, before)
        self._call("decref", ir.VoidType(), ours)
        self._call("decref", ir.VoidType(), before)
        return made

    def _wrapped(self, arrays: list[ir.Value]) -> ir.Value:
        """The arrays as blockfuse arrays: one alone, several as a tuple."""
        builder = self.builder
        wrappers = []
        for array in arrays:
            wrapper = self._call(
                "new_object", POINTER, self._pointer(self._word("wrapper")), ir.Constant(I64, 0)
            )
            self._require_made(wrapper)
            builder.store(array, builder.gep(wrapper, [self._word("slot")], source_etype=I8))
            none = self._pointer(self._word("none"))
            self._call("incref", ir.VoidType(), none)
            builder.store(none, builder.gep(wrapper, [self._word("promise")], source_etype=I8))
            wrappers.append(wrapper)
        if len(wrappers) == 1:
            return wrappers[0]
        made = self._call("new_tuple", POINTER, ir.Constant(I64, len(wrappers)))
        self._require_made(made)
        for place, wrapper in enumerate(wrappers):
            self._put(made, TUPLE_ITEMS + place, builder.ptrtoint(wrapper, I64))
        return made
