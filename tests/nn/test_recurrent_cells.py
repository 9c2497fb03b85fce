"""Recurrent cells: steps against torch's, unrolled sequences against steps, and what modifies or joins cells."""

from typing import Any

import numpy
import pytest

from blockfuse import nn
from blockfuse.array import autograd, np, npx
from blockfuse.gluon import rnn
from blockfuse.ir.errors import ShapeError, UsageError

torch = pytest.importorskip("torch")

T, N, C, H = 4, 3, 2, 5
_NAMES = {"i2h_weight": "weight_ih", "h2h_weight": "weight_hh", "i2h_bias": "bias_ih", "h2h_bias": "bias_hh"}


def begun(cell: Any) -> Any:
    np.random.seed(0)
    cell.initialize(init="xavier")
    for name, parameter in cell.collect_params().items():
        if name.endswith("bias"):
            parameter.set_data(np.random.normal(size=parameter.shape))
    return cell


def inputs(*shape: int) -> Any:
    return np.array(numpy.random.default_rng(7).normal(size=shape).astype("float32"))


def close(found: Any, expected: Any) -> None:
    numpy.testing.assert_allclose(found.asnumpy(), numpy.asarray(expected), 1e-5, 1e-6)


def by_steps(cell: Any, x: Any) -> tuple[Any, list[Any]]:
    """What unrolling means. x: (times, batch, features)."""
    outputs, states = [], cell.begin_state(x.shape[1])
    cell.reset()
    for time in range(len(x)):
        output, states = cell(x[time], states)
        outputs.append(output)
    return np.stack(outputs), states


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_step_is_torchs(kind: str) -> None:
    cell = begun(getattr(rnn, f"{kind}Cell")(H, input_size=C))
    twin = getattr(torch.nn, f"{kind}Cell")(C, H)
    with torch.no_grad():
        for name, parameter in cell.collect_params().items():
            getattr(twin, _NAMES[name]).copy_(torch.from_numpy(parameter.data().asnumpy()))
        x, states = inputs(N, C), [inputs(N, H) * (n + 1) for n in range(len(cell.state_info()))]
        given = [torch.from_numpy(array.asnumpy()) for array in (x, *states)]
        expected = twin(given[0], tuple(given[1:]) if kind == "LSTM" else given[1])
    output, following = cell(x, states)
    expected = expected if kind == "LSTM" else (expected,)
    close(output, expected[0])
    for found, wanted in zip(following, expected, strict=True):
        close(found, wanted)


def stacked(kind: type[rnn.SequentialRNNCell] = rnn.SequentialRNNCell) -> Any:
    cell = kind()
    cell.add(rnn.LSTMCell(H), rnn.ResidualCell(rnn.GRUCell(H)))
    cell.add(rnn.DropoutCell(0.5))
    cell.add(rnn.ZoneoutCell(rnn.RNNCell(2, activation="relu"), 0.3, 0.2))
    return cell


CELLS = {
    "rnn": lambda: rnn.RNNCell(H),
    "lstm": lambda: rnn.LSTMCell(H, activation="softsign", recurrent_activation="tanh"),
    "gru": lambda: rnn.GRUCell(H),
    "projected": lambda: rnn.LSTMPCell(H, 3),
    "stacked": stacked,
    "nested": lambda: rnn.ResidualCell(rnn.ZoneoutCell(rnn.GRUCell(C), 0.5)),
    "variational": lambda: rnn.VariationalDropoutCell(rnn.LSTMCell(H), 0.2, 0.2, 0.2),
}


@pytest.mark.parametrize("name", CELLS)
def test_an_unrolled_cell_gives_what_its_steps_give(name: str) -> None:
    cell, x = begun(CELLS[name]()), inputs(T, N, C)
    output, states = cell.unroll(T, x, layout="TNC", merge_outputs=True)
    expected, last = by_steps(cell, x)
    close(output, expected.asnumpy())
    assert len(states) == len(last) == len(cell.state_info())
    for found, wanted in zip(states, last, strict=True):
        close(found, wanted.asnumpy())
    several, _ = cell.unroll(T, [x[t] for t in range(T)], cell.begin_state(N))
    assert isinstance(several, list)
    close(np.stack(several), expected.asnumpy())
    swapped, _ = cell.unroll(T, np.swapaxes(x, 0, 1), layout="NTC", merge_outputs=True)
    close(np.swapaxes(swapped, 0, 1), expected.asnumpy())


