"""Metrics of numbers: how far predictions are from labels, or how they go together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.nn.metrics.metric import EvalMetric, Names, same_size


class MAE(EvalMetric):
    """The mean absolute error: ``mean(abs(label - pred))`` over all elements.

    Labels and predictions have one shape, up to axes of size 1. See ``EvalMetric`` for the arguments and errors.

    >>> from blockfuse import gluon
    >>> metric = gluon.metric.MAE()
    >>> metric.update([1, 2], [[1.5], [3.0]])
    >>> metric.get()
    ('mae', 0.75)
    """

    def __init__(self, name: str = "mae", output_names: Names = None, label_names: Names = None) -> None:
        super().__init__(name, output_names, label_names)

    def _measured(self, label: numpy.ndarray, pred: numpy.ndarray) -> tuple[float, int]:
        truth, guess = same_size(label, pred)
        return float(numpy.abs(truth - guess).sum()), pred.size


class MSE(EvalMetric):
    """The mean squared error: ``mean((label - pred)**2)`` over all elements.

    Labels and predictions have one shape, up to axes of size 1. See ``EvalMetric`` for the arguments and errors.

    >>> from blockfuse import gluon, np
    >>> metric = gluon.metric.MSE()
    >>> metric.update(np.array([[0], [0]]), np.array([[1], [3]]))
    >>> metric.get()
    ('mse', 5.0)
    """

    def __init__(self, name: str = "mse", output_names: Names = None, label_names: Names = None) -> None:
        super().__init__(name, output_names, label_names)

    def _measured(self, label: numpy.ndarray, pred: numpy.ndarray) -> tuple[float, int]:
        truth, guess = same_size(label, pred)
        return float(numpy.square(truth - guess).sum()), pred.size


class RMSE(MSE):
    """The root of the mean squared error over all elements since ``reset``: ``sqrt(mean((label - pred)**2))``.

    (Gluon 1 took the mean of each batch's root instead.) Labels and predictions have one shape, up to axes of size 1. See
    ``EvalMetric`` for the arguments and errors.

    >>> from blockfuse import gluon, np
    >>> metric = gluon.metric.RMSE()
    >>> metric.update(np.array([[0], [0]]), np.array([[3], [3]]))
    >>> metric.get()
    ('rmse', 3.0)
    """

    def __init__(self, name: str = "rmse", output_names: Names = None, label_names: Names = None) -> None:
        super().__init__(name, output_names, label_names)

    def _value(self) -> float:
        return math.sqrt(super()._value())


class MeanPairwiseDistance(EvalMetric):
    """The mean distance of rows: ``mean(sum(abs(label - pred)**p, axis=-1)**(1 / p))``.

    Labels and predictions have one shape (..., features); a vector is one row. Raises UsageError for a ``p`` that is not
    above 0. See ``EvalMetric`` for the other arguments and errors.

    >>> from blockfuse import gluon, np
    >>> metric = gluon.metric.MeanPairwiseDistance()
    >>> metric.update(np.array([[0, 0]]), np.array([[3, 4]]))
    >>> metric.get()
    ('mpd', 5.0)
    """

    def __init__(
        self, name: str = "mpd", output_names: Names = None, label_names: Names = None, p: float = 2
    ) -> None:
        if p <= 0:
            raise UsageError(f"MeanPairwiseDistance needs p above 0; found {p}")
        super().__init__(name, output_names, label_names)
        self._p = p

    def _measured(self, label: numpy.ndarray, pred: numpy.ndarray) -> tuple[float, int]:
        truth, guess = _rows(label, pred)
        distances = (numpy.abs(truth - guess) ** self._p).sum(-1) ** (1 / self._p)
        return float(distances.sum()), distances.size


class MeanCosineSimilarity(EvalMetric):
    """The mean cosine of rows: ``mean(sum(label * pred, -1) / max(norm(label) * norm(pred), eps))``.

    Labels and predictions have one shape (..., features); a vector is one row. See ``EvalMetric`` for the other arguments
    and errors.

    >>> from blockfuse import gluon, np
    >>> metric = gluon.metric.MeanCosineSimilarity()
    >>> metric.update(np.array([[1, 0]]), np.array([[2, 0]]))
    >>> metric.get()
    ('cos_sim', 1.0)
    """

    def __init__(
        self, name: str = "cos_sim", output_names: Names = None, label_names: Names = None, eps: float = 1e-8
    ) -> None:
        super().__init__(name, output_names, label_names)
        self._eps = eps

    def _measured(self, label: numpy.ndarray, pred: numpy.ndarray) -> tuple[float, int]:
        truth, guess = _rows(label, pred)
        norms = numpy.linalg.norm(truth, axis=-1) * numpy.linalg.norm(guess, axis=-1)
        cosines = (truth * guess).sum(-1) / numpy.maximum(norms, self._eps)
        return float(cosines.sum()), cosines.size


def _rows(label: numpy.ndarray, pred: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Both as float64 of one shape; a vector is one row."""
    if not pred.ndim or label.shape != pred.shape:
        raise ShapeError(f"labels {label.shape} and predictions {pred.shape} need one shape (..., features)")
    return same_size(label, pred)


@dataclass(frozen=True)
class _Moments:
    """Of pairs of numbers: how many, their means, and sums of products of differences from these."""

    count: int = 0
    mean_x: float = 0.0
    mean_y: float = 0.0
    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0

    def joined(self, other: _Moments) -> _Moments:
        """Those of both (Chan et al. 1979): sums of plain products would lose all digits to large means."""
        count = self.count + other.count
        if not self.count or not other.count:
            return other if other.count else self
        x, y = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        share = other.count / count
        weight = self.count * share
        return _Moments(
            count,
            self.mean_x + x * share,
            self.mean_y + y * share,
            self.xx + other.xx + x * x * weight,
            self.yy + other.yy + y * y * weight,
            self.xy + other.xy + x * y * weight,
        )


class PearsonCorrelation(EvalMetric):
    """The correlation over all elements since ``reset``; nan where labels or predictions are all equal.

    ``sum((x - mean(x)) * (y - mean(y))) / sqrt(sum((x - mean(x))**2) * sum((y - mean(y))**2))``, joined from batch to batch
    without loss of digits (Chan et al. 1979). Labels and predictions have one shape, up to axes of size 1. See
    ``EvalMetric`` for the arguments and errors.

    >>> from blockfuse import gluon, np
    >>> metric = gluon.metric.PearsonCorrelation()
    >>> metric.update(np.array([1, 2, 3]), np.array([2, 4, 6]))
    >>> round(metric.get()[1], 6)
    1.0
    """

    def __init__(self, name: str = "pearsonr", output_names: Names = None, label_names: Names = None) -> None:
        super().__init__(name, output_names, label_names)

    def reset(self) -> None:
        super().reset()
        self._moments = _Moments()

    def _measured(self, label: numpy.ndarray, pred: numpy.ndarray) -> Any:
        x, y = same_size(label, pred)
        if not x.size:
            return _Moments()
        dx, dy = x - x.mean(), y - y.mean()
        return _Moments(
            x.size,
            float(x.mean()),
            float(y.mean()),
            float((dx * dx).sum()),
            float((dy * dy).sum()),
            float((dx * dy).sum()),
        )

    def _add(self, measured: Any) -> None:
        self._moments = self._moments.joined(measured)
        self.num_inst = self._moments.count

    def _value(self) -> float:
        size = math.sqrt(self._moments.xx) * math.sqrt(self._moments.yy)
        return self._moments.xy / size if size else float("nan")
