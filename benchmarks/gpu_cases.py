"""What is checked and measured on a device: families of kernels, and the calls whose time counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, Literal

from benchmarks.contenders.blockfuse import FixedHidden
from blockfuse import nn, np, npx
from blockfuse.ir.operators import drawing
from blockfuse.ir.stream import STREAM

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Family:
    """Kernels of one kind."""

    name: str
    make: Callable[[], Any]  # gives a net or a function of arrays
    shapes: tuple[tuple[Shape, ...], ...]  # of the arguments, one row for each case
    limit: float = 1e-5  # of the difference from float64, over the largest element
    dtype: str = "float32"  # of the arguments
    large: bool = False  # too large for the simulator; otherwise the first case is small enough


def mlp(*widths: int) -> Any:
    """Dense layers with ReLU between them."""
    net = nn.Sequential()
    for layer, (inner, units) in enumerate(pairwise(widths)):
        last = layer == len(widths) - 2
        net.add(nn.Dense(units, activation=None if last else "relu", in_units=inner))
    net.initialize()
    return net


def layer_norm(x: Any) -> Any:
    """With a mean of 0 and a variance of 1 along the last axis."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + 1e-5)


def gelu_chain(x: Any, residual: Any) -> Any:
    """A pointwise chain over two arrays."""
    return npx.gelu(x * 1.5 + 0.25) + residual


def halved(x: Any) -> Any:
    """A loop on values."""
    while x.sum() > 1:
        x = x * 0.5
    return x + 1


_DRAWN: tuple[Shape, ...] = ((5, 7), (1001, 1003))  # odd: the second begins with a kept half
_PIECES = {shape: np.array(STREAM.reserve(prod(shape), "float32")) for shape in _DRAWN}


def numbers_of_a_piece(x: Any) -> Any:
    """Those of a piece of the random stream, the same in every call."""
    return drawing.drawn(_PIECES[x.shape], shape=x.shape, dtype="float32") + x * 0


def _rows(*widths: int) -> tuple[tuple[Shape, ...], ...]:
    return tuple(((3 if width < 4096 else 131, width),) for width in widths)


