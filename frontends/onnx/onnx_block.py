"""A block that an ONNX file describes."""

from __future__ import annotations

import hashlib
import linecache
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import onnx

from blockfuse.array import np
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.frontends.onnx import rules
from blockfuse.frontends.onnx.reading import label_of, opset_of, read, without_rule
from blockfuse.frontends.onnx.source import Declared, Source, source_of
from blockfuse.ir.errors import DTypeError, ShapeError, UnsupportedOperatorsError, UsageError
from blockfuse.nn.block import Block
from blockfuse.nn.parameter import Constant, Parameter

assert rules.RULES, "importing the package fills the table"


def lacking(model_or_path: Any) -> tuple[str, ...]:
    """The operators of the model that have no rule, each with how often it is used."""
    return without_rule(read(model_or_path))


def compiled(model_or_path: Any, options: dict[str, Any]) -> OnnxNet:
    """The model as a hybridized block."""
    model = read(model_or_path)
    unknown = without_rule(model)
    if unknown:
        raise UnsupportedOperatorsError(
            f"{label_of(model_or_path)}: there is no rule for {'; '.join(unknown)}"
        )
    label = model.graph.name if isinstance(model_or_path, onnx.ModelProto) else Path(model_or_path).name
    source = source_of(model, opset_of(model))
    net = _class(source.text, label, source.symbols)(source, label)
    net.hybridize(**options)
    return net


class OnnxNet(Block):
    """A net from an ONNX file, called with arrays in the order of its inputs, by name, or with a dict by name.

    inputs, outputs: the names that the file gives them. declared: what it tells of each input. source: the file's graph as
    Python, which ``forward`` runs. Initializers of floats are parameters under their own names, all other large arrays are
    constants. A call gives one array, or a tuple of them; NumPy's arrays give NumPy's. Raises DTypeError and ShapeError
    where an argument is not what the file says.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    declared: tuple[Declared, ...]
    source: str

    def __init__(self, source: Source, label: str) -> None:
        super().__init__()
        self.inputs, self.outputs = tuple(known.name for known in source.inputs), source.outputs
        self.declared = source.inputs
        self.source, self._file, self._symbols = source.text, label, source.symbols
        for name, value in source.parameters.items():
            parameter = Parameter(name, shape=value.shape, dtype=value.dtype)
            parameter._adopt(np.array(value, dtype=value.dtype))
            self._reg_params[name] = parameter
        for name, value in source.constants.items():
            self._reg_params[name] = Constant(name, np.array(value, dtype=value.dtype))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.source, self._file, self._symbols), self.__getstate__()


def _class(source: str, label: str, symbols: tuple[str, ...]) -> type[OnnxNet]:
    """A class of its own: the tracer knows what a class defines."""
    return type(
        "OnnxNet", (OnnxNet,), {"forward": _function(source, label, symbols), "__module__": f"<onnx {label}>"}
    )


def _rebuilt(source: str, label: str, symbols: tuple[str, ...]) -> OnnxNet:
    """A copy without its state."""
    kind = _class(source, label, symbols)
    return kind.__new__(kind)


def _function(source: str, label: str, symbols: tuple[str, ...]) -> Callable[..., Any]:
    """The function that generated source defines, whose lines errors and `explain()` show."""
    functions = {row.symbol: row.function for rows in rules.RULES.values() for row in rows}
    scope: dict[str, Any] = {name: functions[name] for name in symbols}
    scope |= {
        "constant": constant,
        "ordered": ordered,
        "given": given,
        "result": result,
        "__name__": f"<onnx {label}>",
    }
    file = f"<{label} {hashlib.sha256(source.encode()).hexdigest()[:8]}>"  # no other source has it
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), scope)
    function: Callable[..., Any] = scope["forward"]
    return function


# -- what generated source calls, besides rules --------------------------------------------------------------------


def constant(dtype: str, shape: tuple[int, ...], data: bytes) -> numpy.ndarray:
    """A small array that stands in the source."""
    return numpy.frombuffer(data, dtype).reshape(shape)


def ordered(names: tuple[str, ...], args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments of a call, in the order of the inputs."""
    if len(args) == 1 and isinstance(args[0], dict):
        return ordered(names, (), {**args[0], **named})
    rest = names[len(args) :]
    if len(args) > len(names) or set(named) != set(rest):
        raise UsageError(
            f"the inputs are {list(names)}; found were {len(args)} by position, and {list(named)}"
        )
    return (*args, *[named[name] for name in rest])


def given(name: str, value: Any, dtype: str | None, shape: tuple[int | None, ...] | None) -> Any:
    """An argument, checked against what the file says of it."""
    if dtype is None:
        return value
    if isinstance(value, numpy.generic):
        value = np.array(value, dtype=value.dtype)
    if not isinstance(value, ndarray):
        raise UsageError(f"input {name!r} takes an array, not {type(value).__name__}")
    if value.dtype != dtype:
        raise DTypeError(f"input {name!r} takes {dtype}, not {value.dtype}")
    if shape is not None and not (
        value.ndim == len(shape) and _batch_fits(value, shape) and _fits(value, shape)
    ):
        raise ShapeError(f"input {name!r} takes the shape {_text(shape)}, not {value.shape}")
    return value


def _batch_fits(value: ndarray, shape: tuple[int | None, ...]) -> bool:
    """Whether the first axis is as long as the file says, which makes a program for that size alone where it says so."""
    return not shape or shape[0] is None or value.shape[0] == shape[0]


@size_agnostic
def _fits(value: ndarray, shape: tuple[int | None, ...]) -> bool:
    """Whether the axes behind the first are those of the file."""
    return all(asked in (None, found) for asked, found in zip(shape[1:], value.shape[1:], strict=True))


def _text(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"


def result(values: tuple[Any, ...], arguments: tuple[Any, ...]) -> Any:
    """The outputs as arrays of ours, none of them an argument itself."""
    own = tuple(_own(value, arguments) for value in values)
    return own[0] if len(own) == 1 else own


def _own(value: Any, arguments: tuple[Any, ...]) -> Any:
    if isinstance(value, tuple):
        return tuple(_own(item, arguments) for item in value)
    if not isinstance(value, ndarray):
        return np.array(value, dtype=value.dtype)
    return value.copy()
