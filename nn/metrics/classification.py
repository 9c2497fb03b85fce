"""Metrics of classes: how often predictions are right, and in which way they are wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy

from blockfuse.array.arguments import one_axis
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.nn.metrics.metric import EvalMetric, Names, classes_of


class Accuracy(EvalMetric):
    """The share of labels that are predicted: ``mean(label == class)``.

    Labels are whole numbers from 0 on, of any dtype and shape. Predictions are classes, in the shape of the labels, or
    scores of classes along ``axis``, whose largest counts. See ``EvalMetric`` for the other arguments and errors.

    >>> from blockfuse import gluon
    >>> metric = gluon.metric.Accuracy()
    >>> metric.update([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    >>> metric.get()[1] == 2 / 3
    True
    """

    def __init__(
        self, axis: int = 1, name: str = "accuracy", output_names: Names = None, label_names: Names = None
    ) -> None:
        super().__init__(name, output_names, label_names)
        self._axis = axis

    def _measured(self, label: numpy.ndarray, pred: numpy.ndarray) -> tuple[int, int]:
        predicted = classes_of(pred) if pred.shape == label.shape else _largest(label, pred, self._axis)
        return int((classes_of(label) == predicted).sum()), label.size


def _largest(label: numpy.ndarray, pred: numpy.ndarray, axis: int) -> numpy.ndarray:
    """The classes with the largest scores."""
    classes: numpy.ndarray = scores_of(label, pred, axis).argmax(-1)
    return classes


def scores_of(label: numpy.ndarray, pred: numpy.ndarray, axis: int) -> numpy.ndarray:
    """Scores as rows, one for each label."""
    if not pred.ndim or pred.size != label.size * pred.shape[one_axis(axis, pred.ndim)]:
        raise ShapeError(
            f"{label.size} labels do not fit predictions of shape {pred.shape}, whose classes are axis {axis}"
        )
    if pred.shape[axis] == 1:
        raise ShapeError(
            f"predictions of shape {pred.shape} are scores of one class only; see BinaryAccuracy"
        )
    return numpy.moveaxis(pred, axis, -1).reshape(label.size, pred.shape[axis])


class TopKAccuracy(EvalMetric):
    """The share of labels among the ``top_k`` classes with the largest scores; of equal scores the lower class comes first.

    ``mean(#{c: s[c] > s[label]} + #{c < label: s[c] = s[label]} < top_k)``

    Labels are classes ``(...)``, predictions scores ``(..., classes)``. The name gets ``top_k`` at its end. Raises
    UsageError for a ``top_k`` below 1. See ``EvalMetric`` for the other arguments and errors.

    >>> from blockfuse import gluon, np
    >>> metric = gluon.metric.TopKAccuracy(top_k=2)
    >>> metric.update(np.array([2, 0]), np.array([[0.1, 0.5, 0.4], [0.1, 0.5, 0.4]]))
    >>> metric.get()
    ('top_k_accuracy_2', 0.5)
    """

    def __init__(
        self,
        top_k: int = 1,
        name: str = "top_k_accuracy",
        output_names: Names = None,
        label_names: Names = None,
    ) -> None:
        if top_k < 1:
            raise UsageError(f"TopKAccuracy needs top_k of 1 or more; found {top_k}")
        super().__init__(f"{name}_{top_k}", output_names, label_names)
        self.top_k = top_k

    def _measured(self, label: numpy.ndarray, pred: numpy.ndarray) -> tuple[int, int]:
        scores, classes = scores_of(label, pred, -1), within(classes_of(label), pred.shape[-1])
        own = scores[numpy.arange(len(classes)), classes][:, None]
        lower = numpy.arange(scores.shape[1]) < classes[:, None]
        rank = ((scores > own) | (lower & (scores == own)) | (numpy.isnan(own))).sum(1)
        return int((rank < self.top_k).sum()), label.size


def within(classes: numpy.ndarray, count: int) -> numpy.ndarray:
    """Classes below a number. Raises UsageError otherwise."""
    if (classes >= count).any():
        raise UsageError(f"label {classes.max()} has no score among those of {count} classes")
    return classes


class BinaryAccuracy(EvalMetric):
    """The share of labels, 0 or 1, that are predicted: ``mean(label == (pred > threshold))``.

    Predictions have the size of the labels, or two scores for each along the last axis, of which the larger counts. See
    ``EvalMetric`` for the other arguments and errors.

    >>> from blockfuse import gluon, np
    >>> metric = gluon.metric.BinaryAccuracy(threshold=0.6)
    >>> metric.update(np.array([1, 0]), np.array([0.7, 0.5]))
    >>> metric.get()
    ('binary_accuracy', 1.0)
    """

    def __init__(
        self,
        name: str = "binary_accuracy",
        output_names: Names = None,
        label_names: Names = None,
        threshold: float = 0.5,
    ) -> None:
        super().__init__(name, output_names, label_names)
        self._threshold = threshold

    def _measured(self, label: numpy.ndarray, pred: numpy.ndarray) -> tuple[int, int]:
        truth, positive = _binary(label, pred, self._threshold)
        return int((truth == positive).sum()), label.size


def _binary(
    label: numpy.ndarray, pred: numpy.ndarray, threshold: float
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Which labels and which predictions are positive. Two scores for a label: the larger counts."""
    truth = within(classes_of(label), 2) == 1
    if pred.size == 2 * label.size and pred.shape[-1:] == (2,):
        return truth, pred.reshape(-1, 2).argmax(1) == 1
    if pred.size != label.size:
        raise ShapeError(f"labels of shape {label.shape} do not fit predictions of shape {pred.shape}")
    return truth, pred.ravel() > threshold


class Fbeta(EvalMetric):
    """The weighted harmonic mean of precision and recall, from counts over everything since ``reset``.

    ``(1 + beta**2) * TP / ((1 + beta**2) * TP + beta**2 * FN + FP)``, and 0 where that is 0 / 0.

    class_type: 'binary' (labels 0 and 1; predictions above ``threshold``, or two scores), 'multiclass' (scores along axis
    1) or 'multilabel' (each column a question of its own, above ``threshold``).
    average: over classes or columns: 'micro' adds up their counts, 'macro' averages their values, None gives all of them.

    Raises UsageError for others of both. See ``EvalMetric`` for the other arguments and errors.

    >>> from blockfuse import gluon, np
    >>> metric = gluon.metric.Fbeta(beta=2)
    >>> metric.update(np.array([1, 0, 1]), np.array([1, 0, 1]))
    >>> metric.get()
    ('fbeta', 1.0)
    """

    def __init__(
        self,
        name: str = "fbeta",
        output_names: Names = None,
        label_names: Names = None,
        class_type: str = "binary",
        beta: float = 1,
        threshold: float = 0.5,
        average: str | None = "micro",
    ) -> None:
        if class_type not in _OUTCOMES or average not in ("micro", "macro", None):
            raise UsageError(
                f"class_type={class_type!r}, average={average!r}; use 'binary', 'multiclass' or 'multilabel', "
                f"and 'micro', 'macro' or None"
            )
        self._class_type, self._average, self._threshold, self._beta = class_type, average, threshold, beta
        super().__init__(name, output_names, label_names)

    def reset(self) -> None:
        super().reset()
        self._counts = numpy.zeros((3, 0), numpy.int64)  # TP, FP, FN of each class

    def _measured(self, label: numpy.ndarray, pred: numpy.ndarray) -> Any:
        truth, positive = _OUTCOMES[self._class_type](label, pred, self._threshold)
        counts = (truth & positive), (~truth & positive), (truth & ~positive)
        return numpy.stack([one.sum(0) for one in counts]), len(truth)

    def _add(self, measured: Any) -> None:
        counts, size = measured
        missing = counts.shape[1] - self._counts.shape[1]
        self._counts = _widened(self._counts, missing) + _widened(counts, -missing)
        self.num_inst += size

    def _value(self) -> Any:
        counts = self._counts.sum(1, keepdims=True) if self._average == "micro" else self._counts
        hit, false_alarm, missed = counts.astype(numpy.float64)
        weight = self._beta**2
        total = (1 + weight) * hit + weight * missed + false_alarm
        values = (1 + weight) * hit / numpy.where(total, total, 1)
        return values if self._average is None else float(values.mean())


def _widened(counts: numpy.ndarray, columns: int) -> numpy.ndarray:
    return numpy.pad(counts, ((0, 0), (0, max(columns, 0))))


def _of_two(
    label: numpy.ndarray, pred: numpy.ndarray, threshold: float
) -> tuple[numpy.ndarray, numpy.ndarray]:
    truth, positive = _binary(label, pred, threshold)
    return truth[:, None], positive[:, None]


def _of_classes(
    label: numpy.ndarray,
    pred: numpy.ndarray,
    threshold: float,  # noqa: ARG001 - the functions of the table below share one signature
) -> tuple[numpy.ndarray, numpy.ndarray]:
    scores = scores_of(label, pred, 1)
    classes = numpy.arange(scores.shape[1])
    truth = within(classes_of(label), scores.shape[1])[:, None] == classes
    return truth, scores.argmax(1)[:, None] == classes


def _of_columns(
    label: numpy.ndarray, pred: numpy.ndarray, threshold: float
) -> tuple[numpy.ndarray, numpy.ndarray]:
    if label.shape != pred.shape or label.ndim < 2:
        raise ShapeError(
            f"multilabel: labels {label.shape} and predictions {pred.shape} need one shape (n, columns)"
        )
    columns = label.shape[-1]
    truth = within(classes_of(label), 2).reshape(-1, columns) == 1
    return truth, pred.reshape(-1, columns) > threshold


# class_type -> what is, and what is predicted to be: (samples, classes)
_OUTCOMES = {"binary": _of_two, "multiclass": _of_classes, "multilabel": _of_columns}


class F1(Fbeta):
    """The harmonic mean of precision and recall: ``2 * TP / (2 * TP + FN + FP)``. All arguments are those of ``Fbeta``.

    >>> from blockfuse import gluon
    >>> metric = gluon.metric.F1()
    >>> metric.update([1, 1, 0, 0], [0.9, 0.2, 0.7, 0.1])
    >>> metric.get()
    ('f1', 0.5)
    """

    def __init__(
        self,
        name: str = "f1",
        output_names: Names = None,
        label_names: Names = None,
        class_type: str = "binary",
        threshold: float = 0.5,
        average: str | None = "micro",
    ) -> None:
        super().__init__(name, output_names, label_names, class_type, 1, threshold, average)


class MCC(EvalMetric):
    """Matthews' correlation of labels and predictions, 0 or 1; 0 where all labels or all predictions are equal.

    ``(TP * TN - FP * FN) / sqrt((TP + FP) * (TP + FN) * (TN + FP) * (TN + FN))`` of counts over everything since ``reset``.
    Predictions above ``threshold`` are positive, as in ``BinaryAccuracy``. See ``EvalMetric`` for the other arguments.

    >>> from blockfuse import gluon, np
    >>> metric = gluon.metric.MCC()
    >>> metric.update(np.array([1, 0, 1]), np.array([1, 0, 1]))
    >>> metric.get()
    ('mcc', 1.0)
    """

    def __init__(
        self, name: str = "mcc", output_names: Names = None, label_names: Names = None, threshold: float = 0.5
    ) -> None:
        self._threshold = threshold
        super().__init__(name, output_names, label_names)

    def reset(self) -> None:
        super().reset()
        self._counts = [0, 0, 0, 0]  # TP, TN, FP, FN: Python's integers, whose products do not overflow

    def _measured(self, label: numpy.ndarray, pred: numpy.ndarray) -> Any:
        truth, positive = _binary(label, pred, self._threshold)
        outcomes = truth & positive, ~truth & ~positive, ~truth & positive, truth & ~positive
        return [int(outcome.sum()) for outcome in outcomes]

    def _add(self, measured: Any) -> None:
        self._counts = [before + new for before, new in zip(self._counts, measured, strict=True)]
        self.num_inst += sum(measured)

    def _value(self) -> float:
        hit, rejected, false_alarm, missed = self._counts
        product = (hit + false_alarm) * (hit + missed) * (rejected + false_alarm) * (rejected + missed)
        return (hit * rejected - false_alarm * missed) / math.sqrt(product) if product else 0.0
