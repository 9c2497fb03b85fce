"""Folds over an axis that is not the last, as device source: neighbouring threads fold neighbouring columns.

Where there is much to fold, several warps of a block share out the folded axis, and their parts join in shared memory in a
fixed order.
"""

from __future__ import annotations

from blockfuse.codegen.cuda.places import (
    beyond,
    function,
    guarded,
    head,
    most_rows,
    multiple,
    place,
    seen,
    shared,
    split,
    stored,
    unsigned,
)
from blockfuse.codegen.cuda.source import DeviceSource, Stage
from blockfuse.codegen.kernel import Access, ColumnKernel
from blockfuse.codegen.lines import assignment, element, indented, of_elements, pointers

_LANES = 32
_SHARE = 8  # elements that a walker folds at least


def columns_source(kernel: ColumnKernel, threads: int) -> DeviceSource:
    folded, *inner = kernel.extents
    walkers = max(
        n for n in (1, 2, 4, 8, 16, 32) if n == 1 or (n * _LANES <= threads and n * _SHARE <= folded)
    )
    lanes = _LANES if walkers > 1 else threads
    lines = _column(kernel, lanes, walkers)
    lines += [f"acc = {kernel.start}", "f = walker" if walkers > 1 else "f = uint32(0)"]
    step = [
        *(f"{element(a.name)} = {_read(a)}" for a in kernel.loads),
        *(assignment(s) for s in kernel.body),
        f"acc = {of_elements(kernel.step)}",
        f"f = uint32(f + {unsigned(walkers)})",
    ]
    lines += [f"while f < {unsigned(folded)}:", *indented(1, step)]
    lines += _joined(kernel, walkers) if walkers > 1 else guarded("live", [_store(kernel)])
    types = pointers(kernel)
    pieces = inner[0] if inner else 1
    return DeviceSource(
        kernel.name,
        function(head(kernel.name, types), lines),
        types,
        (Stage(kernel.name, lanes * walkers, pieces, lanes),),
        most_rows=most_rows(kernel.loads, kernel.extents),
    )


def _column(kernel: ColumnKernel, lanes: int, walkers: int) -> list[str]:
    """Which column ``n`` a thread folds; those beyond the last fold the last one and store nothing."""
    thread = "uint32(cuda.threadIdx.x)"
    lines = []
    if walkers > 1:
        lines += [
            f"lane = uint32({thread} % {unsigned(lanes)})",
            f"walker = uint32({thread} // {unsigned(lanes)})",
        ]
        thread = "lane"
    inner = kernel.extents[1:]
    count = multiple("rows", inner[0] if inner else 1)
    lines += [
        f"n = uint32(uint32(cuda.blockIdx.x) * {unsigned(lanes)} + {thread})",
        f"live = n < {count}",
        f"n = minimum(n, uint32({count} - uint32(1)))",
        "place = n",
        *(split("n", ("r", "c"), inner) if inner else ["r = n"]),
    ]
    axes = ("r", "c") if inner else ("r",)
    return lines + [f"{_start(a)} = {place(axes, (a.strides[0], *a.strides[2:]))}" for a in kernel.loads]


def _start(access: Access) -> str:
    return "p" + access.name[1:]


def _read(access: Access) -> str:
    start, stride = _start(access), access.strides[1]
    return seen(f"{access.name}[{beyond(start, 'f', stride)}]", access.dtype)


def _store(kernel: ColumnKernel) -> str:
    return f"out[place] = {stored('acc', kernel.store.dtype)}"


def _joined(kernel: ColumnKernel, walkers: int) -> list[str]:
    dtype = kernel.store.dtype
    other = seen(f"parts[uint32(uint32(w) * {unsigned(_LANES)} + lane)]", dtype)
    return [
        shared("parts", walkers * _LANES, dtype),
        f"parts[uint32(cuda.threadIdx.x)] = {stored('acc', dtype)}",
        "cuda.syncthreads()",
        *guarded(
            "live & (walker == uint32(0))",
            [
                f"for w in range(1, {walkers}):",
                *indented(1, [f"other = {other}", f"acc = {kernel.join.format('acc', 'other')}"]),
                _store(kernel),
            ],
        ),
    ]