@pytest.mark.parametrize("name", ["lstm", "stacked"])
def test_sequences_end_at_their_valid_length(name: str) -> None:
    cell, x, lengths = begun(CELLS[name]()), inputs(T, N, C), [2, 4, 1]
    output, states = cell.unroll(T, x, layout="TNC", merge_outputs=True, valid_length=np.array(lengths))
    for n, length in enumerate(lengths):
        alone, last = cell.unroll(length, x[:length, n : n + 1], layout="TNC", merge_outputs=True)
        close(output[:length, n : n + 1], alone.asnumpy())
        assert not output[length:, n].asnumpy().any()
        for found, wanted in zip(states, last, strict=True):
            close(found[n : n + 1], wanted.asnumpy())


@pytest.mark.parametrize("lengths", [None, [2, 4, 1]])
def test_a_bidirectional_cell_goes_both_ways(lengths: list[int] | None) -> None:
    cell, x = begun(rnn.BidirectionalCell(rnn.GRUCell(H), rnn.LSTMCell(2))), inputs(T, N, C)
    valid = None if lengths is None else np.array(lengths)
    output, states = cell.unroll(T, x, layout="TNC", merge_outputs=True, valid_length=valid)
    assert output.shape == (T, N, H + 2)
    assert [state.shape for state in states] == [(N, H), (N, 2), (N, 2)]
    for n, length in enumerate(lengths or [T] * N):
        back = np.flip(x[:length, n : n + 1], 0)
        expected, last = by_steps(cell.r_cell, back)
        close(output[:length, n : n + 1, H:], numpy.flip(expected.asnumpy(), 0))
        close(states[1][n : n + 1], last[0].asnumpy())
        close(output[:length, n : n + 1, :H], by_steps(cell.l_cell, x[:length, n : n + 1])[0].asnumpy())
    with pytest.raises(NotImplementedError, match=r"use unroll\(\)"):
        cell(x[0], cell.begin_state(N))


class Unrolled(nn.Block):
    """A cell in a net, as programs write it."""

    def __init__(self, cell: Any) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Any) -> Any:
        outputs, states = self.cell.unroll(x.shape[1], x, layout="NTC", merge_outputs=True)
        return outputs, states


@pytest.mark.spread(2)
@pytest.mark.parametrize("make", [lambda: rnn.RNNCell(C), CELLS["nested"]], ids=["rnn", "nested"])
def test_a_net_of_cells_is_one_program(make: Any) -> None:
    net, x = begun(Unrolled(rnn.BidirectionalCell(make(), rnn.RNNCell(C)))), inputs(N, 2, C)
    expected, last = net(x)
    net.hybridize()
    for _ in range(3):
        output, states = net(x)
    assert "compiled" in net.explain().split("\n")[0]
    close(output, expected.asnumpy())
    for found, wanted in zip(states, last, strict=True):
        close(found, wanted.asnumpy())


def test_a_hybridized_cell_is_called_step_by_step_and_sees_its_new_weights() -> None:
    cell, x = begun(rnn.GRUCell(H)), inputs(T, N, C)
    expected, _ = cell.unroll(T, x, layout="TNC", merge_outputs=True)
    cell.hybridize()
    for _ in range(2):
        close(cell.unroll(T, x, layout="TNC", merge_outputs=True)[0], expected.asnumpy())
    cell.i2h_weight.set_data(cell.i2h_weight.data() * 2)
    changed, _ = cell.unroll(T, x, layout="TNC", merge_outputs=True)
    cell.hybridize(active=False)
    close(cell.unroll(T, x, layout="TNC", merge_outputs=True)[0], changed.asnumpy())
    assert not np.allclose(changed, expected)


