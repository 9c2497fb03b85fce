"""``blockfuse.compile``: a net that another library made, as a hybridized block."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from blockfuse.ir.errors import UsageError

if TYPE_CHECKING:
    from blockfuse.frontends.onnx.onnx_block import OnnxNet


def compile(model: Any, **options: Any) -> OnnxNet:
    """The net in ``model`` as a hybridized block, called with NumPy arrays or ours, by position or by name.

    model: the path of an ``.onnx`` file, or an ``onnx.ModelProto``. options: those of ``Block.hybridize``.
    Floats that the file holds are parameters under their names there: ``net.collect_params()``. The block gives one
    array, or a tuple of them; NumPy arrays give NumPy arrays. ``net.explain()`` says what was compiled, ``net.source``
    is the file's graph as Python.

    Raises UnsupportedOperatorsError, which names all operators that have no rule, ModelFileError where the file is cut
    off or contradicts itself, UsageError where the package ``onnx`` is missing, TypeError for another kind of model.

    >>> compile(3)
    Traceback (most recent call last):
        ...
    TypeError: compile() takes the path of an .onnx file or an onnx.ModelProto, not int
    """
    net: OnnxNet = _importer(model, "compile").compiled(model, options)
    return net


def missing(model: Any) -> tuple[str, ...]:
    """The operators of ``model`` that have no rule, each with how often it is used; empty where ``compile`` takes it."""
    names: tuple[str, ...] = _importer(model, "missing").lacking(model)
    return names


def _importer(model: Any, asked: str) -> Any:
    """The module for the library that made ``model``, loaded now."""
    if not isinstance(model, str | os.PathLike) and type(model).__name__ != "ModelProto":
        raise TypeError(
            f"{asked}() takes the path of an .onnx file or an onnx.ModelProto, not {type(model).__name__}"
        )
    if find_spec("onnx") is None:
        raise UsageError("reading .onnx files needs the package onnx: pip install 'blockfuse[onnx]'")
    return import_module("blockfuse.frontends.onnx.onnx_block")
