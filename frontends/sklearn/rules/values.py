"""What rules share: promotions of NumPy's, and functions of scikit-learn's utilities."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.array import np, npx
from blockfuse.array.sizes import size_agnostic


def asarray(value: Any) -> numpy.ndarray:
    """A number of an estimator, which some fits leave as an array, as one."""
    return value if type(value) is numpy.ndarray else numpy.asarray(value, "float64")


def promoted(*arrays: Any) -> tuple[Any, ...]:
    """The arrays in the dtype that NumPy computes with all of them in."""
    dtype = numpy.result_type(*[array.dtype for array in arrays])
    return tuple(array if array.dtype == dtype else array.astype(dtype) for array in arrays)


def expit(x: Any) -> Any:
    """The logistic function."""
    return npx.sigmoid(x)


def two_columns(probability: Any) -> Any:
    """Probabilities of two classes, given that of the second."""
    return np.stack([1 - probability, probability], axis=1)


def argmax(scores: Any) -> Any:
    """The first place of the largest score of each row."""
    return np.argmax(scores, axis=1)


def plus(x: Any) -> Any:
    """Truth values as indices of two classes."""
    return x.astype("int64")


@size_agnostic
def has_width(x: Any, width: int) -> bool:
    """Whether there are so many features."""
    return x.shape[1] == width
