"""Recurrent layers against torch's: outputs, states, gradients, lengths; shapes that wait, files, and what is refused."""

from pathlib import Path
from typing import Any

import numpy
import pytest

from blockfuse import gluon, nn, train_step
from blockfuse.array import autograd, ndarray, np, npx
from blockfuse.gluon import rnn
from blockfuse.ir.errors import ShapeError, UsageError

pytestmark = pytest.mark.spread(2)

torch = pytest.importorskip("torch")

T, N, C, H = 3, 2, 4, 5
_NAMES = {
    "i2h_weight": "weight_ih",
    "h2h_weight": "weight_hh",
    "i2h_bias": "bias_ih",
    "h2h_bias": "bias_hh",
    "h2r_weight": "weight_hr",
}
MODES = ("rnn_relu", "rnn_tanh", "lstm", "gru")


def layer_of(mode: str, **options: Any) -> Any:
    kind = {"lstm": rnn.LSTM, "gru": rnn.GRU}.get(mode, rnn.RNN)
    options = {"i2h_bias_initializer": "normal", "h2h_bias_initializer": "normal", **options}
    layer = kind(H, activation=mode[4:], **options) if kind is rnn.RNN else kind(H, **options)
    np.random.seed(0)
    layer.initialize(init="xavier")
    return layer


def twin_of(layer: Any, mode: str) -> Any:
    """The layer of torch with the weights of ours."""
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(mode, torch.nn.RNN)
    options = {"nonlinearity": mode[4:]} if kind is torch.nn.RNN else {}
    options |= {"proj_size": layer._output_size} if layer._output_size != H else {}
    twin = kind(C, H, layer._num_layers, bidirectional=len(layer._sides) > 1, **options)
    with torch.no_grad():
        for name, parameter in layer.collect_params().items():
            theirs(twin, name).copy_(torch.from_numpy(parameter.data().asnumpy()))
    return twin


def theirs(twin: Any, name: str) -> Any:
    side, kind = name.split("_", 1)
    return getattr(twin, f"{_NAMES[kind]}_l{side[1:]}{'_reverse' if side[0] == 'r' else ''}")


def close(found: Any, expected: Any, rtol: float = 1e-5) -> None:
    found = found.asnumpy() if isinstance(found, ndarray) else found
    expected = expected.detach().numpy() if isinstance(expected, torch.Tensor) else expected
    numpy.testing.assert_allclose(found, expected, rtol, rtol / 10)


def inputs(*shape: int, seed: int = 0) -> numpy.ndarray:
    return numpy.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize(("layers", "both"), [(1, False), (2, True)])
@pytest.mark.parametrize("mode", MODES)
def test_outputs_states_and_gradients_are_torchs(mode: str, layers: int, both: bool) -> None:
    layer = layer_of(mode, num_layers=layers, bidirectional=both)
    x, begin = (
        np.array(inputs(T, N, C)),
        [np.array(inputs(layers * (1 + both), N, H, seed=s)) for s in (1, 2)],
    )
    x.attach_grad()
    states = begin[: len(layer.state_info())]
    with autograd.record():
        output, last = layer(x, states)
        total = (output**2).sum() + sum(state.sum() for state in last)
    total.backward()

    twin = twin_of(layer, mode)
    at = torch.from_numpy(x.asnumpy()).requires_grad_()
    given = tuple(torch.from_numpy(state.asnumpy()) for state in states)
    wanted, ends = twin(at, given if mode == "lstm" else given[0])
    ends = ends if mode == "lstm" else (ends,)
    ((wanted**2).sum() + sum(end.sum() for end in ends)).backward()
    close(output, wanted)
    for found, end in zip(last, ends, strict=True):
        close(found, end)
    close(x.grad, at.grad, 1e-4)
    for name, parameter in layer.collect_params().items():
        close(parameter.grad(), theirs(twin, name).grad, 1e-4)


@pytest.mark.spread(4)
@pytest.mark.parametrize(
    ("mode", "both"), [("lstm", False), ("gru", True), ("rnn_tanh", True), ("rnn_relu", False)]
)
def test_hybridized_layers_give_what_eager_ones_give(mode: str, both: bool) -> None:
    layer = layer_of(mode, bidirectional=both)
    x, states = np.array(inputs(2, N, C)), layer.begin_state(N)
    expected, ends = layer(x, states)
    layer.hybridize()
    for _ in range(3):
        output, last = layer(x, states)
    assert "compiled" in layer.explain().split("\n")[0]
    close(output, expected.asnumpy())
    for found, end in zip(last, ends, strict=True):
        close(found, end.asnumpy())


