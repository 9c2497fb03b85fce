"""The trainer: which parameters it changes, by what, and what it keeps in files."""

from pathlib import Path
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import gluon, lr_scheduler, nn, optimizer
from blockfuse.array import autograd, np
from blockfuse.ir.errors import (
    DeferredInitializationError,
    ParameterFileError,
    StaleGradientError,
    UsageError,
)
from blockfuse.nn.parameter import Parameter
from blockfuse.nn.trainer import Trainer


class Learned(Parameter):
    """A parameter whose gradient the test writes."""

    fresh = False

    def learn(self, grad: Any) -> None:
        self.given = np.array(grad, dtype=self.dtype)
        object.__setattr__(self, "fresh", True)

    def grad(self, device: Any = None, ctx: Any = None) -> Any:  # noqa: ARG002
        return self.given

    def _has_fresh_grad(self) -> bool:
        return self.fresh

    def _use_grad(self) -> None:
        object.__setattr__(self, "fresh", False)


def learned(name: str, *shape: int, value: float = 1.0, **options: Any) -> Learned:
    parameter = Learned(name, shape=shape, init=blockfuse.init.Constant(value), **options)
    parameter.initialize()
    return parameter


def values(parameters: list[Learned]) -> list[numpy.ndarray]:
    return [parameter.data().asnumpy() for parameter in parameters]


def test_gradients_are_divided_by_the_batch_size() -> None:
    one = learned("one", 2)
    trainer = Trainer([one], "sgd", {"learning_rate": 0.5, "rescale_grad": 2.0})
    one.learn([4, 8])
    trainer.step(4)
    numpy.testing.assert_array_equal(one.data().asnumpy(), [0, -1])
    one.learn([1, 1])
    trainer.allreduce_grads()
    trainer.update(batch_size=np.array(2))
    numpy.testing.assert_array_equal(one.data().asnumpy(), [-0.5, -1.5])


def test_multipliers_count_and_may_change() -> None:
    one = learned("one", 1, lr_mult=0.5)
    trainer = Trainer([one], "sgd", {"learning_rate": 1.0, "wd": 1.0})
    one.wd_mult = 0
    one.learn([1])
    trainer.step(1)
    assert float(one.data()[0]) == 0.5
    one.lr_mult, one.wd_mult = 1.0, 2.0
    one.learn([0])
    trainer.step(1)
    assert float(one.data()[0]) == -0.5


def test_shared_parameters_count_once_and_names_are_sorted() -> None:
    one, two = learned("one", 1), learned("two", 1)
    trainer = Trainer({"b": one, "c": one, "a": two}, "sgd", {"learning_rate": 1.0})
    assert trainer._params == [two, one]
    one.learn([1])
    two.learn([0])
    trainer.step(1)
    assert float(one.data()[0]) == 0


def test_frozen_parameters_are_left_alone() -> None:
    one, two = learned("one", 1), learned("two", 1)
    trainer = Trainer([one, two], "sgd", {"learning_rate": 1.0})
    one.learn([1])
    two.grad_req = "null"
    trainer.step(1)
    assert [float(p.data()[0]) for p in (one, two)] == [0, 1]
    two.grad_req = "write"
    for p in (one, two):
        p.learn([1])
    trainer.step(1)
    assert [float(p.data()[0]) for p in (one, two)] == [-1, 0]


def test_stale_gradients_are_refused_or_ignored() -> None:
    one, two = learned("one", 1), learned("two", 1)
    trainer = Trainer([one, two], "sgd", {"learning_rate": 1.0})
    one.learn([1])
    with pytest.raises(
        StaleGradientError, match=r"since the last step: two\. .*ignore_stale_grad=True"
    ) as info:
        trainer.step(1)
    assert isinstance(info.value, UserWarning)  # what Gluon raises
    assert float(one.data()[0]) == 1, "nothing was changed"
    trainer.step(1, ignore_stale_grad=True)
    trainer.step(1, ignore_stale_grad=True)
    assert [float(p.data()[0]) for p in (one, two)] == [0, 1]


def test_parameters_without_a_value_say_so() -> None:
    late = Learned("late", shape=(-1,), allow_deferred_init=True)
    late.initialize()
    trainer = Trainer([late], "sgd")
    with pytest.raises(DeferredInitializationError, match="late has no value yet"):
        trainer.step(1)
    trainer.step(1, ignore_stale_grad=True)


def test_weights_that_were_cast_need_a_new_trainer() -> None:
    one = learned("one", 1)
    trainer = Trainer([one], "adam")
    one.learn([1])
    trainer.step(1)
    one.cast("float64")
    one.learn([1])
    with pytest.raises(UsageError, match=r"was float32\[1\] at its first step and is float64\[1\] now"):
        trainer.step(1)
    Trainer([one], "adam").step(1)


def test_states_can_be_made_before_the_first_step() -> None:
    one, two = learned("one", 1), learned("two", 1)
    two.grad_req = "null"
    trainer = Trainer([one, two], "adam")
    trainer._prepare()
    states = dict(trainer._updater.states)
    assert list(states) == [0]
    one.learn([1])
    trainer.step(1)
    assert trainer._updater.states == states
    assert trainer.optimizer.num_update == 1


