"""The nets of the benchmark, once, as formulas over a vocabulary ``F`` that each contender brings.

NOTE [one definition]
``forward(F, x, *parameters)`` is run with a contender's own operators (NumPy's, torch's, JAX's, a writer of ONNX
nodes) and its own arrays. Contenders whose users write layers (blockfuse) build them from the same parameters. Every
result is compared with ``expected``: the same formula in float64 NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy

from benchmarks import sequence_nets
from benchmarks.contenders import reference
from benchmarks.picture_nets import PICTURES, PictureNet

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Floor:
    """What the machine itself must do for a net: that many FLOP, bytes copied (read plus written) or bytes read."""

    kind: Literal["fma", "copy", "read"]
    amount: float


@dataclass(frozen=True)
class Net:
    """``parameters`` draws them; ``target``: how many times faster than the best peer blockfuse wants to be."""

    name: str
    group: str
    shape: Shape
    forward: Callable[..., Any]
    parameters: Callable[[numpy.random.Generator], list[numpy.ndarray]]
    target: float | None = None
    floor: Floor | None = None
    floor_target: float | None = None  # the share of the machine's speed, one thread
    tolerance: float = 2e-5  # of the largest element of the result
    arrays: Literal["own", "numpy"] = (
        "own"  # whose arrays a call takes and gives: the contender's, or NumPy's
    )

    def draw(self) -> tuple[numpy.ndarray, list[numpy.ndarray]]:
        """Input and parameters, the same in every process."""
        rng = numpy.random.default_rng(0)
        return rng.uniform(0, 1, self.shape).astype(numpy.float32), self.parameters(rng)

    def expected(self, x: numpy.ndarray, parameters: list[numpy.ndarray]) -> numpy.ndarray:
        """The result in float64."""
        return numpy.asarray(self.forward(reference, *(a.astype(numpy.float64) for a in (x, *parameters))))


# -- formulas ------------------------------------------------------------------------------------------------


def layers(F: Any, x: Any, *parameters: Any) -> Any:
    """Dense layers with ReLU between them."""
    for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
        x = F.relu(F.dense(x, weight, bias))
    return F.dense(x, *parameters[-2:])


def dense_relu(F: Any, x: Any, weight: Any, bias: Any) -> Any:
    return F.relu(F.dense(x, weight, bias))


def fixed_hidden(F: Any, x: Any, fixed: Any, weight: Any, bias: Any) -> Any:
    """The ``FixedHiddenMLP`` of the d2l.ai chapter: it ends with ``while abs(x).sum() > 1: x /= 2``."""
    x = F.relu(F.dense(x, weight, bias))
    x = F.relu(F.dot(x, fixed) + 1.0)
    x = F.relu(F.dense(x, weight, bias))
    return F.sum(F.halved(x))


def chimera(F: Any, x: Any, *parameters: Any) -> Any:
    """The chapter's ``chimera``: a nested net, a layer, and a ``FixedHiddenMLP``."""
    for weight, bias in zip(parameters[:6:2], parameters[1:6:2], strict=True):
        x = F.relu(F.dense(x, weight, bias))
    return fixed_hidden(F, F.dense(x, *parameters[6:8]), *parameters[8:])


def feed_forward(F: Any, x: Any, gain: Any, shift: Any, *parameters: Any) -> Any:
    """The feed-forward half of a transformer layer, norm first."""
    wide, wide_bias, narrow, narrow_bias = parameters
    h = F.gelu(F.dense(F.layer_norm(x, gain, shift), wide, wide_bias))
    return x + F.dense(h, narrow, narrow_bias)


def plain_chain(F: Any, x: Any) -> Any:
    return F.relu(x * 0.5 + 1.0) * x - 0.25


def exp_chain(F: Any, x: Any) -> Any:
    return F.tanh(x) * F.sigmoid(x) + F.exp(x * -0.5)


def softmax_chain(F: Any, x: Any) -> Any:
    return F.softmax(x * 0.5 + 1.0) * 2.0


def norm_chain(F: Any, x: Any, gain: Any, shift: Any) -> Any:
    return F.relu(F.layer_norm(x * 0.5 + 1.0, gain, shift))


def add_one(F: Any, x: Any) -> Any:
    return x + 1.0


