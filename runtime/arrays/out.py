"""``net(x, out=y)``: results in memory that the caller brings.

NOTE [results of a caller]
``net(x, out=y)`` means ``y[...] = net(x)`` and gives ``y``: all arrays are looked at before the first is written, so nothing
is where one of them does not fit, or where the call raises. As all values are computed by then, ``y`` may be an argument, a
parameter, or share memory with one. It is the word of NumPy's functions; where ``forward`` itself takes an argument ``out``,
or any keywords, it is forward's.

Native code writes into the memory at once where nobody can see the difference (``codegen/cpu/program/results.py``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import combinations
from typing import Any, NamedTuple

import numpy

from blockfuse.array import stamps
from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter
from blockfuse.ir.argument_parts import OUT
from blockfuse.ir.errors import DTypeError, ShapeError, UsageError
from blockfuse.ir.interpreter import Interpreter

Run = Callable[[tuple[Any, ...], dict[str, Any]], Any]


def takes_out(function: Callable[..., Any]) -> bool:
    """Whether ``out=`` is an argument of the function's own, as its signature says."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return _names_out(function)
    named = code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
    return OUT in named or bool(code.co_flags & inspect.CO_VARKEYWORDS)


def _names_out(function: Callable[..., Any]) -> bool:
    """The same of what is no function of Python's."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # nobody knows its arguments
        return True
    return any(p.name == OUT or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def called_with_out(run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What ``run(args, kwargs)`` gives without ``out``, written into it; see NOTE [results of a caller].

    Raises TypeError where ``out`` has not the structure of the result, DTypeError, ShapeError, and UsageError for memory
    that cannot be written, or where two results would lie in one place.
    """
    rest = {name: value for name, value in kwargs.items() if name != OUT}
    return _written(kwargs[OUT], run(args, rest))


class _Pair(NamedTuple):
    """An array of the caller's and what it is to hold."""

    name: str  # as messages tell it
    target: Any
    value: Any

    @property
    def data(self) -> numpy.ndarray:
        return _data_of(self.target)


def _written(out: Any, result: Any) -> Any:
    """``out`` with the result in it; what stands at a None is the result's."""
    pairs: list[_Pair] = []
    filled = _filled(OUT, out, result, pairs)
    for pair in pairs:
        _require_fit(*pair)
    for one, other in combinations(pairs, 2):
        if numpy.may_share_memory(one.data, other.data) and _share_memory(one.data, other.data):
            raise UsageError(
                f"{one.name} and {other.name} share memory: one result would overwrite the other"
            )
    _write([_apart(pair, pairs) for pair in pairs])
    return filled


def _filled(name: str, out: Any, result: Any, pairs: list[_Pair]) -> Any:
    if out is None:
        return result
    if isinstance(result, ndarray | numpy.ndarray):
        pairs.append(_Pair(name, out, result))
        return out
    kind = type(result)
    if not isinstance(result, tuple | list | dict):
        raise TypeError(f"{name} must be None, for the result there is a {kind.__name__} and no array")
    names = list(result) if isinstance(result, dict) else list(range(len(result)))
    if type(out) is not kind or (list(out) if isinstance(out, dict) else list(range(len(out)))) != names:
        raise TypeError(f"{name} is {_described(out)}, but the result is {_described(result)}")
    items = {n: _filled(f"{name}[{n!r}]", out[n], result[n], pairs) for n in names}
    if all(items[n] is out[n] for n in names):
        return out
    if isinstance(result, dict):
        return items
    return kind(*items.values()) if hasattr(kind, "_fields") else kind(items.values())


def _described(value: Any) -> str:
    if isinstance(value, dict):
        return f"a {type(value).__name__} with the keys {', '.join(map(repr, value))}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of length {len(value)}"
    return f"a {type(value).__name__}"


def _require_fit(name: str, target: Any, value: Any) -> None:
    if not isinstance(target, ndarray | numpy.ndarray) or isinstance(target, numpy.ma.MaskedArray):
        raise TypeError(f"{name} is {_described(target)}; it must be an array of blockfuse's or NumPy's")
    wanted = f"numpy.empty({value.shape}, {str(value.dtype)!r})"
    if target.dtype != value.dtype:
        raise DTypeError(f"{name} has dtype {target.dtype}, the result {value.dtype}: give {wanted}")
    if target.shape != value.shape:
        raise ShapeError(f"{name} has shape {target.shape}, the result {value.shape}: give {wanted}")
    data = _data_of(target)
    if not data.flags.writeable:
        raise UsageError(f"{name} is read-only: give an array that may be written, such as {wanted}")
    if _may_meet_itself(data):
        raise UsageError(f"{name} has elements that share memory: give {wanted}")


def _may_meet_itself(data: numpy.ndarray) -> bool:
    """Whether two elements may lie in one place: axes lie inside of each other in what can be told apart."""
    extent = data.itemsize
    for stride, size in sorted((abs(s), n) for s, n in zip(data.strides, data.shape, strict=True) if n > 1):
        if stride < extent:
            return data.size > 0
        extent = stride * (size - 1) + extent
    return False


def _share_memory(one: numpy.ndarray, other: numpy.ndarray) -> bool:
    """Whether they do; also where that would take long to find out."""
    try:
        return numpy.shares_memory(one, other, max_work=10_000)  # type: ignore[arg-type]  # any number
    except numpy.exceptions.TooHardError:
        return True


def _apart(pair: _Pair, pairs: list[_Pair]) -> _Pair:
    """The pair, with a copy of a value that the writing of others could change."""
    value = pair.value
    if type(value) is ndarray and value._pending is not None:
        return pair
    data = _data_of(value)
    if any(other is not pair and numpy.may_share_memory(other.data, data) for other in pairs):
        return pair._replace(value=value.copy())
    return pair


def _write(pairs: list[_Pair]) -> None:
    current = interpreter.current()
    if current.recording:
        for pair in pairs:
            _write_while_recording(current, pair.target, pair.value)
    else:
        stamps.write([pair.data for pair in pairs], [_data_of(pair.value) for pair in pairs])


def _write_while_recording(current: Interpreter, target: Any, value: Any) -> None:
    """Into an array of ours as any assignment; what NumPy's arrays hold is in no graph."""
    if type(target) is ndarray:
        current.assign(target, ..., value)
        return
    current.impure("out= is an array of NumPy's")
    data = value._leave("numpy.ndarray as out=") if type(value) is ndarray else value
    stamps.write([target], [data])


def _data_of(array: Any) -> numpy.ndarray:
    data: numpy.ndarray = array._data if type(array) is ndarray else array
    return data
