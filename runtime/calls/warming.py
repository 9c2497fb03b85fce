"""``warm_up``: calls made before anybody waits for them, until they are compiled or it is known why they are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.array import autograd
from blockfuse.array.pytree import Unstructured
from blockfuse.ir.errors import UsageError
from blockfuse.runtime.arrays.conversion import ArrayConversion
from blockfuse.runtime.calls.case import Case
from blockfuse.runtime.calls.dispatch import Hybrid
from blockfuse.runtime.calls.explain import because

MAX_CALLS = 8  # after which one that is not compiled counts as one that runs in Python


def warm_up(
    called: Callable[..., Any],
    hybrid: Hybrid | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    dtype: Any,
) -> tuple[str, ...]:
    """Call ``called`` in predict mode until such calls are compiled: () then, else why they run in Python.

    args, kwargs: of a call; a tuple of whole numbers is the shape of an array of ``dtype``. Raises UsageError where there is
    no ``hybrid``, and what the call raises.
    """
    if hybrid is None:
        raise UsageError("nothing is compiled before hybridize(): call hybridize(), then warm_up()")
    args = tuple(_filled(value, dtype) for value in args)
    kwargs = {name: _filled(value, dtype) for name, value in kwargs.items()}
    case: Case | None = None
    with autograd.pause():
        for _ in range(MAX_CALLS):
            called(*args, **kwargs)
            try:
                case = _case_of(hybrid, args, kwargs)
            except Unstructured as kind:
                return (_said(f"an argument is a {kind.args[0]}"),)
            if case is not None and case.program is not None:
                called(*args, **kwargs)  # by the program, which proves what is left to prove of it
            if case is None or case.program is not None or not case.may_be_recorded:
                break
    if case is None:
        return (_said("it was called with arrays of too many sizes"),)
    return () if case.program is not None else (_said(case.reason or "no recording of it became a program"),)


def _case_of(hybrid: Hybrid, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Case | None:
    conversion = ArrayConversion(args, kwargs)
    _, case = hybrid.cases.find(conversion.args, conversion.kwargs, stay_on_device=False)
    return case


def _said(reason: str) -> str:
    return "\n".join(["such calls run in Python", *because(reason)])


def _filled(value: Any, dtype: Any) -> Any:
    """An array for a shape, of which logarithms and quotients can be taken; other values as they are."""
    if type(value) is not tuple or not all(type(size) is int for size in value):
        return value
    kind = numpy.dtype(dtype)
    return numpy.full(value, 0.5 if kind.kind == "f" else 0, kind)
