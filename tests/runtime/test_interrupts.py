"""What comes between two lines: signals, finalizers, forks, Ctrl-C. No call waits for ever, and nothing is left behind."""

from __future__ import annotations

import gc
import itertools
import os
import random
import signal
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy
import pytest
from sampling import rounds
from test_threads import in_child
from threads import together

import blockfuse
from blockfuse import nn, np
from blockfuse.array import modes, stamps
from blockfuse.array.eager import EAGER
from blockfuse.array.memory import WRITES
from blockfuse.codegen import compiler_thread
from blockfuse.codegen.validity import Validity
from blockfuse.ir import collector, interpreter
from blockfuse.ir.locks import BUSY, Turn
from blockfuse.ir.stream import STREAM
from blockfuse.runtime.programs.no_result import NoResult
from blockfuse.runtime.programs.program import Program
from blockfuse.tracer.certificate import witness
from blockfuse.tracer.recording import record
from blockfuse.tracer.recording.memory import Memory

pytestmark = pytest.mark.spread(3)

SECONDS = 1.0  # of each torture


class Counting(nn.Block):
    """Runs in Python, in segments, with a layer that is compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(4, in_units=5)
        self.calls = 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        return np.tanh(self.dense(x)) * float(x.sum())


class Drawing(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(4, in_units=5)

    def forward(self, x: Any) -> Any:
        return self.dense(x) + np.random.uniform(size=(x.shape[0], 4)) + np.random.normal(size=(4,))


class Plain(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(4, in_units=5)

    def forward(self, x: Any) -> Any:
        return np.tanh(self.dense(x))


KINDS = (Plain, Counting, Drawing)


def made(kind: Callable[[], Any]) -> Any:
    net = kind()
    net.initialize()
    net.hybridize()
    return net


def work(net: Any, number: int) -> None:
    """Another size, another parameter, now and then another program."""
    net(np.ones((1 + number % 5, 5)))
    net.dense.bias.set_data(np.full((4,), number))
    net(np.ones((3, 5)))
    np.random.normal(size=(3,))
    if number % 10 == 9:
        net.hybridize()


def nested(net: Any) -> Callable[..., None]:
    """What interrupts, and does the same; not in itself."""
    inside: list[int] = []
    numbers = itertools.count()

    def interrupt(*_: Any) -> None:
        if not inside:
            inside.append(1)
            try:
                work(net, next(numbers))
            finally:
                inside.clear()

    return interrupt


@contextmanager
def alarms(handler: Callable[..., None], seconds: float, again: float = 0.0) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds, again)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def for_a_while(net: Any) -> None:
    end = time.monotonic() + SECONDS
    for number in itertools.count():
        work(net, number)
        if number > 3 and time.monotonic() > end:
            return


def settled(net: Any, kind: Any) -> None:
    """The net is as if nothing had happened."""
    net.hybridize()
    for _ in range(4):
        net(np.ones((3, 5)))
    assert kind is Counting or net._entry is not None, net.explain()
    assert modes.UNUSUAL[0] == 0
    assert interpreter.current() is EAGER


# -- signals, finalizers, weak references --------------------------------------------------------------------------


@pytest.mark.spread(4)
@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_handler_calls_the_net_that_it_interrupts(kind: Any) -> None:
    net = made(kind)
    with alarms(nested(net), 0.001, 0.0007):
        for_a_while(net)
    settled(net, kind)


SHIFTED = nn.Dense(4, in_units=5)  # a global: nothing of what its handler reads is hidden from a recording


def shift(*_: Any) -> None:
    SHIFTED.bias.set_data(SHIFTED.bias.data() + 1)


def scaled(x: Any) -> Any:
    return np.tanh(SHIFTED(x)) * 0.5


@pytest.mark.parametrize(
    "handler", [shift, partial(shift, 1), lambda *_: shift()], ids=["function", "partial", "caller"]
)
@pytest.mark.parametrize("place", ["node_of", "know", "write"])
def test_what_a_handler_does_is_no_part_of_the_call_that_is_recorded(
    place: str, handler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it comes, also in the middle of what the recorder writes down."""
    rightly, signals = getattr(Memory, place), iter(range(3))

    def interrupted(memory: Memory, *arguments: Any) -> Any:
        if next(signals, None) is not None:
            signal.raise_signal(signal.SIGALRM)
        return rightly(memory, *arguments)

    SHIFTED.initialize(force_reinit=True)
    call, x = blockfuse.hybridize(writing if place == "write" else scaled), np.ones((3, 5))
    monkeypatch.setattr(Memory, place, interrupted)
    with alarms(handler, 0):
        for _ in range(8):
            call(x)
    assert call._entry is not None, call.explain()
    before = SHIFTED.bias.data().asnumpy()
    numpy.testing.assert_allclose(call(x).asnumpy(), scaled(x).asnumpy(), rtol=1e-5)
    numpy.testing.assert_array_equal(SHIFTED.bias.data().asnumpy(), before)


