"""Nets for pictures that are one chain of layers: LeNet, AlexNet, VGG, NiN, SqueezeNet."""

from __future__ import annotations

from blockfuse.nn.block import Block
from blockfuse.nn.layers.activations import Activation
from blockfuse.nn.layers.basic import Dense, Dropout, Flatten
from blockfuse.nn.layers.convolution import Conv2D
from blockfuse.nn.layers.normalization import BatchNorm
from blockfuse.nn.layers.pooling import AvgPool2D, GlobalAvgPool2D, MaxPool2D
from blockfuse.nn.model_zoo.vision_net import VisionNet, branches, chain

# depth -> convolutions of each of the five stages (table 1 of the paper)
VGG_STAGES = {11: (1, 1, 2, 2, 2), 13: (2,) * 5, 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
# version -> channels and kernel of the first convolution, half the channels of the fire modules behind each pooling (1.0 is
# table 1 of the paper, 1.1 the authors' later one, which pools sooner)
SQUEEZENET_STAGES = {
    "1.0": (96, 7, ((64, 64, 128), (128, 192, 192, 256), (256,))),
    "1.1": (64, 3, ((64, 64), (128, 128), (192, 192, 256, 256))),
}


def lenet(classes: int = 10) -> VisionNet:
    """LeNet-5, with the full connection of its second stage (LeCun et al. 1998, section II.B)."""
    return VisionNet(
        chain(
            Conv2D(6, 5, padding=2, activation="tanh"),
            AvgPool2D(),
            Conv2D(16, 5, activation="tanh"),
            AvgPool2D(),
            Flatten(),
            Dense(120, activation="tanh"),
            Dense(84, activation="tanh"),
        ),
        classes,
    )


def alexnet(classes: int = 1000, units: int = 4096) -> VisionNet:
    """One column of AlexNet (Krizhevsky 2014, "One weird trick", section 5)."""
    features = chain(Conv2D(64, 11, 4, 2, activation="relu"), MaxPool2D(3, 2))
    features.add(Conv2D(192, 5, padding=2, activation="relu"), MaxPool2D(3, 2))
    features.add(Conv2D(channels, 3, padding=1, activation="relu") for channels in (384, 256, 256))
    features.add(MaxPool2D(3, 2), Flatten(), *_wide(units))
    return VisionNet(features, classes)


def vgg(
    depth: int, batch_norm: bool = False, classes: int = 1000, units: int = 4096, width: int = 64
) -> VisionNet:
    """VGG: stages of 3 x 3 convolutions (Simonyan and Zisserman 2014, table 1)."""
    features = chain()
    for stage, count in enumerate(VGG_STAGES[depth]):
        for _ in range(count):
            features.add(Conv2D(min(width << stage, 8 * width), 3, padding=1))
            features.add(*([BatchNorm()] if batch_norm else []), Activation("relu"))
        features.add(MaxPool2D())
    features.add(Flatten(), *_wide(units))
    return VisionNet(features, classes)


def _wide(units: int) -> list[Block]:
    """The two wide layers in front of the output."""
    return [block for _ in range(2) for block in (Dense(units, activation="relu"), Dropout(0.5))]


def nin(classes: int = 1000, width: int = 96) -> VisionNet:
    """Network in network: small nets for filters, no wide layer, ReLU at the end too (Lin et al. 2013, section 3)."""
    features = chain()
    for channels, kernel, stride, padding in (
        (width, 11, 4, 0),
        (width * 8 // 3, 5, 1, 2),
        (width * 4, 3, 1, 1),
    ):
        features.add(Conv2D(channels, kernel, stride, padding, activation="relu"))
        features.add(Conv2D(channels, 1, activation="relu") for _ in range(2))
        features.add(MaxPool2D(3, 2))
    features.add(Dropout(0.5))
    return VisionNet(
        features, chain(*(Conv2D(classes, k, 1, k // 2, activation="relu") for k in (3, 1, 1)), *_averaged())
    )


def squeezenet(version: str, classes: int = 1000) -> VisionNet:
    """SqueezeNet: fire modules, whose squeeze layer has an eighth of their channels (Iandola et al. 2016, section 3)."""
    channels, kernel, stages = SQUEEZENET_STAGES[version]
    features = chain(Conv2D(channels, kernel, 2, activation="relu"))
    for stage in stages:
        features.add(MaxPool2D(3, 2, ceil_mode=True), *map(_fire, stage))
    features.add(Dropout(0.5))
    return VisionNet(features, chain(Conv2D(classes, 1, activation="relu"), *_averaged()))


def _fire(channels: int) -> Block:
    narrow = Conv2D(channels // 4, 1, activation="relu")
    one, three = (Conv2D(channels, k, padding=k // 2, activation="relu") for k in (1, 3))
    return chain(narrow, branches(one, three))


def _averaged() -> tuple[Block, Block]:
    return GlobalAvgPool2D(), Flatten()
