"""What all losses share: labels brought to the prediction's shape, weights, the mean over each sample."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.array import np
from blockfuse.array.arguments import ArrayLike, one_axis
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError
from blockfuse.ir.operators import movement
from blockfuse.ir.operators.neural import floated
from blockfuse.nn.block import Block

# NOTE [sample weights]
# A weight has the shape of the label, or one that broadcasts to it. With fewer axes than the label it belongs to the
# first ones, not to the last as NumPy's broadcasting would have it: (batch,) is one number for each sample, whatever
# else a sample has. So Gluon's (batch, 1) and the shorter (batch,) mean the same. A weight never makes a loss larger.

_SMALLEST_ADDED = 1e-12  # Gluon's, to keep logarithms and quotients finite


class Loss(Block):
    """The base of all losses: called with predictions and labels it gives a number for each sample, shape ``(batch,)``.

    weight: a number that all losses are multiplied by.
    batch_axis: the axis of samples; over all others a loss is averaged.

    Called as ``loss(pred, label, sample_weight=None)`` with arrays, of NumPy too. The result has the dtype of ``pred``, of
    whole numbers the float that NumPy makes of them. A label that has not the prediction's shape is reshaped to it, where
    both have as many elements for each sample; its dtype becomes the prediction's.
    sample_weight: what losses are multiplied by before the mean: ``(batch,)`` or ``(batch, 1)`` for each sample, or a shape
    that broadcasts to the label's, for each element. See NOTE [sample weights].

    Raises ShapeError where a label or a weight does not fit.

    >>> from blockfuse import gluon, np
    >>> pred, label = np.array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 2]])
    >>> gluon.loss.L2Loss()(pred, label, sample_weight=np.array([1, 0.5]))
    array([0. , 0.5])

    A loss of your own defines ``forward`` and averages what it gives for each element:

    >>> class Squares(gluon.loss.Loss):
    ...     def forward(self, pred, label):
    ...         return self._averaged(np.square(pred - label))
    >>> Squares()(pred, label)
    array([0., 2.])
    """

    def __init__(
        self, weight: float | None = None, batch_axis: int = 0, prefix: str | None = None, params: Any = None
    ) -> None:
        super().__init__(prefix, params)
        self._weight, self._batch_axis = weight, batch_axis

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch_axis={self._batch_axis}, w={self._weight})"

    # -- for subclasses --------------------------------------------------------------------------------------

    def _pair(self, pred: ArrayLike, label: ArrayLike) -> tuple[ndarray, ndarray]:
        """The predictions in a float dtype, and the labels in their shape and dtype."""
        values = floated(np.asarray(pred))
        return values, self._shaped(np.asarray(label, values.dtype), values, "label")

    @size_agnostic
    def _shaped(self, x: ndarray, like: ndarray, what: str) -> ndarray:
        """``x`` in the shape of ``like``; raises ShapeError where that would mix samples."""
        if x.shape == like.shape:
            return x
        batch = self._batch_axis
        together = min(x.ndim, like.ndim) > max(batch, 0) and x.shape[batch] == like.shape[batch]
        if _without_ones(x) != _without_ones(like) and not (together and x.size == like.size):
            raise ShapeError(
                f"{self._label}: the {what} of shape {x.shape} does not fit the prediction of shape {like.shape}"
            )
        return np.reshape(x, like.shape)

    def _finished(self, loss: ndarray, sample_weight: ArrayLike | None) -> ndarray:
        """The losses of all elements weighted, and averaged over each sample."""
        return self._averaged(self._weighted(loss, sample_weight))

    def _weighted(self, loss: ndarray, sample_weight: ArrayLike | None) -> ndarray:
        if sample_weight is not None:
            loss = loss * self._fitted(np.asarray(sample_weight, loss.dtype), loss)
        return loss if self._weight is None else loss * self._weight

    @size_agnostic
    def _fitted(self, weight: ndarray, loss: ndarray) -> ndarray:
        """A weight that broadcasts against ``loss``; see NOTE [sample weights]."""
        if weight.ndim == 1 < loss.ndim:
            before = one_axis(self._batch_axis, loss.ndim)
            weight = np.reshape(weight, (*(1,) * before, -1, *(1,) * (loss.ndim - before - 1)))
        elif weight.ndim < loss.ndim:
            weight = np.expand_dims(weight, tuple(range(weight.ndim, loss.ndim)))
        fits = weight.ndim == loss.ndim and all(
            one in (1, size) for one, size in zip(weight.shape, loss.shape, strict=True)
        )
        if not fits:
            raise ShapeError(
                f"{self._label}: a sample_weight of shape {weight.shape} does not fit losses of shape {loss.shape}"
            )
        return weight

    @size_agnostic
    def _averaged(self, loss: ndarray) -> ndarray:
        """The mean over all axes but that of the batch."""
        axes = self._sample_axes(loss)
        if all(loss.shape[axis] == 1 for axis in axes):
            return movement.squeeze(loss, axis=axes) if axes else loss
        return np.mean(loss, axes)

    def _sample_axes(self, x: ndarray) -> tuple[int, ...]:
        """All axes but that of the batch."""
        batch = one_axis(self._batch_axis, x.ndim)
        return tuple(axis for axis in range(x.ndim) if axis != batch)


def _without_ones(x: ndarray) -> tuple[int, ...]:
    return tuple(size for size in x.shape if size != 1)


def magnitude(x: ndarray) -> ndarray:
    """``abs(x)`` with the slope 1 at 0, for formulas that are smooth there as a whole.

    With the slope 0 that ``abs`` has, half of such a gradient would be missing at 0 exactly, where nets start.
    """
    chosen: ndarray = np.where(x >= 0, x, -x)
    return chosen


def smallest_added(x: ndarray, wanted: float = _SMALLEST_ADDED) -> float:
    """``wanted``, or the least normal number where that is 0 in the dtype of ``x``."""
    return max(wanted, float(numpy.finfo(x.dtype).tiny))
