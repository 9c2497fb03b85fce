"""The schedule: which kernels run in which order on which memory."""

from __future__ import annotations

from dataclasses import dataclass

from blockfuse.codegen.scheduling.buffers import Buffer, Workspace
from blockfuse.codegen.scheduling.steps import HostCall, Launch, Step, launches_of
from blockfuse.ir.flow import Successors
from blockfuse.ir.graph import Node


@dataclass(frozen=True)
class BlockSchedule:
    """Steps ``first`` to ``end`` (exclusive) of one block of a flow, and what follows."""

    first: int
    end: int
    stores: tuple[tuple[int, int], ...] = ()  # (register, buffer): the two exchange their memory
    predicate: int | None = None  # the buffer of the bool that decides what is next; None where the call ends
    successors: Successors | None = None  # blocks; None in it: unknown


@dataclass(frozen=True)
class Schedule:
    """Steps over buffers, in blocks."""

    buffers: tuple[Buffer, ...]
    steps: tuple[Step, ...]
    parameters: tuple[
        Node, ...
    ]  # the values behind parameter buffers, in order: leaves and constants of the graph
    workspace: Workspace
    blocks: tuple[BlockSchedule, ...]
    batch: int = (
        0  # items for which types, rows and work are, where the schedule is for any number of them; else 0
    )
    min_items: int = 0  # for which it is
    fault: int | None = None  # the buffer of the word of NOTE [faults]; None where no kernel has indices

    @property
    def launches(self) -> tuple[Launch, ...]:
        """All launches in order, also those in strips."""
        return tuple(launches_of(self.steps))

    @property
    def work(self) -> float:
        """Nanoseconds of kernels on one core, for ``batch`` items where the schedule is for any number."""
        return sum(launch.work for launch in self.launches)

    def __str__(self) -> str:
        lines = [f"workspace: {self.workspace}"]
        lines += [f"  {n}: {b}" for n, b in enumerate(self.buffers)]
        for number, block in enumerate(self.blocks):
            lines += [f"block {number}:"] * (len(self.blocks) > 1)
            for step in self.steps[block.first : block.end]:
                lines += _step_lines(step, self.buffers)
            lines += [f"  {self.buffers[r].name} <-> {self.buffers[v].name}" for r, v in block.stores]
            if block.predicate is not None:
                lines.append(f"  {self.buffers[block.predicate].name}: {block.successors}")
        return "\n".join(lines)


def _step_lines(step: Step, buffers: tuple[Buffer, ...]) -> list[str]:
    if isinstance(step, HostCall):
        operands = ", ".join(buffers[b].name for b, _ in step.operands)
        return [f"numpy {step.operator.name}({operands}) -> {buffers[step.result].name}"]
    if isinstance(step, Launch):
        return [_launch_text(step, buffers)]
    items = "items" if step.grows else f"{step.items} items"
    parts = f"{step.grain} to {step.part} at a time, {step.bytes_per_item} bytes each"
    return [
        f"strip of {items}, {parts}, ~{step.work / 1000:.1f} us:",
        *(f"  {_launch_text(launch, buffers)}" for launch in step.launches),
    ]


def _launch_text(launch: Launch, buffers: tuple[Buffer, ...]) -> str:
    shown = [buffers[p.buffer].name + (f"+{p.offset}" if p.offset else "") for p in launch.pointers]
    rows = f"{launch.rows_per_item} * items" if launch.grows else launch.rows
    work = f"~{launch.work / 1000:.1f} us"
    return f"launch {launch.kernel.name}({', '.join(shown)}) rows={rows} grain={launch.grain} {work}"
