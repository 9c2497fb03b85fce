"""Gradients through loops whose rounds are counted at run time: one program for any number, the values of eager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
from flows import case_of, program_of, ways_back
from stages import hold_program

import blockfuse
from blockfuse import autograd, gluon, nn, np, npx
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.builder import node_of
from blockfuse.ir.flow import Block, Flow, walk
from blockfuse.ir.graph import carried, graph_of, leaf, literal
from blockfuse.ir.operators.pointwise import add, greater, less, multiply
from blockfuse.ir.types import tensor
from blockfuse.tracer.flow import assembly

Forward = Callable[["Net", ndarray, ndarray], ndarray]


class Net(nn.Block):
    """Three layers and what is done with them."""

    def __init__(self, body: Forward) -> None:
        super().__init__()
        self.enter, self.round, self.leave = nn.Dense(6), nn.Dense(6, use_bias=False), nn.Dense(1)
        self.body = body

    def forward(self, x: ndarray, limit: ndarray) -> ndarray:
        return self.body(self, x, limit)


def net_of(body: Forward) -> Net:
    np.random.seed(1)
    net = Net(body)
    net.initialize(init="xavier")
    for layer, features in ((net.enter, 5), (net.round, 6), (net.leave, 6)):
        layer(np.ones((1, features)))
    return net


def step_of(net: nn.Block) -> Callable[..., ndarray]:
    parameters = list(net.collect_params().values())

    def step(x: ndarray, y: ndarray, limit: ndarray) -> ndarray:
        with autograd.record():
            loss = ((net(x, limit) - y) ** 2).mean()
        loss.backward()
        for parameter in parameters:
            weight = parameter.data()
            weight -= 0.02 * parameter.grad()
        return loss.detach()

    return step


def held_by(net: nn.Block) -> list[numpy.ndarray]:
    return [a.asnumpy() for p in net.collect_params().values() for a in (p.data(), p.grad())]


def same_training(
    body: Forward, limits: list[float], make: Callable[[nn.Block], Any] = step_of, **options: Any
) -> Any:
    """The compiled step of a net, after as many calls as there are limits did what the eager step does."""
    plain, other = net_of(body), net_of(body)
    eager, compiled = make(plain), blockfuse.hybridize(make(other), **options)
    rng = numpy.random.default_rng(0)
    for limit in limits:
        x, y = (np.array(rng.normal(size=(4, n)).astype("float32")) for n in (5, 1))
        wanted = eager(x, y, np.array(limit))
        numpy.testing.assert_allclose(compiled(x, y, np.array(limit)).asnumpy(), wanted.asnumpy(), rtol=1e-5)
        for found, expected in zip(held_by(other), held_by(plain), strict=True):
            numpy.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)
    return compiled


def equilibrium(net: Net, x: ndarray, limit: ndarray) -> ndarray:
    """A deep-equilibrium layer (Bai et al. 2019), iterated without acceleration."""
    inputs = net.enter(x)
    h, new = np.zeros_like(inputs), np.tanh(inputs)
    while np.abs(new - h).max() > limit:
        h, new = new, np.tanh(net.round(new) * 0.5 + inputs)
    return net.leave(new)


def halved_in_place(net: Net, x: ndarray, limit: ndarray) -> ndarray:
    x = npx.relu(net.round(net.enter(x)) + 1)
    while np.abs(x).sum() > limit:
        x /= 2
    return net.leave(x)


def scaled_in_place(net: Net, x: ndarray, limit: ndarray) -> ndarray:
    """Each round overwrites what the way back through the round before must know."""
    x = net.enter(x)
    w = net.round(x)
    while np.abs(x).sum() > limit:
        x *= np.tanh(w) * 0.5
        w = w + x
    return net.leave(x + w)


def branching(net: Net, x: ndarray, limit: ndarray) -> ndarray:
    h = net.round(net.enter(x))
    while np.abs(h).sum() > limit:
        if h.sum() > 0:
            h = np.tanh(net.round(h))
            h *= 0.7
        else:
            h = h * 0.8 + 0.01 * net.round(h)
    return net.leave(h)


def nested(net: Net, x: ndarray, limit: ndarray) -> ndarray:
    h = net.round(net.enter(x))
    while np.abs(h).sum() > limit:
        k = h
        while np.abs(k).max() > limit * 0.2:
            k = np.tanh(net.round(k)) * 0.5
        h = h * 0.5 + k * 0.1
    return net.leave(h)


def counting(net: Net, x: ndarray, limit: ndarray) -> ndarray:
    h, count = net.round(net.enter(x)), 0
    while np.abs(h).sum() > limit and count < 7:
        h = np.tanh(net.round(h)) * 0.7
        count += 1
    return net.leave(h)


def accumulating(net: Net, x: ndarray, limit: ndarray) -> ndarray:
    """Two values that a round changes, one by the other: their gradients are one array at first."""
    h = net.round(net.enter(x))
    total = h
    while np.abs(h).sum() > limit:
        h = h * 0.6 + net.round(h) * 0.1
        total = total + h
    return net.leave(total)


def breaking(net: Net, x: ndarray, limit: ndarray) -> ndarray:
    h = net.round(net.enter(x))
    for _ in range(30):
        h = np.tanh(net.round(h)) * 0.7
        if np.abs(h).sum() < limit:
            break
    return net.leave(h)


def stepping(net: Net, x: ndarray, limit: ndarray) -> ndarray:
    """An ordinary differential equation by Heun's method, with steps as long as the error allows."""
    y, time, step = net.enter(x), np.array(0.0), np.array(0.3)
    while time < 1:
        slope = np.tanh(net.round(y))
        other = np.tanh(net.round(y + step * slope))
        if np.abs(other - slope).max() * step < limit * 0.1:
            y = y + step * 0.5 * (slope + other)
            time, step = time + step, step * 1.2
        else:
            step = step * 0.6
    return net.leave(y)


