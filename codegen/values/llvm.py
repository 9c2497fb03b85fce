"""LLVM values that arithmetic can be written with: scalars and vectors alike, so one text serves loops and tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from llvmlite import ir

from blockfuse.codegen.values.emitter import I32, I64


class Value:
    """An LLVM value with its builder. ``signed`` matters for integers only.

    A backend derives its own, with the functions that it has itself: ``call``.
    """

    __slots__ = ("builder", "ir", "signed")
    hides_latency = False
    is_wide = False

    def __init__(self, builder: ir.IRBuilder, value: ir.Value, signed: bool = True) -> None:
        self.builder, self.ir, self.signed = builder, value, signed

    # -- what it is ------------------------------------------------------------------------------------------

    @property
    def type(self) -> ir.Type:
        return self.ir.type

    @property
    def element(self) -> ir.Type:
        return self.type.element if isinstance(self.type, ir.VectorType) else self.type

    @property
    def is_float(self) -> bool:
        return isinstance(self.element, ir.FloatType | ir.DoubleType)

    @property
    def bits(self) -> int:
        if isinstance(self.element, ir.IntType):
            return int(self.element.width)
        return 32 if isinstance(self.element, ir.FloatType) else 64

    @property
    def integer(self) -> ir.Type:
        return I32 if self.bits == 32 else I64

    def like(self, element: ir.Type) -> ir.Type:
        """``element`` in as many lanes."""
        return ir.VectorType(element, self.type.count) if isinstance(self.type, ir.VectorType) else element

    def constant(self, number: Any, element: ir.Type | None = None) -> Self:
        """A number in every lane."""
        type = self.like(element or self.element)
        if isinstance(type, ir.VectorType):
            return self.new(ir.Constant(type, [number] * type.count))
        return self.new(ir.Constant(type, number))

    def new(self, value: ir.Value) -> Self:
        return type(self)(self.builder, value, self.signed)

    def with_(self, other: Any) -> Self:
        return other if isinstance(other, type(self)) else self.constant(other)

    def chosen(self, x: Self, y: Self) -> Self:
        """Of a bool: x where it is true, else y."""
        return x.new(self.builder.select(self.ir, x.ir, y.ir))

    # -- arithmetic ------------------------------------------------------------------------------------------

    def _either(self, other: Any, on_float: str, on_int: str) -> Self:
        return self.new(
            getattr(self.builder, on_float if self.is_float else on_int)(self.ir, self.with_(other).ir)
        )

    def __add__(self, other: Any) -> Self:
        return self._either(other, "fadd", "add")

    def __radd__(self, other: Any) -> Self:
        return self.with_(other) + self

    def __sub__(self, other: Any) -> Self:
        return self._either(other, "fsub", "sub")

    def __rsub__(self, other: Any) -> Self:
        return self.with_(other) - self

    def __mul__(self, other: Any) -> Self:
        return self._either(other, "fmul", "mul")

    def __rmul__(self, other: Any) -> Self:
        return self.with_(other) * self

    def __truediv__(self, other: Any) -> Self:
        return self.new(self.builder.fdiv(self.ir, self.with_(other).ir))

    def __rtruediv__(self, other: Any) -> Self:
        return self.with_(other) / self

    def __neg__(self) -> Self:
        return self.new(self.builder.fneg(self.ir) if self.is_float else self.builder.neg(self.ir))

    def __and__(self, other: Any) -> Self:
        return self.new(self.builder.and_(self.ir, self.with_(other).ir))

    def __or__(self, other: Any) -> Self:
        return self.new(self.builder.or_(self.ir, self.with_(other).ir))

    def __xor__(self, other: Any) -> Self:
        return self.new(self.builder.xor(self.ir, self.with_(other).ir))

    def __invert__(self) -> Self:
        return self.new(self.builder.not_(self.ir))

    def high_product(self, other: Self) -> Self:
        """The upper half of the product of two unsigned integers."""
        wide = ir.IntType(2 * self.bits)
        product = self.builder.mul(*(self.builder.zext(x.ir, wide) for x in (self, other)))
        upper = self.builder.lshr(product, ir.Constant(wide, self.bits))
        return self.new(self.builder.trunc(upper, self.element))

    def quotient(self, other: Any) -> Self:
        """Of two integers, towards zero."""
        divide = self.builder.sdiv if self.signed else self.builder.udiv
        return self.new(divide(self.ir, self.with_(other).ir))

    def __lshift__(self, other: Any) -> Self:
        return self.new(self.builder.shl(self.ir, self.with_(other).ir))

    def __rshift__(self, other: Any) -> Self:
        shift = self.builder.ashr if self.signed else self.builder.lshr
        return self.new(shift(self.ir, self.with_(other).ir))

    # -- comparison ------------------------------------------------------------------------------------------

    def _compared(self, sign: str, other: Any) -> Self:
        right = self.with_(other).ir
        if self.is_float:
            compare = self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered
        else:
            compare = self.builder.icmp_signed if self.signed else self.builder.icmp_unsigned
        return type(self)(self.builder, compare(sign, self.ir, right))

    def __lt__(self, other: Any) -> Self:
        return self._compared("<", other)

    def __le__(self, other: Any) -> Self:
        return self._compared("<=", other)

    def __gt__(self, other: Any) -> Self:
        return self._compared(">", other)

    def __ge__(self, other: Any) -> Self:
        return self._compared(">=", other)

    def __eq__(self, other: Any) -> Self:  # type: ignore[override]
        return self._compared("==", other)

    def __ne__(self, other: Any) -> Self:  # type: ignore[override]
        return self._compared("!=", other)

    __hash__ = None  # type: ignore[assignment]

    # -- conversion ------------------------------------------------------------------------------------------

    def bitcast(self, element: ir.Type) -> Self:
        return self.new(self.builder.bitcast(self.ir, self.like(element)))

    def to(self, element: ir.Type, signed: bool = True) -> Self:
        """Converted as C does: rounding to nearest between floats, truncation to integers.

        Of a float that no integer holds LLVM knows nothing, and may take the way to an integer and back for ``trunc``.
        Frozen, it is what the machine makes of it: see NOTE [floats that no integer holds].
        """
        target = self.like(element)
        if target == self.type:
            return type(self)(self.builder, self.ir, signed)
        converted = _conversion(self, element)(self.ir, target)
        if self.is_float and isinstance(element, ir.IntType):
            converted = self._frozen(converted)
        return type(self)(self.builder, converted, signed)

    def _frozen(self, value: ir.Value) -> ir.Value:
        """LLVM's ``freeze``, for which llvmlite has no name."""
        frozen = ir.Instruction(self.builder.block, value.type, "freeze", [value])
        self.builder._insert(frozen)
        return frozen


