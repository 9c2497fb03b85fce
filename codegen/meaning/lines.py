"""Kernels along the lines of one axis, in NumPy: all lines at once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy

from blockfuse.codegen.kernels.scan_kernel import ScanKernel
from blockfuse.codegen.kernels.sort_kernel import SortKernel
from blockfuse.codegen.meaning.expressions import value_of
from blockfuse.codegen.meaning.memory import Address


def scan_meaning(kernel: ScanKernel, addresses: Mapping[str, Address], begin: int, end: int) -> None:
    """One position of all lines after the other."""
    load, store, shape = kernel.load, kernel.store, (end - begin, *kernel.extents)
    elements = addresses[load.name].read(load.dtype, shape, load.strides, begin * load.strides[0])
    found = [value_of(kernel.first, {load.name: elements[:, 0]})]
    for position in range(1, kernel.extent):
        found.append(value_of(kernel.step, {load.name: elements[:, position], "acc": found[-1]}))
    addresses[store.name].write(store.dtype, store.strides, numpy.stack(found, 1), begin * store.strides[0])


def sort_meaning(kernel: SortKernel, addresses: Mapping[str, Address], begin: int, end: int) -> None:
    load, store, shape = kernel.load, kernel.store, (end - begin, *kernel.extents)
    elements = addresses[load.name].read(load.dtype, shape, load.strides, begin * load.strides[0])
    order = numpy.argsort(elements, axis=1, kind="stable")
    found = order if kernel.places else numpy.take_along_axis(elements, order, 1)
    addresses[store.name].write(store.dtype, store.strides, found, begin * store.strides[0])
