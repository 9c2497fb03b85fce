"""Nets over sequences: recurrent layers, an encoder, and greedy decoding with a cache of keys and values.

A recurrent layer and attention are words of the vocabulary ``F``, as libraries have them ready. How the loop of decoding is
written differs between contenders (in Python around one step, as a scan); the step is the same formula for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy

HEADS, HEAD = 4, 32  # of attention, and the width of one
_WIDTH, _LAYERS, _WORDS = HEADS * HEAD, 4, 256
_OF_A_LAYER = 12  # parameters: norm, queries with keys and values, what joins heads; norm, the two of the feed-forward part

Draw = Callable[[numpy.random.Generator], list[numpy.ndarray]]

# -- formulas ------------------------------------------------------------------------------------------------


def lstm(F: Any, x: Any, *parameters: Any) -> Any:
    """Outputs (time, batch, hidden) of an input (time, batch, features), from states of zeros; gates i, f, g, o."""
    return F.lstm(x, *parameters)


def gru(F: Any, x: Any, *parameters: Any) -> Any:
    """The same, gates r, z, n, where r multiplies what the state adds to n."""
    return F.gru(x, *parameters)


def encoder(F: Any, x: Any, *parameters: Any) -> Any:
    """Transformer layers, norm first, of one sequence (times, width)."""
    for layer in by_layer(parameters):
        x = transformer_layer(F, x, layer, partial(F.attention, heads=HEADS))
    return x


def transformer_layer(F: Any, x: Any, layer: Sequence[Any], attend: Callable[[Any], Any]) -> Any:
    """attend: takes queries, keys and values side by side to what is seen."""
    gain, shift, projection, its_bias, joining, joining_bias, *rest = layer
    seen = attend(F.dense(F.layer_norm(x, gain, shift), projection, its_bias))
    x = x + F.dense(seen, joining, joining_bias)
    gain, shift, wide, wide_bias, narrow, narrow_bias = rest
    return x + F.dense(F.relu(F.dense(F.layer_norm(x, gain, shift), wide, wide_bias)), narrow, narrow_bias)


def greedy(F: Any, x: Any, *parameters: Any) -> Any:
    """The most likely words, one after the other, until every place has one; x (1, width) stands before the first."""
    return F.decoded(x, *parameters)


def scores(F: Any, x: Any, parameters: Sequence[Any], attend: Callable[[int, Any], Any]) -> Any:
    """What is said of each word (1, words) after x (1, width). attend: takes the number of a layer, too."""
    gain, shift, head, its_bias, *layers = parameters
    for number, layer in enumerate(by_layer(layers)):
        x = transformer_layer(F, x, layer, partial(attend, number))
    return F.dense(F.layer_norm(x, gain, shift), head, its_bias)


def by_layer(parameters: Sequence[Any]) -> list[Sequence[Any]]:
    return [parameters[n : n + _OF_A_LAYER] for n in range(0, len(parameters), _OF_A_LAYER)]


# -- parameters ----------------------------------------------------------------------------------------------


def recurrent(gates: int, features: int, hidden: int) -> Draw:
    """Weights of input and state, and the bias of each."""
    shapes = ((gates * hidden, features), (gates * hidden, hidden), (gates * hidden,), (gates * hidden,))
    return lambda rng: [_uniform(rng, shape, hidden**-0.5) for shape in shapes]


def transformer(width: int = _WIDTH, layers: int = _LAYERS) -> Draw:
    return lambda rng: [p for _ in range(layers) for p in _layer(rng, width)]


def language_model(places: int, width: int = _WIDTH, layers: int = _LAYERS, words: int = _WORDS) -> Draw:
    """A vector of each word and of each place, a norm and the scores of words, then the layers."""

    def drawn(rng: numpy.random.Generator) -> list[numpy.ndarray]:
        vectors = [_uniform(rng, (words, width), 1.0), _uniform(rng, (places, width), 1.0)]
        return [*vectors, *_norm(rng, width), *_dense(rng, width, words), *transformer(width, layers)(rng)]

    return drawn


def _layer(rng: numpy.random.Generator, width: int) -> list[numpy.ndarray]:
    attention = [*_norm(rng, width), *_dense(rng, width, 3 * width), *_dense(rng, width, width)]
    return [*attention, *_norm(rng, width), *_dense(rng, width, 4 * width), *_dense(rng, 4 * width, width)]


def _norm(rng: numpy.random.Generator, width: int) -> list[numpy.ndarray]:
    return [rng.uniform(0.5, 1.5, width).astype(numpy.float32), _uniform(rng, (width,), 0.1)]


def _dense(rng: numpy.random.Generator, before: int, after: int) -> list[numpy.ndarray]:
    return [_uniform(rng, (after, before), (3 / before) ** 0.5), _uniform(rng, (after,), 0.1)]


def _uniform(rng: numpy.random.Generator, shape: tuple[int, ...], bound: float) -> numpy.ndarray:
    return rng.uniform(-bound, bound, shape).astype(numpy.float32)


# -- figures -------------------------------------------------------------------------------------------------


def recurrent_flops(gates: int, times: int, batch: int, features: int, hidden: int) -> float:
    return 2.0 * gates * hidden * (features + hidden) * times * batch


def encoder_flops(times: int, width: int = _WIDTH, layers: int = _LAYERS) -> float:
    return 2.0 * layers * times * (12 * width * width + 2 * times * width)
