"""One parameter in several blocks: ``share_parameters``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from blockfuse.ir.errors import ShapeError
from blockfuse.nn.parameter import Parameter
from blockfuse.nn.structure import joined

if TYPE_CHECKING:
    from blockfuse.nn.block import Block


def share(block: Block, shared: dict[str, Parameter]) -> None:
    """Put ``shared`` in the place of the parameters of their names; see ``Block.share_parameters``."""
    holders = {
        joined(prefix, name): (holder, name)
        for prefix, holder in _blocks_by_name(block, "")
        for name in holder._reg_params
    }
    chosen = {name: parameter for name, parameter in shared.items() if name in holders}
    for name, parameter in chosen.items():
        holder, own = holders[name]
        here, there = holder._reg_params[own], parameter.shape
        if there is not None and not here._admits(there):
            raise ShapeError(f"{name} has shape {here.shape} and cannot share a parameter of shape {there}")
    for name, parameter in chosen.items():
        holder, own = holders[name]
        _rebind(holder, own, parameter)
    if unknown := [name for name in shared if name not in holders]:
        message = f"{block._label} has no parameters named {', '.join(unknown)}"
        warnings.warn(message, UserWarning, stacklevel=3)  # at the line that calls share_parameters()


def _blocks_by_name(block: Block, prefix: str) -> Iterator[tuple[str, Block]]:
    yield prefix, block
    for name, child in block._children.items():
        yield from _blocks_by_name(child, joined(prefix, name))


def _rebind(block: Block, name: str, parameter: Parameter) -> None:
    block._reg_params[name] = parameter
    if name in vars(block):
        object.__setattr__(block, name, parameter)
