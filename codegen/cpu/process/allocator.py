"""Memory of results that are not small: on cache lines, and that of large ones kept for the next result when they are gone.

NOTE [kept memory]
The C library gives a large block back to the system as soon as it is freed, so that each call of a net with a large result
finds new pages, and a page fault costs more than to write the page: 3.4 against 1.6 ms for ten million elements. NumPy lets
an array have its own functions for memory (NEP 49). Those below keep up to ``BLOCKFUSE_KEEP`` MiB of freed blocks, and give
a block to the next result of the same size. They are called with the interpreter lock held. A block starts with a line
that says how large it is. Blocks of less than ``MIN_KEPT_BYTES`` are the C library's, which keeps them itself; their lines
say with an odd size that they are, and where the library's memory begins.

An entry takes memory itself and makes NumPy's array around it, which then owns it: NumPy asks the present context for the
functions to use, and to change a context needs memory, twice, where there may be none (CPython 3.11 ends the process then).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy

from blockfuse.codegen.cpu.process import cpython
from blockfuse.codegen.cpu.process.for_good import Code, for_good

MIN_OWN_BYTES = 1 << 14  # smaller results have NumPy's own memory
MIN_KEPT_BYTES = 1 << 20
_LIBRARY = ("aligned_alloc", "malloc", "free", "madvise")
SLOTS = tuple(f"slot{n}" for n in range(4))  # each a block that is kept, or 0
WORDS = ("kept", "limit", *_LIBRARY, *SLOTS)


class _Handler(ctypes.Structure):
    """NumPy's ``PyDataMem_Handler``, version 1."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("state", ctypes.c_void_p),
        *((name, ctypes.c_void_p) for name in ("malloc", "calloc", "realloc", "free")),
    )


class CachingAllocator:
    """Functions for memory as a capsule that NumPy takes; it stays for good, since arrays point to it."""

    def __init__(self, code: Code, limit: int) -> None:
        self._code = code
        self._state = numpy.zeros(len(WORDS), numpy.int64)
        self._state[WORDS.index("limit")] = limit
        for name in _LIBRARY:
            self._state[WORDS.index(name)] = cpython.library_address(name)
        functions = (self._code.address(name) for name in ("take", "zeros", "again", "give"))
        self._handler = _Handler(b"blockfuse", 1, self._state.ctypes.data, *functions)
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        self._name = b"mem_handler"
        self.capsule = new(ctypes.addressof(self._handler), self._name, None)
        made = cpython.made_with_handler(self.capsule, MIN_KEPT_BYTES)
        self._known = cpython.handler_is_known(made, self.capsule)

    def words(self) -> dict[str, int]:
        """What an entry needs of it; nothing where arrays do not look as they should."""
        if not self._known:
            return {}
        words = {name: self._code.address(name) for name in ("take", "give")}
        return {**words, "allocator": id(self.capsule), "allocator_state": self._state.ctypes.data}

    @property
    def kept(self) -> int:
        """Bytes that are kept for results to come."""
        return int(self._state[WORDS.index("kept")])


_allocator: CachingAllocator | None = None


def caching_allocator(code: Callable[[], Code], limit: int) -> CachingAllocator:
    """The one of this process; made at first use. code: that of ``allocator_ir``."""
    global _allocator
    if _allocator is None:
        _allocator = for_good(CachingAllocator(code(), limit))
    return _allocator
