"""Batch norms of products in their weights: where they go, what stays as it is, and that the values are the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
from graphs import Native, graph

from blockfuse.ir.graph import Graph, evaluate
from blockfuse.ir.operators import neural, pointwise
from blockfuse.ir.operators.contractions import dense
from blockfuse.ir.operators.convolution import convolution, deconvolution
from blockfuse.ir.operators.movement import reshape, transpose
from blockfuse.ir.operators.normalization import batch_norm
from blockfuse.ir.passes.batch_norms import fold_batch_norms
from blockfuse.ir.verify import verify

STATISTICS = "gamma beta average variance"
Function = Callable[..., Any]


def convolved(x: Any, w: Any, *b: Any, groups: int = 1) -> Any:
    return convolution(x, w, *b, stride=(2,), dilation=(1,), padding=((1, 1),), groups=groups)


def grown(x: Any, w: Any, groups: int = 1) -> Any:
    return deconvolution(x, w, size=(9,), stride=(2,), dilation=(1,), padding=((1, 0),), groups=groups)


def turned(x: Any) -> Any:
    return transpose(x, axes=(0, 2, 1))


def normalised(product: Any, *statistics: Any) -> Any:
    return batch_norm(product, *statistics, epsilon=1e-5)


def by_channel(product: Any, *statistics: Any) -> Any:
    """Where channels are the first axis of an item."""
    return normalised(product, *(reshape(s, shape=(*s.shape, 1)) for s in statistics))


def of(function: Function, dtype: str = "float32", fixed: str = f"w {STATISTICS} b", **shapes: str) -> Graph:
    units = shapes.pop("units", "[6]")
    types = {**shapes, **dict.fromkeys(STATISTICS.split(), units)}
    return graph(function, fixed, **{name: dtype + shape for name, shape in types.items()})


FOLDED: dict[str, Graph] = {
    "a layer": of(lambda x, w, b, *s: normalised(dense(x, w, b), *s), x="[5,4]", w="[6,4]", b="[6]"),
    "one of float64": of(lambda x, w, *s: normalised(dense(x, w), *s), "float64", x="[2,3,4]", w="[6,4]"),
    "a convolution": of(lambda x, w, *s: normalised(convolved(x, w), *s), x="[2,7,4]", w="[6,3,4]"),
    "one with channels first": of(
        lambda x, w, b, *s: by_channel(turned(convolved(turned(x), w, b)), *s),
        x="[2,4,7]",
        w="[6,3,4]",
        b="[6]",
    ),
    "one in groups": of(
        lambda x, w, b, *s: normalised(convolved(x, w, b, groups=2), *s), x="[2,7,4]", w="[6,3,2]", b="[6]"
    ),
    "one of each channel": of(
        lambda x, w, *s: normalised(convolved(x, w, groups=3), *s), x="[2,7,3]", w="[6,3,1]"
    ),
    "a transposed one": of(lambda x, w, *s: normalised(grown(x, w), *s), x="[2,4,4]", w="[4,4,6]"),
    "a transposed one in groups": of(
        lambda x, w, *s: by_channel(turned(grown(x, w, groups=2)), *s), x="[2,4,4]", w="[4,4,3]"
    ),
}


def values_for(recorded: Graph) -> list[numpy.ndarray]:
    rng = numpy.random.default_rng(5)
    return [rng.uniform(0.3, 2, leaf.shape).astype(leaf.dtype) for leaf in recorded.inputs]


@pytest.mark.parametrize("name", FOLDED)
def test_what_normalises_a_product_is_part_of_its_weight(name: str) -> None:
    recorded = FOLDED[name]
    folded = verify(fold_batch_norms(recorded))
    assert "batch_norm" not in {n.operator.name for n in folded.nodes}
    assert verify(fold_batch_norms(folded)) == folded
    values = values_for(recorded)
    rtol = 2e-6 if recorded.outputs[0].dtype == "float32" else 1e-14
    for mine, wanted in zip(evaluate(folded, values), evaluate(recorded, values), strict=True):
        assert mine.dtype == wanted.dtype
        numpy.testing.assert_allclose(mine, wanted, rtol=rtol, atol=rtol)


def test_a_residual_block_is_one_kernel_without_a_multiplication() -> None:
    def block(x: Any, w: Any, *statistics: Any) -> Any:
        y = convolution(x, w, stride=(1,), dilation=(1,), padding=((0, 0),), groups=1)
        return neural.relu(normalised(y, *statistics) + x)

    recorded = of(block, x="[2,7,6]", w="[6,1,6]")
    program, values = Native(recorded), values_for(recorded)
    assert [launch.kernel.name for launch in program.schedule.launches] == ["convolution_add_relu"]
    numpy.testing.assert_allclose(program(*values)[0], evaluate(recorded, values)[0], rtol=2e-6)


def _two_readers(x: Any, w: Any, *statistics: Any) -> Any:
    product = dense(x, w)
    return normalised(product, *statistics) + product


def _also_a_result(x: Any, w: Any, *statistics: Any) -> Any:
    product = dense(x, w)
    return normalised(product, *statistics), product


def _by_row(x: Any, w: Any, *statistics: Any) -> Any:
    return normalised(dense(x, w), *(reshape(s, shape=(6, 1)) for s in statistics))


def _in_double(x: Any, w: Any, *statistics: Any) -> Any:
    return normalised(dense(x, w), *(pointwise.cast(s, dtype="float64") for s in statistics))


LAYER = {"x": "[6,4]", "w": "[6,4]"}
STAYS: dict[str, Graph] = {
    "a weight that is an argument": of(
        lambda x, w, *s: normalised(dense(x, w), *s), fixed=STATISTICS, **LAYER
    ),
    "a mean that is an argument": of(
        lambda x, w, *s: normalised(dense(x, w), *s), fixed="w gamma beta variance", **LAYER
    ),
    "something between": of(lambda x, w, *s: normalised(neural.relu(dense(x, w)), *s), **LAYER),
    "a product that somebody else reads": of(_two_readers, **LAYER),
    "a product that is a result": of(_also_a_result, **LAYER),
    "statistics of rows": of(_by_row, **LAYER),
    "statistics of another dtype": of(_in_double, **LAYER),
    "no product": of(lambda x, *s: normalised(x * 2, *s), x="[5,6]"),
    "one number for all": of(lambda x, w, *s: normalised(dense(x, w), *s), units="[]", **LAYER),
}


@pytest.mark.parametrize("name", STAYS)
def test_what_is_not_that_stays(name: str) -> None:
    assert fold_batch_norms(STAYS[name]) == STAYS[name]
