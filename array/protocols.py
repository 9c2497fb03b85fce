"""NumPy's own functions on our arrays: ``numpy.exp(x)`` calls ``blockfuse.np.exp(x)``.

What we have under the same name is called, and recorded. Anything else escapes: NumPy runs on the data,
read-only, so that nothing is written which we do not see, and arrays in the result become ours.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from math import inf
from typing import Any

import numpy

from blockfuse.array import linalg, np, reducing
from blockfuse.array.creation import asarray
from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter
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
    target = options.pop("out", (None,))[0]
    function = ufunc if method == "__call__" else getattr(ufunc, method)
    if any(isinstance(x, numpy.ndarray) and x.dtype.name not in DTYPES for x in inputs):
        return outside(function, inputs, options if target is None else {**options, "out": target})
    if target is not None and not (
        type(target) is ndarray and method == "__call__" and ufunc in ROWS and not options
    ):
        return _written_outside(target, function, inputs, options)
    if method == "__call__" and ufunc in _FUNCTIONS and not options:
        return _FUNCTIONS[ufunc](*inputs) if target is None else _FUNCTIONS[ufunc](*inputs, out=target)
    if method == "reduce" and ufunc in _REDUCTIONS and options.keys() <= {"axis", "keepdims"}:
        axis = inputs[1] if len(inputs) > 1 else options.pop("axis", 0)
        return _REDUCTIONS[ufunc](inputs[0], axis=axis, **options)
    return outside(function, inputs, options)


def _is_foreign(x: Any) -> bool:
    """Whether another duck array should answer: one that declares the same hook and is not NumPy's."""
    if isinstance(x, ndarray | numpy.ndarray | numpy.generic):
        return False
    return hasattr(type(x), "__array_ufunc__")


def _written_outside(target: Any, function: Callable[..., Any], inputs: Any, options: dict[str, Any]) -> Any:
    """``out=`` in a form that no operator takes: the result is copied into it."""
    if "where" in options:  # elsewhere it keeps what it holds
        options = {**options, "out": numpy.array(target)}
    result = numpy.asarray(_on_data(function, inputs, options))
    if not numpy.can_cast(result.dtype, target.dtype, "same_kind"):
        raise TypeError(f"a result of dtype {result.dtype} cannot be written into an array of {target.dtype}")
    target[...] = result
    return target


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


def _shared_places(theirs: Callable[..., Any], ours: Callable[..., Any]) -> float:
    """How many arguments mean the same by their place."""
    mine = list(inspect.signature(ours).parameters.values())
    if any(p.kind is p.VAR_POSITIONAL for p in mine):
        return inf
    try:
        names = list(inspect.signature(theirs).parameters)
    except ValueError:  # a few of NumPy's functions in C say nothing about themselves
        return len(mine)
    pairs = zip(mine, names, strict=False)
    return next((n for n, (p, name) in enumerate(pairs) if n and p.name != name), min(len(mine), len(names)))


_NAMESAKES = _namesakes()


@lru_cache  # signatures take longer to read than the package to import
def _takes(theirs: Callable[..., Any]) -> tuple[float, frozenset[str]]:
    """What of the arguments of NumPy's function ours takes: so many by place, these by name."""
    ours = _NAMESAKES[theirs]
    return _shared_places(theirs, ours), frozenset(inspect.signature(ours).parameters)


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
    target = options.get("out")
    if target is not None:
        rest = {key: value for key, value in options.items() if key != "out"}
        return _written_outside(target, function, arguments, rest)
    if function in _NAMESAKES:
        places, names = _takes(function)
        if options.keys() <= names and len(arguments) <= places:
            return _NAMESAKES[function](*arguments, **options)
    return outside(function, arguments, options)


def outside(function: Callable[..., Any], arguments: Any, options: dict[str, Any]) -> Any:
    """NumPy on the data of our arrays, its arrays as ours."""
    return _ours(_on_data(function, arguments, options))


def _on_data(function: Callable[..., Any], arguments: Any, options: dict[str, Any]) -> Any:
    kind = f"numpy.{getattr(function, '__qualname__', None) or function.__name__}()"
    return function(*_data(tuple(arguments), kind), **_data(options, kind))


def _data(value: Any, kind: str) -> Any:
    if type(value) is ndarray:
        interpreter.current().escape(kind, value)
        view = value._data.view()
        view.flags.writeable = False
        return view
    if type(value) in (list, tuple):
        return type(value)(_data(v, kind) for v in value)
    return {k: _data(v, kind) for k, v in value.items()} if type(value) is dict else value


def _ours(value: Any) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_ours(v) for v in value))
    if isinstance(value, list | tuple):
        return type(value)(_ours(v) for v in value)
    if isinstance(value, numpy.ndarray | numpy.generic) and value.dtype.name in DTYPES:
        return asarray(value)  # it may be memory of an argument
    return value


setattr(ndarray, "__array_ufunc__", array_ufunc)  # noqa: B010 - type checkers must not expect it in the class
setattr(ndarray, "__array_function__", array_function)  # noqa: B010 - as above
