"""Blocks, layers and parameters: ``from blockfuse import nn``."""

import sys
from typing import Any

from blockfuse.ir import hints
from blockfuse.ir.hints import no_attribute
from blockfuse.nn.block import Block, HybridBlock
from blockfuse.nn.layers.activations import (
    ELU,
    GELU,
    SELU,
    Activation,
    LeakyReLU,
    PReLU,
    SiLU,
    Swish,
)
from blockfuse.nn.layers.basic import (
    Dense,
    Dropout,
    Embedding,
    Flatten,
    HybridLambda,
    Identity,
    Lambda,
)
from blockfuse.nn.layers.containers import Concatenate, HybridConcatenate, HybridSequential, Sequential
from blockfuse.nn.layers.normalization import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    RMSNorm,
    SyncBatchNorm,
)
from blockfuse.nn.parameter import Constant, Parameter
from blockfuse.nn.parameter_dict import ParameterDict

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "Activation",
    "BatchNorm",
    "Block",
    "Concatenate",
    "Constant",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GroupNorm",
    "HybridBlock",
    "HybridConcatenate",
    "HybridLambda",
    "HybridSequential",
    "Identity",
    "InstanceNorm",
    "Lambda",
    "LayerNorm",
    "LeakyReLU",
    "PReLU",
    "Parameter",
    "ParameterDict",
    "RMSNorm",
    "Sequential",
    "SiLU",
    "Swish",
    "SyncBatchNorm",
]


def __getattr__(name: str) -> Any:
    raise no_attribute(f"module {__name__!r}", sys.modules[__name__], name, hints.LAYERS)
