"""Arrays that wait: nobody can tell them from eager ones, whatever else happens before they are computed."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import signal
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy
import pytest
from segmented import Twin, array, same
from threads import together
from tolerances import assert_close

from blockfuse import hybridize, nn, np
from blockfuse.array.ndarray import ndarray

# -- what outlives the call ----------------------------------------------------------------------------------


def test_pending_arrays_that_are_kept_get_their_values() -> None:
    kept: list[Any] = []

    def function(x: Any) -> Any:
        kept.append(x * 2 + 1)
        return x

    twin = Twin(function)
    for number in range(5):
        twin.segmented(np.array([float(number)]))
    assert [a.item() for a in kept] == [1, 3, 5, 7, 9]


def test_an_exception_keeps_what_was_computed_before() -> None:
    kept: list[Any] = []

    def function(x: Any) -> Any:
        kept.append(np.exp(x) * 2)
        raise KeyError("stop")

    twin = Twin(function)
    for _ in range(4):
        with pytest.raises(KeyError, match="stop"):
            twin.segmented(np.array([0.0]))
    assert [a.item() for a in kept] == [2, 2, 2, 2]


def test_operators_raise_where_they_are_called() -> None:
    seen: list[str] = []

    def function(x: Any, y: Any) -> Any:
        z = x * 2
        try:
            z = z + y
        except ValueError as error:
            seen.append(str(error))
        return z

    twin = Twin(function)
    for _ in range(4):
        twin.agree(lambda: [array(3), array(3)], 2)
        twin.agree(lambda: [array(3), array(4)], 2)
    assert len(seen) == 16
    assert len(set(seen)) == 1


def test_a_pending_value_that_nobody_needs_is_not_computed_nor_kept() -> None:
    alive: list[Any] = []

    def function(x: Any) -> Any:
        unused = x * 100
        alive.append(weakref.ref(unused))
        del unused
        return x + 1

    twin = Twin(function)
    for _ in range(5):
        twin.segmented(np.array([1.0]))
    gc.collect()
    assert all(r() is None for r in alive)


# -- what an array is while it is pending --------------------------------------------------------------------


def test_pending_arrays_know_what_they_are() -> None:
    seen: list[Any] = []

    def function(x: Any) -> Any:
        y = x * 2
        seen.append(
            (y.shape, y.dtype, y.ndim, y.size, y.nbytes, len(y), type(y) is ndarray, hasattr(y, "no"))
        )
        return y + 1

    twin = Twin(function)
    for _ in range(5):
        twin.segmented(np.ones((2, 3)))
    assert set(seen) == {((2, 3), numpy.dtype("float32"), 2, 6, 24, 2, True, False)}


def test_another_thread_sees_values() -> None:
    def function(x: Any) -> Any:
        y = np.exp(x) + 1
        found: list[Any] = []
        together(lambda _: found.append((y * 2).asnumpy()))
        return y, [np.array(f) for f in found]

    Twin(function).agree(lambda: [array(50)])


def test_other_threads_and_contexts_may_use_the_session() -> None:
    def function(x: Any) -> Any:
        y = x + 1
        found: list[Any] = []
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: context.run(lambda: found.append(y * 2)))
        thread.start()
        thread.join()
        return found[0] + y

    Twin(function).agree(lambda: [array(5)])


def test_many_threads_share_a_net() -> None:
    @hybridize
    def function(x: Any, t: float) -> Any:
        y = np.exp(x) * t
        return y + float(y.max())

    def work(seed: int) -> None:
        rng = numpy.random.default_rng(seed)
        for _ in range(60):
            x, t = rng.normal(size=7).astype(numpy.float32), float(rng.integers(1, 5))
            y = numpy.exp(x) * numpy.float32(t)
            assert_close(function(np.array(x), t).asnumpy(), y + y.max())

    together(work)


# -- who else is there ---------------------------------------------------------------------------------------


def _in_thread(work: Callable[[], Any]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def _written_elsewhere(x: Any) -> Any:
    y = x * 2
    view = y[1:]
    later = y + 1
    _in_thread(lambda: view.fill(9))
    _in_thread(lambda: x.fill(5))
    return y, later, y * 3 + x, view


def _written_in_a_copied_context(x: Any) -> Any:
    y = x * 2
    context = contextvars.copy_context()
    _in_thread(lambda: context.run(x.fill, 9))
    return y, x * 3 + y


def _read_elsewhere_through_a_view(x: Any) -> Any:
    y = x * 2
    view = y[1:]
    _in_thread(view.asnumpy)
    view += 1
    return y, view


@pytest.mark.parametrize(
    "function", [_written_elsewhere, _written_in_a_copied_context, _read_elsewhere_through_a_view]
)
def test_other_threads_may_write_and_read(function: Any) -> None:
    Twin(function).agree(lambda: [array(3)])


def test_a_block_may_run_in_another_thread_of_the_same_context() -> None:
    class Net(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Dense(4, in_units=4)
            self.calls: list[int] = []

        def forward(self, x: Any) -> Any:
            self.calls.append(1)
            found: list[Any] = []
            context = contextvars.copy_context()
            given = x * 2
            thread = threading.Thread(target=lambda: found.append(context.run(self.dense, given)))
            thread.start()
            for _ in range(50):
                x = x * 1.01
            thread.join()
            return x + found[0]

    net = Net()
    net.initialize()
    x = array(2, 4)
    want = net(np.array(x))
    net.hybridize()
    for _ in range(15):
        same(net(np.array(x)), want)


def test_a_block_that_is_recorded_may_write_its_keyword_argument() -> None:
    class Writing(nn.Block):
        def forward(self, x: Any) -> Any:
            x += 1
            return x * 2

    class Net(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.child = Writing()
            self.calls: list[int] = []

        def forward(self, x: Any) -> Any:
            self.calls.append(1)
            y = x * 2
            return self.child(x=x), y

    eager, fast = Net(), Net()
    fast.hybridize()
    for _ in range(6):
        x = array(4)
        same(fast(np.array(x)), eager(np.array(x)))


@pytest.mark.long
def test_finalizers_use_arrays_while_operators_are_deferred() -> None:
    class Last:
        def __init__(self, x: Any) -> None:
            self.x, self.me = x, self

        def __del__(self) -> None:
            self.x += 1
            (self.x * 2).asnumpy()

    def function(x: Any, y: Any) -> Any:
        for number in range(15):
            Last(y)
            x = x * 1.5 + number
            x = x - x.mean()
        gc.collect()
        return x, y

    thresholds = gc.get_threshold()
    gc.set_threshold(7)
    try:
        Twin(function).agree(lambda: [array(5), array(5)])
    finally:
        gc.set_threshold(*thresholds)


def test_an_interrupt_leaves_nothing_wrong() -> None:
    def function(x: Any, y: Any) -> Any:
        rounds = 0
        while rounds < 60:
            try:
                z = (y * 1.01 + x) - 0.5 * x
            except KeyboardInterrupt:
                continue
            y, rounds = z, rounds + 1
        return y

    twin = Twin(function)
    want = function(np.array([1.0]), np.array([1.0]))
    calling: list[int] = []

    def interrupt(*_: Any) -> None:
        if calling:  # an alarm that comes late must not interrupt somebody else
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    gc.disable()  # where the collector calls somebody back, nobody could catch the interrupt
    try:
        for number in range(40):
            with contextlib.suppress(KeyboardInterrupt):
                try:
                    calling.append(number)
                    signal.setitimer(signal.ITIMER_REAL, 1e-4 * (number + 1))
                    same(twin.segmented(np.array([1.0]), np.array([1.0])), want)
                finally:
                    calling.clear()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        gc.enable()
        signal.signal(signal.SIGALRM, before)


def test_numpy_may_write_what_a_block_returned_to_it() -> None:
    class Inner(nn.Block):
        def forward(self, x: Any) -> Any:
            self.kept = x * 2
            self.more = self.kept + 1
            return self.kept

    class Net(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()

        def forward(self, x: Any) -> Any:
            result = self.inner(numpy.ones(3, numpy.float32))
            more = self.inner.kept * 3
            result[:] = 7
            return self.inner.more + x, self.inner.kept + x, more

    eager, fast = Net(), Net()
    fast.hybridize()
    for _ in range(6):
        x = array(3)
        same(fast(np.array(x)), eager(np.array(x)))


def test_an_array_is_copied_from_numpy_when_that_is_asked_for() -> None:
    held = numpy.zeros(3, numpy.float32)

    def function(x: Any) -> Any:
        held[:] = 1
        y = np.array(held)
        held[:] = 9
        return x + y

    Twin(function).agree(lambda: [array(3)])


# -- memory --------------------------------------------------------------------------------------------------


def test_a_value_that_is_dropped_is_gone_at_once() -> None:
    gone: list[bool] = []

    def function(x: Any) -> Any:
        y = x * 2
        reference = weakref.ref(y)
        z = y + 1
        del y
        gone.append(reference() is None)
        return z

    twin = Twin(function)
    for _ in range(5):
        twin.segmented(np.array([1.0]))
    assert gone == [True] * 5


@pytest.mark.long
def test_calls_leave_no_cycles() -> None:
    def function(x: Any) -> Any:
        unused = (x * 100)[1:]
        del unused
        return x + 1

    twin, x = Twin(function), np.ones(3)
    for _ in range(5):
        twin.segmented(x)
    gc.collect()  # twice: the variables of a context are kept for two collections
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(20):
            twin.segmented(x)
        gc.collect()
        left = {type(found).__name__ for found in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert not left & {"ndarray", "PendingValue", "Segment", "Segmented"}


def test_the_tree_stops_growing() -> None:
    twin, x = Twin(lambda x, n: np.full((3,), n) + x), np.ones(3)
    for number in range(5000):
        twin.segmented(x, float(number))
    assert twin.segments.tree.size <= 4097
    same(twin.segmented(x, -1.0), np.zeros(3))


@pytest.mark.long
def test_sets_of_wanted_values_stop_growing() -> None:
    def function(x: Any, chosen: int) -> Any:
        values = [x * n for n in range(8)]
        return [v for n, v in enumerate(values) if chosen >> n & 1]

    twin, x = Twin(function), np.ones(3)
    for chosen in [*range(256)] * 2:
        same(twin.segmented(x, chosen), function(x, chosen))
    assert len(twin.segments.programs) <= 16
