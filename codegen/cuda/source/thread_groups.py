"""Who works on a row: how many threads, what they hold, how their folds become one.

NOTE [thread groups]
Short rows have a part of a warp or a warp, which folds by shuffles; long ones a block, whose warps meet in shared memory.
Every element is read once, before the first sweep, and stays in the registers of its thread: arrays that are only indexed by
constants once their loops are unrolled. Rows that no block can hold are read again in each sweep; where there is one sweep
and no result for each element, several blocks share such a row, and a second launch joins what they left in scratch memory.
Which thread folds what, and in which order parts join, depends on the kernel alone, so that results can be repeated.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy

from blockfuse.codegen.cuda.source.addresses import (
    MAX_GRID_BLOCKS,
    WIDE_ELEMENTS,
    guarded,
    is_wide,
    seen,
    shared,
    stored,
    unsigned,
)
from blockfuse.codegen.kernels.expression import Term, called
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.loop_kernels import Fold, RowKernel
from blockfuse.codegen.kernels.source_lines import indented
from blockfuse.codegen.values.functions import LIBRARY

_WARP = 32
_MAX_WARP_ELEMENTS = 32  # of a row for each thread of a warp: a longer row has a block
_MAX_HELD_WORDS = 64  # of 4 bytes, of a row, that a thread holds between sweeps
# of a sweep with its loops unrolled: NVVM leaves longer ones as loops, and arrays in memory
_MAX_UNROLLED_INSTRUCTIONS = 1800
# function -> about how many instructions it is
_INSTRUCTIONS = dict.fromkeys(LIBRARY, 100) | {
    "exp": 22,
    "log": 30,
    "sigmoid": 32,
    "tanh": 44,
    "erf": 48,
    "softplus": 90,
}
_PART_ELEMENTS = 64  # elements for each thread of a block that has a part of a row
_MIN_PARTS = 4  # blocks that are worth a second launch


@dataclass(frozen=True)
class ThreadGroup:
    """The threads that share a row, and how they do."""

    kernel: RowKernel
    size: int  # threads for each row
    width: int  # elements that a thread takes at a time
    threads: int  # in a block, which may have several groups
    holds: bool = True  # whether threads keep the row between sweeps
    parts: int = 1  # blocks that share a row

    @property
    def rows(self) -> int:
        """Rows of a block."""
        return self.threads // self.size

    @property
    def step(self) -> int:
        return self.size * self.width

    @property
    def steps(self) -> int:
        return _PART_ELEMENTS // self.width if self.parts > 1 else -(-self.kernel.extent // self.step)

    @property
    def mine(self) -> int:
        """Elements of a row that a thread has."""
        return self.steps * self.width

    @property
    def is_ragged(self) -> bool:
        """Whether the last step goes beyond the end of a row."""
        return self.parts * self.steps * self.step != self.kernel.extent

    @cached_property
    def held(self) -> tuple[Access, ...]:
        """Loads that several sweeps need."""
        uses = Counter(a.value for s in self.kernel.sweeps for a in s.loads)
        return tuple(a for a in walked(self.kernel) if uses[a.value] > 1) if self.holds else ()


def walked(kernel: RowKernel) -> list[Access]:
    """Loads with an element for each one of a row."""
    return [a for a in kernel.loads if a not in kernel.row_loads and a.strides[1]]


# -- choice --------------------------------------------------------------------------------------------------


def group_for(kernel: RowKernel, threads: int, wide: bool) -> ThreadGroup:
    """See NOTE [thread groups]. threads: about how many a block has; wide: whether pointers are multiples of 16 bytes."""
    width = (
        WIDE_ELEMENTS
        if wide and _is_wide(kernel) and WIDE_ELEMENTS * _longest(kernel) <= _MAX_UNROLLED_INSTRUCTIONS
        else 1
    )
    parts = -(-kernel.extent // (threads * _PART_ELEMENTS))
    if _MIN_PARTS <= parts <= MAX_GRID_BLOCKS and _can_be_parted(kernel):
        return ThreadGroup(kernel, threads, width, threads, parts=parts)
    small = next(n for n in (1, 2, 4, 8, 16, 32) if n == _WARP or n * width >= kernel.extent)
    # in smaller blocks: less is idle where rows are few
    short = ThreadGroup(kernel, small, width, max(_WARP, threads // 2))
    groups = [short, *(ThreadGroup(kernel, size, width, size) for size in (threads, 2 * threads))]
    return next(filter(_fits, groups), ThreadGroup(kernel, 2 * threads, width, 2 * threads, holds=False))


def _is_wide(kernel: RowKernel) -> bool:
    """Whether a thread can walk four elements at a time: some are neighbours, and those that are stored are."""
    aligned = [is_wide(a) for a in walked(kernel)]
    stored_wide = not kernel.stores_elements or is_wide(kernel.store)
    return kernel.extent % WIDE_ELEMENTS == 0 and any(aligned) and stored_wide


def _can_be_parted(kernel: RowKernel) -> bool:
    return len(kernel.sweeps) == 1 and not kernel.stores_elements and len(folded_dtypes(kernel)) == 1


def folded_dtypes(kernel: RowKernel) -> set[str]:
    return {f.dtype for s in kernel.sweeps for f in s.folds}


def _fits(group: ThreadGroup) -> bool:
    """Whether a thread can hold its elements, and the compiler unrolls the loops over them."""
    kept = [group.kernel.store.dtype for s in group.kernel.sweeps if s.keep]
    sizes = [max(4, numpy.dtype(d).itemsize) // 4 for d in (*(a.dtype for a in group.held), *kept)]
    few = group.mine <= _MAX_WARP_ELEMENTS or group.rows == 1
    return (
        few
        and group.mine * max(1, sum(sizes)) <= _MAX_HELD_WORDS
        and group.mine * _longest(group.kernel) <= _MAX_UNROLLED_INSTRUCTIONS
    )


def _longest(kernel: RowKernel) -> int:
    """About how many instructions the longest sweep is for each element."""
    return max(sum(instructions(t.expression) for t in s.body) + len(s.folds) for s in kernel.sweeps)


def instructions(expression: Term) -> int:
    """About how many instructions an expression is."""
    return 1 + sum(map(_instructions_of_template, expression.templates))


def _instructions_of_template(template: str) -> int:
    return 3 * template.count(" / ") + sum(_INSTRUCTIONS.get(name, 0) for name in called(template))


# -- folds of a group -----------------------------------------------------------------------------------------


def joined(group: ThreadGroup, fold: Fold) -> list[str]:
    """The folds of all threads of a group as one, which each of them gets."""
    inside = min(group.size, _WARP)
    masks = [1 << n for n in reversed(range(inside.bit_length() - 1))]
    lines = [
        f"{fold.name} = {fold.join.format(fold.name, f'shfl_xor({fold.name}, {unsigned(m)})')}" for m in masks
    ]
    if group.size <= _WARP:
        return lines
    parts, warps = f"parts_{fold.name}", group.size // _WARP
    other = seen(f"{parts}[w]", fold.dtype)
    return [
        *lines,
        shared(parts, warps, fold.dtype),
        *guarded(
            "lane % uint32(32) == uint32(0)",
            [f"{parts}[uint32(lane // uint32(32))] = {stored(fold.name, fold.dtype)}"],
        ),
        "cuda.syncthreads()",
        f"{fold.name} = {seen(f'{parts}[0]', fold.dtype)}",
        f"for w in range(1, {warps}):",
        *indented(1, [f"{fold.name} = {fold.join.format(fold.name, other)}"]),
    ]
