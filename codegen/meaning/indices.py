"""What indices do in kernels, in NumPy: the places that they name, and sums scattered over them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy

from blockfuse.codegen.kernels.kernel import Access, Index
from blockfuse.codegen.kernels.scatter_kernel import ScatterKernel
from blockfuse.codegen.meaning.expressions import Values, value_of
from blockfuse.codegen.meaning.memory import Address


def scatter_meaning(kernel: ScatterKernel, addresses: Mapping[str, Address], begin: int, end: int) -> None:
    """Of the elements that come to one place the first ones together, then the second ones, and so on."""
    first, shape = (0, kernel.extents) if kernel.by_place else (begin, (end - begin, *kernel.extents))
    places: Values = {}
    for load, index in zip(kernel.index_loads, kernel.store.indices, strict=True):
        places[index.name] = clamped(index, _domain(load, addresses, shape, first), addresses["fault"])
    where = numpy.broadcast_to(offsets(kernel.store, places, shape, first), shape).reshape(-1)
    values = _domain(kernel.load, addresses, shape, first).reshape(-1)
    if kernel.by_place:
        along = places[kernel.store.indices[0].name]
        mine = numpy.broadcast_to((begin <= along) & (along < end), shape).reshape(-1)
        where, values = where[mine], values[mine]
    out, dtype = addresses[kernel.store.name], kernel.store.dtype
    turns = _turns(where)
    for turn in range(turns.max(initial=-1) + 1):
        now = turns == turn
        named = {"acc": out.pick(dtype, where[now]), kernel.load.name: values[now]}
        out.put(dtype, where[now], value_of(kernel.step, named))


def _domain(
    access: Access, addresses: Mapping[str, Address], shape: tuple[int, ...], begin: int
) -> numpy.ndarray:
    """What an access reads, also in a domain without axes."""
    first = begin * access.strides[0] if shape else 0
    return addresses[access.name].read(access.dtype, shape, access.strides, first)


def _turns(offsets: numpy.ndarray) -> numpy.ndarray:
    """For each element how many before it are at the same offset."""
    order = numpy.argsort(offsets, kind="stable")
    ordered = offsets[order]
    starts = numpy.flatnonzero(numpy.diff(ordered, prepend=-1))
    counts = numpy.diff(starts, append=len(ordered))
    turns = numpy.empty(len(offsets), "int64")
    turns[order] = numpy.arange(len(ordered)) - numpy.repeat(starts, counts)
    return turns


def offsets(access: Access, places: Values, shape: tuple[int, ...], begin: int) -> numpy.ndarray:
    """Where the elements of a domain lie, each at its places along the axes of indices."""
    offset = numpy.asarray(begin * access.strides[0] if access.strides else 0)
    for axis, (extent, stride) in enumerate(zip(shape, access.strides, strict=True)):
        walked = stride * numpy.arange(extent)
        offset = offset + walked.reshape(-1, *(1,) * (len(shape) - axis - 1))
    for index in access.indices:
        offset = offset + index.stride * places[index.name]
    return offset


def clamped(index: Index, indices: numpy.ndarray, fault: Address) -> numpy.ndarray:
    """The nearest indices that there are; see NOTE [faults]."""
    counted = indices.astype("int64")
    counted = numpy.where(counted < 0, counted + index.size, counted)
    nearest: numpy.ndarray = numpy.minimum(numpy.maximum(counted, 0), index.size - 1)
    if (nearest != counted).any():
        fault[0] = numpy.int64(1)
    return nearest
