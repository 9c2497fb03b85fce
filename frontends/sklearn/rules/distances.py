"""Rules for clusters and for classes with a normal distribution."""

from __future__ import annotations

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
from blockfuse.frontends.sklearn.rules.values import argmax, promoted


def _nearest(x: Any, config: Config, arrays: Arrays) -> Any:
    """Which centre is nearest: x.x is the same for all of them."""
    (centres,) = arrays
    return np.argmin(np.sum(centres * centres, axis=1) - 2 * (x @ centres.T), axis=1).astype("int32")


def _distances(x: Any, config: Config, arrays: Arrays) -> Any:
    (centres,) = arrays
    squares = np.sum(x * x, axis=1, keepdims=True) - 2 * (x @ centres.T) + np.sum(centres * centres, axis=1)
    return np.sqrt(np.maximum(squares, 0.0))


@rule("KMeans MiniBatchKMeans", "double only", {"predict": _nearest, "transform": _distances}, pairs=True)
def _centres(model: Estimator, arrays: list[Any]) -> Config:
    centres = model.cluster_centers_
    if centres.dtype != "float64":
        raise NoRuleError("its centres are no float64")
    arrays.append(centres)
    return None


def _joint(x: Any, config: Config, arrays: Arrays) -> Any:
    """The logarithm of prior times likelihood: (samples, classes)."""
    prior, mean, variance = arrays
    x, mean, variance = promoted(x, mean, variance)
    constant = np.log(prior) - 0.5 * np.sum(np.log(2.0 * numpy.pi * variance), axis=1)
    offset = np.expand_dims(x, 1) - mean
    return constant - 0.5 * np.sum(offset * offset / variance, axis=2)


def _log_probabilities(x: Any, config: Config, arrays: Arrays) -> Any:
    joint = _joint(x, config, arrays)
    largest = np.max(joint, axis=1, keepdims=True)
    return joint - (largest + np.log(np.sum(np.exp(joint - largest), axis=1, keepdims=True)))


@rule(
    "GaussianNB",
    "any",
    {
        "predict": Method(lambda x, config, arrays: argmax(_joint(x, config, arrays)), finish=labels),
        "predict_proba": lambda x, config, arrays: np.exp(_log_probabilities(x, config, arrays)),
        "predict_log_proba": _log_probabilities,
    },
)
def _normal(model: Estimator, arrays: list[Any]) -> Config:
    arrays += (model.class_prior_, model.theta_, model.var_)
    return None
