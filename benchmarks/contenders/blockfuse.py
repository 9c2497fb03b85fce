"""blockfuse: blocks as its users write them, hybridized; chains are hybridized functions."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy

import blockfuse
from benchmarks import nets, sequence_nets
from benchmarks.contender import Way
from benchmarks.layers_by_hand import Layer, PooledConvolution, Shape
from benchmarks.picture_nets import Learned, Mean, Normed, PictureLayer, PictureNet, Residual, drawn
from benchmarks.sequence_blocks import Decoder, Encoder
from benchmarks.training import BETA1, BETA2, EPSILON, MOMENTUM, Step, Training
from blockfuse import gluon, nn, np, npx
from blockfuse.gluon import rnn
from blockfuse.runtime.inspection import settled


def layers(net: nets.Net, parameters: list[numpy.ndarray]) -> nn.Block:
    block, weights = nn.Sequential(), parameters[::2]
    for number, weight in enumerate(weights):
        last = number == len(weights) - 1 and net.forward is not nets.dense_relu
        block.add(nn.Dense(len(weight), activation=None if last else "relu", in_units=weight.shape[1]))
    return block


class FixedHidden(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.fixed = self.params.get_constant("fixed", np.zeros((20, 20)))
        self.dense = nn.Dense(20, activation="relu", in_units=20)

    def forward(self, X: Any) -> Any:
        X = self.dense(X)
        X = npx.relu(np.dot(X, self.fixed.data()) + 1)
        X = self.dense(X)
        while np.abs(X).sum() > 1:
            X /= 2
        return X.sum()


def chimera(net: nets.Net, parameters: list[numpy.ndarray]) -> nn.Block:
    block = nn.Sequential()
    for before, after in ((20, 64), (64, 32), (32, 16)):
        block.add(nn.Dense(after, activation="relu", in_units=before))
    block.add(nn.Dense(20, in_units=16), FixedHidden())
    return block


class FeedForward(nn.Block):
    def __init__(self, units: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_channels=units)
        self.expand = nn.Dense(4 * units, in_units=units)
        self.contract = nn.Dense(units, in_units=4 * units)

    def forward(self, X: Any) -> Any:
        return X + self.contract(npx.gelu(self.expand(self.norm(X))))


class NormChain(nn.Block):
    def __init__(self, units: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_channels=units)

    def forward(self, X: Any) -> Any:
        return npx.relu(self.norm(X * 0.5 + 1.0))


def learned(layer: Layer, before: Shape) -> list[nn.Block]:
    """A layer of the steps of training."""
    if isinstance(layer, PooledConvolution):
        kernel, padding = layer.kernel, layer.padding
        convolution = nn.Conv2D(layer.channels, kernel, 1, padding, activation="relu", in_channels=before[0])
        return [convolution, nn.MaxPool2D()]
    return [nn.Dense(layer.units, activation="relu" if layer.relu else None, in_units=prod(before))]


class Relu6(nn.Block):
    def forward(self, X: Any) -> Any:
        return X.clip(0, 6)


class Sum(nn.Block):
    """A body and its shortcut, or what both were given."""

    def __init__(self, layer: Residual, before: Shape) -> None:
        super().__init__()
        self.body = pictures(layer.body, before)
        self.shortcut = pictures((layer.shortcut,), before) if layer.shortcut else None
        self.relu = layer.relu

    def forward(self, X: Any) -> Any:
        Y = self.body(X) + (self.shortcut(X) if self.shortcut else X)
        return npx.relu(Y) if self.relu else Y


def pictures(layers: tuple[PictureLayer, ...], before: Shape) -> nn.Block:
    block = nn.Sequential()
    for layer in layers:
        block.add(*picture_layer(layer, before))
        before = drawn((layer,), numpy.random.default_rng(0), before)[1]
    return block


def picture_layer(layer: PictureLayer, before: Shape) -> list[nn.Block]:
    if isinstance(layer, Learned):
        return learned(layer.layer, before)
    if isinstance(layer, Residual):
        return [Sum(layer, before)]
    if isinstance(layer, Normed):
        size = (layer.channels, layer.kernel, layer.stride, layer.kernel // 2)
        groups = layer.channels if layer.depthwise else 1
        convolution = nn.Conv2D(*size, groups=groups, use_bias=False, in_channels=before[0])
        activations: dict[str, list[nn.Block]] = {"relu": [nn.Activation("relu")], "relu6": [Relu6()]}
        return [
            convolution,
            nn.BatchNorm(in_channels=layer.channels),
            *activations.get(layer.activation, []),
        ]
    return [nn.GlobalAvgPool2D(), nn.Flatten()] if isinstance(layer, Mean) else [nn.MaxPool2D(3, 2, 1)]


F = SimpleNamespace(
    dense=npx.fully_connected,
    relu=npx.relu,
    tanh=np.tanh,
    sigmoid=npx.sigmoid,
    softmax=npx.softmax,
)


class Formula(nn.Block):
    """A formula as it stands in the list of nets."""

    def __init__(self, forward: Callable[..., Any], parameters: list[numpy.ndarray]) -> None:
        super().__init__()
        self.formula = forward
        self.weight = nn.Parameter("weight", shape=parameters[0].shape)
        self.bias = nn.Parameter("bias", shape=parameters[1].shape)

    def forward(self, X: Any) -> Any:
        return self.formula(F, X, self.weight.data(), self.bias.data())


# formula -> the block that users would write for it
BLOCKS: dict[Callable[..., Any], Callable[[nets.Net, list[numpy.ndarray]], nn.Block]] = {
    nets.layers: layers,
    nets.dense_relu: layers,
    nets.fixed_hidden: lambda net, parameters: FixedHidden(),
    nets.chimera: chimera,
    nets.feed_forward: lambda net, parameters: FeedForward(net.shape[-1]),
    nets.norm_chain: lambda net, parameters: NormChain(net.shape[-1]),
    sequence_nets.lstm: lambda net, parameters: rnn.LSTM(parameters[1].shape[1], input_size=net.shape[-1]),
    sequence_nets.gru: lambda net, parameters: rnn.GRU(parameters[1].shape[1], input_size=net.shape[-1]),
    sequence_nets.encoder: lambda net, parameters: Encoder(parameters),
    sequence_nets.greedy: lambda net, parameters: Decoder(parameters),
}
FUNCTIONS: dict[Callable[..., Any], Callable[[Any], Any]] = {
    nets.add_one: lambda x: x + 1.0,
    nets.plain_chain: lambda x: npx.relu(x * 0.5 + 1.0) * x - 0.25,
    nets.exp_chain: lambda x: np.tanh(x) * npx.sigmoid(x) + np.exp(x * -0.5),
    nets.softmax_chain: lambda x: npx.softmax(x * 0.5 + 1.0) * 2.0,
}


def build(net: nets.Net, threads: int) -> list[Way]:
    drawn, parameters = net.draw()
    call, x = hybridized(net, parameters), np.array(drawn)

    def complaint() -> str:
        outcome = settled(call, [x])
        return "" if outcome.program else f"runs eagerly because {outcome.reason}"

    return [
        Way("call(x)", {"call": call, "x": x}, lambda y: numpy.asarray(y.asnumpy()), complaint),
        Way("call(x)", {"call": call, "x": drawn}, complaint=complaint, arrays="numpy"),
    ]


def hybridized(net: nets.Net, parameters: list[numpy.ndarray], **options: Any) -> Any:
    """The net as its users write it. options: of ``hybridize``."""
    if net.forward in FUNCTIONS:
        return blockfuse.hybridize(FUNCTIONS[net.forward], **options)
    block = block_of(net, parameters)
    block.initialize()
    for parameter, value in zip(block.collect_params().values(), parameters, strict=True):
        assert parameter.shape == value.shape, (parameter, value.shape)
        parameter.set_data(np.array(value))
    block.hybridize(**options)
    return block


def block_of(net: nets.Net, parameters: list[numpy.ndarray]) -> nn.Block:
    if isinstance(net.forward, PictureNet):
        return pictures(net.forward.layers, net.forward.item)
    make = BLOCKS.get(net.forward)
    return make(net, parameters) if make else Formula(net.forward, parameters)


_OPTIONS = {
    "sgd": {"momentum": MOMENTUM},
    "adam": {"beta1": BETA1, "beta2": BETA2, "epsilon": EPSILON},
}


def train(training: Training, threads: int) -> list[Step]:
    """``train_step``; where a way ends with ``eager``, the same in Python."""
    x, labels, _ = training.draw()
    step, net = train_step(training)

    def complaint() -> str:
        outcome = settled(step, [np.array(x), np.array(labels)])
        return "" if outcome.program else f"runs eagerly because {outcome.reason}"

    def parameters() -> list[numpy.ndarray]:
        return [p.data().asnumpy() for p in net.collect_params().values()]

    return [
        Step(
            "step(x, y)",
            {"step": step, "x": x, "y": labels},
            lambda loss: numpy.asarray(loss),
            complaint,
            parameters=parameters,
        )
    ]


def train_step(training: Training, **options: Any) -> tuple[Any, nn.Block]:
    """The step as its users write it, and the net. options: of ``hybridize``."""
    drawn = training.draw()[2]
    net = nn.Sequential()
    befores = (training.item, *(after for _, after in training.shapes))
    for layer, before in zip(training.layers, befores, strict=False):
        net.add(*learned(layer, before))
    net.initialize()
    for parameter, value in zip(net.collect_params().values(), drawn, strict=True):
        parameter.set_data(np.array(value))
    options_of = {"learning_rate": training.rate, **_OPTIONS[training.optimizer]}
    trainer = gluon.Trainer(net.collect_params(), training.optimizer, options_of)
    return blockfuse.train_step(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer, **options), net
