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
from typing import Any, Protocol

from blockfuse.array.ndarray import ndarray
from blockfuse.ir.graph import Node
from blockfuse.tracer.code.bytecode import anatomy
from blockfuse.tracer.frames import frame_induction, measures
from blockfuse.tracer.frames.frame_induction import FrameInduction
from blockfuse.tracer.frames.induction_sites import plan
from blockfuse.tracer.frames.measures import FrameMeasures, taking_frame
from blockfuse.tracer.frames.program_points import InductionValue


class Writer(frame_induction.Writer, measures.Writer, Protocol):
    """What is told of both (the recorder)."""


_Step = tuple[FrameInduction | FrameMeasures, int]  # who is told of an instruction, and its index
_Place = tuple[int, bool, tuple[_Step, ...]]  # an instruction, whether it has no prefix, who is told


class InductionTracker:
    """Follows the induction variables and measured numbers of one call."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._frames: dict[types.FrameType, FrameInduction] = {}
        self._measures: dict[types.FrameType, FrameMeasures] = {}
        self._last: dict[types.FrameType, int] = {}  # the instruction of the last event
        self._steps: dict[types.FrameType, dict[int, _Place]] = {}  # by the offset of an event

    def enter(self, frame: types.FrameType) -> Callable[[types.FrameType, str], None] | None:
        """What follows a function that starts; None where there is nothing to follow."""
        found, measured = plan(frame.f_code), measures.measures(frame.f_code)
        if found.sites:
            self._frames[frame] = FrameInduction(frame, found, self._writer)
        if measured.sites:
            self._measures[frame] = FrameMeasures(frame, measured, self._writer)
        return self._step if found.sites or measured.sites else None

    def _step(self, frame: types.FrameType, event: str) -> None:
        if event == "return":
            for known in (self._frames, self._measures, self._last, self._steps):
                known.pop(frame, None)
        elif event == "opcode" and not self._writer.problem:
            for follower, index in self._next(frame):
                follower.step(index)

    def _next(self, frame: types.FrameType) -> tuple[_Step, ...]:
        """What follows the instructions that a frame is about to run as one; nothing where that was told at their prefix."""
        at, known = frame.f_lasti, self._steps.setdefault(frame, {})
        index, is_whole, steps = known.get(at) or known.setdefault(at, self._steps_at(frame))
        after_prefix = is_whole and self._last.get(frame) == index
        self._last[frame] = index
        return () if after_prefix else steps

    def _steps_at(self, frame: types.FrameType) -> _Place:
        """Where a frame stands, which loops come to again."""
        form = anatomy(frame.f_code)
        index = form.index(frame)
        followers = [f for f in (self._frames.get(frame), self._measures.get(frame)) if f is not None]
        steps = tuple((f, one) for one in form.together(index) for f in followers if one in f.sites)
        return index, form.instructions[index].offset == frame.f_lasti, steps

    def take(self, array: ndarray, node: Callable[[], Node]) -> bool:
        """An array is asked for its number. Whether that is followed from here on: NOTE [measured numbers]."""
        found = taking_frame()
        frame = None if found is None else self._measures.get(found[0])
        if frame is None or found is None or not frame.is_taking(found[1], array):
            return False
        frame.take(measures.Measured(array._data.item(), node()))
        return True

    def given(self, frame: types.FrameType | None, value: Any) -> None:
        """A method of arrays has returned a number to ``frame``."""
        found = None if frame is None else self._measures.get(frame)
        if found is not None:
            found.given(value)

    def return_to(self, now: dict[Node, Node], gone: frozenset[Node]) -> None:
        """See NOTE [forgotten rounds]. now: node -> which one a variable holds now. gone: all that were forgotten."""
        for frame in self._frames.values():
            frame.return_to(now, gone)
        for measured in self._measures.values():
            measured.return_to(now, gone)

    # -- what a point shows ----------------------------------------------------------------------------------

    def values_in(self, frame: types.FrameType) -> dict[str, InductionValue]:
        """The induction variables of ``frame``, by name."""
        found = self._frames.get(frame)
        return found.values() if found is not None else {}

    def measured_in(self, frame: types.FrameType) -> dict[str, Node]:
        """The measured numbers of ``frame``, by name."""
        found = self._measures.get(frame)
        return found.values() if found is not None else {}

    def iteration(self, frame: types.FrameType, index: int) -> tuple[Any, InductionValue | None] | None:
        """What the iterator made at ``index`` goes through and where it is; None if that is not known."""
        found = self._frames.get(frame)
        return found.iteration(index) if found is not None else None
