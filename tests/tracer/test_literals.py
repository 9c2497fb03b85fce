"""Constants of a recording: equal numbers are made once, and numbers that only look equal stay apart."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import np
from blockfuse.ir.builder import operands_as_nodes
from blockfuse.ir.graph import argument, leaf
from blockfuse.ir.operators.pointwise import multiply, subtract
from blockfuse.ir.types import tensor
from blockfuse.tracer.recording.literals import Literals

X = leaf(argument, "x", tensor((), "float32"))


def kept(*operands: Any) -> Literals:
    literals = Literals()
    literals.keep(multiply, operands, operands_as_nodes(multiply, operands))
    return literals


def test_a_number_is_made_once_and_has_a_node_for_each_call() -> None:
    literals = kept(3.5, X)
    (one, x), (other, _) = (literals.among(multiply, (3.5, X)) or (X, X) for _ in range(2))
    assert x is X
    assert one is not other
    assert one.attrs is other.attrs
    assert one.attrs["value"] == numpy.float32(3.5)


@pytest.mark.parametrize(
    ("before", "now"), [(0.0, -0.0), (-0.0, 0.0), (1, True), (1, 1.0), (1.0, True), (2, 3)]
)
def test_numbers_that_compare_equal_stay_apart(before: float, now: float) -> None:
    assert kept(before, X).among(multiply, (before, X)) is not None
    assert kept(before, X).among(multiply, (now, X)) is None


def test_the_dtypes_around_a_number_and_its_place_decide() -> None:
    wide = leaf(argument, "x", tensor((), "float64"))
    assert kept(2, X).among(multiply, (2, wide)) is None
    assert kept(2, X).among(multiply, (X, 2)) is None
    assert kept(2, X).among(subtract, (2, X)) is None


def test_other_things_than_numbers_are_not_kept() -> None:
    literals = kept(X, X)
    literals.keep(multiply, ("2", X), (X, X))
    literals.keep(multiply, (numpy.float64(2), X), (X, X))
    assert literals.among(multiply, ("2", X)) is None
    assert literals.among(multiply, (numpy.float64(2), X)) is None


def test_zeros_of_both_signs_in_one_call_are_right() -> None:
    def f(x: Any) -> Any:
        return np.stack([1 / (x * 0.0), 1 / (x * -0.0), 1 / (x * 0), x * True])

    hybrid, x = blockfuse.hybridize(f), np.array(2.0)
    with numpy.errstate(divide="ignore"):
        found = [hybrid(x).asnumpy() for _ in range(3)]
        wanted = f(x).asnumpy()
    for one in found:
        numpy.testing.assert_array_equal(one, wanted)


def test_the_truth_of_a_batch_of_one_is_no_truth_of_larger_ones() -> None:
    def f(x: Any) -> Any:
        return x * 2 if x > 0 else x - 1

    hybrid = blockfuse.hybridize(f)
    for rows in (1, 1, 1):
        assert hybrid(np.ones((rows, 1))).asnumpy().tolist() == [[2.0]]
    for rows in (2, 3):
        with pytest.raises(ValueError):  # noqa: PT011 - NumPy's words
            hybrid(np.ones((rows, 1)))
