"""Memory of large results: kept, given out again, given back; and never two results in one block."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from typing import Any

import numpy
import pytest
from threads import together

import blockfuse
from blockfuse import np
from blockfuse.codegen.cpu.process import allocator

COUNT = 600_000  # float32: 2.4 MB


@pytest.fixture
def doubled() -> Any:
    """A compiled function whose result is large."""

    @blockfuse.hybridize
    def function(x: Any) -> Any:
        return x * 2

    x = np.arange(COUNT, dtype="float32")
    for _ in range(3):
        function(x)
    gc.collect()
    return lambda number=0.0: function(x + number)


def address(result: Any) -> int:
    return int(result._data.ctypes.data)


def kept() -> int:
    assert allocator._allocator is not None
    return allocator._allocator.kept


def test_results_are_arrays_like_any_other_on_a_cache_line(doubled: Any) -> None:
    result = doubled()
    assert address(result) % 64 == 0
    assert result._data.flags.owndata
    assert result._data.base is None
    assert result[-1] == 2 * (COUNT - 1)


def test_a_block_is_given_to_the_next_result_of_its_size(doubled: Any) -> None:
    first = doubled()
    place = address(first)
    before = kept()
    del first
    assert kept() > before
    second = doubled(1.0)
    assert address(second) == place
    assert second[0] == 2
    assert kept() == before


def test_results_that_live_at_once_have_memory_of_their_own(doubled: Any) -> None:
    results = [doubled(float(n)) for n in range(12)]
    assert len({address(r) for r in results}) == 12
    assert [float(r[0]) for r in results] == [2.0 * n for n in range(12)]


def test_no_more_is_kept_than_the_limit(doubled: Any) -> None:
    assert allocator._allocator is not None
    limit = int(allocator._allocator._state[allocator.WORDS.index("limit")])
    results = [doubled(float(n)) for n in range(60)]
    del results
    assert 0 < kept() <= limit


@pytest.mark.long
def test_a_result_may_be_resized_and_read_after_its_function_is_gone(doubled: Any) -> None:
    array = doubled()._data
    del doubled
    gc.collect()
    array.resize((10,), refcheck=False)
    assert array.tolist() == [2.0 * n for n in range(10)]
    array.resize((COUNT * 2,), refcheck=False)
    assert array[9] == 18
    assert not array[10:].any()


def test_several_threads_keep_their_results_apart(doubled: Any) -> None:
    def work(number: int) -> None:
        for _ in range(40):
            result = doubled(float(number))
            assert float(result[0]) == 2.0 * number
            assert float(result[COUNT - 1]) == 2.0 * (COUNT - 1 + number)

    together(work)


@pytest.mark.parametrize("count", [4096, 10_000, 262_143])
def test_results_of_middle_size_begin_a_line_and_are_the_librarys_memory(count: int) -> None:
    function = blockfuse.hybridize(lambda x: x * 2)
    x = np.arange(count, dtype="float32")
    for _ in range(3):
        function(x)
    before = kept()
    results = [function(x + number) for number in range(20)]
    for number, result in enumerate(results):
        assert address(result) % 64 == 0
        assert result._data.flags.owndata
        numpy.testing.assert_array_equal(result._data, (numpy.arange(count) + number) * 2)
    held = results[7]._data
    del results, result
    assert kept() == before
    held.resize((count * 8,), refcheck=False)
    assert held[count - 1] == 2 * (count - 1 + 7)
    assert not held[count:].any()
    held.resize((10,), refcheck=False)
    assert held.tolist() == [2.0 * (n + 7) for n in range(10)]


def test_small_results_have_numpys_own_memory() -> None:
    small = blockfuse.hybridize(lambda x: x * 2)
    for _ in range(3):
        small(np.ones((4,)))
    before = kept() if allocator._allocator else 0
    small(np.ones((4,)))
    assert (kept() if allocator._allocator else 0) == before


def test_sizes_that_grow_take_it_from_the_size_on_where_it_pays() -> None:
    function = blockfuse.hybridize(lambda x: x * 2)
    for rows in (3, 5, 700, 9):
        x = np.ones((rows, 1000))
        assert function(x).sum() == 2000 * rows
        result = function(x)
        assert (address(result) % 64 == 0) or rows < 5


@pytest.mark.long
def test_nothing_is_kept_where_the_setting_says_so() -> None:
    program = """
import os
os.environ["BLOCKFUSE_KEEP"] = "0"
import blockfuse
from blockfuse import np
from blockfuse.codegen.cpu.process import allocator
f = blockfuse.hybridize(lambda x: x * 2)
x = np.ones((600000,))
for _ in range(4):
    assert f(x)[0] == 2
assert allocator._allocator.kept == 0
"""
    subprocess.run([sys.executable, "-P", "-c", program], check=True, timeout=600)


def test_arrays_pass_between_numpy_and_the_allocator(doubled: Any) -> None:
    array = doubled()._data
    copy = numpy.concatenate([array, array])
    view = array[5:]
    del array
    gc.collect()
    assert view[0] == 10
    assert copy[COUNT] == 0


def test_references_to_the_allocator_go_with_the_results(doubled: Any) -> None:
    assert allocator._allocator is not None
    before = sys.getrefcount(allocator._allocator.capsule)
    for number in range(200):
        doubled(float(number))
    gc.collect()
    assert abs(sys.getrefcount(allocator._allocator.capsule) - before) < 20


@pytest.mark.long
def test_what_outlives_the_modules_at_the_end_does_no_harm() -> None:
    program = """
import numpy, sys, threading
import blockfuse
from blockfuse import nn, np

class Caller:
    def __del__(self):
        try:
            self.net(self.x)
        except Exception:
            pass

net = nn.Dense(64, in_units=64)
net.initialize()
net.hybridize(threads=2)
double = blockfuse.hybridize(lambda x: x * 2, threads=2)
caller = Caller()
caller.net, caller.x = net, np.ones((200, 64))
large = np.ones((600000,))
for _ in range(5):
    net(caller.x)
    numpy.kept = sys.kept = threading.current_thread().kept = (double(large), caller)
"""
    for _ in range(3):
        subprocess.run([sys.executable, "-P", "-c", program], check=True, timeout=600)


def references() -> int:
    assert allocator._allocator is not None
    return sys.getrefcount(allocator._allocator.capsule)


def several(x: Any) -> Any:
    y = np.tanh(x)
    return y * 2, y * 3, y.sum(axis=1)


def test_an_entry_without_memory_between_its_results_gives_back_all() -> None:
    """Every large array that is alive holds on to the allocator."""
    nomemory = pytest.importorskip("_testcapi")
    call, x = blockfuse.hybridize(several), np.ones((64, 16384))
    for _ in range(3):
        wanted = [float(y.sum()) for y in call(x)]
    entry = next(iter(call._hybrid.cases.values())).program.entry
    gc.collect()
    before, failed = references(), 0
    for number in range(1, 12):
        result = None
        try:
            nomemory.set_nomemory(number, number + 1)
            try:
                result = entry(x)
            finally:
                nomemory.remove_mem_hooks()
        except MemoryError:
            failed += 1
        failed += result is NotImplemented
        del result
        assert references() == before, number
    assert failed > 3
    assert [float(y.sum()) for y in call(x)] == wanted


def test_memory_of_results_is_told_to_tracemalloc(doubled: Any) -> None:
    tracemalloc.start()
    try:
        result = doubled()
        assert tracemalloc.get_traced_memory()[0] > 4 * COUNT
        del result
        assert tracemalloc.get_traced_memory()[0] < 4 * COUNT
    finally:
        tracemalloc.stop()
