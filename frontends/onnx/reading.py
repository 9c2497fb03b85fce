"""ONNX files: read, checked, with functions put in place of calls."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnx.external_data_helper
import onnx.inliner
from google.protobuf.message import DecodeError

from blockfuse.frontends.onnx.rules.table import rule_of
from blockfuse.ir.errors import ModelFileError

OLDEST, NEWEST = 7, 28  # the opsets that rules were written for
DOMAINS = ("", "ai.onnx")


def read(model_or_path: Any) -> onnx.ModelProto:
    """The model, checked, with functions put in place; raises ModelFileError where it is not well formed."""
    model, label = _loaded(model_or_path), label_of(model_or_path)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelFileError(f"{label} is not well formed: {error}") from error
    if not _is_known(model):
        raise ModelFileError(
            f"{label} uses opset {opset_of(model)}; there are rules for {OLDEST} to {NEWEST}"
        )
    return _expanded(onnx.inliner.inline_local_functions(model) if model.functions else model)


def label_of(model_or_path: Any) -> str:
    """What errors call the model."""
    return "the model" if isinstance(model_or_path, onnx.ModelProto) else os.fspath(model_or_path)


def _complete(node: onnx.NodeProto, opset: int) -> None:
    """Give a node the attributes that it leaves to the standard: what is put in its place asks for them."""
    given = {attribute.name for attribute in node.attribute}
    for name, known in onnx.defs.get_schema(node.op_type, opset, "").attributes.items():
        if name not in given and known.default_value.name:
            node.attribute.append(known.default_value)


def _loaded(model_or_path: Any) -> onnx.ModelProto:
    if isinstance(model_or_path, onnx.ModelProto):
        return model_or_path
    path = Path(os.fspath(model_or_path))
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise ModelFileError(f"{path} is no ONNX file, or is cut off: {error}") from error
    if not model.HasField("graph"):
        raise ModelFileError(f"{path} holds no graph: it is no ONNX file, or is cut off")
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelFileError(
            f"{path} keeps data in other files, and one is missing or too short: {error}"
        ) from error
    return model


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators that the model uses."""
    return max((entry.version for entry in model.opset_import if entry.domain in DOMAINS), default=0)


def _is_known(model: onnx.ModelProto) -> bool:
    """Whether rules say what the operators mean: before the oldest opset, those that meant the same then."""
    opset = opset_of(model)
    if opset >= OLDEST or not model.graph.node:
        return opset <= NEWEST
    names = {node.op_type for node in nodes_of(model.graph)}
    versions = (
        {name: onnx.defs.get_schema(name, n, "").since_version for name in names} for n in (opset, OLDEST)
    )
    return all(node.domain in DOMAINS for node in nodes_of(model.graph)) and next(versions) == next(versions)


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, with those of graphs in them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes_of(inner)


def without_rule(model: onnx.ModelProto) -> tuple[str, ...]:
    """The operators that have no rule, each with how often it is used."""
    opset = opset_of(model)
    counts = Counter(
        (node.domain, node.op_type)
        for node in nodes_of(model.graph)
        if node.domain not in DOMAINS or rule_of(node.op_type, opset) is None
    )
    return tuple(
        f"{f'{domain}.' if domain else ''}{name} (opset {opset}, used {count} times)"
        for (domain, name), count in sorted(counts.items())
    )


def _expanded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Operators that have no rule, and that the standard defines by others, in terms of these."""
    opset, tried = opset_of(model), set[str]()
    while True:
        names = {
            node.op_type
            for node in nodes_of(model.graph)
            if node.domain in DOMAINS and rule_of(node.op_type, opset) is None
        }
        if not names - tried:
            return model
        if not tried:  # what was given stays as it is
            given, model = model, onnx.ModelProto()
            model.CopyFrom(given)
        tried |= names
        for node in nodes_of(model.graph):
            if node.domain in DOMAINS and node.op_type in names:
                _complete(node, opset)
        chosen = [("", name) for name in sorted(names)]
        model = onnx.inliner.inline_selected_functions(model, chosen, inline_schema_functions=True)
