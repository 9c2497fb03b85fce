"""Whole programs in Numba's simulator: a script for NUMBA_ENABLE_CUDASIM=1 that prints what each case found as JSON."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy
from devices import Tensor

import blockfuse
from blockfuse import nn, np, npx
from blockfuse.array.functions import random
from blockfuse.codegen.cuda.device.simulated_device import SimulatedDevice
from blockfuse.runtime.programs import backend as backends

DEVICE = SimulatedDevice()
backends.cuda_device = lambda: DEVICE  # type: ignore[assignment]


def _values(*shape: int) -> numpy.ndarray:
    return numpy.random.default_rng(len(shape)).uniform(-1, 1, shape).astype("float32")


def _mlp() -> Any:
    net = nn.Sequential()
    net.add(nn.Dense(7, activation="relu"), nn.Dense(3))
    net.initialize()
    return net


def _embedding() -> Any:
    net = nn.Sequential()
    net.add(nn.Embedding(6, 8), nn.Dense(3, flatten=False))
    net.initialize()
    return net


def _halved(x: Any) -> Any:
    while x.sum() > 1:
        x = x / 2
    return x + 1


def _noisy(x: Any) -> Any:
    return (x + np.random.normal(size=(3, 5))).tanh() * np.random.uniform(size=(5,))


def _written(x: Any) -> Any:
    y = x * 2
    y[1:, 2:] = 0
    return np.concatenate([y, x], axis=1)


# name -> what is hybridized, and its arguments
CASES: dict[str, tuple[Callable[[], Any], tuple[numpy.ndarray, ...]]] = {
    "a net": (_mlp, (_values(2, 5),)),
    "a chain": (lambda: lambda x, y: (x * 2 + y).tanh() - y, (_values(3, 5), _values(5))),
    "softmax": (lambda: lambda x: npx.softmax(x), (_values(3, 13),)),
    "a view": (lambda: lambda x: (x[1:, 1:] + 1).sum(0), (_values(4, 7),)),
    "a loop": (lambda: _halved, (numpy.full(4, 3.0, "float32"),)),
    "draws": (lambda: _noisy, (_values(3, 5),)),
    "writes": (lambda: _written, (_values(3, 4),)),
    "an embedding": (_embedding, (numpy.array([[3, -1, 0], [5, 2, -6]]),)),
    "sorted between kernels": (lambda: lambda x: np.sort(x * 2, axis=1) + 1, (_values(3, 4),)),
}


def _found(make: Callable[[], Any], arguments: tuple[numpy.ndarray, ...]) -> dict[str, Any]:
    """The largest difference from the eager call, from host and device; what explain() says; seconds."""
    started, net = time.perf_counter(), make()
    calls = [lambda: net(*(np.array(a) for a in arguments))]
    wanted = _seeded(calls[0]).asnumpy()
    if isinstance(net, nn.Block):
        net.hybridize(backend="cuda")
    else:
        net = blockfuse.hybridize(net, backend="cuda")
    calls.append(lambda: net(*(Tensor(a, DEVICE) for a in arguments)))
    found = [
        _seeded(call).asnumpy() if n == 0 else _seeded(call).numpy()
        for n in (0, 0, 1)
        for call in (calls[n],)
    ]
    return {
        "difference": max(float(numpy.abs(f - wanted).max()) for f in found),
        "explain": net.explain(),
        "seconds": time.perf_counter() - started,
    }


def _seeded(call: Callable[[], Any]) -> Any:
    random.seed(3)
    return call()


if __name__ == "__main__":
    json.dump({name: _found(*case) for name, case in CASES.items()}, sys.stdout)
