"""Every setting that comes from the environment; nothing else reads it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockfuse.ir.errors import UsageError
from blockfuse.runtime.cpu_quota import processors_granted


@dataclass(frozen=True)
class Setting:
    """One environment variable."""

    name: str
    default: str
    read: Callable[[str], Any]
    sentence: str


def _default_threads() -> str:
    """All processors that the process may use; of a quota the whole ones, as threads that wait use it up, too."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    granted = processors_granted()
    return str(allowed if granted is None else max(1, min(allowed, int(granted))))


def _threads(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"BLOCKFUSE_THREADS is {text!r}; it must be a whole number from 1 on")
    return int(text)


def _mebibytes(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"BLOCKFUSE_KEEP is {text!r}; it must be a whole number of MiB, 0 to keep nothing")
    return int(text) << 20


def _default_cache() -> str:
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return str(Path(base) / "blockfuse")
    try:
        return str(Path.home() / ".cache" / "blockfuse")
    except RuntimeError:
        # A container's user without a home; the cache checks that nobody else owns the folder.
        return str(Path(tempfile.gettempdir()) / f"blockfuse-{os.getuid()}")


def _level(text: str) -> str:
    if text not in ("", "avx512", "avx2", "baseline"):
        raise UsageError(f"BLOCKFUSE_ISA is {text!r}; it may be avx512, avx2 or baseline")
    return text


def _frames(text: str) -> bool:
    if text not in ("", "full"):
        raise UsageError(f"BLOCKFUSE_TRACEBACK is {text!r}; it may be full")
    return text == "full"


def _architecture(text: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"sm_(\d+)(\d)", text)
    if text and found is None:
        raise UsageError(f"BLOCKFUSE_CUDA_ARCH is {text!r}; it may be sm_80, sm_90, sm_100 or another one")
    return None if found is None else (int(found[1]), int(found[2]))


SETTINGS = (
    Setting(
        "BLOCKFUSE_THREADS", "", lambda t: _threads(t or _default_threads()), "Threads of a large launch."
    ),
    Setting("BLOCKFUSE_CACHE", "", lambda t: Path(t or _default_cache()), "Folder of compiled code."),
    Setting("BLOCKFUSE_KEEP", "64", _mebibytes, "MiB of memory of large results kept for the next results."),
    Setting("BLOCKFUSE_ISA", "", _level, "Use at most these instructions: avx512, avx2 or baseline."),
    Setting("BLOCKFUSE_TRACEBACK", "", _frames, "Which frames tracebacks show: all of them (full)."),
    Setting(
        "BLOCKFUSE_CUDA_ARCH",
        "",
        _architecture,
        "Show kernels for this architecture, as sm_90, without a device.",
    ),
)
_BY_NAME = {s.name: s for s in SETTINGS}


def _value(name: str) -> Any:
    setting = _BY_NAME[name]
    return setting.read(os.environ.get(name, setting.default))


def threads(asked: int | None = None) -> int:
    """How many threads a launch may use, the caller's included. asked: what a caller wants instead, if anything."""
    require_threads(asked)
    return int(_value("BLOCKFUSE_THREADS")) if asked is None else asked


def require_threads(asked: int | None) -> None:
    """Raises UsageError for what is no number of threads."""
    if asked is not None and (type(asked) is not int or asked < 1):
        raise UsageError(f"threads is {asked!r}; it must be a whole number from 1 on")


def cache_folder() -> Path:
    """Where compiled code is kept."""
    return Path(_value("BLOCKFUSE_CACHE"))


def kept_bytes() -> int:
    """How much memory of large results that are gone is kept for the next ones."""
    return int(_value("BLOCKFUSE_KEEP"))


def isa_level() -> str:
    """The highest instruction set level, or "" for all that the processor has."""
    return str(_value("BLOCKFUSE_ISA"))


def shows_all_frames() -> bool:
    """Whether tracebacks show our own frames."""
    return bool(_value("BLOCKFUSE_TRACEBACK"))


def cuda_architecture() -> tuple[int, int] | None:
    """The compute capability to show kernels for, or None for the device's."""
    found: tuple[int, int] | None = _value("BLOCKFUSE_CUDA_ARCH")
    return found