def test_hooks_and_own_forwards_see_every_step() -> None:
    class Doubled(rnn.RNNCell):
        def forward(self, inputs: Any, states: Any) -> Any:
            output, following = super().forward(inputs, states)
            return output * 2, following

    x, plain, doubled = inputs(T, N, C), begun(rnn.RNNCell(H, input_size=C)), begun(Doubled(H, input_size=C))
    seen: list[Any] = []
    expected, _ = plain.unroll(T, x, layout="TNC", merge_outputs=True)
    close(doubled.unroll(T, x, layout="TNC", merge_outputs=True)[0], 2 * expected.asnumpy())
    plain.register_forward_hook(lambda block, given, result: seen.append(result))
    close(plain.unroll(T, x, layout="TNC", merge_outputs=True)[0], expected.asnumpy())
    assert len(seen) == T


def test_gradients_of_an_unrolled_cell_are_those_of_its_steps() -> None:
    cell, x = begun(CELLS["stacked"]()), inputs(T, N, C)
    found = []
    for run in (lambda: cell.unroll(T, x, layout="TNC", merge_outputs=True)[0], lambda: by_steps(cell, x)[0]):
        with autograd.record(train_mode=False):
            total = (run() ** 2).sum()
        total.backward()
        found.append({name: parameter.grad().copy() for name, parameter in cell.collect_params().items()})
    for name, grad in found[0].items():
        close(grad, found[1][name].asnumpy())


def test_zoneout_keeps_elements_in_training() -> None:
    cell = begun(rnn.ZoneoutCell(rnn.RNNCell(200), zoneout_outputs=0.25, zoneout_states=0.5))
    x, begin = inputs(2, 1, C), [np.ones((1, 200))]
    plain, states = cell(x[0], begin)
    assert (plain == states[0]).all()
    with autograd.train_mode():
        first, kept = cell(x[0], begin)
        second, _ = cell(x[1], begin)
        (_, unrolled), _ = cell.unroll(2, x, begin, layout="TNC")
    assert 60 < float((kept[0] == 1).sum()) < 140  # of the state before
    assert 20 < float((first == 0).sum()) < 80  # there was no output before
    assert 20 < float((second == first).sum()) < 80
    assert (
        (unrolled == 0) | (unrolled == second)
    ).mean() < 1  # from its own first output, not from the call before
    cell.reset()
    with autograd.train_mode():
        assert 20 < float((cell(x[0], begin)[0] == 0).sum()) < 80


def test_variational_dropout_has_one_mask_for_a_sequence() -> None:
    cell = begun(rnn.VariationalDropoutCell(rnn.RNNCell(100, activation="sigmoid"), drop_outputs=0.5))
    with autograd.train_mode():
        output, _ = cell.unroll(T, inputs(T, 1, C), layout="TNC", merge_outputs=True)
        again, _ = cell.unroll(T, inputs(T, 1, C), layout="TNC", merge_outputs=True)
        first, states = cell(inputs(1, C), cell.begin_state(1))
        second, _ = cell(inputs(1, C), states)
    zeros = (output == 0).asnumpy()
    assert (zeros == zeros[0]).all()
    assert 20 < zeros[0].sum() < 80
    assert (zeros[0] != (again[0] == 0).asnumpy()).any()
    assert np.array_equal(first == 0, second == 0)


def test_dropout_between_cells_is_in_training_only() -> None:
    cell, x = rnn.DropoutCell(0.5), np.ones((T, N, 50))
    output, states = cell.unroll(T, x, layout="TNC", merge_outputs=True)
    assert states == []
    assert np.array_equal(output, x)
    together = rnn.DropoutCell(0.5, axes=(0,))
    with autograd.train_mode():
        each = cell.unroll(T, x, layout="TNC", merge_outputs=True)[0].asnumpy()
        shared = together.unroll(T, x, layout="TNC", merge_outputs=True)[0].asnumpy()
    assert set(numpy.unique(each)) == {0, 2} == set(numpy.unique(shared))
    assert (each[:, 0] != each[:, 1]).any()
    assert (shared[:, 0] == shared[:, 1]).all()
    assert (shared[0] != shared[1]).any()


