"""One call taken apart, and what is known of all calls of its signature."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Structure, with_numbers
from blockfuse.runtime.calls.number_families import Family
from blockfuse.runtime.calls.retries import RetryPolicy
from blockfuse.runtime.programs.program import Program
from blockfuse.tracer.lazy.segments import Segmented
from blockfuse.tracer.recording.record import Recording

_CHANGING = 64  # calls with segments that are new; then operators run one by one


@dataclass(frozen=True)
class Call:
    """A call taken apart. structure: of ``(args, kwargs)``, with its ``values``, some of them numbers of a family.

    stays: some arrays lie on a device.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    arrays: list[ndarray]
    values: list[Any]
    structure: Structure
    family: Family | None
    given: frozenset[int]  # which of the values are arguments of the program
    stay_on_device: bool = False

    @property
    def form(self) -> Structure:
        """The structure as it stands in the signature."""
        return with_numbers(self.structure, self.given) if self.given else self.structure

    @property
    def is_apart(self) -> bool:
        """Whether each array is given once."""
        return len({id(a) for a in self.arrays}) == len(self.arrays)

    @property
    def is_plain(self) -> bool:
        """Whether all arguments are arrays, given by their places and each once."""
        return not self.kwargs and self.is_apart and all(type(a) is ndarray for a in self.args)


@dataclass(eq=False)
class Case:
    """What is known of one signature.

    program: None where calls run eagerly. recordings: the paths in the program. reason: why calls (or, where there
    is a program, calls that take a path it does not have) run eagerly. note: why numbers are part of the signature.
    served: calls that the program ran through Python. settled: nothing more is recorded. segmented: whether calls in
    Python gain from compiled segments; None as long as that is not known. changing: those with something new.
    """

    program: Program | None = None
    recordings: list[Recording] = field(default_factory=list)
    reason: str = ""
    note: str = ""
    attempts: int = 0
    calls: int = 0
    audited: int = 0
    eager_calls: int = 0
    served: int = 0
    settled: bool = False
    used: int = 0
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    segmented: bool | None = None
    changing: int = 0

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
            self.segmented = False if call.crowded or self.changing >= _CHANGING else None
        else:
            self.segmented = call.gain > 0

    def take_over(self, other: Case | None) -> None:
        """Count the calls of another case as its own."""
        if other is not None:
            self.attempts += other.attempts
            self.eager_calls += other.eager_calls
            self.calls += other.calls + (other.program.executable.calls() if other.program else 0)

    def drop(self) -> None:
        """The program is wrong, or cannot run."""
        self.program, self.recordings, self.served = None, [], 0

    def invalidate(self) -> None:
        """A block or parameter changed: an eager case may be worth another recording."""
        self.retries.changed(self.calls)

    def failed(self, call: Call, again: bool = False, effects: bool = False, raised: bool = False) -> None:
        """A recording gave nothing. raised: an operator did, for the values of this call."""
        other_ways = self.program is not None or bool(call.given) or raised
        self.retries.failed(self.calls, again, effects, other_ways)

    def outdate(self) -> None:
        """The program does not hold any more."""
        assert self.program is not None
        if self.retries.outdated(self.calls, self.served + self.program.executable.calls()):
            change = self.program.state.change() or "the type of a parameter"
            self.reason = f"its state changes too often: {change}"
        self.drop()
