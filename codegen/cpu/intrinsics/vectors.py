"""Memory as vectors: what lies behind the pointers of a kernel, loaded, stored and masked."""

from __future__ import annotations

from llvmlite import ir

from blockfuse.codegen.cpu.intrinsics.values import Value
from blockfuse.codegen.values.emitter import I32, VOID, Emitter, constant
from blockfuse.codegen.values.llvm import element_type


class Vectors:
    """Vectors of ``lanes`` elements behind pointers by their names."""

    def __init__(
        self, emit: Emitter, lanes: int, pointers: dict[str, ir.Value], kind: type[Value] = Value
    ) -> None:
        """kind: of what is loaded."""
        self.emit, self.lanes, self.pointers, self.kind = emit, lanes, pointers, kind

    def of(self, element: ir.Type) -> ir.VectorType:
        return ir.VectorType(element, self.lanes)

    def splat(self, scalar: ir.Value, vector: ir.VectorType) -> ir.Value:
        """A scalar in every lane."""
        builder, undefined = self.emit.builder, ir.Constant(vector, ir.Undefined)
        first = builder.insert_element(undefined, scalar, constant(0, I32))
        zeros = ir.Constant(ir.VectorType(I32, vector.count), None)
        return builder.shuffle_vector(first, undefined, zeros)

    def address(self, name: str, index: ir.Value, dtype: str) -> ir.Value:
        """A pointer to element ``index`` behind a pointer."""
        element = _stored_type(dtype)
        pointer = self.emit.builder.bitcast(self.pointers[name], element.as_pointer())
        return self.emit.at(pointer, index, element)

    def load(self, address: ir.Value, element: ir.Type, mask: ir.Value | None = None) -> ir.Value:
        """Lanes that a mask leaves out are 0."""
        vector, builder = self.of(element), self.emit.builder
        typed = builder.bitcast(address, vector.as_pointer())
        if mask is None:
            return builder.load(typed, align=element_bytes(element), typ=vector)
        function = self._masked("load", vector, [typed.type, I32, mask.type, vector], vector)
        alignment = constant(element_bytes(element), I32)
        return builder.call(function, [typed, alignment, mask, ir.Constant(vector, None)])

    def store(self, value: ir.Value, address: ir.Value, mask: ir.Value | None) -> None:
        vector, builder = value.type, self.emit.builder
        typed = builder.bitcast(address, vector.as_pointer())
        alignment = element_bytes(vector.element)
        if mask is None:
            builder.store(value, typed, align=alignment)
            return
        function = self._masked("store", vector, [vector, typed.type, I32, mask.type], VOID)
        builder.call(function, [value, typed, constant(alignment, I32), mask])

    def _masked(
        self, kind: str, vector: ir.VectorType, operands: list[ir.Type], result: ir.Type
    ) -> ir.Function:
        module = self.emit.builder.module
        letter = "i" if isinstance(vector.element, ir.IntType) else "f"
        name = f"llvm.masked.{kind}.v{vector.count}{letter}{8 * element_bytes(vector.element)}.p0"
        known = module.globals.get(name)
        return known or ir.Function(module, ir.FunctionType(result, operands), name)

    def loaded(self, name: str, dtype: str, index: ir.Value, is_dense: bool, mask: ir.Value | None) -> Value:
        """Neighbours from ``index`` on, or the element there in every lane."""
        element = _stored_type(dtype)
        address = self.address(name, index, dtype)
        if is_dense:
            found = self.load(address, element, mask)
        else:
            scalar = self.emit.builder.load(address, typ=element)
            found = self.splat(scalar, self.of(element))
        value = self.kind(self.emit.builder, found, signed=not dtype.startswith("u"))
        return value != 0 if dtype == "bool" else value


def as_stored(value: Value, dtype: str) -> ir.Value:
    """What memory of this dtype holds: a bool is a byte there."""
    return value.ir if dtype != "bool" else value.to(_stored_type(dtype), signed=False).ir


def _stored_type(dtype: str) -> ir.Type:
    return element_type("uint8" if dtype == "bool" else dtype)


def element_bytes(element: ir.Type) -> int:
    if isinstance(element, ir.IntType):
        return max(1, int(element.width) // 8)
    return 4 if isinstance(element, ir.FloatType) else 8
