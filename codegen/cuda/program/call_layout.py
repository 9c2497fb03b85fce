"""Where the memory of a call lies, for each size of the batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from blockfuse.codegen.cuda.device.device import ALIGNMENT_BYTES
from blockfuse.codegen.cuda.program.plan import Plan
from blockfuse.codegen.scheduling.buffers import Buffer, BufferKind, items_reserved

_PLANNED = (BufferKind.WORKSPACE, BufferKind.REGISTER, BufferKind.STACK)


@dataclass(frozen=True)
class CallLayout:
    """Where everything of a call lies in one allocation, in bytes from its start."""

    offsets: dict[int, int]  # number of a buffer -> where it lies
    arguments: tuple[int, int]  # the first byte of them, and the first one behind them
    results: tuple[int, int]
    scratch: int  # memory that kernels borrow
    nbytes: int  # of all


def call_layout(plan: Plan, items: int, scratch: int) -> CallLayout:
    """The memory of a call with a batch of so many items (0: the program is for one size). scratch: bytes."""
    workspace = plan.schedule.workspace
    offsets = {}
    for number, buffer in (pair for kind in _PLANNED for pair in plan.buffers(kind)):
        grown = workspace.fixed + buffer.offset * items_reserved(items)
        offsets[number] = grown if buffer.rows_per_item else buffer.offset
    end = rounded(workspace.bytes_for(items))
    ranges = []
    for kind in (BufferKind.ARGUMENT, BufferKind.RESULT):
        start = end
        for number, buffer in plan.buffers(kind):
            offsets[number] = end
            end += rounded(nbytes_for(buffer, items))
        if kind is BufferKind.RESULT and plan.schedule.fault is not None:  # it comes back with the results
            offsets[plan.schedule.fault] = end
            end += rounded(1)
        ranges.append((start, end))
    return CallLayout(offsets, ranges[0], ranges[1], end, end + rounded(scratch))


def nbytes_for(buffer: Buffer, items: int) -> int:
    """The size of a value for a batch of so many items."""
    return replace(buffer.type, shape=buffer.shape_for(items)).nbytes


def rounded(nbytes: int) -> int:
    """So many bytes, and as many as it takes to the next aligned address."""
    return -(-nbytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
