"""Kernels as source: Python that Numba compiles and a person can read."""

from __future__ import annotations

from blockfuse.codegen.cpu.source import draws
from blockfuse.codegen.cpu.source.row_sweeps import STRETCH, Walk, call, definition, walk_of_map, walks
from blockfuse.codegen.kernels.kernel import (
    Access,
    ColumnKernel,
    DrawKernel,
    Kernel,
    MapKernel,
    ProductKernel,
    ProductTile,
    RowKernel,
    Statement,
    index_loads,
)
from blockfuse.codegen.kernels.source_lines import (
    INDENT,
    assignment,
    element,
    indented,
    of_elements,
    place_name,
    pointers,
    wrapped,
)


def render(kernel: Kernel) -> str:
    """The source of one kernel; equal kernels have equal source."""
    if isinstance(kernel, MapKernel):
        return _map(kernel)
    if isinstance(kernel, RowKernel):
        return _rows(kernel)
    if isinstance(kernel, ColumnKernel):
        return _columns(kernel)
    if isinstance(kernel, DrawKernel):
        lines = [*draws.memory(kernel), _head(kernel), *indented(1, draws.draw_lines(kernel))]
        return "\n".join(lines) + "\n"
    return _product(kernel)


# -- pieces --------------------------------------------------------------------------------------------------


def _head(kernel: Kernel) -> str:
    """The first line; its comment keeps apart kernels that differ in nothing but the dtypes they read."""
    names, dtypes = zip(*pointers(kernel), strict=True)
    types = " -> ".join(t for t in (", ".join(dtypes[:-1]), dtypes[-1]) if t)
    return f"def {kernel.name}({', '.join(names)}, begin, end):  # {types}"


def _place(indices: tuple[str, ...], strides: tuple[int, ...]) -> str:
    """The sum of index times stride, without what is zero."""
    terms = [i if s == 1 else f"{i} * {s}" for i, s in zip(indices, strides, strict=True) if s]
    return " + ".join(terms).replace("+ -", "- ") or "0"


def _read(access: Access, indices: tuple[str, ...]) -> str:
    steps = (place_name(index) for index in access.indices)
    strides = (*access.strides, *(index.stride for index in access.indices))
    text = f"{access.name}[{_place((*indices, *steps), strides)}]"
    return f"{text} != 0" if access.dtype == "bool" else text


def _write(access: Access, indices: tuple[str, ...], value: str) -> str:
    stored = f"uint8({value})" if access.dtype == "bool" else value
    return f"{access.name}[{_place(indices, access.strides)}] = {stored}"


def _loaded(loads: tuple[Access, ...], indices: tuple[str, ...], body: tuple[Statement, ...]) -> list[str]:
    """Loads into ``v0`` for pointer ``x0`` (a pointer and its element need two names), then the statements."""
    return [f"{element(a.name)} = {_read(a, indices)}" for a in loads] + [assignment(s) for s in body]


# -- map -----------------------------------------------------------------------------------------------------


def _map(kernel: MapKernel) -> str:
    walk = tuple("ijkl"[n] if n < 4 else f"i{n}" for n in range(1 + len(kernel.extents)))
    places = _index_places(kernel, walk)
    named = index_loads(kernel)
    inner = _loaded(tuple(a for a in kernel.loads if a.name not in named), walk, kernel.body)
    if kernel.streams:
        return _streamed_map(kernel, places, inner)
    inner.append(_write(kernel.store, walk, of_elements(kernel.result)))
    loops = list(zip(walk, ("begin, end", *kernel.extents), strict=True))
    above: list[str] = []
    sweep = walk_of_map(kernel, walk[:-1], kernel.store)
    if sweep is not None:
        above, inner = definition(sweep), [call(sweep)]
        loops.pop()
    lines = [*above, _head(kernel), *indented(1, _fault_starts(kernel))]
    for depth, (index, extent) in enumerate(loops, 1):
        lines += indented(depth, [f"for {index} in range({extent}):"])
        lines += indented(depth + 1, places[depth - 1])
    return "\n".join([*lines, *indented(len(loops) + 1, inner), *indented(1, _fault_ends(kernel))]) + "\n"


