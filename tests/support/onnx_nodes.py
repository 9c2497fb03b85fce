"""The cases that the package `onnx` brings for each operator: models of one node, arguments and results."""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from dataclasses import dataclass
from typing import Any

import numpy
import onnx
from onnx.backend.test.case import node as cases

from blockfuse.frontends.onnx.rules.values import ELEMENT_TYPES

# What no two libraries draw alike.
DRAWN = ("bernoulli", "training_dropout")


@dataclass(frozen=True)
class Case:
    """One model with arguments and the results that it must give."""

    name: str
    model: onnx.ModelProto
    data: list[tuple[list[numpy.ndarray], list[numpy.ndarray]]]  # arguments and results
    rtol: float
    atol: float

    @property
    def is_drawn(self) -> bool:
        """Whether only types and shapes of results are given."""
        return any(name in self.name for name in DRAWN) and "zero" not in self.name


def modules() -> list[str]:
    """The files that hold cases."""
    return [
        module.name
        for module in pkgutil.iter_modules(cases.__path__)
        if not module.ispkg and module.name[0] != "_"
    ]


def cases_of(module: str) -> list[Case]:
    """The cases of a file over arrays of floats, integers and bools, but for expansions of operators into others."""
    name = f"{cases.__name__}.{module}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = len(cases._NodeTestCases)
        importlib.import_module(name)
    _FOUND.setdefault(module, cases._NodeTestCases[before:])
    return [
        _case(found) for found in _FOUND[module] if "_expanded" not in found.name and _is_taken(found.model)
    ]


_FOUND: dict[str, list[Any]] = {}  # file -> its cases, which are made when it is imported


def _is_taken(model: onnx.ModelProto) -> bool:
    types = [value.type for value in (*model.graph.input, *model.graph.output)]
    return {node.domain for node in model.graph.node} <= {""} and all(
        t.HasField("tensor_type") and t.tensor_type.elem_type in ELEMENT_TYPES for t in types
    )


def _case(found: Any) -> Case:
    data = [([_array(x) for x in given], [_array(x) for x in results]) for given, results in found.data_sets]
    return Case(found.name, found.model, data, found.rtol, found.atol)


def _array(value: Any) -> Any:
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else numpy.asarray(value)
