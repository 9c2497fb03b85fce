"""Nets in several threads and processes: every call gives what a call alone gives, and nothing is left behind."""

from __future__ import annotations

import copy
import gc
import itertools
import os
import pickle
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from graphs import Native, graph_for
from threads import together

import blockfuse
from blockfuse import nn, np, npx
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.operators import pointwise

THREADS = 8


def layers(*units: int) -> Any:
    net = nn.Sequential()
    for before, after in itertools.pairwise(units):
        net.add(nn.Dense(after, activation="relu", in_units=before))
    net.initialize()
    return net


def inputs(count: int, *shape: int) -> list[Any]:
    rng = numpy.random.default_rng(3)
    return [np.array(rng.normal(size=shape).astype("float32")) for _ in range(count)]


def compiled(net: Any, *arguments: Any) -> Any:
    """The net, hybridized and called until its entry takes the calls."""
    net.hybridize()
    for _ in range(3):
        net(*arguments)
    assert net._entry is not None, net.explain()
    return net


def close(found: Any, wanted: Any) -> None:
    numpy.testing.assert_allclose(found.asnumpy(), wanted.asnumpy(), rtol=2e-5, atol=1e-5)


@pytest.fixture
def _switching() -> Any:
    """Threads take turns as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


# -- threads -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_switching")
def test_threads_call_while_the_first_call_compiles() -> None:
    net = layers(7, 33, 5)
    given = inputs(THREADS, 3, 7)
    wanted = [net(x) for x in given]
    net.hybridize()

    def work(number: int) -> None:
        for _ in range(200):
            close(net(given[number]), wanted[number])

    together(work, THREADS)
    assert net._entry is not None, net.explain()


@pytest.mark.usefixtures("_switching")
def test_threads_with_signatures_of_their_own_compile_each() -> None:
    net = layers(6, 9)
    given = [x for n in range(1, THREADS + 1) for x in inputs(1, n, 6)]
    wanted = [net(x) for x in given]
    net.hybridize()

    def work(number: int) -> None:
        for turn in range(60):
            place = (number + turn) % THREADS
            close(net(given[place]), wanted[place])

    together(work, THREADS)


@pytest.mark.long
@pytest.mark.usefixtures("_switching")
def test_more_signatures_than_are_kept_in_several_threads() -> None:
    hybrid = blockfuse.hybridize(lambda x: x + float(x.sum()))

    def work(number: int) -> None:
        for turn in range(400):
            size = 1 + (7 * number + turn) % 90
            assert hybrid(np.ones((size,))).asnumpy()[0] == 1 + size

    together(work, THREADS)


@pytest.mark.long
@pytest.mark.usefixtures("_switching")
def test_threads_take_ways_that_are_not_known_yet() -> None:
    def ways(x: Any) -> Any:
        while x.sum() > 1:
            x = x / 2
        if x.max() > 0.3:
            return x - 1
        return np.exp(x) if x.min() > 0.1 else x * 3

    given = [np.array(x) for x in numpy.random.default_rng(0).uniform(0, 9, size=(40, 3))]
    wanted = [ways(x.copy()) for x in given]
    hybrid = blockfuse.hybridize(ways)

    def work(number: int) -> None:
        for turn in range(120):
            place = (5 * number + turn) % len(given)
            close(hybrid(given[place]), wanted[place])

    together(work, THREADS)


@pytest.mark.usefixtures("_switching")
def test_a_call_during_an_edit_sees_the_parameter_before_or_after() -> None:
    net = layers(4, 4)
    net[0].weight.set_data(np.ones((4, 4)))
    x = np.ones((1, 4))
    done = threading.Event()
    compiled(net, x)

    def work(number: int) -> None:
        if number == 0:
            try:
                for turn in range(1, 150):
                    net[0].weight.set_data(np.full((4, 4), turn))
                    assert net(x).asnumpy()[0, 0] == 4 * turn
            finally:
                done.set()
            return
        last = 0.0
        while not done.is_set():
            row = net(x).asnumpy()[0]
            assert len(set(row)) == 1
            if last:
                assert row[0] >= last
                last = row[0]

    together(work)
    assert net(x).asnumpy()[0, 0] == 4 * 149


def test_a_refresh_that_is_overtaken_does_not_bind_old_parameters() -> None:
    net = layers(4, 4)
    x = np.ones((1, 4))
    compiled(net, x)
    program = next(iter(net._hybrid.cases.values())).program
    bind, reached, go = program._bind, threading.Event(), threading.Event()

    def slow(arrays: list[Any]) -> None:
        if threading.current_thread() is slower:
            reached.set()
            go.wait(60)
        bind(arrays)

    program._bind = slow
    slower = threading.Thread(target=lambda: net(x), daemon=True)
    net[0].weight.set_data(np.full((4, 4), 1))
    slower.start()
    assert reached.wait(60)
    net[0].weight.set_data(np.full((4, 4), 2))
    threading.Timer(0.2, go.set).start()
    assert net(x).asnumpy()[0, 0] == 8
    slower.join(60)
    assert net(x).asnumpy()[0, 0] == 8


@pytest.mark.long
@pytest.mark.usefixtures("_switching")
def test_two_nets_in_two_threads() -> None:
    nets = [layers(8, 16, 3), layers(8, 12, 12, 3)]
    given = inputs(2, 5, 8)
    wanted = [net(x) for net, x in zip(nets, given, strict=True)]
    for net in nets:
        net.hybridize()

    def work(number: int) -> None:
        for _ in range(300):
            close(nets[number](given[number]), wanted[number])

    together(work, 2)


@pytest.mark.long
def test_large_nets_share_the_pool() -> None:
    nets = [layers(256, 512, 256), layers(256, 300, 64), nn.Lambda(lambda x: npx.softmax(x * 2, axis=-1))]
    nets[2].initialize()
    given = inputs(4, 128, 256)
    wanted = [[net(x) for x in given] for net in nets]
    for net in nets:
        net.hybridize(threads=2)
        for _ in range(3):
            net(given[0])
        assert next(iter(net._hybrid.cases.values())).program.executable.plan.is_parallel

    def work(number: int) -> None:
        for turn in range(40):
            close(nets[number % 3](given[turn % 4]), wanted[number % 3][turn % 4])

    together(work, THREADS)


def test_results_are_each_callers_own() -> None:
    net = compiled(layers(64, 256), inputs(1, 64, 64)[0])
    given = inputs(THREADS, 64, 64)
    kept: list[list[Any]] = [[] for _ in given]

    def work(number: int) -> None:
        for _ in range(30):
            result = net(given[number])
            kept[number].append((result, result.asnumpy().copy()))

    together(work, THREADS)
    for results in kept:
        for result, content in results:
            numpy.testing.assert_array_equal(result.asnumpy(), content)


def test_hybridize_off_and_on_while_others_call() -> None:
    net = layers(5, 6)
    x = inputs(1, 2, 5)[0]
    wanted = net(x)
    net.hybridize()

    def work(number: int) -> None:
        for turn in range(60):
            if number == 0:
                net.hybridize(turn % 2 == 0)
            close(net(x), wanted)

    together(work)


def test_a_net_is_dropped_while_its_entry_runs() -> None:
    x = inputs(1, 256, 256)[0]
    net = compiled(layers(256, 512, 256), x)
    wanted = net(x)
    entry = net._entry
    del net

    def work(number: int) -> None:
        if number == 0:
            gc.collect()
        for _ in range(20):
            result = entry(x)
            if result is not NotImplemented:
                close(result, wanted)

    together(work, 3)


# -- processes -----------------------------------------------------------------------------------------------


def in_child(work: Callable[[], None], seconds: int = 30) -> None:
    """``work`` in a forked child, which must end well and in time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the pool's threads do not live on in the child
        child = os.fork()
    if child == 0:
        code = 1
        warnings.filterwarnings(
            "ignore", ".*forked while another thread", blockfuse.CompilerWarning
        )  # on CPython 3.12
        try:
            threading.Timer(seconds, lambda: os._exit(3)).start()
            work()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_forked_child_calls_and_compiles_and_the_parent_goes_on() -> None:
    x = inputs(1, 128, 256)[0]
    net = layers(256, 512, 256)
    wanted = net(x)
    net.hybridize(threads=3)
    for _ in range(3):
        close(net(x), wanted)

    def child() -> None:
        for _ in range(5):
            close(net(x), wanted)
        other = layers(256, 448, 96)
        plain = other(x)
        other.hybridize(threads=3)
        for _ in range(5):
            close(other(x), plain)
        assert other._entry is not None
        in_child(lambda: close(other(x), plain))

    in_child(child)
    for _ in range(5):
        close(net(x), wanted)


