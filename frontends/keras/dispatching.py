"""The functions of Keras that look whether this thread follows a call, and then bring it to us.

NOTE [who is brought to us]
A few functions of Keras are replaced once, when the first model is compiled, by ones that ask a context variable of ours. It
is set in the thread, and for the time, in which a call is recorded; everywhere else, also in other threads at that moment,
the function that was there runs as it did. What is replaced: how a layer is called, where operations go that were given a
``KerasTensor`` (NOTE [dispatch by type]), the values and operators of a ``Variable``, and functions that make tensors
of Python's values. Where a version of Keras has one of these no more, or calls it otherwise, compiling a model fails.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import keras
from keras.src.backend.common import KerasVariable, keras_tensor

from blockfuse.frontends.keras.backends import BACKEND
from blockfuse.frontends.keras.followed_tensor import FOLLOWED, FollowedTensor
from blockfuse.frontends.keras.making import MAKERS
from blockfuse.frontends.nested import flat
from blockfuse.ir.errors import UsageError

OLDEST, NEWEST = (3, 15), (3, 16)  # releases whose functions are as they are expected here

# Operators of a variable, which become those of a tensor.
_OPERATORS = (
    *("__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__", "__rtruediv__"),
    *(
        "__floordiv__",
        "__rfloordiv__",
        "__mod__",
        "__rmod__",
        "__pow__",
        "__rpow__",
        "__matmul__",
        "__rmatmul__",
    ),
    *("__and__", "__rand__", "__or__", "__ror__", "__xor__", "__rxor__", "__neg__", "__abs__", "__getitem__"),
    *("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"),
)
_any_symbolic = keras_tensor.any_symbolic_tensors
call_layer = keras.Layer.__call__  # Keras's own
_operate = keras.Operation.symbolic_call
_make = keras.Operation.__new__
_value = KerasVariable.value


def install() -> None:
    """Let calls be brought to us. Raises UsageError where this release of Keras is not known."""
    if getattr(keras.Layer.__call__, "brings", False):
        return
    _check_release()
    keras.Layer.__call__ = _marked(_call_layer, call_layer)
    keras.Operation.symbolic_call = _marked(_symbolic_call, _operate)
    keras.Operation.__new__ = _marked(_new_operation, _make)
    KerasVariable.value = property(_value_of, doc=_value.__doc__)
    KerasVariable.assign = _assigning(KerasVariable.assign)
    for name in _OPERATORS:
        setattr(KerasVariable, name, _operator(name, getattr(KerasVariable, name)))
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("keras.src") and (
            vars(module).get("any_symbolic_tensors") is _any_symbolic
        ):
            module.any_symbolic_tensors = _any_symbolic_tensors  # type: ignore[attr-defined]
    for name in MAKERS:
        _replace(name, _making(getattr(keras.ops, name)))
    if BACKEND == "tensorflow":
        import_module("blockfuse.frontends.keras.tensorflow_functions").install()


def _replace(name: str, function: Callable[..., Any]) -> None:
    """Of ``keras.ops``, wherever layers and users find it, and pickle, too."""
    for place in (keras.ops, keras.src.ops, sys.modules[function.__module__]):
        setattr(place, name, function)


def _check_release() -> None:
    release = tuple(int(part) for part in keras.__version__.split(".")[:2])
    calls = [*inspect.signature(call_layer).parameters] == ["self", "args", "kwargs"]
    operates = [*inspect.signature(_operate).parameters] == ["self", "args", "kwargs"]
    if not (OLDEST <= release < NEWEST and calls and operates and isinstance(_value, property)):
        raise UsageError(
            f"blockfuse knows Keras from {'.'.join(map(str, OLDEST))} to before {'.'.join(map(str, NEWEST))}; "
            f"found {keras.__version__}: install one of these, or a newer blockfuse"
        )


def _marked(function: Callable[..., Any], instead_of: Callable[..., Any]) -> Any:
    found = functools.wraps(instead_of)(function)
    found.brings = True  # type: ignore[attr-defined]
    return found


def _call_layer(self: Any, *args: Any, **kwargs: Any) -> Any:
    following = FOLLOWED.get()
    if following is not None:
        return following.layer(self, args, kwargs)
    args, kwargs = _with_values(args, kwargs)
    return call_layer(self, *args, **kwargs)


def _with_values(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Arguments of Keras's own code, with tensors of the backend for those that a model kept beyond its call."""
    kept = next((part for part in flat((args, kwargs)) if type(part) is FollowedTensor), None)
    return (args, kwargs) if kept is None else kept.following.plain((args, kwargs))


def _symbolic_call(self: Any, *args: Any, **kwargs: Any) -> Any:
    following = FOLLOWED.get()
    if following is not None:
        return following.operation(self, args, kwargs)
    given_args, given_kwargs = _with_values(args, kwargs)
    return _operate(self, *args, **kwargs) if given_args is args else self(*given_args, **given_kwargs)


def _new_operation(cls: Any, *args: Any, **kwargs: Any) -> Any:
    """Without what only serves to save an operation, where it is brought to us."""
    if FOLLOWED.get() is None or issubclass(cls, keras.Layer):
        return _make(cls, *args, **kwargs)
    return object.__new__(cls)


def _any_symbolic_tensors(args: Any = None, kwargs: Any = None) -> bool:
    """Whether an operation is brought to us, or to Keras's graphs."""
    if FOLLOWED.get() is None:
        return _any_symbolic(args, kwargs)
    return any(_is_brought(x) for x in (*(args or ()), *(kwargs or {}).values()))


def _is_brought(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_is_brought, value))
    if isinstance(value, dict):
        return any(map(_is_brought, value.values()))
    return isinstance(value, keras.KerasTensor | KerasVariable)


def _value_of(self: Any) -> Any:
    following = FOLLOWED.get()
    return _value.fget(self) if following is None else following.variable(self)


def _assigning(assign: Callable[..., Any]) -> Any:
    @functools.wraps(assign)
    def assigned(self: Any, value: Any) -> Any:
        following = FOLLOWED.get()
        return assign(self, value) if following is None else following.assigned(self, assign, value)

    return assigned


def _operator(name: str, function: Callable[..., Any]) -> Any:
    of_tensors = getattr(keras.KerasTensor, name)

    @functools.wraps(function)
    def operate(self: Any, *others: Any) -> Any:
        return function(self, *others) if FOLLOWED.get() is None else of_tensors(self, *others)

    return operate


def _making(function: Callable[..., Any]) -> Any:
    @functools.wraps(function)
    def make(*args: Any, **kwargs: Any) -> Any:
        following = FOLLOWED.get()
        return function(*args, **kwargs) if following is None else following.made(function, args, kwargs)

    return make
