"""Optimizers that go down the gradient, or its average, by one learning rate for all elements."""

from __future__ import annotations

from typing import ClassVar, Unpack

from blockfuse.array import np
from blockfuse.array.ndarray import ndarray
from blockfuse.nn.optimizers.optimizer import Hyper, Optimizer, Options, States, like, register, zeros_like


@register
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Polyak 1964) where that is not 0.

    ``velocity = momentum * velocity - lr * grad; weight += velocity``

    learning_rate: 0.1 by default. See ``Optimizer`` for other options.

    >>> from blockfuse import np, optimizer
    >>> w = np.ones(2)
    >>> sgd = optimizer.SGD(learning_rate=0.1)
    >>> sgd.update(0, w, np.array([1, -5]), sgd.create_state(0, w))
    >>> w
    array([0.9, 1.5])
    """

    default_learning_rate: ClassVar[float] = 0.1

    def __init__(
        self, learning_rate: float | None = None, momentum: float = 0.0, **options: Unpack[Options]
    ) -> None:
        super().__init__(learning_rate=learning_rate, **options)
        self.momentum = momentum

    def states(self, weight: ndarray) -> States:
        return zeros_like(weight, 1 if self.momentum else 0)

    def step(self, weight: ndarray, grad: ndarray, states: States, hyper: Hyper) -> tuple[ndarray, States]:
        down = grad * like(hyper.lr, grad)
        if not states:
            return weight - down, ()
        velocity = states[0] * self.momentum - down
        return weight + velocity, (velocity,)


@register
class NAG(Optimizer):
    """Nesterov's accelerated gradient (Sutskever et al. 2013, section 2), in terms of the weight that looks ahead.

    ``velocity = momentum * velocity - lr * grad; weight += momentum * velocity - lr * grad``

    learning_rate: 0.1 by default. See ``Optimizer`` for other options.

    >>> from blockfuse import np, optimizer
    >>> w = np.ones(2)
    >>> by = optimizer.NAG(learning_rate=0.1, momentum=0.9)
    >>> by.update(0, w, np.array([1, -5]), by.create_state(0, w))
    >>> w.round(3)
    array([0.81, 1.95])
    """

    default_learning_rate: ClassVar[float] = 0.1

    def __init__(
        self, learning_rate: float | None = None, momentum: float = 0.9, **options: Unpack[Options]
    ) -> None:
        super().__init__(learning_rate=learning_rate, **options)
        self.momentum = momentum

    def states(self, weight: ndarray) -> States:
        return zeros_like(weight, 1)

    def step(self, weight: ndarray, grad: ndarray, states: States, hyper: Hyper) -> tuple[ndarray, States]:
        down = grad * like(hyper.lr, grad)
        velocity = states[0] * self.momentum - down
        return weight + (velocity * self.momentum - down), (velocity,)


@register
class Signum(Optimizer):
    """The sign of the average gradient alone (Bernstein et al. 2018, algorithms 1 and 2).

    ``average = momentum * average + (1 - momentum) * grad; weight = (1 - lr * wd_lh) * weight - lr * sign(average)``

    Without momentum it is the sign of the gradient. wd_lh: weight decay that is apart from the gradient.

    learning_rate: 0.01 by default. See ``Optimizer`` for other options.

    >>> from blockfuse import np, optimizer
    >>> w = np.ones(2)
    >>> signum = optimizer.Signum(learning_rate=0.1)
    >>> signum.update(0, w, np.array([1, -5]), signum.create_state(0, w))
    >>> w.round(3)
    array([0.9, 1.1])
    """

    def __init__(
        self,
        learning_rate: float | None = None,
        momentum: float = 0.9,
        wd_lh: float = 0.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate=learning_rate, **options)
        self.momentum, self.wd_lh = momentum, wd_lh

    def states(self, weight: ndarray) -> States:
        return zeros_like(weight, 1 if self.momentum else 0)

    def step(self, weight: ndarray, grad: ndarray, states: States, hyper: Hyper) -> tuple[ndarray, States]:
        average = states[0] * self.momentum + grad * (1 - self.momentum) if states else grad
        kept = weight * like(1 - hyper.lr * self.wd_lh, weight) if self.wd_lh else weight
        return kept - np.sign(average) * like(hyper.lr, weight), (average,) if states else ()


@register
class LARS(Optimizer):
    """SGD at a pace of its own for each layer (You, Gitman and Ginsburg 2017, algorithm 1).

    ``pace = eta * norm(weight) / (norm(grad) + wd * norm(weight) + epsilon)``, or 1 where a norm is 0;
    ``velocity = momentum * velocity - lr * pace * (grad + wd * weight); weight += velocity``

    Biases, gains and shifts, known by their having one axis at most, have pace 1.

    learning_rate: 0.1 by default. See ``Optimizer`` for other options.

    >>> from blockfuse import np, optimizer
    >>> w = np.ones(2)
    >>> by = optimizer.LARS(learning_rate=0.1, momentum=0.9)
    >>> by.update(0, w, np.array([1, -5]), by.create_state(0, w))
    >>> w.round(3)
    array([0.9, 1.5])
    """

    default_learning_rate: ClassVar[float] = 0.1
    decouples_decay: ClassVar[bool] = True

    def __init__(
        self,
        learning_rate: float | None = None,
        momentum: float = 0.0,
        eta: float = 0.001,
        epsilon: float = 1e-8,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate=learning_rate, **options)
        self.momentum, self.eta, self.epsilon = momentum, eta, epsilon

    def states(self, weight: ndarray) -> States:
        return zeros_like(weight, 1 if self.momentum else 0)

    def step(self, weight: ndarray, grad: ndarray, states: States, hyper: Hyper) -> tuple[ndarray, States]:
        rate = like(hyper.lr, weight)
        if weight.ndim > 1:
            rate = rate * self._pace(norm(weight), norm(grad), hyper.wd)
        down = (grad + weight * hyper.wd if hyper.wd else grad) * rate
        if not states:
            return weight - down, ()
        velocity = states[0] * self.momentum - down
        return weight + velocity, (velocity,)

    def _pace(self, size: ndarray, slope: ndarray, wd: float) -> ndarray:
        several = np.logical_and(size > 0, slope > 0)
        whole = np.where(several, slope + size * wd + self.epsilon, 1)
        pace: ndarray = np.where(several, size * self.eta / whole, 1)
        return pace


def norm(x: ndarray) -> ndarray:
    """The length of all elements as one vector."""
    return np.sqrt(np.sum(np.square(x)))
