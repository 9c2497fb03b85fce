"""Compiled nets against the same computation written by hand in NumPy: ``python benchmarks/numpy_by_hand.py``.

Prints the table of README.md: microseconds a call, medians of rounds that take turns, default threads of each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy

from blockfuse import nn, np, npx
from blockfuse.runtime.cli.measure import alternating

relu = numpy.maximum


@dataclass(frozen=True)
class Row:
    """``by_hand`` takes the parameters of the net, in order, and gives a function of the input."""

    text: str
    make: Callable[[], nn.Block]
    shape: tuple[int, ...]
    by_hand: Callable[..., Callable[[numpy.ndarray], Any]]


# -- nets, and the same by hand ------------------------------------------------------------------------------


def layers(*units: int) -> nn.Block:
    net = nn.Sequential()
    for before, after in pairwise(units[:-1]):
        net.add(nn.Dense(after, activation="relu", in_units=before))
    net.add(nn.Dense(units[-1], in_units=units[-2]))
    return net


def layers_by_hand(*parameters: numpy.ndarray) -> Callable[[numpy.ndarray], Any]:
    weights = [numpy.ascontiguousarray(w.T) for w in parameters[::2]]
    biases = parameters[1::2]

    def forward(x: numpy.ndarray) -> Any:
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            x = x @ weight
            x += bias
            relu(x, 0, out=x)
        x = x @ weights[-1]
        x += biases[-1]
        return x

    return forward


class FixedHidden(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.fixed = self.params.get_constant("fixed", np.random.uniform(size=(20, 20)))
        self.dense = nn.Dense(20, activation="relu", in_units=20)

    def forward(self, X: Any) -> Any:
        X = self.dense(X)
        X = npx.relu(np.dot(X, self.fixed.data()) + 1)
        X = self.dense(X)
        while np.abs(X).sum() > 1:
            X /= 2
        return X.sum()


def fixed_hidden_by_hand(fixed: numpy.ndarray, weight: numpy.ndarray, bias: numpy.ndarray) -> Any:
    turned = numpy.ascontiguousarray(weight.T)

    def forward(x: numpy.ndarray) -> Any:
        x = relu(x @ turned + bias, 0)
        x = relu(x @ fixed + 1, 0)
        x = relu(x @ turned + bias, 0)
        while numpy.abs(x).sum() > 1:
            x /= 2
        return x.sum()

    return forward


ROWS = (
    Row("20-256-10, batch 2", lambda: layers(20, 256, 10), (2, 20), layers_by_hand),
    Row("784-256-128-10, batch 1", lambda: layers(784, 256, 128, 10), (1, 784), layers_by_hand),
    Row("784-256-128-10, batch 32", lambda: layers(784, 256, 128, 10), (32, 784), layers_by_hand),
    Row("784-256-128-10, batch 256", lambda: layers(784, 256, 128, 10), (256, 784), layers_by_hand),
    Row("16 layers of 64, batch 1", lambda: layers(*[64] * 17), (1, 64), layers_by_hand),
    Row("16 layers of 64, batch 64", lambda: layers(*[64] * 17), (64, 64), layers_by_hand),
    Row("3 layers of 1024, batch 1", lambda: layers(*[1024] * 4), (1, 1024), layers_by_hand),
    Row("3 layers of 1024, batch 256", lambda: layers(*[1024] * 4), (256, 1024), layers_by_hand),
    Row("FixedHiddenMLP (a `while` loop), batch 2", FixedHidden, (2, 20), fixed_hidden_by_hand),
)


# -- measuring -----------------------------------------------------------------------------------------------


def measured(row: Row) -> tuple[float, float, float]:
    """Microseconds of NumPy by hand, eager blockfuse and compiled blockfuse."""
    np.random.seed(0)
    net, eager = row.make(), row.make()
    net.initialize()
    eager.initialize()
    eager.load_dict(dict(net.collect_params().items()))
    net.hybridize()
    by_hand = row.by_hand(*(p.data().asnumpy() for p in net.collect_params().values()))
    ours = np.random.uniform(-1, 1, size=row.shape)
    plain = ours.asnumpy()
    for _ in range(3):
        numpy.testing.assert_allclose(net(ours).asnumpy(), by_hand(plain), rtol=1e-3, atol=1e-5)
    by_numpy = alternating([by_hand], [plain])[0]
    before, after = alternating([eager, net], [ours])
    return by_numpy.median, before.median, after.median


def main() -> None:
    print("| net | NumPy by hand | eager | compiled | NumPy / compiled |")
    print("|---|---:|---:|---:|---:|")
    for row in ROWS:
        by_hand, eager, compiled = measured(row)
        times = " | ".join(f"{t:.3g}" if t < 1000 else f"{t:.0f}" for t in (by_hand, eager, compiled))
        print(f"| {row.text} | {times} | {by_hand / compiled:.1f} |", flush=True)


if __name__ == "__main__":
    main()
