"""The operator table: importing this package fills ``blockfuse.ir.operator.TABLE``."""

from blockfuse.ir.operators import (
    contractions,
    convolution,
    drawing,
    einsum,
    filling,
    indexing,
    linear_algebra,
    masked,
    movement,
    neural,
    normalization,
    pointwise,
    pooling,
    reductions,
    sorting,
    windows,
)

__all__ = [
    "contractions",
    "convolution",
    "drawing",
    "einsum",
    "filling",
    "indexing",
    "linear_algebra",
    "masked",
    "movement",
    "neural",
    "normalization",
    "pointwise",
    "pooling",
    "reductions",
    "sorting",
    "windows",
]
