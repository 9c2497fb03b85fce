"""The nets of the examples against torch, on the same weights, by its own layers where it has them."""

import math
from collections.abc import Callable
from typing import Any

import numpy
import pytest
from documents import ROOT

from blockfuse import np
from blockfuse.runtime.cli.subjects import Subject, subjects

torch = pytest.importorskip("torch")
F = torch.nn.functional
Twin = Callable[..., Any]  # of a net and tensors


def tensor(parameter: Any) -> Any:
    return torch.from_numpy(parameter.data().asnumpy().copy())


def dense(layer: Any, x: Any) -> Any:
    return F.linear(x, tensor(layer.weight), None if layer.bias is None else tensor(layer.bias))


def convolution(layer: Any, x: Any, **options: Any) -> Any:
    operator = F.conv1d if x.ndim == 3 else F.conv2d
    return operator(x, tensor(layer.weight), tensor(layer.bias), **options)


def looked_up(layer: Any, numbers: Any) -> Any:
    return F.embedding(numbers.long(), tensor(layer.weight))


def norm(layer: Any, x: Any) -> Any:
    return F.layer_norm(x, x.shape[-1:], tensor(layer.gamma), tensor(layer.beta))


# -- attention -----------------------------------------------------------------------------------------------


def transformer_layer(layer: Any) -> Any:
    """torch's own layer, with the weights of ours."""
    attention = layer.attention
    made = torch.nn.TransformerEncoderLayer(
        attention.units, attention.heads, 4 * attention.units, 0.0, "gelu", batch_first=True, norm_first=True
    ).eval()
    pairs = [
        (made.self_attn.out_proj, attention.out),
        (made.linear1, layer.wide),
        (made.linear2, layer.narrow),
    ]
    with torch.no_grad():
        for name in ("weight", "bias"):
            parts = (getattr(dense, name) for dense in (attention.query, attention.key, attention.value))
            getattr(made.self_attn, f"in_proj_{name}").copy_(torch.cat([tensor(part) for part in parts]))
            for theirs, ours in pairs:
                getattr(theirs, name).copy_(tensor(getattr(ours, name)))
        for theirs, ours in ((made.norm1, layer.before), (made.norm2, layer.between)):
            theirs.weight.copy_(tensor(ours.gamma))
            theirs.bias.copy_(tensor(ours.beta))
    return made


def transformed(net: Any, x: Any, causal: bool = False) -> Any:
    mask = torch.triu(torch.full((x.shape[1],) * 2, -math.inf), 1) if causal else None
    for layer in net.layers:
        x = transformer_layer(layer)(x, src_mask=mask)
    return norm(net.norm, x)


def encoder(net: Any, tokens: Any, causal: bool = False) -> Any:
    x = looked_up(net.words, tokens) + looked_up(net.places, torch.arange(tokens.shape[1]))
    return dense(net.out, transformed(net, x, causal))


def decoder(net: Any, tokens: Any) -> Any:
    """Without keeping anything: all words anew for each new one."""
    beginning = tokens.shape[1]
    for _ in range(3):
        tokens = torch.cat([tokens, encoder(net, tokens, causal=True)[:, -1:].argmax(-1).int()], 1)
    return tokens[:, beginning:]


def vision_transformer(net: Any, pictures: Any) -> Any:
    x = convolution(net.patches, pictures, stride=4).flatten(2).transpose(1, 2)
    x = torch.cat([tensor(net.first).expand(len(x), 1, -1), x], 1) + tensor(net.places)
    return dense(net.out, transformed(net, x)[:, 0])


def gru(made: Any, weights: dict[str, Any]) -> Any:
    with torch.no_grad():
        for name, parameter in weights.items():
            getattr(made, name).copy_(tensor(parameter))
    return made


def recurrent_weights(layer: Any, prefix: str = "", end: str = "") -> dict[str, Any]:
    return {
        f"{kind}_{way}h{end}": getattr(layer, f"{prefix}{way}2h_{kind}")
        for kind in ("weight", "bias")
        for way in "ih"
    }


def translator(net: Any, source: Any, target: Any) -> Any:
    units = net.query.weight.shape[0]
    reader = gru(torch.nn.GRU(units, units, batch_first=True), recurrent_weights(net.encoder, "l0_", "_l0"))
    cell = gru(torch.nn.GRUCell(2 * units, units), recurrent_weights(net.cell))
    memory, state = reader(looked_up(net.read, source))
    state, keys, scores = state[0], dense(net.key, memory), []
    for word in looked_up(net.write, target).unbind(1):
        tried = dense(net.score, torch.tanh(dense(net.query, state)[:, None] + keys))
        found = torch.einsum("bt,btu->bu", tried[..., 0].softmax(1), memory)
        state = cell(torch.cat([word, found], 1), state)
        scores.append(dense(net.out, torch.cat([state, found], 1)))
    return torch.stack(scores, 1)


# -- pictures ------------------------------------------------------------------------------------------------


def double(layers: Any, x: Any) -> Any:
    for layer in layers:
        x = torch.relu(convolution(layer, x, padding=1))
    return x


