"""Rules for what scales each feature, or each sample."""

from __future__ import annotations

import math
from typing import Any

import numpy

from blockfuse.array import np
from blockfuse.frontends.sklearn.rules.table import Arrays, Config, Estimator, NoRuleError, rule


def _keeps_its_argument(estimator: Estimator) -> None:
    if not estimator.copy:
        raise NoRuleError("copy=False lets it write to its argument")


def _present(asked: Any, value: Any, arrays: list[Any]) -> bool:
    """Whether a step is taken, whose array is then appended."""
    if asked:
        arrays.append(value)
    return bool(asked)


def _shifted(x: Any, config: Config, arrays: Arrays) -> Any:
    """The same, computed in the dtype of x."""
    return _shifted_in_double(x, config, tuple(array.astype(x.dtype) for array in arrays))


@rule("StandardScaler", "float", {"transform": _shifted}, missing=True)
def _standard(scaler: Estimator, arrays: list[Any]) -> Config:
    _keeps_its_argument(scaler)
    mean, scale = scaler.mean_, scaler.scale_
    return _present(scaler.with_mean, mean, arrays), _present(scaler.with_std, scale, arrays)


def _shifted_in_double(x: Any, config: Config, arrays: Arrays) -> Any:
    """Less one array, over another, each where it is asked for; the dtype of x stays."""
    centred, scaled = config
    if centred:
        x = (x - arrays[0]).astype(x.dtype)
    if scaled:
        x = (x / arrays[-1]).astype(x.dtype)
    return x


@rule("RobustScaler", "float", {"transform": _shifted_in_double}, missing=True)
def _robust(scaler: Estimator, arrays: list[Any]) -> Config:
    _keeps_its_argument(scaler)
    centre, scale = scaler.center_, scaler.scale_
    return _present(scaler.with_centering, centre, arrays), _present(scaler.with_scaling, scale, arrays)


def _min_max(x: Any, config: Config, arrays: Arrays) -> Any:
    scale, minimum = arrays
    x = (x * scale).astype(x.dtype)
    x = (x + minimum).astype(x.dtype)
    return x if config is None else np.clip(x, *config)


@rule("MinMaxScaler", "float", {"transform": _min_max}, missing=True)
def _min_max_of(scaler: Estimator, arrays: list[Any]) -> Config:
    _keeps_its_argument(scaler)
    arrays += (scaler.scale_, scaler.min_)
    return (float(scaler.feature_range[0]), float(scaler.feature_range[1])) if scaler.clip else None


def _max_abs(x: Any, config: Config, arrays: Arrays) -> Any:
    x = (x / arrays[0]).astype(x.dtype)
    return np.clip(x, -1.0, 1.0) if config else x


@rule("MaxAbsScaler", "float", {"transform": _max_abs}, missing=True)
def _max_abs_of(scaler: Estimator, arrays: list[Any]) -> Config:
    _keeps_its_argument(scaler)
    arrays.append(scaler.scale_)
    return bool(getattr(scaler, "clip", False))


NORMS = {
    "l1": lambda x: np.sum(np.abs(x), axis=1, keepdims=True),
    "l2": lambda x: np.sqrt(np.sum(x * x, axis=1, keepdims=True)),
    "max": lambda x: np.max(np.abs(x), axis=1, keepdims=True),
}


def _normalized(x: Any, config: Config, arrays: Arrays) -> Any:
    """Samples over their norms; one that is nearly zero stays as it is."""
    norm = NORMS[config](x)
    return x / np.where(norm < 10 * numpy.finfo(x.dtype).eps, 1.0, norm).astype(x.dtype)


@rule("Normalizer", "float", {"transform": _normalized})
def _normalizer(normalizer: Estimator, arrays: list[Any]) -> Config:
    _keeps_its_argument(normalizer)
    if normalizer.norm not in NORMS:
        raise NoRuleError(f"there is no norm {normalizer.norm!r}")
    return normalizer.norm


def _binary(x: Any, config: Config, arrays: Arrays) -> Any:
    return (x > config).astype(x.dtype)


@rule("Binarizer", "any", {"transform": _binary})
def _binarizer(binarizer: Estimator, arrays: list[Any]) -> Config:
    _keeps_its_argument(binarizer)
    return float(binarizer.threshold)


def _imputed(x: Any, config: Config, arrays: Arrays) -> Any:
    return np.where(np.isnan(x), arrays[0].astype(x.dtype), x)


@rule("SimpleImputer", "float", {"transform": _imputed}, missing=True)
def _imputer(imputer: Estimator, arrays: list[Any]) -> Config:
    _keeps_its_argument(imputer)
    missing, statistics = imputer.missing_values, imputer.statistics_
    if not (type(missing) is float and math.isnan(missing)):
        raise NoRuleError("missing_values is not nan")
    if imputer.add_indicator or statistics.dtype.kind != "f" or numpy.isnan(statistics).any():
        raise NoRuleError("it adds indicators, drops features without values, or holds no floats")
    arrays.append(statistics)
    return None
