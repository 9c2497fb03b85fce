"""Pointwise kernels as source: loops over elements, whose innermost one may be vector code of a sweep."""

from __future__ import annotations

from blockfuse.codegen.cpu.source.addresses import head, loaded, read, write
from blockfuse.codegen.cpu.source.row_sweeps import call, definition, walk_of_map
from blockfuse.codegen.cpu.source.transposes import loop_indices, transpose_of, transpose_source
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.loop_kernels import FlatKernel, MapKernel
from blockfuse.codegen.kernels.source_lines import clamped_index, indented, variable, wrapped


def map_source(kernel: MapKernel) -> str:
    transpose = transpose_of(kernel)
    if transpose is not None:
        return transpose_source(transpose)
    walk = loop_indices(kernel)
    nearest = _clamped_indices(kernel, walk)
    named = kernel.index_loads
    inner = loaded(tuple(a for a in kernel.loads if a.name not in named), walk, kernel.body)
    if kernel.nontemporal:
        return _nontemporal_map(kernel, nearest, inner)
    inner.append(write(kernel.store, walk, variable(kernel.result)))
    loops = list(zip(walk, ("begin, end", *kernel.extents), strict=True))
    above: list[str] = []
    sweep = walk_of_map(kernel, walk[:-1], kernel.store)
    if sweep is not None:
        above, inner = definition(sweep), [call(sweep)]
        loops.pop()
    lines = [*above, head(kernel), *indented(1, _fault_starts(kernel))]
    for depth, (index, extent) in enumerate(loops, 1):
        lines += indented(depth, [f"for {index} in range({extent}):"])
        lines += indented(depth + 1, nearest[depth - 1])
    return "\n".join([*lines, *indented(len(loops) + 1, inner), *indented(1, _fault_ends(kernel))]) + "\n"


def flat_source(kernel: FlatKernel) -> str:
    lines = loaded(kernel.loads, ("i",), kernel.body)
    lines += [write(access, ("i",), variable(value)) for access, value in kernel.stores]
    return (
        "\n".join([head(kernel), *indented(1, ["for i in range(begin, end):", *indented(1, lines)])]) + "\n"
    )


def _clamped_indices(kernel: MapKernel, walk: tuple[str, ...]) -> list[list[str]]:
    """For each loop, the indices that are the same in all loops inside of it: see NOTE [faults].

    LLVM makes no vectors of a loop that notes faults. The innermost loop shall be vectors, and so only collects them; of one
    around it vectors would be made element by element where a row is unrolled: 175 us instead of 24 for 20000 rows of 16.
    """
    loads = kernel.index_loads
    nearest: list[list[str]] = [[] for _ in walk]
    for index in kernel.indices:
        load = loads[index.name]
        depth = _depth(load)
        beyond_axis = f"{clamped_index(index)} != {variable(index.name)}"
        nearest[depth] += wrapped(index, read(load, walk))
        if depth == len(walk) - 1:
            nearest[depth] += [f"beyond_axis = beyond_axis | ({beyond_axis})"]
        else:
            nearest[depth] += [f"if {beyond_axis}:", *indented(1, _NOTED)]
    return nearest


_NOTED = ["note_fault(fault)"]


def _depth(load: Access) -> int:
    """The innermost loop that changes what is loaded."""
    return max((depth for depth, stride in enumerate(load.strides) if stride), default=0)


def _fault_starts(kernel: MapKernel) -> list[str]:
    return ["beyond_axis = False"] * _collects_faults(kernel)


def _fault_ends(kernel: MapKernel) -> list[str]:
    return ["if beyond_axis:", *indented(1, _NOTED)] if _collects_faults(kernel) else []


def _collects_faults(kernel: MapKernel) -> bool:
    return any(_depth(load) == len(kernel.extents) for load in kernel.index_loads.values())


_PIECE_ELEMENTS = 1024  # that a map computes before it stores them past the caches


def _nontemporal_map(kernel: MapKernel, nearest: list[list[str]], inner: list[str]) -> str:
    """See NOTE [nontemporal stores]: a flat map in pieces, one with an inner axis row by row."""
    result = variable(kernel.result)
    above: list[str] = []
    if kernel.extents:
        (size,) = kernel.extents
        row = [f"for j in range({size}):", *indented(1, [*nearest[1], *inner, f"near[j] = {result}"])]
        sweep = walk_of_map(kernel, ("i",), Access("near", kernel.store.dtype, (0, 1)))
        if sweep is not None:
            above, row = definition(sweep), [call(sweep)]
        walk = ["for i in range(begin, end):", *indented(1, [*nearest[0], *row])]
        walk.append(f"    stream(near, out, i * {size}, (i + 1) * {size})")
    else:
        size = _PIECE_ELEMENTS
        walk = [f"for piece in range(begin, end, {size}):", f"    beyond = minimum(piece + {size}, end)"]
        walk += ["    for i in range(piece, beyond):"]
        walk += indented(2, [*nearest[0], *inner, f"near[i - piece] = {result}"])
        walk.append("    stream(near, out, piece, beyond)")
    lines = [
        f"near_of = near_memory({size})",
        "",
        *above,
        head(kernel),
        *indented(1, ["near = near_of(out)", *_fault_starts(kernel), *walk, "drain()", *_fault_ends(kernel)]),
    ]
    return "\n".join(lines) + "\n"
