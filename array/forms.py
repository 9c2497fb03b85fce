"""Every form of a call that NumPy takes: importing this module teaches ``np``, ``np.linalg`` and arrays' methods.

Ours know the forms that programs use. Any other (a spaced grid between arrays, an unusual norm), which their signature
lacks or they refuse, is computed by NumPy, which is an escape; so nothing that NumPy takes fails.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import numpy

from blockfuse.array import methods, np
from blockfuse.array.docstrings import before_example
from blockfuse.array.functions import linalg
from blockfuse.array.ndarray import ndarray
from blockfuse.array.outside import or_numpys

_MISSING: Any = object()  # an argument that was not given


def _in_all_forms(ours: Callable[..., Any], theirs: Callable[..., Any], home: str) -> Callable[..., Any]:
    """Our function; NumPy's for what it does not take.

    Positional arguments that mean the same to both are handed on as they are: to pack them into a tuple and a dict takes a
    tenth of a short call.
    """
    # Found when it is needed, and once: all signatures take longer to read than the package to import.
    order: _Positions | None = None
    alike = 0  # arguments behind the second that mean the same to both

    @wraps(ours)
    def function(first: Any = _MISSING, second: Any = _MISSING, /, *rest: Any, **options: Any) -> Any:
        nonlocal order, alike
        arguments: tuple[Any, ...] = ()
        try:
            if not (options or rest or first is _MISSING):
                return ours(first) if second is _MISSING else ours(first, second)
            if not options and 0 < len(rest) <= alike:
                return ours(first, second, *rest)
            if first is not _MISSING:
                arguments = (first,) if second is _MISSING else (first, second, *rest)
            if rest:
                if order is None:
                    order = _positions(ours, theirs)
                    alike = order.shared - 2
                arguments, options = _named(order, arguments, options)
            if "out" in options and options["out"] is None:
                del options["out"]
            return ours(*arguments, **options)
        except (TypeError, ValueError) as refusal:
            return or_numpys(refusal, theirs, arguments or _given(first, second, rest), options)

    function.__module__ = home  # where a pickle finds it
    return function


def _given(first: Any, second: Any, rest: tuple[Any, ...]) -> tuple[Any, ...]:
    if second is not _MISSING:
        return first, second, *rest
    return () if first is _MISSING else (first,)


def _named(
    order: _Positions, arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments by name from where positions mean something else to NumPy. Its ``out`` is an array or None."""
    shared, names = order
    if not shared < len(arguments) <= len(names):
        return arguments, options
    if names[shared] == "out" and not isinstance(arguments[shared], ndarray | numpy.ndarray | None):
        return arguments, options
    return arguments[:shared], {**dict(zip(names[shared:], arguments[shared:], strict=False)), **options}


class _Positions(NamedTuple):
    """What NumPy and we make of arguments by their positions."""

    shared: int  # how many mean the same to both
    names: tuple[str, ...] = ()  # NumPy's, of all that have a position


_OURS_ALONE = _Positions(sys.maxsize)


def _positions(ours: Callable[..., Any], theirs: Callable[..., Any]) -> _Positions:
    code = ours.__code__  # of whose signature a recorded call would note that nobody changes the annotations
    mine = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    names = positional_names(theirs)
    if (
        names is None or "ctx" in mine or code.co_flags & inspect.CO_VARARGS
    ):  # the last two have Gluon's order
        return _OURS_ALONE
    pairs = list(zip(mine, names, strict=False))
    moved = (
        n for n, (my, name) in enumerate(pairs) if my != name and (name in ("out", *mine) or my in names)
    )
    return _Positions(next(moved, len(pairs)), names)


def positional_names(function: Callable[..., Any]) -> tuple[str, ...] | None:
    """Of a function of NumPy's; None where it says nothing about itself.

    As ``inspect.signature`` finds them, which compiles the text that functions in C have: a recorded call must not.
    """
    declared = getattr(function, "__signature__", None)
    if declared is not None:
        kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
        return tuple(p.name for p in declared.parameters.values() if p.kind in kinds)
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    if code is not None:
        return tuple(code.co_varnames[: code.co_argcount])
    text = getattr(function, "__text_signature__", None)
    if text is None:
        return None
    parts = text.strip("()").partition("*")[0].split(",")
    names = (part.partition("=")[0].strip().lstrip("$") for part in parts)
    return tuple(name for name in names if name not in ("", "/", "module"))


def _with_source(ours: Callable[..., Any], name: str, space: str) -> str:
    """The docstring with where its meaning is from, and what becomes of other forms of calls."""
    text = ours.__doc__ or ""
    if "Source: " in text:  # what NumPy computes says so itself
        return text
    alias = f"``{ours.__name__}`` under another name. " * (ours.__name__ != name)
    return before_example(
        text,
        f"{alias}Source: ``{space}.{name}``. Forms of a call that this signature lacks are left to NumPy: no gradient, no "
        "compilation.",
    )


for _ours, _theirs in ((np, numpy), (linalg, numpy.linalg)):
    for _name in _ours.__all__:
        _function, _namesake = getattr(_ours, _name), getattr(_theirs, _name, None)
        if inspect.isfunction(_function) and callable(_namesake) and _function is not _namesake:
            _wrapped = _in_all_forms(_function, _namesake, _ours.__name__)
            _wrapped.__doc__ = _with_source(_function, _name, _theirs.__name__)
            setattr(_ours, _name, _wrapped)
for _name in methods.NAMES:
    if hasattr(numpy.ndarray, _name) and _name not in methods.WRITING:
        _function, _namesake = getattr(ndarray, _name), getattr(numpy.ndarray, _name)
        setattr(ndarray, _name, _in_all_forms(_function, _namesake, ndarray.__module__))
