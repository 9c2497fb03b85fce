"""Random numbers of a piece of the stream, as source: each thread jumps to a word, and goes on in steps as long as a block.

So threads that are neighbours store neighbours, and the jump, a multiplication for about every second bit of the index, is
shared by ``_WORDS_PER_THREAD`` words.
"""

from __future__ import annotations

from blockfuse.codegen.cuda.source.addresses import function, head, looped, max_rows
from blockfuse.codegen.cuda.source.device_source import DeviceSource, Stage
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

_WORDS_PER_THREAD = 8  # of a thread


def draw_source(kernel: DrawKernel, threads: int) -> DeviceSource:
    words = threads * _WORDS_PER_THREAD
    start = f"uint32(uint32(cuda.blockIdx.x) * uint32({words}) + uint32(cuda.threadIdx.x))"
    lines = [*count_and_kept(kernel, "uint32"), f"w = {start}", *state_after("w + uint32(1)")]
    lines += power(threads.bit_length() - 1)
    if halved(kernel):
        lines += ["if w == uint32(0) and kept:", *indented(1, stored(kernel, kept_number(), "0"))]
    inner = [*_word(kernel), *stepped("low", "high"), f"w = uint32(w + uint32({threads}))"]
    lines += looped("n", _WORDS_PER_THREAD, inner)
    types = kernel.pointers
    return DeviceSource(
        kernel.name,
        function(head(kernel.name, types), lines),
        types,
        (Stage(kernel.name, threads, 1, words),),
        max_rows=max_rows((kernel.store,), ()) // 2,
    )


def _word(kernel: DrawKernel) -> list[str]:
    """Store what is in a word, as far as there are so many numbers."""
    lines = ["word = mixed(low, high)"]
    indices = ["w"]
    if halved(kernel):
        lines.append("i = uint32(uint32(w * uint32(2)) + kept)")
        indices = ["i", "uint32(i + uint32(1))"]
    for index, number in zip(indices, numbers(kernel), strict=True):
        lines += [f"if {index} < count:", *indented(1, stored(kernel, number, index))]
    return lines
