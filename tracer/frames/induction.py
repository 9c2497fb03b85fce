"""Induction variables: numbers that count rounds, followed while a call is recorded so that their loops can close.

NOTE [induction variables]
A whole number in a variable that the function only copies, changes by a constant step and compares in tests, or that a
``for`` over a ``range`` sets, is followed in the byte code (``induction_sites.py``): it becomes a node, and every test of it
a decision like those about arrays. Where a loop closes, the number is carried in a register. Any other use of it is told
to the recorder: it bakes the number into the path, which is right only where the number is the same in every call.
64 bits are enough: starts and limits stay below 2^61 and steps below 2^20, so no number overflows within the first 10^12
rounds, which take hours.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from blockfuse.ir.graph import Node
from blockfuse.tracer.frames.frame_induction import FrameInduction, Writer
from blockfuse.tracer.frames.induction_sites import plan
from blockfuse.tracer.frames.program_points import InductionValue


class InductionTracker:
    """Follows the induction variables of one call."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._frames: dict[types.FrameType, FrameInduction] = {}

    def enter(self, frame: types.FrameType) -> Callable[[types.FrameType, str], None] | None:
        """What follows a function that starts; None where there is nothing to follow."""
        found = plan(frame.f_code)
        if not found.sites:
            return None
        self._frames[frame] = FrameInduction(frame, found, self._writer)
        return self._step

    def _step(self, frame: types.FrameType, event: str) -> None:
        if event == "return":
            self._frames.pop(frame, None)
        elif event == "opcode" and not self._writer.problem:
            self._frames[frame].step()

    def return_to(self, now: dict[Node, Node], gone: frozenset[Node]) -> None:
        """See NOTE [forgotten rounds]. now: node -> which one a variable holds now. gone: all that were forgotten."""
        for frame in self._frames.values():
            frame.return_to(now, gone)

    # -- what a point shows ----------------------------------------------------------------------------------

    def values_in(self, frame: types.FrameType) -> dict[str, InductionValue]:
        """The induction variables of ``frame``, by name."""
        found = self._frames.get(frame)
        return found.values() if found is not None else {}

    def iteration(self, frame: types.FrameType, index: int) -> tuple[Any, InductionValue | None] | None:
        """What the iterator made at ``index`` goes through and where it is; None if that is not known."""
        found = self._frames.get(frame)
        return found.iteration(index) if found is not None else None
