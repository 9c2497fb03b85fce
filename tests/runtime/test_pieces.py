"""Hybridized nets and functions inside of ``autograd.record()``: compiled forward and backward against eager ones."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import autograd, gluon, nn, np, npx
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import CompilerWarning, GradientError
from blockfuse.runtime.calls import pieces
from blockfuse.runtime.programs.piece import Piece
from blockfuse.runtime.programs.program import Program

pytestmark = pytest.mark.spread(2)

X = numpy.random.default_rng(5).normal(size=(4, 6)).astype("float32")
LABELS = numpy.array([0, 2, 1, 1])


def net_of(*layers: nn.Block, features: int = 6) -> nn.Sequential:
    """A net of these layers, the same in every call."""
    np.random.seed(0)
    net = nn.Sequential(*layers)
    net.initialize(init="xavier")
    net(np.ones((1, features)))
    return net


def mlp() -> nn.Sequential:
    return net_of(nn.Dense(8, activation="relu"), nn.Dense(3))


def grads_of(net: nn.Block) -> list[numpy.ndarray]:
    return [p.grad().asnumpy() for p in net.collect_params().values() if p.grad_req != "null"]


def pieces_of(hybrid: Any) -> list[Piece]:
    """The pieces of a hybridized block or function, which it must have."""
    cases = list(hybrid._hybrid.pieces.cases.values())
    assert cases
    assert all(case.piece for case in cases), [case.reason for case in cases]
    return [case.piece for case in cases if case.piece]


def reason_of(hybrid: Any) -> str:
    """Why there is no piece."""
    (case,) = hybrid._hybrid.pieces.cases.values()
    assert case.piece is None
    return case.reason


def require_close(found: Any, wanted: Any) -> None:
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        numpy.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


Scenario = Callable[[Any], list[Any]]  # of a block or function: what is to be equal


def require_twins(make: Callable[[], Any], scenario: Scenario, rounds: int = 3, compiled: bool = True) -> Any:
    """The scenario of an eager block or function and of a hybridized one, several times: the first call is recorded."""
    plain, hybrid = make(), make()
    if isinstance(hybrid, nn.Block):
        hybrid.hybridize()
    else:
        hybrid = blockfuse.hybridize(hybrid)
    for _ in range(rounds):
        np.random.seed(3)
        wanted = scenario(plain)
        np.random.seed(3)
        require_close(scenario(hybrid), wanted)
    if compiled:
        assert all(piece.calls >= rounds - 1 for piece in pieces_of(hybrid))
    return hybrid


def one_step(net: Any) -> list[Any]:
    """The result, the gradients of the net, and the weights after a small step."""
    with autograd.record():
        y = net(np.array(X))
        loss = (y * y).sum()
    loss.backward()
    found = [y.asnumpy(), *grads_of(net)]
    for parameter in net.collect_params().values():
        weight = parameter.data()
        weight -= 0.05 * parameter.grad()
    return found


def test_a_net_gives_the_gradients_of_its_eager_twin_and_sees_new_parameters() -> None:
    hybrid = require_twins(mlp, one_step, rounds=4)
    (piece,) = pieces_of(hybrid)
    assert piece.backwards[0,].program is not None
    assert not piece.backwards[0,].broken


def test_no_call_is_recorded_again_while_parameters_change() -> None:
    net = mlp()
    net.hybridize()
    one_step(net)
    (piece,) = pieces_of(net)
    for _ in range(3):
        one_step(net)
    assert pieces_of(net) == [piece]
    assert piece.calls == 3


@pytest.mark.long
def test_hybridized_net_and_loss_follow_torch() -> None:
    torch = pytest.importorskip("torch")
    net, loss = mlp(), gluon.loss.SoftmaxCrossEntropyLoss()
    net.hybridize()
    loss.hybridize()
    twin = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    ours = [p.data().asnumpy() for p in net.collect_params().values()]
    with torch.no_grad():
        for parameter, value in zip(twin.parameters(), ours, strict=True):
            parameter.copy_(torch.from_numpy(value))
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.5, "momentum": 0.9})
    theirs = torch.optim.SGD(twin.parameters(), lr=0.5, momentum=0.9)
    for _ in range(10):
        with autograd.record():
            value = loss(net(np.array(X)), np.array(LABELS))
        value.backward()
        trainer.step(4)
        theirs.zero_grad()
        other = torch.nn.functional.cross_entropy(twin(torch.from_numpy(X)), torch.from_numpy(LABELS))
        other.backward()
        theirs.step()
        assert abs(float(value.mean()) - float(other.detach())) < 1e-5
    assert pieces_of(net)[0].calls >= 8
    assert pieces_of(loss)[0].calls >= 8


def test_random_numbers_are_those_of_eager_and_the_same_in_both_halves() -> None:
    require_twins(lambda: net_of(nn.Dense(8, activation="relu"), nn.Dropout(0.5), nn.Dense(3)), one_step)


class Averaging(nn.Block):
    """Keeps a running mean, as batch normalization does."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = np.zeros((8,))

    def forward(self, x: ndarray) -> ndarray:
        mean = x.mean(axis=0)
        with autograd.pause(train_mode=True):
            self.mean[...] = self.mean * 0.9 + mean * 0.1
        return x - mean


