"""Gluon's module names for what lives elsewhere: ``from blockfuse.gluon import nn, Parameter``."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from blockfuse.gluon import loss, nn, parameter
from blockfuse.ir import hints
from blockfuse.nn import Block, HybridBlock
from blockfuse.nn.parameter import Constant, Parameter
from blockfuse.nn.symbol_block import SymbolBlock
from blockfuse.nn.trainer import Trainer

if TYPE_CHECKING:
    from blockfuse.gluon import data, metric, model_zoo, rnn, utils

__all__ = [
    "Block",
    "Constant",
    "HybridBlock",
    "Parameter",
    "SymbolBlock",
    "Trainer",
    "data",
    "loss",
    "metric",
    "model_zoo",
    "nn",
    "parameter",
    "rnn",
    "utils",
]

# Loaded when somebody asks: who only calls nets needs neither them nor what they import (multiprocessing, gzip).
_LOADED_LATER = ("data", "metric", "model_zoo", "rnn", "utils")


def __getattr__(name: str) -> Any:
    if name in _LOADED_LATER:
        return import_module(f"blockfuse.gluon.{name}")
    raise hints.no_attribute(sys.modules[__name__], name, {**hints.LAYERS, **hints.GLUON})
