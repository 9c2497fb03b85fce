"""Gluon's ``gluon.nn``: the module ``blockfuse.nn`` itself, under its other name."""

import sys

from blockfuse import nn
from blockfuse.nn import *

sys.modules[__name__] = nn
