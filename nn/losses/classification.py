"""Losses of predicted classes: cross entropies, divergence, margins."""

from __future__ import annotations

from typing import Unpack

from blockfuse.array import np, npx
from blockfuse.array.arguments import ArrayLike, one_axis
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.ir.operators import filling
from blockfuse.ir.operators.neural import floated
from blockfuse.nn.losses.loss import Loss, magnitude, smallest_added
from blockfuse.nn.signatures import GluonNames

# -- one of two classes --------------------------------------------------------------------------------------


def _log_loss(scores: ndarray, label: ndarray, pos_weight: ArrayLike | None = None) -> ndarray:
    """``-log(sigmoid(scores))`` times the label and ``-log(1 - sigmoid(scores))`` times the rest.

    Written as a straight part and a tail ``log1p(exp(-abs(scores)))``, of which neither overflows nor cancels the other.
    """
    rest, positive = 1 - label, scores >= 0
    tail = npx.softplus(-magnitude(scores))
    if pos_weight is None:
        hit = label
    else:
        hit = _weighted_hits(label, pos_weight)
        tail = tail * (rest + hit)
    straight: ndarray = np.where(positive, rest, -hit) * scores
    return straight + tail


@size_agnostic
def _weighted_hits(label: ndarray, pos_weight: ArrayLike) -> ndarray:
    """The label times a weight that broadcasts to it."""
    weight = np.asarray(pos_weight, label.dtype)
    hit = label * weight
    if hit.shape != label.shape:
        raise ShapeError(f"a pos_weight of shape {weight.shape} does not fit labels of shape {label.shape}")
    return hit


class SigmoidBinaryCrossEntropyLoss(Loss):
    """Cross entropy of independent yes-or-no questions, averaged over those of each sample.

    ``-(label * log(p) + (1 - label) * log(1 - p))`` with ``p = sigmoid(pred)``, computed without overflow; from_sigmoid:
    ``pred`` is ``p`` already, and 1e-12 is added under the logarithms.

    Called as ``loss(pred, label, sample_weight=None, pos_weight=None)``.
    pred, label: ``(batch, ...)`` of one shape, labels from 0 to 1.
    pos_weight: the part with ``label`` is multiplied by it; it broadcasts against the labels, otherwise ShapeError.

    See ``Loss`` for other arguments, dtypes and errors.

    >>> from blockfuse import gluon, np
    >>> gluon.loss.SigmoidBinaryCrossEntropyLoss()(np.array([[0, 0], [500, -500]]), np.array([[1, 0], [1, 0]]))
    array([0.6931472, 0.       ])
    """

    def __init__(
        self,
        from_sigmoid: bool = False,
        weight: float | None = None,
        batch_axis: int = 0,
        **names: Unpack[GluonNames],
    ) -> None:
        super().__init__(weight, batch_axis, **names)
        self._from_sigmoid = from_sigmoid

    def forward(
        self,
        pred: ArrayLike,
        label: ArrayLike,
        sample_weight: ArrayLike | None = None,
        pos_weight: ArrayLike | None = None,
    ) -> ndarray:
        values, targets = self._pair(pred, label)
        of = self._of_probabilities if self._from_sigmoid else _log_loss
        return self._finished(of(values, targets, pos_weight), sample_weight)

    def _of_probabilities(self, p: ndarray, label: ndarray, pos_weight: ArrayLike | None) -> ndarray:
        added = smallest_added(p)
        hit = label if pos_weight is None else _weighted_hits(label, pos_weight)
        return -(hit * np.log(p + added) + (1 - label) * np.log(1 - p + added))


SigmoidBCELoss = SigmoidBinaryCrossEntropyLoss