def test_a_child_forked_while_others_call_goes_on() -> None:
    x = inputs(1, 128, 256)[0]
    net = layers(256, 512, 256)
    wanted = net(x)
    net.hybridize(threads=2)
    for _ in range(3):
        net(x)
    done = threading.Event()

    def work(number: int) -> None:
        if number:
            while not done.is_set():
                close(net(x), wanted)
            return
        try:
            for _ in range(5):
                in_child(lambda: [close(net(x), wanted) for _ in range(3)] and None)
        finally:
            done.set()

    together(work, 3)


SPAWNED = """
import pickle, sys
net, x, wanted = pickle.load(sys.stdin.buffer)
import numpy
for _ in range(3):
    numpy.testing.assert_allclose(net(x).asnumpy(), wanted, rtol=2e-5, atol=1e-5)
assert net._entry is not None, net.explain()
"""


@pytest.mark.spread(2)
@pytest.mark.parametrize("called", [False, True])
def test_a_pickled_net_compiles_in_another_process(called: bool) -> None:
    x = inputs(1, 3, 7)[0]
    net = layers(7, 11, 2)
    wanted = net(x).asnumpy()
    net.hybridize()
    if called:
        compiled(net, x)
    source = str(Path(__file__).parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {source!r})\n{SPAWNED}"],
        input=pickle.dumps((net, x, wanted)),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("called", [0, 1, 3])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_give_equal_results_and_have_parameters_of_their_own(copied: Any, called: int) -> None:
    x = inputs(1, 3, 7)[0]
    net = layers(7, 11, 2)
    wanted = net(x)
    net.hybridize()
    for _ in range(called):
        net(x)
    other = copied(net)
    for _ in range(3):
        close(other(x), wanted)
    assert other._entry is not None, other.explain()
    for parameter in net.collect_params().values():
        parameter.set_data(parameter.data() * 0)
    close(other(x), wanted)
    assert not net(x).asnumpy().any()
    other[1].bias.set_data(np.full((2,), 1e3))
    assert other(x).asnumpy().min() > 500
    assert not net(x).asnumpy().any()


