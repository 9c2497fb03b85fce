"""Losses of predicted numbers."""

from __future__ import annotations

import math
from typing import Unpack

from blockfuse.array import np, npx
from blockfuse.array.arguments import ArrayLike
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import UsageError
from blockfuse.nn.losses.loss import Loss, smallest_added
from blockfuse.nn.signatures import GluonNames


class L2Loss(Loss):
    """Half the squared error: the mean of ``weight / 2 * (label - pred)**2``.

    pred, label: ``(batch, ...)`` of one shape. See ``Loss`` for ``batch_axis``, ``sample_weight``, dtypes and errors.

    >>> from blockfuse import gluon, np
    >>> gluon.loss.L2Loss()(np.array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 2]]))
    array([0., 1.])
    """

    def __init__(self, weight: float | None = 1.0, batch_axis: int = 0, **names: Unpack[GluonNames]) -> None:
        super().__init__(0.5 if weight is None else weight / 2, batch_axis, **names)

    def forward(self, pred: ArrayLike, label: ArrayLike, sample_weight: ArrayLike | None = None) -> ndarray:
        values, targets = self._pair(pred, label)
        return self._finished(np.square(targets - values), sample_weight)


class L1Loss(Loss):
    """The absolute error: the mean of ``abs(label - pred)``.

    pred, label: ``(batch, ...)`` of one shape. See ``Loss`` for other arguments, dtypes and errors.

    >>> from blockfuse import gluon, np
    >>> gluon.loss.L1Loss()(np.array([[1, 2], [3, -4]]), np.zeros((2, 2)))
    array([1.5, 3.5])
    """

    def forward(self, pred: ArrayLike, label: ArrayLike, sample_weight: ArrayLike | None = None) -> ndarray:
        values, targets = self._pair(pred, label)
        return self._finished(np.abs(targets - values), sample_weight)


class HuberLoss(Loss):
    """Squared near the label and straight from ``rho`` on (Huber 1964, scaled to slope 1).

    ``error**2 / (2 * rho)`` up to ``abs(error) = rho``, then ``abs(error) - rho / 2``, averaged over each sample.
    pred, label: ``(batch, ...)`` of one shape. rho: above 0, otherwise UsageError. See ``Loss`` for other arguments.

    >>> from blockfuse import gluon, np
    >>> gluon.loss.HuberLoss()(np.array([[0.5], [3]]), np.zeros((2, 1)))
    array([0.125, 2.5  ])
    """

    def __init__(
        self, rho: float = 1, weight: float | None = None, batch_axis: int = 0, **names: Unpack[GluonNames]
    ) -> None:
        super().__init__(weight, batch_axis, **names)
        if not rho > 0:
            raise UsageError(f"HuberLoss needs a rho above 0; found {rho}")
        self._rho = rho

    def forward(self, pred: ArrayLike, label: ArrayLike, sample_weight: ArrayLike | None = None) -> ndarray:
        values, targets = self._pair(pred, label)
        error = np.abs(targets - values)
        near = error <= self._rho
        curved = np.square(np.where(near, error, 0)) * (0.5 / self._rho)  # far away it would overflow
        return self._finished(np.where(near, curved, error - self._rho / 2), sample_weight)


class LogCoshLoss(Loss):
    """``log(cosh(pred - label))``: about half the squared error near the label, straight far away.

    Computed as ``log1p(2 * sinh(error / 2)**2)`` up to 1, where the logarithm of a number close to 1 would lose its
    digits, and as ``abs(error) + log1p(exp(-2 * abs(error))) - log(2)`` beyond, where ``cosh`` would overflow.
    pred, label: ``(batch, ...)`` of one shape. See ``Loss`` for other arguments, dtypes and errors.

    >>> from blockfuse import gluon, np
    >>> gluon.loss.LogCoshLoss()(np.array([[0], [1]]), np.zeros((2, 1))).round(3)
    array([0.   , 0.434])
    """

    def forward(self, pred: ArrayLike, label: ArrayLike, sample_weight: ArrayLike | None = None) -> ndarray:
        values, targets = self._pair(pred, label)
        error = values - targets
        size = np.abs(error)
        near = size < 1
        small = np.log1p(np.square(np.sinh(np.where(near, error, 0) * 0.5)) * 2)
        large = size + npx.softplus(size * -2) - math.log(2)
        return self._finished(np.where(near, small, large), sample_weight)


class PoissonNLLLoss(Loss):
    """The negative logarithm of a Poisson distribution's probability of a count.

    ``exp(pred) - target * pred`` where ``pred`` is the logarithm of the mean (``from_logits``), else ``pred - target *
    log(pred + epsilon)``; averaged over each sample. compute_full: add ``log(target!)`` for targets above 1, by Stirling's
    formula ``target * log(target) - target + log(2 * pi * target) / 2``.

    Called as ``loss(pred, target, sample_weight=None, epsilon=1e-8)`` with arrays ``(batch, ...)`` of one shape. See
    ``Loss`` for other arguments, dtypes and errors.

    >>> from blockfuse import gluon, np
    >>> gluon.loss.PoissonNLLLoss(from_logits=False)(np.array([[2.0]]), np.array([[2.0]])).round(3)
    array([0.614])
    """

    def __init__(
        self,
        weight: float | None = None,
        from_logits: bool = True,
        batch_axis: int = 0,
        compute_full: bool = False,
        **names: Unpack[GluonNames],
    ) -> None:
        super().__init__(weight, batch_axis, **names)
        self._from_logits, self._compute_full = from_logits, compute_full

    def forward(
        self,
        pred: ArrayLike,
        target: ArrayLike,
        sample_weight: ArrayLike | None = None,
        epsilon: float = 1e-08,
    ) -> ndarray:
        values, counts = self._pair(pred, target)
        if self._from_logits:
            loss = np.exp(values) - counts * values
        else:
            loss = values - counts * np.log(values + smallest_added(values, epsilon))
        if self._compute_full:
            loss = loss + _log_factorial(counts)
        return self._finished(loss, sample_weight)


def _log_factorial(counts: ndarray) -> ndarray:
    """Stirling's approximation above 1, else 0."""
    several = counts > 1
    n = np.where(several, counts, 1)
    stirling: ndarray = np.where(several, n * np.log(n) - n + np.log(n * (2 * math.pi)) * 0.5, 0)
    return stirling
