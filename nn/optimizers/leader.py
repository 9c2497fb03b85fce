"""Optimizers that solve for the weight that would have been best so far: follow the leader."""

from __future__ import annotations

from typing import ClassVar, Unpack

from blockfuse.array import np
from blockfuse.array.ndarray import ndarray
from blockfuse.nn.optimizers.adam import Moments
from blockfuse.nn.optimizers.optimizer import Hyper, Optimizer, Options, States, like, register, zeros_like


@register
class Ftrl(Optimizer):
    """Follow the regularised leader, which leaves small weights at 0 (McMahan et al. 2013, algorithm 1).

    ``z += grad - (sqrt(n + grad**2) - sqrt(n)) / lr * weight; n += grad**2;
    weight = (sign(z) * lamda1 - z) / ((beta + sqrt(n)) / lr + wd)`` where ``abs(z) > lamda1``, else 0

    learning_rate: 0.1 by default. wd: divides as the formula says. See ``Optimizer`` for other options.

    >>> from blockfuse import np, optimizer
    >>> w = np.ones(2)
    >>> by = optimizer.Ftrl(learning_rate=0.1, lamda1=0.01)
    >>> by.update(0, w, np.array([1, -5]), by.create_state(0, w))
    >>> w.round(3)
    array([0.45 , 0.917])
    """

    default_learning_rate: ClassVar[float] = 0.1
    decouples_decay: ClassVar[bool] = True

    def __init__(
        self,
        learning_rate: float | None = None,
        lamda1: float = 0.01,
        beta: float = 1.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate=learning_rate, **options)
        self.lamda1, self.beta = lamda1, beta

    def states(self, weight: ndarray) -> States:
        return zeros_like(weight, 2)

    def step(self, weight: ndarray, grad: ndarray, states: States, hyper: Hyper) -> tuple[ndarray, States]:
        per_rate = like(1 / hyper.lr, weight)
        n = states[1] + np.square(grad)
        root = np.sqrt(n)
        z = states[0] + grad - (root - np.sqrt(states[1])) * per_rate * weight
        best = (np.sign(z) * self.lamda1 - z) / ((root + self.beta) * per_rate + hyper.wd)
        return np.where(np.abs(z) > self.lamda1, best, 0), (z, n)


@register
class FTML(Moments):
    """Follow the moving leader (Zheng and Kwok 2017, algorithm 1). ``t`` is the count of updates.

    ``square = beta2 * square + (1 - beta2) * grad**2;
    d = (1 - beta1**t) / lr * (sqrt(square / (1 - beta2**t)) + epsilon);
    z = beta1 * z + (1 - beta1) * grad - (d - beta1 * d_before) * weight; weight = -z / d``

    learning_rate: 0.0025 by default. See ``Optimizer`` for other options.

    >>> from blockfuse import np, optimizer
    >>> w = np.ones(2)
    >>> by = optimizer.FTML(learning_rate=0.1)
    >>> by.update(0, w, np.array([1, -5]), by.create_state(0, w))
    >>> w.round(3)
    array([0.9, 1.1])
    """

    default_learning_rate: ClassVar[float] = 0.0025

    def __init__(
        self,
        learning_rate: float | None = None,
        beta1: float = 0.6,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, beta1, beta2, epsilon, **options)

    def states(self, weight: ndarray) -> States:
        return zeros_like(weight, 3)

    def step(self, weight: ndarray, grad: ndarray, states: States, hyper: Hyper) -> tuple[ndarray, States]:
        square = states[0] * self.beta2 + np.square(grad) * (1 - self.beta2)
        d = self._root(square, hyper) * like((1 - self.beta1**hyper.count) / hyper.lr, weight)
        z = states[2] * self.beta1 + grad * (1 - self.beta1) - (d - states[1] * self.beta1) * weight
        return -z / d, (square, d, z)