def writing(x: Any) -> Any:
    y = SHIFTED(x)
    y += 0
    return np.tanh(y) * 0.5


@pytest.mark.spread(4)
@pytest.mark.parametrize("kind", KINDS)
def test_finalizers_and_callbacks_call_the_net_that_the_collector_interrupts(kind: Any) -> None:
    net = made(kind)
    interrupt = nested(net)

    class Trap:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            interrupt()

    class Empty:
        me: Any = None

    before = gc.get_threshold()
    gc.set_threshold(10)
    kept = []
    try:
        end = time.monotonic() + SECONDS
        for number in range(200):
            Trap()
            one = Empty()
            one.me = one
            kept.append(weakref.ref(one, interrupt))
            del one
            work(net, number)
            if number > 3 and time.monotonic() > end:
                break
    finally:
        gc.set_threshold(*before)
    gc.collect()
    settled(net, kind)


def test_whoever_interrupts_does_not_wait_for_a_turn_nor_does_another_thread_for_ever() -> None:
    turn = Turn()
    found: list[Any] = []

    def inside() -> str:
        found.append(turn.run(lambda: "twice"))
        other = threading.Thread(target=lambda: found.append(turn.run(lambda: "both", 0.01)))
        other.start()
        other.join(10)
        return "once"

    assert turn.run(inside) == "once"
    assert found == [BUSY, BUSY]
    assert turn.run(lambda: "again") == "again"


