"""What the words of a frame are in this process: addresses of functions and objects, and of kernels and the thread pool."""

from __future__ import annotations

from collections.abc import Sequence

import numpy

from blockfuse.codegen.cpu.native import engine
from blockfuse.codegen.cpu.native.object_code import object_code
from blockfuse.codegen.cpu.process import cpython
from blockfuse.codegen.cpu.process.safepoint import SAFEPOINT
from blockfuse.codegen.cpu.process.thread_pool import pool
from blockfuse.codegen.cpu.process.thread_pool_ir import pool_ir
from blockfuse.codegen.cpu.program.frame import HEADER, frame_layout, header_index
from blockfuse.codegen.cpu.program.plan import POOL, Plan
from blockfuse.codegen.scheduling.buffers import BufferKind
from blockfuse.codegen.store import Store

# name of a word -> a function of the interpreter
_FUNCTIONS = {
    "new_object": "PyType_GenericAlloc",
    "new_tuple": "PyTuple_New",
    "incref": "Py_IncRef",
    "decref": "Py_DecRef",
    "call": "PyObject_CallNoArgs",
    "call_with": "PyObject_CallOneArg",
    "clear_error": "PyErr_Clear",
    "track": "PyTraceMalloc_Track",
    "save_thread": "PyEval_SaveThread",
    "restore_thread": "PyEval_RestoreThread",
}
_SAFEPOINT_FUNCTIONS = {
    "save": "PyEval_SaveThread",
    "restore": "PyEval_RestoreThread",
    "signals": "PyErr_CheckSignals",
}


def new_frame(
    plan: Plan, kernels: Sequence[engine.Loaded], wrapper: type, unusual: numpy.ndarray, store: Store
) -> numpy.ndarray:
    """All words but those that tell of variants, and of what a program is given later. kernels: by number.

    wrapper: blockfuse's type of arrays. unusual: counts the modes of this process in which Python runs calls.
    """
    layout = frame_layout(plan)
    frame = numpy.zeros(layout.table + plan.table_size, numpy.int64)
    if cpython.layout_is_known(wrapper):
        for name, value in _header(wrapper, unusual).items():
            frame[header_index(name)] = value
        for number, (_, buffer) in enumerate(plan.buffers(BufferKind.ARGUMENT)):
            frame[layout.arguments + number] = cpython.dtype_word(buffer.type.dtype)
    for number, (_, buffer) in enumerate(plan.buffers(BufferKind.RESULT)):
        frame[layout.results + number] = id(numpy.dtype(buffer.type.dtype.name))
    table = frame[layout.table :]
    for number, kernel in enumerate(kernels):
        table[len(plan.schedule.buffers) + number] = kernel.address("kernel")
    if plan.decides:
        for name, address in _safepoint_words().items():
            table[plan.safepoint_index + SAFEPOINT.index(name)] = address
    if plan.is_parallel:
        table[plan.pool_index : plan.pool_index + len(POOL)] = _pool_words(plan, store)
    return frame


def _header(wrapper: type, unusual: numpy.ndarray) -> dict[str, int]:
    words = {word: cpython.address_of(name) for word, name in _FUNCTIONS.items()}
    words |= {name: cpython.library_address(name) for name in ("aligned_alloc", "free", "memcpy")}
    words |= {
        "unusual": unusual.ctypes.data,
        "mode": id(unusual),
        "wrapper": id(wrapper),
        "slot": cpython.slot_offset(wrapper, "_data"),
        "pending": cpython.slot_offset(wrapper, "_pending"),
        "history": cpython.slot_offset(wrapper, "_history"),
        "none": id(None),
        "array": id(numpy.ndarray),
        "new_array": cpython.new_from_descr(),
        "new_copy": cpython.new_copy(),
        "copy_into": cpython.copy_into(),
        "not_implemented": id(NotImplemented),
    }
    assert words.keys() <= set(HEADER)
    return words


def _safepoint_words() -> dict[str, int]:
    """The functions of NOTE [safepoints]."""
    words = {word: cpython.address_of(name) for word, name in _SAFEPOINT_FUNCTIONS.items()}
    return {**words, "clock": cpython.library_address("clock_gettime")}


def _pool_words(plan: Plan, store: Store) -> list[int]:
    machine = plan.machine
    workers = pool(machine.threads, object_code("pool", pool_ir, machine, store), machine)
    return [getattr(workers, name) for name in POOL]
