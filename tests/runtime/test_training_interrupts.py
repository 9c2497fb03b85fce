"""What comes in the middle of a step of training: parameters, gradients and states are those of before or after it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy
import pytest
from sampling import rounds
from test_interrupts import alarms
from test_training import Momentum, arrays_of, batches, classifier, held_by, step_of

import blockfuse
from blockfuse import np
from blockfuse.array import modes
from blockfuse.ir import interpreter

# Python drops what is raised in callbacks of weak references, and tells of it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Stop(BaseException):
    """What the alarm raises, as Ctrl-C raises KeyboardInterrupt."""


def stop(*_: Any) -> None:
    raise Stop


class Run:
    """A step that goes over and over some batches, and the same in plain Python.

    The net is smooth: in thousands of steps two ways to round would put an element on the two sides of a relu's edge.
    It cannot learn its batches by heart either: a step that moves nothing would hide that half of it is missing.
    """

    def __init__(self) -> None:
        self.net, self._plain_net = classifier("tanh"), classifier("tanh")
        self.optimizer, self._plain_optimizer = Momentum(self.net, 0.01), Momentum(self._plain_net, 0.01)
        self._step = blockfuse.hybridize(step_of(self.net, self.optimizer))
        self._plain_step = step_of(self._plain_net, self._plain_optimizer)
        self._batches = batches(64)

    def steps(self, count: int = 1) -> None:
        for _ in range(count):
            self._step(*self._next_batch(self.optimizer))

    def _next_batch(self, optimizer: Momentum) -> tuple[np.ndarray, np.ndarray]:
        return self._batches[int(optimizer.count.item()) % len(self._batches)]

    def assert_whole(self) -> int:
        """All that is held belongs to one count of steps, which is returned.

        Plain Python goes on from what was found, so that what rounding adds up to stays far below a step.
        """
        found = held_by(self.net, self.optimizer)
        count = int(self.optimizer.count.item())
        while self._plain_optimizer.count.item() < count:
            self._plain_step(*self._next_batch(self._plain_optimizer))
        plain = arrays_of(self._plain_net, self._plain_optimizer)
        for place, (a, b) in enumerate(zip(found, plain, strict=True)):
            message = f"array {place}, step {count}"
            numpy.testing.assert_allclose(a, b.asnumpy(), rtol=1e-4, atol=2e-6, err_msg=message)
            b[...] = a
        return count


def interrupted(call: Callable[[], Any], seconds: float) -> None:
    """The call, with an alarm so many seconds after it began."""
    try:
        with alarms(stop, seconds):
            call()
    except Stop:
        pass


@contextmanager
def going_on(run: Run) -> Iterator[None]:
    """Another thread goes from step to step meanwhile."""
    ended = threading.Event()

    def go() -> None:
        for _ in range(300):
            if not ended.is_set():
                run.steps()

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    run.assert_whole()


@pytest.mark.sampled
@pytest.mark.parametrize("threads", [1, 2])
def test_a_compiled_step_that_is_interrupted_is_done_or_not(threads: int) -> None:
    run, other = Run(), Run()
    run.steps(3), other.steps(3)
    begun = time.perf_counter()
    run.steps()
    seconds = time.perf_counter() - begun
    pick = random.Random(1)
    before = run.assert_whole()
    with going_on(other) if threads > 1 else nullcontext():
        for _ in range(rounds(60, 2000)):
            interrupted(lambda: run.steps(3), pick.uniform(0, 4) * seconds + 1e-6)
            after = run.assert_whole()
            assert before <= after <= before + 3
            before = after
    assert modes.UNUSUAL[0] == 0


@pytest.mark.sampled
def test_a_step_that_is_interrupted_while_it_is_recorded_and_compiled_is_done_or_not() -> None:
    pick = random.Random(2)
    for _ in range(rounds(6, 60)):
        run = Run()
        for _ in range(3):
            interrupted(run.steps, pick.choice((0.003, 0.01, 0.03, 0.1)) * pick.random())
            run.assert_whole()
        before = run.assert_whole()
        run.steps(3)
        assert run.assert_whole() == before + 3
        assert interpreter.current().recording is False
        assert modes.UNUSUAL[0] == 0
