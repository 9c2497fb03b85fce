"""Rules for linear models, and for classes whose scores are linear."""

from __future__ import annotations

from typing import Any

from blockfuse.array import np, npx
from blockfuse.frontends.sklearn.rules.table import (
    Arrays,
    Compute,
    Config,
    Estimator,
    Method,
    NoRuleError,
    labels,
    rule,
)
from blockfuse.frontends.sklearn.rules.values import argmax, asarray, expit, plus, promoted, two_columns


def _linear(x: Any, config: Config, arrays: Arrays) -> Any:
    """x @ coef.T + intercept; configuration: the axes of coef."""
    coef, intercept = arrays
    x, coef = promoted(x, coef)
    return x @ (coef.T if config == 2 else coef) + intercept


@rule(
    "LinearRegression Ridge RidgeCV Lasso LassoCV ElasticNet ElasticNetCV LinearSVR SGDRegressor Lars LarsCV LassoLars"
    " LassoLarsCV LassoLarsIC OrthogonalMatchingPursuit OrthogonalMatchingPursuitCV HuberRegressor TheilSenRegressor"
    " BayesianRidge ARDRegression PassiveAggressiveRegressor MultiTaskLasso MultiTaskElasticNet MultiTaskLassoCV"
    " MultiTaskElasticNetCV QuantileRegressor",
    "any",
    {"predict": _linear},
)
def _coefficients(model: Estimator, arrays: list[Any]) -> int:
    coef = model.coef_
    arrays += (coef, asarray(model.intercept_))
    return coef.ndim


def _exponential(x: Any, config: Config, arrays: Arrays) -> Any:
    return np.exp(_linear(x, config, arrays))


rule("PoissonRegressor GammaRegressor", "float", {"predict": _exponential})(_coefficients)


def _scores(x: Any, config: Config, arrays: Arrays) -> Any:
    """One score for each class, or one for both of two."""
    scores = _linear(x, config[2], arrays)
    return scores[:, 0] if config[0] == 1 and config[2] == 2 else scores


def _label_indices(x: Any, config: Config, arrays: Arrays) -> Any:
    scores = _scores(x, config, arrays)
    return plus(scores > 0) if config[0] == 1 else argmax(scores)


def _softmax(x: Any, config: Config, arrays: Arrays) -> Any:
    """Probabilities of a logistic model: a logistic function for two classes, else softmax."""
    scores = _scores(x, config, arrays)
    return two_columns(expit(scores)) if config[0] == 1 else npx.softmax(scores, axis=1)


def _one_against_rest(x: Any, config: Config, arrays: Arrays) -> Any:
    """A logistic function for each class, over their sum; all equal where all are zero."""
    scores = _scores(x, config, arrays)
    if config[0] == 1:
        return two_columns(expit(scores))
    return _over_sum(expit(scores), config[0])


def _over_sum(probabilities: Any, classes: int) -> Any:
    total = np.sum(probabilities, axis=1, keepdims=True)
    zero = total == 0
    return np.where(zero, 1.0, probabilities) / np.where(zero, float(classes), total)


def _huber(x: Any, config: Config, arrays: Arrays) -> Any:
    """Scores between -1 and 1, as probabilities."""
    probabilities = (np.clip(_scores(x, config, arrays), -1.0, 1.0) + 1.0) / 2.0
    return two_columns(probabilities) if config[0] == 1 else _over_sum(probabilities, config[0])


PROBABILITIES = {"softmax": _softmax, "log_loss": _one_against_rest, "modified_huber": _huber}


def _probabilities(x: Any, config: Config, arrays: Arrays) -> Any:
    return PROBABILITIES[config[1]](x, config, arrays)


def _log_probabilities(x: Any, config: Config, arrays: Arrays) -> Any:
    return np.log(_probabilities(x, config, arrays))


def _without_probabilities(config: Config) -> str | None:
    return None if config[1] in PROBABILITIES else "such a model has no probabilities"


CLASSIFIER: dict[str, Method | Compute] = {
    "decision_function": Method(_scores),
    "predict": Method(_label_indices, finish=labels),
}
PROBABLE: dict[str, Method | Compute] = CLASSIFIER | {
    "predict_proba": Method(_probabilities, refuses=_without_probabilities),
    "predict_log_proba": Method(_log_probabilities, refuses=_without_probabilities),
}


@rule("LinearSVC Perceptron PassiveAggressiveClassifier", "any", CLASSIFIER)
def _classifier(model: Estimator, arrays: list[Any]) -> Config:
    coef = model.coef_
    arrays += (coef, asarray(model.intercept_))
    return (coef.shape[0] if coef.ndim == 2 else 1), "", coef.ndim


@rule("RidgeClassifier RidgeClassifierCV", "any", CLASSIFIER)
def _ridge_classifier(model: Estimator, arrays: list[Any]) -> Config:
    if model._label_binarizer.y_type_.startswith("multilabel"):
        raise NoRuleError("it has several labels for each sample")
    return _classifier(model, arrays)


@rule("LogisticRegression LogisticRegressionCV", "any", PROBABLE)
def _logistic(model: Estimator, arrays: list[Any]) -> Config:
    kind = getattr(model, "multi_class", "auto")
    rest = kind in ("ovr", "warn") or (kind in ("auto", "deprecated") and model.solver == "liblinear")
    classes, _, axes = _classifier(model, arrays)
    if kind == "multinomial" and classes == 1:
        raise NoRuleError("multi_class='multinomial' with two classes")
    return classes, "log_loss" if rest else "softmax", axes


@rule("SGDClassifier", "any", PROBABLE)
def _descent(model: Estimator, arrays: list[Any]) -> Config:
    classes, _, axes = _classifier(model, arrays)
    return classes, model.loss, axes


def _discriminant_log(x: Any, config: Config, arrays: Arrays) -> Any:
    """Logarithms, with the smallest normal number in the place of zeros."""
    probabilities = _softmax(x, config, arrays[:2])
    return np.log(np.where(probabilities == 0, 2.2250738585072014e-308, probabilities))


def _discriminant_transform(x: Any, config: Config, arrays: Arrays) -> Any:
    components, solver = config[3:]
    *mean, scalings = promoted(x, *arrays[2:])[1:]
    x = x.astype(scalings.dtype)
    return ((x - mean[0] if solver == "svd" else x) @ scalings)[:, :components]


@rule(
    "LinearDiscriminantAnalysis",
    "any",
    {
        "decision_function": lambda x, config, arrays: _scores(x, config, arrays[:2]),
        "predict": Method(lambda x, config, arrays: _label_indices(x, config, arrays[:2]), finish=labels),
        "predict_proba": lambda x, config, arrays: _softmax(x, config, arrays[:2]),
        "predict_log_proba": _discriminant_log,
        "transform": Method(
            _discriminant_transform,
            refuses=lambda config: "the solver lsqr does not transform" if config[4] == "lsqr" else None,
        ),
    },
)
def _discriminant(model: Estimator, arrays: list[Any]) -> Config:
    config = _classifier(model, arrays)
    if model.solver == "svd":
        arrays += (model.xbar_, model.scalings_)
    elif model.solver == "eigen":
        arrays.append(model.scalings_)
    return *config, model._max_components, model.solver
