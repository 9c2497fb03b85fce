"""``blockfuse.compile``: what another library made, compiled."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from blockfuse.ir.errors import UsageError


@dataclass(frozen=True)
class Importer:
    """A library whose models are taken."""

    package: str  # what must be installed, and the extra that brings it
    model: str  # what it takes, as errors say it
    takes: Callable[[Any], bool]  # whether it made a model, asked without importing it
    module: str  # with `compiled(model, options)` and `lacking(model)`


def _made_by(package: str) -> Callable[[Any], bool]:
    """Whether a class of the package is among those of a model."""
    return lambda model: any(kind.__module__.partition(".")[0] == package for kind in type(model).__mro__)


def _is_onnx(model: Any) -> bool:
    return isinstance(model, str | os.PathLike) or type(model).__name__ == "ModelProto"


IMPORTERS = (
    Importer(
        "onnx",
        "the path of an .onnx file or an onnx.ModelProto",
        _is_onnx,
        "blockfuse.frontends.onnx.onnx_block",
    ),
    Importer(
        "sklearn",
        "an estimator or a pipeline of scikit-learn",
        _made_by("sklearn"),
        "blockfuse.frontends.sklearn.estimator",
    ),
)


def compile(model: Any, **options: Any) -> Any:
    """What another library made, compiled: called as that library calls it, with NumPy's arrays or ours.

    model: the path of an ``.onnx`` file or an ``onnx.ModelProto``, which becomes a hybridized block; or an estimator
    or a pipeline of scikit-learn, which becomes an object with the same methods. options: those of
    ``Block.hybridize``. ``explain()`` of the result says what was compiled.

    An ONNX file: floats that it holds are parameters under their names there, ``net.collect_params()``; the block gives
    one array or a tuple of them; ``net.source`` is the file's graph as Python. Raises UnsupportedOperatorsError, which
    names all operators that have no rule, and ModelFileError where the file is cut off or contradicts itself.

    An estimator: what has no rule runs in scikit-learn, and so does every call that scikit-learn refuses, so that errors
    are its own. See ``docs/onnx.md`` and ``docs/sklearn.md``.

    Raises UsageError where the library is missing, TypeError for another kind of model.

    >>> compile(3)
    Traceback (most recent call last):
        ...
    TypeError: compile() takes the path of an .onnx file or an onnx.ModelProto, or an estimator or a pipeline of \
scikit-learn, not int
    """
    return _importer(model, "compile").compiled(model, options)


def missing(model: Any) -> tuple[str, ...]:
    """All in ``model`` that has no rule, each with how often it is used or why; empty where ``compile`` takes everything."""
    names: tuple[str, ...] = _importer(model, "missing").lacking(model)
    return names


def _importer(model: Any, asked: str) -> Any:
    """The module for the library that made ``model``, loaded now."""
    for row in IMPORTERS:
        if row.takes(model):
            if find_spec(row.package) is None:
                raise UsageError(
                    f"taking {row.model} needs the package {row.package}: pip install 'blockfuse[{row.package}]'"
                )
            return import_module(row.module)
    kinds = ", or ".join(row.model for row in IMPORTERS)
    raise TypeError(f"{asked}() takes {kinds}, not {type(model).__name__}")