def _conversion(value: Value, element: ir.Type) -> Any:
    builder = value.builder
    wide = (
        element.width if isinstance(element, ir.IntType) else 32 if isinstance(element, ir.FloatType) else 64
    )
    to_float = not isinstance(element, ir.IntType)
    if value.is_float and to_float:
        return builder.fpext if wide > value.bits else builder.fptrunc
    if value.is_float:
        return builder.fptosi
    unsigned = not value.signed or value.bits == 1
    if to_float:
        return builder.uitofp if unsigned else builder.sitofp
    if wide < value.bits:
        return builder.trunc
    return builder.zext if unsigned else builder.sext


def declared(x: Value, name: str, operands: list[ir.Type], result: ir.Type) -> ir.Function:
    """The function of this name, declared in the module of ``x`` if it is not yet."""
    known = x.builder.module.globals.get(name)
    return known or ir.Function(x.builder.module, ir.FunctionType(result, operands), name)


def each_lane(x: Value, symbol: str, others: tuple[Value, ...]) -> Any:
    """A function of scalars, lane by lane."""
    function = declared(x, symbol, [x.element] * (1 + len(others)), x.element)
    if not isinstance(x.type, ir.VectorType):
        return x.new(x.builder.call(function, [x.ir, *(o.ir for o in others)]))
    result = ir.Constant(x.type, ir.Undefined)
    for lane in range(x.type.count):
        index = ir.Constant(I32, lane)
        numbers = [x.builder.extract_element(v.ir, index) for v in (x, *others)]
        result = x.builder.insert_element(result, x.builder.call(function, numbers), index)
    return x.new(result)


_ELEMENTS = {
    "float32": ir.FloatType(),
    "float64": ir.DoubleType(),
    "bool": ir.IntType(1),
    **{f"{u}int{bits}": ir.IntType(bits) for u in ("", "u") for bits in (8, 16, 32, 64)},
}


def element_type(dtype: str) -> ir.Type:
    return _ELEMENTS[dtype]


def conversion(dtype: str, like: Value) -> Callable[[Any], Value]:
    """``float32(x)`` in an expression on vectors; numbers get the lanes of ``like``."""
    element, signed = _ELEMENTS[dtype], not dtype.startswith("u")
    return lambda x: x.to(element, signed) if isinstance(x, Value) else like.constant(x, element)