def test_compound_cells_have_the_states_of_their_parts() -> None:
    cell = stacked(rnn.HybridSequentialRNNCell)
    assert [info["shape"] for info in cell.state_info(N)] == [(N, H), (N, H), (N, H), (N, 2)]
    ones = cell.begin_state(N, func=np.ones, ctx=npx.cpu())
    assert [state.shape for state in ones] == [(N, H), (N, H), (N, H), (N, 2)]
    assert len(cell) == 4
    assert isinstance(cell[1], rnn.ResidualCell)
    assert [*cell][2] is cell[2]
    names = [name for name in cell.collect_params() if name.endswith("i2h_weight")]
    assert names == ["0.i2h_weight", "1.base_cell.i2h_weight", "3.base_cell.i2h_weight"]


def test_a_cell_waits_for_its_features_and_shows_them() -> None:
    cell = rnn.LSTMCell(H)
    cell.initialize()
    assert repr(cell) == "LSTMCell(-1 -> 5)"
    cell.unroll(T, inputs(N, T, C))
    assert repr(cell) == "LSTMCell(2 -> 5)"
    assert cell.i2h_weight.shape == (4 * H, C)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda cell: cell(np.ones((N, C + 1)), cell.begin_state(N)), "expects 2 features; found 3"),
        (lambda cell: cell(np.ones((T, N, C)), cell.begin_state(N)), "unroll"),
        (
            lambda cell: cell(np.ones((N, C)), cell.begin_state(N + 1)),
            r"states of shapes \[\(3, 5\)\]; found",
        ),
        (lambda cell: cell.unroll(T + 1, np.ones((N, T, C))), "over 5 times, and its inputs have 4"),
        (lambda cell: cell.unroll(0, []), "inputs have 0"),
        (lambda cell: cell.unroll(T, np.ones(T)), r"found one of shape \(4,\)"),
        (lambda cell: cell.unroll(T, np.ones((N, T, C)), []), "has 1 states; found 0"),
        (lambda cell: cell.unroll(T, np.ones((N, T, C)), valid_length=np.ones(2)), "each of 3 sequences"),
    ],
)
def test_what_does_not_fit_is_refused(run: Any, message: str) -> None:
    cell = rnn.GRUCell(H, input_size=C)
    cell.initialize()
    with pytest.raises(ShapeError, match=message):
        run(cell)


def test_impossible_cells_are_refused() -> None:
    for make in (
        lambda: rnn.GRUCell(0),
        lambda: rnn.DropoutCell(1),
        lambda: rnn.ZoneoutCell(rnn.RNNCell(2), -1),
    ):
        with pytest.raises(UsageError):
            make()
    with pytest.raises(UsageError, match="use 'TNC' or 'NTC'"):
        rnn.RNNCell(2).unroll(T, np.ones((N, T, C)), layout="NCT")
    for compound in (lambda: rnn.ResidualCell(nn.Dense(3)), lambda: rnn.SequentialRNNCell().add(nn.Dense(3))):
        with pytest.raises(TypeError, match="Dense"):
            compound()


@pytest.mark.parametrize("axis", [0, 1])
def test_sequences_are_reversed_and_end_by_their_lengths(axis: int) -> None:
    x, lengths = numpy.arange(24, dtype="float32").reshape((4, 3, 2)), [2, 4, 1]
    given = np.array(x if axis == 0 else x.swapaxes(0, 1))
    expected = x.copy()
    for n, length in enumerate(lengths):
        expected[:length, n] = x[:length, n][::-1]
    found = npx.sequence_reverse(given, np.array(lengths), True, axis).asnumpy()
    numpy.testing.assert_array_equal(found if axis == 0 else found.swapaxes(0, 1), expected)
    numpy.testing.assert_array_equal(npx.sequence_reverse(given, axis=axis), np.flip(given, axis))
    last = npx.sequence_last(given, np.array([2.0, 4.0, 1.0]), use_sequence_length=True, axis=axis)
    numpy.testing.assert_array_equal(last, [x[n - 1, i] for i, n in enumerate(lengths)])
    numpy.testing.assert_array_equal(npx.sequence_last(given, axis=axis), x[-1])
    for function in (npx.sequence_last, npx.sequence_reverse, npx.sequence_mask):
        with pytest.raises(ShapeError, match="one length for each of 3 sequences"):
            function(given, np.array([1, 2]), True, axis=axis)
        with pytest.raises(UsageError, match="axis 0 or 1, not 2"):
            function(given, np.array([1, 2]), True, axis=2)
