"""Nets over tables of vectors: word2vec, a convolution over sentences, and a factorization machine with a deep part.

After Mikolov et al. 2013, Kim 2014 and Guo et al. 2017.
"""

from blockfuse import nn, np, npx


class SkipGram(nn.Block):
    """How well each context word, (batch, words), fits the word in the middle, (batch, 1)."""

    def __init__(self, words=40, units=8):
        super().__init__()
        self.middle, self.context = nn.Embedding(words, units), nn.Embedding(words, units)

    def forward(self, middle, context):
        return npx.batch_dot(self.middle(middle), self.context(context), transpose_b=True)


class TextCNN(nn.Block):
    """Scores of classes for sentences (batch, times): filters of several widths, and the largest of what each finds."""

    def __init__(self, words=40, units=8, widths=(2, 3, 4), filters=6, classes=2):
        super().__init__()
        self.words = nn.Embedding(words, units)
        self.filters = nn.Sequential(
            *(nn.Conv1D(filters, w, in_channels=units, activation="relu") for w in widths)
        )
        self.pool, self.drop = nn.GlobalMaxPool1D(), nn.Dropout(0.5)
        self.out = nn.Dense(classes, in_units=len(widths) * filters)

    def forward(self, tokens):
        x = self.words(tokens).transpose(0, 2, 1)
        found = np.concatenate([self.pool(f(x)) for f in self.filters], axis=1)
        return self.out(self.drop(npx.batch_flatten(found)))


class DeepFM(nn.Block):
    """A click's probability from fields of categories, (batch, fields): alone, in pairs, and through dense layers."""

    def __init__(self, categories=30, fields=5, units=4, hidden=16):
        super().__init__()
        self.alone, self.vectors = nn.Embedding(categories, 1), nn.Embedding(categories, units)
        self.deep = nn.Sequential(
            nn.Dense(hidden, activation="relu", in_units=fields * units), nn.Dense(1, in_units=hidden)
        )

    def forward(self, fields):
        vectors = self.vectors(fields)
        pairs = (vectors.sum(axis=1) ** 2 - (vectors**2).sum(axis=1)).sum(axis=1, keepdims=True) / 2
        return npx.sigmoid(self.alone(fields).sum(axis=1) + pairs + self.deep(vectors))


INPUTS = {
    "SkipGram": ["3x1:int32", "3x4:int32"],
    "TextCNN": "3x7:int32",
    "DeepFM": "3x5:int32",
}