@pytest.mark.long
def test_a_hybridized_layer_of_a_batch_first_serves_every_batch() -> None:
    layer = layer_of("rnn_tanh", layout="NTC")
    layer.hybridize()
    plain = {n: inputs(n, 2, C, seed=n) for n in (2, 3, 5, 4)}
    found = {n: layer(np.array(x)) for n, x in plain.items()}
    explained = layer.explain()
    layer.hybridize(active=False)
    for n, x in plain.items():
        close(found[n], layer(np.array(x)).asnumpy())
    assert explained.startswith("RNN(float32[any, 2, 4]): compiled")


@pytest.mark.long
def test_a_step_of_training_is_compiled_and_learns() -> None:
    class Last(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = rnn.RNN(8, activation="tanh", layout="NTC"), nn.Dense(1)

        def forward(self, x: Any) -> Any:
            return self.out(self.rnn(x)[:, -1])

    net, x = Last(), np.array(inputs(16, 2, 2))
    net.initialize(init="xavier")
    y = x[:, 0, :1] + x[:, 1, 1:]
    net(x)
    step = train_step(
        net, gluon.loss.L2Loss(), gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.03})
    )
    losses = [float(step(x, y).mean()) for _ in range(60)]
    assert losses[-1] < 0.1 * losses[0]
    assert "compiled" in step.explain()


@pytest.mark.parametrize("layout", ["TNC", "NTC"])
@pytest.mark.parametrize("mode", ["lstm", "gru"])
def test_sequences_end_at_their_lengths(mode: str, layout: str) -> None:
    layer = layer_of(mode, num_layers=2, bidirectional=True, layout=layout)
    lengths, x = [3, 1], inputs(T, N, C)
    given = np.array(x if layout == "TNC" else x.swapaxes(0, 1))
    output, last = layer(given, layer.begin_state(N), np.array(lengths))
    twin = twin_of(layer, mode)
    packed = torch.nn.utils.rnn.pack_padded_sequence(torch.from_numpy(x), lengths)
    wanted, ends = twin(packed)
    close(
        output.asnumpy() if layout == "TNC" else output.asnumpy().swapaxes(0, 1),
        torch.nn.utils.rnn.pad_packed_sequence(wanted)[0],
    )
    for found, end in zip(last, ends if mode == "lstm" else (ends,), strict=True):
        close(found, end)


def test_lengths_of_a_hybridized_layer_are_arguments() -> None:
    layer = layer_of("rnn_relu", use_sequence_length=True)
    x, all_lengths = np.array(inputs(2, N, C)), [np.array(n) for n in ([2, 1], [2, 2], [1, 2])]
    expected = [layer(x, sequence_length=lengths) for lengths in all_lengths]
    layer.hybridize()
    for _ in range(2):
        for lengths, wanted in zip(all_lengths, expected, strict=True):
            close(layer(x, sequence_length=lengths), wanted.asnumpy())
    assert "compiled" in layer.explain().split("\n")[0]
    with pytest.raises(UsageError, match="give it sequence_length"):
        layer(x)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_a_projected_lstm_is_torchs() -> None:
    layer = layer_of("lstm", num_layers=2, projection_size=3)
    output, last = layer(np.array(inputs(T, N, C)), layer.begin_state(N))
    wanted, ends = twin_of(layer, "lstm")(torch.from_numpy(inputs(T, N, C)))
    close(output, wanted)
    for found, end in zip(last, ends, strict=True):
        close(found, end)
    assert [info["shape"] for info in layer.state_info(N)] == [(2, N, 3), (2, N, H)]


def test_the_cell_state_can_be_clipped() -> None:
    x = np.array(50 * inputs(6, N, C))
    layer = layer_of("lstm")
    clipped = rnn.LSTM(H, state_clip_min=-0.5, state_clip_max=0.25, state_clip_nan=True)
    clipped.initialize()
    clipped(x)
    clipped.load_dict({name: p.data() for name, p in (layer(x), layer.collect_params())[1].items()})
    assert np.abs(layer(x, layer.begin_state(N))[1][1]).max() > 0.5
    cell = clipped(x, clipped.begin_state(N))[1][1]
    assert float(cell.min()) >= -0.5
    assert float(cell.max()) <= 0.25
    broken = np.array(numpy.full((1, N, C), numpy.nan, "float32"))
    assert numpy.isnan(layer(broken, layer.begin_state(N))[1][1].asnumpy()).all()
    assert not numpy.isnan(clipped(broken, clipped.begin_state(N))[1][1].asnumpy()).any()


def test_dropout_is_between_layers_and_in_training_only() -> None:
    layer, x = layer_of("rnn_tanh", num_layers=2, dropout=0.5), np.array(inputs(T, N, C))
    one = layer_of("rnn_tanh", dropout=0.5)
    close(layer(x), layer(x).asnumpy())
    with autograd.train_mode():
        assert not np.array_equal(layer(x), layer(x))
        close(one(x), one(x).asnumpy())


