"""For which machine and interpreter a file is: what its native code rests on, compared before any of it is mapped.

NOTE [what native code rests on]
The instructions that the compiler was allowed to use; the layout of CPython's and NumPy's objects, which entries read; how
words of frames, of the thread pool and of the allocator are numbered. The last two are constants of few modules: a checksum
of these says whether the reader and the writer of a file agree, whatever their versions are called.
"""

from __future__ import annotations

import os
import sys
import zlib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy

from blockfuse.codegen.cpu.native import tile_permission
from blockfuse.codegen.cpu.process import allocator, cpython, frame_words, thread_pool_layout
from blockfuse.codegen.scheduling import strip_memory
from blockfuse.ir.errors import OtherMachineError

Data = Any  # of JSON

# LLVM's name of a feature -> Linux's, where these differ in more than dots, dashes and underscores
_OTHER_NAMES = {
    "64bit": "lm",
    "bmi": "bmi1",
    "crc32": "sse42",
    "lzcnt": "abm",
    "pclmul": "pclmulqdq",
    "prfchw": "3dnowprefetch",
    "rdrnd": "rdrand",
    "sahf": "lahflm",
    "sha": "shani",
    "sse3": "pni",
}
_MATRIX_TILES = "amxtile"  # their name among instructions


def described(features: str, level: str) -> Data:
    """This machine and interpreter. features: of LLVM, as ``+avx2,-avx512f``, that any of the code was compiled with."""
    on = {name[1:] for name in features.split(",") if name.startswith("+")}
    used = {_plain(_OTHER_NAMES.get(name, name)) for name in on} & processor_flags()
    return {**_surroundings(), "level": level, "instructions": sorted(used)}


def require_fits(made_for: Data) -> None:
    """Raises OtherMachineError, with what to do, unless code that was made for that runs here."""
    here = _surroundings()
    for name, what in _SURROUNDINGS.items():
        if made_for[name] != here[name]:
            raise OtherMachineError(
                f"it is for {what} {made_for[name]}, and this is {here[name]}: freeze the net again where it is to run"
            )
    missing = sorted(set(made_for["instructions"]) - processor_flags())
    if missing:
        raise OtherMachineError(
            f"it needs instructions that this processor lacks ({', '.join(missing)}): freeze the net again here, or "
            f"for older processors under BLOCKFUSE_ISA=avx2 or BLOCKFUSE_ISA=baseline; it was made for {made_for['level']}"
        )
    if _MATRIX_TILES in made_for["instructions"] and not tile_permission.granted():
        raise OtherMachineError(
            "it needs the processor's registers of matrices (AMX), which the system does not let this process use: freeze "
            "the net again here, or under BLOCKFUSE_ISA=avx2"
        )


_SURROUNDINGS = {
    "system": "the system",
    "python": "the interpreter",
    "numpy": "NumPy",
    "layouts": "a blockfuse whose native code has the layouts",
}


def _surroundings() -> dict[str, str]:
    system = os.uname()
    free_threaded = "" if getattr(sys, "_is_gil_enabled", lambda: True)() else "t"
    return {
        "system": f"{system.sysname} {system.machine}",
        "python": f"{sys.implementation.cache_tag}{free_threaded}{'d' * hasattr(sys, 'gettotalrefcount')}",
        "numpy": numpy.__version__.split(".")[0],
        "layouts": _layouts(),
    }


@cache
def _layouts() -> str:
    """See NOTE [what native code rests on]."""
    modules = (allocator, cpython, frame_words, strip_memory, thread_pool_layout)
    return f"{zlib.crc32(repr([_constants(m) for m in modules]).encode()):08x}"


def _constants(module: ModuleType) -> list[tuple[str, Any]]:
    values = (int, str, tuple, dict)
    return [(n, v) for n, v in sorted(vars(module).items()) if n.isupper() and type(v) in values]


@cache
def processor_flags() -> frozenset[str]:
    """What Linux says that the processor has, in lower case without dashes and underscores."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, words = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(map(_plain, words.split()))
    return frozenset()


def _plain(name: str) -> str:
    return name.lower().replace(".", "").replace("-", "").replace("_", "")
