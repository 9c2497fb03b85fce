"""Functions with small loops and branches on values, and the plans that a device makes of them."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy

import blockfuse
from blockfuse import nn, np, npx
from blockfuse.codegen.cuda.native import isa
from blockfuse.codegen.cuda.program.plan import Plan
from blockfuse.runtime.inspection import settled
from blockfuse.runtime.programs.backend import ShownBackend
from blockfuse.runtime.programs.program import Program


class FixedHiddenMLP(nn.Block):
    """The one of the book, with a layer that is used twice and a loop on values."""

    def __init__(self) -> None:
        super().__init__()
        self.rand_weight = np.array(values(20, 20))
        self.dense = nn.Dense(20, activation="relu", in_units=20)
        self.initialize()
        self.dense.weight.set_data(np.array(values(20, 20) - 0.3))

    def forward(self, X: Any) -> Any:
        X = self.dense(X)
        X = npx.relu(np.dot(X, self.rand_weight) + 1)
        X = self.dense(X)
        while np.abs(X).sum() > 1:
            X /= 2
        return X.sum()


def values(*shape: int) -> numpy.ndarray:
    """Of float32, between 0 and 1."""
    return numpy.random.default_rng(len(shape)).uniform(0, 1, shape).astype("float32")


def _branch(x: Any) -> Any:
    if x.sum() > 0:
        x = x * 2
    return x + 1


def _branches(x: Any) -> Any:
    a = 2 if x.sum() > 0 and x.max() < 50 else 3
    if x.min() < -9:
        return -x
    return x * a


def _counted(x: Any) -> Any:
    n = 0
    while np.abs(x).sum() > 1 and n < 5:
        x = x / 2
        n += 1
    return x + 1


def _nested(x: Any) -> Any:
    total = x * 0
    while np.abs(x).sum() > 1:
        y = x
        while y.max() > 0.5:
            y = y * 0.4
        total = total + y
        x = x / 3
    return total, x * 1


def _left(x: Any) -> Any:
    for _ in range(6):
        if np.abs(x).sum() < 1:
            break
        if x.min() < -0.5:
            x = x * 0.75
            continue
        x = x / 2
    return x - 1


def _swapped(x: Any) -> Any:
    y = x * 0.5
    while x.sum() > 2:
        x, y = y, x * 0.5
    return x * 1, y * 1


def _flagged(x: Any) -> Any:
    goes_on = x.sum() > 1
    total = x * 0
    while goes_on:
        total = total + x * goes_on
        x = x * 0.5
        goes_on = x.sum() > 1
    return x * 1, total


def _viewed(x: Any) -> Any:
    while x[1:, 2:].sum() > 1:
        x = x * 0.5 + x[:1] * 0.1
    return x[:, 1:] + 0


def _columns(x: Any) -> Any:
    while x.sum(axis=0).max() > 1:
        x = x.T.copy().T * 0.5
        if x[1:].mean() > 0.1:
            x = x - npx.softmax(x) * 0.1
    return x * 1


def _power(a: Any, v: Any) -> Any:
    for _ in range(30):
        w = np.dot(a, v)
        u = w / np.sqrt((w * w).sum() + 1e-12)
        if np.abs(u - v).max() < 1e-3:
            break
        v = u
    return v + 0


def _products(y: Any, x: Any) -> Any:
    while np.abs(x).sum() > 1:
        x = np.dot(x, y) * 0.02
    return x - 1


# name -> (what is hybridized, its first arguments, the last one, which calls scale)
PROGRAMS: dict[str, tuple[Callable[[], Any], tuple[numpy.ndarray, ...], numpy.ndarray]] = {
    "FixedHiddenMLP": (FixedHiddenMLP, (), values(2, 20)),
    "a branch": (lambda: _branch, (), values(4, 5)),
    "branches": (lambda: _branches, (), values(4, 5)),
    "a counter": (lambda: _counted, (), values(3, 13)),
    "nested loops": (lambda: _nested, (), values(7)),
    "break and continue": (lambda: _left, (), values(5, 3)),
    "swapped": (lambda: _swapped, (), values(3, 3)),
    "a flag": (lambda: _flagged, (), values(9)),
    "views": (lambda: _viewed, (), values(3, 5)),
    "columns": (lambda: _columns, (), values(33, 20)),
    "power iteration": (lambda: _power, (values(9, 9) + values(9, 9).T,), values(9)),
    "products": (lambda: _products, (values(13, 13),), values(5, 13)),
}
SCALES = (1.0, -1.0, 1e-3, 30.0, -30.0, 3.0, 0.0, 1.0)


def calls_of(name: str) -> list[tuple[numpy.ndarray, ...]]:
    """Arguments that take many ways, some of them again."""
    _, first, last = PROGRAMS[name]
    return [(*first, last * numpy.float32(scale)) for scale in SCALES]


@lru_cache
def plan_of(name: str) -> Plan:
    """The plan for a device that need not be here, after all calls."""
    net = PROGRAMS[name][0]()
    net = hybridized(net, "cpu")
    for arguments in calls_of(name):
        outcome = settled(net, [np.array(a) for a in arguments])
    shown: Any = Program(list(outcome.recordings), ShownBackend(isa.machine((9, 0))))
    plan: Plan = shown.executable.plan
    return plan


def hybridized(net: Any, backend: str) -> Any:
    """A net or a function, compiled."""
    if isinstance(net, nn.Block):
        net.hybridize(backend=backend)
        return net
    return blockfuse.hybridize(net, backend=backend)
