"""Inception v3 (Szegedy et al. 2015, "Rethinking the Inception Architecture"): wide convolutions as rows of thin ones."""

from __future__ import annotations

from blockfuse.nn.block import Block
from blockfuse.nn.layers.activations import Activation
from blockfuse.nn.layers.basic import Dropout, Flatten
from blockfuse.nn.layers.convolution import Conv2D
from blockfuse.nn.layers.normalization import BatchNorm
from blockfuse.nn.layers.pooling import AvgPool2D, GlobalAvgPool2D, MaxPool2D
from blockfuse.nn.model_zoo.vision_net import VisionNet, branches, chain

Size = int | tuple[int, int]

WIDE, HIGH = (1, 7), (7, 1)  # a 7 x 7 convolution in two (section 3.2)
POOLED = (32, 64, 64)  # channels behind the pooling of each block of the first stage
INNER = (128, 160, 160, 192)  # channels inside of each block of the second stage


def inception_v3(classes: int = 1000, share: int = 1) -> VisionNet:
    """Inception v3 without its auxiliary output (Szegedy et al. 2015, table 1)."""
    features = chain(
        _layer(32 // share, 3, 2, 0), _layer(32 // share, 3, 1, 0), _layer(64 // share, 3), MaxPool2D(3, 2)
    )
    features.add(_layer(80 // share, 1), _layer(192 // share, 3, 1, 0), MaxPool2D(3, 2))
    features.add(_of_squares(pooled, share) for pooled in POOLED)
    features.add(_to_the_second_stage(share))
    features.add(_of_strips(inner, share) for inner in INNER)
    features.add(_to_the_third_stage(share))
    features.add(_of_spread_strips(share) for _ in range(2))
    features.add(GlobalAvgPool2D(), Flatten(), Dropout(0.5))
    return VisionNet(features, classes)


def _of_squares(pooled: int, share: int) -> Block:
    """Figure 5."""
    return branches(
        _row(share, (64, 1)),
        _row(share, (48, 1), (64, 5)),
        _row(share, (64, 1), (96, 3), (96, 3)),
        _pooled(pooled, share),
    )


def _of_strips(inner: int, share: int) -> Block:
    """Figure 6."""
    return branches(
        _row(share, (192, 1)),
        _row(share, (inner, 1), (inner, WIDE), (192, HIGH)),
        _row(share, (inner, 1), (inner, HIGH), (inner, WIDE), (inner, HIGH), (192, WIDE)),
        _pooled(192, share),
    )


def _of_spread_strips(share: int) -> Block:
    """Figure 7."""
    return branches(
        _row(share, (320, 1)),
        chain(_row(share, (384, 1)), _spread(share)),
        chain(_row(share, (448, 1), (384, 3)), _spread(share)),
        _pooled(192, share),
    )


def _to_the_second_stage(share: int) -> Block:
    """Half as many rows and columns (figure 10)."""
    deep = chain(_row(share, (64, 1), (96, 3)), _layer(96 // share, 3, 2, 0))
    return branches(_layer(384 // share, 3, 2, 0), deep, MaxPool2D(3, 2))


def _to_the_third_stage(share: int) -> Block:
    square = chain(_row(share, (192, 1)), _layer(320 // share, 3, 2, 0))
    strips = chain(_row(share, (192, 1), (192, WIDE), (192, HIGH)), _layer(192 // share, 3, 2, 0))
    return branches(square, strips, MaxPool2D(3, 2))


def _row(share: int, *layers: tuple[int, Size]) -> Block:
    """Layers one after the other, each with its channels and its window."""
    return chain(*(_layer(channels // share, kernel) for channels, kernel in layers))


def _spread(share: int) -> Block:
    """A 3 x 3 convolution in two, side by side."""
    return branches(_layer(384 // share, (1, 3)), _layer(384 // share, (3, 1)))


def _pooled(channels: int, share: int) -> Block:
    return chain(AvgPool2D(3, 1, 1), _layer(channels // share, 1))


def _layer(channels: int, kernel: Size, stride: int = 1, padding: Size | None = None) -> Block:
    """A convolution that keeps sizes unless ``padding`` says otherwise, batch norm and ReLU."""
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    around = (height // 2, width // 2) if padding is None else padding
    convolution = Conv2D(channels, kernel, stride, around, use_bias=False)
    return chain(convolution, BatchNorm(epsilon=0.001), Activation("relu"))
