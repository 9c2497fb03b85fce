"""blockfuse under a module of torch: ``module(x)`` with torch's tensors, weights read where torch keeps them."""

from __future__ import annotations

from typing import Any

import torch

import blockfuse
from benchmarks.contender import Way
from benchmarks.contenders.torch import Module
from benchmarks.nets import Net


def build(net: Net, threads: int) -> list[Way]:
    torch.set_num_threads(threads)
    torch.no_grad().__enter__()  # for the rest of this process
    x, parameters = net.draw()
    module = Module(net.forward, [torch.from_numpy(p) for p in parameters]).eval()
    compiled: Any = blockfuse.torch.install(module, threads=threads)

    def complaint() -> str:
        said = str(compiled.explain())
        return "" if ": compiled" in said else said

    return [Way("call(x)", {"call": module, "x": torch.from_numpy(x)}, complaint=complaint)]
