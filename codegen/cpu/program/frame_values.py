"""What the words of a frame are in this process: addresses of functions and objects, and of kernels and the thread pool."""

from __future__ import annotations

from collections.abc import Sequence

import numpy

from blockfuse.codegen.cpu.native import engine
from blockfuse.codegen.cpu.native.object_code import object_code
from blockfuse.codegen.cpu.process import cpython
from blockfuse.codegen.cpu.process.frame_words import SAFEPOINT, header_index, header_words, safepoint_words
from blockfuse.codegen.cpu.process.thread_pool import pool
from blockfuse.codegen.cpu.process.thread_pool_ir import pool_ir
from blockfuse.codegen.cpu.process.thread_pool_layout import POOL
from blockfuse.codegen.cpu.program.frame import frame_layout
from blockfuse.codegen.cpu.program.plan import Plan
from blockfuse.codegen.scheduling.buffers import BufferKind
from blockfuse.codegen.store import Store


def new_frame(
    plan: Plan, kernels: Sequence[engine.Loaded], wrapper: type, unusual: numpy.ndarray, store: Store
) -> numpy.ndarray:
    """All words but those that tell of variants, and of what a program is given later. kernels: by number.

    wrapper: blockfuse's type of arrays. unusual: counts the modes of this process in which Python runs calls.
    """
    layout = frame_layout(plan)
    frame = numpy.zeros(layout.table + plan.table_size, numpy.int64)
    if cpython.layout_is_known(wrapper):
        for name, value in header_words(wrapper, unusual).items():
            frame[header_index(name)] = value
        for number, (_, buffer) in enumerate(plan.buffers(BufferKind.ARGUMENT)):
            frame[layout.arguments + number] = cpython.dtype_word(buffer.type.dtype)
    for number, (_, buffer) in enumerate(plan.buffers(BufferKind.RESULT)):
        frame[layout.results + number] = id(numpy.dtype(buffer.type.dtype.name))
    table = frame[layout.table :]
    for number, kernel in enumerate(kernels):
        table[len(plan.schedule.buffers) + number] = kernel.address("kernel")
    if plan.decides:
        for name, address in safepoint_words().items():
            table[plan.safepoint_index + SAFEPOINT.index(name)] = address
    if plan.is_parallel:
        table[plan.pool_index : plan.pool_index + len(POOL)] = _pool_words(plan, store)
    return frame


def _pool_words(plan: Plan, store: Store) -> list[int]:
    machine = plan.machine
    workers = pool(
        machine.threads, lambda: engine.load(object_code("pool", pool_ir, machine, store), machine)
    )
    return [getattr(workers, name) for name in POOL]
