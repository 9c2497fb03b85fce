"""``blockfuse.compile``: what another library made, compiled; ``blockfuse.to_onnx``: the way back."""

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
    Importer(  # before torch, whose modules policies are
        "stable_baselines3",
        "an algorithm or a policy of stable-baselines3",
        _made_by("stable_baselines3"),
        "blockfuse.frontends.stable_baselines3.compiled_policy",
    ),
    Importer(  # before torch, whose modules layers are where Keras computes with torch
        "keras", "a layer or a model of Keras", _made_by("keras"), "blockfuse.frontends.keras.keras_net"
    ),
    Importer("torch", "a torch.nn.Module", _made_by("torch"), "blockfuse.frontends.torch.torch_net"),
)


def compile(model: Any, **options: Any) -> Any:
    """What another library made, compiled: called as that library calls it, with NumPy's arrays or ours.

    model: the path of an ``.onnx`` file or an ``onnx.ModelProto``, which becomes a hybridized block; an estimator
    or a pipeline of scikit-learn, or a policy or an algorithm of stable-baselines3, which become objects with the same
    methods; or a model of Keras or a ``torch.nn.Module``, which become what is called as they are. options: those of
    ``Block.hybridize``.
    ``explain()`` of the result says what was compiled.

    An ONNX file: floats that it holds are parameters under their names there, ``net.collect_params()``; the block gives
    one array or a tuple of them; ``net.source`` is the file's graph as Python. Raises UnsupportedOperatorsError, which
    names all operators that have no rule, and ModelFileError where the file is cut off or contradicts itself.

    An estimator: what has no rule runs in scikit-learn, and so does every call that scikit-learn refuses, so that errors
    are its own. See ``docs/onnx.md`` and ``docs/sklearn.md``.

    A module of torch: tensors give tensors. example: a tensor, or a tuple of arguments, for a first call at once. weights:
    ``"live"`` sees every change of a parameter, ``"frozen"`` packs a copy, until ``refresh()``. Torch runs what has no rule,
    and calls that are to have gradients. See ``docs/torch.md``.

    A model or a layer of Keras: ``weights`` as for a module of torch; Keras runs what has no rule, and calls in training
    mode. See ``docs/keras.md``.

    A policy, or an algorithm that has one: ``predict`` is compiled, drawn actions too. See ``docs/stable_baselines3.md``.

    Raises UsageError where the library is missing, TypeError for another kind of model.

    >>> import blockfuse
    >>> import numpy
    >>> from sklearn.linear_model import LinearRegression
    >>> X = numpy.arange(6.0).reshape(3, 2)
    >>> model = blockfuse.compile(LinearRegression().fit(X, X.sum(axis=1)))
    >>> model.predict(X).round(6)
    array([1., 5., 9.])
    >>> blockfuse.compile(3)
    Traceback (most recent call last):
        ...
    TypeError: compile() takes the path of an .onnx file or an onnx.ModelProto, or an estimator or a pipeline of \
scikit-learn, or an algorithm or a policy of stable-baselines3, or a layer or a model of Keras, or a torch.nn.Module, not int
    """
    return _importer(model, "compile").compiled(model, options)


def missing(model: Any, example: Any = None) -> tuple[str, ...]:
    """All in ``model`` that has no rule, each with how often it is used or why; empty where ``compile`` takes everything.

    example: a tensor or a tuple of arguments for a ``torch.nn.Module``, whose functions show when it is called.

    >>> from onnx import TensorProto, helper
    >>> import blockfuse
    >>> x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    >>> graph = helper.make_graph([helper.make_node("Unique", ["x"], ["y"])], "g", [x], [y])
    >>> blockfuse.missing(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
    ()
    """
    given = () if example is None else (example,)
    names: tuple[str, ...] = _importer(model, "missing").lacking(model, *given)
    return names


def to_onnx(net: Any, example: Any, path: str | os.PathLike[str] | None = None) -> Any:
    """What ``net`` computes in predict mode as an ``onnx.ModelProto`` of opset 18, written to ``path`` if that is given.

    net: a block or a hybridized function of arrays. example: what to call it with: an array, or the shape of one of float32
    (a tuple of ints), or a list of such where it takes several. Inputs have the names that ``forward`` gives them,
    parameters their structural names; outputs are ``output``, ``output_0`` and so on, or the keys of a dict. The size of the
    batch is open where the net does the same for every size (``explain()`` tells), else it is that of the example.

    Raises UnsupportedOperatorsError, which names all that ONNX has no form of: ways that depend on values, and operators;
    UsageError where there is no graph of the net, or the package ``onnx`` is missing.

    >>> import blockfuse
    >>> from blockfuse import nn
    >>> net = nn.Dense(2, activation="relu", in_units=3)
    >>> net.initialize()
    >>> [node.op_type for node in blockfuse.to_onnx(net, (1, 3)).graph.node]
    ['Gemm', 'Relu']
    """
    _require("onnx", "writing .onnx files")
    return import_module("blockfuse.frontends.onnx.writing.model").to_onnx(net, example, path)


def _importer(model: Any, asked: str) -> Any:
    """The module for the library that made ``model``, loaded now."""
    for row in IMPORTERS:
        if row.takes(model):
            _require(row.package, f"taking {row.model}")
            return import_module(row.module)
    kinds = ", or ".join(row.model for row in IMPORTERS)
    raise TypeError(f"{asked}() takes {kinds}, not {type(model).__name__}")


def _require(package: str, doing: str) -> None:
    if find_spec(package) is None:
        raise UsageError(f"{doing} needs the package {package}: pip install 'blockfuse[{package}]'")
