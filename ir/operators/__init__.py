"""The operator table: importing this package fills ``blockfuse.ir.operator.TABLE``."""

from blockfuse.ir.operators import (
    contractions,
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
    reductions,
    sorting,
)

__all__ = [
    "contractions",
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
    "reductions",
    "sorting",
]