def unfollowed(net: Net, x: ndarray, limit: ndarray) -> ndarray:
    while np.abs(x).sum() > limit:
        x = x * 0.7
    return net.leave(net.round(net.enter(x)))


BODIES = (
    *(branching, equilibrium, scaled_in_place, nested, stepping, accumulating),
    *(halved_in_place, counting, breaking, unfollowed),
)
LIMITS = [0.3, 2.0, 0.1, 50.0, 0.5, 0.05, 4.0, 0.3, 1.0, 0.2, 0.03]


@pytest.mark.long
@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
@pytest.mark.spread(10)
def test_any_number_of_rounds_trains_as_eager_does(body: Forward) -> None:
    compiled = same_training(body, LIMITS)
    assert ways_back(compiled) >= (1 if body is unfollowed else 2), compiled.explain()
    case = case_of(compiled)
    assert len(case.recordings) < 6
    assert case.served + case.program.executable.calls() > 2


def test_a_loop_is_recorded_once_and_runs_any_number_of_rounds_natively() -> None:
    compiled = same_training(equilibrium, [1e-3, 1e-3])
    case, before = case_of(compiled), len(case_of(compiled).recordings)
    assert program_of(compiled).flow.stacks
    x, y = np.ones((4, 5)), np.ones((4, 1))
    for limit in (1e-2, 3e-3, 1e-4, 1e-5, 1e-6):
        compiled(x, y, np.array(limit))
    assert (before, len(case.recordings)) == (1, 1)
    assert case.program.executable.calls() > 3


@pytest.mark.long
def test_batches_that_come_again_go_the_same_ways() -> None:
    """What earlier steps computed with an array, and are done with, makes it no other array."""
    compiled = blockfuse.hybridize(step_of(net_of(equilibrium)))
    x, y = np.ones((4, 5)) * 0.3, np.ones((4, 1))
    for limit in (1e-2, 1e-3, 0.3, 1e9, 1e-5, 1e-6):
        compiled(x, y, np.array(limit))
    assert ways_back(compiled) == 2, compiled.explain()
    assert len(case_of(compiled).recordings) == 3


def test_the_way_back_computes_what_eager_computes_bit_for_bit() -> None:
    """By the meaning of the recorded nodes: kernels round sums of products otherwise."""
    compiled = same_training(equilibrium, [1e-3] * 2)
    program = program_of(compiled)
    net = net_of(equilibrium)
    inputs = [p.data().asnumpy() for p in net.collect_params().values()]
    rng = numpy.random.default_rng(5)
    x, y = rng.normal(size=(4, 5)).astype("float32"), rng.normal(size=(4, 1)).astype("float32")
    values = {"x": x, "x1": y, "x2": numpy.array(1e-4, "float32")}
    names = ("enter.weight", "enter.bias", "round.weight", "leave.weight", "leave.bias")
    held = dict(zip(names, inputs, strict=True))
    leaves = [i.attrs["name"].removeprefix("net.") for i in program.flow.inputs]
    zeros = {f"{name}.grad": numpy.zeros_like(value) for name, value in held.items()}
    zeros |= {f"{name}.fresh": numpy.array(False) for name in held}
    results = walk(program.flow, [({**values, **held, **zeros})[name] for name in leaves])
    assert results is not None
    loss = step_of(net)(np.array(x), np.array(y), np.array(1e-4))
    wanted = {f"{n}.grad": p.grad() for n, p in zip(names, net.collect_params().values(), strict=True)}
    wanted |= {n: p.data() for n, p in zip(names, net.collect_params().values(), strict=True)}
    assert results[0] == loss.asnumpy()
    for update, found in zip(program.flow.updates, results[1:], strict=True):
        name = update.attrs["name"].removeprefix("net.")
        if name.endswith(".fresh"):
            assert found
            continue
        numpy.testing.assert_array_equal(found, wanted[name].asnumpy(), err_msg=name)


