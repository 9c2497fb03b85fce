"""A sweep along a row as vector code: whole vectors, several at a time, then what is left of the row.

NOTE [sweeps]
LLVM's vectoriser leaves the end of a row to a scalar loop, where an exp takes as long as for a whole vector, and takes rows
of less than four vectors apart into scalars. Here the extent is a constant, so that what is left is one vector under a
constant mask: nothing beyond the row is read or written, and lanes beyond it do not come into a fold. The vectors of a
step have accumulators of their own, which hide the latency of a fold; they are joined pair by pair, then so are their
lanes. The order follows from the extent alone, so a row gives the same bits wherever it lies. What a sweep keeps for a later
one is in near memory, which has room for whole vectors: a short row never leaves the registers.

A sweep without folds may be told its extent when it is called: a flat map of functions. A step of it is one wide value,
which LLVM takes apart, so that all its vectors use a constant before the next one is loaded: a function has up to twenty,
more than there are registers without AVX-512, and there no instruction takes one number for all its lanes from memory.
What is left behind the steps are vectors under masks that are computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any

import numpy
from llvmlite import ir
from numba.core import types as _numba_types

from blockfuse.codegen.cpu.intrinsics.kernel_function import KernelFunction
from blockfuse.codegen.cpu.intrinsics.numba_intrinsic import Intrinsic
from blockfuse.codegen.cpu.intrinsics.values import Value, evaluated
from blockfuse.codegen.cpu.intrinsics.vectors import Vectors, as_stored, element_bytes
from blockfuse.codegen.cpu.intrinsics.wide_values import values_of
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.values.emitter import I1, I32, Emitter, constant
from blockfuse.codegen.values.functions import ULP

types: Any = _numba_types  # its names are made at run time
# pointer, dtype, strides: of the loops around the row, then of its elements
Access = tuple[str, str, tuple[int, ...]]


@dataclass(frozen=True)
class SweepSpec:
    """What ``codegen.kernels.kernel.Sweep`` says, as it stands in the source of a kernel."""

    extent: int  # elements of a row; 0: as many as a call says
    indices: tuple[str, ...]  # names of those of the loops around the row
    loads: tuple[Access, ...]
    store: Access | None
    joins: tuple[FunctionType, ...]  # for each fold, what two of them are together
    element: FunctionType  # (*loaded elements, *values of the row, *folds) -> what is stored, if anything, and folds

    @property
    def pointers(self) -> tuple[str, ...]:
        stored = () if self.store is None else (self.store[0],)
        return tuple(dict.fromkeys((*(name for name, _, _ in self.loads), *stored)))

    @property
    def scalars(self) -> tuple[str, ...]:
        """Values of the row, and folds."""
        code = self.element.__code__
        return code.co_varnames[len(self.loads) : code.co_argcount]


def _native(machine: Machine, **columns: Any) -> Callable[[FunctionType], Any]:
    """Makes what is done with an element the intrinsic
    ``sweep(*pointers, *indices[, extent], *values of the row, *starts of folds)``.

    It gives the folds: nothing, one number, or a tuple.
    """

    def of_row(element: FunctionType) -> Any:
        spec = SweepSpec(**columns, element=element)

        def typed(_: Any, *arguments: Any) -> Any:
            folds = arguments[len(arguments) - len(spec.joins) :]
            result = types.void if not folds else folds[0] if len(folds) == 1 else types.Tuple(folds)

            def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
                signs = [getattr(t, "signed", True) for t in signature.args]
                kind = values_of(machine)
                operands = [kind(builder, *pair) for pair in zip(values, signs, strict=True)]
                made = RowSweep(spec, machine, Emitter(builder), operands).build()
                if len(made) > 1:
                    return context.make_tuple(builder, result, made)
                return made[0] if made else context.get_dummy_value()

            return result(*arguments), generate

        return Intrinsic(typed)

    return of_row


class RowSweep:
    """Writes the code of one call."""

    def __init__(self, spec: SweepSpec, machine: Machine, emit: Emitter, operands: list[Value]) -> None:
        pointers, indices = len(spec.pointers), len(spec.pointers) + len(spec.indices)
        scalars = operands[indices if spec.extent else indices + 1 :]
        self.spec, self.emit = spec, emit
        self.count = operands[indices].ir if not spec.extent else None
        self.lanes = machine.lanes(_itemsize(spec, scalars))
        if spec.extent:
            self.lanes = min(self.lanes, 1 << (spec.extent - 1).bit_length())
        addresses = {n: v.ir for n, v in zip(spec.pointers, operands, strict=False)}
        self.kind = values_of(machine)
        self.memory = Vectors(emit, self.lanes, addresses, self.kind)
        self.indices = [value.ir for value in operands[pointers:indices]]
        self.scalars = [
            value.new(self.memory.splat(value.ir, self.memory.of(value.type))) for value in scalars
        ]
        self.starts = self.scalars[len(scalars) - len(spec.joins) :]
        self.rest = spec.extent % self.lanes  # lanes of the last vector, where it is no whole one
        self.together = _vectors_a_step(spec, machine)
        if spec.extent:
            self.together = min(self.together, -(-spec.extent // self.lanes))

    def build(self) -> list[ir.Value]:
        """The folds of the row."""
        extent, step = self.spec.extent, self.lanes * self.together
        if self.count is not None:
            return self._of_any_extent(self.count, step)
        whole = extent - extent % step
        folds = [value.ir for value in self.starts] * self.together
        if whole > step:
            folds = self.emit.carried(folds, 0, whole, step, lambda folds, c: self._step(folds, c, step))
        elif whole:
            folds = self._step(folds, constant(0), step)
        if whole < extent:
            folds = self._step(folds, constant(whole), extent - whole)
        count = len(self.starts)
        return [self._joined(folds[n::count], join) for n, join in enumerate(self.spec.joins)]

    def _of_any_extent(self, count: ir.Value, step: int) -> list[ir.Value]:
        builder, memory, lanes = self.emit.builder, self.memory, self.lanes
        whole = builder.and_(count, constant(-step))
        self.memory = Vectors(self.emit, step, memory.pointers, self.kind)
        with self.emit.counted(0, whole, step) as first:
            self._vector([], first, None)
        self.memory = memory
        numbers = ir.Constant(memory.of(I32), list(range(lanes)))
        with self.emit.counted(whole, count, lanes) as first:
            left = builder.trunc(self.emit.smaller(builder.sub(count, first), constant(lanes)), I32)
            self._vector([], first, builder.icmp_signed("<", numbers, memory.splat(left, numbers.type)))
        return []

    def _step(self, folds: list[ir.Value], first: ir.Value, size: int) -> list[ir.Value]:
        """``size`` elements from ``first`` on; the first vector takes the first of the folds, and so on."""
        count = len(self.starts)
        found: list[ir.Value] = []
        for start in range(0, size, self.lanes):
            column = self.emit.builder.add(first, constant(start))
            taken = folds[len(found) : len(found) + count]
            mask = None
            if size - start < self.lanes:
                mask = ir.Constant(
                    self.memory.of(I1), [int(lane < size - start) for lane in range(self.lanes)]
                )
            found += self._vector(taken, column, mask)
        return found + folds[len(found) :]

    def _vector(self, folds: list[ir.Value], column: ir.Value, mask: ir.Value | None) -> list[ir.Value]:
        """The lanes of the vector at ``column`` that the mask names; None: all."""
        loads = [
            self.memory.loaded(
                name, dtype, self._index(strides, column), bool(strides[-1]), _mask_of(name, mask)
            )
            for name, dtype, strides in self.spec.loads
        ]
        values = self.scalars[: len(self.scalars) - len(folds)]
        before = [self.kind(self.emit.builder, fold) for fold in folds]
        like = self.kind(self.emit.builder, ir.Constant(self.memory.of(ir.FloatType()), None))
        made = evaluated(self.spec.element, like, *loads, *values, *before)
        results = list(made) if isinstance(made, tuple) else [made]
        if self.spec.store is not None:
            name, dtype, strides = self.spec.store
            index = self._index(strides, column)
            stored = as_stored(results.pop(0), dtype)
            self._store(stored, self.memory.address(name, index, dtype), _mask_of(name, mask))
        after = [value.ir for value in results]
        if mask is None:
            return after
        return [self.emit.builder.select(mask, a, b) for a, b in zip(after, folds, strict=True)]

    def _store(self, value: ir.Value, address: ir.Value, mask: ir.Value | None) -> None:
        """A power of two of lanes is a vector of its own, and needs no mask; a single lane is a scalar.

        LLVM 22 dies of an assertion where it combines some vectors of one element (the last column of 17).
        """
        if mask is None or self.count is not None or self.rest & (self.rest - 1):
            self.memory.store(value, address, mask)
        elif self.rest == 1:
            lane = self.emit.builder.extract_element(value, constant(0, I32))
            self.emit.builder.store(lane, address, align=element_bytes(lane.type))
        else:
            self.memory.store(self._chosen(value, list(range(self.rest))), address, None)

    def _chosen(self, vector: ir.Value, lanes: list[int]) -> ir.Value:
        """These lanes of a vector."""
        indices = ir.Constant(ir.VectorType(I32, len(lanes)), lanes)
        return self.emit.builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), indices)

    def _index(self, strides: tuple[int, ...], column: ir.Value) -> ir.Value:
        around = [self.emit.times(i, s) for i, s in zip(self.indices, strides[:-1], strict=True) if s]
        along = [column] if strides[-1] else []
        return self.emit.sum(constant(0), *around, *along)

    def _joined(self, parts: list[ir.Value], join: FunctionType) -> ir.Value:
        """One number from all lanes of the parts."""

        def joined(a: ir.Value, b: ir.Value) -> ir.Value:
            return evaluated(
                join, Value(self.emit.builder, a), *(Value(self.emit.builder, v) for v in (a, b))
            ).ir

        while len(parts) > 1:
            pairs = zip(parts[::2], parts[1::2], strict=False)
            parts = [joined(a, b) for a, b in pairs] + parts[len(parts) - len(parts) % 2 :]
        (total,) = parts
        while total.type.count > 2:
            half = total.type.count // 2
            total = joined(*(self._chosen(total, list(range(n, n + half))) for n in (0, half)))
        lanes = [self.emit.builder.extract_element(total, constant(n, I32)) for n in range(total.type.count)]
        return joined(*lanes) if len(lanes) > 1 else lanes[0]


def _vectors_a_step(spec: SweepSpec, machine: Machine) -> int:
    """How many vectors make one step: eight additions hide each other's latency, an exp fills several registers."""
    functions = sum(name in ULP for name in spec.element.__code__.co_names)
    if not spec.extent:
        return 4 if functions < 2 else 2
    if functions:
        return 4 if machine.accumulators > 16 else 2
    return 8 if spec.joins else 2


