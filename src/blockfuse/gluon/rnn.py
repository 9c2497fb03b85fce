"""Gluon's ``gluon.rnn``: recurrent layers and cells."""

import sys

from blockfuse.nn import recurrent
from blockfuse.nn.recurrent import *

sys.modules[__name__] = recurrent
