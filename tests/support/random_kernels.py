"""Random kernels as data, also such as no scheduler makes today, with memory that they just reach."""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy
import written

from blockfuse.codegen.kernels.kernel import Access, Kernel, Statement
from blockfuse.codegen.kernels.loop_kernels import ColumnKernel, Fold, MapKernel, RowKernel, Sweep
from blockfuse.codegen.meaning.memory import Address, given, unwritten

FLOATS = ("float32", "float64")
KINDS = (  # dtypes of one kernel: vector code is made of floats and flags
    ("float32", "float32", "bool"),
    ("float32", "float64", "bool"),
    ("float32", "float64", "int32", "int64", "uint8", "bool", "int8", "uint64"),
)
EXTENTS = (1, 2, 3, 5, 7, 8, 9, 10, 11, 12, 15, 16, 17, 18, 23, 31, 32, 33, 40, 63, 65, 70)
ONE_FLOAT = ("tanh", "sigmoid", "relu", "abs", "sign", "floor", "rint", "trunc", "ceil", "softplus")
# name -> what a fold of floats starts from
EXTREMES = {"fold_maximum": "-inf", "fold_minimum": "inf"}

Types = dict[str, str]  # name of a value -> its dtype


@dataclass(frozen=True)
class RandomKernel:
    """A kernel with what it reads, for launches of all ``rows``."""

    kernel: Kernel
    rows: int
    size: int
    read: dict[str, Address]

    def addresses(self) -> dict[str, Address]:
        """With new memory for the result."""
        return {**self.read, "out": Address(unwritten(self.size, self.kernel.store.dtype))}


def random_kernel(seed: int) -> RandomKernel:
    return _Writer(seed).written()


