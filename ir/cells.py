"""Cells of notebooks, in the place of the files under which IPython compiles them."""

from __future__ import annotations

import sys


def cell_of(file: str) -> int | None:
    """The number of the cell that was compiled under this name when it last ran; None where it is none."""
    ask = getattr(sys.modules.get("IPython"), "get_ipython", None)
    compiler = getattr(ask() if ask is not None else None, "compile", None)
    number: int | None = getattr(compiler, "_filename_map", {}).get(file)
    return number
