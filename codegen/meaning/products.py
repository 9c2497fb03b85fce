"""Products in NumPy: rows times panels of a packed weight, plus a bias, then the epilogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy

from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.product_kernels import BETWEEN, ChainKernel, ProductKernel
from blockfuse.codegen.meaning.expressions import computed
from blockfuse.codegen.meaning.memory import Address, unwritten
from blockfuse.ir.operators.narrow import widened


def chain_meaning(kernel: ChainKernel, addresses: Mapping[str, Address], begin: int, end: int) -> None:
    """What a launch of rows ``begin`` to ``end`` does to memory."""
    *layers, last = kernel.layers
    memory = dict(addresses)
    for layer in layers:
        made = unwritten((end - begin) * layer.units, layer.store.dtype, begin * layer.units)
        memory["out"] = Address(made)
        product_meaning(layer, memory, begin, end)
        memory[BETWEEN] = memory["out"]
    product_meaning(last, {**memory, "out": addresses["out"]}, begin, end)


def product_meaning(kernel: ProductKernel, addresses: Mapping[str, Address], begin: int, end: int) -> None:
    """What a launch of rows, of matrices or of groups of panels ``begin`` to ``end`` does to memory."""
    domain = _domain(kernel, begin, end)
    sums = _sums(kernel, addresses, domain)[..., : domain.shape[-1]]
    if kernel.bias is not None:
        bias = addresses[kernel.bias.name]
        sums = sums + bias.read(kernel.bias.dtype, domain.shape[-1:], (1,), domain.starts[-1])
    values = {kernel.accumulator: sums}
    values |= {
        load.value: numpy.array(domain.read(load, addresses)) for load in kernel.loads
    }  # before stores
    computed(kernel.body, values)
    for store, value in kernel.stores:
        result = numpy.broadcast_to(values[value], domain.shape)
        addresses[store.name].write(store.dtype, store.strides, result, domain.offset(store))


@dataclass(frozen=True)
class _Domain:
    """Elements of the result: how many, and where they start, along (rows, columns) or (matrices, rows, columns)."""

    shape: tuple[int, ...]
    starts: tuple[int, ...]

    def read(self, access: Access, addresses: Mapping[str, Address]) -> numpy.ndarray:
        return addresses[access.name].read(access.dtype, self.shape, access.strides, self.offset(access))

    def offset(self, access: Access) -> int:
        return _dot(self.starts, access.strides)


def _domain(kernel: ProductKernel, begin: int, end: int) -> _Domain:
    """What a launch computes; groups of panels end with the last panel."""
    if kernel.batched:
        return _Domain((end - begin, kernel.height, kernel.units), (begin, 0, 0))
    if not kernel.by_panels:
        return _Domain((end - begin, kernel.units), (begin, 0))
    each, panel = kernel.tiles[0].panels, kernel.cut.panel
    first = min(begin * each, kernel.panels - each) * panel
    stop = min(end * each * panel, kernel.units)
    return _Domain((kernel.height, stop - first), (0, first))


def _sums(kernel: ProductKernel, addresses: Mapping[str, Address], domain: _Domain) -> numpy.ndarray:
    """The sums of whole panels; what lies beyond the units among them."""
    panel, inner, steps = kernel.cut.panel, kernel.inner, kernel.steps
    *rows, columns = domain.shape
    first, panels = domain.starts[-1] // panel, -(-columns // panel)
    left = addresses[kernel.left.name].read(
        kernel.dtype,
        (*rows, inner),
        (*kernel.left.strides, steps.left),
        _dot(domain.starts[:-1], kernel.left.strides),
    )
    right = addresses[kernel.right.name].read(
        kernel.right.dtype,
        (*rows[:-1], panels, kernel.lines, panel),
        (*kernel.right.strides, steps.panel, steps.right, 1),
        _dot(domain.starts[:-2], kernel.right.strides) + first * steps.panel,
    )
    return times_panels(left, widened(right)[..., :inner, :])


def _dot(starts: tuple[int, ...], strides: tuple[int, ...]) -> int:
    return sum(n * step for n, step in zip(starts, strides, strict=True))


def times_panels(left: numpy.ndarray, right: numpy.ndarray) -> numpy.ndarray:
    """``left (..., rows, inner)`` times ``right (..., panels, inner, panel)``, panels side by side."""
    sums = numpy.matmul(left[..., None, :, :], right)
    *stack, panels, rows, panel = sums.shape
    beside: numpy.ndarray = numpy.moveaxis(sums, -3, -2).reshape(*stack, rows, panels * panel)
    return beside
