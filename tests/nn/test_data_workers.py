"""DataLoader with workers: order, draws, errors, deaths, forks, interrupts, and what is left behind."""

import gc
import multiprocessing
import os
import random
import select
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest
from documents import python

from blockfuse import np
from blockfuse.gluon import data
from blockfuse.ir.errors import UsageError, WorkerError, WorkerTimeoutError

pytestmark = pytest.mark.spread(2)

PROCESSES, THREADS = {"num_workers": 2}, {"num_workers": 2, "thread_pool": True}
KINDS = pytest.mark.parametrize("how", [PROCESSES, THREADS], ids=["processes", "threads"])


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    gc.collect()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (multiprocessing.active_children() or workers()):
        time.sleep(0.01)
    assert not multiprocessing.active_children()
    assert not workers()


def workers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "DataLoader" in thread.name]


def loader(fn: Callable[..., Any], count: int = 20, batch_size: int = 3, **options: Any) -> data.DataLoader:
    return data.DataLoader(data.SimpleDataset(range(count)).transform(fn), batch_size, **options)


def listed(batches: Any) -> list[Any]:
    return [batch.tolist() for batch in batches]


@pytest.mark.spread(3)
@KINDS
@pytest.mark.parametrize("prefetch", [None, 0, 1, 50])
def test_batches_come_in_order_and_several_times(how: dict[str, Any], prefetch: int | None) -> None:
    def late(x: int) -> int:
        time.sleep(0.002 * (x % 4))
        return x

    batches = loader(late, prefetch=prefetch, **how)
    wanted = [list(range(n, min(n + 3, 20))) for n in range(0, 20, 3)]
    assert listed(batches) == wanted
    assert listed(batches) == wanted


@pytest.mark.parametrize("shuffle", [False, True])
def test_draws_do_not_depend_on_who_makes_batches(shuffle: bool) -> None:
    def noisy(x: int) -> Any:
        return np.random.normal(size=(2,)) + x

    found = []
    for how in ({}, PROCESSES, {"num_workers": 1}, THREADS, {**THREADS, "prefetch": 0}):
        np.random.seed(11)
        batches = loader(noisy, shuffle=shuffle, **how)
        found.append([listed(batches), listed(batches), np.random.uniform().item()])
    assert all(one == found[0] for one in found)
    first, second, _ = found[0]
    assert first != second
    assert len({str(batch) for batch in first}) == len(first)


def test_python_and_numpy_draw_other_numbers_in_each_batch() -> None:
    def noisy(x: int) -> Any:  # noqa: ARG001
        return random.random(), numpy.random.rand()  # noqa: NPY002

    numbers = [part.tolist() for batch in loader(noisy, **PROCESSES) for part in batch]
    assert len({number for part in numbers for number in part}) == 40


@KINDS
def test_an_error_comes_at_its_batch_and_ends_the_iteration(how: dict[str, Any]) -> None:
    def seven_fails(x: int) -> int:
        if x == 7:
            raise KeyError("seven")
        return x

    batches = iter(loader(seven_fails, **how))
    assert next(batches).tolist() == [0, 1, 2]
    assert next(batches).tolist() == [3, 4, 5]
    with pytest.raises(KeyError, match="seven") as caught:
        next(batches)
    told = "\n".join(caught.value.__notes__)
    assert "raised by sample 7" in told
    if how is PROCESSES:
        assert 'raise KeyError("seven")' in told
        assert "at batch 2" in told
    assert next(batches, None) is None


@KINDS
def test_an_error_of_the_sampler_comes_after_the_batches_before(how: dict[str, Any]) -> None:
    def indices() -> Iterator[list[int]]:
        yield [0]
        yield [1]
        raise OSError("no more")

    class Own(data.Sampler):
        def __iter__(self) -> Iterator[list[int]]:
            return indices()

    batches = iter(
        data.DataLoader(data.SimpleDataset([5, 6]).transform(abs), batch_sampler=Own(), prefetch=9, **how)
    )
    assert next(batches).tolist() == [5]
    assert next(batches).tolist() == [6]
    with pytest.raises(OSError, match="no more"):
        next(batches)


@KINDS
def test_stop_iteration_does_not_end_the_loop_silently(how: dict[str, Any]) -> None:
    def stop(x: int) -> int:
        if x == 4:
            raise StopIteration
        return x

    with pytest.raises(WorkerError, match="batch 1"):
        list(loader(stop, **how))
    with pytest.raises(RuntimeError):
        list(loader(stop))


