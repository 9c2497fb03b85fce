"""NumPy on the data of our arrays, for what we have no function of our own for.

The data are seen read-only, so that nothing is written that we do not see, and arrays in the result become ours. Where
NumPy writes into an argument, it gets a copy, and what the copy holds afterwards is assigned.
"""

from __future__ import annotations

import dis
import warnings
from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.array.functions.creation import asarray
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import CompilerWarning, DTypeError, GradientError, UsageError
from blockfuse.ir.signal_handlers import came_from_handler
from blockfuse.ir.types import DTYPES

# What a call may do to its arguments, not what it gives.
_PERMISSIONS = frozenset(("overwrite_input",))


def outside(function: Callable[..., Any], arguments: Any, options: dict[str, Any]) -> Any:
    """NumPy on the data of our arrays, its arrays as ours."""
    return _ours(_on_data(function, arguments, options))


def written_outside(target: Any, function: Callable[..., Any], inputs: Any, options: dict[str, Any]) -> Any:
    """``out=`` in a form that no operator takes: the result is copied into it."""
    if "where" in options:  # elsewhere it keeps what it holds
        options = {**options, "out": numpy.array(target)}
    result = numpy.asarray(_on_data(function, inputs, options))
    if not numpy.can_cast(result.dtype, target.dtype, "same_kind"):
        raise TypeError(f"a result of dtype {result.dtype} cannot be written into an array of {target.dtype}")
    target[...] = result
    return target


def writing_outside(function: Callable[..., Any], target: Any, inputs: Any, options: dict[str, Any]) -> Any:
    """A function of NumPy that writes into its first argument."""
    if type(target) is not ndarray:
        return outside(function, (target, *inputs), options)
    copy = numpy.array(target)
    result = _on_data(function, (copy, *inputs), options)
    target[...] = copy
    return target if result is copy else _ours(result)


def or_numpys(
    refusal: TypeError | ValueError, function: Callable[..., Any], arguments: Any, options: dict[str, Any]
) -> Any:
    """What NumPy gives for a form of a call that ours refuses; if it refuses too, our words are the better ones.

    Ours refuses a form by its signature or by a ``raise``. Whatever else went wrong is a fault of ours: NumPy gives what is
    right, and a warning says so.
    """
    target = options.get("out")
    foreign = target is not None and type(target) is not ndarray  # nobody would see that it is written
    if foreign or isinstance(refusal, DTypeError | UsageError) or not _holds_ours((arguments, options)):
        raise refusal
    if target is not None:
        rest = {key: value for key, value in options.items() if key != "out"}
        result = written_outside(target, function, arguments, rest)
    else:
        try:
            result = outside(function, arguments, options)
        except GradientError:
            raise
        except Exception as error:
            if came_from_handler(error):
                raise
            raise refusal from None
    if not _is_meant(refusal):
        name = getattr(function, "__name__", function)
        text = f"{name} met {type(refusal).__name__} ({refusal}) inside of blockfuse; NumPy computed it, with right results"
        warnings.warn(f"{text}: please report the call with this text", CompilerWarning, stacklevel=3)
    return result


_RAISE = dis.opmap["RAISE_VARARGS"]


def _is_meant(refusal: Exception) -> bool:
    """Whether a signature or a ``raise`` gave it, the function's that was called or another's."""
    at = refusal.__traceback__
    if at is None or at.tb_next is None:  # the call did not come to the function
        return True
    while at.tb_next is not None:
        at = at.tb_next
    return at.tb_frame.f_code.co_code[at.tb_lasti] == _RAISE


def _holds_ours(value: Any) -> bool:
    if isinstance(value, dict):
        value = tuple(value.values())
    return type(value) is ndarray or (isinstance(value, list | tuple) and any(_holds_ours(v) for v in value))


def _on_data(function: Callable[..., Any], arguments: Any, options: dict[str, Any]) -> Any:
    kind = f"numpy.{getattr(function, '__qualname__', None) or function.__name__}()"
    taken = {key: value for key, value in options.items() if key not in _PERMISSIONS}
    return function(*_data(tuple(arguments), kind), **_data(taken, kind))


def read_only(array: ndarray, kind: str) -> numpy.ndarray:
    """The data of an array, which leave the array world."""
    view = array._leave(kind).view()
    view.flags.writeable = False
    return view


def _data(value: Any, kind: str) -> Any:
    if type(value) is ndarray:
        return read_only(value, kind)
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