def test_gradients_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    net = net_of(equilibrium)
    compiled = blockfuse.hybridize(step_of(net))
    rng = numpy.random.default_rng(2)
    for limit in (1e-3, 1e-3, 1e-5, 0.1):
        x, y = rng.normal(size=(4, 5)).astype("float32"), rng.normal(size=(4, 1)).astype("float32")
        before = {n: p.data().asnumpy() for n, p in net.collect_params().items()}
        tensors = [torch.tensor(v, requires_grad=True) for v in before.values()]
        enter, shift, inner, leave, last = tensors
        inputs = torch.tensor(x) @ enter.T + shift
        h, new = torch.zeros_like(inputs), torch.tanh(inputs)
        while float((new - h).abs().max().detach()) > limit:
            h, new = new, torch.tanh(new @ inner.T * 0.5 + inputs)
        ((new @ leave.T + last - torch.tensor(y)) ** 2).mean().backward()
        compiled(np.array(x), np.array(y), np.array(limit))
        for found, tensor_ in zip(net.collect_params().values(), tensors, strict=True):
            numpy.testing.assert_allclose(found.grad().asnumpy(), tensor_.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_every_stage_of_a_way_back_means_the_same() -> None:
    compiled = same_training(equilibrium, [1e-3] * 2)
    program = program_of(compiled)
    rng = numpy.random.default_rng(4)
    for limit in (1e-4, 1e-2):
        x, y = rng.normal(size=(4, 5)).astype("float32"), rng.normal(size=(4, 1)).astype("float32")
        hold_program(program, [x, y, numpy.array(limit, "float32")], source=True)


@pytest.mark.long
def test_a_call_with_more_rounds_than_there_is_room_for_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "_STACK_BYTES", 1)
    compiled = same_training(equilibrium, [1e-2] * 3)
    first = program_of(compiled).flow.room
    compiled = same_training(equilibrium, [1e-2, 1e-2, 1e-6, 1e-6, 1e-2])
    assert program_of(compiled).flow.room > first
    assert len(case_of(compiled).recordings) == 2


@pytest.mark.long
def test_numbers_that_change_become_arguments_of_a_way_back() -> None:
    def body(net: Net, x: ndarray, limit: Any) -> ndarray:
        return equilibrium(net, x, limit)

    plain, other = net_of(body), net_of(body)
    eager, compiled = step_of(plain), blockfuse.hybridize(step_of(other))
    x, y = np.ones((4, 5)) * 0.3, np.ones((4, 1))
    for limit in (1e-2, 1e-3, 2e-2, 1e-4, 1e-5, 3e-3):
        eager(x, y, limit), compiled(x, y, limit)
    for found, expected in zip(held_by(other), held_by(plain), strict=True):
        numpy.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


def step_in_one_function(net: nn.Block) -> Callable[..., ndarray]:
    """The loop stands in the scope of ``record`` itself, in a frame that waits for nobody, and pauses in each round."""

    def step(x: ndarray, y: ndarray, limit: ndarray) -> ndarray:
        with autograd.record(train_mode=False):
            h = new = net.enter(x)
            change = np.array(1e9)
            while change > limit:
                h, new = new, np.tanh(net.round(new) * 0.5 + h * 0.1)
                with autograd.pause():
                    change = np.abs(new - h).max()
            loss = ((net.leave(new) - y) ** 2).mean()
        loss.backward()
        for parameter in net.collect_params().values():
            weight = parameter.data()
            weight -= 0.02 * parameter.grad()
        return loss.detach()

    return step


@pytest.mark.long
def test_a_loop_inside_of_the_scope_of_record_is_native() -> None:
    compiled = same_training(equilibrium, [0.1, 0.1, 0.003, 0.3, 1e-4], step_in_one_function)
    assert len(case_of(compiled).recordings) < 4
    assert ways_back(compiled) >= 2, compiled.explain()


def step_through_twice(net: nn.Block) -> Callable[..., ndarray]:
    def step(x: ndarray, y: ndarray, limit: ndarray) -> ndarray:
        with autograd.record():
            out = net(x, limit)
            loss = ((out - y) ** 2).mean()
        loss.backward(retain_graph=True)
        loss.backward()
        return loss.detach()

    return step


