"""Neural-network blocks in plain Python, traced into graphs and fused into native CPU kernels."""

from blockfuse import gluon, metric, nn
from blockfuse.array import autograd, np, npx
from blockfuse.ir.errors import CompilerWarning, MixedDtypesWarning
from blockfuse.nn import initializers as init
from blockfuse.nn import losses as loss
from blockfuse.nn import optimizers as optimizer
from blockfuse.nn.optimizers import schedulers as lr_scheduler
from blockfuse.nn.parameter import Constant, Parameter
from blockfuse.nn.trainer import Trainer
from blockfuse.runtime.calls.function import hybridize

__version__ = "0.1.0"

__all__ = [
    "CompilerWarning",
    "Constant",
    "MixedDtypesWarning",
    "Parameter",
    "Trainer",
    "autograd",
    "gluon",
    "hybridize",
    "init",
    "loss",
    "lr_scheduler",
    "metric",
    "nn",
    "np",
    "npx",
    "optimizer",
]
