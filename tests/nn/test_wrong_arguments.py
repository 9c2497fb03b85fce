"""Arguments that a layer or a call does not take are refused in one sentence, with the layer and its place."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import gluon, init, loss, lr_scheduler, metric, nn, np, npx, optimizer
from blockfuse.gluon import rnn
from blockfuse.ir import hints
from blockfuse.ir.errors import ShapeError, UsageError

OF_ANY_NAME = {optimizer.Optimizer, init.Initializer}  # what they are given is theirs to name
SOME_BLOCKS = {nn.Sequential, nn.HybridSequential}  # any number of them


def public_classes() -> list[type]:
    spaces = (blockfuse, nn, gluon, rnn, loss, optimizer, lr_scheduler, metric, init, gluon.data)
    named = (getattr(space, name) for space in spaces for name in getattr(space, "__all__", dir(space)))
    ours = {one for one in named if isinstance(one, type) and one.__module__.startswith("blockfuse.nn.")}
    return sorted(ours - OF_ANY_NAME, key=lambda one: one.__name__)


@pytest.mark.parametrize("kind", public_classes(), ids=lambda kind: kind.__name__)
def test_a_constructor_has_a_signature_that_names_all_it_takes(kind: type) -> None:
    if issubclass(kind, dict):
        return
    kinds = [one.kind for one in inspect.signature(kind).parameters.values()]
    assert inspect.Parameter.VAR_KEYWORD not in kinds
    assert inspect.Parameter.VAR_POSITIONAL not in kinds or kind in SOME_BLOCKS | {gluon.data.ArrayDataset}


def test_a_signature_has_the_keywords_that_are_passed_on() -> None:
    assert str(inspect.signature(nn.Flatten)).startswith("(prefix: ")
    adam = inspect.signature(optimizer.AdamW).parameters
    assert list(adam)[:4] == ["learning_rate", "beta1", "beta2", "epsilon"]
    assert adam["wd"].default == 0.0
    assert adam["wd"].kind is inspect.Parameter.KEYWORD_ONLY
    assert inspect.signature(rnn.LSTM).parameters["input_size"].default == 0
    assert "prefix" in inspect.signature(loss.L2Loss).parameters
    assert "warmup_steps" in inspect.signature(lr_scheduler.CosineScheduler).parameters


def test_a_user_s_class_has_its_own_signature() -> None:
    class Net(nn.Block):
        def __init__(self, width: int, **more: Any) -> None:
            super().__init__(**more)
            self.width = width

        def forward(self, x: Any) -> Any:
            return x * self.width

    assert list(inspect.signature(Net).parameters) == ["width", "more"]
    assert list(inspect.signature(Net(3)).parameters) == ["args", "kwargs"]  # of its calls
    net = Net(3)
    net.hybridize()
    assert [net(np.ones((2,))).tolist() for _ in range(3)] == [[3.0, 3.0]] * 3
    assert "compiled" in net.explain()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: nn.Dense(3, in_features=4), "Dense has no argument 'in_features'; write in_units"),
        (lambda: nn.Conv2D(3, 3, stride=2), "Conv2D has no argument 'stride'; write strides"),
        (lambda: nn.Dropout(p=0.5), "Dropout has no argument 'p'; write rate"),
        (lambda: rnn.LSTM(3, batch_first=True), "LSTM has no argument 'batch_first'; write layout='NTC'"),
    ],
)
def test_an_argument_by_another_name_says_what_it_is_called(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(TypeError) as caught:
        make()
    assert str(caught.value) == said


def test_every_argument_that_has_another_name_is_one_of_some_layer() -> None:
    layers = [one for one in public_classes() if issubclass(one, nn.Block)]
    taken = {name for one in layers for name in inspect.signature(one).parameters}
    for other, ours in hints.KEYWORDS.items():
        assert ours.partition("=")[0] in taken or " " in ours, other


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: nn.Dense(2.5), "Dense takes units as an int of 1 or more; found units=2.5"),
        (lambda: nn.Dense("256"), "Dense takes units as an int of 1 or more; found units='256'"),
        (lambda: nn.Dense(256, 10), "there is no activation 10; use one of relu, "),
        (lambda: nn.Dense(3, activation=npx.relu), "there is no activation <function relu"),
        (lambda: nn.Dropout("2"), "Dropout needs a rate from 0 up to, but not including, 1; found '2'"),
    ],
)
def test_a_wrong_number_is_named(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value).startswith(said)


class Forgetful(nn.Block):
    def forward(x: Any) -> Any:  # noqa: N805 - that is the mistake
        return x


class Keras(nn.Block):
    def call(self, x: Any) -> Any:
        return x


@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.parametrize("used", [False, True])
def test_a_call_with_other_arguments_says_which_layer_takes_what(hybrid: bool, used: bool) -> None:
    net = nn.Sequential(nn.Dense(4), nn.Dense(3))
    net.initialize()
    if hybrid:
        net.hybridize()
    x = np.ones((2, 5))
    if used:
        net(x)
    for args, kwargs, said in (
        ((), {}, "Dense 0 takes (x); found no arguments"),
        ((x, x), {}, "Dense 0 takes (x); found 2 arguments"),
        (
            (x,),
            {"training": True},
            "Sequential takes (*args); found 1 argument and training=; write with autograd.train_mode(): around the call",
        ),
    ):
        with pytest.raises(TypeError) as caught:
            net(*args, **kwargs)
        assert str(caught.value) == said
    assert net(x).shape == (2, 3)


def test_a_forward_that_python_cannot_call_says_how_to_define_it() -> None:
    with pytest.raises(TypeError, match=r"takes \(\); found 1 argument; write def forward\(self, \.\.\.\)"):
        Forgetful()(np.ones((2,)))
    with pytest.raises(
        NotImplementedError, match=r"does not define forward\(self, \.\.\.\); rename its call"
    ):
        Keras()(np.ones((2,)))


def test_an_error_of_forward_itself_stays_what_it_is() -> None:
    class Net(nn.Block):
        def forward(self, x: Any, more: Any = None) -> Any:
            return len(3) if more is None else (lambda: 1)(x)  # type: ignore[arg-type, call-arg]

    with pytest.raises(TypeError, match="has no len"):
        Net()(np.ones((2,)))
    with pytest.raises(TypeError, match="positional argument"):
        Net()(np.ones((2,)), 1)


def test_an_input_of_another_library_says_how_to_make_it_an_array() -> None:
    class DataFrame:
        pass

    net = nn.Sequential(nn.Dense(3))
    net.initialize()
    with pytest.raises(TypeError, match=r"Dense 0 expects an array; found DataFrame: write .*to_numpy"):
        net(DataFrame())


def test_one_row_that_was_taken_for_a_batch_is_told_apart_later() -> None:
    net = nn.Sequential(nn.Dense(3))
    net.initialize()
    assert net(numpy.ones(5, "float32")).shape == (5, 3)
    with pytest.raises(
        ShapeError, match=r"Dense 0 expects 1 features .*write x\[None\] where that was one row"
    ):
        net(np.ones((2, 5)))
