"""PyTensor: one function with updates, by its Numba linker. It lives in an environment of its own, with an older Numba."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy
import pytensor
from pytensor import tensor as pt

from benchmarks.contender import UnsupportedNetError, Way
from benchmarks.nets import Net
from benchmarks.training import Step, Training, adam, sgd

F = SimpleNamespace(dense=lambda x, weight, bias: x @ weight.T + bias, relu=lambda x: pt.maximum(x, 0))


def build(net: Net, threads: int) -> list[Way]:
    raise UnsupportedNetError("it takes part in training only")


def train(training: Training, threads: int) -> list[Step]:
    if len(training.item) > 1:
        raise UnsupportedNetError("it has no convolution any more")
    pytensor.config.floatX = "float32"
    x, labels, drawn = training.draw()
    parameters = [pytensor.shared(p.copy()) for p in drawn]
    states = [
        pytensor.shared(numpy.zeros_like(p)) for p in drawn * (2 if training.optimizer == "adam" else 1)
    ]
    count = pytensor.shared(numpy.float32(0))
    inputs, wanted = pt.fmatrix("x"), pt.lvector("y")
    scores = pt.special.log_softmax(training.forward(F, inputs, *parameters), axis=-1)
    loss = -scores[pt.arange(training.batch), wanted].mean()
    grads = pytensor.grad(loss, parameters)
    rate: Any = numpy.float32(training.rate)  # a Python number would make float64 of all
    new, new_states = (
        sgd(rate, parameters, grads, states)
        if training.optimizer == "sgd"
        else adam(rate, parameters, grads, states, count + 1, pt.sqrt)
    )
    updates = [
        (old, value.astype("float32"))
        for old, value in zip((*parameters, *states), (*new, *new_states), strict=True)
    ]
    step = pytensor.function([inputs, wanted], loss, updates=[*updates, (count, count + 1)], mode="NUMBA")

    def values() -> list[Any]:
        return [p.get_value() for p in parameters]

    scope = {"step": step, "x": x, "y": labels}
    return [Step("step(x, y)", scope, parameters=values)]
