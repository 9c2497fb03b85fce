"""Torch's border in native code: what tells that nobody wants more of a call than its values, proven in this process.

The functions and the words of a thread are ``c10``'s and ATen's own; ``unusual`` in ``torch_net.py`` asks the same of
Python. Each is held against torch in the states that it must tell apart; where one cannot, there is no border, and Python
takes the calls.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy
import torch
from torch.autograd import forward_ad
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from blockfuse.frontends.torch.tensor_layout import DTYPES, LAYOUT, dtype_number, kind_of
from blockfuse.ir.comparisons import Aspect, Comparison
from blockfuse.ir.tensor_border import Question, TensorBorder, TensorDtype, ThreadWords
from blockfuse.ir.tensor_layout import TensorLayout

GLOBAL_HOOKS = tuple(
    vars(hooks)[name]
    for name in (
        *("_global_forward_hooks", "_global_forward_pre_hooks"),
        *("_global_backward_hooks", "_global_backward_pre_hooks"),
    )
)
NO_LEVEL = -1  # of ``forward_ad``: no tensor has a tangent
_LEVEL = "_current_level"
_API, _API_NAME = "__dlpack_c_exchange_api__", b"dlpack_exchange_api"
_MAKE = 4  # word of a DLPackExchangeAPI: version, an older one, then functions
_MAJOR_VERSION = 1  # of DLPack
_KINDS = {"b": 6, "i": 0, "u": 1, "f": 2}  # NumPy's letter for what numbers are -> DLPack's number
_GRAD_MODE, _DEFAULT_DTYPE = "_ZN3c108GradMode10is_enabledEv", "_ZN3c1017get_default_dtypeEv"
_FUNCTION_MODES = "_ZN2at4impl22PythonTorchFunctionTLS9stack_lenEv"
_DISPATCH_WORDS = "_ZN3c104impl26raw_local_dispatch_key_setE"
_TLS_MODULE, _TLS_DATA = 9, 10  # requests of ``dlinfo``


def border(finish: Callable[[Any], Any]) -> TensorBorder | None:
    """The one of this process. finish: makes a result of tensors of one of arrays."""
    if LAYOUT is None:
        return None
    try:
        make, version = _exchange()
        thread, questions = _thread_words(), _questions(LAYOUT)
    except (AttributeError, LookupError, OSError, ValueError):  # a function or a file that is not there
        return None
    if not _tells_apart(thread, questions):
        return None
    with torch.inference_mode():
        other = kind_of(torch.empty(2))
    dtypes = tuple(_dtype(LAYOUT, dtype) for dtype in DTYPES)
    facts = (
        *(Comparison(Aspect.PAIRS, known, ()) for known in GLOBAL_HOOKS),
        Comparison(Aspect.ITEM, vars(forward_ad), (_LEVEL, NO_LEVEL)),
    )
    return TensorBorder(torch.Tensor, LAYOUT, other, make, version, dtypes, thread, questions, facts, finish)


def _exchange() -> tuple[int, int]:
    """What makes a tensor, and DLPack's version."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    words = (ctypes.c_int64 * 7).from_address(pointer(getattr(torch.Tensor, _API), _API_NAME))
    if words[0] & 0xFFFFFFFF != _MAJOR_VERSION or not words[_MAKE]:
        raise LookupError(_API)
    return words[_MAKE], words[0]


def _dtype(layout: TensorLayout, dtype: torch.dtype) -> TensorDtype:
    array = torch.empty(0, dtype=dtype).numpy().dtype
    told = _KINDS[array.kind] | 8 * array.itemsize << 8 | 1 << 16
    return TensorDtype(dtype_number(layout, dtype), numpy.dtype(array), told)


# -- what a thread is told -----------------------------------------------------------------------------------------


def _library(name: str) -> ctypes.CDLL:
    return ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / f"lib{name}.so"))


def _address(library: ctypes.CDLL, name: str) -> int:
    return ctypes.cast(library[name], ctypes.c_void_p).value or 0


def _questions(layout: TensorLayout) -> tuple[Question, ...]:
    core, cpu = _library("c10"), _library("torch_cpu")
    return (
        Question(_address(core, _GRAD_MODE), 0xFF, 0),
        Question(_address(cpu, _FUNCTION_MODES), -1, 0),
        Question(_address(core, _DEFAULT_DTYPE), 0xFFFF, dtype_number(layout, torch.float32)),
    )


def _thread_words() -> ThreadWords:
    """Of the keys by which this thread's calls are dispatched: those of autocast, of modes, of transforms, of tracing."""
    library, process = _library("c10"), ctypes.CDLL(None)
    module, data = ctypes.c_size_t(), ctypes.c_void_p()
    process.dlinfo.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    here = ctypes.addressof(ctypes.c_int64.in_dll(library, _DISPATCH_WORDS))
    for request, found in ((_TLS_MODULE, module), (_TLS_DATA, data)):
        if process.dlinfo(library._handle, request, ctypes.byref(found)):
            raise LookupError(request)
    place = _address(process, "__tls_get_addr"), module.value, here - (data.value or 0)
    usual = _found_words(ThreadWords(*place, ((0, 0),) * 2))
    with torch.inference_mode():
        other = _found_words(ThreadWords(*place, ((0, 0),) * 2))
    return ThreadWords(*place, (usual, other))


def _found_words(thread: ThreadWords) -> tuple[int, int]:
    """Those of this thread."""
    find = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(thread.find)
    index = (ctypes.c_size_t * 2)(thread.module, thread.offset)
    first, second = (ctypes.c_int64 * 2).from_address(find(ctypes.addressof(index)))
    return first, second


# -- proving -------------------------------------------------------------------------------------------------------


def _tells_apart(thread: ThreadWords, questions: tuple[Question, ...]) -> bool:
    """Whether the usual states let a program run, and no other does."""

    def is_usual() -> bool:
        return _found_words(thread) in thread.usual and all(map(_is_answered, questions))

    usual = [_is_so(is_usual, *state) for state in _USUAL]
    others = [_is_so(is_usual, torch.no_grad, state) for state in _OTHERS]
    return all(usual) and not any(others) and not _is_so(is_usual, torch.enable_grad)


def _is_so(ask: Callable[[], bool], *states: Callable[[], AbstractContextManager[Any]]) -> bool:
    """What is answered in a state."""
    if not states:
        return ask()
    with states[0]():
        return _is_so(ask, *states[1:])


def _is_answered(question: Question) -> bool:
    found = ctypes.CFUNCTYPE(ctypes.c_int64)(question.function)()
    return (found & question.bits) == question.answer


class _FunctionMode(TorchFunctionMode):
    """Sees functions of torch."""


class _DispatchMode(TorchDispatchMode):
    """Sees operators of torch."""


@contextmanager
def _transformed() -> Iterator[None]:
    torch._C._functorch._vmap_increment_nesting(2, "error")
    try:
        yield
    finally:
        torch._C._functorch._vmap_decrement_nesting()


_USUAL = ((torch.no_grad,), (torch.inference_mode,), (torch.no_grad, torch.inference_mode))
_OTHERS = (lambda: torch.autocast("cpu"), _FunctionMode, _DispatchMode, _transformed)
