"""Typical kernels of a device, by name: their goldens, and what their machine code must have."""

from collections.abc import Callable
from typing import Any

from graphs import graph

from blockfuse.codegen.compile import compile_flow
from blockfuse.codegen.cuda.native.isa import machine
from blockfuse.codegen.cuda.render import render
from blockfuse.codegen.cuda.source.device_source import DeviceSource
from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.codegen.scheduling.steps import Launch
from blockfuse.ir.operators import (
    drawing,
    indexing,
    movement,
    neural,
    normalization,
    pointwise,
    reductions,
    sorting,
)

MACHINE = machine((9, 0))

Columns = tuple[Callable[..., Any], dict[str, str]]


def _norm(extent: int) -> Columns:
    def normed(x: Any, g: Any, b: Any) -> Any:
        return normalization.layer_norm(x, g, b, axis=(1,), epsilon=1e-5)

    return normed, {"x": f"float32[64, {extent}]", "g": f"float32[{extent}]", "b": f"float32[{extent}]"}


def _norm_and_activations(x: Any) -> Any:
    """More instructions for each element than are unrolled for a whole warp's share of a row."""
    value = (x - reductions.mean(x, axis=(1,), keepdims=True)) * 0.5
    for _ in range(3):
        value = neural.gelu(value, approximate=True)
    return value


def _softmax(extent: int) -> Columns:
    return lambda x: neural.softmax(x, axis=1), {"x": f"float32[64, {extent}]"}


def _chain(x: Any, y: Any) -> Any:
    return neural.gelu(x * 0.5 + y, approximate=False) + x


def _total(x: Any) -> Any:
    return reductions.sum_(x * x, axis=(0,), keepdims=False)


# name -> (function, its arguments)
KERNELS: dict[str, Columns] = {
    "elementwise_chain": (_chain, {"x": "float32[1000]", "y": "float32[1000]"}),
    "added_row": (lambda x, y: neural.relu(x + y), {"x": "float32[64, 256]", "y": "float32[256]"}),
    "added_short_row": (lambda x, y: neural.relu(x + y), {"x": "float32[64, 10]", "y": "float32[10]"}),
    "activations": (
        lambda x: neural.sigmoid(x) * pointwise.tanh(x) + neural.softplus(x) * pointwise.log(x),
        {"x": "float32[1000]"},
    ),
    "exponential": (pointwise.exp, {"x": "float32[8, 3]"}),
    "flags": (lambda x, c: pointwise.logical_and(pointwise.isnan(x), c), {"x": "float32[9]", "c": "bool[9]"}),
    "to_integers": (lambda x: pointwise.cast(x, dtype="int32"), {"x": "float32[9]"}),
    "embedding": (
        lambda w, i, p: indexing.take_at(w, i, pattern=(("array", 0),)) * 0.5 + p,
        {"w": "float32[1000, 128]", "i": "int64[64, 32]", "p": "float32[32, 128]"},
    ),
    "embedding_gradient": (
        lambda v, i: indexing.add_at(movement.filled(0, (1000, 128), v.dtype), v, i, pattern=(("array", 0),)),
        {"v": "float32[64, 32, 128]", "i": "int64[64, 32]"},
    ),
    "picked_gradient": (
        lambda v, i: indexing.add_at(
            movement.filled(0, (64, 10), v.dtype), v, i, pattern=(("along", 0, 2), ("array", 0))
        ),
        {"v": "float32[64, 3]", "i": "int32[64, 3]"},
    ),
    "picked": (lambda x, i: indexing.along_axis(x, i, 1), {"x": "float32[64, 10]", "i": "int32[64, 3]"}),
    "flipped": (lambda x: movement.flip(x, axis=(1,)) * 2, {"x": "float32[9, 40]"}),
    "transposed": (lambda x: movement.transpose(x, axes=(1, 0)), {"x": "float32[80, 50]"}),
    "softmax_of_ten": _softmax(10),
    "softmax_of_a_warp": _softmax(1024),
    "softmax_of_a_block": _softmax(4096),
    "softmax_read_again": _softmax(100_000),
    "layer_norm_of_a_warp": _norm(1024),
    "layer_norm_of_a_block": _norm(8192),
    "norm_and_activations": (_norm_and_activations, {"x": "float32[64, 1024]"}),
    "places_of_maxima": (lambda x: reductions.argmax(x, axis=1), {"x": "float32[64, 1000]"}),
    "running_sums": (lambda x: sorting.cumsum(x, axis=1), {"x": "float32[64, 100]"}),
    "running_sums_of_a_middle_axis": (lambda x: sorting.cumsum(x, axis=1), {"x": "int8[4, 5, 6]"}),
    "sorted_rows": (lambda x: sorting.sort(x, axis=1), {"x": "float32[64, 10]"}),
    "order_of_columns": (lambda x: sorting.argsort(x, axis=0), {"x": "bool[7, 20]"}),
    "draws": (lambda: drawing.dropout_mask(shape=(1000,), p=0.4, dtype="float32"), {}),
    "maximum_of_rows": (lambda x: reductions.max_(x, axis=(1,), keepdims=False), {"x": "int32[4, 60]"}),
    "sum_of_columns": (_total, {"x": "float32[32, 10]"}),
    "sum_of_long_columns": (_total, {"x": "float32[512, 100]"}),
    "sum_of_very_long_columns": (_total, {"x": "float32[65536, 10]"}),
    "mean_of_everything": (
        lambda x: reductions.mean(x, axis=(0, 1), keepdims=False),
        {"x": "float32[3200, 1000]"},
    ),
}


def kernel(name: str) -> Kernel:
    """The last kernel of a function."""
    function, types = KERNELS[name]
    plan = compile_flow(graph(function, **types), MACHINE).schedule
    launches = [s for s in plan.steps if isinstance(s, Launch)]
    return launches[-1].kernel


def source(name: str) -> DeviceSource:
    return render(kernel(name))
