"""Kernels of sweeps along rows as source: the sweeps of a row one after the other, as vector code or as loops."""

from __future__ import annotations

from blockfuse.codegen.cpu.source.addresses import head, loaded, read, write
from blockfuse.codegen.cpu.source.row_sweeps import STRETCH_ELEMENTS, Walk, call, definition, walks
from blockfuse.codegen.kernels.loop_kernels import RowKernel
from blockfuse.codegen.kernels.source_lines import assignment, indented, text


def rows_source(kernel: RowKernel) -> str:
    sweeps = walks(kernel)
    near = any(access.name == "near" for walk in sweeps for access in walk.accesses)
    lines = [f"near_of = near_memory({kernel.extent})", ""] if near else []
    lines += [line for walk in sweeps if walk.is_vector for line in definition(walk)]
    lines += [head(kernel), *indented(1, ["near = near_of(out)"] if near else [])]
    lines += indented(1, ["for r in range(begin, end):"])
    lines += indented(2, loaded(kernel.row_loads, ("r",), kernel.before))
    for walk, sweep in zip(sweeps, kernel.sweeps, strict=True):
        lines += indented(2, [call(walk)] if walk.is_vector else _looped(walk))
        lines += indented(2, [assignment(s) for s in sweep.after])
    if not kernel.stores_elements:
        lines += indented(2, [write(kernel.store, ("r",), kernel.result)])
    if kernel.nontemporal:  # see NOTE [nontemporal stores]
        lines += indented(2, [f"stream(near, out, r * {kernel.extent}, (r + 1) * {kernel.extent})"])
        lines += indented(1, ["drain()"])
    return "\n".join(lines) + "\n"


def _looped(walk: Walk) -> list[str]:
    """A sweep as a loop over its elements."""
    inner = [f"{name} = {read(access, ('r', 'c'))}" for name, access in walk.loads] + walk.element
    inner += [write(walk.store, ("r", "c"), walk.result)] if walk.store else []
    if walk.sums:
        return _stretches(walk, inner)
    return [
        *(f"{f.name} = {text(f.start)}" for f in walk.folds),
        f"for c in range({walk.extent}):",
        *indented(1, inner),
    ]


def _stretches(walk: Walk, inner: list[str]) -> list[str]:
    """A sweep in stretches: sums start anew in each, and their totals are kept in float64."""
    others = [f for f in walk.folds if f not in walk.sums]
    limit = f"minimum(stretch + {STRETCH_ELEMENTS}, {walk.extent})"
    return [
        *(f"{f.name} = {text(f.start)}" for f in others),
        *(f"{f.name}_total = float64(0.0)" for f in walk.sums),
        f"for stretch in range(0, {walk.extent}, {STRETCH_ELEMENTS}):",
        *indented(1, [f"{f.name} = {text(f.start)}" for f in walk.sums]),
        *indented(1, [f"for c in range(stretch, {limit}):", *indented(1, inner)]),
        *indented(1, [f"{f.name}_total = {f.name}_total + float64({f.name})" for f in walk.sums]),
        *(f"{f.name} = float32({f.name}_total)" for f in walk.sums),
    ]