def mixed_chain(operators: int) -> Callable[..., Any]:
    """That many operators of several kinds, one after the other: products, activations, sums, norms of rows."""

    def forward(F: Any, x: Any, weight: Any, bias: Any) -> Any:
        kinds: tuple[Callable[[Any], Any], ...] = (
            lambda h: F.dense(h, weight, bias),
            lambda h: F.relu(h),
            lambda h: h + x,
            lambda h: F.tanh(h),
            lambda h: h * 0.5,
            lambda h: F.softmax(h),
            lambda h: h - x,
            lambda h: F.sigmoid(h),
        )
        h = x
        for number in range(operators):
            h = kinds[number % len(kinds)](h)
        return h

    return forward


# -- parameters ----------------------------------------------------------------------------------------------


def _uniform(rng: numpy.random.Generator, shape: Shape, bound: float) -> numpy.ndarray:
    return rng.uniform(-bound, bound, shape).astype(numpy.float32)


def _dense(rng: numpy.random.Generator, before: int, after: int, bound: float = 0.0) -> list[numpy.ndarray]:
    """Weight and bias; without ``bound`` as large as keeps the size of values behind a ReLU."""
    return [
        _uniform(rng, (after, before), bound or (6 / before) ** 0.5),
        _uniform(rng, (after,), bound or 0.1),
    ]


def _units(*units: int) -> Callable[[numpy.random.Generator], list[numpy.ndarray]]:
    return lambda rng: [p for before, after in pairwise(units) for p in _dense(rng, before, after)]


def _nothing(rng: numpy.random.Generator) -> list[numpy.ndarray]:
    return []


def _fixed_hidden(rng: numpy.random.Generator) -> list[numpy.ndarray]:
    return [rng.uniform(0, 1, (20, 20)).astype(numpy.float32), *_dense(rng, 20, 20, 0.07)]


def _chimera(rng: numpy.random.Generator) -> list[numpy.ndarray]:
    units = (20, 64, 32, 16, 20)
    return [*(p for a, b in pairwise(units) for p in _dense(rng, a, b, 0.07)), *_fixed_hidden(rng)]


def _norm(units: int) -> Callable[[numpy.random.Generator], list[numpy.ndarray]]:
    return lambda rng: [
        rng.uniform(0.5, 1.5, units).astype(numpy.float32),
        _uniform(rng, (units,), 0.1),
    ]


def _feed_forward(rng: numpy.random.Generator) -> list[numpy.ndarray]:
    return [*_norm(256)(rng), *_dense(rng, 256, 1024), *_dense(rng, 1024, 256)]


# -- the list ------------------------------------------------------------------------------------------------


def _mlp(name: str, group: str, batch: int, units: tuple[int, ...], target: float | None = None) -> Net:
    weights = sum(a * b for a, b in pairwise(units))
    # One row uses each weight once: loading it takes longer than the multiply-add.
    floor = Floor("read", 4.0 * weights) if batch == 1 else Floor("fma", 2.0 * batch * weights)
    return Net(f"{name}, batch {batch}", group, (batch, units[0]), layers, _units(*units), target, floor)


def _elements(name: str, forward: Callable[..., Any], number: int, floor_target: float | None = None) -> Net:
    floor = Floor("copy", 8.0 * number)
    return Net(
        f"{name}, 1e{len(str(number)) - 1}",
        "elements",
        (number,),
        forward,
        _nothing,
        1.2,
        floor,
        floor_target,
    )


def _rows(
    name: str,
    forward: Callable[..., Any],
    rows: int,
    parameters: Callable[[numpy.random.Generator], list[numpy.ndarray]],
) -> Net:
    floor = Floor("copy", 8.0 * rows * 256)
    return Net(f"{name}, {rows}x256", "rows", (rows, 256), forward, parameters, 1.2, floor, tolerance=5e-5)


def _recurrent(
    kind: str, gates: int, forward: Callable[..., Any], batch: int, target: float, times: int = 32
) -> Net:
    floor = Floor("fma", sequence_nets.recurrent_flops(gates, times, batch, 64, 128))
    draw = sequence_nets.recurrent(gates, 64, 128)
    return Net(
        f"{kind} 64-128, {times} steps, batch {batch}",
        "sequences",
        (times, batch, 64),
        forward,
        draw,
        target,
        floor if batch > 1 else None,
    )


def _picture(name: str, net: PictureNet, batch: int, target: float) -> Net:
    floor = Floor("fma", 2.0 * batch * net.multiplications)
    shape = (batch, *net.item)
    return Net(
        f"{name}, batch {batch}", "pictures", shape, net, net.parameters, target, floor, tolerance=5e-5
    )