FAMILIES = (
    Family(
        "pointwise",
        lambda: lambda x, y: np.tanh(x * 2 + y) - np.exp(y),
        (((3, 5), (3, 5)), ((1001, 1003),) * 2),
    ),
    Family("pointwise, wide", lambda: gelu_chain, (((4, 8),) * 2, ((1024, 1024),) * 2)),
    Family(
        "broadcast", lambda: lambda x, y: np.maximum(x, y) * x, (((3, 7), (7,)), ((515, 1, 129), (7, 129)))
    ),
    Family("views", lambda: lambda x: (x[1:, 1:] + x[:-1, :-1]) * 2, (((4, 6),), ((1025, 513),))),
    Family("transpose", lambda: lambda x: x.T.copy() + 1, (((5, 3),), ((1031, 517),))),
    Family("softmax", lambda: lambda x: npx.softmax(x), _rows(13, 512, 1000, 1024, 8192, 40001)),
    Family("layer norm", lambda: layer_norm, _rows(13, 512, 1000, 1024, 8192, 40001)),
    Family("sum of columns", lambda: lambda x: x.sum(axis=0), (((7, 5),), ((4099, 513),), ((100_003, 3),))),
    Family("mean of everything", lambda: lambda x: x.mean(), (((5, 7),), ((1_000_003,),))),
    Family(
        "gather",
        lambda: lambda x: np.take(x, np.array([2, 0, 1], dtype="int64"), axis=0),
        (((4, 5),), ((513, 1025),)),
    ),
    Family(
        "picked elements",
        lambda: lambda x: np.take_along_axis(x, (x > 0).astype("int64"), 1),
        (((4, 5),), ((513, 1025),)),
        0.0,
    ),
    Family("places of maxima", lambda: lambda x: x.argmax(axis=1), (((4, 7),), ((513, 1025),)), 0.0),
    Family("draws", lambda: numbers_of_a_piece, tuple((shape,) for shape in _DRAWN), 0.0),
    Family("integers", lambda: lambda x: x // 3 + x % 5, (((4, 5),), ((1001, 1003),)), 0.0, "int32"),
    Family("loop on values", lambda: halved, (((6,),), ((1003,),))),
    Family("product", lambda: mlp(13, 9), (((3, 13),),)),
    Family(
        "product of a few rows",
        lambda: mlp(784, 512),
        tuple(((n, 784),) for n in (1, 2, 8, 17, 64)),
        large=True,
    ),
    Family("product of many rows", lambda: mlp(1027, 515), (((1030, 1027),), ((4096, 1027),)), large=True),
    Family("net", lambda: mlp(17, 9, 3), (((5, 17),),)),
    Family("narrow net", lambda: mlp(64, 64, 64, 64, 10), (((1, 64),), ((1000, 64),)), large=True),
    Family(
        "stacked product",
        lambda: lambda x, y: np.matmul(x, y),
        (((2, 3, 5), (2, 5, 4)), ((7, 129, 65), (7, 65, 33))),
    ),
    Family(
        "product in float64",
        lambda: lambda x, y: np.dot(x, y) + 1,
        (((3, 5), (5, 4)), ((515, 259), (259, 131))),
        1e-13,
        "float64",
    ),
)


@dataclass(frozen=True)
class Measure:
    """A call whose time counts, and what is wished of it."""

    name: str
    make: Callable[[], Any]  # gives a net or a function of arrays
    shapes: tuple[Shape, ...]  # of the arguments
    rehearsal: tuple[Callable[[], Any], tuple[Shape, ...]]  # make and shapes of a small one
    torch: Callable[..., Any]  # the same call, of the library and weights and arguments
    bound: Literal["copy", "flop"] | None = None  # what the device must do at least
    amount: float = 0.0  # of the bound: bytes copied (read plus written) or FLOP
    min_bound_fraction: float | None = None  # of the bound's speed that is wanted
    max_microseconds: float | None = None
    times_eager: float | None = None  # how many times as fast as torch it should be
    host: bool = False  # whether the arguments are arrays of the host, not of the device


def _torch_mlp(torch: Any, weights: list[Any], x: Any) -> Any:
    """``weights``: weight and bias in turn."""
    layers = list(zip(weights[::2], weights[1::2], strict=True))
    for weight, bias in layers[:-1]:
        x = torch.relu(torch.nn.functional.linear(x, weight, bias))
    return torch.nn.functional.linear(x, *layers[-1])


def _torch_norm(torch: Any, _: list[Any], x: Any) -> Any:
    return torch.nn.functional.layer_norm(x, x.shape[-1:])


def _torch_gelu(torch: Any, _: list[Any], x: Any, residual: Any) -> Any:
    return torch.nn.functional.gelu(x * 1.5 + 0.25) + residual


_SMALL_NET, _LARGE_NET = (784, 512, 256, 10), (1024, 4096, 4096, 1024)
_LARGE_BATCH, _ELEMENTS = 4096, 64 * 2**20
_ROWS = (16384, 1024)

MEASURES = (
    Measure(
        "784-512-256-10, batch 64",
        lambda: mlp(*_SMALL_NET),
        ((64, 784),),
        (lambda: mlp(9, 5, 3), ((2, 9),)),
        _torch_mlp,
        max_microseconds=12.0,
        times_eager=2.0,
    ),
    Measure(
        "784-512-256-10, batch 64, from the host",
        lambda: mlp(*_SMALL_NET),
        ((64, 784),),
        (lambda: mlp(9, 5, 3), ((2, 9),)),
        _torch_mlp,
        max_microseconds=35.0,
        host=True,
    ),
    Measure(
        "1024-4096-4096-1024, batch 4096",
        lambda: mlp(*_LARGE_NET),
        ((_LARGE_BATCH, 1024),),
        (lambda: mlp(9, 5, 3), ((2, 9),)),
        _torch_mlp,
        "flop",
        2.0 * _LARGE_BATCH * sum(a * b for a, b in pairwise(_LARGE_NET)),
        min_bound_fraction=0.75,
    ),
    Measure(
        "softmax 16384x1024",
        lambda: lambda x: npx.softmax(x),
        (_ROWS,),
        (lambda: lambda x: npx.softmax(x), ((2, 16),)),
        lambda torch, _, x: torch.softmax(x, -1),
        "copy",
        8.0 * prod(_ROWS),
        min_bound_fraction=0.85,
    ),
    Measure(
        "layer norm 16384x1024",
        lambda: layer_norm,
        (_ROWS,),
        (lambda: layer_norm, ((2, 16),)),
        _torch_norm,
        "copy",
        8.0 * prod(_ROWS),
        min_bound_fraction=0.85,
    ),
    Measure(
        "gelu(x*a+b)+residual, 64 M elements",
        lambda: gelu_chain,
        ((_ELEMENTS,),) * 2,
        (lambda: gelu_chain, ((64,),) * 2),
        _torch_gelu,
        "copy",
        12.0 * _ELEMENTS,
        min_bound_fraction=0.9,
    ),
)
CHAINS = (1, 5, 10)  # kernels of a program whose launches are timed one by one and as a graph


def chain(kernels: int) -> Callable[[Any], Any]:
    """So many kernels, each of which needs all of the one before."""

    def links(x: Any) -> Any:
        for _ in range(kernels):
            x = x - x.mean()
        return x

    return links


# -- loops on values ---------------------------------------------------------------------------------------------


def fixed_hidden() -> Any:
    """The ``FixedHiddenMLP`` of the d2l.ai chapter, with weights that make its loop about ten rounds long."""
    net = FixedHidden()
    net.initialize()
    for parameter in net.collect_params().values():
        parameter.set_data(np.random.uniform(0, 0.3, size=parameter.shape))
    return net


def rounds(count: int) -> Callable[[Any], Any]:
    """A loop with a counter and a test of the values, which does not end it."""

    def shrunk(x: Any) -> Any:
        for _ in range(count):
            if np.abs(x).max() > 2:
                break
            x = x * 0.99
        return x + 1

    return shrunk


# name -> what makes it, and the shape of its argument; the first is small enough for the simulator
LOOPS: dict[str, tuple[Callable[[], Any], Shape]] = {
    "3 rounds of 64 elements": (lambda: rounds(3), (64,)),
    "50 rounds of 1000 elements": (lambda: rounds(50), (1000,)),
    "FixedHiddenMLP, batch 2": (fixed_hidden, (2, 20)),
}
