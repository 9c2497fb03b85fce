"""What the nets for pictures have in common: features, and an output layer over them."""

from __future__ import annotations

from typing import Any

from blockfuse.nn.block import Block
from blockfuse.nn.layers.activations import Activation
from blockfuse.nn.layers.basic import Dense
from blockfuse.nn.layers.containers import HybridConcatenate, HybridSequential
from blockfuse.nn.layers.convolution import Conv2D
from blockfuse.nn.layers.normalization import BatchNorm


class VisionNet(Block):
    """``output(features(x))`` of pictures (batch, channels, height, width); programs replace ``output`` by their own."""

    def __init__(self, features: Block, output: Block | int) -> None:
        """output: a block, or the number of classes of a ``Dense``."""
        super().__init__()
        self.features = features
        self.output = Dense(output) if isinstance(output, int) else output

    def forward(self, x: Any) -> Any:
        return self.output(self.features(x))


def chain(*blocks: Block) -> HybridSequential:
    """Blocks one after the other."""
    return HybridSequential(*blocks)


def branches(*blocks: Block) -> HybridConcatenate:
    """Blocks side by side, their channels joined."""
    joined = HybridConcatenate(axis=1)
    joined.add(*blocks)
    return joined


def normalized(
    channels: int, kernel: int, stride: int = 1, groups: int = 1, activate: str | None = "relu"
) -> Block:
    """A convolution that keeps sizes (over the stride), batch norm and an activation."""
    convolution = Conv2D(channels, kernel, stride, kernel // 2, groups=groups, use_bias=False)
    return chain(convolution, BatchNorm(), *([Activation(activate)] if activate else []))
