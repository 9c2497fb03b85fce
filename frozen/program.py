"""A program of a file, with a frame of this process around it: what calls of a frozen net run."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.codegen.cpu.process import cpython
from blockfuse.codegen.cpu.process.allocator import caching_allocator
from blockfuse.codegen.cpu.process.frame_words import SAFEPOINT, header_index, header_words, safepoint_words
from blockfuse.codegen.cpu.process.thread_pool import pool
from blockfuse.codegen.cpu.process.thread_pool_layout import POOL
from blockfuse.codegen.validity import VALID
from blockfuse.frozen.mapping import ImageCode
from blockfuse.ir.errors import OtherMachineError

Data = Any  # of JSON


class _Wrapper:
    """What entries ask for in the place of blockfuse's arrays: nobody has one, as arguments are NumPy's here."""

    __slots__ = ("_data", "_history", "_pending")

    def __init__(self, data: numpy.ndarray) -> None:
        self._data, self._history, self._pending = data, None, None


_UNUSUAL = numpy.zeros(1, numpy.int64)  # no mode in which Python runs calls


class LoadedProgram:
    """Its entry, and all that the entry rests on: whoever calls the one holds the other."""

    def __init__(self, data: Data, process: Data, base: int, threads: int, keep: int) -> None:
        """data: as ``freezing.py`` describes a program. process: the functions of the pool and the allocator.

        base: where the image lies. threads: at most. keep: bytes of large results that are kept for the next ones.
        """
        if not cpython.layout_is_known(_Wrapper):
            raise OtherMachineError("objects of this interpreter do not lie as native code expects them")
        self._data, self._base = data, base
        self._frame = numpy.zeros(data["words"], numpy.int64)
        self._parameters = [self._bounds(*place) for place in data["parameters"]]
        self._limits = numpy.array(self._parameters, numpy.int64).reshape(-1, 2)
        self._sizes = numpy.full(data["size_slots"], -1, numpy.int64)
        self._binding = ()  # parameters stay as long as the process
        self._fill_header()
        self._fill_table()
        if data["allocator"]:
            allocator = caching_allocator(lambda: self._code(process["allocator"]), keep)
            self._put(allocator.words())
        if data["alone"] is not None:
            self._fill_pool(process["pool"], min(threads, data["threads"]))
        self._definition = cpython.MethodDef(b"entry", base + data["entry"], cpython.METH_FASTCALL, None)
        self.entry: Callable[..., Any] = cpython.builtin(self._definition, self._frame)

    def admit(self, items: int) -> None:
        """Let the entry run a size of the batch; see NOTE [variants]."""
        self._sizes[items % len(self._sizes)] = items

    def admits(self, items: int) -> bool:
        """Whether it is one that the entry runs."""
        return bool(self._sizes[items % len(self._sizes)] == items)

    def _bounds(self, start: int, nbytes: int) -> tuple[int, int]:
        return self._base + start, self._base + start + nbytes

    def _code(self, offsets: dict[str, int]) -> ImageCode:
        return ImageCode(self._base, offsets)

    def _put(self, words: dict[str, int]) -> None:
        for name, value in words.items():
            self._frame[header_index(name)] = value

    def _fill_header(self) -> None:
        data = self._data
        self._put(header_words(_Wrapper, _UNUSUAL))
        self._put({"valid": VALID, "sizes": self._sizes.ctypes.data, "binding": id(self._binding)})
        self._put({"bounds": self._limits.ctypes.data, "bound": len(self._limits)})
        for index, dtype in data["arguments"]:
            self._frame[index] = cpython.dtype_word(numpy.dtype(dtype))
        for index, dtype in data["results"]:
            self._frame[index] = id(numpy.dtype(dtype))

    def _fill_table(self) -> None:
        data = self._data
        for index, offset in data["kernels"]:
            self._frame[index] = self._base + offset
        for index, (start, _) in zip(data["parameter_words"], self._parameters, strict=True):
            self._frame[index] = start
        first = data["ways_word"]
        self._frame[first : first + len(data["ways"])] = data["ways"]
        if data["safepoint_word"] is not None:
            for name, address in safepoint_words().items():
                self._frame[data["safepoint_word"] + SAFEPOINT.index(name)] = address

    def _fill_pool(self, functions: dict[str, int], threads: int) -> None:
        """The pool of this process, or, for one thread, what does all in the place of its functions."""
        first = self._data["pool_word"]
        if threads > 1:
            workers = pool(threads, lambda: self._code(functions))
            self._frame[first : first + len(POOL)] = [getattr(workers, name) for name in POOL]
        else:
            self._frame[first : first + 2] = self._base + self._data["alone"]

    def __del__(self) -> None:
        space = int(self._frame[header_index("workspace")]) if hasattr(self, "_frame") else 0
        if space:
            ctypes.CDLL(None).free(ctypes.c_void_p(space))
