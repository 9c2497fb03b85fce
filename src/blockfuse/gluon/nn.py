"""Gluon's ``gluon.nn``: the module ``blockfuse.nn`` itself, under its other name."""

import sys

import blockfuse.nn as nn
from blockfuse.nn import *

sys.modules[__name__] = nn
