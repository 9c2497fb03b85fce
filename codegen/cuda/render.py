"""Kernels as source for a device: Python that Numba compiles, that its simulator runs, and that a person can read.

Each kind of kernel has its own way to share out the work among threads: products and chains of them below ``products/``, the
others below ``source/``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from blockfuse.codegen.cuda.products.chain_source import render_chain
from blockfuse.codegen.cuda.products.product_source import render_product
from blockfuse.codegen.cuda.source.columns import columns_source
from blockfuse.codegen.cuda.source.device_source import DeviceSource
from blockfuse.codegen.cuda.source.draws import draw_source
from blockfuse.codegen.cuda.source.maps import map_source
from blockfuse.codegen.cuda.source.rows import rows_source
from blockfuse.codegen.cuda.source.scans import scan_source
from blockfuse.codegen.cuda.source.scatters import scatter_source
from blockfuse.codegen.cuda.source.sorts import sort_source
from blockfuse.codegen.cuda.source.transposes import transpose_source, transposed_axis
from blockfuse.codegen.kernels.elimination_kernel import EliminationKernel
from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.codegen.kernels.loop_kernels import ColumnKernel, DrawKernel, MapKernel, RowKernel
from blockfuse.codegen.kernels.product_kernels import ChainKernel, ProductKernel
from blockfuse.codegen.kernels.scan_kernel import ScanKernel
from blockfuse.codegen.kernels.scatter_kernel import ScatterKernel
from blockfuse.codegen.kernels.sort_kernel import SortKernel
from blockfuse.codegen.kernels.window_kernel import WindowKernel
from blockfuse.ir.errors import NoDeviceKernelError

THREADS = 256  # in a block


def render(kernel: Kernel, threads: int = THREADS, wide: bool = True, alone: bool = False) -> DeviceSource:
    """The source of one kernel; equal kernels have equal source.

    threads: about how many a block has (a power of two from 32 on). wide: whether all pointers are multiples of 16 bytes.
    alone: for one block of threads that does all, and other kernels as well: where threads meet, blocks of all kernels have
    as many. Raises ``NoDeviceKernelError``.
    """
    return _SOURCE[type(kernel)](kernel, threads, wide, alone)


def _map_source(kernel: MapKernel, threads: int, wide: bool) -> DeviceSource:
    axis = transposed_axis(kernel)
    return map_source(kernel, threads, wide) if axis is None else transpose_source(kernel, axis, threads)


def _on_the_host(kernel: Kernel, *_options: object) -> DeviceSource:
    raise NoDeviceKernelError(f"kernel {kernel.name} has no source for a device")


# class of a kernel -> what writes its source, given threads, wide and alone
_SOURCE: dict[type[Kernel], Callable[[Any, int, bool, bool], DeviceSource]] = {
    MapKernel: lambda kernel, threads, wide, alone: _map_source(kernel, threads, wide),
    RowKernel: lambda kernel, threads, wide, alone: rows_source(kernel, threads, wide),
    ColumnKernel: lambda kernel, threads, wide, alone: columns_source(kernel, threads, alone),
    ScanKernel: lambda kernel, threads, wide, alone: scan_source(kernel, threads),
    SortKernel: lambda kernel, threads, wide, alone: sort_source(kernel, threads),
    EliminationKernel: _on_the_host,
    ScatterKernel: lambda kernel, threads, wide, alone: scatter_source(kernel, threads),
    DrawKernel: lambda kernel, threads, wide, alone: draw_source(kernel, threads),
    ProductKernel: lambda kernel, threads, wide, alone: render_product(kernel, wide, alone),
    ChainKernel: lambda kernel, threads, wide, alone: render_chain(kernel, wide),
    WindowKernel: _on_the_host,
}