_PICTURES = (784, 256, 128, 10)
_PICTURE_TARGETS = {1: 2.0, 32: 1.6, 256: 1.3}
_DEEP = (64,) * 17
_WIDE = (1024,) * 4

_NETS = (
    _mlp("20-256-10", "small", 2, (20, 256, 10), 8.0),
    Net("FixedHiddenMLP, batch 2", "small", (2, 20), fixed_hidden, _fixed_hidden, 8.0),
    Net("chimera, batch 2", "small", (2, 20), chimera, _chimera, 8.0),
    _mlp("37-111-53-7", "small", 5, (37, 111, 53, 7)),
    Net("one element + 1", "small", (1,), add_one, _nothing),
    *(_mlp("784-256-128-10", "layers", b, _PICTURES, _PICTURE_TARGETS.get(b)) for b in (1, 8, 32, 256, 1024)),
    _mlp("16 layers of 64", "layers", 1, _DEEP, 5.0),
    _mlp("16 layers of 64", "layers", 64, _DEEP, 3.0),
    _mlp("3 layers of 1024", "layers", 1, _WIDE, 1.0),
    _mlp("3 layers of 1024", "layers", 16, _WIDE),
    _mlp("3 layers of 1024", "layers", 256, _WIDE, 1.3),
    Net(
        "dense + relu, 1024^3",
        "layers",
        (1024, 1024),
        dense_relu,
        _units(1024, 1024),
        None,
        Floor("fma", 2.0 * 1024**3),
        0.85,
    ),
    Net(
        "transformer feed-forward, 128x256",
        "layers",
        (128, 256),
        feed_forward,
        _feed_forward,
        None,
        Floor("fma", 2.0 * 128 * 2 * 256 * 1024),
    ),
    *(_elements("elementwise chain", plain_chain, 10**n, 0.85) for n in (3, 4, 5, 6, 7)),
    *(_elements("exp chain", exp_chain, 10**n) for n in (3, 5, 7)),
    *(_rows("softmax chain", softmax_chain, rows, _nothing) for rows in (4, 400, 40_000)),
    *(_rows("layer norm chain", norm_chain, rows, _norm(256)) for rows in (4, 400, 40_000)),
    *(_picture(*row) for row in PICTURES),
    *(_recurrent("LSTM", 4, sequence_nets.lstm, batch, goal) for batch, goal in ((1, 1.4), (16, 1.15))),
    *(_recurrent("GRU", 3, sequence_nets.gru, batch, goal) for batch, goal in ((1, 1.4), (16, 1.15))),
    Net(
        "encoder, 4 layers of 128, 128 times",
        "sequences",
        (128, 128),
        sequence_nets.encoder,
        sequence_nets.transformer(),
        1.2,
        Floor("fma", sequence_nets.encoder_flops(128)),
    ),
    Net(
        "greedy decoding, 4 layers of 128, 128 words",
        "sequences",
        (1, 128),
        sequence_nets.greedy,
        sequence_nets.language_model(128),
        1.3,
    ),
    *(_mlp("784-256-128-10", "batches", b, _PICTURES) for b in (2, 4, 16, 64, 128, 512)),
)


def _with_numpy(name: str, target: float | None = None) -> Net:
    """A net of the list, called with arrays of NumPy."""
    net = next(net for net in _NETS if net.name == name)
    return replace(
        net, name=f"{name}, NumPy in and out", group="numpy", target=target, floor=None, arrays="numpy"
    )


NETS = (
    *_NETS,
    _with_numpy("20-256-10, batch 2", 2.0),
    _with_numpy("FixedHiddenMLP, batch 2"),
    _with_numpy("784-256-128-10, batch 1", 1.5),
    _with_numpy("784-256-128-10, batch 32", 1.08),
    _with_numpy("16 layers of 64, batch 1", 1.5),
    _with_numpy("elementwise chain, 1e5"),
)


def chain(operators: int) -> Net:
    """The net whose first call is timed against the number of its operators."""
    draw = _units(64, 64)
    return Net(f"{operators} operators", "chains", (16, 64), mixed_chain(operators), draw, tolerance=1e-3)


def net_named(name: str) -> Net:
    """A net of the list, or a chain of operators."""
    if name.endswith(" operators"):
        return chain(int(name.split()[0]))
    return next(net for net in NETS if net.name == name)
