"""When a signature is recorded again: at once where that helps, after ever longer waits where it did not."""

from __future__ import annotations

import math
from dataclasses import dataclass

WAITING_CALLS = (
    1,
    2,
    8,
)  # run eagerly after a recording that gave nothing: a cache may have been filled meanwhile
MAX_IMMEDIATE_RECORDINGS = 16  # in a row, each of which asked for another one
MIN_SERVED_CALLS = 8  # a program that served fewer was not worth its recording
MAX_SHORT_LIVED_PROGRAMS = 8  # in a row
MAX_DOUBLINGS = 10  # of the wait between recordings


@dataclass(eq=False)
class RetryPolicy:
    """Counts in calls of one signature, of which the caller tells ``calls`` so far.

    NOTE [settling]
    A forward that fills a cache or imports a module when it first runs is pure from then on; one that counts its
    calls never is. So where a recording failed because of effects it is repeated three times, and then only when
    something changed that a watcher sees, after waits that double. Where there is a program, or a number that may be
    any, other ways than the one that failed may succeed; they are tried after waits that double. State that changes
    before every call costs a recording each time and gives programs that serve one call; these too are made after
    waits that double, until one serves for longer.
    """

    failures: int = 0  # recordings in a row that gave nothing
    changes: int = 0  # programs in a row that served few calls
    resume: float = 0  # the number of the call that may be recorded

    def ready(self, calls: int) -> bool:
        return calls >= self.resume

    def succeeded(self) -> None:
        """A recording was added to the program."""
        self.failures = 0

    def failed(self, calls: int, again: bool, effects: bool, other_ways: bool) -> None:
        """A recording gave nothing.

        again: another one may, with what this one found. effects: because of some. other_ways: calls of this
        signature may do something else.
        """
        self.failures += 1
        if again and self.failures <= MAX_IMMEDIATE_RECORDINGS:
            return
        if other_ways:
            wait: float = 2 ** min(self.failures, MAX_DOUBLINGS)
        else:
            wait = (
                WAITING_CALLS[self.failures - 1]
                if effects and self.failures <= len(WAITING_CALLS)
                else math.inf
            )
        self.resume = calls + 1 + wait

    def give_up(self) -> None:
        """The compiler failed: another recording would give the same."""
        self.failures += 1
        self.resume = math.inf

    def changed(self, calls: int) -> None:
        """A watcher saw a change: what failed may succeed now."""
        doublings = min(self.failures - len(WAITING_CALLS) - 1, MAX_DOUBLINGS)
        self.resume = min(self.resume, calls + 1 + (2**doublings if doublings > 0 else 0))

    def outdated(self, calls: int, served: int) -> bool:
        """A program that served so many calls does not hold any more; whether the next one has to wait."""
        self.changes = 0 if served >= MIN_SERVED_CALLS else self.changes + 1
        doublings = min(self.changes - MAX_SHORT_LIVED_PROGRAMS, MAX_DOUBLINGS)
        self.resume = calls + 2**doublings if doublings > 0 else 0
        return doublings > 0