def _index_places(kernel: MapKernel, walk: tuple[str, ...]) -> list[list[str]]:
    """For each loop, the indices that are the same in all loops inside of it: see NOTE [faults].

    LLVM makes no vectors of a loop that notes faults. The innermost loop shall be vectors, and so only collects them; of one
    around it vectors would be made element by element where a row is unrolled: 175 us instead of 24 for 20000 rows of 16.
    """
    loads = index_loads(kernel)
    places: list[list[str]] = [[] for _ in walk]
    for index in kernel.indices:
        load = loads[index.name]
        depth = _depth(load)
        beyond_axis = f"{place_name(index)} != {element(index.name)}"
        places[depth] += wrapped(index, _read(load, walk))
        if depth == len(walk) - 1:
            places[depth] += [f"beyond_axis = beyond_axis | ({beyond_axis})"]
        else:
            places[depth] += [f"if {beyond_axis}:", *indented(1, _NOTED)]
    return places


_NOTED = ["note_fault(fault)"]


def _depth(load: Access) -> int:
    """The innermost loop that changes what is loaded."""
    return max((depth for depth, stride in enumerate(load.strides) if stride), default=0)


def _fault_starts(kernel: MapKernel) -> list[str]:
    return ["beyond_axis = False"] * _collects_faults(kernel)


def _fault_ends(kernel: MapKernel) -> list[str]:
    return ["if beyond_axis:", *indented(1, _NOTED)] if _collects_faults(kernel) else []


def _collects_faults(kernel: MapKernel) -> bool:
    return any(_depth(load) == len(kernel.extents) for load in index_loads(kernel).values())


_PIECE = 1024  # elements that a map computes before it streams them


def _streamed_map(kernel: MapKernel, places: list[list[str]], inner: list[str]) -> str:
    """See NOTE [nontemporal stores]: a flat map in pieces, one with an inner axis row by row."""
    result = of_elements(kernel.result)
    above: list[str] = []
    if kernel.extents:
        (size,) = kernel.extents
        row = [f"for j in range({size}):", *indented(1, [*places[1], *inner, f"near[j] = {result}"])]
        sweep = walk_of_map(kernel, ("i",), Access("near", kernel.store.dtype, (0, 1)))
        if sweep is not None:
            above, row = definition(sweep), [call(sweep)]
        walk = ["for i in range(begin, end):", *indented(1, [*places[0], *row])]
        walk.append(f"    stream(near, out, i * {size}, (i + 1) * {size})")
    else:
        size = _PIECE
        walk = [f"for piece in range(begin, end, {size}):", f"    beyond = minimum(piece + {size}, end)"]
        walk += ["    for i in range(piece, beyond):"]
        walk += indented(2, [*places[0], *inner, f"near[i - piece] = {result}"])
        walk.append("    stream(near, out, piece, beyond)")
    lines = [
        f"near_of = near_memory({size})",
        "",
        *above,
        _head(kernel),
        *indented(1, ["near = near_of(out)", *_fault_starts(kernel), *walk, "drain()", *_fault_ends(kernel)]),
    ]
    return "\n".join(lines) + "\n"


# -- rows ----------------------------------------------------------------------------------------------------


def _rows(kernel: RowKernel) -> str:
    sweeps = walks(kernel)
    near = any(access.name == "near" for walk in sweeps for access in walk.accesses)
    lines = [f"near_of = near_memory({kernel.extent})", ""] if near else []
    lines += [line for walk in sweeps if walk.is_vector for line in definition(walk)]
    lines += [_head(kernel), *indented(1, ["near = near_of(out)"] if near else [])]
    lines += indented(1, ["for r in range(begin, end):"])
    lines += indented(2, _loaded(kernel.row_loads, ("r",), kernel.before))
    for walk, sweep in zip(sweeps, kernel.sweeps, strict=True):
        lines += indented(2, [call(walk)] if walk.is_vector else _looped(walk))
        lines += indented(2, [assignment(s) for s in sweep.after])
    if len(kernel.store.strides) == 1:
        lines += indented(2, [_write(kernel.store, ("r",), kernel.result)])
    if kernel.streams:  # see NOTE [nontemporal stores]
        lines += indented(2, [f"stream(near, out, r * {kernel.extent}, (r + 1) * {kernel.extent})"])
        lines += indented(1, ["drain()"])
    return "\n".join(lines) + "\n"


