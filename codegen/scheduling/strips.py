"""Strips: launches in a row that work item by item, so that one fork is enough for all of them.

NOTE [strips]
A thread that runs all launches for its own items needs nothing of another thread's if, of every buffer that some launch
of the strip writes, each item has a part of its own, and every launch reads and writes of it, for an item, that part
only. This is a matter of strides (``Kernel.reaches``), whatever the kernels compute. Values that nobody needs outside
of the strip then lie in memory that belongs to the thread, one item's part after the other's, and never leave its
cache. For the sake of that alone one thread has strips, of convolutions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from math import prod

import numpy

from blockfuse.codegen.kernels.cost import FAR_BANDWIDTH
from blockfuse.codegen.kernels.kernel import Reach
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.kernels.window_kernel import WindowKernel
from blockfuse.codegen.scheduling.buffers import ALIGNMENT, Buffer, BufferKind, arena, rounded
from blockfuse.codegen.scheduling.sharing import is_shared
from blockfuse.codegen.scheduling.steps import Launch, Pointer, Step, Strip, lives_of
from blockfuse.codegen.scheduling.strip_memory import STRIP_MEMORY_BYTES
from blockfuse.ir.types import TensorType


def in_strips(
    steps: Sequence[Step], buffers: list[Buffer], machine: Machine, batch: int = 0, commit: int = 0
) -> tuple[list[Step], int]:
    """The steps, with runs of launches as strips where that pays; buffers of theirs become the threads' own.

    batch: the number of items for which rows and types are, where the schedule is for any number. commit: the number of
    a step that no strip reaches across (NOTE [the commit]); it is given back as it is then.
    """
    before = list(_runs(steps[:commit], buffers, batch))
    runs = [*before, *_runs(steps[commit:], buffers, batch)]
    users = Counter(buffer for run, _ in runs for buffer in {b for step in run for b in step.touched})
    private = {buffer for buffer, count in users.items() if count == 1}
    found: list[Step] = []
    for number, (run, items) in enumerate(runs):
        if number == len(before):
            commit = len(found)
        launches = tuple(step for step in run if isinstance(step, Launch))
        strip = _strip(launches, items, buffers, private, machine, batch) if len(launches) > 1 else None
        found += [strip] if strip else run
    return found, min(commit, len(found))


# -- what works item by item ---------------------------------------------------------------------------------


def _runs(steps: Sequence[Step], buffers: list[Buffer], batch: int) -> Iterator[tuple[list[Step], int]]:
    """Neighbours that work item by item, with the number of items; everything else alone."""
    run: list[Step] = []
    proof: _Proof | None = None
    for step in steps:
        longer = proof.with_(step) if proof else None
        if longer is None:
            yield from _cut(run, proof) if run else ()
            run, longer = [], _Proof(buffers, batch).with_(step)
        run.append(step)
        proof = longer
    yield from _cut(run, proof) if run else ()


class _Proof:
    """That some launches work item by item: see NOTE [strips]."""

    def __init__(self, buffers: list[Buffer], batch: int, items: int = 0) -> None:
        self.buffers, self.batch, self.items = buffers, batch, items or batch
        self.launches: list[Launch] = []
        self.written: set[int] = set()
        self.leaving: set[int] = set()  # of which some launch touches more than the item's part

    def with_(self, step: Step) -> _Proof | None:
        """The proof for one launch more; None where there is none."""
        if not isinstance(step, Launch) or (self.batch and not step.rows_per_item):
            return None
        if not self.items:
            self.items = step.rows
        if self.items % step.rows == 0 and step.rows < self.items and not self.batch:
            fewer: _Proof | None = _Proof(self.buffers, 0, step.rows)
            for launch in (*self.launches, step):
                fewer = fewer.with_(launch) if fewer else None
            return fewer
        return self if self._admits(step) else None

    def _admits(self, launch: Launch) -> bool:
        reaches = launch.kernel.reaches()
        if reaches is None or launch.rows % self.items:
            return False
        self.launches.append(launch)
        self.written.update(launch.written)
        for pointer, touched in zip(launch.pointers, reaches, strict=True):
            if not all(self._keeps_to_item(pointer, reach, launch.rows // self.items) for reach in touched):
                self.leaving.add(pointer.buffer)
        return not any(p.buffer in self.written & self.leaving for p in launch.pointers)

    def _keeps_to_item(self, pointer: Pointer, reach: Reach, rows: int) -> bool:
        """Whether the rows of each item touch nothing but this item's part of the buffer."""
        stride, low, high = reach
        each, rest = divmod(self.buffers[pointer.buffer].type.size, self.items)
        last = (rows - 1) * stride
        lowest, highest = pointer.offset + low + min(last, 0), pointer.offset + high + max(last, 0)
        return not rest and rows * stride == each and lowest >= 0 and highest < each


