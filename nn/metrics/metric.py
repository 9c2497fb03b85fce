"""The base of all metrics: labels and predictions come in batches, one value comes out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter
from blockfuse.ir.errors import ShapeError, UsageError

Names = Sequence[str] | None


class EvalMetric:
    """The base of all metrics: a mean over all that was given since ``reset``; float64 throughout.

    name: what ``get`` calls it.
    output_names, label_names: which entries of the dicts of ``update_dict`` count; all by default.

    ``update(labels, preds)`` takes in a batch: arrays of blockfuse or NumPy, lists of numbers, or lists of arrays of which
    each counts like one more batch; ``get`` gives the value so far, mostly a float of Python.

    A metric of your own overrides ``update`` and adds to ``sum_metric`` and ``num_inst``, whose quotient is the value.

    >>> from blockfuse import gluon, np
    >>> class Largest(gluon.metric.EvalMetric):
    ...     def update(self, labels, preds):
    ...         self.sum_metric = max(self.sum_metric, float(preds.max()))
    ...         self.num_inst = 1
    >>> metric = Largest("largest")
    >>> metric.update(None, np.array([1, 3, 2]))
    >>> metric.get()
    ('largest', 3.0)
    """

    def __init__(self, name: str, output_names: Names = None, label_names: Names = None) -> None:
        self.name, self.output_names, self.label_names = str(name), output_names, label_names
        self.reset()

    def reset(self) -> None:
        """Forget what was given."""
        interpreter.current().impure("resets a metric")
        self.sum_metric: float = 0.0
        self.num_inst: float = 0

    def update(self, labels: Any, preds: Any) -> None:
        """Take in a batch of ``labels`` and ``preds``: an array of each, or lists of as many arrays.

        Raises, having changed nothing, ShapeError where labels and predictions do not fit, UsageError for values that the
        metric has no meaning for: classes that are no whole numbers, texts.
        """
        interpreter.current().impure("updates a metric")
        measured = [self._measured(label, pred) for label, pred in pairs_of(labels, preds)]
        for one in measured:
            self._add(one)

    def _measured(self, label: numpy.ndarray, pred: numpy.ndarray) -> Any:
        """What a batch adds: by default a sum, and over how many it goes."""
        raise NotImplementedError(f"{type(self).__name__} defines neither update nor _measured")

    def _add(self, measured: Any) -> None:
        self.sum_metric += float(measured[0])
        self.num_inst += int(measured[1])

    def update_dict(self, label: dict[str, Any], pred: dict[str, Any]) -> None:
        """Take in a batch of named arrays: those of ``label`` that ``label_names`` lists, those of ``pred`` in
        ``output_names``.
        """
        labels = [label[name] for name in (label if self.label_names is None else self.label_names)]
        preds = [pred[name] for name in (pred if self.output_names is None else self.output_names)]
        self.update(labels, preds)

    def get(self) -> tuple[Any, Any]:
        """(name, value); the value is mostly a float, nan before anything was given."""
        return self.name, self._value() if self.num_inst else float("nan")

    def _value(self) -> Any:
        return self.sum_metric / self.num_inst

    def get_name_value(self) -> list[tuple[str, Any]]:
        """[(name, value)], with a pair for each metric in it."""
        name, value = self.get()
        return list(zip(name, value, strict=True)) if isinstance(name, list) else [(name, value)]

    def __str__(self) -> str:
        return f"EvalMetric: {dict(self.get_name_value())}"


def pairs_of(labels: Any, preds: Any) -> Iterator[tuple[numpy.ndarray, numpy.ndarray]]:
    """Labels with their predictions."""
    lefts, rights = arrays_of(labels), arrays_of(preds)
    if len(lefts) != len(rights):
        raise ShapeError(f"{len(lefts)} arrays of labels do not fit {len(rights)} arrays of predictions")
    return zip(lefts, rights, strict=True)


def arrays_of(values: Any) -> list[numpy.ndarray]:
    """The arrays of a list; of an array, or a list of numbers, that one."""
    if isinstance(values, list | tuple) and all(isinstance(v, ndarray | numpy.ndarray) for v in values):
        return [data_of(value) for value in values]
    return [data_of(values)]


def data_of(values: Any) -> numpy.ndarray:
    data = values._leave("a metric") if type(values) is ndarray else numpy.asarray(values)
    if data.dtype.kind not in "fiub":
        raise UsageError(f"a metric takes arrays of numbers; found {type(values).__name__} {values!r:.60}")
    return data


def classes_of(label: numpy.ndarray) -> numpy.ndarray:
    """Labels as flat int64. Raises UsageError for what is no class, such as 0.7 or -1."""
    flat = label.ravel()
    classes = flat.astype(numpy.int64) if numpy.isfinite(flat).all() else None
    if classes is None or (classes != flat).any() or (classes < 0).any():
        raise UsageError(
            f"classes are whole numbers from 0 on; found {flat[:6]} among the labels or predictions"
        )
    return classes


def same_size(label: numpy.ndarray, pred: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Both as float64 of one shape. An axis of size 1 more or less is no difference; broadcasting is refused."""
    if label.shape != pred.shape and [n for n in label.shape if n != 1] != [n for n in pred.shape if n != 1]:
        raise ShapeError(f"labels of shape {label.shape} do not fit predictions of shape {pred.shape}")
    return label.astype(numpy.float64).reshape(pred.shape), pred.astype(numpy.float64)
