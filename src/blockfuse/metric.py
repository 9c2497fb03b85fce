"""Gluon's ``metric``, as it was called before it moved into ``gluon``."""

from blockfuse.nn.metrics import *
