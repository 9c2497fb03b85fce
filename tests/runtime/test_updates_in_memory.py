"""Calls that write over what they read: turned, shifted, exchanged, and where the memory has changed owners since."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import autograd, nn, np, npx
from blockfuse.array.ndarray import ndarray

# lines of ``step(x)``; a, b and c are held by attributes, x is (4, 6)
BODIES = {
    "swap": ("t = a * 1", "a[...] = b", "b[...] = t", "return a + b"),
    "rotate": ("t = a * 1", "a[...] = b", "b[...] = c", "c[...] = t", "return a - c"),
    "flip": ("a[...] = a[::-1]", "return x * 2"),
    "ring": ("a[...] = np.concatenate([a[1:], x[:1]])", "return a.sum(axis=1)"),
    "ring backwards": ("a[...] = np.concatenate([x[:1], a[:-1]])", "return a.sum(axis=1)"),
    "roll": ("a[...] = np.roll(a, 1, axis=1) + x.sum()", "return a.mean()"),
    "softmax across": ("a[...] = npx.softmax(a, axis=0) + a", "return a * 2"),
    "pick rows": ("a[...] = a[np.array([3, 1, 0, 2])]", "return a.sum()"),
    "sort": ("i = np.argsort(a[:, 0])", "a[...] = np.take(a, i, axis=0)", "return i"),
    "where": ("a[...] = np.where(a > 0, a[::-1], -a)", "return a * 1"),
    "mean": ("a[...] = a - a.mean(axis=0)", "b[...] = b + a.mean(axis=0)", "return b * 1"),
    "constant": ("r = a * 2", "a[...] = 3", "b[...] = a + r", "return r"),
    "several": ("a[...] = a + 1", "a[...] = a * 2", "a[...] = a[::-1] - b", "return a.sum()"),
    "result": ("y = a * 2", "a[...] = y", "b[...] = y", "return y, y * 1"),
    "argument": ("b[...] = a", "a[...] = x", "return b - a"),
    "itself": ("a[...] = a", "return x + a.sum()"),
    "ways": ("if x.sum() > 0:", "    a[...] = a * 2", "else:", "    b[...] = a + b", "return a + b"),
    "loop": ("while np.abs(a).sum() < 99:", "    a[...] = a * 2", "a[...] = a * 0.25", "return b + a"),
    "rows": ("a[...] = np.broadcast_to(a[:1], (4, 6)) + b", "b[...] = np.repeat(a[:2], 2, axis=0)", "return a * 2"),
    "transpose": ("s[...] = s.T", "return s * 1"),
    "product": ("s[...] = np.dot(s, s) * 0.1 + s.T", "return s[0] * 2"),
    "products": ("t = np.dot(s, s) * 0.1", "s[...] = np.dot(s, t) + t", "return t"),
}  # fmt: skip


class Holder(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        rng = numpy.random.default_rng(0)
        self.a, self.b, self.c = (np.array(rng.normal(size=(4, 6)), dtype="float32") for _ in range(3))
        self.s = np.array(rng.normal(size=(6, 6)), dtype="float32")

    def held(self) -> list[numpy.ndarray]:
        return [array.asnumpy() for array in (self.a, self.b, self.c, self.s)]


def step_of(holder: Holder, body: tuple[str, ...]) -> Callable[[ndarray], Any]:
    lines = ["a, b, c, s = h.a, h.b, h.c, h.s", *body]
    scope: dict[str, Any] = {"h": holder, "np": np, "npx": npx}
    exec("def step(x):\n" + "\n".join(f"    {line}" for line in lines), scope)
    return scope["step"]  # type: ignore[no-any-return]


def inputs(count: int) -> list[ndarray]:
    rng = numpy.random.default_rng(5)
    return [
        np.array(rng.normal(size=(4, 6)) + (-1) ** n, dtype="float32").copy() for n in range(count)
    ]  # both ways


def arrays(result: Any) -> list[numpy.ndarray]:
    return [a.asnumpy() for a in (result if isinstance(result, tuple) else (result,))]


@pytest.mark.spread(11)
@pytest.mark.parametrize("name", BODIES)
def test_what_is_written_over_is_read_first(name: str) -> None:
    plain, other = Holder(), Holder()
    eager, compiled = step_of(plain, BODIES[name]), blockfuse.hybridize(step_of(other, BODIES[name]))
    for x in inputs(5):
        wanted, found = arrays(eager(x)), arrays(compiled(x))
        for a, b in zip([*found, *other.held()], [*wanted, *plain.held()], strict=True):
            numpy.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


# -- a step of training whose memory others use as well ----------------------------------------------------------


class Trained(nn.Block):
    """A layer, and two arrays in which its gradients add up."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(6, in_units=6)
        self.fast, self.slow = np.zeros((6, 6)), np.ones((6, 6))

    def step(self, x: ndarray, y: ndarray) -> ndarray:
        with autograd.record():
            loss = ((self.dense(x) - y) ** 2).mean()
        loss.backward()
        fast, slow, weight = self.fast, self.slow, self.dense.weight.data()
        fast[...] = fast * 0.5 + self.dense.weight.grad()
        slow[...] = slow * 0.9 + fast
        weight -= slow * 0.01
        return x * 1


def made() -> Trained:
    np.random.seed(0)
    net = Trained()
    net.initialize(init="xavier")
    return net


def shared_states(net: Trained) -> Iterator[tuple[ndarray, ndarray]]:
    x, y, *_ = inputs(2)
    net.slow = net.fast
    yield x, y
    net.fast = net.slow[:]
    yield x, y
    net.fast = net.dense.weight.data()
    yield x, y
    net.fast, net.slow = np.ones((2, 6, 6))
    yield x, y


def arguments_that_are_written(net: Trained) -> Iterator[tuple[ndarray, ndarray]]:
    x, *_ = inputs(1)
    weight, grad = net.dense.weight.data(), net.dense.weight.grad()
    yield from (
        (weight[:4], x),
        (x, weight[:4]),
        (grad[:4], grad[2:]),
        (x, net.fast[:4]),
        (net.slow[::2], x[:3]),
        (x, x),
    )


@pytest.mark.parametrize("calls", [shared_states, arguments_that_are_written])
def test_memory_that_has_several_names_is_as_in_python(calls: Callable[[Trained], Any]) -> None:
    found = []
    for hybridized in (False, True):
        net = made()
        step = blockfuse.hybridize(net.step) if hybridized else net.step
        for _ in range(3):
            step(*inputs(2))
        values = []
        for given in calls(net):
            values.append(step(*given).asnumpy())
            held = (net.fast, net.slow, net.dense.weight.data(), net.dense.weight.grad())
            values += [array.asnumpy() for array in held]
        found.append(values)
    for a, b in zip(*found, strict=True):
        numpy.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_an_index_beyond_its_axis_behind_an_update_raises_with_the_update_written() -> None:
    found: list[Any] = []
    for hybridized in (False, True):
        net = made()

        def step(x: ndarray, rows: ndarray, net: Trained = net) -> ndarray:
            net.step(x, x)
            return net.slow[rows] * 1

        run = blockfuse.hybridize(step) if hybridized else step
        x, *_ = inputs(1)
        values = []
        for rows in ([0, 1], [5, 2], [1, 6], [0, 0], [-7, 0]):
            try:
                values.append(run(x, np.array(rows)).asnumpy())
            except IndexError as error:
                values.append(numpy.array(float(len(str(error)))))
            values += [net.slow.asnumpy(), net.dense.weight.data().asnumpy()]
        found.append(values)
    for a, b in zip(*found, strict=True):
        numpy.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