class _Writer:
    """Writes one kernel."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)
        self.numbers = numpy.random.default_rng(seed)
        self.dtypes = self.pick.choice(KINDS)
        self.folding = [d for d in self.dtypes if d not in ("int8", "uint8")]  # NumPy folds them wider, too
        self.rows, self.extent = self.pick.randint(1, 4), self.pick.choice(EXTENTS)
        self.read: dict[str, Address] = {}
        self.count = 0

    def written(self) -> RandomKernel:
        kernel, size = self.pick.choice((self.map, self.of_rows, self.of_rows, self.columns))()
        return RandomKernel(kernel, self.rows, size, self.read)

    # -- kernels ---------------------------------------------------------------------------------------------

    def map(self) -> tuple[Kernel, int]:
        inner = self.pick.choice(((self.extent,), (self.extent,), (3, self.extent), ()))
        shape, types = (self.rows, *inner), Types()
        loads = self.loads(shape, self.pick.randint(1, 3), types)
        body = self.statements(types, self.pick.randint(1, 5))
        result = body[-1]
        dense = tuple(prod(shape[n + 1 :]) for n in range(len(shape)))
        streams = result.dtype in FLOATS and len(inner) < 2 and self.chance(0.2)
        store = Access("out", result.dtype, dense)
        return MapKernel("random", store, inner, loads, body, result.name, streams), prod(shape)

    def of_rows(self) -> tuple[Kernel, int]:
        elements, rows = Types(), Types()
        loads = self.loads((self.rows, self.extent), self.pick.randint(1, 3), elements)
        row_loads = self.loads((self.rows,), self.pick.randint(0, 2), rows)
        before = self.statements(rows, self.pick.randint(0, 2)) if rows else ()
        by_element, dtype = self.chance(0.6), self.pick.choice(self.dtypes)
        sweeps: list[Sweep] = []
        for number in range(count := self.pick.randint(1, 3)):
            kept = next((s.keep for s in sweeps if s.keep), None)
            stores = by_element and number == count - 1
            sweeps.append(
                self.sweep(loads, rows, kept, dtype, stores, by_element and not kept and not stores)
            )
        made = [name for name in rows if name.startswith("t")]
        result = sweeps[-1].body[-1].name if by_element else self.pick.choice(made)
        dtype = dtype if by_element else rows[result]
        store = Access("out", dtype, (self.extent, 1) if by_element else (1,))
        streams = by_element and dtype in FLOATS and self.chance(0.2)
        all_loads = (*loads, *row_loads)
        kernel = RowKernel(
            "random", store, self.extent, all_loads, row_loads, before, tuple(sweeps), result, streams
        )
        return kernel, self.rows * (self.extent if by_element else 1)

    def sweep(
        self, loads: tuple[Access, ...], rows: Types, kept: str | None, dtype: str, stores: bool, keeps: bool
    ) -> Sweep:
        """One more sweep; ``rows`` gets what it leaves. stores: the last of its statements is the result."""
        used = tuple(load for load in loads if self.chance(0.7)) or loads[:1]
        if kept and self.chance(0.8):
            used = (*used, Access("out", dtype, (0, 1), alias=kept))
        own = {load.value: load.dtype for load in used}
        types = {**rows, **own}
        body = self.statements(types, self.pick.randint(0, 4))
        if stores:
            body = (*body, self.statement(types, dtype))
        own |= {s.name: s.dtype for s in body}
        folds = () if stores else tuple(self.fold(own) for _ in range(self.pick.randint(1, 3)))
        rows |= {fold.name: fold.dtype for fold in folds}
        after = self.statements(rows, self.pick.randint(0, 2)) if rows else ()
        fitting = [s.name for s in body if s.dtype == dtype] if keeps and self.chance(0.5) else []
        return Sweep(used, body, folds, after, self.pick.choice(fitting) if fitting else None)

    def columns(self) -> tuple[Kernel, int]:
        inner = () if self.chance(0.5) else (self.pick.choice((1, 3, 9, 16)),)
        extents, types = (self.extent, *inner), Types()
        loads = self.loads((self.rows, *extents), self.pick.randint(1, 2), types)
        body = self.statements(types, self.pick.randint(0, 3))
        folding = self.fold(types, "acc")
        store = Access("out", folding.dtype, (*inner, 1))
        kernel = ColumnKernel("random", store, extents, loads, body, folding)
        return kernel, self.rows * prod(inner)

    # -- pieces ----------------------------------------------------------------------------------------------

    def chance(self, share: float) -> bool:
        return self.pick.random() < share

    def loads(self, shape: tuple[int, ...], count: int, types: Types) -> tuple[Access, ...]:
        return tuple(self.load(shape, types) for _ in range(count))

    def load(self, shape: tuple[int, ...], types: Types) -> Access:
        """An operand that lies somehow: densely, the same along an axis, or backwards."""
        name, dtype = f"x{len(self.read)}", self.pick.choice(self.dtypes)
        around = [self.pick.choice((0, 1, self.extent, self.extent + 1, -self.extent)) for _ in shape[:-1]]
        strides = (*around, self.pick.choice((1, 1, 1, 0, -1, 2) if self.chance(0.3) else (1, 1, 0)))
        reach = [(n - 1) * step for n, step in zip(shape, strides, strict=True)]
        below = -sum(min(r, 0) for r in reach)
        self.read[name] = Address(given(self.values(below + sum(max(r, 0) for r in reach) + 1, dtype)), below)
        types[name] = dtype
        return Access(name, dtype, strides)

    def values(self, size: int, dtype: str) -> numpy.ndarray:
        """Quarters, whole numbers and truths."""
        values: Any = numpy.round(self.numbers.normal(size=size) * 8)
        if dtype == "bool":
            return numpy.asarray(values > 0)
        values = values / 4 if dtype in FLOATS else numpy.abs(values) if dtype.startswith("u") else values
        return numpy.asarray(values).astype(dtype)

    def statements(self, types: Types, count: int) -> tuple[Statement, ...]:
        return tuple(self.statement(types, self.pick.choice(self.dtypes)) for _ in range(count))

    def statement(self, types: Types, dtype: str) -> Statement:
        statement = written.statement(self.new_name(), dtype, self.expression(types, dtype))
        types[statement.name] = dtype
        return statement

    def new_name(self) -> str:
        self.count += 1
        return f"t{self.count - 1}"

    def fold(self, types: Types, name: str = "") -> Fold:
        name, dtype = name or self.new_name(), self.pick.choice(self.folding)
        element = self.value(types, dtype)
        if dtype == "bool":
            sign, start = self.pick.choice((("|", "False"), ("&", "True")))
            return written.fold(name, dtype, start, f"{name} {sign} {element}", f"{{0}} {sign} {{1}}")
        function = self.pick.choice(("fold_add", *EXTREMES))
        if dtype in FLOATS:
            start = f"{dtype}({EXTREMES.get(function, 0.0)})"
            return written.fold(
                name, dtype, start, f"{function}({name}, {element})", f"{function}({{0}}, {{1}})"
            )
        bounds = numpy.iinfo(dtype)
        first = {"fold_maximum": bounds.min, "fold_minimum": bounds.max}.get(function, 0)
        texts = (f"{dtype}({function}({pair}))" for pair in (f"{name}, {element}", "{0}, {1}"))
        return written.fold(name, dtype, f"{dtype}({first})", *texts)

    # -- expressions -----------------------------------------------------------------------------------------

    def expression(self, types: Types, dtype: str) -> str:
        x, y, flag = (self.value(types, d) for d in (dtype, dtype, "bool"))
        if dtype == "bool":
            number = self.pick.choice([d for d in types.values() if d != "bool"] or ["float32"])
            left, right = self.value(types, number), self.value(types, number)
            compared = f"{left} {self.pick.choice(('<', '<=', '>', '==', '!='))} {right}"
            return self.pick.choice((compared, f"{x} {self.pick.choice('&|^')} {y}", f"negated({x})"))
        chosen = (f"select({flag}, {x}, {y})", f"{self.pick.choice(('maximum', 'minimum'))}({x}, {y})")
        if dtype not in FLOATS:
            sign = self.pick.choice("+-*&|^")
            return f"{dtype}({self.pick.choice((f'{x} {sign} {y}', *chosen))})"
        ratio, one = f"{x} / (abs({y}) + {dtype}(1.0))", f"{self.pick.choice(ONE_FLOAT)}({x})"
        return self.pick.choice((f"{x} {self.pick.choice('+-*')} {y}", *chosen, ratio, one, f"-{x}"))

    def value(self, types: Types, dtype: str) -> str:
        """A value as one of ``dtype``; floats that become integers stay where all of these hold them."""
        name = self.pick.choice(list(types))
        found = types[name]
        if found == dtype:
            return name
        if dtype == "bool":
            return f"truth({name})"
        if found in FLOATS and dtype not in FLOATS:
            low = 0.0 if dtype.startswith("u") else -99.0
            return f"{dtype}(int64(maximum(minimum({name}, {found}(99.0)), {found}({low}))))"
        return f"{dtype}({name})"
