"""The native code of a file in this process, mapped by the system's loader and joined with the libraries that it calls."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from typing import Any

from blockfuse.codegen.cpu.linking.identity import IDENTITY, IDENTITY_BYTES
from blockfuse.codegen.cpu.linking.libraries import imported
from blockfuse.ir.errors import FrozenFileError, OtherMachineError

Data = Any  # of JSON

_images: dict[
    str, int
] = {}  # identity -> where the image lies; for good, as those who run its code hold no reference
_handles: dict[int, str] = {}  # of the system's loader -> identity
_names: dict[str, int] = {}  # absolute path -> how many images were looked for there


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
        raise OtherMachineError(f"it calls functions that the libraries here lack: {', '.join(lacking)}")
    base = _base_of(path, description)
    for name, slot in description["imports"].items():
        ctypes.c_uint64.from_address(base + slot).value = addresses[name]
    return base


def _base_of(path: str, description: Data) -> int:
    """Where the loader maps the file. Each time under another name, as it takes a name that it knows for the same file."""
    place = os.path.abspath(path)
    folder, name = os.path.split(place)
    _names[place] = _names.get(place, -1) + 1
    named = os.path.join(folder, *["."] * _names[place], name)
    try:
        library = ctypes.CDLL(named)
        identity_at = ctypes.addressof(ctypes.c_char.in_dll(library, IDENTITY))
    except (OSError, ValueError) as error:
        raise OtherMachineError(
            f"the system does not load it ({error}): is its file system mounted noexec?"
        ) from error
    found = ctypes.string_at(identity_at, IDENTITY_BYTES).hex()
    _require_same(_handles.setdefault(library._handle, found), found, description["identity"])
    start: int = identity_at - description["identity_at"]
    return start


def _require_same(before: str, found: str, described: str) -> None:
    """Raises FrozenFileError unless what is mapped is what was there before, and what the description tells of."""
    if before != found:  # the loader gives what it has of a file, which lies in memory as the file is now
        raise FrozenFileError(
            "it was written over while this process had it mapped: put a new file in its place, as freeze() does, and "
            "start the process anew"
        )
    if found != described:
        raise FrozenFileError("another file was put in its place while it was loaded: load it again")
