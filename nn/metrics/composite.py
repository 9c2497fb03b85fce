"""Several metrics as one, functions as metrics, and metrics by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy

from blockfuse.ir.errors import UsageError
from blockfuse.nn.metrics.classification import F1, MCC, Accuracy, BinaryAccuracy, Fbeta, TopKAccuracy
from blockfuse.nn.metrics.metric import EvalMetric, Names
from blockfuse.nn.metrics.probability import CrossEntropy, Loss, NegativeLogLikelihood, Perplexity
from blockfuse.nn.metrics.regression import (
    MAE,
    MSE,
    RMSE,
    MeanCosineSimilarity,
    MeanPairwiseDistance,
    PearsonCorrelation,
)


class CompositeEvalMetric(EvalMetric):
    """Several metrics that are given the same; ``get`` gives lists of names and values.

    metrics: a list of what ``create`` takes. See ``EvalMetric`` for the other arguments.

    >>> from blockfuse import gluon
    >>> metric = gluon.metric.CompositeEvalMetric(["acc", "ce"])
    >>> metric.update([0], [[1.0, 0.0]])
    >>> metric.get()[0]
    ['accuracy', 'cross-entropy']
    """

    def __init__(
        self,
        metrics: Sequence[Any] | None = None,
        name: str = "composite",
        output_names: Names = None,
        label_names: Names = None,
    ) -> None:
        self.metrics = [create(metric) for metric in metrics or ()]
        super().__init__(name, output_names, label_names)

    def add(self, metric: Any) -> None:
        """One metric more: whatever ``create`` takes."""
        self.metrics.append(create(metric))

    def get_metric(self, index: int) -> EvalMetric:
        """The metric at a place: ``index`` counts from 0."""
        return self.metrics[index]

    def reset(self) -> None:
        for metric in self.metrics:
            metric.reset()

    def update(self, labels: Any, preds: Any) -> None:
        """Take in a batch of ``labels`` and ``preds``, in each metric."""
        for metric in self.metrics:
            metric.update(labels, preds)

    def update_dict(self, label: dict[str, Any], pred: dict[str, Any]) -> None:
        """Take in a batch of named arrays, ``label`` and ``pred``, of which each metric chooses."""
        for metric in self.metrics:
            metric.update_dict(label, pred)

    def get(self) -> tuple[list[str], list[Any]]:
        """(names, values)."""
        found = [pair for metric in self.metrics for pair in metric.get_name_value()]
        return [name for name, _ in found], [value for _, value in found]


class CustomMetric(EvalMetric):
    """A function ``feval(label, pred)`` of NumPy arrays: the mean of its values, or, where it gives (sum, count), of those.

    name: by default the function's, ``"custom"`` of a lambda.
    allow_extra_outputs: leave out predictions beyond the number of labels.

    See ``EvalMetric`` for the other arguments.

    >>> from blockfuse import gluon
    >>> metric = gluon.metric.CustomMetric(lambda label, pred: abs(label - pred).max(), name="worst")
    >>> metric.update([1.0, 2.0], [1.5, 4.0])
    >>> metric.get()
    ('worst', 2.0)
    """

    def __init__(
        self,
        feval: Callable[[numpy.ndarray, numpy.ndarray], Any],
        name: str | None = None,
        allow_extra_outputs: bool = False,
        output_names: Names = None,
        label_names: Names = None,
    ) -> None:
        given = getattr(feval, "__name__", type(feval).__name__)
        super().__init__(name or ("custom" if given == "<lambda>" else given), output_names, label_names)
        self._feval, self._allow_extra_outputs = feval, allow_extra_outputs

    def update(self, labels: Any, preds: Any) -> None:
        """Take in a batch: one value of the function for each array of ``labels`` and ``preds``."""
        if self._allow_extra_outputs and isinstance(labels, list | tuple) and isinstance(preds, list | tuple):
            preds = preds[: len(labels)]
        super().update(labels, preds)

    def _measured(self, label: numpy.ndarray, pred: numpy.ndarray) -> tuple[Any, Any]:
        value = self._feval(label, pred)
        return value if isinstance(value, tuple) else (value, 1)


def np(
    numpy_feval: Callable[[numpy.ndarray, numpy.ndarray], Any],
    name: str | None = None,
    allow_extra_outputs: bool = False,
) -> CustomMetric:
    """A function of NumPy arrays as a metric: ``CustomMetric(numpy_feval, name, allow_extra_outputs)``.

    >>> from blockfuse import gluon, np
    >>> metric = gluon.metric.np(lambda label, pred: float(abs(label - pred).max()), name="worst")
    >>> metric.update(np.array([1, 2]), np.array([1, 4]))
    >>> metric.get()
    ('worst', 2.0)
    """
    return CustomMetric(numpy_feval, name, allow_extra_outputs)


# name -> metric
_NAMED: dict[str, type[EvalMetric]] = {
    "acc": Accuracy,
    "binary_accuracy": BinaryAccuracy,
    "ce": CrossEntropy,
    "composite": CompositeEvalMetric,
    "cos_sim": MeanCosineSimilarity,
    "cross-entropy": CrossEntropy,
    "mpd": MeanPairwiseDistance,
    "nll-loss": NegativeLogLikelihood,
    "nll_loss": NegativeLogLikelihood,
    "pearsonr": PearsonCorrelation,
    "top_k_acc": TopKAccuracy,
    "top_k_accuracy": TopKAccuracy,
}
Kind = TypeVar("Kind", bound=type[EvalMetric])


def register(klass: Kind) -> Kind:
    """Let ``create`` find a metric by the name of its class, in lower case; gives the class, as a decorator does.

    klass: a subclass of ``EvalMetric``. One that has the name already is replaced.

    >>> from blockfuse import gluon
    >>> @gluon.metric.register
    ... class Biggest(gluon.metric.Loss):
    ...     pass
    >>> type(gluon.metric.create("biggest")).__name__
    'Biggest'
    """
    _NAMED[klass.__name__.lower()] = klass
    return klass


for _metric in (
    *(Accuracy, BinaryAccuracy, CrossEntropy, F1, Fbeta, Loss, MAE, MCC, MSE, MeanCosineSimilarity),
    *(MeanPairwiseDistance, NegativeLogLikelihood, PearsonCorrelation, Perplexity, RMSE, TopKAccuracy),
):
    register(_metric)


def create(metric: Any, *args: Any, **kwargs: Any) -> EvalMetric:
    """A metric by its name, of a function, or several of a list; a metric stays what it is.

    args, kwargs: of the metric's class. Raises UsageError for a name that there is none of.

    >>> from blockfuse import gluon
    >>> gluon.metric.create("acc").get_name_value()
    [('accuracy', nan)]
    """
    if isinstance(metric, EvalMetric):
        return metric
    if isinstance(metric, list | tuple):
        return CompositeEvalMetric([create(one, *args, **kwargs) for one in metric])
    if callable(metric):
        return CustomMetric(metric, *args, **kwargs)
    found = _NAMED.get(str(metric).lower())
    if found is None:
        raise UsageError(
            f"there is no metric {metric!r}; use a function or one of {', '.join(sorted(_NAMED))}"
        )
    return found(*args, **kwargs)
