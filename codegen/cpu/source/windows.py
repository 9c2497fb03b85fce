"""Products of windows as source: loops over lines, blocks of windows and panels around a tile that is an LLVM intrinsic."""

from __future__ import annotations

from math import prod

from blockfuse.codegen.cpu.source.addresses import head, offset
from blockfuse.codegen.kernels.source_lines import assignment, indented, variable
from blockfuse.codegen.kernels.window_kernel import WindowKernel

_NEAR_WEIGHT = 1 << 18  # bytes of a weight that all lines may go through: a second-level cache keeps them


def window_source(kernel: WindowKernel) -> str:
    lines, panels = _lines(kernel), [_groups(kernel), _panels(kernel)]
    weight = prod(kernel.inner) * kernel.columns * (8 if kernel.dtype == "float64" else 4)
    loops = [*panels, *lines] if weight > _NEAR_WEIGHT else [*lines, *panels]
    names = ", ".join(name for name, _ in kernel.pointers)
    at = offset(("at", "g"), (1, kernel.apart))
    body = [f"tile({names}, {at}, line, r, p, g)"]
    for loop, first in reversed(loops):
        body = [loop, *indented(1, [*first, *body])] if loop else [*first, *body]
    return "\n".join([*_epilogue(kernel), *_tile(kernel), head(kernel), *indented(1, body)]) + "\n"


_Loop = tuple[str, list[str]]  # the loop ("": there is none) and what starts its body


def _lines(kernel: WindowKernel) -> list[_Loop]:
    """The loops over lines, with where each begins and its number, and over blocks of its windows."""
    rows, height = kernel.tile.rows, kernel.height
    if kernel.crosses and not kernel.extents:  # all lines of the launch are one
        first = [f"at = {offset(('begin',), kernel.left.strides[:1])}", "line = begin"]
        count = f"count = (end - begin) * {height}"
        return [("", [*first, count]), _blocks(rows, "count", f"count - {rows}")]
    extents = kernel.extents[:-1] if kernel.crosses else kernel.extents
    within = kernel.extents[-1] if kernel.crosses else 1  # lines that are one
    counters = ["b", *(f"l{n}" for n in range(len(extents)))]
    strides = tuple(prod(extents[n:]) * within for n in range(len(counters)))
    at = offset(tuple(counters), kernel.left.strides[: len(counters)])
    loops: list[_Loop] = [("for b in range(begin, end):", [])]
    loops += [(f"for {name} in range({n}):", []) for name, n in zip(counters[1:], extents, strict=True)]
    loops[-1][1].extend([f"at = {at}", f"line = {offset(tuple(counters), strides)}"])
    if rows == within * height:
        loops[-1][1].append("r = 0")
    else:
        loops.append(_blocks(rows, str(within * height), str(within * height - rows)))
    return loops


def _blocks(rows: int, count: str, last: str) -> _Loop:
    """The last block overlaps its neighbour."""
    return f"for block in range(0, {count}, {rows}):", [f"r = minimum(block, {last})"]


def _groups(kernel: WindowKernel) -> _Loop:
    return (
        ("", ["g = 0"]) if kernel.channel_groups == 1 else (f"for g in range({kernel.channel_groups}):", [])
    )


def _panels(kernel: WindowKernel) -> _Loop:
    """The loop over panels, as many at a time as a tile has; the last ones overlap their neighbours."""
    count, each = kernel.panels, kernel.tile.panels
    if count == each:
        return "", ["p = 0"]
    return f"for panel in range(0, {count}, {each}):", [f"p = minimum(panel, {count - each})"]


def _epilogue(kernel: WindowKernel) -> list[str]:
    if not kernel.body:
        return []
    elements = [variable(a.value) for a in kernel.loads]
    lines = [f"def epilogue({', '.join([kernel.accumulator, *elements])}):"]
    return [*lines, *indented(1, [*(assignment(s) for s in kernel.body), f"return {kernel.result}"]), ""]


def _bends(kernel: WindowKernel) -> bool:
    """Whether windows of a tile may be apart by another step, where a line ends."""
    line, window = kernel.left.strides[-2:]
    return kernel.crosses and line != kernel.height * window


def _tile(kernel: WindowKernel) -> list[str]:
    """The tile with everything that it is made from."""
    tile, steps = kernel.tile, prod(kernel.inner)
    columns = {
        "inner": kernel.inner,
        "along": kernel.along,
        "dtype": repr(kernel.dtype),
        "rows": tile.rows,
        "panels": tile.panels,
        "panel": tile.panel,
        "unroll": 1,
        "units": kernel.units,
        "arguments": tuple(name for name, _ in kernel.pointers),
        "left": (kernel.left.name, kernel.left.strides[-1:]),
        **({"line": (kernel.height, kernel.left.strides[-2])} if _bends(kernel) else {}),
        "right": (kernel.right.name, (steps * tile.panel, tile.panel)),
        "bias": repr(kernel.bias.name) if kernel.bias else None,
        "loads": tuple((a.name, a.dtype, a.strides) for a in kernel.loads),
        "stores": ((kernel.store.name, kernel.store.dtype, kernel.store.strides),),
        "epilogue": "epilogue" if kernel.body else None,
        **({} if kernel.right.dtype == kernel.dtype else {"stored": repr(kernel.right.dtype)}),
    }
    return ["tile = window_tile(", *(f"    {name}={value}," for name, value in columns.items()), ")", ""]
