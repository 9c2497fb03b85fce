"""Neural-network blocks in plain Python, traced into graphs and fused into native CPU kernels."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from blockfuse import gluon, nn
from blockfuse.array import autograd, np, npx
from blockfuse.ir import hints
from blockfuse.ir.errors import CompilerWarning, MixedDtypesWarning
from blockfuse.nn import initializers as init
from blockfuse.nn import losses as loss
from blockfuse.nn import optimizers as optimizer
from blockfuse.nn.checkpoint import load_checkpoint, save_checkpoint
from blockfuse.nn.optimizers import schedulers as lr_scheduler
from blockfuse.nn.parameter import Constant, Parameter
from blockfuse.nn.train_step import train_step
from blockfuse.nn.trainer import Trainer
from blockfuse.runtime.calls.function import hybridize

if TYPE_CHECKING:
    from blockfuse import image, metric
    from blockfuse.frontends.compiling import compile, missing, to_onnx
    from blockfuse.runtime.cli.in_python import compare, show

__version__ = "0.1.0"

__all__ = [
    "CompilerWarning",
    "Constant",
    "MixedDtypesWarning",
    "Parameter",
    "Trainer",
    "autograd",
    "compare",
    "compile",
    "gluon",
    "hybridize",
    "image",
    "init",
    "load_checkpoint",
    "loss",
    "lr_scheduler",
    "metric",
    "missing",
    "nn",
    "np",
    "npx",
    "optimizer",
    "save_checkpoint",
    "show",
    "to_onnx",
    "train_step",
]


def __getattr__(name: str) -> Any:
    if name in ("image", "metric", "torch"):  # loaded when somebody asks for it, as `gluon` loads its own
        return import_module(f"blockfuse.{name}")
    if name in ("compile", "missing", "to_onnx"):
        return getattr(import_module("blockfuse.frontends.compiling"), name)
    if name in ("compare", "show"):
        return getattr(import_module("blockfuse.runtime.cli.in_python"), name)
    raise hints.no_attribute(sys.modules[__name__], name, hints.PACKAGE)
