"""Copies across a diagonal as source: which of them move squares in registers, and the loops around these."""

from __future__ import annotations

from dataclasses import dataclass

from blockfuse.codegen.cpu.source.addresses import head, offset
from blockfuse.codegen.kernels.expression import Name
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.loop_kernels import MapKernel
from blockfuse.codegen.kernels.source_lines import indented

_DTYPES = ("float32", "float64", "int32", "int64", "uint32", "uint64")
_MIN_SIDE = 8  # elements: of a shorter side there are no squares


@dataclass(frozen=True)
class Transpose:
    """A map that copies what is dense along ``axis`` to what is dense along the last one."""

    kernel: MapKernel
    axis: int  # of the loops, rows first

    @property
    def load(self) -> Access:
        (load,) = self.kernel.loads
        return load


def transpose_of(kernel: MapKernel) -> Transpose | None:
    """How a map moves a matrix across its diagonal, if it does nothing else and the matrix is large enough."""
    if len(kernel.loads) != 1 or kernel.indices or not kernel.extents or kernel.nontemporal:
        return None
    (load,) = kernel.loads
    store, is_copy = kernel.store, all(isinstance(s.expression, Name) for s in kernel.body)
    same = load.dtype == store.dtype and load.dtype in _DTYPES and load.name != store.name
    axes = [n for n, stride in enumerate(load.strides[:-1]) if stride == 1]
    if not (is_copy and same and axes and store.strides[-1] == 1 and load.strides[-1] != 1):
        return None
    axis = axes[-1]
    sides = (kernel.extents[-1], *(kernel.extents[axis - 1 : axis] if axis else ()))
    return Transpose(kernel, axis) if min(sides) >= _MIN_SIDE else None


def loop_indices(kernel: MapKernel) -> tuple[str, ...]:
    """Names for the indices of the loops of a map, rows first."""
    return tuple("ijkl"[n] if n < 4 else f"i{n}" for n in range(1 + len(kernel.extents)))


def transpose_source(transpose: Transpose) -> str:
    kernel, load, store, axis = transpose.kernel, transpose.load, transpose.kernel.store, transpose.axis
    fields = {
        "dtype": repr(store.dtype),
        "columns": kernel.extents[-1],
        "source_stride": load.strides[-1],
        "target_stride": store.strides[axis],
    }
    first, rows = ("begin", "end - begin") if axis == 0 else ("0", str(kernel.extents[axis - 1]))
    walk = loop_indices(kernel)[:-1]
    indices = (*walk[:axis], first, *walk[axis + 1 :])
    starts = (offset(indices, access.strides[:-1]) for access in (load, store))
    loops = [
        pair for n, pair in enumerate(zip(walk, ("begin, end", *kernel.extents), strict=False)) if n != axis
    ]
    lines = [
        "transpose = transpose_of(",
        *(f"    {k}={v}," for k, v in fields.items()),
        ")",
        "",
        head(kernel),
    ]
    for depth, (index, extent) in enumerate(loops, 1):
        lines += indented(depth, [f"for {index} in range({extent}):"])
    moved = f"transpose({load.name}, {store.name}, {', '.join(starts)}, {rows})"
    return "\n".join([*lines, *indented(len(loops) + 1, [moved])]) + "\n"
