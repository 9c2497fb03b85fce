"""Whose code a frame runs (ours, known code of a library, or the user's), and the line of the user's that it stands for."""

from __future__ import annotations

import sys
import types
from functools import lru_cache
from typing import Any

from blockfuse.array.sizes import TELLING
from blockfuse.ir.graph import Source
from blockfuse.tracer.certificate.layer_paths import is_within_call, layer_of, runs_block
from blockfuse.tracer.code.known_libraries import about, is_library
from blockfuse.tracer.own_files import own_files

_OURS = tuple(own_files("ir/", "array/", "tracer/", "codegen/", "runtime/", "nn/", "gluon/", "frontends/"))
_INTERIOR = tuple(
    own_files("array/", "tracer/", "runtime/", "frontends/keras/", "frontends/nested.py", "frontends/torch/")
)
# These go round a loop and call what users wrote: how far they are is part of where a call stands.
_CALLING_BACK = tuple(
    own_files(
        *("array/functions/control.py", "array/functions/recurrent.py"),
        *("frontends/keras/rules/control.py", "frontends/keras/rules/recurrent.py"),
    )
)
_DISPATCHED = "<__array_function__"

_TUPLE_NEW = tuple.__new__

QUIET: set[str] = set()  # files of ours in which nothing need be seen: asked at every event of a recording


@lru_cache(maxsize=4096)
def _is_our_file(file: str) -> bool:
    ours = file.startswith((*_OURS, _DISPATCHED))
    if ours and all(file != code.co_filename for code in TELLING):
        QUIET.add(file)
    return ours


def is_trusted(frame: types.FrameType) -> bool:
    """Whether the code of a frame is ours or known code of a library, whose effects are known."""
    code = frame.f_code
    if code.co_filename == "<string>":
        return _is_written_by_library(code, frame.f_globals)
    return _is_our_file(code.co_filename) or about(code).known


def _is_written_by_library(code: types.CodeType, names: dict[str, Any]) -> bool:
    """Whether ``dataclass`` wrote it for a module of ours or of NumPy's, or ``namedtuple`` for anybody: that only makes a
    tuple, and its namespace does not say for which module.
    """
    if code.co_names == ("_tuple_new",):
        return names.get("_tuple_new") is _TUPLE_NEW
    return str(names.get("__name__", "")).partition(".")[0] in ("blockfuse", "numpy")


def is_interior(frame: types.FrameType) -> bool:
    """Whether the code of a frame is that of arrays, of the tracer itself or of dispatch, which only hand over."""
    file = frame.f_code.co_filename
    return file.startswith(_INTERIOR) and not file.startswith(_CALLING_BACK)


def is_ours(frame: types.FrameType) -> bool:
    """Whether the code of a frame is part of this package."""
    return frame.f_code.co_filename.startswith(_OURS)


def user_source() -> Source | None:
    """The innermost line of user code on the stack; the layer, where no user code ran in the call of the net."""
    frame: types.FrameType | None = sys._getframe(1)
    layers: list[types.FrameType] = []
    while frame is not None and (frame.f_code.co_filename in QUIET or is_trusted(frame)):
        if frame.f_code.co_name == "_run" and runs_block(frame):
            layers.append(frame)
        frame = frame.f_back
    if layers and (frame is None or not is_within_call(frame)):
        return layer_of(layers)
    if frame is None:
        return None
    return source_of(frame)


def source_of(frame: types.FrameType) -> Source:
    """The line on which a frame stands."""
    return _line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


@lru_cache(maxsize=4096)
def _line(file: str, line: int, function: str) -> Source:
    """One object for each line: rounds of loops come to it again and again."""
    return Source(file, line, function)


def user_frame(frame: types.FrameType) -> types.FrameType:
    """The frame that people look for: the user's, if there is one that called the library function of ``frame``."""
    found: types.FrameType | None = frame
    while found is not None and (is_library(found.f_code) or is_trusted(found)):
        found = found.f_back
    return found or frame
