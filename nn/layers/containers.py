"""Blocks that call other blocks: one after the other, or side by side."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any, Self, overload

from numpy import integer

from blockfuse.array.arguments import one_axis
from blockfuse.ir.errors import UsageError
from blockfuse.ir.operators import movement
from blockfuse.nn.block import Block


class Sequential(Block):
    """Blocks called one after the other, each on the result of the one before.

    blocks: side by side or in lists; more come by ``add``. Indices and ``len`` are those of a list: ``net[0]``,
    ``net[1:]``, which is a ``Sequential`` of the same blocks. A tuple or list that one returns becomes several arguments of
    the next.

    Raises TypeError for what is no block.

    >>> from blockfuse import nn
    >>> net = nn.Sequential(nn.Activation("relu"))
    >>> net.add(nn.Activation("tanh"))
    >>> len(net), net[1]
    (2, Activation(tanh))
    """

    def __init__(
        self, *blocks: Block | Iterable[Block], prefix: str | None = None, params: Any = None
    ) -> None:
        """The blocks to begin with, side by side or in a list."""
        super().__init__(prefix, params)
        self.add(*blocks)

    def add(self, *blocks: Block | Iterable[Block]) -> None:
        """Append blocks, given side by side or in lists. Raises TypeError, and adds none, if one is no block."""
        for block in tuple(_blocks_among(blocks)):
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
    def __getitem__(self, index: int) -> Any: ...  # a Block; its class is the caller's to know

    @overload
    def __getitem__(self, index: slice) -> Self: ...

    def __getitem__(self, index: int | slice) -> Any:
        """The block at ``place``, or a container of the same kind around the blocks of a slice."""
        blocks = tuple(self._children.values())
        if not isinstance(index, slice):
            return blocks[index]
        part = copy.copy(self)
        part._children.clear()
        part.add(*blocks[index])
        return part


def _blocks_among(given: Iterable[Any]) -> Iterator[Block]:
    """The blocks given, those of a list in its place."""
    for item in given:
        if isinstance(item, Block):
            yield item
        elif isinstance(item, list | tuple | Iterator):
            yield from _blocks_among(item)
        else:
            raise TypeError(
                f"{item!r:.80} must be a Block, not {type(item).__name__}; write blocks side by side or in a "
                "list, such as nn.Sequential(nn.Dense(3), nn.Dense(2)), and nn.Lambda(function) for a function"
            )


class HybridSequential(Sequential):
    """``Sequential``, whose arguments it takes; in Gluon only this one is compiled.

    >>> from blockfuse import nn, np
    >>> net = nn.HybridSequential(nn.Dense(8, activation="relu"), nn.Dense(2))
    >>> net.initialize()
    >>> net(np.ones((1, 3))).shape
    (1, 2)
    """


class Concatenate(Sequential):
    """Blocks called on the same arguments, their results joined along ``axis``: sizes of other axes are the same for all.

    Blocks come by ``add``. Raises TypeError for an axis that is no int and, when called, for a block that gives no array;
    UsageError where there is no block.

    >>> from blockfuse import nn, np
    >>> net = nn.Concatenate(axis=1)
    >>> net.add(nn.Dense(2), nn.Identity())
    >>> net.initialize()
    >>> net(np.ones((1, 3))).shape
    (1, 5)
    """

    def __init__(self, axis: int = -1, prefix: str | None = None, params: Any = None) -> None:
        super().__init__(prefix=prefix, params=params)
        if not isinstance(axis, int | integer):
            raise TypeError(
                f"{type(self).__name__} takes the axis, not {axis!r:.80}; give it blocks by add(...)"
            )
        self.axis = axis

    def forward(self, *args: Any) -> Any:
        if not self._children:
            raise UsageError(f"{type(self).__name__} has no blocks: give it some by add(...)")
        results = [block(*args) for block in self._children.values()]
        for name, result in zip(self._children, results, strict=True):
            if not hasattr(result, "ndim"):
                kind = f"{type(result).__name__}: {type(self).__name__} joins arrays"
                raise TypeError(f"block {name} gives a {kind}")
        return movement.concatenate(*results, axis=one_axis(self.axis, results[0].ndim))


class HybridConcatenate(Concatenate):
    """``Concatenate``, whose ``axis`` it takes; in Gluon only this one is compiled.

    >>> from blockfuse import nn, np
    >>> net = nn.HybridConcatenate(axis=1)
    >>> net.add(nn.Identity(), nn.Identity())
    >>> net(np.ones((1, 3))).shape
    (1, 6)
    """
