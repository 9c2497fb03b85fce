"""What frames of entries hold of this process: addresses of functions of the interpreter and NumPy, and of objects."""

from __future__ import annotations

import numpy

from blockfuse.codegen.cpu.process import cpython

# The words of a frame before those of its program: NOTE [the frame].
HEADER = (
    *("valid", "unusual", "wrapper", "slot", "array", "new_array", "new_object", "incref", "decref"),
    *("not_implemented", "save_thread", "restore_thread", "aligned_alloc", "free", "workspace", "new_tuple"),
    *("binding", "calls", "pending", "none", "call", "draw", "mode", "sizes", "clear_error"),
    *("allocator", "allocator_state", "take", "give", "track", "commits", "guard", "holds", "history"),
    *("new_copy", "call_with", "undraw", "bounds", "bound", "copy_into", "memcpy"),
)
# Words of a table, NOTE [safepoints]. thread: whose interpreter was given away.
SAFEPOINT = ("clock", "save", "restore", "signals", "thread")


def header_index(name: str) -> int:
    """Which word of the frame a word of the header is."""
    return HEADER.index(name)


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


def header_words(wrapper: type, unusual: numpy.ndarray) -> dict[str, int]:
    """Those of NOTE [the frame] that every program of this process has alike.

    wrapper: blockfuse's type of arrays. unusual: counts the modes of this process in which Python runs calls.
    """
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
    return words


def safepoint_words() -> dict[str, int]:
    """The functions of NOTE [safepoints]."""
    words = {word: cpython.address_of(name) for word, name in _SAFEPOINT_FUNCTIONS.items()}
    return {**words, "clock": cpython.library_address("clock_gettime")}
