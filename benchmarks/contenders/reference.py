"""The vocabulary in NumPy, for any float type: in float64 it says what results ought to be."""

from __future__ import annotations

import math
import sys
from functools import partial
from typing import Any

import numpy
from numpy.lib.stride_tricks import sliding_window_view

from benchmarks.sequence_nets import HEADS, by_layer, scores

exp, tanh, sum, dot = numpy.exp, numpy.tanh, numpy.sum, numpy.dot  # the names of the vocabulary

_erf = numpy.vectorize(math.erf, otypes=[numpy.float64])


def relu(x: Any) -> Any:
    return numpy.maximum(x, 0)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + numpy.exp(-x))


def gelu(x: Any) -> Any:
    return x * (1 + _erf(x / math.sqrt(2))) / 2


def dense(x: Any, weight: Any, bias: Any) -> Any:
    return x @ weight.T + bias


def softmax(x: Any) -> Any:
    e = numpy.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def layer_norm(x: Any, gain: Any, shift: Any) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return centred / numpy.sqrt(variance + 1e-5) * gain + shift


def halved(x: Any) -> Any:
    while numpy.abs(x).sum() > 1:
        x = x / 2
    return x


def flat(x: Any) -> Any:
    return x.reshape(len(x), -1)


def relu6(x: Any) -> Any:
    return numpy.clip(x, 0, 6)


def convolution(x: Any, weight: Any, bias: Any, padding: int, stride: int = 1, groups: int = 1) -> Any:
    """Of images (batch, channels, height, width); the weight is (units, channels of a group, height, width)."""
    windows = _windows(x, weight.shape[-1], padding, stride)
    pairs = zip(numpy.split(windows, groups, 1), numpy.split(weight, groups), strict=True)
    parts = [numpy.tensordot(*pair, ((1, 4, 5), (1, 2, 3))) for pair in pairs]
    y = numpy.concatenate(parts, axis=-1)
    return (y if bias is None else y + bias).transpose(0, 3, 1, 2)


def max_pool(x: Any) -> Any:
    return _windows(x, 2, 0, 2).max(axis=(4, 5))


def wide_pool(x: Any) -> Any:
    """The maximum of three by three, two apart; borders are minus infinity."""
    return _windows(x, 3, 1, 2, -numpy.inf).max(axis=(4, 5))


def _windows(x: Any, kernel: int, padding: int, stride: int, border: float = 0.0) -> Any:
    widths = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    padded = numpy.pad(x, widths, constant_values=border)
    return sliding_window_view(padded, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]


def batch_norm(x: Any, gain: Any, shift: Any, mean: Any, variance: Any) -> Any:
    """With statistics that were gathered before."""
    scale = gain / numpy.sqrt(variance + 1e-5)
    return x * scale[:, None, None] + (shift - mean * scale)[:, None, None]


def mean_of_channels(x: Any) -> Any:
    return x.mean(axis=(2, 3))


# -- sequences -----------------------------------------------------------------------------------------------


def lstm(x: Any, of_input: Any, of_state: Any, bias: Any, other_bias: Any) -> Any:
    projected, outputs = x @ of_input.T + (bias + other_bias), []
    h = c = numpy.zeros((x.shape[1], of_state.shape[1]), x.dtype)
    for now in projected:
        i, f, g, o = numpy.split(now + h @ of_state.T, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * numpy.tanh(g)
        h = sigmoid(o) * numpy.tanh(c)
        outputs.append(h)
    return numpy.stack(outputs)


def gru(x: Any, of_input: Any, of_state: Any, bias: Any, other_bias: Any) -> Any:
    projected, outputs = x @ of_input.T + bias, []
    h = numpy.zeros((x.shape[1], of_state.shape[1]), x.dtype)
    for now in projected:
        r, z, n = numpy.split(now, 3, axis=-1)
        of_r, of_z, of_n = numpy.split(h @ of_state.T + other_bias, 3, axis=-1)
        z = sigmoid(z + of_z)
        h = (1 - z) * numpy.tanh(n + sigmoid(r + of_r) * of_n) + z * h
        outputs.append(h)
    return numpy.stack(outputs)


def attention(joined: Any, heads: int) -> Any:
    """Of queries, keys and values side by side (times, 3 * width), where every time sees all."""
    q, k, v = (
        part.reshape(len(part), heads, -1).transpose(1, 0, 2) for part in numpy.split(joined, 3, axis=-1)
    )
    weights = softmax(q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1]))
    return (weights @ v).transpose(1, 0, 2).reshape(len(joined), -1)


def decoded(x: Any, words: Any, places: Any, *parameters: Any) -> Any:
    """Keys and values of all words before lie in arrays that have their full size."""
    width, layers, said = words.shape[1], len(by_layer(parameters[4:])), []
    shape = (layers, HEADS, len(places), width // HEADS)
    keys, values = numpy.zeros(shape, x.dtype), numpy.zeros(shape, x.dtype)

    def attend(place: int, layer: int, joined: Any) -> Any:
        q, k, v = joined.reshape(3, HEADS, -1)
        keys[layer, :, place], values[layer, :, place] = k, v
        until = slice(place + 1)
        seen = softmax((keys[layer, :, until] @ q[:, :, None])[:, :, 0] / math.sqrt(q.shape[-1]))
        return (seen[:, None] @ values[layer, :, until]).reshape(1, -1)

    for place, vector in enumerate(places):
        found = scores(sys.modules[__name__], x + vector, parameters, partial(attend, place))
        said.append(found.argmax())
        x = words[said[-1]][None]
    return numpy.array(said)
