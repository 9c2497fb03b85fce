"""Steps of training that write to other arrays on one way than on another: one program for all ways, what eager leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
from flows import case_of, program_of, ways_back
from stages import hold_program, hold_together
from test_cuda_nets import DEVICE
from test_training_loops import accumulating, counting, equilibrium, same_training

import blockfuse
from blockfuse import autograd, gluon, nn, np
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import StaleGradientError

Step = Callable[[ndarray, ndarray], Any]


@pytest.mark.long
@pytest.mark.parametrize("body", [equilibrium, counting, accumulating], ids=lambda body: body.__name__)
@pytest.mark.spread(3)
def test_a_loop_that_may_go_no_round_is_one_loop_back(body: Any) -> None:
    """Without a round its layer has no gradient, and the one of the step before stays."""
    compiled = same_training(body, [1e9, 0.3, 1e9, 0.1, 2.0, 1e9, 0.05])
    assert ways_back(compiled) >= 2, compiled.explain()
    assert len(case_of(compiled).recordings) < 5
    assert case_of(compiled).served + case_of(compiled).program.executable.calls() > 2


class Choosing(nn.Block):
    """Which of two layers a sample goes through is up to its values."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Dense(4, in_units=3), nn.Dense(4, in_units=3)
        self.last = nn.Dense(1, in_units=4)

    def forward(self, x: ndarray) -> ndarray:
        return self.last(self.left(x) if x.sum() > 0 else self.right(x))


def choosing() -> Choosing:
    np.random.seed(2)
    net = Choosing()
    net.initialize(init="xavier")
    return net


def trainer_of(net: nn.Block) -> gluon.Trainer:
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.01, "momentum": 0.5})
    trainer._prepare()
    return trainer


def whole_step(net: nn.Block) -> Step:
    trainer = trainer_of(net)

    def step(x: ndarray, y: ndarray) -> ndarray:
        with autograd.record():
            loss = ((net(x) - y) ** 2).mean()
        loss.backward()
        trainer.step(1, ignore_stale_grad=True)
        return loss.detach()

    return step


def gradients_alone(net: nn.Block) -> Step:
    def step(x: ndarray, y: ndarray) -> ndarray:
        with autograd.record():
            loss = ((net(x) - y) ** 2).mean()
        loss.backward()
        return loss.detach()

    return step


def first_half(net: nn.Block) -> Step:
    """Uses the gradients of one layer, and leaves those of the others for later."""
    alone = gradients_alone(net)
    trainer = trainer_of(net.last)

    def step(x: ndarray, y: ndarray) -> ndarray:
        loss = alone(x, y)
        trainer.step(1)
        return loss

    return step


def patient(net: nn.Block) -> Step:
    """Nothing is written where the loss is small."""
    trainer = trainer_of(net)

    def step(x: ndarray, y: ndarray) -> ndarray:
        with autograd.record():
            loss = ((net(x) - y) ** 2).mean()
        if loss > 0.5:
            loss.backward()
            trainer.step(1, ignore_stale_grad=True)
        return loss.detach()

    return step


def adding(net: nn.Block) -> Step:
    net.collect_params().setattr("grad_req", "add")
    return gradients_alone(net)


def held_by(net: nn.Block) -> list[numpy.ndarray]:
    return [a.asnumpy() for p in net.collect_params().values() for a in (p.data(), p.grad())]


def flags_of(net: nn.Block) -> list[bool]:
    return [p._has_fresh_grad() for p in net.collect_params().values()]


def batches(count: int) -> list[tuple[ndarray, ndarray]]:
    rng = numpy.random.default_rng(3)
    signs = [1, 1, -1, 1, -1, -1, 1, -1]
    made = [(signs[n % 8] * abs(rng.normal(size=(2, 3))), 4 * rng.normal(size=(2, 1))) for n in range(count)]
    return [(np.array(x.astype("float32")), np.array(y.astype("float32"))) for x, y in made]


