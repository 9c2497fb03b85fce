"""A schedule prepared for a device: its kernels rendered once each, its steps cut into pieces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

from blockfuse.codegen.cuda.device.device import ALIGNMENT_BYTES
from blockfuse.codegen.cuda.products.chains import with_whole_nets
from blockfuse.codegen.cuda.program.region_choice import chosen
from blockfuse.codegen.cuda.program.regions import Region
from blockfuse.codegen.cuda.source.device_source import DeviceSource
from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.scheduling.buffers import Buffer, BufferKind, planned
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.scheduling.steps import Launch, lives_of
from blockfuse.ir.errors import NoDeviceKernelError

# Makes the source of a kernel, with wide loads or without, for many blocks of threads or one; raises NoDeviceKernelError.
Render = Callable[[Kernel, bool, bool], DeviceSource]
WIDE_ACCESS_BYTES = (
    16  # bytes that a thread loads and stores at once, from addresses that are multiples of it
)


@dataclass(frozen=True)
class Piece:
    """Steps that run without the host in between, or, where ``on_host``, one step that the host runs.

    buffers: all that they touch. moving: those of them that may lie elsewhere at the next call.
    """

    steps: tuple[int, ...]
    on_host: bool
    buffers: tuple[int, ...]
    moving: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """A schedule cut into pieces, with its kernels counted once each.

    rendered: the kernels of launches (by step) that the device runs, other than those of regions. reasons: why it does not
    run the others. apart: why blocks that decide are in no region.
    """

    schedule: Schedule
    machine: Machine
    rendered: dict[int, tuple[Kernel, DeviceSource]]
    reasons: dict[Kernel, str]
    pieces: tuple[Piece, ...]
    block_pieces: tuple[tuple[int, ...], ...]  # block -> its pieces; none in a region
    regions: tuple[Region, ...]
    apart: dict[int, str]

    @property
    def sources(self) -> tuple[str, ...]:
        """The text of every kernel that the device has."""
        alone = (source.text for _, source in self.rendered.values())
        return tuple(dict.fromkeys((*alone, *(region.source.text for region in self.regions))))

    def buffers(self, kind: BufferKind) -> list[tuple[int, Buffer]]:
        """Number and buffer, in the order of their places."""
        return self._by_kind.get(kind, [])

    @cached_property
    def touched(self) -> frozenset[int]:
        """The buffers that a call reads or writes: a weight that was packed is read by the prologue alone."""
        found = set(lives_of(self.schedule.steps))
        for block in self.schedule.blocks:
            found.update(n for pair in block.stores for n in pair)
            found.update(block.pushes)
            found.update(() if block.predicate is None else (block.predicate,))
        return frozenset(found)

    @cached_property
    def _by_kind(self) -> dict[BufferKind, list[tuple[int, Buffer]]]:
        found: dict[BufferKind, list[tuple[int, Buffer]]] = {}
        for number, buffer in enumerate(self.schedule.buffers):
            found.setdefault(buffer.kind, []).append((number, buffer))
        for pairs in found.values():
            pairs.sort(key=lambda pair: (pair[1].number, pair[1].offset))
        return found

    def rows(self, place: int, items: int) -> int:
        """How many rows a launch has for a batch of so many items."""
        step = self.schedule.steps[place]
        assert isinstance(step, Launch)
        return step.rows_for(items)


def plan(
    schedule: Schedule,
    machine: Machine,
    render: Render,
    refused: Mapping[Kernel, str] | None = None,
    single: str = "",
) -> Plan:
    """``refused``: kernels that the device turned out not to have, and why. single: why no blocks may be a region."""
    joined = with_whole_nets(schedule)
    refused = refused or {}
    if not any(kernel in refused for kernel in _kernels(joined)):
        schedule = joined

    def source_of(launch: Launch) -> DeviceSource:
        if single or launch.kernel in refused:
            raise NoDeviceKernelError(single or f"kernel {launch.kernel.name} runs on the processor")
        return _source(launch, schedule, render, alone=True)

    regions, apart = chosen(schedule, source_of)
    inside = {number for region in regions for number in region.blocks}
    left = {n: range(b.first, b.end) for n, b in enumerate(schedule.blocks) if n not in inside}
    reasons = {kernel: refused[kernel] for kernel in _kernels(schedule) if kernel in refused}
    rendered = {}
    for place in chain.from_iterable(left.values()):
        step = schedule.steps[place]
        if isinstance(step, Launch) and step.kernel not in reasons:
            try:
                rendered[place] = step.kernel, _source(step, schedule, render, alone=False)
            except NoDeviceKernelError as error:
                reasons[step.kernel] = str(error)
    pieces: list[Piece] = []
    block_pieces = []
    for number in range(len(schedule.blocks)):
        cut = _cut(schedule, left.get(number, range(0)), reasons)
        block_pieces.append(tuple(range(len(pieces), len(pieces) + len(cut))))
        pieces += cut
    return Plan(
        _aligned(schedule),
        machine,
        rendered,
        reasons,
        tuple(pieces),
        tuple(block_pieces),
        regions,
        apart,
    )


def _kernels(schedule: Schedule) -> list[Kernel]:
    return [step.kernel for step in schedule.steps if isinstance(step, Launch)]


def _source(step: Launch, schedule: Schedule, render: Render, alone: bool) -> DeviceSource:
    """The kernel of a launch for where its pointers lie: buffers begin at aligned addresses, views may not."""
    places = (p.offset * schedule.buffers[p.buffer].type.dtype.itemsize for p in step.pointers)
    source = render(step.kernel, not any(place % WIDE_ACCESS_BYTES for place in places), alone)
    if not step.rows_per_item and step.rows > source.max_rows:
        raise NoDeviceKernelError(f"{step.rows} rows have more elements than 32 bits can count")
    return source


def _cut(schedule: Schedule, places: range, reasons: Mapping[Kernel, str]) -> list[Piece]:
    """Steps in runs of launches, those of the host alone."""
    pieces: list[Piece] = []
    moving = _moving(schedule)
    for place in places:
        step, touched = schedule.steps[place], lives_of([schedule.steps[place]])
        on_host = not isinstance(step, Launch) or step.kernel in reasons
        steps: tuple[int, ...] = (place,)
        if pieces and not on_host and not pieces[-1].on_host:
            before = pieces.pop()
            steps, touched = (
                (*before.steps, place),
                lives_of(map(schedule.steps.__getitem__, (*before.steps, place))),
            )
        pieces.append(Piece(steps, on_host, tuple(touched), tuple(n for n in touched if n in moving)))
    return pieces


def _moving(schedule: Schedule) -> set[int]:
    """Arguments and results may lie anywhere, what blocks store exchanges its memory, and stacks grow."""
    given = (n for n, b in enumerate(schedule.buffers) if b.kind.is_of_call or b.kind is BufferKind.STACK)
    return {*given, *(n for block in schedule.blocks for pair in block.stores for n in pair)}


def _aligned(schedule: Schedule) -> Schedule:
    """The schedule with offsets for the device, where what the host computes has a place as well."""
    buffers = [replace(buffer, made_by_host=False) for buffer in schedule.buffers]
    placed, workspace = planned(buffers, lives_of(schedule.steps), schedule.batch, ALIGNMENT_BYTES)
    return replace(schedule, buffers=placed, workspace=workspace)
