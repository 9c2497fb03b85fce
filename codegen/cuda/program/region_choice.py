"""Which blocks of a flow a device runs as regions (see ``regions.py``), and why it leaves the others to the host.

NOTE [what pays]
Until the host has read a predicate and launched what follows, the device waits for about 10 us, and a launch that waits for
another one costs some more. A block of threads has one multiprocessor of a hundred, and waits for memory most of the time.
The constants below are rounded from what vendors publish, none was measured; a block of a flow must take less than half of
what it saves, so they lean to the host.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from math import prod
from typing import Any

import numpy

from blockfuse.codegen.cuda.program.regions import Region, meets, region
from blockfuse.codegen.cuda.source.device_source import DeviceSource
from blockfuse.codegen.cuda.source.thread_groups import instructions
from blockfuse.codegen.kernels.elimination_kernel import EliminationKernel
from blockfuse.codegen.kernels.kernel import Access, Kernel, Statement
from blockfuse.codegen.kernels.loop_kernels import (
    ColumnKernel,
    DrawKernel,
    FlatKernel,
    Fold,
    MapKernel,
    RowKernel,
)
from blockfuse.codegen.kernels.product_kernels import ChainKernel, ProductKernel
from blockfuse.codegen.kernels.scan_kernel import ScanKernel
from blockfuse.codegen.kernels.scatter_kernel import ScatterKernel
from blockfuse.codegen.kernels.sort_kernel import SortKernel
from blockfuse.codegen.kernels.window_kernel import WindowKernel
from blockfuse.codegen.scheduling.schedule import BlockSchedule, Schedule
from blockfuse.codegen.scheduling.steps import HostCall, Launch
from blockfuse.ir.errors import NoDeviceKernelError

READ_NS = 10_000.0  # nanoseconds until the host has read a predicate
LAUNCH_NS = 2_000.0  # nanoseconds of a launch behind another one
MAX_TIME_SHARE = 0.5  # a block of a flow may take so much of what it saves
STEP_NS = 500.0  # nanoseconds of a kernel that has little to do: addresses, first loads, the barrier
BYTES_PER_NS = 8.0  # that a block of threads moves in a nanosecond
OPERATIONS_PER_NS = 64.0  # that it computes in one
COLUMN_STEP_NS = 30.0  # nanoseconds from one element of a column to the next
_MAX_LAUNCHES = 32  # most of a region: it shall compile in a second or two
_MAX_BLOCKS = 32  # the same
_MAX_SHARED_BYTES = 48 << 10  # bytes of shared memory that kernels may declare

Sources = dict[int, DeviceSource]  # step -> its kernel for a region


def chosen(
    schedule: Schedule, source_of: Callable[[Launch], DeviceSource]
) -> tuple[tuple[Region, ...], dict[int, str]]:
    """The regions of a schedule, and why blocks that decide are in none, by their numbers.

    source_of: makes the source of a launch; raises NoDeviceKernelError.
    """
    sources: Sources = {}
    reasons: dict[int, str] = {}
    small = []
    if len(schedule.blocks) > 1 and not schedule.batch:
        for number, block in enumerate(schedule.blocks):
            try:
                sources |= _sources(schedule, block, source_of)
                small.append(number)
            except NoDeviceKernelError as error:
                reasons[number] = str(error)
    regions = []
    for blocks in _fitting(schedule, small, sources):
        beside = _beside(schedule, blocks)
        regions += [region(schedule, beside, sources)] if beside else []
    taken = {number for found in regions for number in found.blocks}
    reasons |= {n: "no block before or behind it is small as well" for n in small if n not in taken}
    return tuple(regions), {n: text for n, text in reasons.items() if schedule.blocks[n].successors}


def read_by_host(schedule: Schedule) -> int:
    """How many decisions the host reads if a call comes to each of them: regions count as one."""
    small = [n for n, block in enumerate(schedule.blocks) if not _too_large(schedule, block)]
    inside = _beside(schedule, small)
    outside = (b for n, b in enumerate(schedule.blocks) if n not in inside)
    return sum(block.predicate is not None for block in outside) + bool(inside)


# -- blocks ----------------------------------------------------------------------------------------------------


def _sources(
    schedule: Schedule, block: BlockSchedule, source_of: Callable[[Launch], DeviceSource]
) -> Sources:
    """The kernels of a block; raises NoDeviceKernelError where they cannot be part of a region."""
    problem = _too_large(schedule, block)
    if problem:
        raise NoDeviceKernelError(problem)
    found: Sources = {}
    for place in range(block.first, block.end):
        step = schedule.steps[place]
        assert isinstance(step, Launch), "a device has no strips"
        found[place] = source_of(step)
        if len(found[place].stages) != 1 or found[place].scratch:
            raise NoDeviceKernelError(f"kernel {step.kernel.name} is more than one launch")
    if not _fits(found.values()):
        raise NoDeviceKernelError("its kernels need blocks of different sizes, or much shared memory")
    return found


def _too_large(schedule: Schedule, block: BlockSchedule) -> str:
    """Why a block of threads would not, or not soon, be done with a block of the flow; empty where it would."""
    if block.pushes or block.pops:
        return "it leaves values on stacks, or takes them off, which the host counts"
    steps = schedule.steps[block.first : block.end]
    hosted = [step.operator.name for step in steps if isinstance(step, HostCall)]
    if hosted:
        return f"numpy {hosted[0]} runs on the host"
    launches = [launch for step in steps for launch in step.launches]
    picking = [launch.kernel.name for launch in launches if launch.kernel.has_fault]
    if picking:  # see NOTE [faults]
        return f"kernel {picking[0]} picks by index, and the host must see whether one is beyond its axis"
    time, saved = sum(map(nanoseconds, launches)), READ_NS + LAUNCH_NS * len(launches)
    if time < MAX_TIME_SHARE * saved:
        return ""
    limit = f"{MAX_TIME_SHARE:.0%} of {saved / 1000:.3g} us saved"
    return f"one block of threads would take {time / 1000:.3g} us, more than {limit}"


def _fitting(schedule: Schedule, blocks: Iterable[int], sources: Sources) -> list[list[int]]:
    """Blocks in their order, in parts that one launch each can run."""
    parts: list[list[int]] = [[]]
    for number in blocks:
        together = [*parts[-1], number]
        if len(together) > _MAX_BLOCKS or not _fits(_kernels(schedule, together, sources)):
            parts.append([])
        parts[-1].append(number)
    return parts


def _kernels(schedule: Schedule, blocks: Iterable[int], sources: Sources) -> list[DeviceSource]:
    scheduled = (schedule.blocks[number] for number in blocks)
    return [sources[place] for b in scheduled for place in range(b.first, b.end)]


def _fits(kernels: Iterable[DeviceSource]) -> bool:
    """Whether one launch can run these: in it a barrier is one for all threads."""
    used = list(kernels)
    threads = {s.stages[0].threads for s in used if meets(s)}
    most = max((s.stages[0].threads for s in used), default=0)
    shared = sum(map(_shared_bytes, set(used)))
    return len(used) <= _MAX_LAUNCHES and shared <= _MAX_SHARED_BYTES and (not threads or threads == {most})


def _shared_bytes(source: DeviceSource) -> int:
    arrays = re.findall(r"cuda\.shared\.array\((\d+), (?:types\.)?(\w+)", source.text)
    return sum(int(size) * numpy.dtype(dtype).itemsize for size, dtype in arrays)


def _beside(schedule: Schedule, blocks: Iterable[int]) -> tuple[int, ...]:
    """Those of the blocks that another one of them, or the same again, follows or precedes."""
    inside = set(blocks)
    pairs = [(n, way) for n in inside for way in schedule.blocks[n].successors or () if way in inside]
    return tuple(sorted({number for pair in pairs for number in pair}))


# -- kernels ---------------------------------------------------------------------------------------------------


def nanoseconds(launch: Launch) -> float:
    """About how long one block of threads needs for a launch; see NOTE [what pays]."""
    return _NANOSECONDS[type(launch.kernel)](launch.kernel, launch.rows)


def _of_map(kernel: MapKernel, rows: int) -> float:
    accesses = [*kernel.loads, kernel.store]
    return STEP_NS + _time(rows * prod(kernel.extents), accesses, _length([kernel.body]))


def _of_flat(kernel: FlatKernel, rows: int) -> float:
    """As what was merged for the processor, in the schedule that is compared with a device."""
    accesses = [*kernel.loads, *(access for access, _ in kernel.stores)]
    return STEP_NS + _time(rows, accesses, _length([kernel.body]))


def _of_rows(kernel: RowKernel, rows: int) -> float:
    accesses = [*(a for s in kernel.sweeps for a in s.loads), kernel.store]
    length = _length([part for s in kernel.sweeps for part in (s.body, s.folds)])
    return len(kernel.sweeps) * STEP_NS + _time(rows * kernel.extent, accesses, length)


def _of_columns(kernel: ColumnKernel, rows: int) -> float:
    walk = COLUMN_STEP_NS * (8 + kernel.extents[0] / 8)
    return STEP_NS + walk + _time(rows * prod(kernel.extents), kernel.loads, _length([kernel.body]) + 1)


def _of_scan(kernel: ScanKernel, rows: int) -> float:
    walk = COLUMN_STEP_NS * kernel.extent
    return STEP_NS + walk + _time(rows * prod(kernel.extents), [kernel.load, kernel.store], 1)


def _of_sort(kernel: SortKernel, rows: int) -> float:
    walk = COLUMN_STEP_NS * kernel.extent
    return STEP_NS + walk + _time(rows * prod(kernel.extents), [kernel.load, kernel.store], kernel.extent)


def _of_elimination(_kernel: EliminationKernel, _rows: int) -> float:
    return math.inf  # it runs on the host


def _of_scatter(_kernel: ScatterKernel, _rows: int) -> float:
    return math.inf  # the host must see whether an index is beyond its axis


def _of_draw(_kernel: DrawKernel, _rows: int) -> float:
    return math.inf  # where there are decisions, nothing is drawn


def _of_chain(kernel: ChainKernel, rows: int) -> float:
    return sum(_of_product(layer, rows) for layer in kernel.layers)


def _of_windows(_kernel: WindowKernel, _rows: int) -> float:
    return math.inf  # a device multiplies windows that were copied


def _of_product(kernel: ProductKernel, rows: int) -> float:
    matrices, height = (rows, kernel.height) if kernel.batched else (1, kernel.height or rows)
    products = matrices * height * kernel.inner * kernel.units
    read = matrices * (-(-height // 4) * kernel.units * kernel.inner + height * kernel.inner)
    itemsize = numpy.dtype(kernel.dtype).itemsize
    length = _length([kernel.body])
    elements = matrices * height * kernel.units
    return (
        2 * STEP_NS
        + read * itemsize / BYTES_PER_NS
        + products / OPERATIONS_PER_NS
        + _time(elements, [kernel.store], length)
    )


def _time(elements: int, accesses: Iterable[Access], length: int) -> float:
    moved = sum(numpy.dtype(a.dtype).itemsize for a in accesses)
    return elements * (moved / BYTES_PER_NS + length / OPERATIONS_PER_NS)


def _length(parts: Iterable[Iterable[Statement | Fold]]) -> int:
    """About how many instructions there are for each element."""
    texts = (s.expression if isinstance(s, Statement) else s.step for part in parts for s in part)
    return sum(map(instructions, texts))


# class of a kernel -> about how long a block of threads needs for it
_NANOSECONDS: dict[type[Kernel], Callable[[Any, int], float]] = {
    MapKernel: _of_map,
    FlatKernel: _of_flat,
    RowKernel: _of_rows,
    ColumnKernel: _of_columns,
    ScanKernel: _of_scan,
    SortKernel: _of_sort,
    EliminationKernel: _of_elimination,
    ScatterKernel: _of_scatter,
    DrawKernel: _of_draw,
    ProductKernel: _of_product,
    ChainKernel: _of_chain,
    WindowKernel: _of_windows,
}