def _cut(run: list[Step], proof: _Proof | None) -> Iterator[tuple[list[Step], int]]:
    """The run with its items, in two before launches of little work that want more items at a time: last products of few
    rows would keep all others from being a strip.
    """
    if proof is None:
        yield run, 0
        return
    grains = [_items_at_a_time(launch, proof.items) for launch in proof.launches]
    works = list(accumulate(launch.work for launch in proof.launches))
    ends = (n for n in range(1, len(run)) if grains[n] > max(grains[:n]) and works[n - 1] > 7 / 8 * works[-1])
    end = next(ends, len(run))
    yield run[:end], proof.items
    if end < len(run):
        yield run[end:], proof.items


def _items_at_a_time(launch: Launch, items: int) -> int:
    return -(-launch.grain * items // launch.rows)


# -- what pays -----------------------------------------------------------------------------------------------


def _strip(
    launches: tuple[Launch, ...],
    items: int,
    buffers: list[Buffer],
    private: set[int],
    machine: Machine,
    batch: int,
) -> Strip | None:
    """The launches as one strip; None where they had better fork one by one, or not at all."""
    own = {
        b
        for launch in launches
        for b in launch.touched
        if b in private and buffers[b].kind is BufferKind.WORKSPACE and not buffers[b].made_by_host
    }
    bytes_per_item = arena(
        buffers, lives_of(launches), lambda n, b: _bytes_an_item(b, items) if n in own else None
    )
    bytes_per_item = max(bytes_per_item, ALIGNMENT)
    grain = max(_items_at_a_time(launch, items) for launch in launches)
    strip = Strip(
        launches,
        items,
        grain,
        _most_items(STRIP_MEMORY_BYTES // bytes_per_item, grain, items, machine),
        bytes_per_item,
        len(buffers),
        bool(batch),
    )
    if not _pays(strip, buffers, machine):
        return None
    for number in own:
        buffers[number] = replace(buffers[number], kind=BufferKind.STRIP)
    shape = (items, bytes_per_item) if batch else (min(items, strip.part) * bytes_per_item,)
    memory = TensorType(shape, numpy.dtype("uint8"))
    buffers.append(
        Buffer(f"strip{len(buffers)}", memory, BufferKind.WORKSPACE, rows_per_item=int(bool(batch)))
    )
    return strip


def _most_items(room: int, grain: int, items: int, machine: Machine) -> int:
    """That a thread takes at a time. One thread has strips for the sake of its cache alone, which weights share.

    room: items that its memory holds. 0 where parts of equal size would have fewer items than ``grain``.
    """
    if machine.threads > 1:
        return room  # of which half is enough for the grain, or there is no strip
    parts = min(-(-items // max(1, room // 2)), items // grain)
    most = -(-items // max(1, parts))
    return most if most <= room else 0


def _bytes_an_item(buffer: Buffer, items: int) -> int:
    return rounded(buffer.type.nbytes // items, ALIGNMENT)


def _pays(strip: Strip, buffers: list[Buffer], machine: Machine) -> bool:
    """Whether it is worth a fork, its values fit in a thread's memory, and weights are not read much more often for it."""
    if machine.threads == 1:
        if strip.grows or not _is_far(strip, buffers):
            return False
    elif strip.part < 2 * strip.grain:
        return False
    elif strip.grows:
        return True
    elif not is_shared(strip, machine):
        return False
    weights = {b for b in strip.touched if b < len(buffers) and buffers[b].kind is BufferKind.PARAMETER}
    weights.difference_update(*map(_tables, strip.launches))
    passes = -(-strip.items // (machine.threads * strip.part)) - 1
    again = passes * sum(prod(buffers[b].type.shape) * buffers[b].type.dtype.itemsize for b in weights)
    return again / FAR_BANDWIDTH <= strip.work / machine.threads / 8


def _is_far(strip: Strip, buffers: list[Buffer]) -> bool:
    """Whether convolutions keep more for all items than a near cache holds, and no more than that for a few.

    Products of rows have weights as large as what lies between them, and are left as they are.
    """
    if strip.part < strip.grain or not any(
        isinstance(launch.kernel, WindowKernel) for launch in strip.launches
    ):
        return False
    kept = (b for b in strip.touched if b < len(buffers) and buffers[b].kind is BufferKind.WORKSPACE)
    return any(buffers[b].type.nbytes > STRIP_MEMORY_BYTES for b in kept)


def _tables(launch: Launch) -> set[int]:
    """Buffers of which a launch reads no more than it picks."""
    return {launch.pointers[number].buffer for number in launch.kernel.tables}
