"""Convolutional recurrent cells: what torch's convolutions and gates give step by step, unrolled, compiled and trained."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import autograd, np
from blockfuse.gluon import rnn
from blockfuse.ir.errors import ShapeError, UsageError

torch = pytest.importorskip("torch")
F = torch.nn.functional

RNG = numpy.random.default_rng(12)
CELLS = [f"Conv{axes}D{kind}Cell" for axes in (1, 2, 3) for kind in ("RNN", "LSTM", "GRU")]
SIZES = (5, 4, 3)
TIMES, BATCH, CHANNELS, HIDDEN = 3, 2, 2, 3


def made(name: str, layout: str | None = None) -> Any:
    axes = int(name[4])
    last = layout is not None and layout.endswith("C")
    shape = (*SIZES[:axes], CHANNELS) if last else (CHANNELS, *SIZES[:axes])
    cell = getattr(rnn, name)(
        shape, HIDDEN, i2h_kernel=2, h2h_kernel=3, i2h_pad=1, h2h_dilate=2, conv_layout=layout
    )
    cell.initialize(init="xavier")
    for parameter in (cell.i2h_bias, cell.h2h_bias):
        parameter.set_data(np.array(RNG.normal(size=parameter.shape)))
    return cell


def by_torch(x: Any, states: list[Any], weights: dict[str, Any], kind: str) -> list[Any]:
    """The next states, channels first."""
    convolve = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[x.ndim]
    inputs = convolve(x, weights["i2h_weight"], weights["i2h_bias"], padding=1)
    recurrent = convolve(states[0], weights["h2h_weight"], weights["h2h_bias"], padding=2, dilation=2)
    if kind == "RNN":
        return [torch.tanh(inputs + recurrent)]
    if kind == "LSTM":
        i, f, g, o = (inputs + recurrent).chunk(4, 1)
        memory = torch.sigmoid(f) * states[1] + torch.sigmoid(i) * torch.tanh(g)
        return [torch.sigmoid(o) * torch.tanh(memory), memory]
    (r, z, n), (hr, hz, hn) = inputs.chunk(3, 1), recurrent.chunk(3, 1)
    update = torch.sigmoid(z + hz)
    return [(1 - update) * torch.tanh(n + torch.sigmoid(r + hr) * hn) + update * states[0]]


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", CELLS)
def test_a_cell_and_its_gradients_are_those_of_torch(name: str) -> None:
    kind, cell = name[6:-4], made(name)
    names = ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias")
    weights = {n: torch.tensor(getattr(cell, n).data().asnumpy(), requires_grad=True) for n in names}
    sequence = RNG.normal(size=(BATCH, TIMES, *cell._input_shape)).astype("float32")
    begin = [RNG.normal(size=info["shape"]).astype("float32") for info in cell.state_info(BATCH)]
    states = [torch.tensor(state) for state in begin]
    wanted = []
    for time in range(TIMES):
        states = by_torch(torch.tensor(sequence[:, time]), states, weights, kind)
        wanted.append(states[0])
    (sum(wanted) ** 2).sum().backward()
    with autograd.record():
        outputs, last = cell.unroll(TIMES, np.array(sequence), [np.array(state) for state in begin])
        loss = (sum(outputs) ** 2).sum()
    loss.backward()
    for mine, theirs in zip([*outputs, *last], [*wanted, *states], strict=True):
        numpy.testing.assert_allclose(mine.asnumpy(), theirs.detach(), rtol=1e-4, atol=1e-5)
    for n in names:
        numpy.testing.assert_allclose(
            getattr(cell, n).grad().asnumpy(), weights[n].grad, rtol=1e-3, atol=1e-4
        )


@pytest.mark.long
@pytest.mark.parametrize("name", ["Conv2DLSTMCell", "Conv1DGRUCell"])
def test_channels_may_be_last(name: str) -> None:
    axes = int(name[4])
    first, last = made(name), made(name, "NWC" if axes == 1 else "NHWC")
    behind = (0, *range(2, axes + 2), 1)
    for mine, other in zip(first.collect_params().values(), last.collect_params().values(), strict=True):
        values = mine.data()
        other.set_data(values if values.ndim == 1 else np.transpose(values, behind))
    x = np.array(RNG.normal(size=(BATCH, *first._input_shape)))
    wanted, _ = first(x, first.begin_state(BATCH))
    found, _ = last(np.transpose(x, behind), last.begin_state(BATCH))
    numpy.testing.assert_allclose(
        found.asnumpy(), np.transpose(wanted, behind).asnumpy(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.spread(2)
def test_steps_and_an_unrolled_cell_agree_and_compile() -> None:
    cell = made("Conv2DLSTMCell")
    x = np.array(RNG.normal(size=(TIMES, BATCH, *cell._input_shape)))
    states = cell.begin_state(BATCH)
    for time in range(TIMES):
        output, states = cell(x[time], states)

    def last(x: Any) -> Any:
        return cell.unroll(TIMES, x, layout="TNC")[0][-1]

    numpy.testing.assert_allclose(last(x).asnumpy(), output.asnumpy(), rtol=1e-5, atol=1e-6)
    compiled = blockfuse.hybridize(last)
    for _ in range(2):
        numpy.testing.assert_allclose(compiled(x).asnumpy(), output.asnumpy(), rtol=1e-5, atol=1e-6)
    assert "compiled" in compiled.explain().split("\n")[0]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match=r"odd numbers; found h2h_kernel=\(3, 2\)"):
        rnn.Conv2DRNNCell((2, 4, 4), 3, 3, (3, 2))
    with pytest.raises(UsageError, match="hidden_channels as an int of 1 or more"):
        rnn.Conv2DRNNCell((2, 4, 4), 0, 3, 3)
    with pytest.raises(UsageError, match="input_shape"):
        rnn.Conv2DRNNCell((4, 4), 3, 3, 3)
    with pytest.raises(ShapeError, match="windows of 5 x 5 do not fit"):
        rnn.Conv2DGRUCell((2, 4, 4), 3, 5, 3)
    cell = made("Conv2DLSTMCell")
    with pytest.raises(ShapeError, match=r"an input of shape \(batch, 2, 5, 4\); found \(2, 5, 4\)"):
        cell(np.zeros((2, 5, 4)), cell.begin_state(2))
    with pytest.raises(ShapeError, match="expects states of shapes"):
        cell(np.zeros((2, 2, 5, 4)), cell.begin_state(3))
