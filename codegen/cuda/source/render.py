"""Kernels as source for a device: Python that Numba compiles, that its simulator runs, and that a person can read.

Each kind of kernel has its own way to share out the work among threads: ``maps.py``, ``transposes.py``, ``rows.py``,
``columns.py``, ``draws.py``, ``codegen/cuda/products/product_source.py``.
"""

from __future__ import annotations

from blockfuse.codegen.cuda.products.product_source import render_product
from blockfuse.codegen.cuda.source.columns import columns_source
from blockfuse.codegen.cuda.source.device_source import DeviceSource
from blockfuse.codegen.cuda.source.draws import draw_source
from blockfuse.codegen.cuda.source.maps import map_source
from blockfuse.codegen.cuda.source.rows import rows_source
from blockfuse.codegen.cuda.source.transposes import turn_source, turned_axis
from blockfuse.codegen.kernels.kernel import ColumnKernel, DrawKernel, Kernel, MapKernel, RowKernel

THREADS = 256  # in a block


def render(kernel: Kernel, threads: int = THREADS, wide: bool = True, alone: bool = False) -> DeviceSource:
    """The source of one kernel; equal kernels have equal source.

    threads: about how many a block has (a power of two from 32 on). wide: whether all pointers are multiples of 16 bytes.
    alone: for one block of threads that does all, and other kernels as well: where threads meet, blocks of all kernels have
    as many. Raises ``NoDeviceKernelError``.
    """
    if isinstance(kernel, MapKernel):
        axis = turned_axis(kernel)
        return map_source(kernel, threads, wide) if axis is None else turn_source(kernel, axis, threads)
    if isinstance(kernel, RowKernel):
        return rows_source(kernel, threads, wide)
    if isinstance(kernel, ColumnKernel):
        return columns_source(kernel, threads, alone)
    if isinstance(kernel, DrawKernel):
        return draw_source(kernel, threads)
    return render_product(kernel, wide, alone)