@pytest.mark.long
def test_states_are_updated_once_for_each_forward() -> None:
    def scenario(net: Any) -> list[Any]:
        return [*one_step(net), net[1].mean.asnumpy()]

    require_twins(lambda: net_of(nn.Dense(8), Averaging(), nn.Dense(3)), scenario)


def test_inputs_have_gradients_also_through_what_comes_before_the_net() -> None:
    def scenario(net: Any) -> list[Any]:
        x = np.array(X)
        x.attach_grad()
        with autograd.record():
            y = net(np.tanh(x)) + net(x * 2)
        y.backward(np.array(X[:, :3]))
        return [y.asnumpy(), x.grad.asnumpy(), *grads_of(net)]

    hybrid = require_twins(mlp, scenario)
    assert len(pieces_of(hybrid)) == 1


def test_inputs_with_and_without_a_history_are_different_signatures() -> None:
    net = mlp()
    net.hybridize()
    x = np.array(X)
    for _ in range(2):
        one_step(net)
        x.attach_grad()
        with autograd.record():
            y = net(x)
        y.backward()
    assert len(pieces_of(net)) == 2
    assert x.grad.shape == x.shape


def test_gradients_are_added_up_where_that_is_asked_for() -> None:
    def make() -> nn.Block:
        net = mlp()
        net.setattr("grad_req", "add")
        return net

    def scenario(net: Any) -> list[Any]:
        for _ in range(2):
            with autograd.record():
                loss = (net(np.array(X)) ** 2).sum()
            loss.backward()
        found = grads_of(net)
        net.zero_grad()
        return found

    require_twins(make, scenario)


def test_a_parameter_whose_grad_req_changes_is_told_from_before() -> None:
    def scenario(net: Any) -> list[Any]:
        found = one_step(net)
        net[0].weight.grad_req = "null"
        with autograd.record():
            loss = (net(np.array(X)) ** 2).sum()
        loss.backward()
        found += [p.grad().asnumpy() for p in (net[0].bias, net[1].weight, net[1].bias)]
        net[0].weight.grad_req = "write"
        return found

    require_twins(mlp, scenario, rounds=2, compiled=False)


@pytest.mark.long
def test_shared_parameters_have_the_sum() -> None:
    def make() -> nn.Block:
        net = net_of(nn.Dense(6, activation="tanh"), nn.Dense(6))
        net[1].share_parameters(net[0].collect_params())
        return net

    require_twins(make, one_step)


# -- several results -----------------------------------------------------------------------------------------------


def several(w: ndarray, x: ndarray) -> dict[str, Any]:
    """inner: its logarithm is -inf where nothing of it is used."""
    h = np.maximum(x * w, 0)
    return {"outer": (h * 3).sum(axis=1), "inner": [np.log(h), h.argmax()], "size": 7}


