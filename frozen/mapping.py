"""The native code of a file in this process, mapped by the system's loader and joined with the libraries that it calls."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from typing import Any

from blockfuse.codegen.cpu.linking.identity import IDENTITY
from blockfuse.codegen.cpu.process.cpython import function_address
from blockfuse.ir.errors import FrozenFileError

Data = Any  # of JSON

_LIBRARIES = (None, "libm.so.6")  # all that the process has loaded, and what it may lack
_images: dict[
    str, int
] = {}  # identity -> where the image lies; for good, as those who run its code hold no reference
_handles: dict[int, str] = {}  # of the system's loader -> identity
_names: dict[str, int] = {}  # path -> how many images were looked for there


def imported(name: str) -> int:
    """The address of a function of the C or the mathematical library; 0 where there is none."""
    for library in _LIBRARIES:
        try:
            return function_address(ctypes.CDLL(library), name)
        except (AttributeError, OSError):
            continue
    return 0


class ImageCode:
    """Functions of an image."""

    def __init__(self, base: int, offsets: Mapping[str, int]) -> None:
        self._base, self._offsets = base, offsets

    def address(self, symbol: str) -> int:
        """Where a function lies."""
        return self._base + self._offsets[symbol]


def mapped(path: str, description: Data) -> int:
    """Where the image of a file lies, once for all who load it; raises FrozenFileError where it cannot be."""
    identity = description["identity"]
    if identity not in _images:
        _images[identity] = _map(path, description)
    return _images[identity]


def _map(path: str, description: Data) -> int:
    addresses = {name: imported(name) for name in description["imports"]}
    lacking = sorted(name for name, address in addresses.items() if not address)
    if lacking:
        raise FrozenFileError(f"it calls functions that the libraries here lack: {', '.join(lacking)}")
    base = _base_of(path, description)
    for name, slot in description["imports"].items():
        ctypes.c_uint64.from_address(base + slot).value = addresses[name]
    return base


def _base_of(path: str, description: Data) -> int:
    """Where the loader maps the file. Each time under another name, as it takes a name that it knows for the same file."""
    folder, name = os.path.split(os.path.abspath(path))
    _names[path] = _names.get(path, -1) + 1
    named = os.path.join(folder, *["."] * _names[path], name)
    try:
        library = ctypes.CDLL(named)
        start: int = ctypes.addressof(ctypes.c_char.in_dll(library, IDENTITY)) - description["identity_at"]
    except (OSError, ValueError) as error:
        raise FrozenFileError(
            f"the system does not load it ({error}): is its file system mounted noexec?"
        ) from error
    # The same file as that of another image has been written over where it lay, and what was mapped of it with it.
    if _handles.setdefault(library._handle, description["identity"]) != description["identity"]:
        raise FrozenFileError(
            "it was written over while this process had it mapped: put a new file in its place, as freeze() does, and "
            "start the process anew"
        )
    return start
