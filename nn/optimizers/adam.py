"""Adam and its relatives: averages of gradients over averages of their size, both freed of their start at zero.

In the formulas ``t`` is the count of updates, this one included.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

from blockfuse.array import np
from blockfuse.array.ndarray import ndarray
from blockfuse.nn.optimizers.descent import norm
from blockfuse.nn.optimizers.optimizer import Hyper, Optimizer, Options, States, like, register, zeros_like


class Moments(Optimizer):
    """Optimizers with an average of gradients and one of their size."""

    default_learning_rate: ClassVar[float] = 0.001

    def __init__(
        self,
        learning_rate: float | None = None,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate=learning_rate, **options)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def states(self, weight: ndarray) -> States:
        return zeros_like(weight, 2)

    def _averages(self, grad: ndarray, states: States) -> tuple[ndarray, ndarray]:
        """The average of the gradients, and that of their squares."""
        mean = states[0] * self.beta1 + grad * (1 - self.beta1)
        return mean, states[1] * self.beta2 + np.square(grad) * (1 - self.beta2)

    def _root(self, square: ndarray, hyper: Hyper) -> ndarray:
        """``sqrt(square / (1 - beta2**t)) + epsilon``."""
        return np.sqrt(square) * like(1 / np.sqrt(1 - self.beta2**hyper.count), square) + self.epsilon

    def _pace(self, hyper: Hyper) -> ndarray:
        """``lr / (1 - beta1**t)``."""
        return hyper.lr / (1 - self.beta1**hyper.count)


@register
class Adam(Moments):
    """Adam (Kingma and Ba 2015, algorithm 1).

    ``mean = beta1 * mean + (1 - beta1) * grad; square = beta2 * square + (1 - beta2) * grad**2;
    weight -= lr * (mean / (1 - beta1**t)) / (sqrt(square / (1 - beta2**t)) + epsilon)``

    Gluon adds epsilon to ``sqrt(square)`` before that is freed of its start: small gradients' first steps are shorter there.

    learning_rate: 0.001 by default. See ``Optimizer`` for other options.

    >>> from blockfuse import np, optimizer
    >>> w = np.ones(2)
    >>> adam = optimizer.Adam(learning_rate=0.1)
    >>> adam.update(0, w, np.array([1, -5]), adam.create_state(0, w))
    >>> w.round(3)
    array([0.9, 1.1])
    """

    def step(self, weight: ndarray, grad: ndarray, states: States, hyper: Hyper) -> tuple[ndarray, States]:
        mean, square = self._averages(grad, states)
        change = mean * like(self._pace(hyper), mean) / self._root(square, hyper)
        return weight - change, (mean, square)


@register
class AdamW(Moments):
    """Adam with the weight's decay apart from the gradient (Loshchilov and Hutter 2019, algorithm 2).

    ``weight -= lr * wd * weight`` beside Adam's step, whose beta1, beta2 and epsilon mean what they do in ``Adam``.
    correct_bias: divide the averages by ``1 - beta**t``.

    learning_rate: 0.001 by default. See ``Optimizer`` for other options.

    >>> from blockfuse import np, optimizer
    >>> w = np.ones(2)
    >>> by = optimizer.AdamW(learning_rate=0.01, wd=0.5)
    >>> by.update(0, w, np.array([1, -5]), by.create_state(0, w))
    >>> w.round(3)
    array([0.985, 1.005])
    """

    decouples_decay: ClassVar[bool] = True

    def __init__(
        self,
        learning_rate: float | None = None,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-6,
        correct_bias: bool = True,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, beta1, beta2, epsilon, **options)
        self.correct_bias = correct_bias

    def step(self, weight: ndarray, grad: ndarray, states: States, hyper: Hyper) -> tuple[ndarray, States]:
        mean, square = self._averages(grad, states)
        root = self._root(square, hyper) if self.correct_bias else np.sqrt(square) + self.epsilon
        pace = self._pace(hyper) if self.correct_bias else hyper.lr
        kept = weight * like(1 - hyper.lr * hyper.wd, weight) if hyper.wd else weight
        return kept - mean * like(pace, mean) / root, (mean, square)


@register
class Adamax(Moments):
    """Adam by the largest gradient of late (Kingma and Ba 2015, algorithm 2).

    ``mean = beta1 * mean + (1 - beta1) * grad; largest = max(beta2 * largest, abs(grad));
    weight -= lr / (1 - beta1**t) * mean / (largest + epsilon)``

    learning_rate: 0.002 by default. See ``Optimizer`` for other options.

    >>> from blockfuse import np, optimizer
    >>> w = np.ones(2)
    >>> by = optimizer.Adamax(learning_rate=0.1)
    >>> by.update(0, w, np.array([1, -5]), by.create_state(0, w))
    >>> w.round(3)
    array([0.9, 1.1])
    """

    default_learning_rate: ClassVar[float] = 0.002

    def step(self, weight: ndarray, grad: ndarray, states: States, hyper: Hyper) -> tuple[ndarray, States]:
        mean = states[0] * self.beta1 + grad * (1 - self.beta1)
        largest = np.maximum(states[1] * self.beta2, np.abs(grad))
        change = mean * like(self._pace(hyper), mean) / (largest + self.epsilon)
        return weight - change, (mean, largest)


@register
class Nadam(Moments):
    """Adam that looks ahead, as Nesterov's gradient does (Dozat 2016, algorithm 8).

    ``mu(t) = beta1 * (1 - 0.96**(t * schedule_decay) / 2)``; ``product`` is that of all ``mu`` up to ``t``;
    ``weight -= lr * (mu(t + 1) * mean / (1 - product * mu(t + 1)) + (1 - mu(t)) * grad / (1 - product))
    / (sqrt(square / (1 - beta2**t)) + epsilon)``

    The product is a state of each parameter; Gluon's is one for all, and is multiplied once for each.

    learning_rate: 0.001 by default. See ``Optimizer`` for other options.

    >>> from blockfuse import np, optimizer
    >>> w = np.ones(2)
    >>> by = optimizer.Nadam(learning_rate=0.1)
    >>> by.update(0, w, np.array([1, -5]), by.create_state(0, w))
    >>> w.round(3)
    array([0.894, 1.106])
    """

    def __init__(
        self,
        learning_rate: float | None = None,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        schedule_decay: float = 0.004,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, beta1, beta2, epsilon, **options)
        self.schedule_decay = schedule_decay

    def states(self, weight: ndarray) -> States:
        return (*zeros_like(weight, 2), np.ones((), dtype="float64"))

    def step(self, weight: ndarray, grad: ndarray, states: States, hyper: Hyper) -> tuple[ndarray, States]:
        mean, square = self._averages(grad, states)
        now, following = self._momentum(hyper.count), self._momentum(hyper.count + 1)
        product = states[2] * now
        of_mean = hyper.lr * following / (1 - product * following)
        of_grad = hyper.lr * (1 - now) / (1 - product)
        ahead = mean * like(of_mean, mean) + grad * like(of_grad, grad)
        return weight - ahead / self._root(square, hyper), (mean, square, product)

    def _momentum(self, count: ndarray) -> ndarray:
        return (1 - 0.96 ** (count * self.schedule_decay) * 0.5) * self.beta1


@register
class AdaBelief(Moments):
    """Adam by how far gradients are from their average (Zhuang et al. 2020, algorithm 2).

    ``mean = beta1 * mean + (1 - beta1) * grad; spread = beta2 * spread + (1 - beta2) * (grad - mean)**2 + epsilon;
    weight -= lr * (mean / (1 - beta1**t)) / (sqrt(spread / (1 - beta2**t)) + epsilon)``

    learning_rate: 0.001 by default. See ``Optimizer`` for other options.

    >>> from blockfuse import np, optimizer
    >>> w = np.ones(2)
    >>> by = optimizer.AdaBelief(learning_rate=0.01)
    >>> by.update(0, w, np.array([1, -5]), by.create_state(0, w))
    >>> w.round(3)
    array([0.989, 1.011])
    """

    def __init__(
        self,
        learning_rate: float | None = None,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-6,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, beta1, beta2, epsilon, **options)

    def step(self, weight: ndarray, grad: ndarray, states: States, hyper: Hyper) -> tuple[ndarray, States]:
        mean = states[0] * self.beta1 + grad * (1 - self.beta1)
        spread = states[1] * self.beta2 + np.square(grad - mean) * (1 - self.beta2) + self.epsilon
        return weight - mean * like(self._pace(hyper), mean) / self._root(spread, hyper), (mean, spread)


@register
class LAMB(Moments):
    """Adam at a pace of its own for each layer (You et al. 2020, algorithm 2).

    ``change = (mean / (1 - beta1**t)) / (sqrt(square / (1 - beta2**t)) + epsilon) + wd * weight;
    weight -= lr * norm(weight) / norm(change) * change``

    Where a norm is 0 their ratio counts as 1. lower_bound, upper_bound: of the weight's norm. bias_correction: divide the
    averages by ``1 - beta**t``.

    learning_rate: 0.001 by default. See ``Optimizer`` for other options.

    >>> from blockfuse import np, optimizer
    >>> w = np.ones(2)
    >>> by = optimizer.LAMB(learning_rate=0.01)
    >>> by.update(0, w, np.array([1, -5]), by.create_state(0, w))
    >>> w.round(3)
    array([0.99, 1.01])
    """

    decouples_decay: ClassVar[bool] = True

    def __init__(
        self,
        learning_rate: float | None = None,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-6,
        lower_bound: float | None = None,
        upper_bound: float | None = None,
        bias_correction: bool = True,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(learning_rate, beta1, beta2, epsilon, **options)
        self.lower_bound, self.upper_bound = lower_bound, upper_bound
        self.bias_correction = bias_correction

    def step(self, weight: ndarray, grad: ndarray, states: States, hyper: Hyper) -> tuple[ndarray, States]:
        mean, square = self._averages(grad, states)
        if self.bias_correction:
            change = mean * like(1 / (1 - self.beta1**hyper.count), mean) / self._root(square, hyper)
        else:
            change = mean / (np.sqrt(square) + self.epsilon)
        if hyper.wd:
            change = change + weight * hyper.wd
        pace = like(hyper.lr, weight) * self._trust(norm(weight), norm(change))
        return weight - change * pace, (mean, square)

    def _trust(self, size: ndarray, moved: ndarray) -> ndarray:
        if self.lower_bound is not None or self.upper_bound is not None:
            size = np.clip(size, self.lower_bound, self.upper_bound)
        several = np.logical_and(size > 0, moved > 0)
        trust: ndarray = np.where(several, size / np.where(several, moved, 1), 1)
        return trust
