"""Values that ``with`` blocks set: the innermost open block decides, whatever order blocks end in."""

from __future__ import annotations

import gc
import random
import signal
import threading
import timeit
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest
from test_interrupts import alarms

from blockfuse import autograd
from blockfuse.array import modes
from blockfuse.array.eager import EAGER
from blockfuse.ir import interpreter
from blockfuse.ir.scoped import Scoped, _Scope


@pytest.fixture
def number() -> Scoped[int]:
    return Scoped("number", 0)


def entered(scope: AbstractContextManager[None]) -> AbstractContextManager[None]:
    scope.__enter__()
    return scope


def test_the_innermost_block_decides(number: Scoped[int]) -> None:
    with number.set_within(1):
        with number.set_within(2):
            assert number.get() == 2
        assert number.get() == 1
    assert number.get() == 0


def test_a_block_that_ends_takes_along_those_inside_of_it(number: Scoped[int]) -> None:
    with ExitStack() as late:
        with number.set_within(1):
            inner = late.enter_context(number.set_within(2))
            assert number.get() == 2
        assert number.get() == 0
        del inner
        with number.set_within(3):
            late.close()
            assert number.get() == 3
    assert number.get() == 0


def test_a_block_that_is_forgotten_ends_when_it_is_collected(number: Scoped[int]) -> None:
    scope: Any = entered(number.set_within(1))
    with number.set_within(2):
        del scope
        assert number.get() == 0
    assert number.get() == 0


def test_what_is_set_without_a_block_holds_to_the_end_of_the_one_around(number: Scoped[int]) -> None:
    with number.set_within(1):
        for n in range(2, 5):
            number.set(n)
            assert number.get() == n
        with number.set_within(9):
            assert number.get() == 9
        assert number.get() == 4
    assert number.get() == 0
    number.set(7)
    number.set(8)
    assert number.get() == 8


def test_a_scope_can_be_returned_to(number: Scoped[int]) -> None:
    with number.set_within(1):
        scope = number.innermost()
        left = entered(number.set_within(2))
        number.return_to(scope)
        assert number.get() == 1
        left.__exit__(None, None, None)
        assert number.get() == 1


def test_threads_have_values_of_their_own(number: Scoped[int]) -> None:
    seen: list[int] = []
    with number.set_within(1):
        thread = threading.Thread(target=lambda: seen.append(number.get()))
        thread.start()
        thread.join()
    assert seen == [0]


class Stop(BaseException):
    """What the alarm raises, as Ctrl-C raises KeyboardInterrupt."""


def stop(*_: Any) -> None:
    raise Stop


# Python drops what is raised in callbacks of the collector, and tells of it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs alarms")
def test_no_interrupt_leaves_a_scope_of_gradients_open() -> None:
    def scopes() -> None:
        for _ in range(20):
            with autograd.record():
                with autograd.pause():
                    pass
                with autograd.predict_mode():
                    pass

    seconds = min(timeit.repeat(scopes, number=1, repeat=20))  # once may be long where others are at work
    pick, interrupted = random.Random(1), 0
    for _ in range(2000):
        try:
            with alarms(stop, pick.uniform(1e-6, seconds)):
                scopes()
        except Stop:
            interrupted += 1
        assert (interpreter.current(), modes.is_training(), modes.UNUSUAL[0]) == (EAGER, False, 0)
    assert interrupted > 200


def test_interleaved_scopes_are_all_closed() -> None:
    first, second = entered(autograd.train_mode()), entered(autograd.predict_mode())
    first.__exit__(None, None, None)
    assert modes.UNUSUAL[0] == 1
    second.__exit__(None, None, None)
    assert (modes.UNUSUAL[0], autograd.is_training()) == (0, False)


def test_what_is_set_while_a_collection_interrupts_another_variable_is_not_freed(number: Scoped[int]) -> None:
    """See NOTE [contexts that are interrupted]; a wrong value, or the end of the process, where it is."""
    other, ran = Scoped("other", 0), []

    class Last:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            ran.append(number.get())
            with number.set_within(1):
                ran.append(number.get())

    thresholds = gc.get_threshold()
    try:
        for turn in range(90):
            gc.disable()
            gc.collect(0)
            Last()
            scope = other.innermost()
            gc.set_threshold(gc.get_count()[0] + turn % 9 + 1)
            gc.enable()
            other.return_to(scope)
            with other.set_within(turn):
                gc.disable()
                spoiled = [_Scope(7, None, is_block=True) for _ in range(50)]
                assert number.get() == 0
            del spoiled
    finally:
        gc.set_threshold(*thresholds)
        gc.enable()
    assert ran == [0, 1] * (len(ran) // 2)
    assert len(ran) > 20