@pytest.mark.parametrize(
    "make", [whole_step, gradients_alone, first_half, patient, adding], ids=lambda make: make.__name__
)
@pytest.mark.spread(6)
def test_each_way_writes_what_eager_writes_there(make: Callable[[nn.Block], Step]) -> None:
    plain, other = choosing(), choosing()
    eager, compiled = make(plain), blockfuse.hybridize(make(other))
    for x, y in batches(16):
        numpy.testing.assert_allclose(compiled(x, y).asnumpy(), eager(x, y).asnumpy(), rtol=1e-5)
        assert flags_of(other) == flags_of(plain)
        for found, wanted in zip(held_by(other), held_by(plain), strict=True):
            numpy.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    case = case_of(compiled)
    assert case.program is not None, compiled.explain()
    assert len(case.recordings) < 5
    assert case.served + case.program.executable.calls() > 8


@pytest.mark.long
def test_a_trainer_that_comes_later_sees_which_gradients_a_program_made() -> None:
    net = choosing()
    trainer, step = trainer_of(net), blockfuse.hybridize(gradients_alone(net))
    for x, y in batches(8):
        step(x, y)
        if all(flags_of(net)):
            trainer.step(1)
            assert not any(flags_of(net))
        else:
            with pytest.raises(StaleGradientError, match=r"left|right"):
                trainer.step(1)


def test_an_update_uses_gradients_up_whoever_made_them() -> None:
    """It asks for the flags that it sets, so it is no program, but may follow one."""
    net = choosing()
    trainer, (x, y) = trainer_of(net), batches(1)[0]
    gradients, update = map(blockfuse.hybridize, (gradients_alone(net), lambda: trainer.step(1, True)))
    for _ in range(4):
        gradients(x, y)
        before = held_by(net)
        update()
        assert not any(flags_of(net))
        assert any((a != b).any() for a, b in zip(held_by(net), before, strict=True))
    before = held_by(net)
    update()
    for found, wanted in zip(held_by(net), before, strict=True):
        numpy.testing.assert_array_equal(found, wanted)


def test_a_program_rests_on_what_any_of_its_ways_asked() -> None:
    """Each way asks for the flags of the layer that it leaves alone."""
    plain, other = choosing(), choosing()
    eager, compiled = whole_step(plain), blockfuse.hybridize(whole_step(other))
    for x, y in batches(8):
        eager(x, y), compiled(x, y)
    x, y = batches(1)[0]
    for name, sign in (("right", 1), ("left", -1)):
        for net, step in ((plain, eager), (other, compiled)):
            with autograd.record():
                loss = getattr(net, name)(x).sum()
            loss.backward()
            step(x * sign, y)
        assert flags_of(other) == flags_of(plain)
        for found, wanted in zip(held_by(other), held_by(plain), strict=True):
            numpy.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("last", [1, -1])
@pytest.mark.spread(2)
def test_an_array_that_one_way_reads_is_given_a_gradient(last: int) -> None:
    """Whichever way was recorded last."""
    found = []
    for hybridized in (False, True):
        net, scale = choosing(), np.ones((4,))

        def step(x: ndarray, net: Choosing = net, scale: ndarray = scale) -> ndarray:
            with autograd.record():
                loss = (net.left(x) * scale).sum() if x.sum() > 0 else net.left(x).sum()
            loss.backward()
            return loss.detach()

        run = blockfuse.hybridize(step) if hybridized else step
        x = np.ones((2, 3))
        for sign in (-last, -last, last, last):
            run(x * sign)
        scale.attach_grad()
        run(x)
        found.append(scale.grad.asnumpy())
    assert found[0].any()
    numpy.testing.assert_allclose(found[1], found[0], rtol=1e-5)


@pytest.mark.long
def test_every_stage_of_ways_that_write_to_other_arrays_means_the_same() -> None:
    compiled = blockfuse.hybridize(whole_step(choosing()))
    for x, y in batches(6):
        compiled(x, y)
    flow = program_of(compiled).flow
    ends = [block.updates for block in flow.blocks if block.successors is None]
    assert len(ends) == 2
    assert set(flow.updates) == {*ends[0], *ends[1]} > {*ends[0]}
    program = program_of(compiled)
    for x, y in batches(3):
        arrays = [x.asnumpy(), y.asnumpy()]
        hold_program(program, arrays, source=True)
        # On a device all ways give values for what any of them writes.
        hold_together(flow, arrays, [o.array() for o in program.origins], DEVICE, compiled=False)
