"""Losses of distances between embedded samples."""

from __future__ import annotations

from typing import Any

from blockfuse.array import np, npx
from blockfuse.array.arguments import ArrayLike
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.operators.neural import floated
from blockfuse.nn.losses.loss import Loss, smallest_added

_LEAST_SQUARE = 1e-24  # of a length: shorter vectors count as this long, so that zeros have no direction


class CosineEmbeddingLoss(Loss):
    """``1 - cos`` of the angle between two vectors with label 1, ``max(0, cos - margin)`` with label -1.

    Vectors lie along the last axis; labels have the shape of the vectors without it.
    """

    def __init__(
        self, weight: float | None = None, batch_axis: int = 0, margin: float = 0, **names: Any
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
    """

    def __init__(
        self, margin: float = 1, weight: float | None = None, batch_axis: int = 0, **names: Any
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
