"""Transposes behind what follows from the transposed value: where they end up, and that nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
from graphs import graph

from blockfuse.ir.graph import evaluate
from blockfuse.ir.operators import movement, neural, reductions
from blockfuse.ir.passes.settle import settle_transposes
from blockfuse.ir.passes.simplify import simplify
from blockfuse.ir.verify import verify

FIRST, LAST = (0, 3, 1, 2), (0, 2, 3, 1)  # channels there


def turned(x: Any, axes: tuple[int, ...] = FIRST) -> Any:
    return movement.transpose(neural.relu(x), axes=axes)


FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "pointwise": (lambda x, y: neural.sigmoid(turned(x)), ("relu", "sigmoid", "transpose")),
    "two that are turned alike": (
        lambda x, y: turned(x) + turned(x * 2),
        ("relu", "multiply", "relu", "add", "transpose"),
    ),
    "one that is not": (lambda x, y: turned(x) + y, ("relu", "transpose", "add", "transpose")),
    "one number for each channel": (
        lambda x, y: turned(x) * movement.get_item(y, index=(0, *(("slice", 0, n, 1) for n in (5, 1, 1)))),
        ("relu", "get_item", "reshape", "transpose", "multiply", "transpose"),
    ),
    "joined": (
        lambda x, y: movement.concatenate(turned(x), turned(x * 2), axis=1),
        ("relu", "multiply", "relu", "concatenate", "transpose"),
    ),
    "folded": (
        lambda x, y: reductions.sum_(turned(x), axis=(0, 2, 3), keepdims=False),
        ("relu", "sum"),
    ),
    "folded to rows": (
        lambda x, y: reductions.max_(turned(x), axis=(1,), keepdims=True),
        ("relu", "max", "transpose"),
    ),
    "there and back": (
        lambda x, y: movement.transpose(neural.sigmoid(turned(x)), axes=LAST),
        ("relu", "sigmoid"),
    ),
    "what is only given": (lambda x, y: movement.transpose(x, axes=FIRST) + y, ("transpose", "add")),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_transposes_stand_behind_what_follows(name: str) -> None:
    function, operators = FUNCTIONS[name]
    recorded = graph(function, x="float64[2, 3, 4, 5]", y="float64[2, 5, 3, 4]")
    settled = verify(simplify(settle_transposes(recorded)))
    found = tuple(n.operator.name for n in settled.nodes if n.operator.name != "constant")
    rng = numpy.random.default_rng(2)
    values = [rng.normal(size=leaf.shape) for leaf in recorded.inputs]
    for mine, wanted in zip(evaluate(settled, values), evaluate(recorded, values), strict=True):
        numpy.testing.assert_allclose(mine, wanted, rtol=1e-14)
    assert found == operators
