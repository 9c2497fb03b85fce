"""What comes in otherwise than as a plain array: data frames, lists, and arrays for what was fitted with names."""

from __future__ import annotations

from typing import Any

import numpy
from sklearn.utils.validation import validate_data

from blockfuse.frontends.sklearn.composites import used_parts
from blockfuse.frontends.sklearn.reading import rule_of
from blockfuse.frontends.sklearn.rules.table import Estimator, NoRuleError

TAKEN = frozenset(numpy.dtype(name) for name in ("float64", "float32", "int64", "int32"))


def converted(estimator: Estimator, value: Any) -> Any:
    """``value`` as an array, or as a tuple of them where its columns go different ways; raises NoRuleError."""
    if type(value) is list:
        return numpy.asarray(value)
    if type(value).__name__ != "DataFrame" or type(value).__module__.partition(".")[0] != "pandas":
        raise NoRuleError(f"it was called with a {type(value).__module__}.{type(value).__qualname__}")
    entered = entered_by(estimator)
    if len(entered) == 1 and type(entered[0]).__name__ == "ColumnTransformer":
        return _by_columns(entered[0], value)
    check_names(estimator, value)
    return _array(value)


def entered_by(estimator: Estimator) -> list[Estimator]:
    """The estimators that look at x as it came."""
    rule = rule_of(estimator)
    entered = list(rule.parts(estimator))[: rule.entered]
    return [each for _, part in entered for each in entered_by(part)] or [estimator]


def check_names(estimator: Estimator, value: Any) -> None:
    """Warn and raise as scikit-learn does of names of features."""
    for each in entered_by(estimator):
        if type(each).__name__ == "ColumnTransformer":
            raise NoRuleError("it picks columns by name, or of a data frame that another part gets, too")
        validate_data(each, value, reset=False, skip_check_array=True)


def _by_columns(transformer: Estimator, frame: Any) -> tuple[numpy.ndarray, ...]:
    names = getattr(transformer, "feature_names_in_", None)
    if names is None:
        raise NoRuleError("it was fitted without names, and called with a data frame")
    return tuple(
        _array(frame[[names[place] for place in places]]) for _, _, places in used_parts(transformer)
    )


def _array(frame: Any) -> numpy.ndarray:
    if not all(isinstance(dtype, numpy.dtype) and dtype in TAKEN for dtype in frame.dtypes):
        raise NoRuleError("columns of the data frame are no numbers, or of an unusual dtype")
    array: numpy.ndarray = frame.to_numpy()
    return array
