"""Functions of torch as people write them."""

from __future__ import annotations

from typing import Any

from torch.overrides import resolve_name


def name_of(func: Any) -> str:
    """The name of a function of torch, such as ``torch.Tensor.sum``."""
    try:
        found = resolve_name(func)
    except Exception:  # of a function that has none
        found = None
    return found or str(getattr(func, "__qualname__", None) or getattr(func, "__name__", None) or func)
