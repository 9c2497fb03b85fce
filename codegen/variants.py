"""Which code of a program a call runs: what one call proves right says nothing about other code.

NOTE [variants]
One program holds code for many calls. In a flow, a call takes some ways out of its decisions. For every size of the
batch, the size says which tiles compute what the tallest one leaves over, whether a step forks, and how a strip is cut.
Where work is shared, a call runs alone or in several parts, as threads are awake. Whoever runs a program is told the
variants that it took and that nobody has proven yet. Native entries give such calls back: they hold a bit for each way,
and a slot with a size of the batch that may run (``SIZE_SLOTS``; another size of the same slot asks again).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from math import lcm

from blockfuse.codegen.kernels.cost import AWAKE_WORK, PARALLEL_WORK
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.scheduling.sharing import shared_from
from blockfuse.codegen.scheduling.steps import HostCall, Launch, Strip

SIZE_SLOTS = 1024  # sizes of the batch that an entry knows at a time


class ExecutionPolicy(Enum):
    """Who runs the steps that may be shared between threads."""

    ADAPTIVE = 0  # whoever is awake
    SERIAL = 1  # the caller alone
    PARALLEL = 2  # all threads


@dataclass(frozen=True)
class Way:
    """The decision after a block of a flow had this outcome."""

    block: int
    outcome: bool

    @property
    def bit(self) -> int:
        """Which of the bits of a program."""
        return 2 * self.block + (not self.outcome)


@dataclass(frozen=True)
class Size:
    """A size of the batch."""

    magnitude: int  # its order, in bits
    steps: tuple[tuple[int, ...], ...] = ()  # what each step that grows does with it
    items: int = field(default=0, compare=False)

    @property
    def min_items(self) -> int:
        """The smallest size of this order of magnitude."""
        return 1 << self.magnitude >> 1


Variant = Way | Size


def bits_of(schedule: Schedule) -> int:
    """How many bits there are for ways."""
    return 2 * len(schedule.blocks) if len(schedule.blocks) > 1 else 0


def size_of(schedule: Schedule, machine: Machine, items: int) -> Size:
    """The variant of a batch of so many items."""
    growing = (s for s in schedule.steps if not isinstance(s, HostCall) and s.grows)
    steps = tuple(_of_step(step, schedule.batch, machine, items) for step in growing)
    return Size(items.bit_length(), steps, items)


def sizes_of(schedule: Schedule, machine: Machine, least: int, most: int) -> list[Size]:
    """All variants of batches of ``least`` to ``most`` items, each with the smallest such size.

    What a step does changes at few sizes; between them it depends on the rows that the tallest tiles leave over.
    """
    found: dict[Size, Size] = {}
    for items in sorted(_telling_sizes(schedule, machine, least, most)):
        found.setdefault(size := size_of(schedule, machine, items), size)
    return list(found)


def _telling_sizes(schedule: Schedule, machine: Machine, least: int, most: int) -> set[int]:
    growing = [s for s in schedule.steps if not isinstance(s, HostCall) and s.grows]
    turns = {1 << n for n in range(most.bit_length())}.union(
        *(_turns(s, schedule.batch, machine) for s in growing)
    )
    period = lcm(
        *(launch.kernel.tiles[0].rows for s in growing for launch in s.launches if launch.kernel.tiles)
    )
    return {n for turn in {least, *turns} for n in range(max(turn, least), min(turn + period, most + 1))}


def _turns(step: Launch | Strip, batch: int, machine: Machine) -> set[int]:
    """From how many items on a step is shared, has several parts, and has rows for its tiles."""
    turns = {shared_from(step, batch, limit) for limit in _limits(machine)}
    if isinstance(step, Strip):
        turns.add(step.part + 1)
    for launch in step.launches:
        rows = launch.rows // step.items if isinstance(step, Strip) else step.rows_per_item
        turns |= {-(-tile.rows // rows) for tile in launch.kernel.tiles}
    return turns


def _limits(machine: Machine) -> tuple[float, ...]:
    return (AWAKE_WORK, PARALLEL_WORK) if machine.threads > 1 else ()


def _of_step(step: Launch | Strip, batch: int, machine: Machine, items: int) -> tuple[int, ...]:
    """Who shares it, how many parts a strip has (one or more), and which tiles its products take."""
    sharing = sum(items >= shared_from(step, batch, limit) for limit in _limits(machine))
    if isinstance(step, Launch):
        return sharing, *_tiles(step, items * step.rows_per_item)
    tiles = (_tiles(launch, items * launch.rows // step.items) for launch in step.launches)
    return sharing, int(items > step.part), *(n for found in tiles for n in found)


def _tiles(launch: Launch, rows: int) -> tuple[int, ...]:
    """Whether whole tiles of the tallest kind fit, which lower ones take the rest, and whether the last of them overlaps."""
    if len(launch.kernel.tiles) < 2:
        return ()
    tallest, *lower = launch.kernel.tiles
    rest = rows % tallest.rows
    lowest = next((tile for tile in lower if rows >= tile.rows), lower[-1])
    return (int(rows >= tallest.rows), lowest.rows if rest else 0, int(rest % lowest.rows > 0))
