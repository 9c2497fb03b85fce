"""The random stream behind every draw, and pieces of it whose numbers can be computed in any order.

NOTE [pieces of the stream]
The stream is NumPy's PCG64: a state of 128 bits that each word takes to ``multiplier * state + increment``, whose bits are
then mixed into a word of 64 (M. O'Neill, *PCG*, 2014: XSL-RR 128/64). A float64 takes a word. A float32 takes half of one,
the low half first; a half that is left over is kept for the next float32, whatever is drawn in between.

So many steps are again a multiplication and an addition, hence the state before any number follows from the state before the
first one. A program takes a piece: under the stream's lock, which leaves the stream where drawing the numbers would have
left it, it gets an array (``PIECE``) with all that they follow from.

    row 0        state, low and high word; the kept half, and 2**32 if there is one; how many numbers
    row 1 + k    multiplier and increment of 2**k steps, low and high word of each
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from threading import get_ident
from typing import Any

import numpy

MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645  # NumPy's PCG_DEFAULT_MULTIPLIER
STEPS = 40  # bits of a number of words
PIECE = (1 + STEPS, 4)
KEPT = 1 << 32  # in row 0: there is a kept half
WORDS = (
    6  # of a stream: state and increment, the low word of each first; whether a half is kept, and that half
)
_FORK = 1.0  # seconds that a fork waits for a draw to end
_WORD, _STATE = (1 << 64) - 1, (1 << 128) - 1


class Stream:
    """The generator behind every draw; its methods lock themselves, so that threads may share it.

    NOTE [draws that interrupt]
    A thread that reserves a piece holds the generator's lock for some lines of Python, between which a signal handler or a
    finalizer may draw: it must not wait for what it interrupts, and draws from a generator that nobody has seeded. A child
    of a fork goes on from the same state, with a lock of its own.
    """

    def __init__(self) -> None:
        self._own: ContextVar[numpy.random.Generator | None] = ContextVar("stream", default=None)
        self._reserving: set[int] = set()  # threads
        self._paused: Any = None  # the lock that a fork holds
        self.seed(None)
        os.register_at_fork(
            before=self._pause, after_in_parent=self._go_on, after_in_child=self._begin_in_child
        )

    @property
    def generator(self) -> numpy.random.Generator:
        """That of the context while it draws again, else the one of everybody."""
        if self._reserving and get_ident() in self._reserving:
            return numpy.random.Generator(numpy.random.PCG64())
        return self._own.get() or self._generator

    @generator.setter
    def generator(self, generator: numpy.random.Generator) -> None:
        self._generator = generator

    @property
    def own(self) -> numpy.random.Generator | None:
        """The generator of the context while it draws again."""
        return self._own.get()

    @own.setter
    def own(self, generator: numpy.random.Generator | None) -> None:
        self._own.set(generator)

    @contextmanager
    def drawing_again(self, state: Any) -> Iterator[None]:
        """Let this context draw from ``state`` on, where a generator of its own begins: nobody else's draws change."""
        bits = numpy.random.PCG64(0)
        bits.state = state
        before = self.own
        try:
            self.own = numpy.random.Generator(bits)
            yield
        finally:
            self.own = before

    def seed(self, seed: int | None) -> None:
        """Start over; ``None`` takes a seed from the operating system."""
        self.generator = numpy.random.Generator(numpy.random.PCG64(seed))

    def words(self) -> numpy.ndarray:
        """Where the stream is, as ``WORDS`` words of uint64."""
        bits = self.generator.bit_generator
        with bits.lock:
            state: Any = bits.state
        position, increment = state["state"]["state"], state["state"]["inc"]
        halves = [part for word in (position, increment) for part in (word & _WORD, word >> 64)]
        return numpy.array([*halves, state["has_uint32"], state["uinteger"]], numpy.uint64)

    def go_to(self, words: Sequence[int]) -> None:
        """Draw from where the stream was when ``words`` gave these; the caller has seen that ``are_words`` holds."""
        low, high, low_increment, high_increment, has_half, half = words
        position, increment = low | high << 64, low_increment | high_increment << 64
        self.generator = _generator(position, increment, has_half, half)

    def reserve(self, count: int, width: str) -> numpy.ndarray:
        """The piece with the next ``count`` numbers of the dtype ``width``, which the stream has then drawn."""
        bits = self.generator.bit_generator
        with self._moving(bits):
            before: Any = bits.state
            assert before["bit_generator"] == "PCG64", "only ``seed`` makes generators"
            bits.state = _after(before, count, width)
        return _piece(before, count)

    def take_back(self, bits: Any, before: Any, after: Any) -> None:
        """Undo the draws that led a generator's ``bits`` from one state to another, unless somebody has drawn since: two
        callers would get the same numbers.
        """
        with self._moving(bits):
            if bits.state == after:
                bits.state = before

    @contextmanager
    def _moving(self, bits: Any) -> Iterator[None]:
        """Nobody else draws from ``bits``; see NOTE [draws that interrupt]."""
        here = get_ident()
        outermost = here not in self._reserving
        with bits.lock:
            try:
                self._reserving.add(here)
                yield
            finally:
                if outermost:
                    self._reserving.discard(here)

    # -- forks -----------------------------------------------------------------------------------------------

    def _pause(self) -> None:
        """Let nobody be in the middle of a draw, unless that takes long or is what the fork interrupts."""
        if get_ident() not in self._reserving:
            lock = self._generator.bit_generator.lock
            self._paused = lock if lock.acquire(timeout=_FORK) else None

    def _go_on(self) -> None:
        lock, self._paused = self._paused, None
        if lock is not None:
            lock.release()

    def _begin_in_child(self) -> None:
        self._go_on()
        if get_ident() not in self._reserving:
            state: Any = self._generator.bit_generator.state
            bits = numpy.random.PCG64(0)
            bits.state = state
            self._generator = numpy.random.Generator(bits)
        self._reserving.intersection_update({get_ident()})


