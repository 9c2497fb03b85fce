"""Attention in four nets: an encoder, a decoder that keeps keys and values, a transformer of pictures, and a translator.

The first three are those of Vaswani et al. 2017 and Dosovitskiy et al. 2020; the translator is a GRU that looks back at the
sentence it reads, after Bahdanau et al. 2014.
"""

import math

from blockfuse import nn, np, npx
from blockfuse.gluon import rnn


class Attention(nn.Block):
    """Multi-head attention of queries (batch, times, units) to memory; mask: 1 where a query may look, (queries, keys)."""

    def __init__(self, units, heads):
        super().__init__()
        self.units, self.heads = units, heads
        self.query, self.key, self.value, self.out = (
            nn.Dense(units, flatten=False, in_units=units) for _ in range(4)
        )

    def apart(self, x):
        return x.reshape(x.shape[0], x.shape[1], self.heads, self.units // self.heads).transpose(0, 2, 1, 3)

    def forward(self, x, memory, mask=None):
        return self.attend(x, self.apart(self.key(memory)), self.apart(self.value(memory)), mask)

    def attend(self, x, keys, values, mask=None):
        """To keys and values that are apart already: (batch, heads, times, units of a head)."""
        scores = np.matmul(self.apart(self.query(x)), keys.transpose(0, 1, 3, 2))
        scores = scores / math.sqrt(self.units // self.heads)
        if mask is not None:
            scores = np.where(mask > 0, scores, -1e9)
        found = np.matmul(npx.softmax(scores), values).transpose(0, 2, 1, 3)
        return self.out(found.reshape(x.shape[0], x.shape[1], self.units))


class Layer(nn.Block):
    """Attention and two dense layers, each behind a norm and added to what it was given."""

    def __init__(self, units, heads):
        super().__init__()
        self.attention = Attention(units, heads)
        self.before, self.between = nn.LayerNorm(in_channels=units), nn.LayerNorm(in_channels=units)
        self.wide = nn.Dense(4 * units, flatten=False, in_units=units)
        self.narrow = nn.Dense(units, flatten=False, in_units=4 * units)

    def forward(self, x, mask=None):
        y = self.before(x)
        return self.behind(x + self.attention(y, y, mask))

    def behind(self, x):
        return x + self.narrow(npx.gelu(self.wide(self.between(x))))


class Encoder(nn.Block):
    """Layers over words (batch, times) with learned positions; causal: each word sees those before it alone."""

    def __init__(self, words=32, units=16, heads=2, layers=2, longest=16, causal=False):
        super().__init__()
        self.words, self.places = nn.Embedding(words, units), nn.Embedding(longest, units)
        self.layers = nn.Sequential(*(Layer(units, heads) for _ in range(layers)))
        self.norm, self.out = nn.LayerNorm(in_channels=units), nn.Dense(words, flatten=False, in_units=units)
        self.causal = causal

    def forward(self, tokens):
        times = tokens.shape[1]
        x = self.words(tokens) + self.places(np.arange(times))
        mask = np.tril(np.ones((times, times))) if self.causal else None
        for layer in self.layers:
            x = layer(x, mask)
        return self.out(self.norm(x))


class Decoder(Encoder):
    """The likeliest words behind a beginning, one after the other; keys and values of those before are kept."""

    def forward(self, tokens, count=3):
        kept = [None] * len(self.layers)
        found = []
        for place in range(tokens.shape[1] + count - 1):
            given = tokens[:, place : place + 1] if place < tokens.shape[1] else found[-1]
            likely = self.step(given, place, kept)
            if place + 1 >= tokens.shape[1]:
                found.append(likely.argmax(axis=-1))
        return np.concatenate(found, axis=1)

    def step(self, token, place, kept):
        x = self.words(token) + self.places(np.array([place]))
        for number, layer in enumerate(self.layers):
            y, attention = layer.before(x), layer.attention
            new = attention.apart(attention.key(y)), attention.apart(attention.value(y))
            if kept[number] is not None:
                new = tuple(np.concatenate(pair, axis=2) for pair in zip(kept[number], new, strict=True))
            kept[number] = new
            x = layer.behind(x + attention.attend(y, *new))
        return self.out(self.norm(x))


class VisionTransformer(nn.Block):
    """Pictures as words: patches, one more place whose value tells the class."""

    def __init__(self, side=16, patch=4, units=16, heads=2, layers=2, classes=10):
        super().__init__()
        self.patches = nn.Conv2D(units, patch, patch, in_channels=3)
        self.first = nn.Parameter("first", shape=(1, 1, units))
        self.places = nn.Parameter("places", shape=(1, (side // patch) ** 2 + 1, units))
        self.layers = nn.Sequential(*(Layer(units, heads) for _ in range(layers)))
        self.norm, self.out = nn.LayerNorm(in_channels=units), nn.Dense(classes, in_units=units)

    def forward(self, pictures):
        x = self.patches(pictures)
        x = x.reshape(x.shape[0], x.shape[1], x.shape[2] * x.shape[3]).transpose(0, 2, 1)
        first = np.broadcast_to(self.first.data(), (x.shape[0], 1, x.shape[2]))
        x = self.layers(np.concatenate([first, x], axis=1) + self.places.data())
        return self.out(self.norm(x)[:, 0])


class Translator(nn.Block):
    """Scores of the words of a translation, (batch, times, words): each from the state and what additive attention finds."""

    def __init__(self, words=24, units=12):
        super().__init__()
        self.read, self.write = nn.Embedding(words, units), nn.Embedding(words, units)
        self.encoder = rnn.GRU(units, layout="NTC", input_size=units)
        self.cell = rnn.GRUCell(units, input_size=2 * units)
        self.query, self.key = (nn.Dense(units, use_bias=False, flatten=False, in_units=units) for _ in "qk")
        self.score = nn.Dense(1, use_bias=False, flatten=False, in_units=units)
        self.out = nn.Dense(words, in_units=2 * units)

    def forward(self, source, target):
        memory, (state,) = self.encoder(self.read(source), self.encoder.begin_state(source.shape[0]))
        keys, state, scores = self.key(memory), state[0], []
        words = self.write(target)
        for time in range(target.shape[1]):
            tried = self.score(np.tanh(np.expand_dims(self.query(state), 1) + keys))
            found = (npx.softmax(tried, axis=1) * memory).sum(axis=1)
            _, (state,) = self.cell(np.concatenate([words[:, time], found], axis=1), [state])
            scores.append(self.out(np.concatenate([state, found], axis=1)))
        return np.stack(scores, axis=1)


INPUTS = {
    "Encoder": "2x8:int32",
    "Decoder": "2x3:int32",
    "VisionTransformer": "2x3x16x16",
    "Translator": ["2x5:int32", "2x4:int32"],
}