def test_one_vector_of_weights_gives_what_the_layer_gives() -> None:
    for mode, options in (
        ("gru", {"bidirectional": True, "num_layers": 2}),
        ("lstm", {"projection_size": 3}),
    ):
        layer = layer_of(mode, **options)
        x, states = np.array(inputs(T, N, C)), layer.begin_state(N)
        output, last = layer(x, states)
        named = layer.collect_params()
        order = [n for n in named if n.endswith("weight")] + [n for n in named if n.endswith("bias")]
        vector = np.concatenate([named[name].data().reshape(-1) for name in order])
        found = npx.rnn(x, vector, *states, state_size=H, mode=mode, state_outputs=True, **options)
        close(found[0], output.asnumpy())
        for state, end in zip(found[1:], last, strict=True):
            close(state, end.asnumpy())
        close(npx.rnn(x, vector, state_size=H, mode=mode, **options), output.asnumpy())
    with pytest.raises(ShapeError, match="needs 165 parameters"):
        npx.rnn(x, vector[:-1], state_size=H, mode="gru")
    with pytest.raises(UsageError, match="'rnn_relu', 'rnn_tanh', 'lstm', 'gru'"):
        npx.rnn(x, vector, state_size=H, mode="elman")


def test_parameters_have_gluons_names_wait_for_features_and_come_from_files(tmp_path: Path) -> None:
    layer = layer_of("lstm", num_layers=2, bidirectional=True)
    assert list(layer.collect_params())[:4] == [
        "l0_i2h_weight",
        "l0_h2h_weight",
        "l0_i2h_bias",
        "l0_h2h_bias",
    ]
    assert list(layer.collect_params(".*1_i2h_weight")) == ["l1_i2h_weight", "r1_i2h_weight"]
    assert layer.l0_i2h_weight.shape == (4 * H, -1)
    assert repr(layer) == "LSTM(-1 -> 5, TNC, num_layers=2, bidirectional)"
    x = np.array(inputs(T, N, C))
    expected = layer(x)
    assert layer.l0_i2h_weight.shape == (4 * H, C)
    assert layer.l1_i2h_weight.shape == (4 * H, 2 * H)
    layer.save_parameters(tmp_path / "layer.npz")
    other = rnn.LSTM(H, num_layers=2, bidirectional=True)
    other.load_parameters(tmp_path / "layer.npz")
    assert np.array_equal(other(x), expected)


def test_one_state_need_be_in_no_list_and_begins_as_asked() -> None:
    layer = layer_of("gru")
    (ones,) = layer.begin_state(N, func=np.ones, ctx=npx.cpu())
    assert ones.shape == (1, N, H)
    output, (last,) = layer(np.array(inputs(T, N, C)), ones)
    close(output[-1:], last.asnumpy())
    layer.cast("float64")
    assert layer.begin_state(N)[0].dtype == "float64"
    assert layer(np.array(inputs(T, N, C), dtype="float64")).dtype == "float64"


@pytest.mark.parametrize(
    ("shape", "states", "message"),
    [
        ((N, C), None, "three axes in the layout TNC"),
        ((0, N, C), None, "one time or more"),
        ((T, N, C + 1), None, f"expects {C} features; found {C + 1}"),
        ((T, N, C), [(1, N, H)], r"expects states of shapes \[\(1, 2, 5\), \(1, 2, 5\)\]"),
        ((T, N, C), [(2, N, H), (2, N, H)], r"found \[\(2, 2, 5\), \(2, 2, 5\)\]"),
    ],
)
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], states: Any, message: str) -> None:
    layer = layer_of("lstm", input_size=C)
    given = None if states is None else [np.zeros(s) for s in states]
    with pytest.raises(ShapeError, match=message):
        layer(np.zeros(shape), given)


def test_lengths_of_another_batch_are_refused() -> None:
    with pytest.raises(ShapeError, match="one number for each of 2 sequences; found an array of shape"):
        layer_of("gru")(np.zeros((T, N, C)), sequence_length=np.array([1, 2, 3]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rnn.GRU(0), "hidden_size=0"),
        (lambda: rnn.GRU(3, layout="NCT"), "use 'TNC' or 'NTC'"),
        (lambda: rnn.GRU(3, projection_size=2), "only LSTM projects"),
        (lambda: rnn.RNN(3, activation="gelu"), "'relu' and 'tanh', not 'gelu'"),
        (lambda: rnn.LSTM(3, dropout=1), "dropout=1"),
    ],
)
def test_impossible_layers_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()
