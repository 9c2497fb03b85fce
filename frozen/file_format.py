"""The file of a frozen net: a shared library (NOTE [the image]), a description of it, and a trailer that checks both.

The description is JSON: for which machine the code is, where its functions, slots and parameters lie, the programs, and the
calls that they are for. No part of a file is pickled. The trailer has the lengths, and a checksum of all that stands before
it, by which damaged and cut files are found. It does not say who made a file, and what a file holds is native code that
runs: load files of people you trust.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from blockfuse.ir.errors import FrozenFileError

Data = Any  # of JSON

VERSION = 1  # of the format; a file of another one is refused

_MAGIC = b"blockfuse frozen"
_TRAILER = struct.Struct(
    "<16sQQQQ"
)  # magic, version, bytes of the description and of the whole file, checksum
_CHECKSUM_BYTES = 8


def sealed(image: bytes, description: Data) -> bytes:
    """The content of a file."""
    text = json.dumps(description, allow_nan=False).encode()
    length = len(image) + len(text) + _TRAILER.size
    content = image + text + _TRAILER.pack(_MAGIC, VERSION, len(text), length, 0)[:-_CHECKSUM_BYTES]
    return content + struct.pack("<Q", zlib.crc32(content))


def read(path: str) -> Data:
    """The description of a file that is whole; raises FrozenFileError for others."""
    with naming(path), _content(path) as content:
        start = len(content) - _TRAILER.size
        magic, version, described, length, checksum = (
            _TRAILER.unpack_from(content, start) if start >= 0 else (b"", 0, 0, 0, 0)
        )
        if magic != _MAGIC:
            raise FrozenFileError("it is no file that blockfuse.freeze wrote, or is cut")
        if version != VERSION:
            raise FrozenFileError(
                f"it is of version {version} of the format; this blockfuse reads version {VERSION}"
            )
        if length != len(content) or described > start:
            raise FrozenFileError(f"it is damaged: of {length} bytes there are {len(content)}")
        with memoryview(content) as view, view[:-_CHECKSUM_BYTES] as checked:
            whole = zlib.crc32(checked) == checksum
        if not whole:
            raise FrozenFileError("it is damaged: its content does not give the checksum at its end")
        return json.loads(content[start - described : start])


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
        raise FrozenFileError(f"{path}: {error}") from error
