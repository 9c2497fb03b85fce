"""Nets for pictures that join channels: GoogLeNet and DenseNet."""

from __future__ import annotations

from typing import Any

from blockfuse.array import np
from blockfuse.nn.block import Block
from blockfuse.nn.layers.activations import Activation
from blockfuse.nn.layers.basic import Dropout, Flatten
from blockfuse.nn.layers.convolution import Conv2D
from blockfuse.nn.layers.normalization import BatchNorm
from blockfuse.nn.layers.pooling import AvgPool2D, GlobalAvgPool2D, MaxPool2D
from blockfuse.nn.model_zoo.vision_net import VisionNet, branches, chain

# 1 x 1, 3 x 3 behind its reduction, 5 x 5 behind its reduction, pooling; a pooling between stages (Szegedy et al. 2014,
# table 1)
INCEPTIONS: tuple[tuple[tuple[int, ...], ...], ...] = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
# depth -> channels at the beginning, growth, layers of each block (Huang et al. 2016, table 1)
DENSENET_STAGES = {
    121: (64, 32, (6, 12, 24, 16)),
    161: (96, 48, (6, 12, 36, 24)),
    169: (64, 32, (6, 12, 32, 32)),
    201: (64, 32, (6, 12, 48, 32)),
}


def googlenet(classes: int = 1000, share: int = 1) -> VisionNet:
    """GoogLeNet without its auxiliary outputs (Szegedy et al. 2014, table 1)."""
    features = chain(
        _relu(64 // share, 7, 2), MaxPool2D(3, 2, 1), _relu(64 // share, 1), _relu(192 // share, 3)
    )
    for stage in INCEPTIONS:
        features.add(MaxPool2D(3, 2, 1))
        features.add(_inception(*(channels // share for channels in sizes)) for sizes in stage)
    features.add(GlobalAvgPool2D(), Flatten(), Dropout(0.4))
    return VisionNet(features, classes)


def _inception(one: int, before_three: int, three: int, before_five: int, five: int, pooled: int) -> Block:
    return branches(
        _relu(one, 1),
        chain(_relu(before_three, 1), _relu(three, 3)),
        chain(_relu(before_five, 1), _relu(five, 5)),
        chain(MaxPool2D(3, 1, 1), _relu(pooled, 1)),
    )


def _relu(channels: int, kernel: int, stride: int = 1) -> Block:
    return Conv2D(channels, kernel, stride, kernel // 2, activation="relu")


class Growing(Block):
    """x with the channels of body(x) behind its own (Huang et al. 2016, equation 2)."""

    def __init__(self, body: Block) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Any) -> Any:
        return np.concatenate([x, self.body(x)], axis=1)


def densenet(depth: int, classes: int = 1000) -> VisionNet:
    """DenseNet-BC (Huang et al. 2016, table 1)."""
    return densenet_of(*DENSENET_STAGES[depth], classes)


def densenet_of(width: int, growth: int, counts: tuple[int, ...], classes: int) -> VisionNet:
    """DenseNet-BC of blocks of so many layers, each of which adds ``growth`` channels; half go between two blocks."""
    features = chain(
        Conv2D(width, 7, 2, 3, use_bias=False), BatchNorm(), Activation("relu"), MaxPool2D(3, 2, 1)
    )
    for place, count in enumerate(counts):
        if place:
            width //= 2
            features.add(*_activated(width, 1), AvgPool2D())
        features.add(Growing(chain(*_activated(4 * growth, 1), *_activated(growth, 3))) for _ in range(count))
        width += count * growth
    features.add(BatchNorm(), Activation("relu"), GlobalAvgPool2D(), Flatten())
    return VisionNet(features, classes)


def _activated(channels: int, kernel: int) -> tuple[Block, ...]:
    return BatchNorm(), Activation("relu"), Conv2D(channels, kernel, padding=kernel // 2, use_bias=False)
