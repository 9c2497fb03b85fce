"""An optimizer with the states of all parameters that it has met."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import UsageError
from blockfuse.nn.optimizers.optimizer import Optimizer, States


class Updater:
    """Called with indices, gradients and weights, it changes the weights, and keeps what the optimizer remembers of each.

    optimizer: an ``Optimizer``. ``updater(index, grad, weight)`` takes one of each, or lists of them. Raises ShapeError
    where a gradient has not its weight's shape.

    >>> from blockfuse import np, optimizer
    >>> weight = np.array([1, 2])
    >>> updater = optimizer.get_updater(optimizer.create("sgd", learning_rate=0.5))
    >>> updater(0, np.array([2, 2]), weight)
    >>> weight
    array([0., 1.])
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.states: dict[Any, States] = {}  # index -> what the optimizer remembers of the weight
        self._types: dict[
            Any, tuple[Any, ...]
        ] = {}  # index -> shape and dtype of the weight that it is made for

    def __call__(self, index: Any, grad: Any, weight: Any) -> None:
        """One step of a weight, or of several where all three arguments are lists."""
        if not isinstance(index, list | tuple):
            index, grad, weight = [index], [grad], [weight]
        self.prepare(index, weight)
        self.optimizer.update(index, weight, grad, [self.states[one] for one in index])

    def prepare(self, indices: Sequence[Any], weights: Sequence[ndarray]) -> None:
        """Make the states and counts of weights that have none yet: a step then changes arrays alone.

        indices, weights: lists of one length. Raises UsageError for a weight that has another shape or dtype than it had.
        """
        for index, weight in zip(indices, weights, strict=True):
            if index not in self.states:
                self.states[index] = self.optimizer.create_state(index, weight)
            if index not in self._types:
                self._types[index] = weight.shape, weight.dtype
            if self._types[index] != (weight.shape, weight.dtype):
                shape, dtype = self._types[index]
                raise UsageError(
                    f"weight {index} was {dtype}{list(shape)} at its first step and is {weight.dtype}"
                    f"{list(weight.shape)} now, which its states do not fit: make a new trainer"
                )
        self.optimizer.counts.begin(indices)


def get_updater(optimizer: Optimizer) -> Updater:
    """An ``Updater`` of the optimizer, as Gluon's function of this name gives it.

    >>> from blockfuse import np, optimizer
    >>> update = optimizer.get_updater(optimizer.SGD(learning_rate=0.5))
    >>> w = np.ones(2)
    >>> update(0, np.array([1, 2]), w)
    >>> w
    array([0.5, 0. ])
    """
    return Updater(optimizer)
