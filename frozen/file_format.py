"""The file of a frozen net: a shared library (NOTE [the image]), perhaps a portable part (``frozen/portable.py``), a
description of them, and a trailer that checks.

The description is JSON: for which machine the code is, where its functions, slots and parameters lie, the programs, and the
calls that they are for. No part of a file is pickled. The trailer has the lengths, and a checksum of all that stands before
it but for the portable part, which nobody reads where the native code runs: its own checksum stands in the description. So
damaged and cut files are found. That does not say who made a file, and what a file holds is native code that runs: load
files of people you trust.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from blockfuse.ir.errors import FrozenFileError

Data = Any  # of JSON

VERSION = 2  # of the format; a file of another one is refused

_MAGIC = b"blockfuse frozen"
_TRAILER = struct.Struct(
    "<16sQQQQQ"
)  # magic, version, bytes of the portable part, of the description and of the whole file, checksum
_CHECKSUM_BYTES = 8


def sealed(image: bytes, description: Data, portable: bytes = b"") -> bytes:
    """The content of a file."""
    text = json.dumps({**description, "portable": _checksum(portable)}, allow_nan=False).encode()
    length = len(image) + len(portable) + len(text) + _TRAILER.size
    trailer = _TRAILER.pack(_MAGIC, VERSION, len(portable), len(text), length, 0)[:-_CHECKSUM_BYTES]
    checksum = zlib.crc32(text + trailer, zlib.crc32(image))
    return b"".join([image, portable, text, trailer, struct.pack("<Q", checksum)])


def _checksum(portable: bytes) -> int | None:
    return zlib.crc32(portable) if portable else None


def read(path: str) -> Data:
    """The description of a file that is whole; raises FrozenFileError for others."""
    with naming(path), _content(path) as content:
        return json.loads(_parts(content).description)


def read_portable(path: str, description: Data) -> tuple[bytes, bytes]:
    """The image and the portable part of a file of which that was read; raises FrozenFileError where it is damaged."""
    with _content(path) as content:
        parts = _parts(content)
        if json.loads(parts.description) != description:
            raise FrozenFileError("another file was put in its place while it was loaded: load it again")
        if _checksum(parts.portable) != description["portable"]:
            raise FrozenFileError(
                "it is damaged: its portable part does not give the checksum that stands in it"
            )
        return parts.image, parts.portable


@dataclass(frozen=True)
class _Parts:
    """Of a file that is whole, but for the portable part, which nobody has looked at."""

    content: mmap.mmap | bytes
    first: int  # where the portable part begins
    second: int  # where the description begins
    end: int

    @property
    def image(self) -> bytes:
        return self.content[: self.first]

    @property
    def portable(self) -> bytes:
        return self.content[self.first : self.second]

    @property
    def description(self) -> bytes:
        return self.content[self.second : self.end]


def _parts(content: mmap.mmap | bytes) -> _Parts:
    """Raises FrozenFileError for a file that is not whole."""
    end = len(content) - _TRAILER.size
    magic, version, portable, described, length, checksum = (
        _TRAILER.unpack_from(content, end) if end >= 0 else (b"", 0, 0, 0, 0, 0)
    )
    if magic != _MAGIC:
        raise FrozenFileError("it is no file that blockfuse.freeze wrote, or is cut")
    if version != VERSION:
        raise FrozenFileError(
            f"it is of version {version} of the format; this blockfuse reads version {VERSION}"
        )
    if length != len(content) or portable + described > end:
        raise FrozenFileError(f"it is damaged: of {length} bytes there are {len(content)}")
    parts = _Parts(content, end - described - portable, end - described, end)
    with (
        memoryview(content) as view,
        view[: parts.first] as image,
        view[parts.second : -_CHECKSUM_BYTES] as rest,
    ):
        whole = zlib.crc32(rest, zlib.crc32(image)) == checksum
    if not whole:
        raise FrozenFileError("it is damaged: its content does not give the checksum at its end")
    return parts


@contextmanager
def _content(path: str) -> Iterator[mmap.mmap | bytes]:
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Let what is wrong with a file be told with its name."""
    try:
        yield
    except FrozenFileError as error:
        raise type(error)(f"{path}: {error}") from error
