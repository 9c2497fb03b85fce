"""Nets for pictures whose blocks add what they were given: ResNet and MobileNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from blockfuse.array import npx
from blockfuse.nn.block import Block
from blockfuse.nn.layers.activations import Activation
from blockfuse.nn.layers.basic import Dropout, Flatten
from blockfuse.nn.layers.convolution import Conv2D
from blockfuse.nn.layers.normalization import BatchNorm
from blockfuse.nn.layers.pooling import GlobalAvgPool2D, MaxPool2D
from blockfuse.nn.model_zoo.vision_net import VisionNet, chain, normalized

# depth -> blocks of each stage, and whether they are bottlenecks (He et al. 2015, table 1)
RESNET_STAGES = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
# widening, channels, blocks, first stride of each stage (Sandler et al. 2018, table 2)
INVERTED_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# channels and stride of each depthwise convolution and the pointwise one behind it (Howard et al. 2017, table 1)
DEPTHWISE = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *[(512, 1)] * 5,
    *((1024, 2), (1024, 1)),
)


class Residual(Block):
    """relu(body(x) + shortcut(x)) (He et al. 2015, figure 2); the shortcut is x itself where there is none."""

    def __init__(self, body: Block, shortcut: Block | None, activate: bool = True) -> None:
        super().__init__()
        self.body, self.shortcut, self.activate = body, shortcut, activate

    def forward(self, x: Any) -> Any:
        total = self.body(x) + (x if self.shortcut is None else self.shortcut(x))
        return npx.relu(total) if self.activate else total


class Preactivated(Block):
    """body(a) + shortcut(a) of a = relu(norm(x)), or + x itself (He et al. 2016, figure 1b)."""

    def __init__(self, body: Block, shortcut: Block | None) -> None:
        super().__init__()
        self.norm, self.body, self.shortcut = BatchNorm(), body, shortcut

    def forward(self, x: Any) -> Any:
        activated = npx.relu(self.norm(x))
        return self.body(activated) + (x if self.shortcut is None else self.shortcut(activated))


def resnet(depth: int, version: int = 1, classes: int = 1000, width: int = 64) -> VisionNet:
    """ResNet (He et al. 2015, table 1); version 2 has norm and activation before convolutions (He et al. 2016)."""
    counts, bottleneck = RESNET_STAGES[depth]
    features = chain(
        Conv2D(width, 7, 2, 3, use_bias=False), BatchNorm(), Activation("relu"), MaxPool2D(3, 2, 1)
    )
    features.add(_stages(counts, width, bottleneck, version))
    if version == 2:
        features.add(BatchNorm(), Activation("relu"))
    features.add(GlobalAvgPool2D(), Flatten())
    return VisionNet(features, classes)


def resnet20(classes: int = 10, width: int = 16) -> VisionNet:
    """The ResNet of 20 layers for pictures of 32 x 32 (He et al. 2015, section 4.2)."""
    features = chain(normalized(width, 3), *_stages((3, 3, 3), width, False, 1), GlobalAvgPool2D(), Flatten())
    return VisionNet(features, classes)


def _stages(counts: Sequence[int], width: int, bottleneck: bool, version: int) -> list[Block]:
    blocks: list[Block] = []
    before = width
    for stage, count in enumerate(counts):
        for place in range(count):
            channels, stride = width << stage, 2 if stage and not place else 1
            after = 4 * channels if bottleneck else channels
            plan = (channels, after, stride, bottleneck)
            changes = stride != 1 or after != before
            blocks.append(_block_v1(*plan, changes) if version == 1 else _block_v2(*plan, changes))
            before = after
    return blocks


def _block_v1(channels: int, after: int, stride: int, bottleneck: bool, changes: bool) -> Block:
    if bottleneck:
        body = chain(
            normalized(channels, 1, stride), normalized(channels, 3), normalized(after, 1, activate=None)
        )
    else:
        body = chain(normalized(channels, 3, stride), normalized(after, 3, activate=None))
    return Residual(body, normalized(after, 1, stride, activate=None) if changes else None)


def _block_v2(channels: int, after: int, stride: int, bottleneck: bool, changes: bool) -> Block:
    """The first norm and activation are the block's own."""
    sizes = (
        ((channels, 1, 1), (channels, 3, stride), (after, 1, 1))
        if bottleneck
        else ((channels, 3, stride), (after, 3, 1))
    )
    body = chain()
    for place, (units, kernel, step) in enumerate(sizes):
        body.add(*([BatchNorm(), Activation("relu")] if place else []))
        body.add(Conv2D(units, kernel, step, kernel // 2, use_bias=False))
    return Preactivated(body, Conv2D(after, 1, stride, use_bias=False) if changes else None)


# -- depthwise convolutions ----------------------------------------------------------------------------------


def mobilenet(multiplier: float = 1.0, classes: int = 1000) -> VisionNet:
    """MobileNet: depthwise and pointwise convolutions in turn (Howard et al. 2017, table 1), a multiplier for channels."""
    before = int(32 * multiplier)
    features = chain(normalized(before, 3, 2))
    for channels, stride in DEPTHWISE:
        after = int(channels * multiplier)
        features.add(normalized(before, 3, stride, groups=before), normalized(after, 1))
        before = after
    features.add(GlobalAvgPool2D(), Flatten())
    return VisionNet(features, classes)


def mobilenet_v2(multiplier: float = 1.0, classes: int = 1000, last: int = 1280) -> VisionNet:
    """MobileNetV2: inverted residuals with linear bottlenecks (Sandler et al. 2018, table 2)."""
    before = _rounded(32 * multiplier)
    features = chain(*_relu6(before, 3, 2))
    for widening, channels, count, first in INVERTED_STAGES:
        after = _rounded(channels * multiplier)
        for place in range(count):
            features.add(_inverted(before, after, widening, 1 if place else first))
            before = after
    features.add(
        *_relu6(_rounded(last * max(1.0, multiplier)), 1), GlobalAvgPool2D(), Flatten(), Dropout(0.2)
    )
    return VisionNet(features, classes)


def _inverted(before: int, after: int, widening: int, stride: int) -> Block:
    wide = before * widening
    body = chain(*(_relu6(wide, 1) if widening > 1 else []), *_relu6(wide, 3, stride, wide))
    body.add(normalized(after, 1, activate=None))
    return Residual(body, None, activate=False) if stride == 1 and before == after else body


class Relu6(Block):
    """min(max(x, 0), 6)."""

    def forward(self, x: Any) -> Any:
        return x.clip(0, 6)


def _relu6(channels: int, kernel: int, stride: int = 1, groups: int = 1) -> list[Block]:
    return [normalized(channels, kernel, stride, groups, activate=None), Relu6()]


def _rounded(channels: float) -> int:
    """To a multiple of 8, and not by more than a tenth down, as the authors' own nets."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near
