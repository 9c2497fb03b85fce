"""Gluon's module names for what lives elsewhere: ``from blockfuse.gluon import nn, Parameter``."""

from blockfuse import nn
from blockfuse.gluon import data, metric, parameter, utils
from blockfuse.nn import Block, HybridBlock
from blockfuse.nn import losses as loss
from blockfuse.nn.parameter import Constant, Parameter
from blockfuse.nn.trainer import Trainer

__all__ = ["Block", "Constant", "HybridBlock", "Parameter", "Trainer", "data", "loss", "metric", "nn", "parameter", "utils"]
