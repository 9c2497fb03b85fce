"""Random numbers of a piece of the stream, as source: several states side by side, each some steps after the last one.

A step waits for the one before it, so one state after the other takes three times as long; LLVM makes vectors of eight. The
numbers of these go to near memory, so that what follows from them is a loop over neighbours, which LLVM makes vectors of.
"""

from __future__ import annotations

from blockfuse.codegen.cpu.source.addresses import head
from blockfuse.codegen.kernels.draws import (
    count_and_kept,
    halved,
    kept_number,
    numbers,
    power,
    state_after,
    stepped,
    stored,
)
from blockfuse.codegen.kernels.loop_kernels import DrawKernel
from blockfuse.codegen.kernels.source_lines import indented

_DOUBLINGS = 3
_LANES = 1 << _DOUBLINGS


def draw_source(kernel: DrawKernel) -> str:
    lines = [*_memory(kernel), head(kernel), *indented(1, _draw_lines(kernel))]
    return "\n".join(lines) + "\n"


def _memory(kernel: DrawKernel) -> list[str]:
    """What stands in front of the function."""
    size = _LANES * len(numbers(kernel))
    return [f"states_of = near_memory({_LANES})", f'near_of = near_memory({size}, "{kernel.dtype}")', ""]


def _draw_lines(kernel: DrawKernel) -> list[str]:
    """All words whose numbers are all there, ``_LANES`` at a time; then what is left."""
    half, each = halved(kernel), len(numbers(kernel))
    lanes = ["lows[lane] = low", "highs[lane] = high", *stepped("low", "high")]
    first = "kept" if half else "0"
    whole = f"minimum(end, (count - {first}) // {each})"
    last = f"minimum(end, (count - {first} + {each - 1}) // {each})"
    return [
        *count_and_kept(kernel, "int64"),
        *state_after("begin + 1"),
        *power(0),
        "lows = states_of(x0)",
        "highs = states_of(x0)",
        "near = near_of(x0)",
        f"for lane in range({_LANES}):",
        *indented(1, lanes),
        *power(_DOUBLINGS),
        *(["if begin == 0 and kept:", *indented(1, stored(kernel, kept_number(), "0"))] if half else []),
        f"whole = begin + maximum(0, {whole} - begin) // {_LANES} * {_LANES}",
        f"for w in range(begin, whole, {_LANES}):",
        f"    for lane in range({_LANES}):",
        *indented(2, [*_numbers(kernel), *stepped("lows[lane]", "highs[lane]")]),
        f"    for n in range({_LANES * each}):",
        *indented(2, stored(kernel, "near[n]", f"{each} * w + {first} + n")),
        f"left = maximum(0, {last} - whole)",
        "for lane in range(left):",
        *indented(1, _numbers(kernel)),
        f"for n in range(minimum({each} * left, count - {first} - {each} * whole)):",
        *indented(1, stored(kernel, "near[n]", f"{each} * whole + {first} + n")),
    ]


def _numbers(kernel: DrawKernel) -> list[str]:
    """Put what is in the word of a lane into near memory."""
    texts = numbers(kernel)
    lines = (f"near[{len(texts)} * lane + {n}] = {text}" for n, text in enumerate(texts))
    return ["word = mixed(lows[lane], highs[lane])", *lines]
