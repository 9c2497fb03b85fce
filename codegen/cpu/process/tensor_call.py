"""Calls with another library's tensors, in native code: tensors in and out, with no frame of Python's.

NOTE [calls with tensors]
A model that came from another library is called with that library's tensors, as a rule one after another with a net of a
microsecond. Asking the library from Python what a tensor is, and whether anybody wants gradients, costs ten. Native code
asks in its place: functions of C and words of the thread tell whether only values are wanted (``ir/tensor_border.py``),
fields tell where an argument lies (NOTE [tensors in native code]). It makes NumPy's arrays in the memory of the arguments,
asks the entry of the owner, and lets the library make a tensor of the result, by DLPack's function for that, which holds
the array as long as it lives. Whatever is not as it should be is answered by NotImplemented before anything was computed:
Python looks closer, and decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.codegen.cpu.native import engine
from blockfuse.codegen.cpu.process import cpython
from blockfuse.codegen.cpu.process.for_good import only_one
from blockfuse.codegen.cpu.process.guard_check import GuardCheck
from blockfuse.codegen.cpu.process.tensor_call_ir import DTYPE, HEADER, QUESTION, WORDS
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.ir.tensor_border import Question, TensorBorder, TensorDtype


class TensorCalls:
    """The function in memory. It stays for good: built-in functions point to it."""

    def __init__(self, code: bytes, machine: Machine) -> None:
        loaded = engine.load(code, machine)
        WORDS.fill(loaded)
        self._loaded = loaded
        self._delete = loaded.address("delete")
        address = loaded.address("tensor_call")
        self._definition = cpython.MethodDef(b"tensor_call", address, cpython.METH_FASTCALL, None)

    def call(self, owner: Any, border: TensorBorder, check: GuardCheck) -> Callable[..., Any] | None:
        """A function of tensors that asks ``owner._entry``; None where the facts of the border do not hold now."""
        guard = check.guard([border.facts])
        if not guard.covered:
            return None
        words = _header(border) | {
            "new_array": cpython.new_from_descr(),
            "delete": self._delete,
            "owner": id(owner),
            "holds": check.address,
            "facts": id(guard.table),
        }
        numbers = [words[name] for name in HEADER]
        numbers += [word for question in border.questions for word in _question(question)]
        numbers += [word for dtype in border.dtypes for word in _dtype(dtype)]
        table = numpy.array(numbers, numpy.int64), owner, border, guard.table
        return cpython.builtin(self._definition, table)  # type: ignore[no-any-return]


def _header(border: TensorBorder) -> dict[str, int]:
    """The words that the border tells."""
    thread = border.thread_words
    (first, second), (other_first, other_second) = thread.usual
    return {
        **vars(border.layout),
        "type": id(border.type),
        "other_kind": border.other_kind,
        "make": border.make,
        "version": border.version,
        "finish": id(border.finish),
        "find": thread.find,
        "module": thread.module,
        "offset": thread.offset,
        "first": first,
        "second": second,
        "other_first": other_first,
        "other_second": other_second,
        "questions": len(border.questions),
        "dtypes": len(border.dtypes),
    }


def _question(question: Question) -> list[int]:
    return [getattr(question, name) for name in QUESTION]


def _dtype(told: TensorDtype) -> list[int]:
    words = {
        "number": told.number,
        "size": told.dtype.itemsize,
        "dtype": id(told.dtype),
        "word": cpython.dtype_word(told.dtype),
        "dlpack": told.dlpack,
    }
    return [words[name] for name in DTYPE]


def tensor_calls(code: Callable[[], bytes], machine: Machine) -> TensorCalls:
    """The ones of this process; made at first use."""
    return only_one(TensorCalls, lambda: TensorCalls(code(), machine))
