"""Importing this fills the table: each module declares the rules of a family of operators."""

from blockfuse.frontends.onnx.rules import (
    attending,
    control,
    convolving,
    elementwise,
    gathering,
    normalizing,
    quantizing,
    recurrent,
    reducing,
    resizing,
    shaping,
    signals,
)
from blockfuse.frontends.onnx.rules.table import RULES

__all__ = [
    "RULES",
    "attending",
    "control",
    "convolving",
    "elementwise",
    "gathering",
    "normalizing",
    "quantizing",
    "recurrent",
    "reducing",
    "resizing",
    "shaping",
    "signals",
]
