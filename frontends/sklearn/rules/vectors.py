"""Rules for support vector machines with dense kernels, as libsvm computes them (Chang and Lin, 2011)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.array import np
from blockfuse.frontends.sklearn.rules.table import (
    Arrays,
    Config,
    Estimator,
    Method,
    NoRuleError,
    labels,
    rule,
)
from blockfuse.frontends.sklearn.rules.values import argmax, asarray, plus


def _power(x: Any, exponent: int) -> Any:
    """By squaring."""
    result = None
    while exponent:
        if exponent % 2:
            result = x if result is None else result * x
        x, exponent = x * x, exponent // 2
    return np.ones_like(x) if result is None else result


def _rbf(x: Any, vectors: Any, gamma: Any, shift: Any, degree: int) -> Any:
    offset = np.expand_dims(x, 1) - vectors
    return np.exp(-gamma * np.sum(offset * offset, axis=2))


KERNELS: dict[str, Callable[[Any, Any, Any, Any, int], Any]] = {
    "linear": lambda x, vectors, gamma, shift, degree: x @ vectors.T,
    "poly": lambda x, vectors, gamma, shift, degree: _power(gamma * (x @ vectors.T) + shift, degree),
    "rbf": _rbf,
    "sigmoid": lambda x, vectors, gamma, shift, degree: np.tanh(gamma * (x @ vectors.T) + shift),
}


def _read(model: Estimator, arrays: list[Any]) -> tuple[str, int]:
    """Support vectors, weights, constants, gamma and coef0; the kernel and its degree."""
    kernel, vectors = model.kernel, model.support_vectors_
    if type(kernel) is not str or kernel not in KERNELS:
        raise NoRuleError("the kernel is a function, or computed before")
    if model._sparse or not vectors.size:
        raise NoRuleError("it was fitted on sparse data, or has no support vectors")
    arrays += (vectors, model._dual_coef_, model._intercept_, asarray(model._gamma), asarray(model.coef0))
    return kernel, int(model.degree) if kernel == "poly" else 0


def _kernel(x: Any, config: Config, arrays: Arrays) -> Any:
    """Of each sample with each support vector."""
    vectors, gamma, shift = arrays[0], arrays[3], arrays[4]
    return KERNELS[config[0]](x, vectors, gamma, shift, config[1])


def _regression(x: Any, config: Config, arrays: Arrays) -> Any:
    return (_kernel(x, config, arrays) @ arrays[1].T + arrays[2])[:, 0]


@rule("SVR NuSVR", "double", {"predict": _regression}, pairs=True)
def _regressor(model: Estimator, arrays: list[Any]) -> Config:
    config = _read(model, arrays)
    if int(model._n_support[0]) != model.support_vectors_.shape[0]:
        raise NoRuleError("its support vectors were altered")
    return config


def _pairs(classes: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(classes) for j in range(i + 1, classes)]


def _one_against_one(x: Any, config: Config, arrays: Arrays) -> Any:
    """A value for each pair of classes, above zero for the first: those of support vectors of both, as weighted there."""
    kernel, counts, weights = _kernel(x, config, arrays), config[2], arrays[1]
    ends = numpy.cumsum(counts).tolist()
    begins = [0, *ends[:-1]]
    sums = [kernel[:, b:e] @ weights[:, b:e].T for b, e in zip(begins, ends, strict=True)]
    values = [sums[i][:, j - 1 : j] + sums[j][:, i : i + 1] for i, j in _pairs(len(counts))]
    return np.concatenate(values, axis=1) + arrays[2]


def _votes(values: Any, classes: int) -> Any:
    """How many pairs each class wins: (samples, classes)."""
    won: list[list[Any]] = [[] for _ in range(classes)]
    for place, (i, j) in enumerate(_pairs(classes)):
        first = (values[:, place : place + 1] > 0).astype("float64")
        won[i].append(first)
        won[j].append(1.0 - first)
    return np.concatenate([_sum(each) for each in won], axis=1)


def _sum(terms: list[Any]) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _one_against_rest(values: Any, classes: int) -> Any:
    """Votes, with the sum of a class's values as what decides between equal ones."""
    parts: list[list[Any]] = [[] for _ in range(classes)]
    lost: list[list[Any]] = [[] for _ in range(classes)]
    for place, (i, j) in enumerate(_pairs(classes)):
        value = values[:, place : place + 1]
        parts[i].append(value)
        parts[j].append(-value)
        beaten = (value < 0).astype("float64")
        lost[i].append(1.0 - beaten)
        lost[j].append(beaten)
    confidence = np.concatenate([_sum(each) for each in parts], axis=1)
    votes = np.concatenate([_sum(each) for each in lost], axis=1)
    return votes + confidence / (3.0 * (np.abs(confidence) + 1.0))


def _decision(x: Any, config: Config, arrays: Arrays) -> Any:
    values, classes, shape = _one_against_one(x, config, arrays), len(config[2]), config[3]
    if classes == 2:
        return -values[:, 0]
    return _one_against_rest(values, classes) if shape == "ovr" else values


def _label_indices(x: Any, config: Config, arrays: Arrays) -> Any:
    classes, shape, ties = len(config[2]), config[3], config[4]
    if ties and shape == "ovr" and classes > 2:
        return argmax(_decision(x, config, arrays))
    values = _one_against_one(x, config, arrays)
    return plus(values[:, 0] <= 0) if classes == 2 else argmax(_votes(values, classes))


@rule(
    "SVC NuSVC",
    "double",
    {
        "decision_function": _decision,
        "predict": Method(
            _label_indices,
            finish=labels,
            refuses=lambda config: "ties cannot be broken" if config[4] and config[3] == "ovo" else None,
        ),
    },
    pairs=True,
)
def _classifier(model: Estimator, arrays: list[Any]) -> Config:
    config, counts = _read(model, arrays), tuple(model._n_support.tolist())
    if sum(counts) != model.support_vectors_.shape[0] or len(counts) != model.classes_.size:
        raise NoRuleError("its support vectors were altered")
    return *config, counts, model.decision_function_shape, bool(model.break_ties)
