"""JAX: ``jit`` on the CPU, device arrays, weights as constants of the program or as arguments, whichever is quicker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp

from benchmarks.contender import Way
from benchmarks.nets import Net


def layer_norm(x: Any, gain: Any, shift: Any) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return centred * lax.rsqrt(variance + 1e-5) * gain + shift


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
    return ways