def _looped(walk: Walk) -> list[str]:
    """A sweep as a loop over its elements."""
    inner = [f"{name} = {_read(access, ('r', 'c'))}" for name, access in walk.loads] + walk.element
    inner += [_write(walk.store, ("r", "c"), walk.result)] if walk.store else []
    if walk.sums:
        return _stretches(walk, inner)
    return [
        *(f"{f.name} = {f.start}" for f in walk.folds),
        f"for c in range({walk.extent}):",
        *indented(1, inner),
    ]


def _stretches(walk: Walk, inner: list[str]) -> list[str]:
    """A sweep in stretches: sums start anew in each, and their totals are kept in float64."""
    others = [f for f in walk.folds if f not in walk.sums]
    limit = f"minimum(stretch + {STRETCH}, {walk.extent})"
    return [
        *(f"{f.name} = {f.start}" for f in others),
        *(f"{f.name}_total = float64(0.0)" for f in walk.sums),
        f"for stretch in range(0, {walk.extent}, {STRETCH}):",
        *indented(1, [f"{f.name} = {f.start}" for f in walk.sums]),
        *indented(1, [f"for c in range(stretch, {limit}):", *indented(1, inner)]),
        *indented(1, [f"{f.name}_total = {f.name}_total + float64({f.name})" for f in walk.sums]),
        *(f"{f.name} = float32({f.name}_total)" for f in walk.sums),
    ]


# -- columns -------------------------------------------------------------------------------------------------


def _columns(kernel: ColumnKernel) -> str:
    flat = len(kernel.extents) == 1
    folded = kernel.extents[0]
    walk, indices, target = ("r", ("r", "f"), ("r",)) if flat else ("c", ("r", "f", "c"), ("r", "c"))
    inner_loop = f"for {walk} in range({'begin, end' if flat else kernel.extents[1]}):"
    start = _write(kernel.store, target, kernel.start)
    step = [
        f"acc = {_read(kernel.store, target)}",
        *_loaded(kernel.loads, indices, kernel.body),
        _write(kernel.store, target, of_elements(kernel.step)),
    ]
    base = 1 if flat else 2
    lines = [_head(kernel)] + ([] if flat else indented(1, ["for r in range(begin, end):"]))
    lines += indented(base, [inner_loop]) + indented(base + 1, [start])
    lines += (
        indented(base, [f"for f in range({folded}):"])
        + indented(base + 1, [inner_loop])
        + indented(base + 2, step)
    )
    return "\n".join(lines) + "\n"


# -- products ------------------------------------------------------------------------------------------------