def step_of_two(net: nn.Block) -> Callable[..., ndarray]:
    """Two heads of one backward(), then another recording, and a decision about what it gives."""

    def step(x: ndarray, y: ndarray, limit: ndarray) -> ndarray:
        with autograd.record():
            one, two = ((net(x, limit) - y) ** 2).mean(), net(x * 0.5, limit).sum()
        autograd.backward([one, two])
        weight = net.round.weight.data()
        weight -= 0.02 * net.round.weight.grad()
        with autograd.record():
            three = (net(x, limit) ** 2).mean()
        three.backward()
        gradient = net.round.weight.grad()
        weight -= gradient * 0.1 if (gradient**2).sum() > 0.01 else gradient
        return three.detach()

    return step


def step_through_twice_in_a_loop(net: nn.Block) -> Callable[..., ndarray]:
    """One line calls backward() again and again, and the gradients add up."""
    net.collect_params().setattr("grad_req", "add")

    def step(x: ndarray, y: ndarray, limit: ndarray) -> ndarray:
        with autograd.record():
            loss = ((net(x, limit) - y) ** 2).mean()
        for number in range(3):
            loss.backward(np.array(0.1 * number + 0.1), retain_graph=number < 2)
        return loss.detach()

    return step


@pytest.mark.parametrize(
    ("make", "loops"),
    [
        (step_through_twice, 3),
        pytest.param(step_of_two, 4, marks=pytest.mark.long),
        pytest.param(step_through_twice_in_a_loop, 4, marks=pytest.mark.long),
    ],
)
def test_another_way_back_is_another_loop(make: Callable[[nn.Block], Any], loops: int) -> None:
    compiled = same_training(equilibrium, [0.1, 0.01, 0.3, 0.03], make)
    assert ways_back(compiled) >= loops, compiled.explain()
    assert len(case_of(compiled).recordings) < 4


@pytest.mark.long
def test_another_way_back_takes_other_branches_and_loops_within_loops() -> None:
    for body in (branching, nested, scaled_in_place):
        same_training(body, LIMITS[:8], step_through_twice)


class Hidden(nn.Block):
    """The seed document's net with a loop, a shared layer and a constant weight."""

    def __init__(self) -> None:
        super().__init__()
        self.rand_weight = self.params.get_constant("rand_weight", np.random.uniform(size=(20, 20)))
        self.dense = nn.Dense(20, activation="relu")

    def forward(self, x: ndarray) -> ndarray:
        x = self.dense(x)
        x = npx.relu(np.dot(x, self.rand_weight.data()) + 1)
        x = self.dense(x)
        while np.abs(x).sum() > 1:
            x /= 2
        return x.sum()


def test_the_net_of_the_seed_document_trains_by_one_program() -> None:
    np.random.seed(3)
    net = nn.Sequential(nn.Dense(20), Hidden())
    net.initialize()
    x = np.random.uniform(size=(2, 20))
    net(x)
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 1e-3})
    step = blockfuse.train_step(net, lambda out, y: (out - y) ** 2, trainer)
    losses = [float(step(x * 2.0 ** (n % 6), np.array(0.7))) for n in range(18)]
    assert len(case_of(step).recordings) < 5, step.explain()
    assert ways_back(step) >= 2
    assert losses[-1] < losses[5]


# -- stacks ----------------------------------------------------------------------------------------------------


def test_stacks_give_the_last_value_first_and_hold_as_many_as_there_is_room_for() -> None:
    """A flow that pushes what it counts, and sums twice what it pops until that is 0."""
    number = tensor((), "int64")
    count, total, stack = (leaf(carried, name, number) for name in ("count", "total", "stack"))

    def computed(operator: Any, *operands: Any) -> Any:
        return node_of(operator, operands, {}, None)

    zero, one, two = (literal(n, "int64") for n in range(3))
    more = computed(add, count, one)
    summed = computed(add, computed(multiply, total, two), stack)
    blocks = (
        Block(graph_of((count,), (zero, literal(True))), (count,), successors=(1, 1)),
        Block(
            graph_of((count,), (more, count, computed(less, count, literal(4, "int64")))),
            stores=(count,),
            pushes=(stack,),
            successors=(1, 2),
        ),
        Block(graph_of((count,), (zero, literal(True))), (total,), successors=(3, 3)),
        Block(
            graph_of((total, stack), (summed, computed(greater, stack, zero))),
            stores=(total,),
            pops=(stack,),
            successors=(3, 4),
        ),
        Block(graph_of((total,), (total,))),
    )
    for room, expected in ((9, ((((4 * 2 + 3) * 2 + 2) * 2 + 1) * 2)), (4, None)):
        flow = Flow(blocks, room)
        zeros = [numpy.array(0)] * len(flow.inputs)
        found = walk(flow, zeros)
        assert (found is None) if expected is None else (found is not None and found[0] == expected)
    assert "push stack <- count" in str(flow)
    assert "pop stack" in str(flow)
