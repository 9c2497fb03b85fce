"""Whether an entry may run: one word, which native code compares, and which any thread may change at any moment.

NOTE [validity]
The word is changed by single operations of NumPy on one element, which nothing interrupts. A program is bound to the present
parameters between ``begin`` and ``complete``; whoever changes something meanwhile sets a bit that ``complete`` leaves, so
there is no moment in which the entry runs with what is known to be old, and no lock that the one who changes would have to
wait for. An exception, or a fork, anywhere in between leaves a word that is not ``VALID``, and the next call binds again.
"""

from __future__ import annotations

import numpy

VALID = 1
_STALE, _BINDING, _DONE = (numpy.array([word], numpy.int64) for word in (2, 4, 4 | VALID))


class Validity:
    """See NOTE [validity]."""

    __slots__ = ("_word",)

    def __init__(self, word: numpy.ndarray) -> None:
        """word: one int64, where the entry reads it."""
        self._word = word

    @property
    def holds(self) -> bool:
        """Whether the entry runs."""
        return bool(self._word[0] == VALID)

    def begin(self) -> None:
        """From now on changes are noticed; the entry does not run."""
        numpy.copyto(self._word, _BINDING)

    def complete(self) -> None:
        """Let the entry run, unless something has changed since ``begin``."""
        numpy.bitwise_xor(self._word, _DONE, self._word)

    def withdraw(self) -> None:
        """Something has changed: the entry must not run."""
        numpy.bitwise_or(self._word, _STALE, self._word)
