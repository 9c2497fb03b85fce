"""What every layer says of an input that it cannot take: the layer, its place, what it expects and what it found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

from blockfuse import nn, np
from blockfuse.gluon import rnn
from blockfuse.ir.errors import ShapeError

SIZES = {1: (8,), 2: (8, 8), 3: (4, 4, 4)}

# layers with the shape that they take; ranks and channels (by axis) of others are refused where they are named
LAYERS: list[tuple[Callable[[], Any], tuple[int, ...], set[int], set[int]]] = [
    (lambda: nn.Dense(3, in_units=4), (2, 4), {0}, {1}),
    (lambda: nn.Dense(3, flatten=False, in_units=4), (2, 5, 4), {0}, {2}),
    (lambda: nn.Embedding(5, 3), (2,), set(), set()),
    (lambda: nn.Flatten(), (2, 3, 4), {0}, set()),
    (lambda: nn.Dropout(0.5), (2, 3), set(), set()),
    (lambda: nn.Dropout(0), (2, 3), set(), set()),
    (lambda: nn.Activation("relu"), (2, 3), set(), set()),
    (lambda: nn.LeakyReLU(0.1), (2, 3), set(), set()),
    (lambda: nn.PReLU(in_channels=3), (2, 3), {0, 1}, {1}),
    (lambda: nn.PReLU(), (2, 3), set(), set()),
    (lambda: nn.ELU(), (2, 3), set(), set()),
    (lambda: nn.SELU(), (2, 3), set(), set()),
    (lambda: nn.GELU(), (2, 3), set(), set()),
    (lambda: nn.SiLU(), (2, 3), set(), set()),
    (lambda: nn.Swish(), (2, 3), set(), set()),
    *((lambda n=n: getattr(nn, f"Conv{n}D")(4, 3, in_channels=3), (2, 3, *SIZES[n]), {0, n + 1, n + 3}, {1}) for n in SIZES),
    *(
        (lambda n=n: getattr(nn, f"Conv{n}DTranspose")(4, 3, in_channels=3), (2, 3, *SIZES[n]), {n + 1, n + 3}, {1})
        for n in SIZES
    ),
    *(
        (lambda n=n, k=k: getattr(nn, f"{k}Pool{n}D")(), (2, 3, *SIZES[n]), {0, n + 1, n + 3}, set())
        for n in SIZES
        for k in ("Max", "Avg", "GlobalMax", "GlobalAvg")
    ),
    (lambda: nn.BatchNorm(in_channels=3), (2, 3, 8), {0}, {1}),
    (lambda: nn.BatchNormReLU(in_channels=3), (2, 3, 8), {0}, {1}),
    (lambda: nn.LayerNorm(in_channels=3), (2, 3), {0}, {1}),
    (lambda: nn.GroupNorm(3, in_channels=3), (2, 3, 8), {0, 1}, {1}),
    (lambda: nn.InstanceNorm(in_channels=3), (2, 3, 8), {0, 2}, {1}),
    (lambda: nn.RMSNorm(in_channels=3), (2, 3), {0}, {1}),
    (lambda: nn.ReflectionPad2D(1), (2, 3, 8, 8), {0, 3, 5}, set()),
    (lambda: nn.UpSampling(2), (2, 3, 8, 8), {0, 3, 5}, set()),
    (lambda: nn.UpSampling(2, "bilinear", in_channels=3), (2, 3, 8, 8), {0, 3, 5}, {1}),
    *((lambda n=n: getattr(nn, f"PixelShuffle{n}D")(2), (2, 8, *SIZES[n]), {0, n + 1, n + 3}, set()) for n in SIZES),
    *((lambda kind=kind: getattr(rnn, kind)(4, input_size=3), (5, 2, 3), {0, 2, 4}, {2}) for kind in ("RNN", "LSTM", "GRU")),
]  # fmt: skip
NAMES = [repr(make()) for make, *_ in LAYERS]

NOT_ARRAYS = ([[1.0, 2.0]], None, "abc", 1.5, {"a": 1}, object())


def in_a_net(make: Callable[[], Any]) -> tuple[Any, str]:
    """The layer at a place in a net, and what it is called there."""
    net = nn.Sequential()
    net.add(make(), nn.Identity())
    net.initialize()
    return net, f"{type(net[0]).__name__} 0"


def refused(net: Any, x: Any, error: type[Exception]) -> str:
    with pytest.raises(error) as caught:
        net(x)
    return str(caught.value)


@pytest.mark.parametrize("number", range(len(LAYERS)), ids=NAMES)
def test_a_layer_says_what_it_cannot_take(number: int) -> None:
    make, shape, ranks, channels = LAYERS[number]
    net, label = in_a_net(make)
    net(np.array(numpy.ones(shape)).astype("float32"))
    for value in NOT_ARRAYS:
        said = refused(net, value, TypeError)
        assert said.startswith(f"{label} expects an array; found {type(value).__name__}")
    for rank in ranks:
        other = tuple(shape[:rank]) if rank <= len(shape) else (*shape, *(1,) * (rank - len(shape)))
        said = refused(net, np.ones(other), ShapeError)
        assert said.startswith(f"{label} expects")
        assert "found" in said
    for axis in channels:
        other = tuple(size * 2 if n == axis else size for n, size in enumerate(shape))
        said = refused(net, np.ones(other), ShapeError)
        assert said.startswith(f"{label} expects")
        assert "found" in said
        assert str(other) in said


@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
def test_a_cell_says_what_it_cannot_take(kind: str) -> None:
    cell = getattr(rnn, kind)(4, input_size=3)
    cell.initialize()
    states = cell.begin_state(2)
    for value in NOT_ARRAYS:
        with pytest.raises(TypeError, match=f"{kind} expects an array; found"):
            cell(value, states)
    for shape in ((3,), (1, 2, 3), (2, 6), (3, 3)):
        with pytest.raises(ShapeError, match=rf"{kind} expects [\s\S]*found"):
            cell(np.ones(shape), states)


def test_every_layer_is_tried() -> None:
    """A new layer gets a line in the table, unless it holds other blocks or calls what it is given."""
    tried = {name.partition("(")[0] for name in NAMES}
    containers = {
        "Sequential",
        "HybridSequential",
        "Concatenate",
        "HybridConcatenate",
        "Lambda",
        "HybridLambda",
        "Identity",
        "SymbolBlock",
    }
    bases = {"Block", "HybridBlock", "SyncBatchNorm", "Parameter", "ParameterDict", "Constant"}
    rest = {name for name in nn.__all__ if isinstance(getattr(nn, name), type)} - containers - bases
    assert {name for name in rest if issubclass(getattr(nn, name), nn.Block)} - tried == set()
