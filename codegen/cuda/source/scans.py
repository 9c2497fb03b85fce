"""Scans as device source: a thread walks a line to its end, so the order of additions is that of NumPy."""

from __future__ import annotations

from blockfuse.codegen.cuda.source.addresses import looped, offset, read, stored, unsigned
from blockfuse.codegen.cuda.source.device_source import DeviceSource
from blockfuse.codegen.cuda.source.lines import source_of_places
from blockfuse.codegen.kernels.scan_kernel import ScanKernel
from blockfuse.codegen.kernels.source_lines import text, variable


def scan_source(kernel: ScanKernel, threads: int) -> DeviceSource:
    body = [
        *_element(kernel, unsigned(0), text(kernel.first)),
        *looped("step", kernel.extent - 1, _following(kernel)),
    ]
    return source_of_places(kernel, threads, ["i", *("k" for _ in kernel.inner)], kernel.inner, body)


def _following(kernel: ScanKernel) -> list[str]:
    return ["j = uint32(uint32(step) + uint32(1))", *_element(kernel, "j", text(kernel.step))]


def _element(kernel: ScanKernel, along: str, value: str) -> list[str]:
    """The next element, ``acc``, and where it is stored."""
    walk = ("i", along, *("k" for _ in kernel.inner))
    place = offset(walk, kernel.store.strides)
    return [
        f"{variable(kernel.load.name)} = {read(kernel.load, offset(walk, kernel.load.strides))}",
        f"acc = {value}",
        f"out[{place}] = {stored('acc', kernel.store.dtype)}",
    ]
