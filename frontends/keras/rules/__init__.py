"""Rules, one file for each kind of operation; importing the package fills the tables."""

from __future__ import annotations

from blockfuse.frontends.keras.rules import (
    control,
    normalizing,
    pointwise,
    preparing,
    products,
    recurrent,
    reducing,
    shaping,
    windows,
)

__all__ = [
    "control",
    "normalizing",
    "pointwise",
    "preparing",
    "products",
    "recurrent",
    "reducing",
    "shaping",
    "windows",
]
