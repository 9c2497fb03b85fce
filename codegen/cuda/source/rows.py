"""Kernels of sweeps along rows, as device source: a group of threads shares a row and holds it in registers between sweeps.

See NOTE [thread groups] in ``thread_groups.py``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy

from blockfuse.codegen.cuda.source.addresses import (
    function,
    guarded,
    head,
    looped,
    max_rows,
    seen,
    stored,
    times,
    unsigned,
)
from blockfuse.codegen.cuda.source.device_source import DeviceSource, Stage
from blockfuse.codegen.cuda.source.row_walks import (
    arrays,
    fold_lines,
    held_loads,
    row_of_thread,
    row_store,
    row_values,
    starts,
    sweep_lines,
)
from blockfuse.codegen.cuda.source.thread_groups import (
    ThreadGroup,
    folded_dtypes,
    group_for,
    joined,
)
from blockfuse.codegen.kernels.loop_kernels import RowKernel, Sweep
from blockfuse.codegen.kernels.source_lines import assignment, text


def rows_source(kernel: RowKernel, threads: int, wide: bool) -> DeviceSource:
    group = group_for(kernel, threads, wide)
    elements = [*(a for a in kernel.loads if a not in kernel.row_loads), kernel.store]
    source = DeviceSource(
        kernel.name,
        function(head(kernel.name, kernel.pointers), _whole(group)) if group.parts == 1 else "",
        kernel.pointers,
        (Stage(kernel.name, group.threads, pieces_per_block=group.rows),),
        wide=group.width > 1,
        max_rows=max_rows(elements, (kernel.extent,)),
    )
    return source if group.parts == 1 else _in_parts(source, group)


def _in_parts(source: DeviceSource, group: ThreadGroup) -> DeviceSource:
    """Two stages: parts of rows are folded into scratch memory, then joined."""
    (dtype,), folds = folded_dtypes(group.kernel), group.kernel.sweeps[0].folds
    (last,) = source.stages
    first = replace(last, name=f"{last.name}_of_parts", columns=group.parts)
    source = replace(
        source,
        stages=(first, last),
        scratch=len(folds) * group.parts * numpy.dtype(dtype).itemsize,
        scratch_dtype=dtype,
    )
    heads = [head(s.name, source.pointers, scratch=True) for s in (first, last)]
    parts, together = map(function, heads, (_part(group), _together(group)))
    return replace(source, text=f"{parts}\n\n{together}")


def _whole(group: ThreadGroup) -> list[str]:
    """Rows that one group each does from the first sweep to the last."""
    kernel = group.kernel
    lines = [*row_of_thread(group), *row_values(group), *starts(group), *arrays(group), *held_loads(group)]
    for number, sweep in enumerate(kernel.sweeps):
        lines += sweep_lines(group, number, sweep)
    return lines if kernel.stores_elements else [*lines, *row_store(group)]


# -- rows in parts -------------------------------------------------------------------------------------------


def _part(group: ThreadGroup) -> list[str]:
    """What a block folds of its part of a row, into scratch memory."""
    kernel = group.kernel
    (sweep,) = kernel.sweeps
    first = f"first = uint32(uint32(cuda.blockIdx.y) * {unsigned(group.steps * group.step)})"
    lines = [*row_of_thread(group), first, *row_values(group), *starts(group), *arrays(group)]
    lines += fold_lines(group, 0, sweep)
    slot = f"uint32(r * {unsigned(group.parts)} + uint32(cuda.blockIdx.y))"
    stores = [f"{_slot(sweep, n, slot)} = {stored(f.name, f.dtype)}" for n, f in enumerate(sweep.folds)]
    return [*lines, *guarded("lane == uint32(0)", stores)]


def _together(group: ThreadGroup) -> list[str]:
    """The parts of a row, joined by a block."""
    kernel = group.kernel
    (sweep,) = kernel.sweeps
    lines = [*row_of_thread(group), *row_values(group), *(f"{f.name} = {text(f.start)}" for f in sweep.folds)]
    slot = f"uint32(r * {unsigned(group.parts)} + part)"
    joins = [
        f"{f.name} = {f.join.format(f.name, seen(_slot(sweep, n, slot), f.dtype))}"
        for n, f in enumerate(sweep.folds)
    ]
    part = f"part = uint32(uint32(s) * {unsigned(group.threads)} + lane)"
    rounds = -(-group.parts // group.threads)
    lines += looped("s", rounds, [part, *guarded(f"part < {unsigned(group.parts)}", joins)])
    for fold in sweep.folds:
        lines += joined(group, fold)
    return [*lines, *(assignment(s) for s in sweep.after), *row_store(group)]


def _slot(sweep: Sweep, number: int, slot: str) -> str:
    count = len(sweep.folds)
    return f"scratch[{slot}]" if count == 1 else f"scratch[uint32({times(slot, count)} + {unsigned(number)})]"
