"""Device sources run by Numba's simulator, a thread of Python for each thread of a device, on NumPy arrays.

For tests: it works only in a process that was started with ``NUMBA_ENABLE_CUDASIM=1``, and takes about a millisecond for
every thread.
"""

from __future__ import annotations

import itertools
import operator
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy
from numba import cuda

from blockfuse.codegen.cuda.numbers import Number
from blockfuse.codegen.cuda.source import DeviceSource
from blockfuse.codegen.functions import FUNCTIONS

_number = itertools.count()  # the simulator tells shared arrays apart by file and line


@dataclass(frozen=True)
class Pointer:
    """Element ``start`` of an array and what lies around it; the array begins at a multiple of 16 bytes."""

    array: numpy.ndarray
    start: int = 0

    def __getitem__(self, index: Any) -> Any:
        return self.array[self._place(index)]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.array[self._place(index)] = value

    def _place(self, index: Any) -> int:
        place = self.start + operator.index(index)
        if not 0 <= place < self.array.size:
            raise IndexError(f"place {place} of {self.array.size}")
        return place

    def four(self, index: Any) -> slice:
        """Four neighbours; a device wants their address to be a multiple of their size, up to 16 bytes."""
        place = self._place(index)
        self._place(operator.index(index) + 3)
        if place * self.array.itemsize % min(16, 4 * self.array.itemsize):
            raise IndexError(f"four elements from place {place} on are not aligned")
        return slice(place, place + 4)


def run(source: DeviceSource, pointers: Sequence[Pointer], rows: int) -> None:
    """All stages of a kernel; ``pointers`` are those of ``source.parameters``."""
    assert rows <= source.most_rows
    functions = _functions(source)
    with warnings.catch_warnings(), _switching():
        warnings.simplefilter("ignore", RuntimeWarning)  # as on a device, numbers overflow without a word
        for stage, function in zip(source.stages, functions, strict=True):
            launched = cuda.jit(function)[stage.grid(rows), stage.threads, 0, stage.shared_bytes]
            launched(*pointers, numpy.uint32(rows))


@contextmanager
def _switching() -> Iterator[None]:
    """The simulator waits for its threads in a loop: it shall not keep them from running for longer than this."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-3)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


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


def ldv4(pointer: Pointer, place: Any) -> tuple[Any, ...]:
    return tuple(pointer.array[pointer.four(place)])


def stv4(pointer: Pointer, place: Any, *elements: Any) -> None:
    pointer.array[pointer.four(place)] = elements


def shfl_xor(number: Any, mask: Any) -> Any:
    """Through memory that the warp shares; the simulator itself has no warps."""
    thread: Any = threading.current_thread()
    warp = _warp(thread)
    asked = thread.__dict__.setdefault("asked", itertools.count())
    numbers = warp.numbers[
        next(asked) % 2
    ]  # in turns: who is slow may still read what was put there the last time
    numbers[thread.thread_id % _LANES] = number
    warp.barrier.wait(_PATIENCE)
    return numbers[thread.thread_id % _LANES ^ int(mask)]


_LANES = 32
_PATIENCE = 60.0  # seconds: a thread that failed leaves the others of its warp waiting


class _Warp:
    """Threads that exchange numbers."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size)
        self.numbers: tuple[dict[int, Any], dict[int, Any]] = {}, {}


def _warp(thread: Any) -> _Warp:
    """The warp of a thread, known to the manager of its block."""
    x, y, z = thread._manager._block_dim
    warps: dict[int, _Warp] = thread._manager.__dict__.setdefault("warps", {})
    return warps.setdefault(thread.thread_id // _LANES, _Warp(min(_LANES, x * y * z)))
