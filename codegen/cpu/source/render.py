"""Kernels as source: Python that Numba compiles and a person can read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from blockfuse.codegen.cpu.source.columns import columns_source
from blockfuse.codegen.cpu.source.draws import draw_source
from blockfuse.codegen.cpu.source.eliminations import elimination_source
from blockfuse.codegen.cpu.source.maps import flat_source, map_source
from blockfuse.codegen.cpu.source.products import product_source
from blockfuse.codegen.cpu.source.rows import rows_source
from blockfuse.codegen.cpu.source.scans import scan_source
from blockfuse.codegen.cpu.source.scatters import scatter_source
from blockfuse.codegen.cpu.source.sorts import sort_source
from blockfuse.codegen.cpu.source.windows import window_source
from blockfuse.codegen.kernels.elimination_kernel import EliminationKernel
from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.codegen.kernels.loop_kernels import ColumnKernel, DrawKernel, FlatKernel, MapKernel, RowKernel
from blockfuse.codegen.kernels.product_kernels import ProductKernel
from blockfuse.codegen.kernels.scan_kernel import ScanKernel
from blockfuse.codegen.kernels.scatter_kernel import ScatterKernel
from blockfuse.codegen.kernels.sort_kernel import SortKernel
from blockfuse.codegen.kernels.window_kernel import WindowKernel

# class of a kernel -> what writes its source
_SOURCE: dict[type[Kernel], Callable[[Any], str]] = {
    MapKernel: map_source,
    FlatKernel: flat_source,
    RowKernel: rows_source,
    ColumnKernel: columns_source,
    ScanKernel: scan_source,
    SortKernel: sort_source,
    EliminationKernel: elimination_source,
    ScatterKernel: scatter_source,
    DrawKernel: draw_source,
    ProductKernel: product_source,
    WindowKernel: window_source,
}


def render(kernel: Kernel) -> str:
    """The source of one kernel; equal kernels have equal source."""
    return _SOURCE[type(kernel)](kernel)
