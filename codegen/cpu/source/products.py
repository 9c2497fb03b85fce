"""Products as source: loops over tiles, each an LLVM intrinsic, and what follows from a sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy

from blockfuse.codegen.cpu.source.addresses import head
from blockfuse.codegen.kernels.product_cuts import (
    NEAR_WEIGHT_BYTES,
    SUM_STEPS,
    ProductTile,
    RegisterTiles,
    steps_of_sums,
)
from blockfuse.codegen.kernels.product_kernels import ProductKernel
from blockfuse.codegen.kernels.source_lines import INDENT, assignment, indented, variable


def product_source(kernel: ProductKernel) -> str:
    if kernel.in_matrix_tiles:
        return _of_matrix_tiles(kernel)
    tile = kernel.tiles[0]
    lines = [*_epilogue(kernel), *_tile_calls(kernel), head(kernel)]
    if not kernel.height:
        return "\n".join(lines + indented(1, _open_walk(kernel))) + "\n"
    depth = 1
    if kernel.batched:
        lines += indented(1, ["for b in range(begin, end):"])
        depth = 2
    begin, end = ("0", str(kernel.height)) if kernel.batched or kernel.by_panels else ("begin", "end")
    groups = _panel_groups(kernel.panels, tile, whole=not kernel.by_panels)
    rows = _row_blocks(tile, begin, end)
    loops: tuple[_Loop, ...]
    if kernel.by_panels:
        loops = groups, rows
    elif _walks_rows(kernel):
        loops = rows, groups
    else:
        *_, rows = loops = _blocks(kernel, begin, end, groups, partial(_row_blocks, tile))
    walk = _nested(*loops, body=[_call(kernel, tile, rows, groups)])
    return "\n".join(lines + indented(depth, walk)) + "\n"


def _of_matrix_tiles(kernel: ProductKernel) -> str:
    """All rows of a launch at once: the tile walks blocks, steps and panels itself."""
    lines = [*_epilogue(kernel), *_tile_calls(kernel), head(kernel)]
    call = f"tile({', '.join(name for name, _ in kernel.pointers)}, begin, end)"
    if kernel.height:
        return "\n".join([*lines, INDENT + call]) + "\n"
    tallest, *rest = kernel.tiles
    walk = [f"if end - begin >= {tallest.rows}:", INDENT + call, INDENT + "return"]
    return "\n".join([*lines, *indented(1, [*walk, *_of_few_rows(kernel, rest, "begin")])]) + "\n"


def _blocks(
    kernel: ProductKernel, begin: str, end: str, groups: _Loop, rows: Callable[[str, str, str], _Loop]
) -> tuple[_Loop, ...]:
    """Loops over rows of which a block passes one panel after the other; see ``RegisterTiles``."""
    assert isinstance(kernel.cut, RegisterTiles)
    block = kernel.cut.sliced if kernel.totals else kernel.cut.block
    if not block:
        return groups, rows(begin, end, end)
    head = f"for first in range({begin}, {end}, {block}):"
    blocks = _Loop(head, [f"last = minimum(first + {block}, {end})"], "first")
    slices = (_slices(kernel),) if kernel.totals else ()
    return blocks, *slices, groups, rows("first", "last", end)


def _slices(kernel: ProductKernel) -> _Loop:
    """The loop over the steps of one sum: see NOTE [long inner axes]. What is left over belongs to the last one."""
    whole, steps = kernel.inner - kernel.inner % SUM_STEPS, steps_of_sums(kernel.inner)
    return _Loop(f"for k in range(0, {whole}, {steps}):", [], "k")


def _walks_rows(kernel: ProductKernel) -> bool:
    """Whether rows stand around panels, of which all stay near: few rows, or many that what is read and written passes with.

    Else a panel stays near while all rows pass, or passes with the steps of one sum at a time.
    """
    is_near = kernel.weight_bytes <= NEAR_WEIGHT_BYTES and not kernel.totals
    return is_near and (kernel.height <= 2 * kernel.tiles[0].rows or kernel.reads_results)


def _ends_far_away(kernel: ProductKernel) -> bool:
    """Whether epilogues read lines far apart, more than the near caches hold: see NOTE [fetching the end]."""
    read = {access.name: numpy.dtype(access.dtype).itemsize for access in kernel.loads if access.strides[-1]}
    is_far = kernel.height * kernel.units * sum(read.values()) > NEAR_WEIGHT_BYTES
    return is_far and not kernel.by_panels and not kernel.totals and not _walks_rows(kernel)


class _Loop(NamedTuple):
    """A loop over tiles."""

    head: str  # "": there is none
    first: list[str]  # what starts its body
    own: str  # the first row or panel that the tile before does not have: see NOTE [own elements]
    passed: str = "0"  # of rows: how many came before


def _nested(*loops: _Loop, body: list[str]) -> list[str]:
    """Loops, the outermost first, around what the innermost one does."""
    for loop in reversed(loops):
        lines = [*loop.first, *body]
        body = [loop.head, *indented(1, lines)] if loop.head else lines
    return body


def _open_walk(kernel: ProductKernel) -> list[str]:
    """Any number of rows: tallest tiles, then lower ones that overlap their neighbours."""
    tallest, *rest = kernel.tiles

    def whole(begin: str, end: str, _: str) -> _Loop:
        return _Loop(f"for r in range({begin}, {end}, {tallest.rows}):", [], "r", f"r - {begin}")

    groups = _panel_groups(kernel.panels, tallest, whole=True)
    lines = [f"whole = end - (end - begin) % {tallest.rows}"]
    *_, rows = loops = _blocks(kernel, "begin", "whole", groups, whole)
    lines += _nested(*loops, body=[_call(kernel, tallest, rows, groups)])
    return [*lines, *_of_few_rows(kernel, rest, "whole")]


def _of_few_rows(kernel: ProductKernel, rest: Sequence[ProductTile], begin: str) -> list[str]:
    """The rows from ``begin`` on, fewer than those of the tallest tile."""
    lines = []
    for tile in rest:
        groups = _panel_groups(kernel.panels, tile, whole=True)
        rows = _row_blocks(tile, begin, "end")
        walk = _nested(groups, rows, body=[_call(kernel, tile, rows, groups)])
        if tile is not rest[-1]:
            lines.append(f"if end - begin >= {tile.rows}:")
            lines += [*indented(1, walk), INDENT + "return"]
        else:
            lines += walk
    return lines


def _call(kernel: ProductKernel, tile: ProductTile, rows: _Loop, panels: _Loop) -> str:
    batch = ["b"] if kernel.batched else []
    is_sliced = kernel.totals is not None and tile is kernel.tiles[0]
    own = [rows.own, panels.own] if kernel.reads_results or is_sliced else []
    turn = [rows.passed] if tile.fetch > 1 else []
    step = ["k"] if is_sliced else []
    where = [*(name for name, _ in kernel.pointers), *batch, "r", "p", *own, *turn, *step]
    return f"{_tile_name(kernel, tile)}({', '.join(where)})"


def _tile_name(kernel: ProductKernel, tile: ProductTile) -> str:
    return "tile" if tile is kernel.tiles[0] else f"tile{tile.rows}"


def _row_blocks(tile: ProductTile, begin: str, end: str, whole: str = "") -> _Loop:
    """The loop over tiles of rows, and the first row ``r`` of each; the last tile overlaps its neighbour.

    whole: where all rows end, if not there.
    """
    if begin == "0" and end == str(tile.rows):
        return _Loop("", ["r = 0"], "r")
    counter = "r" if tile.rows == 1 else "block"
    passed = counter if begin == "0" else f"{counter} - {begin}"
    if tile.rows == 1:
        return _Loop(f"for r in range({begin}, {end}):", [], "r", passed)
    head = f"for block in range({begin}, {end}, {tile.rows}):"
    return _Loop(head, [f"r = minimum(block, {whole or end} - {tile.rows})"], "block", passed)


def _panel_groups(panels: int, tile: ProductTile, whole: bool) -> _Loop:
    """The loop over groups of panels, and the first panel ``p`` of each; the last group overlaps its neighbour."""
    if whole and panels == tile.panels:
        return _Loop("", ["p = 0"], "p")
    groups = f"range({-(-panels // tile.panels)})" if whole else "range(begin, end)"
    if tile.panels == 1:
        return _Loop(f"for p in {groups}:", [], "p")
    first = f"{tile.panels} * group"
    return _Loop(f"for group in {groups}:", [f"p = minimum({first}, {panels - tile.panels})"], first)


def _epilogue(kernel: ProductKernel) -> list[str]:
    if not kernel.body:
        return []
    elements = [variable(a.value) for a in kernel.loads]
    lines = [f"def epilogue({', '.join([kernel.accumulator, *elements])}):"]
    results = ", ".join(variable(value) for _, value in kernel.stores)
    lines += indented(1, [*(assignment(s) for s in kernel.body), f"return {results}"])
    return [*lines, ""]


def _tile_calls(kernel: ProductKernel) -> list[str]:
    """The tiles, each an LLVM intrinsic, with everything that it is made from."""
    return [line for tile in kernel.tiles for line in _tile_call(kernel, tile)]


def _tile_call(kernel: ProductKernel, tile: ProductTile) -> list[str]:
    steps = kernel.steps
    columns = {
        "dtype": repr(kernel.dtype),
        "rows": tile.rows,
        "panels": tile.panels,
        "panel": tile.panel,
        "unroll": tile.unroll,
        "inner": kernel.inner,
        "units": kernel.units,
        "arguments": tuple(name for name, _ in kernel.pointers),
        "left": (kernel.left.name, (*kernel.left.strides, steps.left)),
        "right": (kernel.right.name, (*kernel.right.strides, steps.panel, steps.right)),
        "bias": repr(kernel.bias.name) if kernel.bias else None,
        "loads": tuple((a.name, a.dtype, a.strides) for a in kernel.loads),
        "stores": tuple((a.name, a.dtype, a.strides) for a, _ in kernel.stores),
        "epilogue": "epilogue" if kernel.body else None,
        **({} if kernel.right.dtype == kernel.dtype else {"stored": repr(kernel.right.dtype)}),
        **({"fetch": tile.fetch} if tile.fetch else {}),
        **({"fetches_end": True} if not kernel.in_matrix_tiles and _ends_far_away(kernel) else {}),
        **({"totals": repr(kernel.totals.name)} if kernel.totals and tile is kernel.tiles[0] else {}),
    }
    is_matrix = kernel.in_matrix_tiles and tile is kernel.tiles[0]
    kind = "matrix_tile" if is_matrix else "product_tile"
    head = f"{_tile_name(kernel, tile)} = {kind}("
    return [head, *(f"    {k}={v}," for k, v in columns.items()), ")", ""]
