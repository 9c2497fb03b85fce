"""An optimizer with the states of all parameters that it has met."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from blockfuse.array.ndarray import ndarray
from blockfuse.nn.optimizers.optimizer import Optimizer, States


class Updater:
    """Called with indices, gradients and weights, it changes the weights.

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

    def __call__(self, index: Any, grad: Any, weight: Any) -> None:
        """One step of a weight, or of several where all three arguments are lists."""
        if not isinstance(index, list | tuple):
            index, grad, weight = [index], [grad], [weight]
        self.prepare(index, weight)
        self.optimizer.update(index, weight, grad, [self.states[one] for one in index])

    def prepare(self, indices: Sequence[Any], weights: Sequence[ndarray]) -> None:
        """Make the states of weights that have none yet."""
        for index, weight in zip(indices, weights, strict=True):
            if index not in self.states:
                self.states[index] = self.optimizer.create_state(index, weight)


def get_updater(optimizer: Optimizer) -> Updater:
    """An updater of the optimizer, in Gluon's words."""
    return Updater(optimizer)