def _mask_of(pointer: str, mask: ir.Value | None) -> ir.Value | None:
    """The mask for memory behind a pointer: near memory has room for whole vectors."""
    return None if pointer == "near" else mask


def _itemsize(spec: SweepSpec, scalars: list[Value]) -> int:
    """Of the largest float, by which vectors are cut."""
    dtypes = {dtype for _, dtype, _ in (*spec.loads, *((spec.store,) if spec.store else ()))}
    return 8 if "float64" in dtypes or any(isinstance(v.type, ir.DoubleType) for v in scalars) else 4


# -- meaning -----------------------------------------------------------------------------------------------------


def _meaning(**columns: Any) -> Callable[[FunctionType], Callable[..., Any]]:
    """What is done with an element, done along a row."""

    def of_row(element: FunctionType) -> Callable[..., Any]:
        spec = SweepSpec(**columns, element=element)
        return lambda *operands: _sweep_meaning(spec, operands)

    return of_row


def _sweep_meaning(spec: SweepSpec, operands: tuple[Any, ...]) -> Any:
    from blockfuse.codegen.meaning import folding, memory  # only who checks kernels pays for it

    pointers, indices = len(spec.pointers), len(spec.pointers) + len(spec.indices)
    addresses = dict(zip(spec.pointers, operands, strict=False))
    around, scalars = operands[pointers:indices], operands[indices if spec.extent else indices + 1 :]
    extent = spec.extent or operands[indices]
    if len(scalars) != len(spec.scalars):
        raise memory.MeaningError(f"{len(scalars)} scalars are given for {', '.join(spec.scalars)}")
    row_values = scalars[: len(scalars) - len(spec.joins)]
    starts = [numpy.full((1, folding.width(extent)), x) for x in scalars[len(row_values) :]]

    def step(totals: list[Any], first: int, end: int) -> list[Any]:
        taken = [_along_meaning(access, addresses, around, first, end) for access in spec.loads]
        made = spec.element(*taken, *row_values, *totals)
        results = list(made) if isinstance(made, tuple) else [made]
        if spec.store is not None:
            name, dtype, strides = spec.store
            value = numpy.broadcast_to(results.pop(0), (end - first,))
            addresses[name].write(dtype, strides[-1:], value, _start_meaning(strides, around, first))
        return results

    found = folding.folded_by(step, lambda n, a, b: spec.joins[n](a, b), starts, extent)
    folds = tuple(total[0, 0] for total in found)
    return folds[0] if len(folds) == 1 else folds or None


def _along_meaning(access: Access, addresses: Any, around: Any, first: int, end: int) -> Any:
    """Elements ``first`` to ``end`` of a row."""
    name, dtype, strides = access
    return addresses[name].read(dtype, (end - first,), strides[-1:], _start_meaning(strides, around, first))


def _start_meaning(strides: tuple[int, ...], around: Any, first: int) -> int:
    return int(sum(n * step for n, step in zip((*around, first), strides, strict=True)))


ROW_SWEEP = KernelFunction("row_sweep", lambda machine: partial(_native, machine), _meaning)