def test_wrong_arguments_are_refused() -> None:
    one = learned("one", 1)
    with pytest.raises(UsageError, match="no optimizer 'sdg'; use one of"):
        Trainer([one], "sdg")
    with pytest.raises(TypeError, match="SGD has no option 'lr'"):
        Trainer([one], "sgd", {"lr": 0.1})
    with pytest.raises(UsageError, match=r"takes parameters, .*found Dense"):
        Trainer([nn.Dense(2)], "sgd")  # type: ignore[list-item]
    with pytest.raises(UsageError, match="made already"):
        Trainer([one], optimizer.SGD(), {"learning_rate": 0.1})
    mine = optimizer.SGD()
    for _ in range(2):
        Trainer([one], mine)
    with pytest.raises(UsageError, match="belongs to another trainer"):
        Trainer([learned("two", 1)], mine)
    with pytest.raises(UsageError, match="compression_params"):
        Trainer([one], "sgd", compression_params={"type": "2bit"})


def test_learning_rates_are_set_or_scheduled() -> None:
    trainer = gluon.Trainer([learned("one", 1)], "adam", kvstore=None, update_on_kvstore=False)
    assert trainer.learning_rate == 0.001
    trainer.set_learning_rate(0.5)
    assert trainer.learning_rate == trainer.optimizer.learning_rate == 0.5
    scheduled = Trainer(
        [learned("one", 1)], "sgd", {"lr_scheduler": lr_scheduler.FactorScheduler(1, 0.5, base_lr=1.0)}
    )
    with pytest.raises(UsageError, match="lr_scheduler"):
        scheduled.set_learning_rate(0.1)


@pytest.mark.long
def test_a_recorded_step_is_the_eager_one() -> None:
    inputs = numpy.random.default_rng(2).normal(size=(8, 16, 5)).astype("float32")
    options = {"wd": 0.01, "clip_gradient": 0.1}

    def trained(compiled: bool) -> tuple[list[numpy.ndarray], Any]:
        np.random.seed(4)
        net, criterion = nn.Dense(3, in_units=5), gluon.loss.SoftmaxCELoss()
        net.initialize()
        schedule = lr_scheduler.CosineScheduler(8, base_lr=0.1, warmup_steps=2)
        trainer = Trainer(net.collect_params(), "adam", {**options, "lr_scheduler": schedule})
        trainer._prepare()

        def step(x: Any, y: Any) -> Any:
            with autograd.record():
                loss = criterion(net(x), y)
            loss.backward()
            trainer.step(16)
            return loss

        run = blockfuse.hybridize(step) if compiled else step
        for batch in inputs:
            run(np.array(batch), np.array(batch[:, 0] > 0))
        assert trainer.optimizer.num_update == 8
        return [net.weight.data().asnumpy(), net.bias.data().asnumpy()], run

    wanted, _ = trained(compiled=False)
    found, run = trained(compiled=True)
    for a, b in zip(found, wanted, strict=True):
        numpy.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert "1 recordings" in run.explain()


def test_a_step_inside_of_record_changes_nothing() -> None:
    net = nn.Dense(3, in_units=5)
    net.initialize()
    trainer, before = Trainer(net.collect_params(), "adam"), net.weight.data().asnumpy()
    with autograd.record():
        net(np.ones((2, 5))).backward()
        with pytest.raises(Exception, match="record"):
            trainer.step(2)
    numpy.testing.assert_array_equal(net.weight.data().asnumpy(), before)
    assert trainer.optimizer.num_update == 0


# -- files -----------------------------------------------------------------------------------------------------


def nets() -> list[Learned]:
    return [
        learned("weight", 3, 2),
        learned("bias", 2),
        learned("half", 4, dtype="float16"),
        learned("late", 2),
    ]


def train(trainer: Trainer, parameters: list[Learned], steps: range) -> None:
    for step in steps:
        draw = numpy.random.default_rng(step)
        for parameter in parameters[: 3 if step < 2 else 4]:  # the last one joins late
            parameter.learn(draw.normal(size=parameter.shape))
        trainer.step(2, ignore_stale_grad=True)


@pytest.mark.parametrize("name", sorted(optimizer.optimizer.REGISTRY))
def test_training_goes_on_bit_for_bit(name: str, tmp_path: Path) -> None:
    options = {"multi_precision": True, "wd": 0.01}
    schedule = {"lr_scheduler": lr_scheduler.CosineScheduler(10, base_lr=0.1)} if name == "adam" else {}
    straight, before, after = nets(), nets(), nets()
    train(Trainer(straight, name, {**options, **schedule}), straight, range(6))
    stopped = Trainer(before, name, {**options, **schedule})
    train(stopped, before, range(3))
    if not schedule:
        stopped.set_learning_rate(stopped.learning_rate)
    stopped.save_states(tmp_path / "states.npz")
    for old, new in zip(before, after, strict=True):
        new.set_data(old.data())
    resumed = Trainer(after, name, {**options, **schedule})
    resumed.load_states(tmp_path / "states.npz")
    assert resumed.learning_rate == stopped.learning_rate
    train(resumed, after, range(3, 6))
    for wanted, found in zip(values(straight), values(after), strict=True):
        numpy.testing.assert_array_equal(found, wanted)


