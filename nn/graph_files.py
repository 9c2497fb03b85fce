"""Files of recorded calls: JSON that a person can read and nobody can run.

A file has a head (``format``, ``version``, a digest of the body) and a body: the parameters by name, and for each call the
arguments that it takes, its flow (``ir/exchange.py``) and the structure of its result. Values of parameters are in a
parameter file beside it, as ``save_parameters`` writes them, so that a new epoch needs a new parameter file only.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockfuse.array.pytree import (
    ATOMS,
    Again,
    Branch,
    Leaf,
    Static,
    Structure,
    leaves,
    rebuild,
    values_of,
)
from blockfuse.array.saved_calls import SavedCall
from blockfuse.ir.errors import GraphFileError, UsageError
from blockfuse.ir.exchange import Data, data_of_type, flow_of_data, for_size, type_of_data
from blockfuse.ir.graph import argument, parameter
from blockfuse.ir.types import TensorType
from blockfuse.nn.whole_file import written_whole

FORMAT = "blockfuse graphs"
VERSION = 1  # of the format; a file of a newer one is refused

_CONTAINERS = {kind.__name__: kind for kind in (tuple, list, dict)}
_VALUES = {kind.__name__: kind for kind in (*ATOMS, slice, range, tuple)}


@dataclass(frozen=True)
class SavedParameter:
    """A parameter whose value is in another file."""

    name: str
    type: TensorType
    learns: bool  # whether gradients go to it


@dataclass(frozen=True)
class GraphFile:
    """What a file holds."""

    parameters: tuple[SavedParameter, ...]
    calls: tuple[SavedCall, ...]


def write(filename: str, content: GraphFile) -> None:
    """Write the file beside its place, then put it there: readers see old or new."""
    with written_whole(filename) as file:
        file.write(text_of(content))


def text_of(content: GraphFile) -> bytes:
    """What such a file holds."""
    body = _data_of(content)
    whole = {"format": FORMAT, "version": VERSION, "digest": _digest(body), "body": body}
    return json.dumps(whole, allow_nan=False).encode()


def read(filename: str | os.PathLike[str]) -> GraphFile:
    """What ``write`` wrote. Raises GraphFileError for everything else."""
    return content_of(Path(filename).read_bytes(), os.fspath(filename))


def content_of(text: bytes, source: str) -> GraphFile:
    """What ``text_of`` was given. Raises GraphFileError for everything else. source: whose text it is, for people."""
    try:
        return _content_of(json.loads(text))
    except GraphFileError as error:
        raise GraphFileError(f"{source}: {error}") from error
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
        SyntaxError,
        MemoryError,
    ) as error:
        raise GraphFileError(
            f"{source} is no file that export() wrote, or is damaged ({type(error).__name__}: {error})"
        ) from error


def _digest(body: Data) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, allow_nan=False).encode()).hexdigest()


# -- to data -------------------------------------------------------------------------------------------------


def _data_of(content: GraphFile) -> Data:
    return {
        "parameters": [
            {"name": p.name, "type": data_of_type(p.type), "learns": p.learns} for p in content.parameters
        ],
        "calls": [_data_of_call(call) for call in content.calls],
    }


def _data_of_call(call: SavedCall) -> Data:
    return {
        "takes": data_of_structure(call.form),
        "types": [[dtype, list(sizes)] for sizes, dtype in call.types],
        "min_items": call.min_items,
        "flow": call.data,
        "gives": data_of_structure(call.structure),
    }


def data_of_structure(structure: Structure) -> Data:
    """Arguments or a result in JSON; raises UsageError for what no file holds."""
    if isinstance(structure, Leaf):
        return {"array": structure.number}
    if isinstance(structure, Again):
        return {"again": structure.number}
    if isinstance(structure, Static):
        _require_readable(structure)
        return {"value": structure.text, "type": structure.type.__name__}
    if not isinstance(structure, Branch) or structure.type not in _CONTAINERS.values():
        raise UsageError(
            f"an argument or result is a {getattr(structure, 'type', structure)}, which no file holds"
        )
    keys = [data_of_structure(Static(text, kind)) for kind, text in structure.key_texts]
    parts = [data_of_structure(part) for part in structure.parts]
    return {structure.type.__name__: parts, **({"keys": keys} if keys else {})}


def _require_readable(structure: Static) -> None:
    try:
        readable = repr(*values_of(structure)) == structure.text
    except (ValueError, SyntaxError):
        readable = False
    if not readable:
        raise UsageError(f"an argument or result is {structure.text:.80}, which no file holds")


# -- from data -----------------------------------------------------------------------------------------------


def _content_of(whole: Data) -> GraphFile:
    if type(whole) is not dict or whole.get("format") != FORMAT:
        raise GraphFileError("it is no file that export() wrote")
    if whole["version"] != VERSION:
        raise GraphFileError(
            f"it is of version {whole['version']!r:.20} of the format; this blockfuse reads version {VERSION}"
        )
    body = whole["body"]
    if whole["digest"] != _digest(body):
        raise GraphFileError("it is damaged: its content is not the one whose digest stands in it")
    parameters = tuple(_parameter_of(data) for data in body["parameters"])
    types = {p.name: p.type for p in parameters}
    if len(types) != len(parameters):
        raise GraphFileError("two parameters have one name")
    return GraphFile(parameters, tuple(_call_of(data, types) for data in body["calls"]))


def _parameter_of(data: Data) -> SavedParameter:
    return SavedParameter(str(data["name"]), type_of_data(data["type"]), bool(data["learns"]))


def _call_of(data: Data, parameters: dict[str, TensorType]) -> SavedCall:
    form = _structure_of(data["takes"])
    types = tuple((_sizes_of(sizes), str(dtype)) for dtype, sizes in data["types"])
    least = int(data["min_items"])
    call = SavedCall(form, types, least, data["flow"], _structure_of(data["gives"]))
    _check_counts(form)
    _check_counts(call.structure)
    if [*leaves(form)] != [*range(len(types))] or not isinstance(form, Branch) or len(form.parts) != 2:
        raise GraphFileError("the arguments of a call are not as many as their types")
    if any((None in sizes) != (sizes[:1] == (None,)) or (None in sizes and not least) for sizes, _ in types):
        raise GraphFileError("a size that is the batch's is no leading one")
    _check_flow(call, parameters)
    return call


def _sizes_of(sizes: Data) -> tuple[int | None, ...]:
    known = type_of_data(["bool", [0 if n is None else n for n in sizes]]).shape
    return tuple(None if n is None else m for n, m in zip(sizes, known, strict=True))


def _check_flow(call: SavedCall, parameters: dict[str, TensorType]) -> None:
    """Whether the flow, for the smallest batch, fits what the file says around it."""
    flow = flow_of_data(for_size(call.data, call.min_items))
    expected = [
        TensorType(tuple(call.min_items if n is None else n for n in sizes), type_of_data([dtype, []]).dtype)
        for sizes, dtype in call.types
    ]
    for block in flow.blocks:
        inputs = block.graph.inputs
        if [i.type for i in inputs if i.operator is argument] != expected:
            raise GraphFileError("a block reads other arguments than the call takes")
        for node in inputs:
            if node.operator is parameter and parameters.get(node.attrs["name"]) != node.type:
                raise GraphFileError(
                    f"a block reads {node.attrs['name']} as {node.type}, which no parameter is"
                )
        if block.successors is None and len(block.graph.outputs) - block.kept != _arrays_in(call.structure):
            raise GraphFileError("a block gives other arrays than the call returns")


def _arrays_in(structure: Structure) -> int:
    return len(set(leaves(structure)))


def _check_counts(structure: Structure) -> None:
    """Whether arrays and containers are counted from the left, an array that stands there again by its number."""
    met: list[int] = []
    rebuild(structure, met.append, values_of(structure))
    if [*dict.fromkeys(met)] != [*range(len(set(met)))]:
        raise GraphFileError(f"arrays are counted {met}")


def _structure_of(data: Data) -> Structure:
    if "array" in data:
        return Leaf(_number(data["array"]))
    if "again" in data:
        return Again(_number(data["again"]))
    if "value" in data:
        return _static_of(data)
    keys = tuple(_static_of(key) for key in data.get("keys", ()))
    ((name, parts),) = ((name, parts) for name, parts in data.items() if name != "keys")
    return Branch(
        _CONTAINERS[name],
        tuple(map(_structure_of, parts)),
        tuple(values_of(key)[0] for key in keys),
        tuple((key.type, key.text) for key in keys),
    )


def _static_of(data: Data) -> Static:
    static = Static(str(data["value"]), _VALUES[data["type"]])
    if type(values_of(static)[0]) is not static.type or repr(values_of(static)[0]) != static.text:
        raise GraphFileError(f"{static.text!r:.80} is no {static.type.__name__}")
    return static


def _number(data: Any) -> int:
    if type(data) is not int or data < 0:
        raise GraphFileError(f"{data!r:.80} counts nothing")
    return data
