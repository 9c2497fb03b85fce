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

from blockfuse.codegen.kernels.kernel import Access, Kernel, MapKernel, ProductKernel, Statement
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
        address = ctypes.addressof(unused)
        function(address, address, *addresses, 0, rows)


class HostProduct:
    """A product that was cut for a device, after those of the same launch."""

    def __init__(self, kernel: ProductKernel, store: Store) -> None:
        self._kernel = kernel
        self._layers = [*kernel.before, kernel]
        self._rests = [HostKernel(_rest_of(layer), store) for layer in self._layers]

    def launch(self, addresses: Sequence[int], rows: int) -> None:
        """Run over memory of the host."""
        named = dict(zip((*self._kernel.pointers, "out"), addresses, strict=True))
        between = [numpy.empty((rows, layer.units), layer.store.dtype) for layer in self._kernel.before]
        outs = [*(array.ctypes.data for array in between), named["out"]]
        for layer, rest, out in zip(self._layers, self._rests, outs, strict=True):
            sums = _sums(layer, named, rows)
            rest.launch([sums.ctypes.data, *(named[access.name] for access in layer.loads), out], rows)
            named[_BETWEEN] = out


# What ``codegen/cuda/products/chains.py`` calls the left operand of a product after another one.
_BETWEEN = "here"


def on_host(kernel: Kernel, store: Store) -> HostKernel | HostProduct:
    """What runs a kernel over memory of the host."""
    if isinstance(kernel, ProductKernel) and not kernel.tiles:
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
    body = (Statement(kernel.accumulator, kernel.dtype, sums.name), *kernel.body)
    return MapKernel(
        kernel.name,
        extents,
        (sums, *kernel.loads),
        body,
        replace(kernel.store, strides=strides),
        kernel.result,
    )


def _sums(kernel: ProductKernel, addresses: dict[str, int], rows: int) -> numpy.ndarray:
    """The product with its bias, (matrices, rows, units). addresses: pointer -> address."""
    assert kernel.block is not None
    stack, height = (rows, kernel.height) if kernel.batched else (1, rows)
    inner, units, panel = kernel.inner, kernel.units, kernel.block.panel
    *step, line = kernel.left.strides
    left = _at(addresses[kernel.left.name], (stack, height, inner), (*(step or (0,)), line, 1), kernel.dtype)
    panels = -(-units // panel)
    strides = (*(kernel.right.strides or (0,)), inner * panel, panel, 1)
    right = _at(addresses[kernel.right.name], (stack, panels, inner, panel), strides, kernel.dtype)
    weight = right.transpose(0, 2, 1, 3).reshape(stack, inner, panels * panel)[:, :, :units]
    sums = numpy.matmul(left, weight)
    if kernel.bias is not None:
        sums += _at(addresses[kernel.bias.name], (units,), (1,), kernel.dtype)
    return numpy.ascontiguousarray(sums)


def _at(address: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: str) -> Any:
    """The elements at an address and around it, through strides counted in elements."""
    itemsize, steps = numpy.dtype(dtype).itemsize, [(n - 1) * s for n, s in zip(shape, strides, strict=True)]
    before, behind = -sum(min(0, n) for n in steps), sum(max(0, n) for n in steps)
    memory = (ctypes.c_uint8 * ((before + 1 + behind) * itemsize)).from_address(address - before * itemsize)
    flat = numpy.frombuffer(memory, dtype)[before:]
    return as_strided(flat, shape, [s * itemsize for s in strides], writeable=False)