@pytest.mark.parametrize("used", [("outer",), ("inner",), ("outer", "inner")])
def test_of_several_results_those_that_are_used_count(used: tuple[str, ...]) -> None:
    def scenario(function: Any) -> list[Any]:
        w = np.array(numpy.arange(6, dtype="float32"))
        w.attach_grad()
        with autograd.record():
            found = function(w, np.array(numpy.abs(X)))
        assert found["size"] == 7
        values = {"outer": found["outer"], "inner": found["inner"][0]}
        autograd.backward([values[name] for name in used])
        return [*(v.asnumpy() for v in values.values()), w.grad.asnumpy()]

    with numpy.errstate(divide="ignore", invalid="ignore"):
        require_twins(lambda: several, scenario)


@pytest.mark.long
def test_three_results_of_which_two_are_used() -> None:
    def powers(x: ndarray) -> tuple[ndarray, ...]:
        return x * 2, x**2, x**3

    def scenario(function: Any) -> list[Any]:
        x = np.array(X)
        x.attach_grad()
        with autograd.record():
            first, _, third = function(x)
            total = first.sum() + (third * x).sum()
        total.backward()
        return [x.grad.asnumpy()]

    require_twins(lambda: powers, scenario)


def test_two_nets_have_one_backward() -> None:
    other = mlp()
    other.hybridize()

    def scenario(net: Any) -> list[Any]:
        with autograd.record():
            loss = (net(np.array(X)) * other(np.array(X))).sum()
        loss.backward()
        return grads_of(net) + grads_of(other)

    require_twins(mlp, scenario)


# -- memory that is written to -------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["parameter", "argument", "result"])
def test_what_is_overwritten_before_backward_counts_as_it_was(what: str) -> None:
    def scenario(net: Any) -> list[Any]:
        x = np.array(X)
        with autograd.record():
            y = net(x)
        if what == "parameter":
            before = net[1].weight.data().copy()
            net[1].weight.data()[...] = 9
        elif what == "argument":
            x[...] = 9
        else:
            with autograd.record():
                y *= np.array(X[:, :3])
        y.backward()
        if what == "parameter":
            net[1].weight.data()[...] = before
        return grads_of(net)

    require_twins(lambda: net_of(nn.Dense(8, activation="relu"), nn.Dense(3, activation="relu")), scenario)


def test_memory_of_numpy_is_copied() -> None:
    def scenario(net: Any) -> list[Any]:
        memory = X.copy()
        with autograd.record():
            y = net(np.asarray(memory))
        memory[...] = 9
        y.backward()
        return grads_of(net)

    require_twins(mlp, scenario)


def test_backward_twice_needs_retain_graph() -> None:
    def scenario(net: Any) -> list[Any]:
        with autograd.record():
            loss = net(np.array(X)).sum()
        loss.backward(retain_graph=True)
        first = grads_of(net)
        net[0].weight.data()[...] = net[0].weight.data() * 1.5
        loss.backward()
        with pytest.raises(GradientError, match="retain_graph"):
            loss.backward()
        net[0].weight.data()[...] = net[0].weight.data() / 1.5
        return first + grads_of(net)

    require_twins(mlp, scenario)


def test_a_result_that_nobody_uses_takes_its_memory_along() -> None:
    net = mlp()
    net.hybridize()
    for _ in range(3):
        with autograd.record():
            y = net(np.array(X))
    assert pieces_of(net)[0].calls == 2
    node = weakref.ref(y._history[0])
    gc.disable()
    try:
        del y
        assert node() is None
    finally:
        gc.enable()


# -- what stays in Python ------------------------------------------------------------------------------------------


class Doubled(autograd.Function):
    calls = 0

    def forward(self, x: ndarray) -> ndarray:
        return x * 2

    def backward(self, dy: ndarray) -> ndarray:
        Doubled.calls += 1
        return dy * 2


