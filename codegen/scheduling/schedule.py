"""The schedule: which kernels run in which order on which memory."""

from __future__ import annotations

from dataclasses import dataclass

from blockfuse.codegen.scheduling.buffers import Buffer, Workspace
from blockfuse.codegen.scheduling.steps import Launch, Step
from blockfuse.ir.flow import Successors
from blockfuse.ir.graph import Node


@dataclass(frozen=True)
class BlockSchedule:
    """Steps ``first`` to ``end`` (exclusive) of one block of a flow, and what follows."""

    first: int
    end: int
    stores: tuple[tuple[int, int], ...] = ()  # (register, buffer): the two exchange their memory
    pushes: tuple[int, ...] = ()  # stacks on which the block has put a value
    pops: tuple[int, ...] = ()  # stacks off which it takes one before it begins
    predicate: int | None = None  # the buffer of the bool that decides what is next; None where the call ends
    successors: Successors | None = None  # blocks; None in it: unknown
    # the first step that may write to parameters, NOTE [the commit]; None where the block writes to none
    commit: int | None = None
    takes: tuple[
        tuple[int, int], ...
    ] = ()  # stacks that it empties before it begins, and how many values they have


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
    # items for which types, rows and work are, where the schedule is for any number of them; else 0
    batch: int = 0
    min_items: int = 0  # for which it is
    fault: int | None = None  # the buffer of the word of NOTE [faults]; None where no kernel has indices
    # parameter buffers that the steps write to, in the order of ``Flow.updates``; () where values of updates are results
    # behind the others
    updates: tuple[int, ...] = ()

    @property
    def launches(self) -> tuple[Launch, ...]:
        """All launches in order, also those in strips."""
        return tuple(launch for step in self.steps for launch in step.launches)

    @property
    def work(self) -> float:
        """Nanoseconds of kernels on one core, for ``batch`` items where the schedule is for any number."""
        return sum(launch.work for launch in self.launches)

    def __str__(self) -> str:
        lines = [f"workspace: {self.workspace}"]
        lines += [f"  {n}: {b}" for n, b in enumerate(self.buffers)]
        for number, block in enumerate(self.blocks):
            lines += [f"block {number}:"] * (len(self.blocks) > 1)
            for index in range(block.first, block.end):
                lines += ["commit:"] * (index == block.commit)
                lines += self.steps[index].lines(self.buffers)
            lines += [f"  {self.buffers[r].name} <-> {self.buffers[v].name}" for r, v in block.stores]
            lines += [f"  push {self.buffers[s].name}" for s in block.pushes]
            lines += [f"  popped {self.buffers[s].name}" for s in block.pops]
            lines += [f"  taken {count} of {self.buffers[s].name}" for s, count in block.takes]
            if block.predicate is not None:
                lines.append(f"  {self.buffers[block.predicate].name}: {block.successors}")
        return "\n".join(lines)
