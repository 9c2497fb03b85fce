"""Blocks that call other blocks: one after the other, or side by side."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Self, overload

from blockfuse.array.arguments import one_axis
from blockfuse.ir.operators import movement
from blockfuse.nn.block import Block


class Sequential(Block):
    """Blocks called one after the other, each on the result of the one before.

    A tuple or list that one returns becomes several arguments of the next.

    >>> from blockfuse.nn.activations import Activation
    >>> net = Sequential()
    >>> net.add(Activation("relu"), Activation("tanh"))
    >>> len(net)
    2
    """

    def add(self, *blocks: Block) -> None:
        """Append blocks."""
        for block in blocks:
            self.register_child(block)

    def forward(self, *args: Any) -> Any:
        blocks = tuple(self._children.values())
        if not blocks:
            return args[0] if len(args) == 1 else args
        result: Any = args
        done = (
            0  # a number can be compared, the place of an iterator cannot: see NOTE [when two points are one]
        )
        while done < len(blocks):
            result = blocks[done](*result) if isinstance(result, tuple | list) else blocks[done](result)
            done += 1
        return result

    def __len__(self) -> int:
        return len(self._children)

    def __iter__(self) -> Iterator[Block]:
        return iter(tuple(self._children.values()))

    @overload
    def __getitem__(self, place: int) -> Any: ...  # a Block; its class is the caller's to know

    @overload
    def __getitem__(self, place: slice) -> Self: ...

    def __getitem__(self, place: int | slice) -> Any:
        """The block at ``place``, or a container of the same kind around the blocks of a slice."""
        blocks = tuple(self._children.values())
        if not isinstance(place, slice):
            return blocks[place]
        part = copy.copy(self)
        part._children.clear()
        part.add(*blocks[place])
        return part


class HybridSequential(Sequential):
    """``Sequential``; in Gluon only this one is compiled."""


class Concatenate(Sequential):
    """Blocks called on the same arguments, their results joined along an axis."""

    def __init__(self, axis: int = -1, prefix: str | None = None, params: Any = None) -> None:
        super().__init__(prefix, params)
        self.axis = axis

    def forward(self, *args: Any) -> Any:
        results = [block(*args) for block in self._children.values()]
        return movement.concatenate(*results, axis=one_axis(self.axis, results[0].ndim))


class HybridConcatenate(Concatenate):
    """``Concatenate``; in Gluon only this one is compiled."""