def test_states_are_loaded_into_their_memory(tmp_path: Path) -> None:
    parameters = nets()
    trainer = Trainer(parameters, "adam")
    train(trainer, parameters, range(3))
    trainer.save_states(tmp_path / "states.npz")
    memory = [state._data for states in trainer._updater.states.values() for state in states]
    saved = [data.copy() for data in memory]
    train(trainer, parameters, range(3, 5))
    trainer.load_states(tmp_path / "states.npz")
    held = [state._data for states in trainer._updater.states.values() for state in states]
    assert all(now is then for now, then in zip(held, memory, strict=True))
    for data, wanted in zip(memory, saved, strict=True):
        numpy.testing.assert_array_equal(data, wanted)
    assert trainer.optimizer.num_update == 3


def test_parameters_that_joined_after_the_file_start_anew(tmp_path: Path) -> None:
    parameters = nets()
    trainer = Trainer(parameters, "adam")
    train(trainer, parameters, range(2))
    trainer.save_states(tmp_path / "states.npz")
    train(trainer, parameters, range(2, 4))
    assert int(trainer.optimizer.counts[3]) == 2
    trainer.load_states(tmp_path / "states.npz")
    assert 3 not in trainer._updater.states
    train(trainer, parameters, range(2, 3))
    assert [int(trainer.optimizer.counts[index]) for index in (0, 3)] == [3, 1]


def test_files_that_do_not_fit_change_nothing(tmp_path: Path) -> None:
    parameters, path = nets(), tmp_path / "states.npz"
    trainer = Trainer(parameters, "adam")
    train(trainer, parameters, range(3))
    trainer.save_states(path)
    with pytest.raises(ParameterFileError, match="states of Adam, not of SGD; nothing was loaded"):
        Trainer(parameters, "sgd").load_states(path)
    others = [learned("weight", 3, 3), *parameters[1:3]]
    other = Trainer(others, "adam")
    with pytest.raises(
        ParameterFileError, match=r"(?s)0/weight/ has states.*3/late/count is of no parameter"
    ):
        other.load_states(path)
    assert not other._updater.states
    with pytest.raises(ParameterFileError, match="no parameter file"):
        trainer.load_states(__file__)


def test_a_trainer_that_has_not_stepped_can_be_saved(tmp_path: Path) -> None:
    parameters = nets()
    trainer = Trainer(parameters, "sgd", {"learning_rate": 0.5, "momentum": 0.9})
    trainer.set_learning_rate(0.25)
    trainer.save_states(tmp_path / "states.npz")
    fresh = Trainer(parameters, "sgd", {"momentum": 0.9})
    fresh.load_states(tmp_path / "states.npz")
    assert fresh.learning_rate == 0.25
    assert fresh.optimizer.num_update == 0


def test_names_of_gluon() -> None:
    assert blockfuse.Trainer is gluon.Trainer is Trainer
    assert blockfuse.optimizer is optimizer


def trained(net: nn.Block, name: str, options: dict[str, Any]) -> tuple[Trainer, list[numpy.ndarray]]:
    """Some steps of training, in which settings change; what was learnt and remembered."""
    trainer = Trainer(net.collect_params(), name, options)
    x = np.array(numpy.linspace(-1, 1, 24).reshape(4, 6))
    for n in range(6):
        with autograd.record():
            loss = (net(x) ** 2).sum(axis=1)
        loss.backward()
        trainer.step(4 if n != 3 else 2)
        if n == 4 and "lr_scheduler" not in options:
            trainer.set_learning_rate(0.005)
    states = [state for index in range(4) for state in trainer._updater.states[index]]
    return trainer, [a.asnumpy() for a in (*(p.data() for p in net.collect_params().values()), *states)]


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sgd", {"learning_rate": 0.01, "momentum": 0.9, "wd": 0.1}),
        ("adam", {"lr_scheduler": lr_scheduler.FactorScheduler(2, 0.5, base_lr=0.01)}),
    ],
)
def test_the_update_of_a_hybridized_net_is_compiled_and_the_same(name: str, options: dict[str, Any]) -> None:
    found = []
    for hybridized in (False, True):
        np.random.seed(0)
        net = nn.Sequential(nn.Dense(5, in_units=6, activation="tanh"), nn.Dense(3, in_units=5))
        net.initialize(init="xavier")
        if hybridized:
            net.hybridize()
        trainer, values = trained(net, name, options)
        found.append(values)
        assert (trainer._compiled is not None) == hybridized
    assert trainer._compiled is not None
    assert "compiled" in trainer._compiled.explain()
    assert trainer.optimizer.num_update == 6
    for plain, compiled in zip(*found, strict=True):
        numpy.testing.assert_allclose(compiled, plain, rtol=1e-5, atol=1e-6)