def unet(net: Any, x: Any) -> Any:
    first = double(net.down[0], x)
    second = double(net.down[1], F.max_pool2d(first, 2))
    x = double(net.bottom, F.max_pool2d(second, 2))
    for rise, step, beside in zip(net.rise, net.up, (second, first), strict=True):
        risen = F.conv_transpose2d(x, tensor(rise.weight), tensor(rise.bias), 2)
        x = double(step, torch.cat([beside, risen], 1))
    return convolution(net.out, x)


def variational_autoencoder(net: Any, x: Any, noise: Any) -> Any:
    hidden = torch.tanh(dense(net.encoder, x))
    mean, spread = dense(net.mean, hidden), dense(net.spread, hidden)
    code = mean + torch.sqrt(torch.exp(spread)) * noise
    return torch.sigmoid(dense(net.decoder[1], torch.tanh(dense(net.decoder[0], code)))), mean, spread


def generator(net: Any, noise: Any) -> Any:
    first, batch_norm, _, second, _ = net.layers
    x = F.conv_transpose2d(noise[:, :, None, None], tensor(first.weight))
    statistics = (batch_norm.running_mean, batch_norm.running_var, batch_norm.gamma, batch_norm.beta)
    x = torch.relu(F.batch_norm(x, *map(tensor, statistics), eps=1e-5))
    return torch.tanh(F.conv_transpose2d(x, tensor(second.weight), tensor(second.bias), 2, 1))


def discriminator(net: Any, pictures: Any) -> Any:
    x = F.leaky_relu(convolution(net.first, pictures, stride=2, padding=1), 0.2)
    return dense(net.out, F.leaky_relu(convolution(net.second, x), 0.2).flatten(1))


# -- tables --------------------------------------------------------------------------------------------------


def skip_gram(net: Any, middle: Any, context: Any) -> Any:
    return torch.einsum("bmu,bcu->bmc", looked_up(net.middle, middle), looked_up(net.context, context))


def text_cnn(net: Any, tokens: Any) -> Any:
    x = looked_up(net.words, tokens).transpose(1, 2)
    return dense(net.out, torch.cat([torch.relu(convolution(f, x)).amax(2) for f in net.filters], 1))


def deep_fm(net: Any, fields: Any) -> Any:
    """Each pair of fields by itself."""
    vectors = looked_up(net.vectors, fields)
    pairs = torch.triu(torch.einsum("biu,bju->bij", vectors, vectors), 1).sum((1, 2))[:, None]
    deep = dense(net.deep[1], torch.relu(dense(net.deep[0], vectors.flatten(1))))
    return torch.sigmoid(looked_up(net.alone, fields).sum(1) + pairs + deep)


TWINS: dict[str, tuple[str, Twin]] = {
    "Encoder": ("attention", encoder),
    "Decoder": ("attention", decoder),
    "VisionTransformer": ("attention", vision_transformer),
    "Translator": ("attention", translator),
    "UNet": ("generators", unet),
    "VariationalAutoencoder": ("generators", variational_autoencoder),
    "Generator": ("generators", generator),
    "Discriminator": ("generators", discriminator),
    "SkipGram": ("tables", skip_gram),
    "TextCNN": ("tables", text_cnn),
    "DeepFM": ("tables", deep_fm),
}


def subject(name: str) -> Subject:
    return subjects(f"{ROOT}/examples/{TWINS[name][0]}.py:{name}", ())[0]


def begun(net: Any, inputs: list[Any]) -> Any:
    """With biases too, and statistics and gains that differ."""
    np.random.seed(0)
    net.initialize(init="xavier", force_reinit=True)
    net(*inputs)
    draw = numpy.random.default_rng(0)
    for name, parameter in net.collect_params().items():
        low = 0.5 if name.endswith(("gamma", "running_var")) else -0.5
        if len(parameter.shape) == 1 or "places" in name or "first" in name.split("."):
            parameter.set_data(np.array(draw.uniform(low, low + 1, parameter.shape).astype("float32")))
    return net


def check(name: str, compiled: bool) -> None:
    one = subject(name)
    inputs = [given.array(number) for number, given in enumerate(one.inputs)]
    net = begun(one.make(), inputs)
    with torch.no_grad():
        expected = TWINS[name][1](net, *(torch.from_numpy(x.asnumpy()) for x in inputs))
    if compiled:
        net.hybridize()
        net(*inputs)
    found = net(*inputs)
    pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    for ours, theirs in pairs:
        numpy.testing.assert_allclose(ours, theirs.numpy(), 2e-5, 2e-5)
    if compiled:
        assert ": compiled" in net.explain().splitlines()[0]


@pytest.mark.parametrize("name", TWINS)
def test_a_net_gives_what_torch_gives(name: str) -> None:
    check(name, compiled=False)


@pytest.mark.long
@pytest.mark.parametrize("name", TWINS)
def test_a_net_gives_it_compiled_too(name: str) -> None:
    check(name, compiled=True)
