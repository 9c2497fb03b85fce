"""Whoever comes in the middle of a change, at any line of it, gets what Python gives of the state as it is then."""

from __future__ import annotations

import os
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy
import pytest
from sampling import rounds

import blockfuse
from blockfuse import gluon, init, nn, np
from blockfuse.array import stamps

PACKAGE = os.path.dirname(blockfuse.__file__)
X = numpy.linspace(-1, 1, 15, dtype="float32").reshape(3, 5)
LINES = 5000  # more than any change has
Change = Callable[[int], None]  # told the number of the change, which is another each time


class Net(nn.Block):
    """Rests on parameters, an attribute, a child and its hooks; assigns an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.scale = nn.Dense(4, in_units=5), 2.0

    def forward(self, x: Any) -> Any:
        self.kept = x + 1
        return np.tanh(self.dense(x)) * self.scale


class Reader(nn.Block):
    """Rests on what its net assigns."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Any) -> Any:
        return self.net.dense(x) + self.net.kept.sum()


def by_value(net: Net) -> Change:
    return lambda number: net.dense.bias.set_data(np.full((4,), number % 5))


def by_operator(net: Net) -> Change:
    array = net.dense.weight.data()
    return lambda number: array.__imul__(1 - number % 2 * 2)


def by_out(net: Net) -> Change:
    array, ones = net.dense.bias.data(), np.ones(4)
    return lambda number: np.multiply(ones, number % 5, out=array)


def by_attribute(net: Net) -> Change:
    return lambda number: setattr(net, "scale", 1.0 + number)


def by_child(net: Net) -> Change:
    def change(number: int) -> None:
        dense = nn.Dense(4, in_units=5, activation=["relu", "sigmoid"][number % 2])
        dense.initialize(init.Constant(number % 5 / 7))
        net.dense = dense

    return change


def by_first_value(net: Net) -> Change:
    return lambda number: net.dense.initialize(init.Constant(number % 5 / 7), force_reinit=True)


def by_hook(net: Net) -> Change:
    def change(number: int) -> None:
        with net.dense.register_forward_hook(lambda _, __, result: result * number):
            pass

    return change


def by_training(net: Net) -> Change:
    trainer = gluon.Trainer(net.dense.collect_params(), "sgd", {"learning_rate": 0.3})
    step = blockfuse.train_step(net.dense, gluon.loss.L2Loss(), trainer)
    for _ in range(3):
        step(np.ones((2, 5)), np.ones((2, 4)))
    return lambda number: step(np.full((2, 5), number % 3), np.ones((2, 4)))


def by_compiled_attribute(net: Net) -> Change:
    """A compiled call assigns it."""
    for _ in range(3):
        net(np.ones((2, 5)))
    return lambda number: net(np.full((2, 5), number))


CHANGES = (
    *(by_value, by_operator, by_out, by_attribute, by_child, by_first_value, by_hook, by_training),
    by_compiled_attribute,
)


@contextmanager
def interrupted_at(number: int, interrupt: Callable[[], None]) -> Iterator[list[str]]:
    """At line ``number`` of the package that runs; the list tells which line that was."""
    seen, where = 0, list[str]()

    def trace(frame: types.FrameType, event: str, _: Any) -> Any:
        nonlocal seen
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            seen += 1
            if seen == number:
                where.append(f"{os.path.relpath(frame.f_code.co_filename, PACKAGE)}:{frame.f_lineno}")
                interrupt()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield where
    finally:
        sys.settrace(before)


def require_eager(nets: list[Any]) -> None:
    x = np.array(X)
    for net in nets:
        numpy.testing.assert_allclose(net(x).asnumpy(), net._run((x,), {}).asnumpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.spread(2)
@pytest.mark.parametrize("make", CHANGES)
def test_at_each_line_of_a_change_compiled_calls_give_what_python_gives(
    make: Callable[[Net], Change],
) -> None:
    net = Net()
    net.initialize()
    reader = Reader(net)
    nets = [net, reader]
    net(np.array(X))
    reader.hybridize()
    net.hybridize()  # after it, as that takes the nets in it along
    change = make(net)
    for _ in range(5):
        require_eager(nets)
    assert all(one._entry is not None for one in nets), [one.explain() for one in nets]
    for line in range(1, LINES, rounds(7, 1)):
        with interrupted_at(line, lambda: require_eager(nets)) as where:
            change(line)
        if not where:
            break
        require_eager(nets)
    assert 5 < line < LINES - 7
    assert not stamps._under_way


def test_a_program_that_is_made_while_a_change_is_under_way_is_bound_behind_it() -> None:
    """As a thread makes it that comes between the word to the watchers and the change."""
    net = nn.Dense(4, in_units=5)
    net.initialize()
    net.hybridize()
    x = np.array(X)

    def change() -> None:
        other = threading.Thread(target=lambda: [net(x) for _ in range(4)])
        other.start()
        other.join()
        net.bias.data()._data[...] = 3

    stamps.changing([net.bias.data()._data], lambda: None, change)
    require_eager([net])
    require_eager([net])
    assert net._entry is not None, net.explain()
