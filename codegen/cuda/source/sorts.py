"""Sorts as device source: a thread has an element, and counts those of its line that precede it."""

from __future__ import annotations

from blockfuse.codegen.cuda.source.addresses import looped, offset, read, stored
from blockfuse.codegen.cuda.source.device_source import DeviceSource
from blockfuse.codegen.cuda.source.lines import source_of_places
from blockfuse.codegen.kernels.sort_kernel import SortKernel
from blockfuse.codegen.kernels.source_lines import indented


def sort_source(kernel: SortKernel, threads: int) -> DeviceSource:
    """See NOTE [sorts]."""
    body = [
        f"v = {_element(kernel, 'j')}",
        "rank = uint32(0)",
        *looped("step", kernel.extent, _counted(kernel)),
        f"out[{offset(_walk(kernel, 'rank'), kernel.store.strides)}] = {_result(kernel)}",
    ]
    return source_of_places(kernel, threads, _walk(kernel, "j"), kernel.extents, body)


def _counted(kernel: SortKernel) -> list[str]:
    """Of equal elements, those that stand before count as well."""
    smaller, larger = kernel.precedes("w", "v"), kernel.precedes("v", "w")
    return [
        "other = uint32(step)",
        f"w = {_element(kernel, 'other')}",
        f"if {smaller} | ((other < j) & negated({larger})):",
        *indented(1, ["rank = uint32(rank + uint32(1))"]),
    ]


def _element(kernel: SortKernel, along: str) -> str:
    return f"{kernel.held}({read(kernel.load, offset(_walk(kernel, along), kernel.load.strides))})"


def _result(kernel: SortKernel) -> str:
    if kernel.places:
        return "int64(j)"
    return stored("v != 0" if kernel.store.dtype == "bool" else "v", kernel.store.dtype)


def _walk(kernel: SortKernel, along: str) -> tuple[str, ...]:
    return ("i", along, *("k" for _ in kernel.inner))
