"""Gluon's ``gluon.loss``: the module ``blockfuse.loss`` itself, under its other name."""

import sys

from blockfuse.nn import losses
from blockfuse.nn.losses import *

sys.modules[__name__] = losses
