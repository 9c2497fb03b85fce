"""What code over vectors is built from: addresses, loads, stores and loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from blockfuse.codegen.cpu.intrinsics.values import Value
from blockfuse.codegen.values.llvm import I32, I64, element_type


class Vectors:
    """An emitter of code over vectors of ``lanes`` elements, with its pointer parameters by name."""

    def __init__(self, lanes: int, builder: ir.IRBuilder, pointers: dict[str, ir.Value]) -> None:
        self.lanes, self.builder, self.pointers = lanes, builder, pointers

    # -- addresses -------------------------------------------------------------------------------------------

    def _times(self, value: ir.Value | None, factor: int) -> ir.Value:
        return ir.Constant(I64, 0) if value is None else self.builder.mul(value, ir.Constant(I64, factor))

    def _sum(self, *terms: ir.Value) -> ir.Value:
        total = terms[0]
        for term in terms[1:]:
            total = self.builder.add(total, term)
        return total

    def _address(self, name: str, place: ir.Value, dtype: str) -> ir.Value:
        element = element_type("uint8" if dtype == "bool" else dtype)
        pointer = self.builder.bitcast(self.pointers[name], element.as_pointer())
        return self.builder.gep(pointer, [place], source_etype=element)

    # -- vectors ---------------------------------------------------------------------------------------------

    def _splat(self, scalar: ir.Value, vector: ir.VectorType) -> ir.Value:
        undefined = ir.Constant(vector, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(
            first, undefined, ir.Constant(ir.VectorType(I32, vector.count), None)
        )

    def _load(self, address: ir.Value, element: ir.Type, mask: ir.Value | None) -> ir.Value:
        vector = ir.VectorType(element, self.lanes)
        typed = self.builder.bitcast(address, vector.as_pointer())
        if mask is None:
            return self.builder.load(typed, align=element_bytes(element), typ=vector)
        zeros = ir.Constant(vector, None)
        function = self._masked("load", vector, [typed.type, I32, mask.type, vector], vector)
        return self.builder.call(function, [typed, ir.Constant(I32, element_bytes(element)), mask, zeros])

    def _store(self, value: ir.Value, address: ir.Value, mask: ir.Value | None) -> None:
        vector = value.type
        typed = self.builder.bitcast(address, vector.as_pointer())
        if mask is None:
            self.builder.store(value, typed, align=element_bytes(vector.element))
            return
        function = self._masked("store", vector, [vector, typed.type, I32, mask.type], ir.VoidType())
        self.builder.call(function, [value, typed, ir.Constant(I32, element_bytes(vector.element)), mask])

    def _masked(
        self, kind: str, vector: ir.VectorType, operands: list[ir.Type], result: ir.Type
    ) -> ir.Function:
        letter = "i" if isinstance(vector.element, ir.IntType) else "f"
        name = f"llvm.masked.{kind}.v{vector.count}{letter}{8 * element_bytes(vector.element)}.p0"
        known = self.builder.module.globals.get(name)
        return known or ir.Function(self.builder.module, ir.FunctionType(result, operands), name)

    def _loaded(self, name: str, dtype: str, place: ir.Value, is_dense: bool, mask: ir.Value | None) -> Value:
        """Neighbours from ``place`` on, or the element there in every lane."""
        element = element_type("uint8" if dtype == "bool" else dtype)
        address = self._address(name, place, dtype)
        if is_dense:
            found = self._load(address, element, mask)
        else:
            scalar = self.builder.load(address, typ=element)
            found = self._splat(scalar, ir.VectorType(element, self.lanes))
        value = Value(self.builder, found, signed=not dtype.startswith("u"))
        return value != 0 if dtype == "bool" else value

    def _stored(self, value: Value, name: str, dtype: str, place: ir.Value, mask: ir.Value | None) -> None:
        kept = value if dtype != "bool" else value.to(element_type("uint8"), signed=False)
        self._store(kept.ir, self._address(name, place, dtype), mask)

    # -- loops -----------------------------------------------------------------------------------------------

    def _carried(
        self,
        values: Sequence[ir.Value],
        first: ir.Value,
        beyond: ir.Value,
        step: int,
        body: Callable[[list[ir.Value], ir.Value], list[ir.Value]],
    ) -> list[ir.Value]:
        """``values``, which ``body`` makes new for each number from ``first`` to ``beyond``; there is at least one."""
        builder = self.builder
        before = builder.block
        inside, after = builder.append_basic_block("inner"), builder.append_basic_block("inner.end")
        builder.branch(inside)
        builder.position_at_end(inside)
        k = builder.phi(I64)
        k.add_incoming(first, before)
        phis = [self._phi(value, before) for value in values]
        made = body(phis, k)
        following = builder.add(k, ir.Constant(I64, step))
        for phi, value in ((k, following), *zip(phis, made, strict=True)):
            phi.add_incoming(value, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, beyond), inside, after)
        builder.position_at_end(after)
        return made

    def _phi(self, value: ir.Value, block: ir.Block) -> ir.Value:
        phi = self.builder.phi(value.type)
        phi.add_incoming(value, block)
        return phi


def element_bytes(element: ir.Type) -> int:
    if isinstance(element, ir.IntType):
        return max(1, int(element.width) // 8)
    return 4 if isinstance(element, ir.FloatType) else 8
