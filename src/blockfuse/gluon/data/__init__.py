"""Gluon's ``gluon.data``."""

from blockfuse.gluon.data import batchify as batchify
from blockfuse.gluon.data import vision as vision
from blockfuse.nn.data import *
