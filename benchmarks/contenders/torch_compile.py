"""PyTorch's compiler (Inductor) with its freezing of weights switched on."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from benchmarks.contender import UnsupportedNetError, Way
from benchmarks.contenders.torch import F, Module, ways_of
from benchmarks.nets import Net
from benchmarks.sequence_nets import greedy, gru, lstm
from benchmarks.training import Step, Training, adam, sgd


def build(net: Net, threads: int) -> list[Way]:
    if net.forward in (lstm, gru, greedy):
        raise UnsupportedNetError("it writes out loops over time, for minutes")
    torch.set_num_threads(threads)
    torch._inductor.config.freezing = True
    torch._dynamo.reset()  # the nets before this one count against its limit of recompilations
    torch.no_grad().__enter__()  # for the rest of this process; freezing asks for it
    x, parameters = net.draw()
    module = Module(net.forward, [torch.from_numpy(p) for p in parameters]).eval()
    return ways_of(torch.compile(module), torch.from_numpy(x))


def train(training: Training, threads: int) -> list[Step]:
    """The whole step as one graph: ``torch.func.grad_and_value``, then the formulas of the optimizer, written in place."""
    torch.set_num_threads(threads)
    torch._inductor.config.freezing = False
    torch._dynamo.reset()
    x, labels, drawn = training.draw()
    parameters = [torch.from_numpy(p.copy()) for p in drawn]
    states = [torch.zeros_like(p) for p in parameters * (2 if training.optimizer == "adam" else 1)]
    count = torch.zeros(())

    def loss_of(parameters: list[Any], x: Any, labels: Any) -> Any:
        return functional.cross_entropy(training.forward(F, x, *parameters), labels)

    @torch.compile(fullgraph=True)
    def compiled(x: Any, labels: Any) -> Any:
        grads, loss = torch.func.grad_and_value(loss_of)(parameters, x, labels)
        count.add_(1)
        new, new_states = (
            sgd(training.rate, parameters, grads, states)
            if training.optimizer == "sgd"
            else adam(training.rate, parameters, grads, states, count, torch.sqrt)
        )
        for old, value in zip((*parameters, *states), (*new, *new_states), strict=True):
            old.copy_(value)
        return loss

    def step(x: Any, labels: Any) -> Any:
        return compiled(torch.from_numpy(x), torch.from_numpy(labels))

    return [
        Step(
            "step(x, y)",
            {"step": step, "x": x, "y": labels},
            parameters=lambda: [p.numpy().copy() for p in parameters],
        )
    ]