def _product(kernel: ProductKernel) -> str:
    tile = kernel.tiles[0]
    panels = -(-kernel.units // tile.panel)
    lines = [*_epilogue(kernel), *_tile_calls(kernel), _head(kernel)]
    if not kernel.height:
        return "\n".join(lines + indented(1, _open_walk(kernel, panels))) + "\n"
    call = [_call(kernel, tile)]
    if kernel.batched:
        lines += indented(1, ["for b in range(begin, end):"])
    rows = _row_blocks(tile, "0", str(kernel.height))
    groups = _panel_groups(panels, tile, whole=not kernel.by_panels)
    if not (kernel.batched or kernel.by_panels):
        rows = _row_blocks(tile, "begin", "end")
    # Few rows walk the weight once; with many, a panel stays in the cache while all rows pass.
    panels_first = kernel.by_panels or kernel.height > 2 * tile.rows
    walk = _nested(*((groups, rows) if panels_first else (rows, groups)), call)
    return "\n".join(lines + indented(2 if kernel.batched else 1, walk)) + "\n"


_Loop = tuple[str, list[str]]  # the loop ("": there is none) and what starts its body


def _nested(outer: _Loop, inner: _Loop, body: list[str]) -> list[str]:
    for loop, place in (inner, outer):
        lines = [*place, *body]
        body = [loop, *indented(1, lines)] if loop else lines
    return body


def _open_walk(kernel: ProductKernel, panels: int) -> list[str]:
    """Any number of rows: tallest tiles, then lower ones that overlap their neighbours."""
    tallest, *rest = kernel.tiles
    whole = f"for r in range(begin, whole, {tallest.rows}):", list[str]()
    lines = [f"whole = end - (end - begin) % {tallest.rows}"]
    lines += _nested(_panel_groups(panels, tallest, whole=True), whole, [_call(kernel, tallest)])
    for tile in rest:
        walk = _nested(
            _panel_groups(panels, tile, whole=True),
            _row_blocks(tile, "whole", "end"),
            [_call(kernel, tile)],
        )
        if tile is not rest[-1]:
            lines.append(f"if end - begin >= {tile.rows}:")
            lines += [*indented(1, walk), INDENT + "return"]
        else:
            lines += walk
    return lines


def _call(kernel: ProductKernel, tile: ProductTile) -> str:
    names = ", ".join(name for name, _ in pointers(kernel))
    return f"{_tile_name(kernel, tile)}({names}{', b' if kernel.batched else ''}, r, p)"


def _tile_name(kernel: ProductKernel, tile: ProductTile) -> str:
    return "tile" if tile is kernel.tiles[0] else f"tile{tile.rows}"


def _row_blocks(tile: ProductTile, begin: str, end: str) -> _Loop:
    """The loop over tiles of rows, and the first row ``r`` of each; the last tile overlaps its neighbour."""
    if begin == "0" and end == str(tile.rows):
        return "", ["r = 0"]
    if tile.rows == 1:
        return f"for r in range({begin}, {end}):", []
    loop = f"for block in range({begin}, {end}, {tile.rows}):"
    return loop, [f"r = minimum(block, {end} - {tile.rows})"]


def _panel_groups(panels: int, tile: ProductTile, whole: bool) -> _Loop:
    """The loop over groups of panels, and the first panel ``p`` of each; the last group overlaps its neighbour."""
    if whole and panels == tile.panels:
        return "", ["p = 0"]
    groups = f"range({-(-panels // tile.panels)})" if whole else "range(begin, end)"
    if tile.panels == 1:
        return f"for p in {groups}:", []
    return f"for group in {groups}:", [f"p = minimum({tile.panels} * group, {panels - tile.panels})"]


def _epilogue(kernel: ProductKernel) -> list[str]:
    if not kernel.body:
        return []
    elements = [element(a.name) for a in kernel.loads]
    lines = [f"def epilogue({', '.join([kernel.accumulator, *elements])}):"]
    lines += indented(1, [*(assignment(s) for s in kernel.body), f"return {kernel.result}"])
    return [*lines, ""]


def _tile_calls(kernel: ProductKernel) -> list[str]:
    """The tiles, each an LLVM intrinsic, with everything that it is made from."""
    return [line for tile in kernel.tiles for line in _tile_call(kernel, tile)]


def _tile_call(kernel: ProductKernel, tile: ProductTile) -> list[str]:
    columns = {
        "dtype": repr(kernel.dtype),
        "rows": tile.rows,
        "panels": tile.panels,
        "panel": tile.panel,
        "unroll": tile.unroll,
        "inner": kernel.inner,
        "units": kernel.units,
        "arguments": tuple(name for name, _ in pointers(kernel)),
        "left": (kernel.left.name, kernel.left.strides),
        "right": (kernel.right.name, kernel.right.strides),
        "bias": repr(kernel.bias.name) if kernel.bias else None,
        "loads": tuple((a.name, a.dtype, a.strides) for a in kernel.loads),
        "store": (kernel.store.dtype, kernel.store.strides),
        "epilogue": "epilogue" if kernel.body else None,
    }
    head = f"{_tile_name(kernel, tile)} = product_tile("
    return [head, *(f"    {k}={v}," for k, v in columns.items()), ")", ""]
