"""Code that asks by ``is`` whether an argument is an array that it can reach."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest

import blockfuse
from blockfuse import autograd, nn, np

TABLE = np.ones((2,))


class Held(nn.Block):
    """Doubles what it holds, and triples everything else."""

    def __init__(self) -> None:
        super().__init__()
        self.w = np.ones((2,))

    def forward(self, x: Any) -> Any:
        return x * 2 if x is self.w else x * 3


class Inside(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Held()

    def forward(self, x: Any) -> Any:
        return self.inner(x)


class OfParameter(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter("weight", shape=(2,))
        self.initialize()

    def forward(self, x: Any) -> Any:
        return x * 3 if x is not self.weight.data() else x * 2


class Among(Held):
    def forward(self, x: Any) -> Any:
        return x * 2 if any(x is one for one in (self.w, TABLE)) else x * 3


class ByFunction(Held):
    def forward(self, x: Any) -> Any:
        return x * 2 if operator.is_(x, self.w) else x * 3


class Global(nn.Block):
    def forward(self, x: Any) -> Any:
        return x * 2 if x is TABLE else x * 3


KINDS: dict[type, Callable[[Any], Any]] = {  # class -> the array that it asks for
    Held: lambda net: net.w,
    Inside: lambda net: net.inner.w,
    OfParameter: lambda net: net.weight.data(),
    Among: lambda net: TABLE,
    ByFunction: lambda net: net.w,
    Global: lambda net: TABLE,
}


def factor(net: nn.Block, x: Any) -> float:
    return float((net(x) / x)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_an_argument_that_is_held_is_known_for_it(kind: type) -> None:
    net = kind()
    net.hybridize()
    for rows in range(1, 4):
        assert round(factor(net, np.full((2,), rows))) == 3
    for _ in range(2):
        assert round(factor(net, KINDS[kind](net))) == 2
        assert round(factor(net, np.ones((2,)))) == 3


def test_others_stay_compiled() -> None:
    net = Held()
    net.hybridize()
    for _ in range(3):
        net(np.ones((2,)))
    assert ": compiled" in net.explain()


def test_a_keyword_and_memory_for_the_result_do_not_pass_it_by() -> None:
    @blockfuse.hybridize
    def function(x: Any, *, other: Any) -> Any:
        return x * 2 if other is TABLE else x * 3

    x, out = np.ones((2,)), np.zeros((2,))
    for _ in range(3):
        assert function(x, other=x + 1).tolist() == [3, 3]
    assert function(x, other=TABLE).tolist() == [2, 2]
    net = Held()
    net.hybridize()
    for _ in range(3):
        assert net(x, out=out).tolist() == [3, 3]
    assert net(net.w, out=out).tolist() == [2, 2]


def test_it_is_known_while_gradients_are_followed() -> None:
    net = Held()
    net.w.attach_grad()
    net.hybridize()
    for _ in range(4):
        x = np.ones((2,))
        x.attach_grad()
        with autograd.record():
            y = net(x)
        y.backward()
        assert x.grad.tolist() == [3, 3]
    with autograd.record():
        y = net(net.w)
    y.backward()
    assert net.w.grad.tolist() == [2, 2]
