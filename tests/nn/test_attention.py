"""Attention as programs write it: multi-head with lengths, causal, positions, a cache of keys and values; against torch."""

import math
from typing import Any

import numpy
import pytest

from blockfuse import gluon, init, nn, train_step
from blockfuse.array import autograd, np, npx

torch = pytest.importorskip("torch")

BATCH, QUERIES, KEYS, HIDDEN, HEADS = 2, 3, 4, 8, 2


def masked_softmax(scores: Any, valid_lens: Any) -> Any:
    """Of lengths, one for each sequence, or one for each query."""
    if valid_lens is None:
        return npx.softmax(scores)
    shape = scores.shape
    lengths = valid_lens.repeat(shape[1]) if valid_lens.ndim == 1 else valid_lens.reshape(-1)
    rows = npx.sequence_mask(scores.reshape(-1, shape[-1]), lengths, True, value=-1e6, axis=1)
    return npx.softmax(rows).reshape(shape)


class DotProduct(nn.Block):
    """softmax(Q K' / sqrt(d)) V; keep: whether the weights are kept in an attribute."""

    def __init__(self, dropout: float, keep: bool) -> None:
        super().__init__()
        self.dropout, self.keep = nn.Dropout(dropout), keep

    def forward(self, queries: Any, keys: Any, values: Any, valid_lens: Any = None) -> Any:
        scores = npx.batch_dot(queries, keys, transpose_b=True) / math.sqrt(queries.shape[-1])
        weights = masked_softmax(scores, valid_lens)
        if self.keep:
            self.attention_weights = weights
        return npx.batch_dot(self.dropout(weights), values)


class MultiHead(nn.Block):
    def __init__(self, dropout: float = 0.0, keep: bool = False) -> None:
        super().__init__()
        self.attention = DotProduct(dropout, keep)
        self.W_q, self.W_k, self.W_v, self.W_o = (nn.Dense(HIDDEN, flatten=False) for _ in range(4))

    def forward(self, queries: Any, keys: Any, values: Any, valid_lens: Any = None) -> Any:
        parts = (self.apart(W(x)) for W, x in ((self.W_q, queries), (self.W_k, keys), (self.W_v, values)))
        lengths = None if valid_lens is None else valid_lens.repeat(HEADS, axis=0)
        return self.W_o(self.together(self.attention(*parts, lengths)))

    def apart(self, x: Any) -> Any:
        x = x.reshape(x.shape[0], x.shape[1], HEADS, -1).transpose(0, 2, 1, 3)
        return x.reshape(-1, x.shape[2], x.shape[3])

    def together(self, x: Any) -> Any:
        x = x.reshape(-1, HEADS, x.shape[1], x.shape[2]).transpose(0, 2, 1, 3)
        return x.reshape(x.shape[0], x.shape[1], -1)


class Positions(nn.Block):
    def __init__(self, longest: int = 20) -> None:
        super().__init__()
        self.P = np.zeros((1, longest, HIDDEN))
        angles = np.arange(longest).reshape(-1, 1) / np.power(10000, np.arange(0, HIDDEN, 2) / HIDDEN)
        self.P[:, :, 0::2] = np.sin(angles)
        self.P[:, :, 1::2] = np.cos(angles)

    def forward(self, x: Any) -> Any:
        return x + self.P[:, : x.shape[1], :].as_in_ctx(x.ctx)


