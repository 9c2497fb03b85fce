"""What native code must know to take calls with another library's tensors: which are plain, when only values are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.ir.comparisons import Comparison
from blockfuse.ir.tensor_layout import TensorLayout


@dataclass(frozen=True)
class Question:
    """A function of C without arguments, and what it answers where a program may run."""

    function: int  # its address
    bits: int  # of the answer, which count
    answer: int


@dataclass(frozen=True)
class ThreadWords:
    """Two words of each thread's own memory, and which pairs of them let a program run."""

    find: int  # the address of ``__tls_get_addr``
    module: int  # what it is given: a loaded library, and a place in that library's memory of a thread
    offset: int
    usual: tuple[tuple[int, int], ...]  # two pairs, which may be the same


@dataclass(frozen=True)
class TensorDtype:
    """One dtype in the words of three libraries."""

    number: int  # what stands in a tensor for it
    dtype: numpy.dtype
    dlpack: int


@dataclass(frozen=True)
class TensorBorder:
    """Tensors of one library, and what else decides whether a program may run in its place."""

    type: type  # of a plain tensor, exactly
    layout: TensorLayout
    other_kind: int  # of tensors that are as good as plain ones
    make: int  # DLPack's ``managed_tensor_to_py_object_no_sync``
    version: int  # of DLPack, in the two halves of a word
    dtypes: tuple[TensorDtype, ...]  # the usual ones first
    thread_words: ThreadWords
    questions: tuple[Question, ...]
    facts: tuple[Comparison, ...]  # what Python's objects must be
    finish: Any  # Python's function that makes a result of tensors of one of arrays