def test_a_net_is_copied_while_others_call() -> None:
    x = inputs(1, 3, 7)[0]
    net = layers(7, 11, 2)
    wanted = net(x)
    net.hybridize()

    def work(number: int) -> None:
        for _ in range(25):
            close((copy.deepcopy(net) if number == 0 else net)(x), wanted)

    together(work)


# -- memory --------------------------------------------------------------------------------------------------


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.long
def test_programs_are_freed_with_their_nets() -> None:
    x = np.ones((2, 3))

    def round_(number: int) -> None:
        net = blockfuse.hybridize(lambda x: np.maximum(x * number, 1) + number)
        for _ in range(2):
            net(x)
        assert net._entry is not None

    for number in range(30):
        round_(number)
    before = resident()
    for number in range(30, 180):
        round_(number)
    assert resident() - before < 24 << 20  # Numba keeps some 60 KB a kernel


def _one_net() -> weakref.ref[Any]:
    net = layers(8, 16, 4)
    net.hybridize()
    x = np.ones((2, 8))
    for _ in range(2):
        net(x)
    assert net._entry is not None
    return weakref.ref(net[0].weight.data()._data)


def test_the_weights_of_a_net_that_is_gone_are_gone() -> None:
    weight = _one_net()
    gc.collect()
    assert weight() is None


@pytest.mark.long
def test_memory_stays_flat_over_compile_and_drop_rounds() -> None:
    for _ in range(30):
        _one_net()
    before = resident()
    for _ in range(100):
        _one_net()
    assert resident() - before < 3 << 19  # code and weights that are kept would be 4 MB


@pytest.mark.long
def test_calls_leave_nothing_behind() -> None:
    x = inputs(1, 64, 300)[0]
    net = compiled(layers(300, 300, 40), x)
    for _ in range(50):
        net(x)
    before = resident()
    for _ in range(1500):
        net(x)
        net(x.asnumpy())
    assert resident() - before < 12 << 20


@pytest.mark.long
def test_edits_leave_nothing_behind() -> None:
    x = inputs(1, 2, 300)[0]
    net = compiled(layers(300, 300), x)
    for turn in range(350):
        if turn == 50:
            before = resident()
        net[0].weight.set_data(np.ones((300, 300)))
        net(x)
    assert resident() - before < 12 << 20


def test_an_entry_outlives_its_net() -> None:
    x = inputs(1, 3, 7)[0]
    net = compiled(layers(7, 11, 2), x)
    wanted, entry = net(x), net._entry
    del net
    gc.collect()
    layers(7, 11, 2).hybridize()
    for _ in range(100):
        result = entry(x)  # refused, since nobody tells a program that is gone of changes
        if result is not NotImplemented:
            close(result, wanted)
    assert entry() is NotImplemented
    assert entry(None, 3) is NotImplemented
    assert entry(3) is NotImplemented


# -- little work -----------------------------------------------------------------------------------------------


@pytest.mark.alone
def test_calls_with_little_work_share_it_with_threads_that_are_awake_and_let_them_sleep_again() -> None:
    net = layers(784, 256)
    (x,) = inputs(1, 1, 784)
    wanted = net(x)
    net.hybridize(threads=2)
    for _ in range(3000):
        found = net(x)
    close(found, wanted)
    assert "for threads that are awake" in net.explain()
    time.sleep(0.3)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.15, "a thread spins though nobody calls"


def test_an_entry_outlives_everything_it_was_made_from() -> None:
    x = numpy.arange(6, dtype="float32").reshape(2, 3)
    program = Native(graph_for(lambda x: pointwise.tanh(x * 3.25) + 0.125, [x]), with_entry=True)
    program(x)
    entry = program.executable.entry
    program.executable.validity.begin()
    program.executable.validity.complete()
    del program
    gc.collect()
    for _ in range(3):
        close(entry(ndarray(x)), np.array(numpy.tanh(x * 3.25) + 0.125))
