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
    Team,
    folded_dtypes,
    joined,
    team_for,
)
from blockfuse.codegen.kernels.loop_kernels import RowKernel, Sweep
from blockfuse.codegen.kernels.source_lines import assignment, text


def rows_source(kernel: RowKernel, threads: int, wide: bool) -> DeviceSource:
    team = team_for(kernel, threads, wide)
    elements = [*(a for a in kernel.loads if a not in kernel.row_loads), kernel.store]
    source = DeviceSource(
        kernel.name,
        function(head(kernel.name, kernel.pointers), _whole(team)) if team.parts == 1 else "",
        kernel.pointers,
        (Stage(kernel.name, team.threads, pieces_per_block=team.rows),),
        wide=team.width > 1,
        max_rows=max_rows(elements, (kernel.extent,)),
    )
    return source if team.parts == 1 else _in_parts(source, team)


def _in_parts(source: DeviceSource, team: Team) -> DeviceSource:
    """Two stages: parts of rows are folded into scratch memory, then joined."""
    (dtype,), folds = folded_dtypes(team.kernel), team.kernel.sweeps[0].folds
    (last,) = source.stages
    first = replace(last, name=f"{last.name}_of_parts", columns=team.parts)
    source = replace(
        source,
        stages=(first, last),
        scratch=len(folds) * team.parts * numpy.dtype(dtype).itemsize,
        scratch_dtype=dtype,
    )
    heads = [head(s.name, source.pointers, scratch=True) for s in (first, last)]
    parts, together = map(function, heads, (_part(team), _together(team)))
    return replace(source, text=f"{parts}\n\n{together}")


def _whole(team: Team) -> list[str]:
    """Rows that one team each does from the first sweep to the last."""
    kernel = team.kernel
    lines = [*row_of_thread(team), *row_values(team), *starts(team), *arrays(team), *held_loads(team)]
    for number, sweep in enumerate(kernel.sweeps):
        lines += sweep_lines(team, number, sweep)
    return lines if kernel.stores_elements else [*lines, *row_store(team)]


# -- rows in parts -------------------------------------------------------------------------------------------


def _part(team: Team) -> list[str]:
    """What a block folds of its part of a row, into scratch memory."""
    kernel = team.kernel
    (sweep,) = kernel.sweeps
    first = f"first = uint32(uint32(cuda.blockIdx.y) * {unsigned(team.steps * team.step)})"
    lines = [*row_of_thread(team), first, *row_values(team), *starts(team), *arrays(team)]
    lines += fold_lines(team, 0, sweep)
    slot = f"uint32(r * {unsigned(team.parts)} + uint32(cuda.blockIdx.y))"
    stores = [f"{_slot(sweep, n, slot)} = {stored(f.name, f.dtype)}" for n, f in enumerate(sweep.folds)]
    return [*lines, *guarded("lane == uint32(0)", stores)]


def _together(team: Team) -> list[str]:
    """The parts of a row, joined by a block."""
    kernel = team.kernel
    (sweep,) = kernel.sweeps
    lines = [*row_of_thread(team), *row_values(team), *(f"{f.name} = {text(f.start)}" for f in sweep.folds)]
    slot = f"uint32(r * {unsigned(team.parts)} + part)"
    joins = [
        f"{f.name} = {f.join.format(f.name, seen(_slot(sweep, n, slot), f.dtype))}"
        for n, f in enumerate(sweep.folds)
    ]
    part = f"part = uint32(uint32(s) * {unsigned(team.threads)} + lane)"
    rounds = -(-team.parts // team.threads)
    lines += looped("s", rounds, [part, *guarded(f"part < {unsigned(team.parts)}", joins)])
    for fold in sweep.folds:
        lines += joined(team, fold)
    return [*lines, *(assignment(s) for s in sweep.after), *row_store(team)]


def _slot(sweep: Sweep, number: int, slot: str) -> str:
    count = len(sweep.folds)
    return f"scratch[{slot}]" if count == 1 else f"scratch[uint32({times(slot, count)} + {unsigned(number)})]"
