"""Rules for multi-layer perceptrons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.array import np, npx
from blockfuse.frontends.sklearn.rules.table import Arrays, Config, Estimator, Method, NoRuleError, rule
from blockfuse.frontends.sklearn.rules.values import argmax, expit, plus, promoted, two_columns

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "identity": lambda x: x,
    "exp": lambda x: np.exp(x),
    "logistic": expit,
    "tanh": lambda x: np.tanh(x),
    "relu": lambda x: np.maximum(x, 0),
    "softmax": lambda x: npx.softmax(x, axis=1),
}


def _forward(x: Any, config: Config, arrays: Arrays) -> Any:
    """What the last layer gives: (samples, outputs)."""
    layers, hidden, last = config[:3]
    for layer in range(layers):
        x, weight = promoted(x, arrays[layer])
        x = x @ weight + arrays[layers + layer]
        x = ACTIVATIONS[hidden if layer < layers - 1 else last](x)
    return x


def _read(model: Estimator, arrays: list[Any]) -> tuple[Any, ...]:
    coefs, intercepts, layers = model.coefs_, model.intercepts_, model.n_layers_ - 1
    if not len(coefs) == len(intercepts) == layers:
        raise NoRuleError("it has other layers than it says")
    arrays += coefs
    arrays += intercepts
    return layers, model.activation, model.out_activation_


def _values(x: Any, config: Config, arrays: Arrays) -> Any:
    """One number for each sample where there is one output."""
    y = _forward(x, config, arrays)
    return y[:, 0] if config[3] == 1 else y


@rule("MLPRegressor", "any", {"predict": _values})
def _regressor(model: Estimator, arrays: list[Any]) -> Config:
    config = _read(model, arrays)
    return *config, arrays[-1].shape[0]


def _probabilities(x: Any, config: Config, arrays: Arrays) -> Any:
    y = _forward(x, config, arrays)
    return two_columns(y[:, 0]) if config[4] == 1 else y


def _log_probabilities(x: Any, config: Config, arrays: Arrays) -> Any:
    return np.log(_probabilities(x, config, arrays))


def _label_indices(x: Any, config: Config, arrays: Arrays) -> Any:
    """Which class, or for each of several labels whether it is given."""
    y = _forward(x, config, arrays)
    if config[3] == "multiclass":
        return argmax(y)
    return plus(y[:, 0] > 0.5) if config[3] == "binary" else plus(y > 0.5)


def _labels(model: Estimator, indices: numpy.ndarray) -> Any:
    classes = model._label_binarizer.classes_
    return indices if indices.ndim == 2 else classes.take(indices)


@rule(
    "MLPClassifier",
    "any",
    {
        "predict": Method(_label_indices, finish=_labels),
        "predict_proba": _probabilities,
        "predict_log_proba": _log_probabilities,
    },
)
def _classifier(model: Estimator, arrays: list[Any]) -> Config:
    config = _read(model, arrays)
    labels = model._label_binarizer
    if labels.y_type_ not in ("multiclass", "binary", "multilabel-indicator") or labels.classes_.size < 2:
        raise NoRuleError("its labels are of an unusual kind")
    return *config, labels.y_type_, model.n_outputs_
