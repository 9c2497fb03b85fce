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
from benchmarks.sequence_nets import HEADS, by_layer, scores
from benchmarks.training import Step, Training, adam, sgd


def layer_norm(x: Any, gain: Any, shift: Any) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return centred * lax.rsqrt(variance + 1e-5) * gain + shift


def convolution(x: Any, weight: Any, bias: Any, padding: int, stride: int = 1, groups: int = 1) -> Any:
    border = ((padding, padding),) * 2
    y = lax.conv_general_dilated(x, weight, (stride, stride), border, feature_group_count=groups)
    return y if bias is None else y + bias[:, None, None]


def batch_norm(x: Any, gain: Any, shift: Any, mean: Any, variance: Any) -> Any:
    scale = gain * lax.rsqrt(variance + 1e-5)
    return x * scale[:, None, None] + (shift - mean * scale)[:, None, None]


def pool(x: Any, size: int, padding: int) -> Any:
    """The maximum of squares two apart."""
    border = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, size, size), (1, 1, 2, 2), border)


def halved(x: Any) -> Any:
    """The Python loop, rewritten by hand: ``jit`` cannot trace it."""
    return lax.while_loop(lambda x: jnp.abs(x).sum() > 1, lambda x: x / 2, x)


def lstm(x: Any, of_input: Any, of_state: Any, bias: Any, other_bias: Any) -> Any:
    """A scan over time, with the product of the inputs before it."""

    def step(states: Any, now: Any) -> Any:
        h, c = states
        i, f, g, o = jnp.split(now + h @ of_state.T, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros((x.shape[1], of_state.shape[1]))
    return lax.scan(step, (zeros, zeros), x @ of_input.T + (bias + other_bias))[1]


def gru(x: Any, of_input: Any, of_state: Any, bias: Any, other_bias: Any) -> Any:
    def step(h: Any, now: Any) -> Any:
        r, z, n = jnp.split(now, 3, axis=-1)
        of_r, of_z, of_n = jnp.split(h @ of_state.T + other_bias, 3, axis=-1)
        z = jax.nn.sigmoid(z + of_z)
        h = (1 - z) * jnp.tanh(n + jax.nn.sigmoid(r + of_r) * of_n) + z * h
        return h, h

    return lax.scan(step, jnp.zeros((x.shape[1], of_state.shape[1])), x @ of_input.T + bias)[1]


def attention(joined: Any, heads: int) -> Any:
    q, k, v = joined.reshape(len(joined), 3, heads, -1).transpose(1, 2, 0, 3)
    weights = jax.nn.softmax(q @ k.transpose(0, 2, 1) / q.shape[-1] ** 0.5, axis=-1)
    return (weights @ v).transpose(1, 0, 2).reshape(len(joined), -1)


def said_next(held: Any, place: Any, words: Any, places: Any, *parameters: Any) -> Any:
    """A step of decoding. held: x, keys and values of each layer (heads, places, width of a head)."""
    x, keys, values = held[0], list(held[1]), list(held[2])

    def attend(layer: int, joined: Any) -> Any:
        q, k, v = joined.reshape(3, HEADS, 1, -1)
        keys[layer] = lax.dynamic_update_slice_in_dim(keys[layer], k, place, 1)
        values[layer] = lax.dynamic_update_slice_in_dim(values[layer], v, place, 1)
        found = q @ keys[layer].transpose(0, 2, 1) / q.shape[-1] ** 0.5
        seen = jnp.arange(len(places)) <= place
        return (jax.nn.softmax(jnp.where(seen, found, -jnp.inf), axis=-1) @ values[layer]).reshape(1, -1)

    said = scores(F, x + places[place], parameters, attend).argmax()
    return (words[said][None], tuple(keys), tuple(values)), said


def begun(x: Any, words: Any, places: Any, *parameters: Any) -> Any:
    cache = jnp.zeros((HEADS, len(places), words.shape[1] // HEADS))
    caches = (cache,) * len(by_layer(parameters[4:]))
    return x, caches, caches


def decoded(x: Any, words: Any, places: Any, *parameters: Any) -> Any:
    """The loop, rewritten by hand as a scan."""

    def step(held: Any, place: Any) -> Any:
        return said_next(held, place, words, places, *parameters)

    return lax.scan(step, begun(x, words, places, *parameters), jnp.arange(len(places)))[1]


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
    batch_norm=batch_norm,
    relu6=jax.nn.relu6,
    max_pool=lambda x: pool(x, 2, 0),
    wide_pool=lambda x: pool(x, 3, 1),
    mean_of_channels=lambda x: x.mean((2, 3)),
    lstm=lstm,
    gru=gru,
    attention=attention,
    decoded=decoded,
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
