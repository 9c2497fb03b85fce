"""All functions that kernel source may call, besides those of ``codegen/values/functions.py``: a row each."""

from __future__ import annotations

from blockfuse.codegen.cpu.intrinsics.index_faults import NOTE_FAULT
from blockfuse.codegen.cpu.intrinsics.matrix_tile import MATRIX_TILE
from blockfuse.codegen.cpu.intrinsics.nontemporal import DRAIN, NEAR_MEMORY, STREAM
from blockfuse.codegen.cpu.intrinsics.product_tile import PRODUCT_TILE
from blockfuse.codegen.cpu.intrinsics.row_sweep import ROW_SWEEP
from blockfuse.codegen.cpu.intrinsics.transpose import TRANSPOSE
from blockfuse.codegen.cpu.intrinsics.window_tile import WINDOW_TILE

INTRINSICS = (
    PRODUCT_TILE,
    MATRIX_TILE,
    WINDOW_TILE,
    ROW_SWEEP,
    TRANSPOSE,
    NEAR_MEMORY,
    STREAM,
    DRAIN,
    NOTE_FAULT,
)
