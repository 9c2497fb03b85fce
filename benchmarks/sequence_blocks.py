"""Nets over sequences as users of blockfuse write them: a transformer's encoder, and a decoder with a cache."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy

from benchmarks.sequence_nets import HEADS, by_layer
from blockfuse import nn, np, npx


class Parts(nn.Block):
    """The parts of a layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_channels=width)
        self.project = nn.Dense(3 * width, flatten=False, in_units=width)
        self.join = nn.Dense(width, flatten=False, in_units=width)
        self.other_norm = nn.LayerNorm(in_channels=width)
        self.expand = nn.Dense(4 * width, flatten=False, activation="relu", in_units=width)
        self.contract = nn.Dense(width, flatten=False, in_units=4 * width)


class Layer(Parts):
    def forward(self, x: Any) -> Any:
        times, width = x.shape
        heads = self.project(self.norm(x)).reshape(times, 3, HEADS, width // HEADS)
        q, k, v = (heads[:, n].transpose(1, 0, 2) for n in range(3))
        weights = npx.softmax(npx.batch_dot(q, k, transpose_b=True) / sqrt(width // HEADS))
        seen = npx.batch_dot(weights, v).transpose(1, 0, 2).reshape(times, width)
        x = x + self.join(seen)
        return x + self.contract(self.expand(self.other_norm(x)))


class LayerWithCache(Parts):
    def forward(self, x: Any, keys: Any, values: Any, place: int) -> Any:
        heads, places, width = keys.shape
        q, k, v = self.project(self.norm(x)).reshape(3, heads, width)
        keys[:, place], values[:, place] = k, v
        scores = npx.batch_dot(q.reshape(heads, 1, width), keys, transpose_b=True) / sqrt(width)
        weights = npx.masked_softmax(scores, np.arange(places) <= place)
        x = x + self.join(npx.batch_dot(weights, values).reshape(1, heads * width))
        return x + self.contract(self.expand(self.other_norm(x)))


class Encoder(nn.Sequential):
    def __init__(self, parameters: list[numpy.ndarray]) -> None:
        super().__init__()
        for layer in by_layer(parameters):
            self.add(Layer(len(layer[0])))


class Decoder(nn.Block):
    """Says the most likely words, one after the other."""

    def __init__(self, parameters: list[numpy.ndarray]) -> None:
        super().__init__()
        (words, width), (self.count, _) = parameters[0].shape, parameters[1].shape
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(self.count, width)
        self.norm, self.head = nn.LayerNorm(in_channels=width), nn.Dense(words, in_units=width)
        self.layers = nn.Sequential()
        for _ in by_layer(parameters[6:]):
            self.layers.add(LayerWithCache(width))

    def forward(self, x: Any) -> Any:
        shape = (HEADS, self.count, x.shape[1] // HEADS)
        caches, said = [(np.zeros(shape), np.zeros(shape)) for _ in self.layers], []
        for place in range(self.count):
            x = x + self.places(np.array([place]))
            for layer, (keys, values) in zip(self.layers, caches, strict=True):
                x = layer(x, keys, values, place)
            word = self.head(self.norm(x)).argmax(-1)
            said.append(word)
            x = self.words(word)
        return np.concatenate(said)
