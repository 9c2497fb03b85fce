"""The parts of CPython's and NumPy's objects that native entry code reads, checked against live objects before use.

Offsets are those of 64-bit CPython 3.11-3.14 (``Include/object.h``) and NumPy 2 (``PyArrayObject_fields`` in
``ndarraytypes.h``); functions come by address from the interpreter and from NumPy's own C API table.
"""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache
from typing import Any

import numpy

from blockfuse.codegen.cpu.linking.libraries import function_address

OB_TYPE = 8
ARRAY_DATA, ARRAY_NDIM, ARRAY_DIMS, ARRAY_STRIDES, ARRAY_BASE = 16, 24, 32, 40, 48
ARRAY_DESCR, ARRAY_FLAGS, ARRAY_HANDLER = 56, 64, 88
TUPLE_ITEMS = tuple.__basicsize__ // 8  # words before its first item; CPython 3.14 put a hash there
OB_SIZE, FLOAT_VALUE, TYPE_MRO = 16, 16, 344
SLICE_MEMBERS = (16, 24, 32)
LIST_ITEMS = 24  # where a list says where its items lie
C_CONTIGUOUS_AND_ALIGNED = 0x0001 | 0x0100
OWNS_DATA, WRITEABLE = 0x0004, 0x0400
NUMPY_DOMAIN = 389047  # of memory that ``tracemalloc`` is told of
DESCR_KIND = 24  # the word of a dtype that says which one it is: kind, character, byte order, flags, number

_COPY_INTO, _NEW_COPY, _NEW_FROM_DESCR, _SET_HANDLER = 50, 85, 94, 304  # indices in NumPy's _ARRAY_API table
_MEMBER_OFFSET = 16  # PyMemberDef.offset; a member descriptor points to its PyMemberDef
_DESCR_MEMBER = 40  # PyMemberDescrObject.d_member: object head, d_type, d_name, d_qualname


def address_of(name: str) -> int:
    """Where a function of the interpreter's C API lies."""
    return function_address(ctypes.pythonapi, name)


def library_address(name: str) -> int:
    """Where a function of the C library lies."""
    return function_address(ctypes.CDLL(None), name)


def new_from_descr() -> int:
    """The address of ``PyArray_NewFromDescr``."""
    return _numpy_function(_NEW_FROM_DESCR)


def new_copy() -> int:
    """The address of ``PyArray_NewCopy``."""
    return _numpy_function(_NEW_COPY)


def copy_into() -> int:
    """The address of ``PyArray_CopyInto``."""
    return _numpy_function(_COPY_INTO)


def dtype_word(dtype: numpy.dtype) -> int:
    """What tells a dtype of numbers from others: an array that was pickled has a dtype object of its own."""
    return _word(id(dtype) + DESCR_KIND)


def made_with_handler(capsule: Any, size: int) -> numpy.ndarray:
    """An array of so many bytes that NumPy makes with the functions for memory of a capsule."""
    set_handler = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(_numpy_function(_SET_HANDLER))
    before = set_handler(capsule)
    try:
        return numpy.empty(size, numpy.uint8)
    finally:
        set_handler(before)


def handler_is_known(array: numpy.ndarray, capsule: Any) -> bool:
    """Whether an array that was made with a capsule has it where it is written below."""
    owns = ctypes.c_int.from_address(id(array) + ARRAY_FLAGS).value & OWNS_DATA
    return bool(owns) and _word(id(array) + ARRAY_HANDLER) == id(capsule)


@lru_cache
def _numpy_function(number: int) -> int:
    capsule = numpy._core._multiarray_umath._ARRAY_API  # type: ignore[attr-defined]
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = ctypes.cast(pointer(capsule, None), ctypes.POINTER(ctypes.c_void_p))
    return table[number] or 0


def slot_offset(cls: type, name: str) -> int:
    """Where the slot ``name`` lies in instances of ``cls``."""
    member = ctypes.c_void_p.from_address(id(cls.__dict__[name]) + _DESCR_MEMBER).value or 0
    return ctypes.c_ssize_t.from_address(member + _MEMBER_OFFSET).value


@lru_cache
def layout_is_known(wrapper: type) -> bool:
    """Whether the offsets above are right in this process; if not, calls go through Python."""
    if sys.maxsize < 2**32 or sys.implementation.name != "cpython" or hasattr(sys, "gettotalrefcount"):
        return False
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False
    probe = numpy.empty((3, 5), numpy.float32)
    holder = wrapper(probe)
    return (
        _word(id(holder) + slot_offset(wrapper, "_data")) == id(probe)
        and _word(id(probe) + OB_TYPE) == id(numpy.ndarray)
        and _word(id(probe) + ARRAY_DATA) == probe.ctypes.data
        and ctypes.c_int.from_address(id(probe) + ARRAY_NDIM).value == 2
        and [_word(_word(id(probe) + ARRAY_DIMS) + 8 * n) for n in range(2)] == [3, 5]
        and [_word(_word(id(probe) + ARRAY_STRIDES) + 8 * n) for n in range(2)] == [20, 4]
        and _word(id(view := probe[1:]) + ARRAY_BASE) == id(view.base)
        and _word(id(probe) + ARRAY_DESCR) == id(probe.dtype)
        and dtype_word(probe.dtype) == _word_of_kind(probe.dtype)
        and _word(_word(id(items := [probe]) + LIST_ITEMS)) == id(items[0])
        and _word(id(pair := (probe, None)) + OB_SIZE) == len(pair)
        and [_word(id(pair) + 8 * (TUPLE_ITEMS + n)) for n in range(2)] == [*map(id, pair)]
        and ctypes.c_double.from_address(id(number := len(pair) + 0.5) + FLOAT_VALUE).value == number
        and _word(id(wrapper) + TYPE_MRO) == id(wrapper.__mro__)
        and [_word(id(part := slice(1, 2, 3)) + n) for n in SLICE_MEMBERS]
        == [*map(id, (part.start, part.stop, part.step))]
        and ctypes.c_int.from_address(id(probe) + ARRAY_FLAGS).value & 0x0FFF == probe.flags.num & 0x0FFF
    )


def _word_of_kind(dtype: numpy.dtype) -> int:
    """What ``dtype_word`` should be; the flags of NumPy 1 are 0 for numbers."""
    text = f"{dtype.kind}{dtype.char}{dtype.byteorder}\0".encode()
    return int.from_bytes(text + dtype.num.to_bytes(4, "little"), "little")


def _word(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


class MethodDef(ctypes.Structure):
    """``PyMethodDef``."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


METH_NOARGS, METH_FASTCALL = 0x0004, 0x0080


def builtin(definition: MethodDef, self: Any) -> Any:
    """A built-in function object around native code; ``definition`` must live as long as it."""
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    return make(ctypes.addressof(definition), self, None)
