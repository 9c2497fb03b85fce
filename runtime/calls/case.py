"""What is known of all calls of one signature."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from blockfuse.runtime.calls.retries import RetryPolicy
from blockfuse.runtime.programs.program import Program
from blockfuse.tracer.lazy.segments import Segmented
from blockfuse.tracer.recording.record import Recording
from blockfuse.tracer.state.assignments import Key

MAX_CHANGING_CALLS = 64  # with segments that are new; then operators run one by one


@dataclass(eq=False)
class Case:
    """The program of a signature, or why there is none, and counts of its calls."""

    program: Program | None = None  # None where calls run in Python
    recordings: list[Recording] = field(default_factory=list)  # the paths in the program
    reason: str = ""  # why calls, or those that take a path which the program does not have, run in Python
    note: str = ""  # why numbers are part of the signature
    kept: frozenset[Key] = frozenset()  # attributes that are state of its calls, although others assign them
    attempts: int = 0  # recordings
    calls: int = 0  # that dispatch saw; the native entry counts its own
    audited: int = 0  # calls whose result was compared by an audit
    eager_calls: int = 0  # that ran in Python and were not recorded
    served: int = 0  # calls that the present program ran by way of dispatch
    settled: bool = False  # nothing more is recorded
    used: int = 0  # when it was last
    retries: RetryPolicy = field(default_factory=RetryPolicy)  # when the next call is recorded
    segmented: bool | None = None  # whether compiled segments pay in Python; None while nobody knows
    changing: int = 0  # calls in Python with new segments

    @property
    def wants_recording(self) -> bool:
        return not self.settled and self.retries.ready(self.calls)

    @property
    def may_be_recorded(self) -> bool:
        """Whether this or a later call is recorded, though nothing changes."""
        return not self.settled and self.retries.resume < math.inf

    def weigh(self, call: Segmented) -> None:
        """Learn from a call in segments whether they pay. An estimate decides, for results must not depend on luck."""
        if call.changing:
            self.changing += 1
            crowded = call.crowded or self.changing >= MAX_CHANGING_CALLS
            self.segmented = False if crowded else None
        else:
            self.segmented = call.gain > 0

    def take_over(self, other: Case | None) -> None:
        """Count the calls of another case as its own."""
        if other is not None:
            self.attempts += other.attempts
            self.eager_calls += other.eager_calls
            self.calls += other.calls + (other.program.executable.calls() if other.program else 0)

    def drop_program(self) -> None:
        """The program is wrong, or cannot run."""
        self.program, self.recordings, self.served = None, [], 0

    def watch(self, watched: Iterable[Any]) -> None:
        """Let blocks and parameters tell when they change."""
        for value in watched:
            value._watchers.add(self)

    def invalidate(self) -> None:
        """A block or parameter changed: an eager case may be worth another recording."""
        self.retries.changed(self.calls)

    def give_up(self, reason: str) -> None:
        """The compiler failed: nothing is recorded until something changes."""
        self.reason = reason
        self.retries.give_up()

    def settle(self, reason: str) -> None:
        """Nothing is recorded from now on."""
        self.settled, self.reason = True, reason

    def outdate(self, program: Program) -> None:
        """Its program does not hold any more."""
        if self.retries.outdated(self.calls, self.served + program.executable.calls()):
            change = program.state.change() or "the type of a parameter"
            self.reason = f"its state changes too often: {change}"
        self.drop_program()
