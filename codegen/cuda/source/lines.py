"""Kernels over lines, such as scans and sorts, as device source: a thread has a place among those of all rows."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from blockfuse.codegen.cuda.source.addresses import (
    function,
    head,
    max_rows,
    multiple,
    split,
    thread_of_grid,
)
from blockfuse.codegen.cuda.source.device_source import DeviceSource, Stage
from blockfuse.codegen.kernels.scan_kernel import ScanKernel
from blockfuse.codegen.kernels.sort_kernel import SortKernel


def source_of_places(
    kernel: ScanKernel | SortKernel,
    threads: int,
    names: Sequence[str],
    sizes: Sequence[int],
    body: Sequence[str],
) -> DeviceSource:
    """names: of the indices of a thread's place, that of the row first; sizes: of a row, along the others."""
    places, types = prod(sizes), kernel.pointers
    lines = [
        f"n = {thread_of_grid(threads)}",
        f"if n >= {multiple('rows', places)}:",
        "    return",
        *split("n", names, sizes),
        *body,
    ]
    return DeviceSource(
        kernel.name,
        function(head(kernel.name, types), lines),
        types,
        (Stage(kernel.name, threads, places, threads),),
        max_rows=max_rows((kernel.load, kernel.store), kernel.extents),
    )
