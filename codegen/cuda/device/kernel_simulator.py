"""Device sources run by Numba's simulator, a thread of Python for each thread of a device, on NumPy arrays.

For tests: it works only in a process that was started with ``NUMBA_ENABLE_CUDASIM=1``.
"""

from __future__ import annotations

import itertools
import operator
import random
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy
from numba import cuda
from numba.cuda.simulator import kernel as _simulator

from blockfuse.codegen.cuda.device.numpy_values import Number
from blockfuse.codegen.cuda.source.device_source import DeviceSource
from blockfuse.codegen.values.functions import FUNCTIONS

_number = itertools.count()  # the simulator tells shared arrays apart by file and line


@dataclass(frozen=True)
class Pointer:
    """Element ``start`` of an array and what lies around it; the array begins at a multiple of 16 bytes."""

    array: numpy.ndarray
    start: int = 0

    def __getitem__(self, index: Any) -> Any:
        return self.array[self._index(index)]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.array[self._index(index)] = value

    def _index(self, index: Any) -> int:
        found = self.start + operator.index(index)
        if not 0 <= found < self.array.size:
            raise IndexError(f"element {found} of {self.array.size}")
        return found

    def four(self, index: Any) -> slice:
        """Four neighbours; a device wants their address to be a multiple of their size, up to 16 bytes."""
        first = self._index(index)
        self._index(operator.index(index) + 3)
        if first * self.array.itemsize % min(16, 4 * self.array.itemsize):
            raise IndexError(f"four elements from number {first} on are not aligned")
        return slice(first, first + 4)


def run(source: DeviceSource, pointers: Sequence[Pointer], rows: int) -> None:
    """All stages of a kernel; ``pointers`` are those of ``source.parameters``."""
    assert rows <= source.max_rows
    functions = _functions(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # as on a device, numbers overflow without a word
        for stage, function in zip(source.stages, functions, strict=True):
            launched = cuda.jit(function)[stage.grid(rows), stage.threads, 0, stage.shared_bytes]
            launched(*pointers, numpy.uint32(rows))


@lru_cache(maxsize=256)
def _functions(source: DeviceSource) -> list[Callable[..., None]]:
    defined: dict[str, Any] = {}
    text = source.text.replace(", alignment=16", "")  # which the simulator refuses
    scope = dict(_scope())
    exec(compile(text, f"<kernel {next(_number)}: {source.name}>", "exec"), scope, defined)
    scope |= {name: defined[name] for name in source.parts(defined)}
    return [defined[stage.name] for stage in source.stages]


# -- what kernel source may name -----------------------------------------------------------------------------


@lru_cache
def _scope() -> dict[str, Any]:
    dtypes = [numpy.dtype(f"{u}int{bits}") for u in ("", "u") for bits in (8, 16, 32, 64)]
    numbers = {d.name: _conversion(d) for d in (*dtypes, numpy.dtype("float32"), numpy.dtype("float64"))}
    return {
        **numbers,
        **{name: _function(f) for name, f in FUNCTIONS.items()},
        **{f.__name__: f for f in (ldv4, stv4, shfl_xor)},
        "ldv4_written": ldv4,
        "types": SimpleNamespace(**numbers),
        "cuda": cuda,
        "inf": float("inf"),
        "nan": float("nan"),
    }


@dataclass(frozen=True)
class _Conversion:
    """``float32(x)``, and the dtype of an array."""

    dtype: numpy.dtype

    def __call__(self, number: Any) -> Any:
        return numpy.asarray(number).astype(self.dtype)[()]

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize


def _conversion(dtype: numpy.dtype) -> Any:
    return _Conversion(dtype)


def _function(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*operands: Any) -> Any:
        return function(*(Number(x) if isinstance(x, numpy.generic) else x for x in operands)).number

    return call


def ldv4(pointer: Pointer, index: Any) -> tuple[Any, ...]:
    return tuple(pointer.array[pointer.four(index)])


def stv4(pointer: Pointer, index: Any, *elements: Any) -> None:
    pointer.array[pointer.four(index)] = elements


def shfl_xor(number: Any, mask: Any) -> Any:
    """The number of another thread of the warp; the simulator itself has no warps."""
    thread: Any = threading.current_thread()
    return thread.exchanged(number)[thread.thread_id % _WARP_LANES ^ int(mask)]


# -- blocks --------------------------------------------------------------------------------------------------------

_WARP_LANES = 32


class _Thread(_simulator.BlockThread):
    """A thread that runs in turns: each ends where it waits for its block or its warp.

    waits_for: empty once the thread has ended.
    """

    def __init__(self, work: Callable[[], None], block: _Block, block_index: Any, index: Any) -> None:
        super().__init__(work, block, block_index, index, False)
        self.waits_for = "its start"
        self.offered: Any = None  # to its warp
        self.numbers: dict[int, Any] = {}  # lane -> what the warp offered
        self._turn, self._over = threading.Lock(), threading.Lock()  # free where a turn begins, where it ends
        self._turn.acquire()
        self._over.acquire()

    def take_turn(self) -> None:
        """Let the thread run until it waits or ends."""
        if self.waits_for == "its start":
            self.start()
        else:
            self._turn.release()
        self._over.acquire()

    def run(self) -> None:
        super().run()  # keeps what is raised
        self.waits_for = ""
        self._over.release()

    def syncthreads(self) -> None:
        self._wait("its block")

    def exchanged(self, number: Any) -> dict[int, Any]:
        """Lane -> what the thread of the warp gives, itself ``number``."""
        self.offered = number
        self._wait("its warp")
        return self.numbers

    def _wait(self, whom: str) -> None:
        self.waits_for = whom
        self._over.release()
        self._turn.acquire()
        if self.abort:
            raise RuntimeError("another thread failed")


class _Block(_simulator.BlockManager):
    """Threads in turns, whose order changes from barrier to barrier: who reads without one what others write is found out.

    Numba's own lets all run at once and looks at each of them over and over, which takes most of the time.
    """

    def run(self, block_index: Any, *arguments: Any) -> None:
        indices = numpy.ndindex(*self._block_dim)
        threads = [_Thread(lambda: self._f(*arguments), self, block_index, index) for index in indices]
        order, ready = random.Random(0), list(threads)
        try:
            while ready:
                order.shuffle(ready)
                for thread in ready:
                    thread.take_turn()
                    if thread.exception:
                        error, traceback = thread.exception
                        raise error.with_traceback(traceback)
                ready = _released(threads)
        finally:
            for thread in threads:
                if thread.waits_for in ("its block", "its warp"):
                    thread.abort = True
                    thread.take_turn()


def _released(threads: list[_Thread]) -> list[_Thread]:
    """Those that need not wait any longer: whole warps, or, where no warp waits for itself, all that have not ended."""
    warps = [list(warp) for _, warp in itertools.groupby(threads, lambda t: t.thread_id // _WARP_LANES)]
    exchanging = [warp for warp in warps if all(t.waits_for == "its warp" for t in warp)]
    for warp in exchanging:
        numbers = {t.thread_id % _WARP_LANES: t.offered for t in warp}
        for thread in warp:
            thread.numbers = numbers
    if exchanging:
        return list(itertools.chain(*exchanging))
    if any(t.waits_for == "its warp" for t in threads):
        raise RuntimeError("a warp waits for threads that wait for the block or have ended")
    return [t for t in threads if t.waits_for]


_simulator.BlockManager = _Block
