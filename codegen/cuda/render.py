"""Kernels as source for a device: Python that Numba compiles, that its simulator runs, and that a person can read.

Each kind of kernel has its own way to share out the work among threads: ``maps.py``, ``turns.py``, ``rows.py``,
``columns.py``, ``draws.py``, ``products.py``.
"""

from __future__ import annotations

from blockfuse.codegen.cuda.columns import columns_source
from blockfuse.codegen.cuda.draws import draw_source
from blockfuse.codegen.cuda.maps import map_source
from blockfuse.codegen.cuda.products import render_product
from blockfuse.codegen.cuda.rows import rows_source
from blockfuse.codegen.cuda.source import DeviceSource
from blockfuse.codegen.cuda.turns import turn_source, turned_axis
from blockfuse.codegen.kernel import ColumnKernel, DrawKernel, Kernel, MapKernel, RowKernel

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
