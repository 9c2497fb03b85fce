"""What stands for a line of user code where there is none: the path of a layer in the net that was called."""

from __future__ import annotations

import types
from itertools import pairwise
from typing import Any

from blockfuse.ir.graph import Source
from blockfuse.tracer.own_files import own_files

_BLOCK = own_files("nn/block.py")
# What runs further in belongs to a call that one of these makes.
_CALLERS = own_files(
    "runtime/calls/dispatch.py",
    "runtime/calls/function.py",
    "runtime/audit/divergence.py",
    "tracer/recording/record.py",
)


def runs_block(frame: types.FrameType) -> bool:
    """Whether a frame calls the ``forward`` of a block."""
    return frame.f_code.co_name == "_run" and frame.f_code.co_filename in _BLOCK


def is_within_call(frame: types.FrameType) -> bool:
    """Whether a frame of user code runs in a call of a net or of a hybridized function, rather than making it."""
    outer = frame.f_back
    while outer is not None:
        if runs_block(outer) or outer.f_code.co_filename in _CALLERS:
            return True
        outer = outer.f_back
    return False


def layer_of(frames: list[types.FrameType]) -> Source:
    """The innermost block of frames that call ``forward``, from the inside out, by its path from the outermost."""
    blocks = [frame.f_locals["self"] for frame in reversed(frames)]
    path = ".".join(_name_in(parent, child) for parent, child in pairwise(blocks))
    kind = type(blocks[-1]).__name__
    return Source(f"{path} ({kind})" if path else kind, 0, "")


def _name_in(parent: Any, child: Any) -> str:
    return next((name for name, block in parent._children.items() if block is child), type(child).__name__)
