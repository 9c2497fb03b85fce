"""JAX: ``jit`` on the CPU, device arrays, weights as constants of the program or as arguments, whichever is quicker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import numpy
from jax import lax
from jax import numpy as jnp

from benchmarks.contender import Way
from benchmarks.nets import Net
from benchmarks.training import Step, Training, adam, sgd


def layer_norm(x: Any, gain: Any, shift: Any) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return centred * lax.rsqrt(variance + 1e-5) * gain + shift


def convolution(x: Any, weight: Any, bias: Any, padding: int) -> Any:
    border = ((padding, padding),) * 2
    return lax.conv_general_dilated(x, weight, (1, 1), border) + bias[:, None, None]


def halved(x: Any) -> Any:
    """The Python loop, rewritten by hand: ``jit`` cannot trace it."""
    return lax.while_loop(lambda x: jnp.abs(x).sum() > 1, lambda x: x / 2, x)


F = SimpleNamespace(
    dense=lambda x, weight, bias: x @ weight.T + bias,
    relu=jax.nn.relu,
    dot=jnp.dot,
    exp=jnp.exp,
    tanh=jnp.tanh,
    sigmoid=jax.nn.sigmoid,
    softmax=lambda x: jax.nn.softmax(x, axis=-1),
    gelu=lambda x: jax.nn.gelu(x, approximate=False),
    layer_norm=layer_norm,
    halved=halved,
    sum=jnp.sum,
    flat=lambda x: x.reshape(len(x), -1),
    convolution=convolution,
    max_pool=lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID"),
)


def build(net: Net, threads: int) -> list[Way]:
    """XLA's threads are the cores that the process may use."""
    x, drawn = net.draw()
    parameters = [jnp.asarray(p) for p in drawn]
    scope = {"x": jnp.asarray(x), "parameters": parameters}
    constant = jax.jit(lambda x: net.forward(F, x, *parameters))
    ways = [Way("call(x).block_until_ready()", scope | {"call": constant})]
    if drawn:
        arguments = jax.jit(lambda x, parameters: net.forward(F, x, *parameters))
        ways.append(Way("call(x, parameters).block_until_ready()", scope | {"call": arguments}))
    ways.append(Way("asarray(call(x))", {"call": constant, "x": x, "asarray": numpy.asarray}, arrays="numpy"))
    return ways


class Jitted:
    """A step that keeps parameters and states, whose buffers are given to the next."""

    def __init__(self, training: Training) -> None:
        parameters = [jnp.array(p) for p in training.draw()[2]]
        states = [jnp.zeros_like(p) for p in parameters * (2 if training.optimizer == "adam" else 1)]
        self.held = parameters, states, jnp.zeros(())

        def loss_of(parameters: Any, x: Any, labels: Any) -> Any:
            scores = jax.nn.log_softmax(training.forward(F, x, *parameters))
            return -jnp.take_along_axis(scores, labels[:, None], axis=1).mean()

        def step(held: Any, x: Any, labels: Any) -> Any:
            parameters, states, count = held
            loss, grads = jax.value_and_grad(loss_of)(parameters, x, labels)
            count = count + 1
            new = (
                sgd(training.rate, parameters, grads, states)
                if training.optimizer == "sgd"
                else adam(training.rate, parameters, grads, states, count, jnp.sqrt)
            )
            return (*new, count), loss

        self.step = jax.jit(step, donate_argnums=0)

    def __call__(self, x: Any, labels: Any) -> Any:
        self.held, loss = self.step(self.held, x, labels)
        jax.block_until_ready(self.held)
        return loss


def train(training: Training, threads: int) -> list[Step]:
    """``jit`` of the whole step with its parameters and states donated."""
    x, labels, _ = training.draw()
    step = Jitted(training)

    def parameters() -> list[Any]:
        return [numpy.array(p) for p in step.held[0]]

    return [Step("step(x, y)", {"step": step, "x": x, "y": labels.astype("int32")}, parameters=parameters)]
