"""The portable part of a frozen file: recorded calls as data, and where their parameters lie, for machines of any kind.

NOTE [parameters of the portable part]
Programs read most weights in panels, whose order and width the processor decides; others they read as they are. Both lie in
the image. So a parameter whose bits are there is told by its place and by how to read it there, which is proven bit for bit
when the file is written. Only the others stand in the portable part: weights that programs read folded, rounded or turned.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.ir.types import type_of
from blockfuse.nn import graph_files
from blockfuse.nn.graph_files import GraphFile, SavedParameter
from blockfuse.nn.symbol_block import SymbolBlock
from blockfuse.runtime.calls.recorded import recorded_calls
from blockfuse.tracer.flow.origins import Origin

Data = Any  # of JSON

_LENGTHS = struct.Struct("<QQ")  # bytes of the graphs, compressed, and of the table of parameters


@dataclass(frozen=True)
class Placed:
    """An array in the payload of the image."""

    start: int
    array: numpy.ndarray


def portable_part(net: Any, origins: Iterable[Origin], placed: Iterable[Placed]) -> bytes:
    """The recorded calls of a hybridized net, and the parameters that they read.

    origins: of these parameters. placed: all that lies in the payload. Raises UsageError for calls that no file holds.
    """
    holders = {id(origin.holder): origin for origin in origins}
    names = {key: f"{number} {origin.name}" for number, (key, origin) in enumerate(holders.items())}
    calls = tuple(recorded_calls(net, names))
    parameters = {names[key]: origin.array() for key, origin in holders.items()}
    saved = tuple(SavedParameter(name, type_of(array), False) for name, array in parameters.items())
    graphs = zlib.compress(graph_files.text_of(GraphFile(saved, calls)))
    own, table, there = bytearray(), [], tuple(placed)
    for name, array in parameters.items():
        told = _told(array, there)
        if told is None:
            told = {"own": True, "at": len(own), "shape": list(array.shape), "form": "plain"}
            own += array.tobytes()
        table.append({"name": name, "dtype": array.dtype.name, "is": list(array.shape), **told})
    text = json.dumps({"precision": net._hybrid.precision, "parameters": table}).encode()
    return b"".join([_LENGTHS.pack(len(graphs), len(text)), graphs, text, own])


def net_of(payload: bytes, portable: bytes, source: str) -> tuple[SymbolBlock, str]:
    """The net, not hybridized, and the precision that it was hybridized with.

    source: the file, for people. Raises GraphFileError where the graphs are of another version of the format.
    """
    first, second = _LENGTHS.unpack_from(portable)
    graphs, text = portable[_LENGTHS.size :][:first], portable[_LENGTHS.size + first :][:second]
    own, table = portable[_LENGTHS.size + first + second :], json.loads(text)
    net = SymbolBlock(graph_files.content_of(zlib.decompress(graphs), source), source)
    net.load_dict({told["name"]: ndarray(_read(told, payload, own)) for told in table["parameters"]})
    return net, table["precision"]


def _told(array: numpy.ndarray, placed: Iterable[Placed]) -> Data | None:
    """Where the bits of an array lie in the image, and how they are read there; None where they do not."""
    content = array.tobytes()
    for there in placed:
        if there.array.dtype == array.dtype:
            for form, view in _views(there.array, array.shape):
                if view.tobytes() == content:
                    return {"own": False, "at": there.start, "shape": list(there.array.shape), "form": form}
    return None


def _views(there: numpy.ndarray, shape: tuple[int, ...]) -> Iterator[tuple[str, numpy.ndarray]]:
    """An array of the image as one of ``shape``, in each form in which it can be one."""
    if there.size == numpy.prod(shape, dtype=int):
        yield "plain", there.reshape(shape)
    if there.ndim == len(shape) + 1 and there.ndim > 2:
        *stack, panels, inner, panel = there.shape
        rows = numpy.swapaxes(there, -1, -2).reshape(*stack, panels * panel, inner)
        if (*stack, inner) == (*shape[:-2], shape[-1]) and shape[-2] <= panels * panel:
            yield "panels", rows[..., : shape[-2], :]
        if (*stack, inner) == shape[:-1] and shape[-1] <= panels * panel:
            yield "panels of columns", numpy.swapaxes(rows[..., : shape[-1], :], -1, -2)


def _read(told: Data, payload: bytes, own: bytes) -> numpy.ndarray:
    shape = tuple(told["shape"])
    there = numpy.frombuffer(
        own if told["own"] else payload, told["dtype"], int(numpy.prod(shape, dtype=int)), told["at"]
    ).reshape(shape)
    views = dict(_views(there, tuple(told["is"])))
    return numpy.array(views[told["form"]], order="C")