class LogisticLoss(Loss):
    """``log(1 + exp(-pred * label))`` for labels -1 and 1, averaged over each sample.

    pred, label: ``(batch, ...)`` of one shape. label_format: ``"signed"``, or ``"binary"`` for labels 0 and 1, otherwise
    UsageError. See ``Loss`` for other arguments, dtypes and errors.

    >>> from blockfuse import gluon, np
    >>> gluon.loss.LogisticLoss()(np.array([[0], [100]]), np.array([[1], [1]])).round(3)
    array([0.693, 0.   ])
    """

    def __init__(
        self,
        weight: float | None = None,
        batch_axis: int = 0,
        label_format: str = "signed",
        **names: Unpack[GluonNames],
    ) -> None:
        super().__init__(weight, batch_axis, **names)
        if label_format not in ("signed", "binary"):
            raise UsageError(f"label_format={label_format!r}; use 'signed' or 'binary'")
        self._label_format = label_format

    def forward(self, pred: ArrayLike, label: ArrayLike, sample_weight: ArrayLike | None = None) -> ndarray:
        values, targets = self._pair(pred, label)
        if self._label_format == "signed":
            targets = (targets + 1) * 0.5
        return self._finished(_log_loss(values, targets), sample_weight)


class HingeLoss(Loss):
    """``max(0, margin - pred * label)`` for labels -1 and 1, averaged over each sample.

    pred, label: ``(batch, ...)`` of one shape. See ``Loss`` for other arguments, dtypes and errors.

    >>> from blockfuse import gluon, np
    >>> gluon.loss.HingeLoss()(np.array([[0.5], [-2]]), np.array([[1], [-1]]))
    array([0.5, 0. ])
    """

    def __init__(
        self, margin: float = 1, weight: float | None = None, batch_axis: int = 0, **names: Unpack[GluonNames]
    ) -> None:
        super().__init__(weight, batch_axis, **names)
        self._margin = margin

    def forward(self, pred: ArrayLike, label: ArrayLike, sample_weight: ArrayLike | None = None) -> ndarray:
        return self._finished(self._missing(pred, label), sample_weight)

    def _missing(self, pred: ArrayLike, label: ArrayLike) -> ndarray:
        """What predictions lack to the margin."""
        values, targets = self._pair(pred, label)
        return npx.relu(self._margin - values * targets)


class SquaredHingeLoss(HingeLoss):
    """``max(0, margin - pred * label)**2`` for labels -1 and 1, averaged over each sample.

    pred, label: ``(batch, ...)`` of one shape. See ``Loss`` for other arguments, dtypes and errors.

    >>> from blockfuse import gluon, np
    >>> gluon.loss.SquaredHingeLoss()(np.array([[0.5], [-2]]), np.array([[1], [-1]]))
    array([0.25, 0.  ])
    """

    def forward(self, pred: ArrayLike, label: ArrayLike, sample_weight: ArrayLike | None = None) -> ndarray:
        return self._finished(np.square(self._missing(pred, label)), sample_weight)


# -- one of several classes ----------------------------------------------------------------------------------


