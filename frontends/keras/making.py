"""Tensors that Keras's functions make of Python's values, made by NumPy in the dtypes that Keras gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy

from blockfuse.frontends.keras.backends import BACKEND
from blockfuse.frontends.nested import flat


def _named(dtype: Any) -> str:
    return keras.backend.standardize_dtype(dtype)  # None is floatx


def _inferred(*values: Any) -> str:
    """The dtype of values for which none is given."""
    found = keras.backend.result_type(*(getattr(value, "dtype", type(value)) for value in flat(values)))
    return found.replace("64", "32") if BACKEND == "jax" and not _has_wide_jax() else found


def _has_wide_jax() -> bool:
    import jax

    return bool(jax.config.jax_enable_x64)


def _filled(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda shape, dtype=None, **_: function(shape, dtype=_named(dtype))


def _full(shape: Any, fill_value: Any, dtype: Any = None) -> numpy.ndarray:
    return numpy.full(shape, fill_value, _named(dtype))


def _arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> numpy.ndarray:
    given = [value for value in (start, stop, step) if value is not None]
    kind = _inferred(*given) if dtype is None else _named(dtype)
    begin, end = (0, start) if stop is None else (start, stop)
    return numpy.arange(begin, end, 1 if step is None else step).astype(kind)


def _linspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, *, dtype: Any = None
) -> numpy.ndarray:
    return numpy.linspace(start, stop, num, endpoint).astype(_named(dtype))


def _array(x: Any, dtype: Any = None, **_: Any) -> numpy.ndarray:
    return numpy.array(x, _inferred(x) if dtype is None else _named(dtype))


def _eye(n: int, m: int | None = None, k: int = 0, dtype: Any = None) -> numpy.ndarray:
    return numpy.eye(n, m, k, _named(dtype))


# Name of a function of ``keras.ops`` -> what it makes.
MAKERS: dict[str, Callable[..., numpy.ndarray]] = {
    "arange": _arange,
    "array": _array,
    "cast": _array,
    "convert_to_tensor": _array,
    "empty": _filled(numpy.zeros),
    "eye": _eye,
    "full": _full,
    "identity": lambda n, dtype=None: _eye(n, dtype=dtype),
    "linspace": _linspace,
    "ones": _filled(numpy.ones),
    "tri": lambda n, m=None, k=0, dtype=None: numpy.tri(n, m, k, _named(dtype)),
    "zeros": _filled(numpy.zeros),
}
