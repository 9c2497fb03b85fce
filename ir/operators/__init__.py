"""The operator table: importing this package fills ``blockfuse.ir.operator.TABLE``."""

from blockfuse.ir.operators import (
    contractions,
    indexing,
    movement,
    neural,
    pointwise,
    reductions,
    sorting,
)

__all__ = ["contractions", "indexing", "movement", "neural", "pointwise", "reductions", "sorting"]
