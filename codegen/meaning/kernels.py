"""Kernels in NumPy: what each kind of loop means, all its elements at once, over flat memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy

from blockfuse.codegen.kernels.elimination_kernel import EliminationKernel
from blockfuse.codegen.kernels.kernel import Access, Kernel
from blockfuse.codegen.kernels.loop_kernels import (
    ColumnKernel,
    DrawKernel,
    FlatKernel,
    MapKernel,
    RowKernel,
    Sweep,
)
from blockfuse.codegen.kernels.product_kernels import ChainKernel, ProductKernel
from blockfuse.codegen.kernels.scan_kernel import ScanKernel
from blockfuse.codegen.kernels.scatter_kernel import ScatterKernel
from blockfuse.codegen.kernels.sort_kernel import SortKernel
from blockfuse.codegen.kernels.window_kernel import WindowKernel
from blockfuse.codegen.meaning.eliminations import elimination_meaning
from blockfuse.codegen.meaning.expressions import Values, computed
from blockfuse.codegen.meaning.folding import folded
from blockfuse.codegen.meaning.indices import clamped, offsets, scatter_meaning
from blockfuse.codegen.meaning.lines import scan_meaning, sort_meaning
from blockfuse.codegen.meaning.memory import Address, MeaningError
from blockfuse.codegen.meaning.products import chain_meaning, product_meaning
from blockfuse.codegen.meaning.windows import window_meaning
from blockfuse.ir.stream import KEPT, PIECE, generator_of

Addresses = Mapping[str, Address]  # pointer parameter -> what it points to


def kernel_meaning(kernel: Kernel, addresses: Addresses, begin: int, end: int) -> None:
    """What a launch of rows ``begin`` to ``end`` does to memory."""
    _MEANING[type(kernel)](kernel, addresses, begin, end)


def _loaded(access: Access, addresses: Addresses, shape: tuple[int, ...], begin: int) -> numpy.ndarray:
    """What an access reads in a domain whose first row is ``begin``."""
    address = addresses[access.name]
    return address.read(access.dtype, shape, access.strides, begin * access.strides[0])


def _stored(
    access: Access, addresses: Addresses, value: numpy.ndarray, shape: tuple[int, ...], begin: int
) -> None:
    """Store a value, spread over a domain whose first row is ``begin``."""
    spread = numpy.broadcast_to(value, shape)
    addresses[access.name].write(access.dtype, access.strides, spread, begin * access.strides[0])


# -- map ---------------------------------------------------------------------------------------------------------


def _map(kernel: MapKernel, addresses: Addresses, begin: int, end: int) -> None:
    shape = (end - begin, *kernel.extents)
    named = kernel.index_loads
    indices = {name: _loaded(load, addresses, shape, begin) for name, load in named.items()}
    values: Values = {}
    for load in kernel.loads:
        if load.indices:
            values[load.value] = _picked(load, addresses, indices, shape, begin)
        elif load.name not in named:
            values[load.value] = _loaded(load, addresses, shape, begin)
    computed(kernel.body, values)
    _stored(kernel.store, addresses, values[kernel.result], shape, begin)


def _flat(kernel: FlatKernel, addresses: Addresses, begin: int, end: int) -> None:
    shape = (end - begin,)
    # Copies: results are stored into memory that is read.
    values: Values = {a.value: numpy.array(_loaded(a, addresses, shape, begin)) for a in kernel.loads}
    computed(kernel.body, values)
    for access, value in kernel.stores:
        _stored(access, addresses, values[value], shape, begin)


def _picked(
    load: Access, addresses: Addresses, indices: Values, shape: tuple[int, ...], begin: int
) -> numpy.ndarray:
    """Elements of a table at the offsets that indices name."""
    places = {i.name: clamped(i, indices[i.name], addresses["fault"]) for i in load.indices}
    return addresses[load.name].pick(load.dtype, offsets(load, places, shape, begin))


# -- rows --------------------------------------------------------------------------------------------------------


def _rows(kernel: RowKernel, addresses: Addresses, begin: int, end: int) -> None:
    """Values of rows are columns of size 1, under the values of elements while a sweep lasts."""
    count = end - begin
    shape = (count, kernel.extent)
    rows: Values = {
        load.name: _loaded(load, addresses, (count,), begin)[:, None] for load in kernel.row_loads
    }
    computed(kernel.before, rows)
    for sweep in kernel.sweeps:
        elements = _elements(kernel, sweep, addresses, rows, shape, begin)
        if sweep.keep:
            _stored(kernel.store, addresses, elements[sweep.keep], shape, begin)
        if kernel.stores_elements and sweep is kernel.sweeps[-1]:
            _stored(kernel.store, addresses, elements[kernel.result], shape, begin)
        for fold in sweep.folds:
            _require_new(fold.name, rows)
            rows[fold.name] = folded(fold, elements, shape)
        computed(sweep.after, rows)
    if not kernel.stores_elements:
        result = numpy.broadcast_to(rows[kernel.result], (count, 1))
        _stored(kernel.store, addresses, result[:, 0], (count,), begin)


def _elements(
    kernel: RowKernel, sweep: Sweep, addresses: Addresses, rows: Values, shape: tuple[int, ...], begin: int
) -> Values:
    """The values of one sweep, those of the rows among them."""
    elements = dict(rows)
    for load in sweep.loads:
        _require_new(load.value, elements)
        elements[load.value] = _loaded(kernel.store if load.alias else load, addresses, shape, begin)
    computed(sweep.body, elements)
    return elements


def _require_new(name: str, values: Values) -> None:
    if name in values:
        raise MeaningError(f"{name} is one number a row, and another one for each element")


# -- columns -----------------------------------------------------------------------------------------------------


def _columns(kernel: ColumnKernel, addresses: Addresses, begin: int, end: int) -> None:
    shape = (end - begin, *kernel.extents)
    values = {load.name: _loaded(load, addresses, shape, begin) for load in kernel.loads}
    computed(kernel.body, values)
    result = folded(kernel.fold, values, shape)[:, 0]
    _stored(kernel.store, addresses, result, (shape[0], *shape[2:]), begin)


# -- draws -------------------------------------------------------------------------------------------------------


def _draws(kernel: DrawKernel, addresses: Addresses, begin: int, end: int) -> None:
    """The numbers of words ``begin`` to ``end`` of a piece, by NumPy's generator; the kept half stands before them."""
    piece = addresses[kernel.load.name].read(kernel.load.dtype, PIECE, (PIECE[1], 1))
    count = int(piece[0, 3])
    each = 2 if kernel.dtype == "float32" else 1
    kept = int(each == 2 and piece[0, 2] >= KEPT)
    first, stop = each * begin + kept if begin else 0, min(each * end + kept, count)
    numbers = generator_of(piece).random(count, numpy.dtype(kernel.dtype))[first:stop]
    values = {kernel.number: numbers}
    computed(kernel.body, values)
    addresses[kernel.store.name].write(kernel.store.dtype, (1,), values[kernel.result], first)


# class of a kernel -> what its rows begin to end do to memory
_MEANING: dict[type[Kernel], Callable[[Any, Addresses, int, int], None]] = {
    MapKernel: _map,
    FlatKernel: _flat,
    RowKernel: _rows,
    ColumnKernel: _columns,
    ScanKernel: scan_meaning,
    SortKernel: sort_meaning,
    EliminationKernel: elimination_meaning,
    ScatterKernel: scatter_meaning,
    DrawKernel: _draws,
    ProductKernel: product_meaning,
    WindowKernel: window_meaning,
    ChainKernel: chain_meaning,
}
