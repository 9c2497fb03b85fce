"""The source of typical kernels, on a machine with vectors of 64 bytes, as it stands in ``tests/goldens/``.

``pytest --update-goldens`` writes the files anew; the difference is for a person to read.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from golden_plugin import FOLDER, golden
from graphs import graph

from blockfuse.codegen.compile import compile_flow
from blockfuse.codegen.cpu.source.render import render
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.scheduling.steps import Launch
from blockfuse.ir.operators import (
    contractions,
    drawing,
    indexing,
    linear_algebra,
    movement,
    neural,
    normalization,
    pointwise,
    reductions,
    sorting,
)
from blockfuse.ir.operators.convolution import convolution

__all__ = ["golden"]  # the fixture

MACHINE = Machine(vector_bytes=64, accumulators=28, features="", threads=1, name="avx512")


def _layer(x: Any, w: Any, b: Any) -> Any:
    return neural.relu(contractions.dense(x, w, b))


def _chain(x: Any, y: Any) -> Any:
    return pointwise.where(
        pointwise.greater(x, y), pointwise.exp(-1 * x) * 0.5, pointwise.cast(y, dtype="float64")
    )


def _weights(rows: int, inner: int, units: int) -> dict[str, str]:
    return {"x": f"float32[{rows}, {inner}]", "w": f"float32[{units}, {inner}]", "b": f"float32[{units}]"}


def _turned(x: Any) -> Any:
    return movement.transpose(x, axes=(1, 0))


def _normed(x: Any, g: Any, b: Any) -> Any:
    return normalization.layer_norm(x, g, b, axis=(1,), epsilon=1e-5)


def _convolved(x: Any, w: Any) -> Any:
    return neural.relu(_convolution(x, w, stride=(1, 1)))


def _added_to(x: Any, w: Any, b: Any, y: Any) -> Any:
    return neural.relu(_convolution(x, w, b, stride=(2, 2)) + y)


def _in_groups(x: Any, w: Any, b: Any) -> Any:
    return neural.relu(_convolution(x, w, b, stride=(1, 1), groups=2))


def _convolution(*operands: Any, stride: tuple[int, int], groups: int = 1) -> Any:
    ones, borders = (1, 1), ((1, 1), (1, 1))
    return convolution(*operands, stride=stride, dilation=ones, padding=borders, groups=groups)


# name of the file -> (function, its arguments)
KERNELS: dict[str, tuple[Callable[..., Any], dict[str, str]]] = {
    "dense_relu_of_one_row": (_layer, _weights(1, 784, 256)),
    "dense_relu_of_a_few_rows": (_layer, _weights(2, 20, 10)),
    "dense_relu_of_many_rows": (_layer, _weights(256, 784, 250)),
    "dense_relu_of_any_number_of_rows": (_layer, _weights(61, 784, 250)),
    "dense_relu_of_bf16_weights": (_layer, _weights(1, 784, 256)),
    "dense_relu_of_int8_weights": (_layer, _weights(4, 40, 10)),
    "stacked_product": (
        lambda x, y: contractions.matmul(x, y) * 0.125,
        {"x": "float32[6, 40, 16]", "y": "float32[6, 16, 40]"},
    ),
    "softmax": (lambda x: neural.softmax(x, axis=1), {"x": "float32[32, 100]"}),
    "softmax_of_a_few_elements": (lambda x: neural.softmax(x, axis=1), {"x": "float32[32, 10]"}),
    "layer_norm": (_normed, {"x": "float32[32, 64]", "g": "float32[64]", "b": "float32[64]"}),
    "embedding": (
        lambda w, i, p: indexing.take_at(w, i, pattern=(("array", 0),)) * 0.5 + p,
        {"w": "float32[1000, 128]", "i": "int32[64, 32]", "p": "float32[32, 128]"},
    ),
    "picked_elements": (
        lambda x, i: indexing.along_axis(x, i, 1),
        {"x": "float32[64, 10]", "i": "int64[64, 3]"},
    ),
    "embedding_gradient": (
        lambda v, i: indexing.add_at(movement.filled(0, (1000, 128), v.dtype), v, i, pattern=(("array", 0),)),
        {"v": "float32[64, 32, 128]", "i": "int32[64, 32]"},
    ),
    "picked_gradient": (
        lambda x, v, i: indexing.add_at(x, v, i, pattern=(("along", 0, 2), ("array", 0))),
        {"x": "bool[64, 10]", "v": "bool[64, 3]", "i": "int64[64, 3]"},
    ),
    "elementwise_chain": (_chain, {"x": "float64[8, 5]", "y": "float32[5]"}),
    "map_of_rows_of_odd_length": (lambda x, y: x * 2 + y, {"x": "float32[8, 31]", "y": "float32[31]"}),
    "sum_of_columns": (lambda x: reductions.sum_(x * x, axis=(0,), keepdims=False), {"x": "float32[32, 10]"}),
    "maximum_of_a_middle_axis": (
        lambda x: reductions.max_(x, axis=(1,), keepdims=False),
        {"x": "int32[4, 5, 6]"},
    ),
    "mean_of_everything": (
        lambda x: reductions.mean(x, axis=(0, 1), keepdims=False),
        {"x": "float32[32, 10]"},
    ),
    "places_of_maxima": (lambda x: reductions.argmax(x, axis=1), {"x": "float32[32, 10]"}),
    "running_sums": (lambda x: sorting.cumsum(x, axis=1), {"x": "float32[8, 5]"}),
    "running_sums_of_a_middle_axis": (lambda x: sorting.cumsum(x, axis=1), {"x": "bool[4, 5, 6]"}),
    "running_products_of_columns": (lambda x: sorting.cumprod(x, axis=0), {"x": "float32[8, 5]"}),
    "solution_of_equations": (linear_algebra.solve, {"x": "float32[5, 8, 8]", "y": "float32[8, 1]"}),
    "inverse": (linear_algebra.inverse, {"x": "float64[3, 3]"}),
    "determinant": (linear_algebra.det, {"x": "int32[9, 4, 4]"}),
    "sorted_rows": (lambda x: sorting.sort(x, axis=1), {"x": "float32[64, 10]"}),
    "order_of_columns": (lambda x: sorting.argsort(x, axis=0), {"x": "bool[7, 20]"}),
    "draws": (lambda: drawing.dropout_mask(shape=(1000,), p=0.4, dtype="float32"), {}),
    "copy_of_a_transposed_matrix": (_turned, {"x": "float32[8, 5]"}),
    "concatenate": (
        lambda x, y: movement.concatenate(x, y, axis=1),
        {"x": "float32[8, 5]", "y": "int32[8, 3]"},
    ),
    "convolution_in_groups": (
        _in_groups,
        {"x": "float32[2, 5, 8, 6]", "w": "float32[20, 3, 3, 3]", "b": "float32[20]"},
    ),
    "convolution_of_one_image": (_convolved, {"x": "float32[1, 9, 9, 3]", "w": "float32[8, 3, 3, 3]"}),
    "convolution_of_a_batch": (
        _added_to,
        {
            "x": "float32[3, 8, 8, 4]",
            "w": "float32[20, 3, 3, 4]",
            "b": "float32[20]",
            "y": "float32[3, 4, 4, 20]",
        },
    ),
    "flags": (lambda x, c: pointwise.logical_and(pointwise.isnan(x), c), {"x": "float32[9]", "c": "bool[9]"}),
}


BATCHES = {"dense_relu_of_any_number_of_rows": 61}  # name of the file -> what stands for any number
# name of the file -> the form of weights
WEIGHTS = {"dense_relu_of_bf16_weights": "bf16", "dense_relu_of_int8_weights": "int8"}


@pytest.mark.parametrize("name", KERNELS)
def test_the_source_of_kernels_is_that_of_the_golden_file(
    name: str, golden: Callable[[str, str], None]
) -> None:
    function, types = KERNELS[name]
    recorded = graph(function, "w b g" if "w" in types or "g" in types else "", **types)
    machine = replace(MACHINE, weights=WEIGHTS.get(name, MACHINE.weights))
    plan = compile_flow(recorded, machine, batch=BATCHES.get(name, 0)).schedule
    sources = dict.fromkeys(render(s.kernel) for s in plan.steps if isinstance(s, Launch))
    golden(f"{name}.txt", "\n\n".join(sources))


def test_there_is_no_golden_file_too_many() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(KERNELS)
