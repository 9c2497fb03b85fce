"""PyTorch, operator by operator, in inference mode."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn import functional

from benchmarks.contender import Way
from benchmarks.nets import Net
from benchmarks.sequence_nets import HEADS, by_layer, scores
from benchmarks.training import BETA1, BETA2, EPSILON, MOMENTUM, Step, Training


def halved(x: Any) -> Any:
    while torch.abs(x).sum() > 1:
        x = x / 2
    return x


def recurrent(kernel: Callable[..., Any], states: int, x: Any, *parameters: Any) -> Any:
    """torch's own layer, over (time, batch, features)."""
    begun = [x.new_zeros(1, x.shape[1], parameters[1].shape[1]) for _ in range(states)]
    return kernel(x, begun if states > 1 else begun[0], parameters, True, 1, 0.0, False, False, False)[0]


def attention(joined: Any, heads: int) -> Any:
    q, k, v = joined.view(len(joined), 3, heads, -1).permute(1, 2, 0, 3)
    return functional.scaled_dot_product_attention(q[None], k[None], v[None])[0].transpose(0, 1).flatten(1)


def decoded(x: Any, words: Any, places: Any, *parameters: Any) -> Any:
    """Keys and values are written where they lie, and read as far as they are written."""
    width = words.shape[1]
    caches = torch.empty(len(by_layer(parameters[4:])), 2, HEADS, len(places), width // HEADS)
    said = torch.empty(len(places), dtype=torch.int64)

    def attend(place: int, layer: int, joined: Any) -> Any:
        q, *now = joined.view(3, HEADS, 1, -1)
        cache = caches[layer]
        cache[0, :, place], cache[1, :, place] = (part[:, 0] for part in now)
        keys, values = cache[:, None, :, : place + 1]
        return functional.scaled_dot_product_attention(q[None], keys, values).view(1, -1)

    for place, vector in enumerate(places):
        said[place] = scores(F, x + vector, parameters, partial(attend, place)).argmax()
        x = words[said[place], None]
    return said


F = SimpleNamespace(
    dense=functional.linear,
    relu=torch.relu,
    dot=torch.matmul,
    exp=torch.exp,
    tanh=torch.tanh,
    sigmoid=torch.sigmoid,
    softmax=lambda x: torch.softmax(x, -1),
    gelu=functional.gelu,
    layer_norm=lambda x, gain, shift: functional.layer_norm(x, gain.shape, gain, shift),
    halved=halved,
    sum=torch.sum,
    flat=lambda x: x.flatten(1),
    convolution=lambda x, weight, bias, padding, stride=1, groups=1: functional.conv2d(
        x, weight, bias, stride, padding, 1, groups
    ),
    batch_norm=lambda x, gain, shift, mean, variance: functional.batch_norm(x, mean, variance, gain, shift),
    relu6=functional.relu6,
    max_pool=lambda x: functional.max_pool2d(x, 2),
    wide_pool=lambda x: functional.max_pool2d(x, 3, 2, 1),
    mean_of_channels=lambda x: x.mean((2, 3)),
    lstm=partial(recurrent, torch._VF.lstm, 2),
    gru=partial(recurrent, torch._VF.gru, 1),
    attention=attention,
    decoded=decoded,
)


class Module(torch.nn.Module):
    """A net as a module with frozen parameters."""

    def __init__(self, forward: Callable[..., Any], parameters: list[Any]) -> None:
        super().__init__()
        self.formula = forward
        self.weights = torch.nn.ParameterList(torch.nn.Parameter(p, requires_grad=False) for p in parameters)

    def forward(self, x: Any) -> Any:
        return self.formula(F, x, *self.weights)


def build(net: Net, threads: int) -> list[Way]:
    torch.set_num_threads(threads)
    torch.inference_mode().__enter__()  # for the rest of this process
    x, parameters = (torch.from_numpy(net.draw()[0]), [torch.from_numpy(p) for p in net.draw()[1]])

    def call(x: Any) -> Any:
        return net.forward(F, x, *parameters)

    return ways_of(call, x)


def ways_of(call: Callable[..., Any], x: Any) -> list[Way]:
    """With a tensor, and with the array of NumPy that it lies in."""
    scope = {"call": call, "x": x.numpy(), "tensor": torch.from_numpy}
    return [Way("call(x)", {"call": call, "x": x}), Way("call(tensor(x)).numpy()", scope, arrays="numpy")]


def train(training: Training, threads: int) -> list[Step]:
    """The optimizers of ``torch.optim``, one operator for all parameters (``foreach``) or one kernel (``fused``)."""
    torch.set_num_threads(threads)
    return [_step(training, {"foreach": True}), _step(training, {"fused": True})]


def _step(training: Training, options: dict[str, bool]) -> Step:
    x, labels, drawn = training.draw()
    parameters = [torch.nn.Parameter(torch.from_numpy(p.copy())) for p in drawn]
    optimizer = (
        torch.optim.SGD(parameters, training.rate, MOMENTUM, **options)
        if training.optimizer == "sgd"
        else torch.optim.Adam(parameters, training.rate, (BETA1, BETA2), EPSILON, **options)
    )

    def step(x: Any, labels: Any) -> Any:
        optimizer.zero_grad()
        scores = training.forward(F, torch.from_numpy(x), *parameters)
        loss = functional.cross_entropy(scores, torch.from_numpy(labels))
        loss.backward()
        optimizer.step()
        return loss

    return Step(
        "step(x, y)",
        {"step": step, "x": x, "y": labels},
        lambda loss: loss.detach().numpy(),
        parameters=lambda: [p.detach().numpy().copy() for p in parameters],
    )