class SoftmaxCrossEntropyLoss(Loss):
    """``-log(softmax(pred))`` at the label, averaged over the labels of each sample.

    pred: scores with the classes along ``axis``, ``(batch, classes)`` or ``(batch, ..., classes)``. label: numbers of
    classes, of any dtype, in the shape of ``pred`` without ``axis`` (it may be there with size 1); one beyond the classes
    counts as the nearest one, as in Gluon. sparse_label: False takes shares of all classes, in the shape of ``pred``.
    from_logits: ``pred`` holds logarithms of probabilities already. A sample_weight has the shape of sparse labels, or
    Gluon's with size 1 along ``axis``. See ``Loss`` for other arguments, dtypes and errors.

    >>> from blockfuse import gluon, np
    >>> scores = np.array([[0, 0, 0], [1000, 0, 0]])
    >>> gluon.loss.SoftmaxCrossEntropyLoss()(scores, np.array([2, 0]))
    array([1.0986123, 0.       ])
    >>> gluon.loss.SoftmaxCrossEntropyLoss(sparse_label=False)(scores, np.array([[0, 0, 1], [1, 0, 0]]))
    array([1.0986123, 0.       ])
    """

    def __init__(
        self,
        axis: int = -1,
        sparse_label: bool = True,
        from_logits: bool = False,
        weight: float | None = None,
        batch_axis: int = 0,
        **names: Unpack[GluonNames],
    ) -> None:
        super().__init__(weight, batch_axis, **names)
        self._axis, self._sparse_label, self._from_logits = axis, sparse_label, from_logits

    def forward(self, pred: ArrayLike, label: ArrayLike, sample_weight: ArrayLike | None = None) -> ndarray:
        values = floated(np.asarray(pred))
        axis = one_axis(self._axis, values.ndim)
        logs = values if self._from_logits else npx.log_softmax(values, axis)
        if self._sparse_label:
            chosen = np.where(self._hits(logs, label, axis), -logs, 0)
        else:
            shares = self._shaped(np.asarray(label, logs.dtype), logs, "label")
            # without the multiplication by -inf that the logarithm of an impossible class would ask for
            chosen = np.where(shares == 0, 0, -logs) * shares
        if sample_weight is None and 0 <= self._batch_axis < axis:
            return self._finished(
                np.sum(chosen, axis), None
            )  # the fold's own result: no reshape is left over
        weight = None if sample_weight is None else _with_axis(np.asarray(sample_weight), axis, values.ndim)
        return self._finished(np.sum(chosen, axis, keepdims=True), weight)

    def _hits(self, logs: ndarray, label: ArrayLike, axis: int) -> ndarray:
        """Where along ``axis`` each label points.

        The loss is then a fold of rows, one kernel with the softmax, and so is its gradient; ``npx.pick`` would be a kernel
        of its own, and its gradient one that writes here and there.
        """
        numbers = _with_axis(np.asarray(label), axis, logs.ndim)
        self._check_numbers(logs, numbers, axis)
        count = _size_behind(logs, axis) if axis else len(logs)
        inside = np.minimum(np.maximum(np.asarray(numbers, "int64"), 0), max(count - 1, 0))
        # In 32 bits, as many at a time as there are floats.
        classes = filling.arange(start=0, stop=count, step=1, dtype="int32")
        return np.reshape(classes, (count, *(1,) * (logs.ndim - axis - 1))) == inside.astype("int32")

    @size_agnostic
    def _check_numbers(self, logs: ndarray, numbers: ndarray, axis: int) -> None:
        if numbers.shape != (*logs.shape[:axis], 1, *logs.shape[axis + 1 :]):
            raise ShapeError(
                f"{self._label}: labels of shape {numbers.shape} are no numbers of classes for predictions of shape "
                f"{logs.shape} with classes along axis {axis}; labels in that shape need sparse_label=False"
            )


SoftmaxCELoss = SoftmaxCrossEntropyLoss


def _with_axis(x: ndarray, axis: int, ndim: int) -> ndarray:
    """``x``, or ``x`` with size 1 along ``axis`` if just that one of ``ndim`` axes is missing."""
    return np.expand_dims(x, axis) if x.ndim == ndim - 1 else x


@size_agnostic
def _size_behind(x: ndarray, axis: int) -> int:
    """The size along an axis that is not that of the batch."""
    return x.shape[axis]


class KLDivLoss(Loss):
    """How far predicted shares are from the label's (Kullback and Leibler 1951): ``label * (log(label) - pred)``.

    pred, label: ``(batch, ..., classes)`` of one shape, the label's shares adding up to 1 along ``axis``.
    from_logits: ``pred`` holds logarithms of probabilities; otherwise ``log_softmax`` along ``axis`` makes them. As in
    Gluon a sample's loss is the mean, not the sum, over its classes. Where the label is 0, so is the loss. See ``Loss`` for
    other arguments, dtypes and errors.

    >>> from blockfuse import gluon, np
    >>> shares = np.array([[0.5, 0.5]])
    >>> gluon.loss.KLDivLoss()(np.log(shares), shares)
    array([0.])
    """

    def __init__(
        self,
        from_logits: bool = True,
        axis: int = -1,
        weight: float | None = None,
        batch_axis: int = 0,
        **names: Unpack[GluonNames],
    ) -> None:
        super().__init__(weight, batch_axis, **names)
        self._from_logits, self._axis = from_logits, axis

    def forward(self, pred: ArrayLike, label: ArrayLike, sample_weight: ArrayLike | None = None) -> ndarray:
        values, shares = self._pair(pred, label)
        logs = values if self._from_logits else npx.log_softmax(values, self._axis)
        return self._finished(divergence(shares, logs), sample_weight)


def divergence(shares: ndarray, logs: ndarray) -> ndarray:
    """``shares * (log(shares) - logs)``, which is 0 where a share is."""
    none = shares == 0
    far: ndarray = shares * (np.log(np.where(none, 1, shares)) - np.where(none, 0, logs))
    return far
