"""Every layer, cell and loss has one program for all sizes of the batch, or stands here with the reason why it has none.

Recordings tell, so nothing is compiled; ``tests/runtime/test_batches.py`` holds such programs against eager calls.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy
import pytest

from blockfuse import nn, np, npx
from blockfuse.gluon import loss, rnn
from blockfuse.ir.errors import TraceError
from blockfuse.tracer.generalize.every_size import EverySize
from blockfuse.tracer.recording.record import Recording, record
from blockfuse.tracer.recording.recorder import Recorder

Arguments = Callable[[int], tuple[Any, ...]]
Case = tuple[Callable[[], nn.Block], Arguments]


def numbers(*shape: int) -> Any:
    return np.array(numpy.random.default_rng(1).uniform(0.1, 1, shape).astype("float32"))


def images(axes: int, channels: int = 4) -> Arguments:
    return lambda n: (numbers(n, channels, *(8,) * axes),)


def rows(n: int) -> tuple[Any, ...]:
    return (numbers(n, 6),)


def sequences(n: int) -> tuple[Any, ...]:
    return (numbers(n, 5, 6),)


def rows_and_states(count: int) -> Arguments:
    return lambda n: (numbers(n, 6), [numbers(n, 4) for _ in range(count)])


def numbers_and_classes(n: int) -> tuple[Any, ...]:
    return numbers(n, 6), np.array(numpy.arange(n) % 5)


def classes(n: int) -> tuple[Any, ...]:
    return (np.array(numpy.arange(n * 5).reshape(n, 5) % 4),)


def several(count: int) -> Arguments:
    return lambda n: tuple(numbers(n, 6) for _ in range(count))


def then_tanh(*layers: nn.Block) -> nn.Block:
    """Behind layers that give their argument, or a view of it: such a result is no new memory, so there is no program."""
    return together(nn.Sequential(), *layers, nn.Activation("tanh"))


def together(whole: Any, *parts: nn.Block) -> Any:
    whole.add(*parts)
    return whole


class Unrolled(nn.Block):
    """A cell along five steps."""

    def __init__(self, cell: Any) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Any) -> Any:
        return self.cell.unroll(5, x, layout="NTC", merge_outputs=True)[0]


def cells(*several: Any) -> Any:
    whole = rnn.SequentialRNNCell()
    for one in several:
        whole.add(one)
    return Unrolled(whole)


def _of_axes(axes: int) -> dict[str, Case]:
    """Layers and cells that exist for one, two and three axes."""
    made: dict[str, Case] = {}
    for kind in ("Conv{}D", "Conv{}DTranspose"):
        make = partial(getattr(nn, kind.format(axes)), 4, 3, in_channels=4, activation="relu")
        made |= {
            kind.format(axes): (make, images(axes)),
            f"{kind.format(axes)} in groups": (
                partial(make, groups=2, strides=2, padding=1, dilation=2),
                images(axes),
            ),
            f"{kind.format(axes)} of depth": (partial(make, groups=4, use_bias=False), images(axes)),
        }
    for kind in ("Max", "Avg"):
        pool = getattr(nn, f"{kind}Pool{axes}D")
        made |= {
            pool.__name__: (partial(pool, 2), images(axes)),
            f"{pool.__name__} beyond borders": (partial(pool, 3, 2, 1, ceil_mode=True), images(axes)),
            f"Global{pool.__name__}": (getattr(nn, f"Global{pool.__name__}"), images(axes)),
        }
    made[f"PixelShuffle{axes}D"] = partial(getattr(nn, f"PixelShuffle{axes}D"), 2), images(axes, 8)
    for kind, states in (("RNN", 1), ("LSTM", 2), ("GRU", 1)):
        cell = getattr(rnn, f"Conv{axes}D{kind}Cell")
        shapes = (4, *(8,) * axes), 3, 3, 3
        made[cell.__name__] = partial(cell, *shapes, i2h_pad=1), _images_and_states(axes, states)
    return made


def _images_and_states(axes: int, states: int) -> Arguments:
    sizes = (8,) * axes
    return lambda n: (numbers(n, 4, *sizes), [numbers(n, 3, *sizes) for _ in range(states)])


LAYERS: dict[str, Case] = {
    "AvgPool2D of what is there": (partial(nn.AvgPool2D, 3, 2, 1, count_include_pad=False), images(2)),
    "BatchNorm": (partial(nn.BatchNorm, in_channels=4), images(2)),
    "BatchNormReLU": (partial(nn.BatchNormReLU, in_channels=4), images(2)),
    "Concatenate": (
        lambda: together(nn.Concatenate(axis=1), nn.Dense(3, in_units=6), nn.Identity()),
        rows,
    ),
    "Dense": (partial(nn.Dense, 3, in_units=30, activation="relu"), sequences),
    "Dense of the last axis": (partial(nn.Dense, 3, in_units=6, flatten=False), sequences),
    "Dropout": (lambda: then_tanh(nn.Dropout(0.5)), sequences),
    "ELU": (nn.ELU, sequences),
    "Embedding": (partial(nn.Embedding, 5, 3), classes),
    "Flatten": (lambda: then_tanh(nn.Flatten()), sequences),
    "GELU": (nn.GELU, sequences),
    "GroupNorm": (partial(nn.GroupNorm, 2, in_channels=4), images(2)),
    "HybridConcatenate": (
        lambda: together(nn.HybridConcatenate(axis=1), nn.Dense(3, in_units=6), nn.Identity()),
        rows,
    ),
    "HybridLambda": (partial(nn.HybridLambda, "tanh"), rows),
    "HybridSequential": (lambda: together(nn.HybridSequential(), nn.Dense(3, in_units=6)), rows),
    "Identity": (lambda: then_tanh(nn.Identity()), sequences),
    "InstanceNorm": (partial(nn.InstanceNorm, in_channels=4), images(2)),
    "Lambda": (lambda: nn.Lambda(lambda x: npx.relu(x) * 2), rows),
    "LayerNorm": (partial(nn.LayerNorm, in_channels=6), sequences),
    "LayerNorm of an inner axis": (partial(nn.LayerNorm, axis=1, in_channels=5), sequences),
    "LeakyReLU": (partial(nn.LeakyReLU, 0.1), sequences),
    "PReLU": (nn.PReLU, sequences),
    "RMSNorm": (partial(nn.RMSNorm, in_channels=6), sequences),
    "ReflectionPad2D": (partial(nn.ReflectionPad2D, 2), images(2)),
    "SELU": (nn.SELU, sequences),
    "Sequential": (lambda: then_tanh(nn.Dense(3, in_units=6)), rows),
    "SiLU": (nn.SiLU, sequences),
    "Swish": (nn.Swish, sequences),
    "SyncBatchNorm": (partial(nn.SyncBatchNorm, in_channels=4), images(2)),
    "UpSampling": (partial(nn.UpSampling, 2), images(2)),
    "UpSampling in between": (partial(nn.UpSampling, 2, "bilinear", in_channels=4), images(2)),
    **_of_axes(1),
    **_of_axes(2),
    **_of_axes(3),
    **{
        f"Activation {name}": (partial(nn.Activation, name), sequences)
        for name in ("relu", "sigmoid", "tanh", "softrelu", "softsign", "log_sigmoid", "mish")
    },
}
RECURRENT: dict[str, Case] = {
    "BidirectionalCell": (
        lambda: Unrolled(rnn.BidirectionalCell(rnn.LSTMCell(4, input_size=6), rnn.GRUCell(4, input_size=6))),
        sequences,
    ),
    "DropoutCell": (lambda: cells(rnn.RNNCell(4, input_size=6), rnn.DropoutCell(0.5)), sequences),
    "GRU": (partial(rnn.GRU, 4, 2, layout="NTC", input_size=6), sequences),
    "GRUCell": (partial(rnn.GRUCell, 4, input_size=6), rows_and_states(1)),
    "GRUCell in steps": (lambda: Unrolled(rnn.GRUCell(4, input_size=6)), sequences),
    "HybridSequentialRNNCell": (
        lambda: together(rnn.HybridSequentialRNNCell(), rnn.GRUCell(4, input_size=6)),
        rows_and_states(1),
    ),
    "LSTM": (partial(rnn.LSTM, 4, layout="NTC", input_size=6, bidirectional=True), sequences),
    "LSTM projected": (partial(rnn.LSTM, 4, layout="NTC", input_size=6, projection_size=3), sequences),
    "LSTMCell": (partial(rnn.LSTMCell, 4, input_size=6), rows_and_states(2)),
    "LSTMCell in steps": (lambda: Unrolled(rnn.LSTMCell(4, input_size=6)), sequences),
    "LSTMPCell": (lambda: Unrolled(rnn.LSTMPCell(4, 3, input_size=6)), sequences),
    "RNN": (partial(rnn.RNN, 4, layout="NTC", input_size=6), sequences),
    "RNNCell": (partial(rnn.RNNCell, 4, input_size=6), rows_and_states(1)),
    "RNNCell in steps": (lambda: Unrolled(rnn.RNNCell(4, input_size=6)), sequences),
    "ResidualCell": (lambda: Unrolled(rnn.ResidualCell(rnn.GRUCell(6, input_size=6))), sequences),
    "SequentialRNNCell": (
        lambda: cells(rnn.LSTMCell(4, input_size=6), rnn.GRUCell(4, input_size=4)),
        sequences,
    ),
    "VariationalDropoutCell": (
        lambda: Unrolled(rnn.VariationalDropoutCell(rnn.LSTMCell(4, input_size=6), 0.3)),
        sequences,
    ),
    "ZoneoutCell": (lambda: Unrolled(rnn.ZoneoutCell(rnn.LSTMCell(4, input_size=6), 0.2, 0.2)), sequences),
}
LOSSES: dict[str, Case] = {
    "CTCLoss": (loss.CTCLoss, lambda n: (numbers(n, 5, 6), np.array(numpy.arange(2 * n).reshape(n, 2) % 5))),
    "CosineEmbeddingLoss": (loss.CosineEmbeddingLoss, lambda n: (*several(2)(n), numbers(n))),
    "SoftmaxCELoss": (loss.SoftmaxCELoss, numbers_and_classes),
    "SoftmaxCrossEntropyLoss": (loss.SoftmaxCrossEntropyLoss, numbers_and_classes),
    "TripletLoss": (loss.TripletLoss, several(3)),
    **{
        name: (getattr(loss, name), several(2))
        for name in (
            "HingeLoss",
            "HuberLoss",
            "KLDivLoss",
            "L1Loss",
            "L2Loss",
            "LogCoshLoss",
            "LogisticLoss",
            "PoissonNLLLoss",
            "SigmoidBCELoss",
            "SigmoidBinaryCrossEntropyLoss",
            "SquaredHingeLoss",
        )
    },
}
ITEMS_TOGETHER: dict[str, Case] = {
    "RNN of time first": (partial(rnn.RNN, 4, input_size=6), lambda n: (numbers(5, n, 6),)),
    "SDMLLoss": (loss.SDMLLoss, several(2)),  # compares each item with all others
}
NO_LAYERS = {
    *("Block", "HybridBlock", "SymbolBlock", "Parameter", "Constant", "ParameterDict"),
    *("HybridRecurrentCell", "ModifierCell", "RecurrentCell", "Loss"),
}
CASES = {**LAYERS, **RECURRENT, **LOSSES}


def recording(forward: Callable[..., Any], arguments: tuple[Any, ...]) -> Recording:
    arrays = [a for given in arguments for a in (given if isinstance(given, list) else [given])]
    code: list[Any] = []
    for _ in range(5):  # functions that are met for the first time are looked through
        found = record(partial(forward, *arguments), Recorder(arrays), [(forward, "forward")], code)
        code = found.code
        if not found.again:
            break
    assert not found.problem
    return found


def every_size(case: Case) -> EverySize:
    make, arguments = case
    layer = make()
    layer.initialize()
    layer(*arguments(2))
    return EverySize(recording(layer, arguments(3)), recording(layer, arguments(5)))


def test_every_layer_stands_here() -> None:
    tried = {name.partition(" ")[0] for name in (*CASES, *ITEMS_TOGETHER)}
    assert {*nn.__all__, *rnn.__all__, *loss.__all__} == tried | NO_LAYERS


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", CASES)
def test_sizes_of_the_batch_do_not_matter(name: str) -> None:
    assert every_size(CASES[name]).min_items == 2


@pytest.mark.parametrize("name", ITEMS_TOGETHER)
def test_sizes_of_the_batch_matter_where_items_meet(name: str) -> None:
    with pytest.raises(TraceError):
        every_size(ITEMS_TOGETHER[name])
