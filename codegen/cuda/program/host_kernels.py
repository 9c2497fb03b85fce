"""Kernels that the device does not have, compiled for the processor: they run on copies of what they touch.

A product that is cut for a device has no tiles for a processor: NumPy computes its sums, and a kernel its epilogue.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy
from numpy.lib.stride_tricks import as_strided

from blockfuse.codegen.kernels.expression import Name
from blockfuse.codegen.kernels.kernel import Access, Kernel, Statement
from blockfuse.codegen.kernels.loop_kernels import MapKernel
from blockfuse.codegen.kernels.product_kernels import BETWEEN, ChainKernel, ProductKernel
from blockfuse.codegen.store import Store


class HostKernel:
    """A kernel for the processor, which was scheduled for a device."""

    def __init__(self, kernel: Kernel, store: Store) -> None:
        from blockfuse.codegen.cpu.native import engine, isa
        from blockfuse.codegen.cpu.native.object_code import kernel_code
        from blockfuse.codegen.cpu.source.render import render

        machine = isa.machine()
        self._code = engine.load(kernel_code(kernel, render(kernel), machine, store), machine)
        self._address = self._code.address("kernel")

    def launch(self, addresses: Sequence[int], rows: int) -> None:
        """Run over memory of the host."""
        unused = ctypes.c_int64()
        words = [ctypes.c_int64] * (4 + len(addresses))
        function = ctypes.CFUNCTYPE(ctypes.c_int32, *words)(self._address)
        place = ctypes.addressof(unused)
        function(place, place, *addresses, 0, rows)


class HostProduct:
    """Products that were cut for a device, one after the other."""

    def __init__(self, kernel: ProductKernel | ChainKernel, store: Store) -> None:
        self._kernel = kernel
        self._layers = kernel.layers if isinstance(kernel, ChainKernel) else (kernel,)
        self._rests = [HostKernel(_rest_of(layer), store) for layer in self._layers]

    def launch(self, addresses: Sequence[int], rows: int) -> None:
        """Run over memory of the host."""
        places = dict(zip((name for name, _ in self._kernel.pointers), addresses, strict=True))
        between = [numpy.empty((rows, layer.units), layer.store.dtype) for layer in self._layers[:-1]]
        outs = [*(array.ctypes.data for array in between), places["out"]]
        for layer, rest, out in zip(self._layers, self._rests, outs, strict=True):
            sums = _sums(layer, places, rows)
            rest.launch([sums.ctypes.data, *(places[access.name] for access in layer.loads), out], rows)
            places[BETWEEN] = out


def on_host(kernel: Kernel, store: Store) -> HostKernel | HostProduct:
    """What runs a kernel over memory of the host."""
    if isinstance(kernel, ProductKernel | ChainKernel) and not kernel.tiles:
        return HostProduct(kernel, store)
    return HostKernel(kernel, store)


def _rest_of(kernel: ProductKernel) -> MapKernel:
    """The epilogue, reading the sums through a pointer before the others."""
    height, units = kernel.height, kernel.units
    extents, strides = (
        ((height, units), (height * units, units, 1)) if kernel.batched else ((units,), (units, 1))
    )
    taken = {access.name for access in kernel.loads}
    sums = Access(next(f"x{n}" for n in count() if f"x{n}" not in taken), kernel.dtype, strides)
    body = (Statement(kernel.accumulator, kernel.dtype, Name(sums.name)), *kernel.body)
    return MapKernel(
        kernel.name,
        replace(kernel.store, strides=strides),
        extents,
        (sums, *kernel.loads),
        body,
        kernel.result,
    )


def _sums(kernel: ProductKernel, places: dict[str, int], rows: int) -> numpy.ndarray:
    """The product with its bias, (matrices, rows, units). places: pointer -> address."""
    stack, height = (rows, kernel.height) if kernel.batched else (1, rows)
    inner, units, panel = kernel.inner, kernel.units, kernel.block.panel
    *step, line = kernel.left.strides
    left = _at(places[kernel.left.name], (stack, height, inner), (*(step or (0,)), line, 1), kernel.dtype)
    panels = -(-units // panel)
    strides = (*(kernel.right.strides or (0,)), inner * panel, panel, 1)
    right = _at(places[kernel.right.name], (stack, panels, inner, panel), strides, kernel.dtype)
    weight = right.transpose(0, 2, 1, 3).reshape(stack, inner, panels * panel)[:, :, :units]
    sums = numpy.matmul(left, weight)
    if kernel.bias is not None:
        sums += _at(places[kernel.bias.name], (units,), (1,), kernel.dtype)
    return numpy.ascontiguousarray(sums)


def _at(address: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: str) -> Any:
    """The elements at an address and around it, through strides counted in elements."""
    itemsize, steps = numpy.dtype(dtype).itemsize, [(n - 1) * s for n, s in zip(shape, strides, strict=True)]
    before, behind = -sum(min(0, n) for n in steps), sum(max(0, n) for n in steps)
    memory = (ctypes.c_uint8 * ((before + 1 + behind) * itemsize)).from_address(address - before * itemsize)
    flat = numpy.frombuffer(memory, dtype)[before:]
    return as_strided(flat, shape, [s * itemsize for s in strides], writeable=False)
