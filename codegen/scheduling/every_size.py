"""Two schedules of one graph, for two sizes of its batch, as one schedule for every size.

NOTE [what must not depend on the size]
Whoever calls this knows that the graph computes each item of its batch by itself (``ir.rows``). Then a kernel that is the
same for two sizes, statement by statement and stride by stride, and that reads its operands at the same offsets,
is right for all: more items are more rows of the same. So everything must be equal but the sizes of leading axes and the
numbers of rows, and these must be in proportion to the size of the batch. The sizes themselves are chosen so that no other
axis could be taken for the batch.
"""

from __future__ import annotations

from dataclasses import replace

from blockfuse.codegen.kernels.cost import CACHE_BANDWIDTH, PARALLEL_WORK
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.scheduling.buffers import Buffer, BufferKind, planned
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.scheduling.steps import Launch, Step, lives_of
from blockfuse.codegen.scheduling.strips import in_strips
from blockfuse.ir.errors import TraceError

Sizes = tuple[int, int]


def for_every_size(
    first: Schedule, second: Schedule, sizes: Sizes, min_items: int, machine: Machine
) -> Schedule:
    """One schedule for every number of items from ``min_items`` on, or from more; raises TraceError where there is none."""
    if len(first.buffers) != len(second.buffers) or len(first.steps) != len(second.steps):
        raise TraceError("another batch size needs other steps")
    if first.blocks != second.blocks or len(first.blocks) > 1:
        raise TraceError("another batch size takes another way")
    buffers = [_buffer(a, b, sizes) for a, b in zip(first.buffers, second.buffers, strict=True)]
    launches = [_step(a, b, sizes) for a, b in zip(first.steps, second.steps, strict=True)]
    for a, b in zip(first.parameters, second.parameters, strict=True):
        if "value" in a.attrs and a.attrs["value"].tobytes() != b.attrs["value"].tobytes():
            raise TraceError("a constant depends on the batch size")
    (block,) = first.blocks
    found, commit = in_strips(launches, buffers, machine, sizes[0], block.commit or 0)
    steps = tuple(found)
    placed, workspace = planned(buffers, lives_of(steps), sizes[0])
    min_items = max([min_items, *(_min_items(launch) for launch in launches if machine.threads > 1)])
    blocks = (replace(block, end=len(steps), commit=None if block.commit is None else commit),)
    return replace(
        first,
        buffers=placed,
        steps=steps,
        workspace=workspace,
        blocks=blocks,
        batch=sizes[0],
        min_items=min_items,
    )


def _min_items(step: Launch) -> int:
    """From how many items on threads can share the rows of ``step``; where the weight is large, they had better."""
    large = step.kernel.shared_weight_bytes / CACHE_BANDWIDTH > PARALLEL_WORK
    return -(-2 * step.grain // step.rows_per_item) if step.grows and large else 1


def _buffer(first: Buffer, second: Buffer, sizes: Sizes) -> Buffer:
    rows = _rows_of_type(first, second, sizes)
    if replace(second, type=first.type, offset=first.offset) != first:
        raise TraceError(f"{first.name} lies elsewhere for another batch size")
    if rows and first.kind is BufferKind.PARAMETER:
        raise TraceError(f"{first.name} is computed from parameters alone, and grows with the batch")
    return replace(first, rows_per_item=rows)


def _rows_of_type(first: Buffer, second: Buffer, sizes: Sizes) -> int:
    one, other = first.type, second.type
    if one == other:
        return 0
    if one.dtype != other.dtype or one.shape[1:] != other.shape[1:] or not one.ndim or not other.ndim:
        raise TraceError(f"{first.name} grows with the batch, but not along its leading axis")
    return rows_per_item((one.shape[0], other.shape[0]), sizes)


def _step(first: Step, second: Step, sizes: Sizes) -> Launch:
    if not isinstance(first, Launch) or not isinstance(second, Launch):
        raise TraceError("an operator runs through NumPy")
    if (first.kernel, first.pointers, first.grain) != (second.kernel, second.pointers, second.grain):
        raise TraceError(f"the kernel {first.kernel.name} depends on the batch size")
    rows = first.rows, second.rows
    return first if rows[0] == rows[1] else replace(first, rows_per_item=rows_per_item(rows, sizes))


def rows_per_item(found: Sizes, sizes: Sizes) -> int:
    """How many of the rows that are ``found`` for batches of ``sizes`` belong to each item."""
    each, rest = divmod(found[0], sizes[0])
    if rest or not each or found[1] != each * sizes[1]:
        raise TraceError(
            f"{found[0]} for {sizes[0]} items and {found[1]} for {sizes[1]} are not in proportion"
        )
    return each
