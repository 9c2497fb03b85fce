"""The nets for pictures as data: layers that know their formula over the vocabulary and draw their parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy

from benchmarks.layers_by_hand import DenseLayer, Layer, PooledConvolution, Shape

Parameters = list[numpy.ndarray]


@dataclass(frozen=True)
class Learned:
    """A layer of the steps of training."""

    layer: Layer

    def draw(self, rng: numpy.random.Generator, before: Shape) -> tuple[Parameters, Shape, float]:
        """Parameters, the shape of an item of the result, and multiplications for one item."""
        weight, after = self.layer.shapes(before)
        windows = 4 * prod(after[1:]) if isinstance(self.layer, PooledConvolution) else 1
        parameters = [_weight(rng, weight), rng.uniform(-0.1, 0.1, weight[0]).astype(numpy.float32)]
        return parameters, after, float(prod(weight) * windows)

    def forward(self, F: Any, x: Any, take: Iterator[Any]) -> Any:
        return self.layer.forward(F, x, next(take), next(take))


@dataclass(frozen=True)
class Normed:
    """A convolution without bias that keeps sizes (over the stride), batch norm, and an activation of the vocabulary."""

    channels: int
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"  # "": none
    depthwise: bool = False

    def draw(self, rng: numpy.random.Generator, before: Shape) -> tuple[Parameters, Shape, float]:
        inputs = 1 if self.depthwise else before[0]
        weight = _weight(rng, (self.channels, inputs, self.kernel, self.kernel))
        after = (self.channels, *(-(-size // self.stride) for size in before[1:]))
        bounds = ((0.5, 1.5), (-0.1, 0.1), (-0.1, 0.1), (0.5, 1.5))  # gain, shift, mean, variance
        norm = [rng.uniform(*b, self.channels).astype(numpy.float32) for b in bounds]
        return [weight, *norm], after, float(weight.size * prod(after[1:]))

    def forward(self, F: Any, x: Any, take: Iterator[Any]) -> Any:
        groups = self.channels if self.depthwise else 1
        x = F.convolution(x, next(take), None, self.kernel // 2, self.stride, groups)
        x = F.batch_norm(x, *(next(take) for _ in range(4)))
        return getattr(F, self.activation)(x) if self.activation else x


@dataclass(frozen=True)
class Residual:
    """``body(x) + shortcut(x)``, or ``+ x``, and ReLU if the net has it there."""

    body: tuple[Normed, ...]
    shortcut: Normed | None = None
    relu: bool = True

    def draw(self, rng: numpy.random.Generator, before: Shape) -> tuple[Parameters, Shape, float]:
        parameters, after, work = drawn(self.body, rng, before)
        found = self.shortcut.draw(rng, before) if self.shortcut else ([], after, 0.0)
        return [*parameters, *found[0]], after, work + found[2]

    def forward(self, F: Any, x: Any, take: Iterator[Any]) -> Any:
        y = applied(self.body, F, x, take)
        y = y + (self.shortcut.forward(F, x, take) if self.shortcut else x)
        return F.relu(y) if self.relu else y


@dataclass(frozen=True)
class WidePool:
    """The maximum of three by three, two apart."""

    def draw(self, _rng: numpy.random.Generator, before: Shape) -> tuple[Parameters, Shape, float]:
        return [], (before[0], *(-(-size // 2) for size in before[1:])), 0.0

    def forward(self, F: Any, x: Any, _take: Iterator[Any]) -> Any:
        return F.wide_pool(x)


@dataclass(frozen=True)
class Mean:
    """The mean of each channel: (batch, channels)."""

    def draw(self, _rng: numpy.random.Generator, before: Shape) -> tuple[Parameters, Shape, float]:
        return [], before[:1], 0.0

    def forward(self, F: Any, x: Any, _take: Iterator[Any]) -> Any:
        return F.mean_of_channels(x)


PictureLayer = Learned | Normed | Residual | WidePool | Mean


@dataclass(frozen=True)
class PictureNet:
    """Layers one after the other, for items of one shape."""

    item: Shape
    layers: tuple[PictureLayer, ...]

    def __call__(self, F: Any, x: Any, *parameters: Any) -> Any:
        return applied(self.layers, F, x, iter(parameters))

    def parameters(self, rng: numpy.random.Generator) -> Parameters:
        return drawn(self.layers, rng, self.item)[0]

    @property
    def multiplications(self) -> float:
        """For one item."""
        return drawn(self.layers, numpy.random.default_rng(0), self.item)[2]


def applied(layers: tuple[PictureLayer, ...], F: Any, x: Any, take: Iterator[Any]) -> Any:
    """The formula of layers one after the other."""
    for layer in layers:
        x = layer.forward(F, x, take)
    return x


def drawn(
    layers: tuple[PictureLayer, ...], rng: numpy.random.Generator, item: Shape
) -> tuple[Parameters, Shape, float]:
    """What ``draw`` says, of layers one after the other."""
    found: Parameters = []
    total = 0.0
    for layer in layers:
        parameters, item, work = layer.draw(rng, item)
        found, total = [*found, *parameters], total + work
    return found, item, total


def _weight(rng: numpy.random.Generator, shape: Shape) -> numpy.ndarray:
    bound = (6 / prod(shape[1:])) ** 0.5
    return rng.uniform(-bound, bound, shape).astype(numpy.float32)


# -- the nets ------------------------------------------------------------------------------------------------


def _stages(widths: tuple[int, ...], blocks: int) -> tuple[PictureLayer, ...]:
    """Residual blocks of two convolutions; but for the first, each stage begins by halving sizes."""
    found, before = [], widths[0]
    for width in widths:
        for _ in range(blocks):
            halves = width != before
            body = (Normed(width, stride=2 if halves else 1), Normed(width, activation=""))
            found.append(Residual(body, Normed(width, 1, 2, activation="") if halves else None))
            before = width
    return tuple(found)


def _inverted(stages: tuple[tuple[int, int, int], ...], before: int) -> tuple[PictureLayer, ...]:
    """Blocks of MobileNetV2, six times as wide within; a stage: channels, blocks, first stride."""
    found: list[PictureLayer] = []
    for channels, count, first in stages:
        for place in range(count):
            stride, wide = 1 if place else first, 6 * before
            body = (
                Normed(wide, 1, activation="relu6"),
                Normed(wide, 3, stride, "relu6", depthwise=True),
                Normed(channels, 1, activation=""),
            )
            found += [Residual(body, relu=False)] if stride == 1 and before == channels else body
            before = channels
    return tuple(found)


def _ends(units: int) -> tuple[PictureLayer, ...]:
    return Mean(), Learned(DenseLayer(units, relu=False))


LENET_LAYERS: tuple[Layer, ...] = (
    PooledConvolution(6, 5, 2),
    PooledConvolution(16, 5, 0),
    DenseLayer(120),
    DenseLayer(84),
    DenseLayer(10, relu=False),
)
LENET = PictureNet((1, 28, 28), tuple(map(Learned, LENET_LAYERS)))
RESNET20 = PictureNet((3, 32, 32), (Normed(16), *_stages((16, 32, 64), 3), *_ends(10)))
RESNET18 = PictureNet(
    (3, 224, 224), (Normed(64, 7, 2), WidePool(), *_stages((64, 128, 256, 512), 2), *_ends(1000))
)
MOBILE = PictureNet(
    (3, 96, 96),
    (
        Normed(32, 3, 2, "relu6"),
        Normed(32, 3, 1, "relu6", depthwise=True),
        Normed(16, 1, activation=""),
        *_inverted(((24, 2, 2), (32, 3, 2), (64, 4, 2)), 16),
        *_ends(10),
    ),
)
# name, net, batch -> how many times as fast as the best peer
PICTURES: tuple[tuple[str, PictureNet, int, float], ...] = (
    ("LeNet-5 28x28", LENET, 1, 2.5),
    ("LeNet-5 28x28", LENET, 32, 2.0),
    ("ResNet-20 32x32", RESNET20, 1, 1.1),
    ("ResNet-20 32x32", RESNET20, 16, 1.1),
    ("ResNet-18 224x224", RESNET18, 1, 1.1),
    ("MobileNetV2-like 96x96", MOBILE, 1, 1.3),
)
