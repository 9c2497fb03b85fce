"""Metrics of probabilities, and the mean of a loss."""

from __future__ import annotations

import math
from typing import Any

import numpy

from blockfuse.ir.errors import UsageError
from blockfuse.nn.metrics.classification import scores_of, within
from blockfuse.nn.metrics.metric import EvalMetric, Names, classes_of


class CrossEntropy(EvalMetric):
    """The mean negative logarithm of what labels are given: ``-mean(log(pred[label] + eps))``.

    Labels are classes ``(...)`` of any dtype; predictions are probabilities of classes along ``axis``, and with
    ``from_logits`` what softmax is taken of, without ``eps``. ignore_label: labels that do not count.

    Raises UsageError for probabilities below 0. See ``EvalMetric`` for the other arguments and errors.

    >>> from blockfuse import gluon
    >>> metric = gluon.metric.CrossEntropy()
    >>> metric.update([0, 1], [[0.5, 0.5], [0.75, 0.25]])
    >>> round(metric.get()[1], 6)
    1.039721
    """

    def __init__(
        self,
        eps: float = 1e-12,
        ignore_label: int | None = None,
        axis: int = -1,
        from_logits: bool = False,
        name: str = "cross-entropy",
        output_names: Names = None,
        label_names: Names = None,
    ) -> None:
        super().__init__(name, output_names, label_names)
        self._eps, self._ignored, self._axis, self._from_logits = eps, ignore_label, axis, from_logits

    def _measured(self, label: numpy.ndarray, pred: numpy.ndarray) -> tuple[float, int]:
        flat, scores = label.ravel(), scores_of(label, pred, self._axis).astype(numpy.float64)
        if self._ignored is not None:
            counts = flat != self._ignored
            flat, scores = flat[counts], scores[counts]
        own = within(classes_of(flat), scores.shape[1])[:, None]
        return float(-self._logarithms(scores, own).sum()), flat.size

    def _logarithms(self, scores: numpy.ndarray, own: numpy.ndarray) -> Any:
        chosen = numpy.take_along_axis(scores, own, 1)[:, 0]
        if self._from_logits:
            return chosen - numpy.logaddexp.reduce(scores, 1)
        if (scores < 0).any():
            raise UsageError(
                f"{type(self).__name__} found negative probabilities; logits need from_logits=True"
            )
        return numpy.log(chosen + self._eps)


class NegativeLogLikelihood(CrossEntropy):
    """``CrossEntropy`` under its other name, with the same arguments: ``-mean(log(pred[label] + eps))``.

    >>> from blockfuse import gluon, np
    >>> metric = gluon.metric.NegativeLogLikelihood()
    >>> metric.update(np.array([0]), np.array([[0.5, 0.5]]))
    >>> round(metric.get()[1], 3)
    0.693
    """

    def __init__(
        self,
        eps: float = 1e-12,
        name: str = "nll-loss",
        output_names: Names = None,
        label_names: Names = None,
        ignore_label: int | None = None,
        axis: int = -1,
        from_logits: bool = False,
    ) -> None:
        super().__init__(eps, ignore_label, axis, from_logits, name, output_names, label_names)


class Perplexity(CrossEntropy):
    """``exp`` of the cross-entropy over all labels since ``reset``: ``exp(-mean(log(pred[label] + eps)))``.

    All arguments are those of ``CrossEntropy``.

    >>> from blockfuse import gluon, np
    >>> metric = gluon.metric.Perplexity()
    >>> metric.update(np.array([0, 1]), np.array([[0.5, 0.5], [0.5, 0.5]]))
    >>> round(metric.get()[1], 6)
    2.0
    """

    def __init__(
        self,
        ignore_label: int | None = None,
        axis: int = -1,
        name: str = "perplexity",
        output_names: Names = None,
        label_names: Names = None,
        eps: float = 1e-12,
        from_logits: bool = False,
    ) -> None:
        super().__init__(eps, ignore_label, axis, from_logits, name, output_names, label_names)

    def _value(self) -> float:
        mean = super()._value()
        return math.exp(mean) if mean < 709 else math.inf  # beyond, a float64 has no place for it


class Loss(EvalMetric):
    """The mean of all elements of predictions, which are losses: ``mean(pred)``. See ``EvalMetric`` for the arguments.

    >>> from blockfuse import gluon, np
    >>> metric = gluon.metric.Loss()
    >>> metric.update(None, np.array([1, 3]))
    >>> metric.get()
    ('loss', 2.0)
    """

    def __init__(self, name: str = "loss", output_names: Names = None, label_names: Names = None) -> None:
        super().__init__(name, output_names, label_names)

    def update(self, labels: Any, preds: Any) -> None:  # noqa: ARG002 - a metric is given both
        """Take in a batch of losses, ``preds`` of any shape; ``labels`` may be None."""
        super().update(preds, preds)

    def _measured(self, label: numpy.ndarray, pred: numpy.ndarray) -> tuple[float, int]:  # noqa: ARG002
        return float(pred.sum(dtype=numpy.float64)), pred.size
