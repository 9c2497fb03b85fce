"""PyTorch's compiler ahead of time (AOTInductor): a shared object with the weights, loaded and run without Dynamo."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from benchmarks.contender import UnsupportedNetError, Way
from benchmarks.contenders.torch import Module, ways_of
from benchmarks.nets import Net


def build(net: Net, threads: int) -> list[Way]:
    """Its runner takes a list of tensors; ``boxed_run`` is the shortest way into it."""
    torch.set_num_threads(threads)
    torch._inductor.config.freezing = True
    torch.no_grad().__enter__()  # for the rest of this process; freezing asks for it
    x, parameters = net.draw()
    module = Module(net.forward, [torch.from_numpy(p) for p in parameters]).eval()
    try:
        exported = torch.export.export(module, (torch.from_numpy(x),))
    except Exception as error:
        raise UnsupportedNetError(f"torch.export: {str(error).splitlines()[0][:120]}") from error
    folder = Path(tempfile.mkdtemp(prefix="aot-"))
    package = torch._inductor.aoti_compile_and_package(exported, package_path=str(folder / "net.pt2"))
    run = torch._inductor.aoti_load_package(package).loader.boxed_run
    return ways_of(lambda x: run([x])[0], torch.from_numpy(x))
