"""Objects in memory of this process, where their functions run.

NOTE [code in memory]
One mapping for each object. LLVM's engine maps each section where the system likes: in a process whose address space other
libraries have filled, code and constants came to lie more than 2 GiB apart, which no reference reaches, and LLVM then ends
the process (llvmlite 0.50); with the memory manager of llvmlite's own it ended at objects that call other libraries. Code
that nobody holds any more stays mapped until more is gone: who let it go may still be running in it.
"""

from __future__ import annotations

import ctypes
import mmap
from collections import deque
from collections.abc import Callable

from blockfuse.codegen.cpu.linking.layout import PAGE, Layout, put, rounded
from blockfuse.codegen.cpu.linking.relocatable import LinkError, relocatable

_libc = ctypes.CDLL(None, use_errno=True)
_READ, _WRITE, _RUN = mmap.PROT_READ, mmap.PROT_WRITE, mmap.PROT_EXEC
_OBJECT = ""  # its name in a layout that has no other
_gone: deque[object] = deque(maxlen=64)  # memory of code that nobody holds any more


class MappedCode:
    """An object in memory, as long as this is held.

    ``resolve`` gives the address of a function of another library, or 0. Raises LinkError where there is none, and for what
    it is not known how to link; OSError where the system does not let memory run that was written.
    """

    def __init__(self, code: bytes, resolve: Callable[[str], int]) -> None:
        object = relocatable(code)
        layout = Layout({_OBJECT: object})
        size = layout.place(0)
        content = layout.content(size)
        self._memory = _mapped(max(size, PAGE))
        base = ctypes.addressof(self._memory)
        for place, address in layout.moved:
            put(content, place, _word(base + address))
        for name, place in layout.imports().items():
            put(content, place, _word(_found(name, resolve)))
        ctypes.memmove(base, bytes(content), size)
        _protect(base, layout.code.start, _READ)
        _protect(base + layout.code.start, rounded(layout.code.size, PAGE), _READ | _RUN)
        named = (*object.functions, *object.variables)
        self._addresses = {symbol.name: base + layout.address(_OBJECT, symbol) for symbol in named}

    def __del__(self, keep: Callable[[object], None] = _gone.append) -> None:
        # Names of the module may be gone by then.
        memory = self.__dict__.pop("_memory", None)
        if memory is not None:
            keep(memory)

    def address(self, symbol: str) -> int:
        """Where a function or a variable lies."""
        return self._addresses[symbol]


def _mapped(size: int) -> ctypes.Array[ctypes.c_char]:
    """Memory of this process alone, which goes with the last reference to what is returned."""
    mapping = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=_READ | _WRITE)
    return (ctypes.c_char * size).from_buffer(mapping)


def _found(name: str, resolve: Callable[[str], int]) -> int:
    address = resolve(name)
    if not address:
        raise LinkError(f"no library of this process has the function {name}")
    return address


def _word(value: int) -> bytes:
    return value.to_bytes(8, "little")


def _protect(start: int, size: int, allowed: int) -> None:
    if size and _libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(size), allowed):
        raise OSError(
            ctypes.get_errno(),
            "the system does not let memory run that a process has written: is that forbidden here (SELinux, seccomp)?",
        )
