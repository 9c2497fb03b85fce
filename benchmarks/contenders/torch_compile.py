"""PyTorch's compiler (Inductor) with its freezing of weights switched on."""

from __future__ import annotations

import torch

from benchmarks.contender import Way
from benchmarks.contenders.torch import Module
from benchmarks.nets import Net


def build(net: Net, threads: int) -> list[Way]:
    torch.set_num_threads(threads)
    torch._inductor.config.freezing = True
    torch._dynamo.reset()  # the nets before this one count against its limit of recompilations
    torch.no_grad().__enter__()  # for the rest of this process; freezing asks for it
    x, parameters = net.draw()
    module = Module(net.forward, [torch.from_numpy(p) for p in parameters]).eval()
    return [Way("call(x)", {"call": torch.compile(module), "x": torch.from_numpy(x)})]