def test_a_turn_is_given_back_whatever_is_raised() -> None:
    turn = Turn()
    with pytest.raises(KeyboardInterrupt):
        turn.run(lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert turn.run(lambda: 1) == 1


def test_draws_that_interrupt_a_draw_have_numbers_of_their_own() -> None:
    np.random.seed(5)
    wanted = np.random.uniform(size=(4,)).asnumpy()
    np.random.seed(5)
    STREAM._reserving.add(threading.get_ident())
    try:
        with STREAM._generator.bit_generator.lock:
            np.random.uniform(size=(4,))
    finally:
        STREAM._reserving.clear()
    numpy.testing.assert_array_equal(np.random.uniform(size=(4,)).asnumpy(), wanted)


# -- changes in other threads ------------------------------------------------------------------------------------


def test_watchers_are_told_while_others_come() -> None:
    class Watch:
        told = 0

        def invalidate(self) -> None:
            self.told += 1

    watchers, stop = stamps.Watchers(), threading.Event()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def run(number: int) -> None:
        if number == 0:
            for _ in range(3000):
                watchers.notify()
            stop.set()
        while not stop.is_set():
            one = Watch()
            watchers.add(one)
            watchers.notify()
            assert one.told

    try:
        together(run)
    finally:
        sys.setswitchinterval(before)


def test_two_threads_that_watch_a_buffer_first_are_both_told() -> None:
    class Watch:
        told = False

        def invalidate(self) -> None:
            self.told = True

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    arrays = [numpy.zeros(2) for _ in range(300)]
    watches: list[list[Watch]] = [[], [], []]

    def run(number: int) -> None:
        for array in arrays:
            watches[number].append(Watch())
            stamps.watch_buffer(array, watches[number][-1])

    try:
        together(run, 3)
    finally:
        sys.setswitchinterval(before)
    for array in arrays:
        stamps.written(array)
    assert all(watch.told for each in watches for watch in each)


def test_a_change_while_a_program_is_bound_is_not_lost() -> None:
    validity = Validity(numpy.zeros(1, numpy.int64))
    assert not validity.holds
    validity.begin()
    validity.complete()
    assert validity.holds
    validity.withdraw()
    assert not validity.holds
    validity.begin()
    validity.withdraw()
    validity.complete()
    assert not validity.holds


def test_parameters_change_while_others_make_programs() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    net = nn.Dense(4, in_units=4)
    net.initialize()
    net.weight.set_data(np.ones((4, 4)))
    net.hybridize()
    least, most, done = [1], [1], threading.Event()

    def run(number: int) -> None:
        if number == 0:
            try:
                for value in range(2, 200):
                    most[0] = value
                    net.weight.set_data(np.full((4, 4), value))
                    least[0] = value
                    assert net(np.ones((2, 4))).asnumpy()[0, 0] == 4 * value
            finally:
                done.set()
            return
        turn = number
        while not done.is_set():
            turn += 1
            low = least[0]
            row = net(np.ones((1 + turn % 6, 4))).asnumpy()[0]
            assert (row == row[0]).all()
            assert 4 * low <= row[0] <= 4 * most[0]
            if turn % 40 == 1:
                net.hybridize()

    try:
        together(run, 3)
    finally:
        sys.setswitchinterval(before)
    assert net(np.ones((2, 4))).asnumpy()[0, 0] == 4 * 199


def test_a_parameter_changes_between_the_recorded_call_and_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """No program is called wrong for what another thread did."""
    net = nn.Dense(4, in_units=4)
    net.initialize()
    net.hybridize()
    rightly, changes = net._hybrid._check._hold, iter([2.0, 3.0])

    def slow(*arguments: Any) -> None:
        value = next(changes, None)
        if value is not None:
            net.weight.set_data(np.full((4, 4), value))
        rightly(*arguments)

    monkeypatch.setattr(net._hybrid._check, "_hold", slow)
    for _ in range(3):
        net(np.ones((1, 4)))
    assert net._entry is not None, net.explain()
    assert net(np.ones((1, 4))).asnumpy()[0, 0] == 8


@pytest.mark.parametrize("writes", [False, True])
def test_a_call_that_finds_its_program_outdated_is_interrupted_by_one_that_does_too(
    writes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second call replaces the program, or leaves none; the first goes on from there."""
    state = {"scale": 1.0, "writes": False}

    def forward(x: Any) -> Any:
        if state["writes"]:
            state["seen"] = float(x.sum())
        return x * state["scale"]

    call, x = blockfuse.hybridize(forward), np.ones(3)
    for _ in range(3):
        call(x)
    assert "compiled" in call.explain()
    rightly, inner = Program.refresh, []

    def interrupted(program: Program) -> Any:
        answer = rightly(program)
        if not inner:
            inner.append(answer)
            inner.append(call(x).asnumpy()[0])
        return answer

    state.update(scale=2.0, writes=writes)
    monkeypatch.setattr(Program, "refresh", interrupted)
    assert call(x).asnumpy()[0] == 2
    assert inner == [NoResult.OUTDATED, 2]
    assert call(x).asnumpy()[0] == 2


def test_the_collector_rests_from_the_picture_of_the_state_to_the_end_of_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a finalizer writes while somebody records would be taken for the call's doing."""
    found: list[bool] = []
    for module, name in ((record, "Changes"), (witness, "_numpy_stream"), (record, "_judge")):
        real = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *args, real=real: (found.append(gc.isenabled()), real(*args))[1]
        )
    net = made(Plain)
    net(np.ones((2, 5)))
    assert found == [False] * 4
    assert gc.isenabled()


# -- forks -------------------------------------------------------------------------------------------------------


@pytest.mark.spread(4)
@pytest.mark.parametrize("kind", KINDS)
def test_a_child_forked_while_others_call_compile_change_and_draw_goes_on(kind: Any) -> None:
    net = made(kind)
    done = threading.Event()

    def child() -> None:
        for number in range(3):
            work(net, number)
        assert modes.UNUSUAL[0] == 0
        assert gc.isenabled()

    def run(number: int) -> None:
        try:
            for turn in itertools.count():
                if number == 0 and turn == 4:
                    return
                in_child(child) if number == 0 else work(net, turn)
                if done.is_set():
                    return
        finally:
            done.set()

    together(run, 3)
    settled(net, kind)


def test_a_child_compiles_what_the_fork_interrupts() -> None:
    """A handler that forks while this thread waits for the compiler: the child does the work again."""
    children: list[int] = []

    def fork(*_: Any) -> None:
        if not children:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                children.append(os.fork())
            if not children[0]:
                signal.alarm(30)

    with alarms(fork, 0.01):
        result = compiler_thread.in_compiler_thread(lambda: time.sleep(0.1) or 7)
        while not children:
            time.sleep(0.001)
    if not children[0]:
        os._exit(0 if result == 7 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0


# -- Ctrl-C ------------------------------------------------------------------------------------------------------


def loop(number: float) -> Any:
    def function(x: Any) -> Any:
        while x.sum() > 1:
            x = x * 0.5 + number * 1e-6
        return x if x.max() > 0.2 else x * number

    return blockfuse.hybridize(function)


def drawn(number: float) -> Any:
    return blockfuse.hybridize(lambda x: x * number + np.random.uniform(size=(3, 5)) * 0)


@pytest.mark.spread(4)
@pytest.mark.sampled
@pytest.mark.parametrize("make", [loop, drawn, lambda _: made(Plain), lambda _: made(Counting)])
@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])
def test_what_a_signal_raises_while_a_net_compiles_is_the_users_and_leaves_nothing_behind(
    error: type[BaseException], make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, armed = random.Random(3), threading.Event()
    raised, caught, lost = [], [], []  # lost: in a ``__del__``, where Python reports it and goes on

    def interrupt(*_: Any) -> None:
        if armed.is_set():
            raised.append(1)
            raise error

    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    x = np.ones((3, 5))
    for number in range(rounds(6, 80)):
        call = make(rng.random())
        with alarms(interrupt, rng.uniform(1e-3, 0.1)):
            try:
                armed.set()
                for _ in range(3):
                    call(x)
            except error:
                caught.append(1)
            finally:
                armed.clear()
        assert len(raised) == len(caught) + len(lost)
        assert sys.getprofile() is None, number
        assert sys.gettrace() is None
        assert interpreter.current() is EAGER
        assert STREAM.own is None
        assert modes.UNUSUAL[0] == 0
        assert {r() for r in stamps.readers} <= {None, WRITES}
        for _ in range(4):
            result = call(x)
        assert type(call) is not blockfuse.runtime.calls.function.HybridFunction or call._entry is not None
        wanted = call._run((x,), {}) if isinstance(call, nn.Block) else call.__wrapped__(x)
        numpy.testing.assert_allclose(result.asnumpy(), wanted.asnumpy(), rtol=1e-5)
        assert "failed" not in call.explain()
    compiler_thread.in_compiler_thread(lambda: None)  # the work that an interrupted call began is over
    assert not collector._stopped or gc.isenabled()


def test_the_compiler_is_not_interrupted() -> None:
    def late(*_: Any) -> None:
        raise KeyboardInterrupt

    ran: list[int] = []

    def compiling() -> None:
        for number in range(20):
            time.sleep(0.005)
            ran.append(number)

    with pytest.raises(KeyboardInterrupt), alarms(late, 0.02):
        compiler_thread.in_compiler_thread(compiling)
    compiler_thread.in_compiler_thread(lambda: None)
    assert ran == list(range(20))


def endless(x: Any, step: Any) -> Any:
    while x.sum() > 0:
        x = x + step
    return x


@pytest.mark.alone
@pytest.mark.parametrize("size", [1, 1000, 1_000_000])
def test_a_loop_that_does_not_end_answers_ctrl_c_and_lets_others_run(size: int) -> None:
    call = blockfuse.hybridize(endless)
    one, step = np.ones((size,)), np.full((size,), -0.34)
    for _ in range(3):
        call(one, step)
    assert call._entry is not None, call.explain()
    ticks: list[int] = []
    stop = threading.Event()

    def other() -> None:
        while not stop.wait(0.001):
            ticks.append(1)

    def late(*_: Any) -> None:
        raise KeyboardInterrupt

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    zero, start = step * 0, time.monotonic()
    with pytest.raises(KeyboardInterrupt), alarms(late, 0.2):
        call(one, zero)
    assert time.monotonic() - start < 0.2 + 0.5
    stop.set()
    thread.join(10)
    assert len(ticks) > 5
    assert call._entry is not None
    assert float(call(one, step)[0]) == pytest.approx(-0.02, abs=1e-5)


def test_locks_that_an_interrupt_left_with_a_thread_are_made_anew() -> None:
    import llvmlite.binding as llvm
    from numba.core.compiler_lock import global_compiler_lock

    holders = (llvm.ffi.lib._lock, global_compiler_lock)
    before = [holder._lock for holder in holders]
    for lock in before:
        lock.acquire()  # as Ctrl-C between two lines of theirs leaves them
    try:
        call = blockfuse.hybridize(lambda x: np.tanh(x * 7.125) + 3)
        for _ in range(3):
            call(np.ones((3, 2)))
        assert call._entry is not None, call.explain()
        assert all(holder._lock is not lock for holder, lock in zip(holders, before, strict=True))
    finally:
        for lock in before:
            lock.release()


def test_work_for_which_no_thread_begins_is_done_by_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler_thread, "_LOOK_SECONDS", 0.001)
    monkeypatch.setattr(compiler_thread._thread, "start_new_thread", lambda *_: 0)  # it ends before it begins
    assert compiler_thread.in_compiler_thread(lambda: 7) == 7
