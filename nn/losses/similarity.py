"""Losses of distances between embedded samples."""

from __future__ import annotations

from typing import Unpack

from blockfuse.array import np, npx
from blockfuse.array.arguments import ArrayLike
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.operators.neural import floated
from blockfuse.nn.losses.classification import divergence
from blockfuse.nn.losses.loss import Loss, smallest_added
from blockfuse.nn.signatures import GluonNames

_LEAST_SQUARE = 1e-24  # of a length: shorter vectors count as this long, so that zeros have no direction


class CosineEmbeddingLoss(Loss):
    """``1 - cos`` of the angle between two vectors with label 1, ``max(0, cos - margin)`` with any other, Gluon's -1.

    Called as ``loss(input1, input2, label, sample_weight=None)``. input1, input2: ``(batch, ..., features)`` of one shape,
    vectors along the last axis; labels have the shape of the inputs without it. A vector of zeros has ``cos`` 0. See
    ``Loss`` for other arguments, dtypes and errors.

    >>> from blockfuse import gluon, np
    >>> x, y = np.array([[1, 0], [1, 0]]), np.array([[2, 0], [0, 1]])
    >>> gluon.loss.CosineEmbeddingLoss()(x, y, np.array([1, 1]))
    array([0., 1.])
    """

    def __init__(
        self, weight: float | None = None, batch_axis: int = 0, margin: float = 0, **names: Unpack[GluonNames]
    ) -> None:
        super().__init__(weight, batch_axis, **names)
        self._margin = margin

    def forward(
        self,
        input1: ArrayLike,
        input2: ArrayLike,
        label: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> ndarray:
        left, right = self._pair(input1, input2)
        similarity = np.sum(left * right, -1) / (_length(left) * _length(right))
        kind = self._shaped(np.asarray(label, left.dtype), similarity, "label")
        loss = np.where(kind == 1, 1 - similarity, npx.relu(similarity - self._margin))
        return self._finished(loss, sample_weight)


def _length(x: ndarray) -> ndarray:
    """The length of vectors along the last axis, never 0."""
    return np.sqrt(np.maximum(np.sum(np.square(x), -1), smallest_added(x, _LEAST_SQUARE)))


class TripletLoss(Loss):
    """How much farther, by squares, the negative must be from the prediction than the positive is.

    ``max(0, sum((positive - pred)**2 - (negative - pred)**2) + margin)``, summed over each sample (Schroff, Kalenichenko
    and Philbin 2015, equation 3).
    Called as ``loss(pred, positive, negative, sample_weight=None)`` with arrays ``(batch, ...)`` of one shape. See ``Loss``
    for other arguments, dtypes and errors.

    >>> from blockfuse import gluon, np
    >>> gluon.loss.TripletLoss()(np.array([[0.0]]), np.array([[1.0]]), np.array([[1.0]]))
    array([1.])
    """

    def __init__(
        self, margin: float = 1, weight: float | None = None, batch_axis: int = 0, **names: Unpack[GluonNames]
    ) -> None:
        super().__init__(weight, batch_axis, **names)
        self._margin = margin

    def forward(
        self,
        pred: ArrayLike,
        positive: ArrayLike,
        negative: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> ndarray:
        anchor = floated(np.asarray(pred))
        near, far = (
            self._shaped(np.asarray(x, anchor.dtype), anchor, what)
            for x, what in ((positive, "positive"), (negative, "negative"))
        )
        nearer = np.square(near - anchor) - np.square(far - anchor)
        loss = npx.relu(np.sum(nearer, self._sample_axes(nearer)) + self._margin)
        return self._weighted(loss, sample_weight)


class SDMLLoss(Loss):
    """Pairs of matching samples told apart from all other pairs of a batch (Bonadiman, Kumar and Mittal 2019).

    Called as ``loss(x1, x2, sample_weight=None)``: row ``i`` of ``x1`` matches row ``i`` of ``x2``, both ``(batch,
    features)``. Softmax over minus the squared distances to all rows of ``x2`` is held against shares of ``1 -
    smoothing_parameter`` for the match, and the rest for the others. See ``Loss`` for other arguments, dtypes and errors.

    >>> from blockfuse import gluon, np
    >>> x = np.array([[1, 0], [0, 1]])
    >>> gluon.loss.SDMLLoss()(x, x).shape
    (2,)
    """

    def __init__(
        self,
        smoothing_parameter: float = 0.3,
        weight: float | None = 1.0,
        batch_axis: int = 0,
        **names: Unpack[GluonNames],
    ) -> None:
        super().__init__(weight, batch_axis, **names)
        self._smoothing = smoothing_parameter

    def forward(self, x1: ArrayLike, x2: ArrayLike, sample_weight: ArrayLike | None = None) -> ndarray:
        left, right = self._pair(x1, x2)
        count = left.shape[0]
        distances = np.sum(np.square(np.expand_dims(left, 1) - np.expand_dims(right, 0)), 2)
        logs = npx.log_softmax(-distances, 1)
        rest = self._smoothing / max(count - 1, 1)
        shares = np.eye(count, dtype=left.dtype) * (1 - self._smoothing - rest) + rest
        return self._weighted(np.sum(divergence(shares, logs), 1), sample_weight)
