"""All that ``import blockfuse`` offers but for what is loaded by itself; loaded when somebody asks for the first of it."""

import blockfuse.gluon as gluon
import blockfuse.nn as nn
from blockfuse.array import autograd, np, npx
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
    "load_checkpoint",
    "loss",
    "lr_scheduler",
    "nn",
    "np",
    "npx",
    "optimizer",
    "save_checkpoint",
    "train_step",
]