def _after(state: dict[str, Any], count: int, width: str) -> dict[str, Any]:
    """The state of a generator that has drawn so many numbers."""
    position, kept, half = state["state"], state["has_uint32"], state["uinteger"]
    words = count
    if width == "float32" and count:
        words, kept = divmod(count - kept + 1, 2)
        kept = 1 - kept
    multiplier, increments = _steps(words)
    after = (multiplier * position["state"] + increments * position["inc"]) & _STATE
    if width == "float32" and words:
        half = _mixed(after) >> 32
    return {**state, "state": {**position, "state": after}, "has_uint32": kept, "uinteger": half}


@lru_cache(maxsize=256)
def _steps(count: int) -> tuple[int, int]:
    """multiplier**count, and the sum of all lower powers."""
    assert count < 1 << STEPS, f"{count} random words are too many"
    power = pow(MULTIPLIER, count, (MULTIPLIER - 1) << 128)
    return power & _STATE, (power - 1) // (MULTIPLIER - 1) & _STATE


def _mixed(state: int) -> int:
    """The word of a state."""
    low, high = state & _WORD, state >> 64
    word, turn = low ^ high, high >> 58
    return (word >> turn | word << (64 - turn)) & _WORD


def _piece(state: dict[str, Any], count: int) -> numpy.ndarray:
    position = state["state"]["state"]
    piece = _steps_of(state["state"]["inc"]).copy()
    piece[0] = position & _WORD, position >> 64, state["has_uint32"] * KEPT | state["uinteger"], count
    return piece


@lru_cache(maxsize=8)
def _steps_of(increment: int) -> numpy.ndarray:
    """A piece whose first row is still to be filled in."""
    rows, multiplier = [(0, 0, 0, 0)], MULTIPLIER
    for _ in range(STEPS):
        rows.append((multiplier & _WORD, multiplier >> 64, increment & _WORD, increment >> 64))
        increment = (multiplier + 1) * increment & _STATE
        multiplier = multiplier * multiplier & _STATE
    return numpy.array(rows, numpy.uint64)


def is_known(bits: Any) -> bool:
    """Whether the next numbers of a generator are made, and its state is kept, as this file and the kernels have it.

    NumPy promises the words of PCG64 for good, the numbers that it makes of them not.
    """
    before = bits.state
    if before["bit_generator"] != "PCG64":
        return False
    first = _after(before, 1, "float64")
    second = _after(first, 1, "float64")
    words = [_mixed(state["state"]["state"]) for state in (first, second)]
    generator = numpy.random.Generator(bits)
    single, double = generator.random(1, "float32"), generator.random(1, "float64")
    other, after = generator.random(1, "float32"), bits.state
    halves = numpy.array([words[0] & KEPT - 1, words[0] >> 32]) >> 8
    return bool(
        (numpy.concatenate([single, other]) == halves.astype("float32") * numpy.float32(2.0**-24)).all()
        and double[0] == (words[1] >> 11) * 2.0**-53
        and after == {**second, "uinteger": words[0] >> 32}
    )


def generator_of(piece: numpy.ndarray) -> numpy.random.Generator:
    """A generator of its own whose next numbers are those of a piece."""
    low, high, kept = (int(word) for word in piece[0, :3])
    increment = int(piece[1, 2]) | int(piece[1, 3]) << 64
    return _generator(low | high << 64, increment, kept // KEPT, kept % KEPT)


def are_words(words: Sequence[int]) -> bool:
    """Whether these can be words of a stream: its increment is odd, and a kept half is half a word."""
    if len(words) != WORDS or not all(0 <= word <= _WORD for word in words):
        return False
    return words[2] % 2 == 1 and words[4] < 2 and words[5] < KEPT


def _generator(position: int, increment: int, has_half: int, half: int) -> numpy.random.Generator:
    bits = numpy.random.PCG64(0)
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": position, "inc": increment},
        "has_uint32": has_half,
        "uinteger": half,
    }
    return numpy.random.Generator(bits)


STREAM = Stream()
