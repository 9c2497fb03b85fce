"""Folds over an axis that is not the last, as device source: neighbouring threads fold neighbouring columns.

NOTE [columns]
Where there is much to fold, several warps of a block share out the folded axis, and their parts join in shared memory. Where
there is very much, several blocks do, and a second launch joins what they left in scratch memory. Both join in a fixed
order, so that results can be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy

from blockfuse.codegen.cuda.source.addresses import (
    MAX_GRID_BLOCKS,
    function,
    guarded,
    head,
    looped,
    max_rows,
    multiple,
    offset,
    offset_after,
    seen,
    shared,
    split,
    stored,
    times,
    unsigned,
)
from blockfuse.codegen.cuda.source.device_source import DeviceSource, Stage
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.loop_kernels import ColumnKernel
from blockfuse.codegen.kernels.source_lines import assignment, indented, text, variable

_LANES = 32
_MIN_ELEMENTS = 8  # elements that are worth a thread of their own
_PART_ELEMENTS = 64  # elements for each thread of a block that has a part of the folded axis
_MIN_PARTS = 4  # that are worth a second launch


@dataclass(frozen=True)
class _Cut:
    """How a fold is shared out."""

    kernel: ColumnKernel
    lanes: int  # columns of a block
    walkers: int  # threads of a block for each column
    parts: int  # blocks that share a column

    @property
    def elements(self) -> int:
        """Elements of a column for each block."""
        return -(-self.kernel.extents[0] // self.parts)


def columns_source(kernel: ColumnKernel, threads: int, alone: bool = False) -> DeviceSource:
    cut, types = _cut(kernel, threads, alone), kernel.pointers
    inner = _inner(kernel)
    stage = Stage(kernel.name, cut.lanes * cut.walkers, inner, cut.lanes)
    limit = max_rows(kernel.loads, kernel.extents)
    if cut.parts == 1:
        lines = [*_column(cut), *_starts(kernel), *_folded(cut), *_joined(cut, _store(kernel))]
        return DeviceSource(
            kernel.name, function(head(kernel.name, types), lines), types, (stage,), max_rows=limit
        )
    dtype = kernel.store.dtype
    first = Stage(f"{kernel.name}_of_parts", stage.threads, inner, cut.lanes, columns=cut.parts)
    last = Stage(kernel.name, threads, inner, threads)
    scratch = cut.parts * inner * numpy.dtype(dtype).itemsize
    return DeviceSource(
        kernel.name,
        _two_functions(cut, threads),
        types,
        (first, last),
        scratch,
        dtype,
        max_rows=min(limit, (2**32 - 1) // (cut.parts * inner)),
    )


def _cut(kernel: ColumnKernel, threads: int, alone: bool) -> _Cut:
    """See NOTE [columns]. alone: blocks whose threads meet have as many as those of other kernels."""
    folded = kernel.extents[0]
    fitting = min(threads // _LANES, folded // _MIN_ELEMENTS)
    walkers = 1 << max(0, fitting.bit_length() - 1)
    if alone and walkers > 1:
        walkers = threads // _LANES
    parts = min(MAX_GRID_BLOCKS, folded // (walkers * _PART_ELEMENTS))
    return _Cut(kernel, _LANES if walkers > 1 else threads, walkers, parts if parts >= _MIN_PARTS else 1)


def _two_functions(cut: _Cut, threads: int) -> str:
    """Parts of the folded axis into scratch memory; then, for each column, its parts."""
    kernel = cut.kernel
    count = multiple("rows", _inner(kernel))
    slot = f"scratch[uint32(uint32(cuda.blockIdx.y) * {count} + column)]"
    lines = [*_column(cut), *_starts(kernel), *_folded(cut)]
    lines += _joined(cut, f"{slot} = {stored('acc', kernel.store.dtype)}")
    together = [
        *_column(_Cut(kernel, threads, 1, 1)),
        f"acc = {text(kernel.fold.start)}",
        *looped(
            "part",
            cut.parts,
            [
                f"other = {seen(f'scratch[uint32(uint32(part) * {count} + column)]', kernel.store.dtype)}",
                f"acc = {kernel.fold.join.format('acc', 'other')}",
            ],
        ),
        *guarded("live", [_store(kernel)]),
    ]
    names = f"{kernel.name}_of_parts", kernel.name
    first, last = (head(name, kernel.pointers, scratch=True) for name in names)
    return f"{function(first, lines)}\n\n{function(last, together)}"


def _inner(kernel: ColumnKernel) -> int:
    return kernel.extents[1] if kernel.extents[1:] else 1


def _column(cut: _Cut) -> list[str]:
    """Which column a thread folds; those beyond the last fold the last one and store nothing."""
    thread, lines = "uint32(cuda.threadIdx.x)", list[str]()
    if cut.walkers > 1:
        lines += [
            f"lane = uint32({thread} % {unsigned(cut.lanes)})",
            f"walker = uint32({thread} // {unsigned(cut.lanes)})",
        ]
        thread = "lane"
    count = multiple("rows", _inner(cut.kernel))
    return [
        *lines,
        f"column = uint32(uint32(cuda.blockIdx.x) * {unsigned(cut.lanes)} + {thread})",
        f"live = column < {count}",
        f"column = minimum(column, uint32({count} - uint32(1)))",
    ]


def _starts(kernel: ColumnKernel) -> list[str]:
    """Where the elements of the column begin."""
    if not kernel.extents[1:]:
        return [f"{_start(a)} = {offset(('column',), a.strides[:1])}" for a in kernel.loads]
    lines = ["n = column", *split("n", ("r", "c"), kernel.extents[1:])]
    return lines + [f"{_start(a)} = {offset(('r', 'c'), (a.strides[0], a.strides[2]))}" for a in kernel.loads]


def _start(access: Access) -> str:
    return "p" + access.name[1:]


def _folded(cut: _Cut) -> list[str]:
    """A walk along the folded axis, or along the part of it that the block has."""
    kernel, folded = cut.kernel, cut.kernel.extents[0]
    first = "walker" if cut.walkers > 1 else "uint32(0)"
    lines, end = [f"f = {first}"], unsigned(folded)
    if cut.parts > 1:
        begin = f"uint32(uint32(cuda.blockIdx.y) * {unsigned(cut.elements)})"
        lines = [
            f"begin = {begin}",
            f"end = minimum({unsigned(folded)}, uint32(begin + {unsigned(cut.elements)}))",
        ]
        lines.append(f"f = uint32(begin + {first})")
        end = "end"
    step = [
        *(f"{variable(a.value)} = {_read(a)}" for a in kernel.loads),
        *(assignment(s) for s in kernel.body),
        f"acc = {text(kernel.fold.step)}",
        f"f = uint32(f + {unsigned(cut.walkers)})",
    ]
    return [*lines, f"acc = {text(kernel.fold.start)}", f"while f < {end}:", *indented(1, step)]


def _read(access: Access) -> str:
    return seen(f"{access.name}[{offset_after(_start(access), 'f', access, 1)}]", access.dtype)


def _store(kernel: ColumnKernel) -> str:
    return f"out[column] = {stored('acc', kernel.store.dtype)}"


def _joined(cut: _Cut, store: str) -> list[str]:
    """The walkers' folds of a column as one, which the first of them stores."""
    if cut.walkers == 1:
        return guarded("live", [store])
    kernel, dtype = cut.kernel, cut.kernel.store.dtype
    other = seen(f"walked[uint32({times('uint32(w)', _LANES)} + lane)]", dtype)
    joins = [f"for w in range(1, {cut.walkers}):"]
    joins += indented(1, [f"other = {other}", f"acc = {kernel.fold.join.format('acc', 'other')}"])
    return [
        shared("walked", cut.walkers * _LANES, dtype),
        f"walked[uint32(cuda.threadIdx.x)] = {stored('acc', dtype)}",
        "cuda.syncthreads()",
        *guarded("live & (walker == uint32(0))", [*joins, store]),
    ]