class WithFunction(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(3, in_units=6)

    def forward(self, x: ndarray) -> ndarray:
        return Doubled()(self.dense(x))


def test_a_function_of_the_user_stays_in_python_and_runs_once_for_each_backward() -> None:
    np.random.seed(0)
    net = WithFunction()
    net.initialize()
    net.hybridize()
    Doubled.calls = 0
    for _ in range(5):
        one_step(net)
    assert Doubled.calls == 5
    assert "Function" in reason_of(net)
    assert pieces_of(net.dense)[0].calls > 0
    assert "Function" in net.explain()


class Deciding(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(6, in_units=6)

    def forward(self, x: ndarray) -> ndarray:
        while (np.abs(x).sum() > 20) or (x.sum() > 5):
            x = self.dense(x) / 2
        return self.dense(x)


def test_flow_that_depends_on_data_stays_in_python_and_its_layers_do_not() -> None:
    def make() -> nn.Block:
        np.random.seed(0)
        net = Deciding()
        net.initialize()
        return net

    hybrid = require_twins(make, one_step, compiled=False)
    assert "depends on data" in reason_of(hybrid)
    assert pieces_of(hybrid.dense)


def test_an_argument_that_is_returned_is_the_argument() -> None:
    def same(x: ndarray) -> ndarray:
        return x

    def scenario(function: Any) -> list[Any]:
        x = np.array(X)
        x.attach_grad()
        with autograd.record():
            y = function(x)
            assert y is x
            z = y * 2
        z.backward()
        return [x.grad.asnumpy()]

    require_twins(lambda: same, scenario, compiled=False)


def test_gradients_end_where_forward_says_so() -> None:
    def stopped(x: ndarray) -> ndarray:
        with autograd.pause():
            scale = x * x
        return x * scale + x.detach() * x + npx.stop_gradient(x)

    def scenario(function: Any) -> list[Any]:
        x = np.array(X)
        x.attach_grad()
        with autograd.record():
            y = function(x)
        y.backward()
        return [y.asnumpy(), x.grad.asnumpy()]

    require_twins(lambda: stopped, scenario)


def test_gradients_of_gradients_go_through_a_piece() -> None:
    def scenario(net: Any) -> list[Any]:
        x = np.array(X)
        x.attach_grad()
        with autograd.record():
            y = net(x)
            (slope,) = autograd.grad(y.sum(), [x], create_graph=True)
            penalty = (slope**2).sum()
        penalty.backward()
        return [slope.asnumpy(), x.grad.asnumpy(), *grads_of(net)[:1]]

    require_twins(lambda: net_of(nn.Dense(8, activation="tanh"), nn.Dropout(0.5), nn.Dense(3)), scenario)


def test_gradients_of_gradients_of_what_pauses_are_refused() -> None:
    @blockfuse.hybridize
    def paused(x: ndarray) -> ndarray:
        with autograd.pause():
            scale = x * x
        return x * scale

    x = np.array(X)
    x.attach_grad()
    for _ in range(2):
        with autograd.record():
            y = paused(x)
    with pytest.raises(GradientError, match="hybridize"), autograd.record():
        autograd.grad(y, [x], create_graph=True)


# -- modes, forms, others ------------------------------------------------------------------------------------------


@pytest.mark.long
def test_train_mode_is_part_of_the_signature() -> None:
    net = net_of(nn.Dense(8), nn.Dropout(0.5), nn.Dense(3))
    net.hybridize()
    for _ in range(3):
        with autograd.record(train_mode=False):
            predicted = net(np.array(X))
        predicted.backward()
        assert numpy.array_equal(net(np.array(X)).asnumpy() == 0, predicted.asnumpy() == 0)
        one_step(net)
    assert len(pieces_of(net)) == 2


@pytest.mark.long
def test_numbers_integers_and_keywords_among_the_arguments() -> None:
    def picked(x: ndarray, places: ndarray, *, scale: float, names: dict[str, ndarray]) -> ndarray:
        return npx.pick(x * names["by"], places) * scale

    def scenario(function: Any) -> list[Any]:
        x, by = np.array(X), np.array(X[:1])
        for array in (x, by):
            array.attach_grad()
        with autograd.record():
            y = function(x, np.array(LABELS), scale=2.5, names={"by": by})
        y.backward()
        return [y.asnumpy(), x.grad.asnumpy(), by.grad.asnumpy()]

    require_twins(lambda: picked, scenario)


@pytest.mark.long
def test_a_net_of_float64() -> None:
    def make() -> nn.Block:
        net = mlp()
        net.cast("float64")
        return net

    def scenario(net: Any) -> list[Any]:
        with autograd.record():
            y = net(np.array(X.astype("float64"), dtype="float64"))
        y.backward()
        return [y.asnumpy(), *grads_of(net)]

    require_twins(make, scenario)


def test_arrays_that_a_function_finds_have_gradients() -> None:
    w = np.array(X[0])
    w.attach_grad()

    @blockfuse.hybridize
    def scaled(x: ndarray) -> ndarray:
        return x * w

    for n in range(3):
        w[...] = n + 1
        with autograd.record():
            y = scaled(np.array(X))
        y.backward()
        require_close([y.asnumpy(), w.grad.asnumpy()], [X * (n + 1), X.sum(axis=0)])
    assert pieces_of(scaled)[0].calls == 2


def test_a_step_that_is_a_program_takes_hybridized_nets_in() -> None:
    net = mlp()
    net.hybridize()
    one_step(net)

    @blockfuse.hybridize
    def step(x: ndarray) -> ndarray:
        with autograd.record():
            loss = (net(x) ** 2).sum()
        loss.backward()
        return loss

    one_step(net)
    calls = pieces_of(net)[0].calls
    found = [float(step(np.array(X))) for _ in range(3)]
    assert found[0] == pytest.approx(found[2], rel=1e-6)
    assert pieces_of(net)[0].calls == calls
    assert "compiled" in step.explain()


def test_blocks_in_a_block_that_is_not_hybridized_are_pieces() -> None:
    def make() -> nn.Block:
        net = mlp()
        net[0].hybridize()
        return net

    plain, net = mlp(), make()
    for _ in range(3):
        require_close(one_step(net), one_step(plain))
    assert pieces_of(net[0])[0].calls == 2


def test_threads_have_gradients_of_their_own() -> None:
    net = mlp()
    net.hybridize()
    for _ in range(2):
        one_step(net)
    failures: list[Any] = []

    def work(factor: float) -> None:
        try:
            for _ in range(10):
                x = np.array(X * factor)
                x.attach_grad()
                with autograd.record():
                    y = net(x)
                grad = autograd.grad(y, [x])[0]
                wanted = numpy.broadcast_to(0, X.shape) + _input_gradient(net, X * factor)
                numpy.testing.assert_allclose(grad.asnumpy(), wanted, rtol=1e-4, atol=1e-5)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in (1.0, -2.0, 0.5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def _input_gradient(net: Any, x: numpy.ndarray) -> numpy.ndarray:
    first, second = (layer.weight.data().asnumpy() for layer in (net[0], net[1]))
    active = x @ first.T + net[0].bias.data().asnumpy() > 0
    return (active * second.sum(axis=0)) @ first


def test_explain_tells_of_both_halves() -> None:
    net = mlp()
    net.hybridize()
    for _ in range(2):
        one_step(net)
    text = net.explain()
    assert "inside of record()" in text
    assert "backward" in text
    assert "keeps" in text


# -- checks --------------------------------------------------------------------------------------------------------


def require_equal_steps(net: nn.Block, plain: nn.Block) -> None:
    for _ in range(3):
        require_close(one_step(net), one_step(plain))


@pytest.mark.parametrize("half", ["forward", "backward"])
def test_a_half_that_computes_something_else_is_not_used(half: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run_by = Program.run_by

    def wrong(self: Program, *args: Any) -> Any:
        result = run_by(self, *args)
        inputs = {i.attrs["name"] for i in self.flow.inputs}
        if ("grad0" in inputs) == (half == "backward") and isinstance(result, tuple):
            result[0]._data[...] += 1
        return result

    plain, net = mlp(), mlp()
    net.hybridize()
    monkeypatch.setattr(Program, "run_by", wrong)
    with pytest.warns(CompilerWarning, match="runs in Python"):
        require_equal_steps(net, plain)


def test_what_was_recorded_is_held_against_the_eager_call(monkeypatch: pytest.MonkeyPatch) -> None:
    halves_of = pieces.halves_of

    def cut_wrongly(joint: Any) -> Any:
        halves = halves_of(joint)
        first, *rest = halves.backwards
        return replace(halves, backwards=(replace(first, places=first.places[::-1]), *rest))

    monkeypatch.setattr(pieces, "halves_of", cut_wrongly)
    plain, net = mlp(), mlp()
    net.hybridize()
    with pytest.warns(CompilerWarning, match="recorded"):
        require_equal_steps(net, plain)


# -- odd calls -----------------------------------------------------------------------------------------------------


def test_an_array_that_is_given_twice_has_the_sum() -> None:
    def scenario(function: Any) -> list[Any]:
        x, y = np.array(X), np.array(X + 1)
        for array in (x, y):
            array.attach_grad()
        with autograd.record():
            total = function(x, y) + function(x, x)
        total.backward()
        return [x.grad.asnumpy(), y.grad.asnumpy()]

    hybrid = require_twins(lambda: lambda a, b: a * b + a, scenario)
    assert len(pieces_of(hybrid)) == 2


def test_a_net_whose_shapes_wait_for_the_first_call() -> None:
    net = nn.Sequential(nn.Dense(8, activation="relu"), nn.Dense(3))
    net.initialize()
    net.hybridize()
    for _ in range(4):
        one_step(net)
    assert pieces_of(net)[0].calls >= 2


def test_memory_of_numpy_that_a_function_finds_is_read_at_each_call() -> None:
    factors = X[0].copy()

    def scenario(function: Any) -> list[Any]:
        x = np.array(X)
        x.attach_grad()
        factors[...] = X[0]
        with autograd.record():
            y = function(x)
        factors[...] = 7
        y.backward()
        return [y.asnumpy(), x.grad.asnumpy()]

    require_twins(lambda: lambda x: x * factors, scenario)


def test_an_index_beyond_its_axis_raises_as_ever() -> None:
    def scenario(function: Any) -> list[Any]:
        table = np.array(X)
        table.attach_grad()
        with autograd.record():
            y = function(table, np.array([0, 2, 2], dtype="int32"))
        y.backward()
        with pytest.raises(IndexError), autograd.record():
            function(table, np.array([0, 2, 9], dtype="int32"))
        return [table.grad.asnumpy()]

    require_twins(lambda: lambda table, rows: npx.embedding(rows, table), scenario)


@pytest.mark.long
def test_numbers_that_change_at_every_call_are_not_recorded_for_ever() -> None:
    @blockfuse.hybridize
    def scaled(x: ndarray, factor: float) -> ndarray:
        return x * factor

    x = np.array(X)
    x.attach_grad()
    for n in range(12):
        with autograd.record():
            y = scaled(x, float(n))
        y.backward()
        assert numpy.all(x.grad.asnumpy() == n)
    cases = scaled._hybrid.pieces.cases.values()
    assert sum(case.piece is not None for case in cases) == 8


def test_audited_nets_run_in_python_and_say_so() -> None:
    net = mlp()
    net.hybridize(audit=0.5)
    one_step(net)
    assert "audited" in net.explain()


def test_an_error_of_forward_reaches_the_user_and_leaves_things_as_they_were() -> None:
    @blockfuse.hybridize
    def failing(x: ndarray) -> ndarray:
        if x.shape[0] == 3:
            raise KeyError("three")
        return x * 2

    x = np.array(X[:3])
    x.attach_grad()
    with pytest.raises(KeyError), autograd.record():
        failing(x)
    assert not autograd.is_recording()
    with autograd.record():
        y = failing(np.array(X)) * x[:1]
    y.backward()
