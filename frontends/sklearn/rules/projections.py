"""Rules for what gives other features than it gets: projections, products, picks of columns."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.array import np
from blockfuse.frontends.sklearn.rules.table import Arrays, Config, Estimator, NoRuleError, rule
from blockfuse.frontends.sklearn.rules.values import promoted


def _projected(x: Any, config: Config, arrays: Arrays) -> Any:
    components, mean = arrays[:2]
    x, components = promoted(x, components)
    y = x @ components.T - np.reshape(mean, (1, -1)) @ components.T
    if not config:
        return y
    scale = np.sqrt(arrays[2])
    return y / np.maximum(scale, float(numpy.finfo(scale.dtype).eps))


@rule("PCA IncrementalPCA", "float", {"transform": _projected})
def _components(pca: Estimator, arrays: list[Any]) -> Config:
    arrays += (pca.components_, pca.mean_)
    if pca.whiten:
        arrays.append(pca.explained_variance_)
    return bool(pca.whiten)


def _times_components(x: Any, config: Config, arrays: Arrays) -> Any:
    x, components = promoted(x, *arrays)
    return x @ components.T


@rule("TruncatedSVD", "any", {"transform": _times_components})
def _singular(model: Estimator, arrays: list[Any]) -> Config:
    arrays.append(model.components_)
    return None


def _polynomial(x: Any, config: Config, arrays: Arrays) -> Any:
    """Products of features, by degree; each is one of a degree less times one feature."""
    width, lowest, highest, interaction, bias = config
    terms = [x[:, i : i + 1] for i in range(width)]
    degrees = [[np.ones_like(x[:, :1])] if bias else [], terms if lowest <= 1 <= highest else []]
    starts, previous = list(range(width + 1)), terms
    for degree in range(2, highest + 1):
        following: list[Any] = []
        begins = []
        for feature in range(width):
            begins.append(len(following))
            start = starts[feature + 1] if interaction else starts[feature]
            following += [term * x[:, feature : feature + 1] for term in previous[start:]]
        starts, previous = [*begins, len(following)], following
        degrees.append(following if degree >= lowest else [])
    return np.concatenate([term for degree in degrees for term in degree], axis=1)


TERMS = 256  # of a polynomial: each is an operator


@rule("PolynomialFeatures", "float", {"transform": _polynomial})
def _polynomials(model: Estimator, arrays: list[Any]) -> Config:
    if model.order != "C":
        raise NoRuleError("its result is in Fortran order")
    if not 0 < model.n_output_features_ <= TERMS:
        raise NoRuleError(f"it gives more than {TERMS} features")
    if model._max_degree < 1:
        raise NoRuleError("it gives a constant")
    return (
        model.n_features_in_,
        model._min_degree,
        model._max_degree,
        bool(model.interaction_only),
        bool(model.include_bias),
    )


def columns(x: Any, picked: tuple[int, ...]) -> Any:
    """Some columns of x, in the order given."""
    first = picked[0]
    if picked == tuple(range(first, first + len(picked))):
        return x[:, first : first + len(picked)]
    return np.take(x, np.array(picked, dtype="int64"), axis=1)


def _picked(x: Any, config: Config, arrays: Arrays) -> Any:
    return columns(x, config)


def _support(selector: Estimator) -> tuple[int, ...]:
    picked = tuple(selector.get_support().nonzero()[0].tolist())
    if not picked:
        raise NoRuleError("no features were selected")
    return picked


@rule(
    "SelectPercentile SelectFpr SelectFdr SelectFwe GenericUnivariateSelect SelectFromModel RFE RFECV"
    " SequentialFeatureSelector SelectKBest VarianceThreshold",
    "as it is",
    {"transform": _picked},
)
def _selected(selector: Estimator, arrays: list[Any]) -> Config:
    return _support(selector)
