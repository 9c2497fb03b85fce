"""Pointwise kernels that read across the grain, as device source: a tile goes through shared memory, so that neighbouring
threads touch neighbouring elements both when they load and when they store.
"""

from __future__ import annotations

from math import prod

from blockfuse.codegen.cuda.source.addresses import (
    MAX_GRID_BLOCKS,
    function,
    guarded,
    head,
    looped,
    max_rows,
    offset,
    read,
    seen,
    shared,
    split,
    stored,
    times,
    unsigned,
)
from blockfuse.codegen.cuda.source.device_source import DeviceSource, Stage
from blockfuse.codegen.cuda.source.maps import indices
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.loop_kernels import MapKernel
from blockfuse.codegen.kernels.source_lines import assignment, variable

_TILE_ELEMENTS = 32
# one more than a tile has, so that a column of the tile is spread over all banks of shared memory
_LINE_ELEMENTS = _TILE_ELEMENTS + 1
_MIN_EXTENT = 8  # an axis shorter than this is not worth a tile
_MAX_TILES = 2  # tiles in shared memory: more would keep blocks from running side by side


def transposed_axis(kernel: MapKernel) -> int | None:
    """The axis along which loads have their neighbours where the last one is not it; None where there is no such axis."""
    if (
        kernel.has_fault
        or not kernel.extents
        or kernel.store.strides[-1] != 1
        or kernel.extents[-1] < _MIN_EXTENT
    ):
        return None
    transposed = [a for a in kernel.loads if a.strides[-1] not in (0, 1) and 1 in a.strides[:-1]]
    axes = {a.strides.index(1) for a in transposed}
    if len(axes) != 1 or len(transposed) > _MAX_TILES:
        return None
    (axis,) = axes
    fits = _stage(kernel, axis, 1).columns <= MAX_GRID_BLOCKS
    return axis if fits and (axis == 0 or kernel.extents[axis - 1] >= _MIN_EXTENT) else None


def transpose_source(kernel: MapKernel, axis: int, threads: int) -> DeviceSource:
    extents, names = kernel.extents, indices(len(kernel.extents) + 1)
    transposed = [a for a in kernel.loads if a.strides[-1] not in (0, 1) and a.strides[axis] == 1]
    into = [
        f"{_tile(a)}[uint32(line * {unsigned(_LINE_ELEMENTS)} + x)] = {a.name}[{offset(names, a.strides)}]"
        for a in transposed
    ]
    lines = [
        *(shared(_tile(a), _TILE_ELEMENTS * _LINE_ELEMENTS, a.dtype) for a in transposed),
        "x = uint32(uint32(cuda.threadIdx.x) % uint32(32))",
        "y = uint32(uint32(cuda.threadIdx.x) // uint32(32))",
        *_tile_of_block(names, axis, extents),
        *_lines_of_tile(kernel, axis, threads, ("x", "line"), into),
        "cuda.syncthreads()",
        *_lines_of_tile(kernel, axis, threads, ("line", "x"), _elements(kernel, names, transposed)),
    ]
    types = kernel.pointers
    return DeviceSource(
        kernel.name,
        function(head(kernel.name, types), lines),
        types,
        (_stage(kernel, axis, threads),),
        max_rows=max_rows((*kernel.loads, kernel.store), extents),
    )


def _lines_of_tile(
    kernel: MapKernel, axis: int, threads: int, along: tuple[str, str], work: list[str]
) -> list[str]:
    """``work`` for the elements of a tile, several lines at a time. along: indices along ``axis`` and along the last one."""
    names, step = indices(len(kernel.extents) + 1), threads // _TILE_ELEMENTS
    ends = ("rows", *map(unsigned, kernel.extents))
    pairs = list(zip((names[axis], names[-1]), along, (ends[axis], ends[-1]), strict=True))
    inner = [f"line = uint32(y + {times('uint32(q)', step)})"]
    inner += [f"{name} = uint32(first_{name} + {where})" for name, where, _ in pairs]
    inside = " & ".join(f"({name} < {end})" for name, _, end in pairs)
    return looped("q", _TILE_ELEMENTS // step, [*inner, *guarded(inside, work)])


def _elements(kernel: MapKernel, names: tuple[str, ...], transposed: list[Access]) -> list[str]:
    lines = []
    for a in kernel.loads:
        tile = seen(f"{_tile(a)}[uint32(x * {unsigned(_LINE_ELEMENTS)} + line)]", a.dtype)
        lines.append(
            f"{variable(a.value)} = {tile if a in transposed else read(a, offset(names, a.strides))}"
        )
    lines += [assignment(s) for s in kernel.body]
    result = stored(variable(kernel.result), kernel.store.dtype)
    return [*lines, f"out[{offset(names, kernel.store.strides)}] = {result}"]


def _tile(access: Access) -> str:
    return "tile" + access.name[1:]


def _tiles(extent: int) -> int:
    return -(-extent // _TILE_ELEMENTS)


def _tile_of_block(names: tuple[str, ...], axis: int, extents: tuple[int, ...]) -> list[str]:
    """The first element of the tile along its two axes, and the index along all others.

    Blocks along x count rows, or tiles of rows where rows are transposed; all else is counted along y.
    """
    sizes = dict(zip(names[1:], extents, strict=True))
    sizes[names[-1]] = _tiles(sizes[names[-1]])
    if axis:
        sizes[names[axis]] = _tiles(sizes[names[axis]])
    lines = ["n = uint32(cuda.blockIdx.y)", *split("n", names[1:], [sizes[n] for n in names[2:]])]
    lines.append(f"{names[0]} = uint32(cuda.blockIdx.x)")
    return [
        *lines,
        *(f"first_{n} = uint32({n} * {unsigned(_TILE_ELEMENTS)})" for n in (names[axis], names[-1])),
    ]


def _stage(kernel: MapKernel, axis: int, threads: int) -> Stage:
    *outer, last = kernel.extents
    if axis:
        outer[axis - 1] = _tiles(outer[axis - 1])
    return Stage(
        kernel.name,
        threads,
        pieces_per_block=1 if axis else _TILE_ELEMENTS,
        columns=prod(outer) * _tiles(last),
    )
