"""Every form of a call that NumPy takes: importing this module teaches ``np``, ``np.linalg`` and arrays' methods.

Ours know the forms that programs use. Any other (``where=``, ``order="F"``, an unusual norm) is computed by NumPy, which is
an escape; so nothing that NumPy takes fails.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

import numpy

from blockfuse.array import methods, np
from blockfuse.array.functions import linalg
from blockfuse.array.ndarray import ndarray
from blockfuse.array.outside import or_numpys


def _in_all_forms(ours: Callable[..., Any], theirs: Callable[..., Any], home: str) -> Callable[..., Any]:
    """Our function; NumPy's for what it does not take."""

    @wraps(ours)
    def function(*arguments: Any, **options: Any) -> Any:
        if len(arguments) > 2:  # no two functions differ before
            arguments, options = _as_numpy_places(ours, theirs, arguments, options)
        if "out" in options and options["out"] is None:
            del options["out"]
        try:
            return ours(*arguments, **options)
        except (TypeError, ValueError) as refusal:
            return or_numpys(refusal, theirs, arguments, options)

    function.__module__ = home  # where a pickle finds it
    return function


def _as_numpy_places(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments by name from where places mean something else to NumPy. Its ``out`` is an array or None."""
    shared, names = _places(ours, theirs)
    if not shared < len(arguments) <= len(names):
        return arguments, options
    named = dict(zip(names[shared:], arguments[shared:], strict=False))
    if names[shared] == "out" and not isinstance(arguments[shared], ndarray | numpy.ndarray | None):
        return arguments, options
    return arguments[:shared], {**named, **options}


@lru_cache  # signatures take longer to read than the package to import
def _places(ours: Callable[..., Any], theirs: Callable[..., Any]) -> tuple[int, tuple[str, ...]]:
    """How many arguments mean the same by their place, and the names of NumPy's that have a place."""
    mine = inspect.signature(ours).parameters
    try:
        found = inspect.signature(theirs).parameters.values()
    except ValueError:  # a few of NumPy's functions in C say nothing about themselves
        return 0, ()
    if "ctx" in mine or any(p.kind is p.VAR_POSITIONAL for p in mine.values()):  # Gluon's order
        return 0, ()
    names = tuple(p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
    pairs = list(zip(mine, names, strict=False))
    moved = (
        n for n, (my, name) in enumerate(pairs) if my != name and (name in ("out", *mine) or my in names)
    )
    return next(moved, len(pairs)), names


for _ours, _theirs in ((np, numpy), (linalg, numpy.linalg)):
    for _name in _ours.__all__:
        _function, _namesake = getattr(_ours, _name), getattr(_theirs, _name, None)
        if inspect.isfunction(_function) and callable(_namesake):
            setattr(_ours, _name, _in_all_forms(_function, _namesake, _ours.__name__))
for _name in methods.NAMES:
    if hasattr(numpy.ndarray, _name) and _name not in methods.WRITING:
        _function, _namesake = getattr(ndarray, _name), getattr(numpy.ndarray, _name)
        setattr(ndarray, _name, _in_all_forms(_function, _namesake, ndarray.__module__))
