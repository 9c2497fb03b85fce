"""Scans as source: a line after the other, or the elements of neighbouring lines together."""

from __future__ import annotations

from blockfuse.codegen.cpu.source.addresses import head, read, write
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.scan_kernel import ScanKernel
from blockfuse.codegen.kernels.source_lines import indented, text, variable


def scan_source(kernel: ScanKernel) -> str:
    """See NOTE [scans]."""
    rows = "for i in range(begin, end):"
    if kernel.rows_are_neighbours:
        lines = _side_by_side(kernel, rows)
    elif kernel.inner:
        lines = [rows, *indented(1, _side_by_side(kernel, f"for k in range({kernel.inner[0]}):"))]
    else:
        lines = [rows, *indented(1, _one_line(kernel))]
    return "\n".join([head(kernel), *indented(1, lines)]) + "\n"


def _one_line(kernel: ScanKernel) -> list[str]:
    """The sum so far stays in a register."""
    return [
        *_first(kernel, "acc"),
        f"for j in range(1, {kernel.extent}):",
        *indented(1, [*_step(kernel, "acc"), write(kernel.store, _walk(kernel, "j"), "acc")]),
    ]


def _side_by_side(kernel: ScanKernel, loop: str) -> list[str]:
    """It stands in the result."""
    before = [f"acc = {read(kernel.store, _walk(kernel, '(j - 1)'))}"]
    step = [*before, *_step(kernel, "acc"), write(kernel.store, _walk(kernel, "j"), "acc")]
    return [
        loop,
        *indented(1, _first(kernel, "acc")),
        f"for j in range(1, {kernel.extent}):",
        *indented(1, [loop, *indented(1, step)]),
    ]


def _first(kernel: ScanKernel, name: str) -> list[str]:
    return [
        *_loaded(kernel.load, _walk(kernel, "0")),
        f"{name} = {text(kernel.first)}",
        write(kernel.store, _walk(kernel, "0"), name),
    ]


def _step(kernel: ScanKernel, name: str) -> list[str]:
    return [*_loaded(kernel.load, _walk(kernel, "j")), f"{name} = {text(kernel.step)}"]


def _loaded(load: Access, walk: tuple[str, ...]) -> list[str]:
    return [f"{variable(load.name)} = {read(load, walk)}"]


def _walk(kernel: ScanKernel, along: str) -> tuple[str, ...]:
    return ("i", along, *("k" for _ in kernel.inner))
