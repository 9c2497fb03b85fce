"""The format safetensors, which torch's programs read: a table in JSON, then the bytes of all arrays.

Eight bytes say how long the table is, little-endian; it has, for each name, the dtype, the shape, and where the bytes begin
and end behind it. The whole is written and read here, as it is less than what a package of its own would ask of users.
Source: the format's page at huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from math import prod
from typing import IO, Any

import numpy

_DTYPES = {
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U8": "uint8",
    "BOOL": "bool",
}
_SPELLED = {dtype: spelled for spelled, dtype in _DTYPES.items()}
_BF16 = "BF16"  # is read as float32
_LARGEST_TABLE = 100_000_000  # bytes, as the format says
_ABOUT = "__metadata__"


def write(file: IO[bytes], arrays: Mapping[str, numpy.ndarray]) -> None:
    """Write ``arrays``; raises ValueError for a dtype that the format does not have."""
    table: dict[str, Any] = {_ABOUT: {"format": "pt"}}
    begin = 0
    for name, array in arrays.items():
        if array.dtype.name not in _SPELLED or name == _ABOUT:
            raise ValueError(f"{name} is of {array.dtype}, which safetensors does not have")
        end = begin + array.nbytes
        table[name] = {
            "dtype": _SPELLED[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(table, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for array in arrays.values():
        file.write(numpy.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())


def read(file: IO[bytes]) -> dict[str, numpy.ndarray]:
    """The arrays; raises ValueError for a file that is none, is cut short, or claims what it does not hold."""
    size = os.fstat(file.fileno()).st_size - 8
    length = int.from_bytes(file.read(8), "little")
    if size < 0 or length > min(size, _LARGEST_TABLE):
        raise ValueError("its table is longer than the file")
    table = json.loads(file.read(length).decode())
    if type(table) is not dict:
        raise ValueError("its table is none")
    table.pop(_ABOUT, None)
    entries = {name: _checked(name, entry) for name, entry in table.items()}
    ends = [0]
    for begin, end in sorted((begin, end) for _, _, begin, end in entries.values()):
        if begin != ends[-1]:
            raise ValueError("arrays overlap, or leave gaps")
        ends.append(end)
    if ends[-1] != size - length:
        raise ValueError(f"its arrays take {ends[-1]} bytes, and it has {size - length}")
    data = file.read()
    return {name: _array(data[begin:end], *kind) for name, (*kind, begin, end) in entries.items()}


def _checked(name: str, entry: Any) -> tuple[str, list[int], int, int]:
    """Dtype, shape, begin and end of an array."""
    spelled, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if spelled not in _DTYPES and spelled != _BF16:
        raise ValueError(f"{name} is of {spelled!r:.20}, which is not supported")
    numbers = [*shape, begin, end]
    if not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError(f"{name} has sizes that are none")
    itemsize = 2 if spelled == _BF16 else numpy.dtype(_DTYPES[spelled]).itemsize
    if end - begin != prod(shape) * itemsize:
        raise ValueError(f"{name} has {end - begin} bytes, which are not those of shape {tuple(shape)}")
    return spelled, shape, begin, end


def _array(data: bytes, spelled: Any, shape: Any) -> numpy.ndarray:
    if spelled == _BF16:
        wide = numpy.frombuffer(data, "<u2").astype("uint32") << 16
        return wide.view("float32").reshape(shape)
    dtype = numpy.dtype(_DTYPES[spelled])
    return numpy.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(shape)
