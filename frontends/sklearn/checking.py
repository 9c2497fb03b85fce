"""The first result of a program, held against scikit-learn's own: a rule is taken for what this very version computes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy

from blockfuse.frontends.sklearn.rules.table import Estimator

SCORES = (
    "decision_function",
    "predict_proba",
    "transform",
)  # what tells whether two labels were nearly equal


def agrees(estimator: Estimator, method: str, x: Any, found: Any, narrow: bool) -> bool:
    """Whether ``found`` is what scikit-learn gives for ``x``, to rounding; ``narrow``: where x is of float32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = getattr(estimator, method)(x)
        if (
            type(expected) is not type(found)
            or expected.shape != found.shape
            or expected.dtype != found.dtype
        ):
            return False
        if expected.dtype.kind == "f":
            return _near(expected, found, 1e-3 if narrow else 1e-9)
        return _equal_but_for_ties(estimator, x, expected != found, 1e-3 if narrow else 1e-9)


def _near(expected: numpy.ndarray, found: numpy.ndarray, relative: float) -> bool:
    finite = numpy.abs(expected[numpy.isfinite(expected)])
    absolute = relative * float(finite.max(initial=0.0))
    return bool(numpy.allclose(found, expected, relative, absolute, equal_nan=True))


def _equal_but_for_ties(estimator: Estimator, x: Any, differs: numpy.ndarray, relative: float) -> bool:
    rows = differs.reshape(len(differs), -1).any(axis=1)
    if not rows.any():
        return True
    name = next((name for name in SCORES if hasattr(estimator, name)), None)
    if name is None or not hasattr(x, "__array__") or isinstance(x, list):
        return False
    scores = numpy.asarray(getattr(estimator, name)(x[rows]))
    return bool((_margin(scores, name == "transform") <= relative * numpy.abs(scores).max()).all())


def _margin(scores: numpy.ndarray, distances: bool) -> numpy.ndarray:
    """How far the best score of each sample is from the second best."""
    if scores.ndim == 1:
        return numpy.abs(scores)
    best = numpy.sort(scores if distances else -scores, axis=1)
    return best[:, 1] - best[:, 0]