class Layer(nn.Block):
    """One layer of a causal transformer: in training, queries see what stands before them."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.attention, self.first, self.second = MultiHead(dropout), nn.LayerNorm(), nn.LayerNorm()
        self.wide, self.narrow = (
            nn.Dense(12, flatten=False, activation="relu"),
            nn.Dense(HIDDEN, flatten=False),
        )

    def forward(self, x: Any) -> Any:
        batch, times, _ = x.shape
        lengths = np.tile(np.arange(1, times + 1, ctx=x.ctx), (batch, 1))
        y = self.first(x + self.attention(x, x, x, lengths))
        return self.second(y + self.narrow(self.wide(y)))


class Language(nn.Block):
    def __init__(self, words: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(words, HIDDEN), Positions()
        self.layer, self.out = Layer(dropout), nn.Dense(words, flatten=False)

    def forward(self, tokens: Any) -> Any:
        return self.out(self.layer(self.positions(self.embedding(tokens) * math.sqrt(HIDDEN))))


def begun(net: Any, *inputs: Any) -> Any:
    np.random.seed(0)
    net.initialize(init="xavier")
    net(*inputs)
    return net


def inputs(*shape: int, seed: int = 0) -> Any:
    return np.array(numpy.random.default_rng(seed).normal(size=shape).astype("float32"))


def close(found: Any, expected: Any) -> None:
    numpy.testing.assert_allclose(found.asnumpy(), expected.detach().numpy(), 1e-4, 1e-5)


def twin_of(net: MultiHead) -> Any:
    twin = torch.nn.MultiheadAttention(HIDDEN, HEADS, batch_first=True)
    layers = (net.W_q, net.W_k, net.W_v)
    with torch.no_grad():
        for name in ("weight", "bias"):
            values = numpy.concatenate([getattr(layer, name).data().asnumpy() for layer in layers])
            getattr(twin, f"in_proj_{name}").copy_(torch.from_numpy(values))
            getattr(twin.out_proj, name).copy_(torch.from_numpy(getattr(net.W_o, name).data().asnumpy()))
    return twin


@pytest.mark.parametrize("lengths", [None, [4, 2]])
def test_multi_head_attention_and_its_gradients_are_torchs(lengths: list[int] | None) -> None:
    queries, keys = inputs(BATCH, QUERIES, HIDDEN), inputs(BATCH, KEYS, HIDDEN, seed=1)
    given = None if lengths is None else np.array(lengths)
    net = begun(MultiHead(), queries, keys, keys, given)
    queries.attach_grad()
    with autograd.record():
        found = net(queries, keys, keys, given)
        total = (found**2).sum()
    total.backward()
    twin = twin_of(net)
    q, k = (torch.from_numpy(x.asnumpy()) for x in (queries, keys))
    q.requires_grad_()
    padding = None if lengths is None else torch.arange(KEYS)[None] >= torch.tensor(lengths)[:, None]
    expected, _ = twin(q, k, k, key_padding_mask=padding, need_weights=False)
    (expected**2).sum().backward()
    close(found, expected)
    close(queries.grad, q.grad)
    close(net.W_v.weight.grad(), twin.in_proj_weight.grad[2 * HIDDEN :])
    close(net.W_o.weight.grad(), twin.out_proj.weight.grad)


def test_causal_attention_is_torchs() -> None:
    x = inputs(BATCH, KEYS, HIDDEN)
    lengths = np.tile(np.arange(1, KEYS + 1), (BATCH, 1))
    net = begun(MultiHead(), x, x, x, lengths)
    at = torch.from_numpy(x.asnumpy())
    causal = torch.triu(torch.ones(KEYS, KEYS, dtype=torch.bool), 1)
    close(net(x, x, x, lengths), twin_of(net)(at, at, at, attn_mask=causal, need_weights=False)[0])


@pytest.mark.parametrize("axis", ["sequence", "query"])
def test_ways_to_mask_scores_agree(axis: str) -> None:
    scores = inputs(BATCH, QUERIES, KEYS)
    lengths = np.array([4, 2] if axis == "sequence" else [[1, 2, 3], [4, 1, 2]])
    each = np.broadcast_to(lengths.reshape(BATCH, -1), (BATCH, QUERIES))
    mask = np.arange(KEYS) < each[:, :, None]
    found = masked_softmax(scores, lengths).asnumpy()
    for other in (npx.masked_softmax(scores, mask), npx.softmax(scores, length=each, use_length=True)):
        numpy.testing.assert_allclose(found, other.asnumpy(), 1e-6, 1e-7)


class CausalAttention(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.attention = MultiHead()

    def forward(self, x: Any) -> Any:
        return self.attention(x, x, x, np.tile(np.arange(1, x.shape[1] + 1), (x.shape[0], 1)))


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("make", "x"),
    [
        (CausalAttention, inputs(BATCH, KEYS, HIDDEN)),
        (lambda: Language(5), np.array([[1, 4, 2], [0, 3, 3]], dtype="int32")),
    ],
    ids=["attention", "transformer"],
)
def test_a_net_with_attention_is_one_program(make: Any, x: Any) -> None:
    net = begun(make(), x)
    expected = net(x).asnumpy()
    net.hybridize()
    for _ in range(3):
        numpy.testing.assert_allclose(net(x).asnumpy(), expected, 1e-5, 1e-6)
    assert "compiled" in net.explain().split("\n")[0]


def test_weights_that_an_attribute_keeps_are_those_of_the_last_call() -> None:
    net = MultiHead(keep=True)
    x, lengths = inputs(BATCH, KEYS, HIDDEN), np.array([4, 2])
    begun(net, x, x, x, lengths)
    expected, weights = net(x, x, x, lengths), net.attention.attention_weights
    net.hybridize()
    for scale in (2, 1) * 2:
        found = net(x * scale, x, x, lengths)
        assert np.allclose(net.attention.attention_weights, weights) == (scale == 1)
    numpy.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), 1e-5, 1e-6)


@pytest.mark.long
def test_a_transformer_learns_in_compiled_steps() -> None:
    tokens = np.array(numpy.arange(24).reshape(4, 6) % 5, dtype="int32")
    net = begun(Language(5, dropout=0.1), tokens[:, :-1])
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.02})
    step = train_step(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)
    losses = [float(step(tokens[:, :-1].copy(), tokens[:, 1:].copy()).mean()) for _ in range(40)]
    assert losses[-1] < 0.3 * losses[0]
    assert "compiled" in step.explain()
    alone = net(tokens[:, :3])
    numpy.testing.assert_allclose(net(tokens)[:, :3].asnumpy(), alone.asnumpy(), 1e-4, 1e-5)  # it is causal


class Decoder(nn.Block):
    """Greedy decoding until the stop token or ``longest`` tokens, with a cache of keys and values."""

    def __init__(self, words: int, longest: int) -> None:
        super().__init__()
        self.longest = longest
        self.embedding, self.out = nn.Embedding(words, HIDDEN), nn.Dense(words, in_units=HIDDEN)
        self.W_q, self.W_k, self.W_v = (nn.Dense(HIDDEN, in_units=HIDDEN) for _ in range(3))

    def forward(self, token: Any) -> Any:
        keys = values = np.zeros((self.longest, HIDDEN))
        places, said, done = np.arange(self.longest), np.zeros(self.longest), np.array(0.0)
        while (token != 0).all() and done < self.longest:
            x, here = self.embedding(token), (places == done).reshape(-1, 1)
            keys, values = np.where(here, self.W_k(x), keys), np.where(here, self.W_v(x), values)
            weights = npx.masked_softmax(self.W_q(x) @ keys.T / math.sqrt(HIDDEN), (places <= done)[None])
            token = self.out(weights @ values).argmax(-1).astype("int32")
            said, done = np.where(places == done, token, said), done + 1
        return said


@pytest.mark.long
def test_decoding_with_a_cache_is_one_native_loop() -> None:
    net = Decoder(30, 12)
    np.random.seed(3)
    net.initialize(init=init.Normal(1.0))
    starts = [np.array([n], dtype="int32") for n in range(1, 30)]
    expected = [net(start).tolist() for start in starts]
    assert len({tuple(said) for said in expected}) > 3
    assert {said.count(0.0) for said in expected} - {0}, "some end before the longest"
    net.hybridize()
    for start, said in zip(starts, expected, strict=True):
        assert net(start).tolist() == said
    assert "1 ways back (loops)" in net.explain()
    assert net.explain().split("\n")[0].endswith("compiled")
