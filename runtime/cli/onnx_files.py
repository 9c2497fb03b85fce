"""An ``.onnx`` file on the command line: its net, inputs made up from what it declares, and ONNX Runtime beside it.

NOTE [inputs of an ONNX file]
Sizes that the file names are given by ``--size``, else they are 1 where they are the first size of the first input (the
batch), and 16 elsewhere. Numbers that only some values fit, as a rate of samples, are given by ``--value``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import UsageError
from blockfuse.runtime.cli.inputs import Input

_OPEN = 16  # a size that the file leaves open, other than the batch


def is_onnx(file: Path) -> bool:
    return file.suffix == ".onnx"


def made_up(
    net: Any, inputs: tuple[Input, ...], sizes: Mapping[str, int], values: Mapping[str, float]
) -> tuple[Input, ...]:
    """The inputs of a net from an ONNX file. inputs: what the user gave in their place, or nothing."""
    label, known = net._file, net.declared
    if inputs and len(inputs) != len(known):
        raise UsageError(f"{label} takes {len(known)} inputs ({', '.join(net.inputs)}), not {len(inputs)}")
    _check_names(f"{label}: no size that a call decides", sizes, _symbols(known))
    _check_names(f"{label}: no input", values, net.inputs)
    batch = known[0].shape[0] if known and known[0].shape else 0
    found = inputs or tuple(_input(label, told, sizes, batch) for told in known)
    return tuple(
        replace(given, value=values.get(told.name), growing=_growing(told, batch))
        for given, told in zip(found, known, strict=True)
    )


def _symbols(known: Any) -> list[str]:
    shapes = (told.shape or () for told in known)
    return list(dict.fromkeys(size for shape in shapes for size in shape if isinstance(size, str)))


def _check_names(fault: str, given: Mapping[str, Any], known: Any) -> None:
    for name in given:
        if name not in known:
            raise UsageError(f"{fault} is called {name!r}; there are {', '.join(known) or 'none'}")


def _input(label: str, told: Any, sizes: Mapping[str, int], batch: Any) -> Input:
    if told.shape is None:
        raise UsageError(f"{label}: input {told.name!r} is no array, so it cannot be made up")
    shape = tuple(
        size if isinstance(size, int) else sizes.get(size, 1 if axis in _growing(told, batch) else _OPEN)
        for axis, size in enumerate(told.shape)
    )
    return Input(shape, told.dtype)


def _growing(told: Any, batch: Any) -> tuple[int, ...]:
    """The axes that are as long as the batch."""
    if batch is None:
        return (0,) if told.shape and told.shape[0] is None else ()
    return tuple(
        axis for axis, size in enumerate(told.shape or ()) if isinstance(size, str) and size == batch
    )


def compiled(file: Path) -> Any:
    """The net of a file, as a user gets it."""
    return sys.modules["blockfuse"].compile(file)


# -- ONNX Runtime ----------------------------------------------------------------------------------------------------


def has_runtime() -> bool:
    """Whether there is something to hold results against."""
    return find_spec("onnxruntime") is not None


def in_runtime(file: Path, arrays: list[ndarray], threads: int | None) -> Callable[..., Any]:
    """A call of the file in ONNX Runtime, on the processor, with these arrays whatever it is given."""
    library = import_module("onnxruntime")
    options = library.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = library.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        names = [given.name for given in session.get_inputs()]
        feeds = dict(zip(names, (array._data for array in arrays), strict=True))
        session.run(None, feeds)
    except Exception as error:  # its classes have no base of their own
        raise UsageError(f"ONNX Runtime does not run {file.name}: {' '.join(str(error).split())}") from error
    return lambda *_: session.run(None, feeds)


def arrays_of(results: list[Any]) -> Any:
    """What ONNX Runtime gave, in the form of what nets give."""
    own = tuple(tuple(map(ndarray, r)) if isinstance(r, list) else ndarray(numpy.asarray(r)) for r in results)
    return own[0] if len(own) == 1 else own
