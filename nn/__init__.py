"""Blocks, layers and parameters: ``from blockfuse import nn``."""

import sys
from typing import Any

from blockfuse.ir import hints
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
from blockfuse.nn.layers.convolution import (
    Conv1D,
    Conv1DTranspose,
    Conv2D,
    Conv2DTranspose,
    Conv3D,
    Conv3DTranspose,
)
from blockfuse.nn.layers.normalization import (
    BatchNorm,
    BatchNormReLU,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    RMSNorm,
    SyncBatchNorm,
)
from blockfuse.nn.layers.pooling import (
    AvgPool1D,
    AvgPool2D,
    AvgPool3D,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    GlobalAvgPool3D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    GlobalMaxPool3D,
    MaxPool1D,
    MaxPool2D,
    MaxPool3D,
)
from blockfuse.nn.layers.spatial import (
    PixelShuffle1D,
    PixelShuffle2D,
    PixelShuffle3D,
    ReflectionPad2D,
    UpSampling,
)
from blockfuse.nn.parameter import Constant, Parameter
from blockfuse.nn.parameter_dict import ParameterDict
from blockfuse.nn.symbol_block import SymbolBlock

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "Activation",
    "AvgPool1D",
    "AvgPool2D",
    "AvgPool3D",
    "BatchNorm",
    "BatchNormReLU",
    "Block",
    "Concatenate",
    "Constant",
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "Conv3DTranspose",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalAvgPool3D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPool3D",
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
    "MaxPool1D",
    "MaxPool2D",
    "MaxPool3D",
    "PReLU",
    "Parameter",
    "ParameterDict",
    "PixelShuffle1D",
    "PixelShuffle2D",
    "PixelShuffle3D",
    "RMSNorm",
    "ReflectionPad2D",
    "Sequential",
    "SiLU",
    "Swish",
    "SymbolBlock",
    "SyncBatchNorm",
    "UpSampling",
]


def __getattr__(name: str) -> Any:
    raise hints.no_attribute(sys.modules[__name__], name, hints.LAYERS)
