"""Random numbers of a piece of the stream, as source: several states side by side, each some steps after the last one.

A step waits for the one before it, so one state after the other takes three times as long; LLVM makes vectors of eight.
"""

from __future__ import annotations

from blockfuse.codegen.draws import (
    count_and_kept,
    halved,
    kept_number,
    numbers,
    power,
    state_after,
    stepped,
)
from blockfuse.codegen.kernel import DrawKernel
from blockfuse.codegen.lines import indented

_DOUBLINGS = 3
_LANES = 1 << _DOUBLINGS
BEFORE = [f"near_of = near_memory({_LANES})", ""]  # what stands in front of the function


def draw_lines(kernel: DrawKernel) -> list[str]:
    """All words whose numbers are all there, ``_LANES`` at a time; then what is left."""
    half = halved(kernel)
    lanes = ["lows[lane] = low", "highs[lane] = high", *stepped("low", "high")]
    whole = "minimum(end, (count - kept) // 2)" if half else "end"
    last = "minimum(end, (count - kept + 1) // 2)" if half else "end"
    return [
        *count_and_kept(kernel, "int64"),
        *state_after("begin + 1"),
        *power(0),
        "lows = near_of(x0)",
        "highs = near_of(x0)",
        f"for lane in range({_LANES}):",
        *indented(1, lanes),
        *power(_DOUBLINGS),
        *(["if begin == 0 and kept:", f"    out[0] = {kept_number()}"] if half else []),
        f"whole = begin + maximum(0, {whole} - begin) // {_LANES} * {_LANES}",
        f"for first in range(begin, whole, {_LANES}):",
        f"    for lane in range({_LANES}):",
        *indented(2, _word("(first + lane)", kernel, guarded=False)),
        *indented(2, stepped("lows[lane]", "highs[lane]")),
        f"for first in range(whole, {last}):",
        "    lane = first - whole",
        *indented(1, _word("first", kernel, guarded=True)),
    ]


def _word(number: str, kernel: DrawKernel, guarded: bool) -> list[str]:
    """Store what is in the word of a lane."""
    lines = ["word = mixed(lows[lane], highs[lane])"]
    if not halved(kernel):
        return [*lines, f"out[{number}] = {numbers(kernel)[0]}"]
    lines.append(f"i = 2 * {number} + kept")
    for place, text in zip(("i", "i + 1"), numbers(kernel), strict=True):
        store = f"out[{place}] = {text}"
        lines += [f"if {place} < count:", f"    {store}"] if guarded else [store]
    return lines
