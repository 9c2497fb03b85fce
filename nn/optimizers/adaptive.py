"""Optimizers that divide each element's step by the size of its gradients so far."""

from __future__ import annotations

from typing import ClassVar, Unpack

from blockfuse.array import np
from blockfuse.array.ndarray import ndarray
from blockfuse.nn.optimizers.optimizer import Hyper, Optimizer, Options, States, like, register, zeros_like


@register
class AdaGrad(Optimizer):
    """Divides by the root of the sum of squares (Duchi, Hazan and Singer 2011, figure 1).

    ``history += grad**2; weight -= lr * grad / (sqrt(history) + epsilon)``

    learning_rate: 0.01 by default. eps: Gluon 1's name of epsilon. See ``Optimizer`` for other options.

    >>> from blockfuse import np, optimizer
    >>> w = np.ones(2)
    >>> adagrad = optimizer.AdaGrad(learning_rate=0.1)
    >>> adagrad.update(0, w, np.array([1, -5]), adagrad.create_state(0, w))
    >>> w.round(3)
    array([0.9, 1.1])
    """

    def __init__(
        self,
        learning_rate: float | None = None,
        epsilon: float = 1e-6,
        eps: float | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate=learning_rate, **options)
        self.epsilon = epsilon if eps is None else eps

    def states(self, weight: ndarray) -> States:
        return zeros_like(weight, 1)

    def step(self, weight: ndarray, grad: ndarray, states: States, hyper: Hyper) -> tuple[ndarray, States]:
        history = states[0] + np.square(grad)
        return weight - grad * like(hyper.lr, grad) / (np.sqrt(history) + self.epsilon), (history,)


@register
class RMSProp(Optimizer):
    """Divides by the root of the mean square of late (Tieleman and Hinton 2012, lecture 6.5).

    ``square = rho * square + (1 - rho) * grad**2; weight -= lr * grad / (sqrt(square) + epsilon)``

    centered (Graves 2013, equations 38 to 41): by the root of the variance, and with momentum:
    ``mean = rho * mean + (1 - rho) * grad;
    velocity = momentum * velocity - lr * grad / sqrt(square - mean**2 + epsilon); weight += velocity``

    momentum: of the centered form alone, as in Gluon. clip_weights: the largest absolute value of a weight. gamma1, gamma2:
    Gluon 1's names of rho and momentum.

    learning_rate: 0.001 by default. See ``Optimizer`` for other options.

    >>> from blockfuse import np, optimizer
    >>> w = np.ones(2)
    >>> by = optimizer.RMSProp(learning_rate=0.01, centered=True)
    >>> by.update(0, w, np.array([1, -5]), by.create_state(0, w))
    >>> w.round(3)
    array([0.967, 1.033])
    """

    default_learning_rate: ClassVar[float] = 0.001

    def __init__(
        self,
        learning_rate: float | None = None,
        rho: float = 0.9,
        momentum: float = 0.9,
        epsilon: float = 1e-8,
        centered: bool = False,
        clip_weights: float | None = None,
        gamma1: float | None = None,
        gamma2: float | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate=learning_rate, **options)
        self.rho = rho if gamma1 is None else gamma1
        self.momentum = momentum if gamma2 is None else gamma2
        self.epsilon, self.centered, self.clip_weights = epsilon, centered, clip_weights

    def states(self, weight: ndarray) -> States:
        return zeros_like(weight, 3 if self.centered else 1)

    def step(self, weight: ndarray, grad: ndarray, states: States, hyper: Hyper) -> tuple[ndarray, States]:
        new, following = (self._centered if self.centered else self._plain)(weight, grad, states, hyper)
        if self.clip_weights is not None:
            new = np.clip(new, -self.clip_weights, self.clip_weights)
        return new, following

    def _plain(self, weight: ndarray, grad: ndarray, states: States, hyper: Hyper) -> tuple[ndarray, States]:
        square = states[0] * self.rho + np.square(grad) * (1 - self.rho)
        return weight - grad * like(hyper.lr, grad) / (np.sqrt(square) + self.epsilon), (square,)

    def _centered(
        self, weight: ndarray, grad: ndarray, states: States, hyper: Hyper
    ) -> tuple[ndarray, States]:
        square = states[0] * self.rho + np.square(grad) * (1 - self.rho)
        mean = states[1] * self.rho + grad * (1 - self.rho)
        variance = np.maximum(square - np.square(mean), 0)  # rounding may leave it below 0
        velocity = states[2] * self.momentum - grad * like(hyper.lr, grad) / np.sqrt(variance + self.epsilon)
        return weight + velocity, (square, mean, velocity)


@register
class AdaDelta(Optimizer):
    """Steps in the unit of the weight: by the ratio of two mean squares (Zeiler 2012, algorithm 1).

    ``square = rho * square + (1 - rho) * grad**2; change = grad * sqrt(moved + epsilon) / sqrt(square + epsilon);
    moved = rho * moved + (1 - rho) * change**2; weight -= lr * change``

    learning_rate: 1 by default. See ``Optimizer`` for other options.

    >>> from blockfuse import np, optimizer
    >>> w = np.ones(2)
    >>> by = optimizer.AdaDelta(rho=0.95)
    >>> by.update(0, w, np.array([1, -5]), by.create_state(0, w))
    >>> w.round(3)
    array([0.996, 1.004])
    """

    default_learning_rate: ClassVar[float] = 1.0

    def __init__(
        self,
        learning_rate: float | None = None,
        rho: float = 0.9,
        epsilon: float = 1e-6,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate=learning_rate, **options)
        self.rho, self.epsilon = rho, epsilon

    def states(self, weight: ndarray) -> States:
        return zeros_like(weight, 2)

    def step(self, weight: ndarray, grad: ndarray, states: States, hyper: Hyper) -> tuple[ndarray, States]:
        square = states[0] * self.rho + np.square(grad) * (1 - self.rho)
        change = grad * np.sqrt(states[1] + self.epsilon) / np.sqrt(square + self.epsilon)
        moved = states[1] * self.rho + np.square(change) * (1 - self.rho)
        return weight - change * like(hyper.lr, change), (square, moved)
