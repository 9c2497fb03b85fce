"""LLVM instructions as all native code writes them: constants, words of tables, comparisons, calls, branches and loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from llvmlite import ir

I1, I8, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))
POINTER = ir.PointerType()
VOID = ir.VoidType()
NULL = ir.Constant(POINTER, None)


def constant(number: int, type: ir.Type = I64) -> ir.Constant:
    return ir.Constant(type, number)


class Emitter:
    """An LLVM builder with what the project's native code has in common.

    Where a number is wanted, an ``int`` is a constant of 64 bits, or of as many as the other operand has.
    """

    __slots__ = ("builder",)

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    @classmethod
    def of(cls, function: ir.Function, block: str = "") -> Emitter:
        """One that starts the body of a function with a block of this name."""
        return cls(ir.IRBuilder(function.append_basic_block(block)))

    # -- memory ------------------------------------------------------------------------------------------------

    def pointer(self, address: ir.Value) -> ir.Value:
        """An address that a word holds."""
        return self.builder.inttoptr(address, POINTER)

    def address(self, pointer: ir.Value) -> ir.Value:
        """A pointer as a word."""
        return self.builder.ptrtoint(pointer, I64)

    def at(self, base: ir.Value, index: ir.Value | int, element: ir.Type = I64) -> ir.Value:
        """A pointer to element ``index`` behind ``base``."""
        return self.builder.gep(base, [_number(index)], source_etype=element)

    def word(self, table: ir.Value, index: ir.Value | int) -> ir.Value:
        """The 64-bit word number ``index`` of a table."""
        return self.builder.load(self.at(table, index), typ=I64)

    def put(self, table: ir.Value, index: ir.Value | int, value: ir.Value | int) -> None:
        """Let word number ``index`` of a table be ``value``."""
        self.builder.store(_number(value), self.at(table, index))

    def field(self, object: ir.Value, offset: int, type: ir.Type = I64) -> ir.Value:
        """The field of a C structure that stands so many bytes behind its start."""
        return self.builder.load(self.at(object, offset, I8), typ=type, align=4 if type == I32 else 8)

    def word_at(self, address: ir.Value) -> ir.Value:
        """The word at an address that a word holds."""
        return self.builder.load(self.pointer(address), typ=I64)

    # -- numbers -----------------------------------------------------------------------------------------------

    def times(self, number: ir.Value | None, factor: int) -> ir.Value:
        """None stands for an index that there is not: 0."""
        return constant(0) if number is None else self.builder.mul(number, constant(factor))

    def sum(self, *terms: ir.Value) -> ir.Value:
        total = terms[0]
        for term in terms[1:]:
            total = self.builder.add(total, term)
        return total

    def smaller(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.builder.select(self.is_("<", x, y), x, y)

    def larger(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.builder.select(self.is_(">", x, y), x, y)

    def rounded_quotient(self, number: ir.Value, divisor: ir.Value | int) -> ir.Value:
        """Rounded up."""
        if isinstance(divisor, int):
            return self.builder.sdiv(self.builder.add(number, constant(divisor - 1)), constant(divisor))
        below = self.builder.sub(divisor, constant(1))
        return self.builder.sdiv(self.builder.add(number, below), divisor)

    # -- comparisons -------------------------------------------------------------------------------------------

    def is_(self, sign: str, x: ir.Value, y: ir.Value | int, signed: bool = True) -> ir.Value:
        """A comparison of integers."""
        compare = self.builder.icmp_signed if signed else self.builder.icmp_unsigned
        return compare(sign, x, _number(y, x.type))

    def is_null(self, pointer: ir.Value) -> ir.Value:
        return self.is_("==", self.address(pointer), 0)

    # -- calls -------------------------------------------------------------------------------------------------

    def call(self, function: ir.Function, *operands: ir.Value | int) -> ir.Value:
        """Call a function of this module."""
        return self.builder.call(function, [_number(operand) for operand in operands])

    def call_at(self, address: ir.Value, result: ir.Type, *operands: ir.Value | int) -> ir.Value:
        """Call the function at an address that a word holds."""
        values = [_number(operand) for operand in operands]
        signature = ir.FunctionType(result, [value.type for value in values])
        return self.builder.call(self.builder.inttoptr(address, signature.as_pointer()), values)

    def local(self, type: ir.Type, count: int = 1) -> ir.Value:
        """Memory of the stack, taken once a call of the function, also where this stands in a loop."""
        with self.builder.goto_entry_block():
            return self.builder.alloca(type, None if count == 1 else count)

    # -- branches ----------------------------------------------------------------------------------------------

    def block(self, name: str = "") -> ir.Block:
        """A new block of the function, which nothing leads to yet."""
        return self.builder.function.append_basic_block(name)

    def go_to(self, block: ir.Block) -> None:
        """Go on in a block that begins here."""
        self.builder.branch(block)
        self.builder.position_at_end(block)

    def require(self, condition: ir.Value, otherwise: ir.Block) -> None:
        """Go on where ``condition`` holds, else in the block ``otherwise``."""
        onwards = self.block()
        self.builder.cbranch(condition, onwards, otherwise)
        self.builder.position_at_end(onwards)

    def choice(
        self, condition: ir.Value, then: Callable[[], ir.Value], otherwise: Callable[[], ir.Value]
    ) -> ir.Value:
        """The value of what is emitted for the case that ``condition`` holds, or of what is for the other one."""
        results: list[tuple[ir.Value, ir.Block]] = []
        with self.builder.if_else(condition) as branches:
            for branch, emit in zip(branches, (then, otherwise), strict=True):
                with branch:
                    results.append((emit(), self.builder.block))
        return self.merged(results)

    def merged(self, results: Sequence[tuple[ir.Value, ir.Block]]) -> ir.Value:
        """At the start of a block: the value that comes from the block that led here."""
        value = self.builder.phi(results[0][0].type)
        for result, block in results:
            value.add_incoming(result, block)
        return value

    # -- loops -------------------------------------------------------------------------------------------------

    @contextmanager
    def counted(self, first: ir.Value | int, end: ir.Value | int, step: int = 1) -> Iterator[ir.Value]:
        """What is emitted inside is done for each number from ``first`` on, as long as it is below ``end``."""
        builder, before = self.builder, self.builder.block
        head, inside, after = (self.block(name) for name in ("each", "inside", "after"))
        self.go_to(head)
        number = self.merged([(_number(first), before)])
        builder.cbranch(self.is_("<", number, end), inside, after)
        builder.position_at_end(inside)
        yield number
        number.add_incoming(builder.add(number, constant(step)), builder.block)
        builder.branch(head)
        builder.position_at_end(after)

    def carried(
        self,
        values: Sequence[ir.Value],
        first: ir.Value | int,
        end: ir.Value | int,
        step: int,
        body: Callable[[list[ir.Value], ir.Value], list[ir.Value]],
        may_unroll: bool = True,
    ) -> list[ir.Value]:
        """``values``, which ``body`` makes new for each number from ``first`` to ``end``; there is at least one.

        may_unroll: whether LLVM may write the body more than once.
        """
        builder, before = self.builder, self.builder.block
        inside, after = self.block("inner"), self.block("inner.end")
        self.go_to(inside)
        number = self.merged([(_number(first), before)])
        carried = [self.merged([(value, before)]) for value in values]
        results = body(carried, number)
        following = builder.add(number, constant(step))
        for phi, value in ((number, following), *zip(carried, results, strict=True)):
            phi.add_incoming(value, builder.block)
        jump = builder.cbranch(self.is_("<", following, end), inside, after)
        if not may_unroll:
            jump.set_metadata("llvm.loop", _without_unrolling(builder.module))
        builder.position_at_end(after)
        return results


def _without_unrolling(module: ir.Module) -> ir.MDValue:
    """What LLVM knows loops by that must stay as they are: it names itself first, as LLVM wants it."""
    wish = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    loop = module.add_metadata([wish])
    loop.operands = (loop, wish)
    return loop


@dataclass(frozen=True)
class Words:
    """Words of a table that have names, and functions whose addresses some of them hold."""

    emit: Emitter
    table: ir.Value
    names: Sequence[str]
    first: int = 0  # index of the first name's word

    def at(self, name: str) -> ir.Value:
        """A pointer to a word."""
        return self.emit.at(self.table, self.first + self.names.index(name))

    def get(self, name: str) -> ir.Value:
        return self.emit.builder.load(self.at(name), typ=I64)

    def pointer(self, name: str) -> ir.Value:
        """A word that is an address."""
        return self.emit.pointer(self.get(name))

    def put(self, name: str, value: ir.Value | int) -> None:
        self.emit.builder.store(_number(value), self.at(name))

    def call(self, name: str, result: ir.Type, *operands: ir.Value | int) -> ir.Value:
        """Call the function whose address a word holds."""
        return self.emit.call_at(self.get(name), result, *operands)


def _number(value: ir.Value | int, type: ir.Type = I64) -> ir.Value:
    return constant(value, type) if isinstance(value, int) else value
