"""What turns gradients into new weights: ``from blockfuse import optimizer``."""

from blockfuse.nn.optimizers.adam import LAMB, AdaBelief, Adam, Adamax, AdamW, Nadam
from blockfuse.nn.optimizers.adaptive import AdaDelta, AdaGrad, RMSProp
from blockfuse.nn.optimizers.descent import LARS, NAG, SGD, Signum
from blockfuse.nn.optimizers.leader import FTML, Ftrl
from blockfuse.nn.optimizers.optimizer import Hyper, Optimizer, create, register
from blockfuse.nn.optimizers.updater import Updater, get_updater

__all__ = [
    "FTML",
    "LAMB",
    "LARS",
    "NAG",
    "SGD",
    "AdaBelief",
    "AdaDelta",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Hyper",
    "Nadam",
    "Optimizer",
    "RMSProp",
    "Signum",
    "Updater",
    "create",
    "get_updater",
    "register",
]
