"""NumPy's own functions on our arrays: ``numpy.exp(x)`` calls ``blockfuse.np.exp(x)``.

What we have under the same name is called, and recorded. Anything else escapes: NumPy runs on the data (``outside``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy

from blockfuse.array import np
from blockfuse.array.functions import linalg, reducing
from blockfuse.array.ndarray import ndarray
from blockfuse.array.outside import outside, writing_outside, written_outside
from blockfuse.ir.operator import TABLE, Operator
from blockfuse.ir.types import DTYPES

# -- ufuncs --------------------------------------------------------------------------------------------------

ROWS: dict[numpy.ufunc, Operator] = {
    r.meaning: r for r in TABLE.values() if isinstance(r.meaning, numpy.ufunc)
}
_FUNCTIONS: dict[numpy.ufunc, Callable[..., Any]] = {
    function: getattr(np, name)
    for name, function in vars(numpy).items()
    if isinstance(function, numpy.ufunc) and function in ROWS and hasattr(np, name)
}
_REDUCTIONS: dict[numpy.ufunc, Callable[..., ndarray]] = {
    numpy.add: reducing.sum,
    numpy.multiply: reducing.prod,
    numpy.maximum: reducing.max,
    numpy.minimum: reducing.min,
    numpy.logical_and: reducing.all,
    numpy.logical_or: reducing.any,
}


def array_ufunc(
    self: ndarray,  # noqa: ARG001 - NumPy passes it
    ufunc: numpy.ufunc,
    method: str,
    *inputs: Any,
    **options: Any,
) -> Any:
    """NumPy's hook for ``ufunc(*inputs)`` where an operand or ``out=`` is ours (NEP 13)."""
    if any(_is_foreign(x) for x in inputs):
        return NotImplemented
    targets = options.pop("out", (None,))
    function = ufunc if method == "__call__" else getattr(ufunc, method)
    if method == "at":
        return writing_outside(function, inputs[0], inputs[1:], options)
    if len(targets) > 1:
        return _several(targets, outside(function, inputs, options))
    target = targets[0]
    if target is None and any(isinstance(x, numpy.ndarray) and x.dtype.name not in DTYPES for x in inputs):
        return outside(function, inputs, options)
    called = method == "__call__" and ufunc in _FUNCTIONS and options.keys() <= {"where"}
    if target is not None and not (type(target) is ndarray and called):
        return written_outside(target, function, inputs, options)
    if called:
        return _FUNCTIONS[ufunc](*inputs, out=target, **options)
    if method == "reduce" and ufunc in _REDUCTIONS and options.keys() <= {"axis", "keepdims"}:
        axis = inputs[1] if len(inputs) > 1 else options.pop("axis", 0)
        return _REDUCTIONS[ufunc](inputs[0], axis=axis, **options)
    return outside(function, inputs, options)


def _several(targets: tuple[Any, ...], results: tuple[Any, ...]) -> tuple[Any, ...]:
    """Results in the places that ``out=`` names."""
    for target, result in zip(targets, results, strict=True):
        if target is not None:
            target[...] = result
    return tuple(r if t is None else t for t, r in zip(targets, results, strict=True))


def _is_foreign(x: Any) -> bool:
    """Whether another duck array should answer: one that declares the same hook and is not NumPy's."""
    if isinstance(x, ndarray | numpy.ndarray | numpy.generic):
        return False
    return hasattr(type(x), "__array_ufunc__")


# -- functions -----------------------------------------------------------------------------------------------


def _namesakes() -> dict[Callable[..., Any], Callable[..., Any]]:
    """NumPy's function -> ours."""
    pairs = ((numpy, np), (numpy.linalg, linalg))
    return {
        getattr(theirs, name): getattr(ours, name)
        for theirs, ours in pairs
        for name in ours.__all__
        if inspect.isfunction(getattr(ours, name))
        and not isinstance(getattr(theirs, name, None), numpy.ufunc | None)
    }


_NAMESAKES = _namesakes()


@lru_cache
def _names(theirs: Callable[..., Any]) -> tuple[str, ...]:
    """The arguments of NumPy's function, where one of them is ``out``."""
    try:
        names = tuple(inspect.signature(theirs).parameters)
    except ValueError:  # a few of NumPy's functions in C say nothing about themselves
        return ()
    return names if "out" in names else ()


def _out_by_name(
    theirs: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call, those from ``out`` on by name."""
    names = _names(theirs)
    position = names.index("out") if names else len(arguments)
    return arguments[:position], {
        **dict(zip(names[position:], arguments[position:], strict=False)),
        **options,
    }


def array_function(
    self: ndarray,  # noqa: ARG001 - NumPy passes it
    function: Callable[..., Any],
    types: Any,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    """NumPy's hook for ``function(*arguments)`` where an argument is ours (NEP 18)."""
    if not all(issubclass(t, ndarray | numpy.ndarray) for t in types):
        return NotImplemented
    if function in _NAMESAKES:
        return _NAMESAKES[function](*arguments, **options)
    if function in _WRITERS or (function is numpy.nan_to_num and not _copies(*arguments, **options)):
        return writing_outside(function, arguments[0], arguments[1:], options)
    arguments, options = _out_by_name(function, arguments, options)
    target = options.pop("out", None)
    if target is not None:
        return written_outside(target, function, arguments, options)
    return outside(function, arguments, options)


# These write into their first argument.
_WRITERS = frozenset((numpy.put, numpy.place, numpy.putmask, numpy.put_along_axis, numpy.fill_diagonal))


def _copies(x: Any, copy: bool = True, **options: Any) -> bool:  # noqa: ARG001 - the signature of nan_to_num
    return bool(copy)


setattr(ndarray, "__array_ufunc__", array_ufunc)  # noqa: B010 - type checkers must not expect it in the class
setattr(ndarray, "__array_function__", array_function)  # noqa: B010 - as above
