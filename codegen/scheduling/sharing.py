"""Which steps several threads share, by their estimated work."""

from __future__ import annotations

from blockfuse.codegen.kernels.cost import AWAKE_WORK, PARALLEL_WORK
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.scheduling.steps import Launch, Strip


def is_shared(step: Launch | Strip, machine: Machine, limit: float = AWAKE_WORK) -> bool:
    """Whether a step has more work than ``limit`` for several threads, where that does not depend on the batch."""
    return machine.threads > 1 and step.work > limit and step.rows >= 2 * step.grain


def shared_from(step: Launch | Strip, batch: int, limit: float = AWAKE_WORK) -> int:
    """From how many items on a step that grows with them has more work than that; its work is for ``batch`` items."""
    return max(items_for(step.work, batch, limit), -(-2 * step.grain // step.rows_per_item))


def items_for(work: float, batch: int, limit: float) -> int:
    """From how many items on ``work``, which is for ``batch`` of them, is above ``limit``."""
    return int(limit * batch / max(work, 1e-9)) + 1


def sharing(step: Launch | Strip, machine: Machine, batch: int) -> str:
    """Who runs a step, for people."""
    if machine.threads == 1:
        return "one thread"
    if step.grows:
        few, many = (shared_from(step, batch, limit) for limit in (AWAKE_WORK, PARALLEL_WORK))
        awake = f"threads that are awake from {few} items on, " if few < many else ""
        return f"{awake}all threads from {many} items on"
    if is_shared(step, machine, PARALLEL_WORK):
        return "all threads"
    return "threads that are awake" if is_shared(step, machine) else "one thread"