class AwkwardError(Exception):
    """Cannot be made again of its arguments."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def test_an_error_or_batch_that_cannot_be_pickled() -> None:
    def awkward(x: int) -> int:
        raise AwkwardError(x, 1)

    with pytest.raises(WorkerError, match=r"(?s)AwkwardError: 0 and 1"):
        list(loader(awkward, **PROCESSES))
    batches = loader(lambda x: x, batchify_fn=lambda _: lambda: 0, **PROCESSES)
    with pytest.raises(Exception, match="pickle"):
        list(batches)


def test_a_worker_that_dies() -> None:
    def die(x: int) -> int:
        if x == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    def leave(x: int) -> int:
        if x == 7:
            os._exit(3)
        return x

    for fatal, words in ((die, r"signal 9\) while it made batch 2; .* memory"), (leave, "exit code 3")):
        batches = iter(loader(fatal, **PROCESSES))
        assert [next(batches).tolist() for _ in range(2)] == [[0, 1, 2], [3, 4, 5]]
        with pytest.raises(WorkerError, match=words):
            next(batches)


def test_a_worker_that_is_killed_while_idle() -> None:
    batches = iter(loader(abs, num_workers=1, prefetch=1))
    next(batches)
    time.sleep(0.1)
    for child in multiprocessing.active_children():
        child.kill()
    with pytest.raises(WorkerError, match="died"):
        list(batches)


@pytest.mark.spread(4)
@KINDS
def test_a_batch_that_takes_too_long(how: dict[str, Any]) -> None:
    go_on = threading.Event()

    def wait(x: int) -> int:
        if x == 4:
            go_on.wait(60)
        return x

    batches = iter(loader(wait, timeout=2.5, **how))  # that starting workers does not take
    next(batches)
    with pytest.raises(WorkerTimeoutError, match=r"batch 1 .* 2.5 seconds"):
        next(batches)
    with pytest.raises(TimeoutError):
        list(loader(wait, timeout=0.1, **how))
    go_on.set()


@KINDS
def test_dropping_an_iterator_ends_its_workers(how: dict[str, Any]) -> None:
    batches = iter(loader(lambda x: time.sleep(0.01) or x, 1000, prefetch=20, **how))
    next(batches)
    assert workers()
    del batches


def test_dropping_an_iterator_ends_a_worker_in_the_middle_of_a_batch() -> None:
    batches = iter(loader(lambda x: time.sleep(30 * (x > 3)) or x, **PROCESSES))
    next(batches)
    del batches


def test_large_batches_and_large_indices_pass_both_ways() -> None:
    """Both sides fill their pipe: neither may wait for the other."""
    indices = [(1 << 40) + n for n in range(3 * 40_000)]  # nine bytes each
    far = data.SimpleDataset(range(1 << 50)).transform(lambda x: numpy.full(7, x))
    batches = list(data.DataLoader(far, 40_000, sampler=indices, prefetch=8, **PROCESSES))
    assert [batch.shape for batch in batches] == [(40_000, 7)] * 3
    assert np.concatenate(batches)[:, 3].tolist() == indices


def test_batches_of_workers_can_be_written_and_empty() -> None:
    batches = loader(
        lambda x: (np.zeros((0, 2)), np.ones(3) * x, {"text": "a"}["text"]), batchify_fn=list, **PROCESSES
    )
    for batch in batches:
        empty, full, text = batch[0]
        assert empty.shape == (0, 2)
        full += 1
        assert text == "a"


def test_workers_see_the_dataset_as_it_is_when_iteration_starts() -> None:
    values = [1, 2, 3]
    batches = data.DataLoader(data.SimpleDataset(values).transform(abs), 3, **PROCESSES)
    assert listed(batches) == [[1, 2, 3]]
    values[0] = 9
    assert listed(batches) == [[9, 2, 3]]


@KINDS
def test_two_iterations_at_once(how: dict[str, Any]) -> None:
    batches = loader(abs, **how)
    for left, right in zip(batches, batches, strict=True):
        assert left.tolist() == right.tolist()


def test_arrays_without_a_transform_start_no_workers() -> None:
    batches = iter(data.DataLoader(data.ArrayDataset(np.arange(6), list(range(6))), 2, **PROCESSES))
    assert not workers()
    assert len(list(batches)) == 3


def forked() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which the child does not need
        return os.fork()


@pytest.mark.spread(4)
@KINDS
def test_a_fork_in_the_middle_of_an_iteration(how: dict[str, Any]) -> None:
    batches = iter(loader(abs, **how))
    next(batches)
    child = forked()
    if not child:
        code = 1
        try:
            next(batches)
        except UsageError:
            code = 0 if listed(loader(abs, 4, **how)) == [[0, 1, 2], [3]] else 2
        finally:
            del batches
            gc.collect()
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert len(list(batches)) == 6


def interrupted(how: dict[str, Any]) -> None:
    batches = iter(loader(lambda x: time.sleep(0.02) or x, 100, 10, **how))
    seen, interrupts = [], 0
    threading.Timer(0.3, os.killpg, (0, signal.SIGINT)).start()
    while True:
        try:
            seen += next(batches).tolist()
        except KeyboardInterrupt:
            interrupts += 1
        except StopIteration:
            break
    assert seen == list(range(100))
    assert interrupts == 1


@pytest.mark.spread(8)
@KINDS
def test_ctrl_c_loses_no_batch_and_reaches_no_worker(how: dict[str, Any]) -> None:
    run_in_a_group(lambda: interrupted(how))


class Interrupts:
    """Ctrl-C at any moment between ``on()`` and ``off()``, once each time."""

    def __init__(self, seconds: float) -> None:
        self._armed: list[bool] = []
        self._over = threading.Event()
        self._moments, self._seconds = random.Random(4), seconds
        signal.signal(signal.SIGINT, self._handle)
        threading.Thread(target=self._send, daemon=True).start()

    def _handle(self, *_: object) -> None:
        if self._armed:
            self._armed.clear()
            raise KeyboardInterrupt

    def _send(self) -> None:
        while not self._over.wait(self._moments.uniform(0, self._seconds)):
            os.kill(os.getpid(), signal.SIGINT)

    def on(self) -> None:
        self._armed.append(True)

    def off(self) -> None:
        self._armed.clear()

    def end(self) -> None:
        self._over.set()


def interrupted_within(how: dict[str, Any]) -> None:
    """The batches that come are in order, and few are lost: those that were just handed over."""
    interrupts = Interrupts(0.01)
    batches = iter(loader(abs, 3000, **how))
    seen: list[int] = []
    came, ended = 0, False
    while not ended:
        try:
            interrupts.on()
            batch = next(batches, None)
            interrupts.off()
            ended = batch is None
            seen += [] if batch is None else [int(batch[0])]
        except KeyboardInterrupt:
            came += 1
    interrupts.end()
    assert came
    assert seen == sorted(set(seen))
    assert seen[-1] > 2990
    assert len(seen) > 950


@KINDS
def test_ctrl_c_ends_no_iteration(how: dict[str, Any]) -> None:
    run_in_a_group(lambda: interrupted_within(how))


def interrupted_often(how: dict[str, Any]) -> None:
    interrupts = Interrupts(0.05)
    came, end = 0, time.monotonic() + 2
    while time.monotonic() < end:
        try:
            interrupts.on()
            assert len(list(loader(abs, **how))) == 7
            interrupts.off()
        except KeyboardInterrupt:
            came += 1
    interrupts.end()
    assert came
    deadline = time.monotonic() + 60
    while (workers() or multiprocessing.active_children()) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert not workers()
    assert not multiprocessing.active_children()


@pytest.mark.spread(4)
@KINDS
def test_ctrl_c_at_any_moment_leaves_no_worker_and_no_other_error(how: dict[str, Any]) -> None:
    run_in_a_group(lambda: interrupted_often(how))


@pytest.mark.spread(8)
@KINDS
@pytest.mark.parametrize(
    "end", [lambda: os._exit(0), lambda: os.kill(os.getpid(), signal.SIGKILL)], ids=["exit", "kill"]
)
def test_workers_end_with_their_process_that_cannot_end_them(
    how: dict[str, Any], end: Callable[[], None]
) -> None:
    def program() -> None:
        batches = iter(loader(lambda x: time.sleep(60 * (x > 5)) or x, **how))
        next(batches)
        time.sleep(0.3)
        end()

    run_in_a_group(program, -signal.SIGKILL if end.__code__.co_names[-1] == "SIGKILL" else 0)


def run_in_a_group(program: Callable[[], None], code: int = 0) -> None:
    """In a process group of its own. Its workers inherit the pipe, which ends when all of them have ended."""
    reading, writing = os.pipe()
    child = forked()
    if not child:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may ignore it
        try:
            program()
            os._exit(0)
        except BaseException:
            os.write(writing, traceback.format_exc().encode())
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        ended = select.select([pipe], [], [], 120)[0]
        if not ended:
            os.killpg(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        assert ended, "a process is left"
        assert not pipe.read()
    assert os.waitstatus_to_exitcode(status) == code


@pytest.mark.spread(4)
@KINDS
def test_workers_end_with_the_program(how: dict[str, Any]) -> None:
    program = f"""
import time
from blockfuse.gluon import data
slow = data.SimpleDataset(range(100)).transform(lambda x: time.sleep(60 * (x > 5)) or x)
batches = iter(data.DataLoader(slow, 2, **{how}))
next(batches)
time.sleep(0.2)
"""
    done = python("-c", program)
    assert (done.returncode, done.stderr) == (0, "")
