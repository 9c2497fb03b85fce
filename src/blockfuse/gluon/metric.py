"""Gluon's ``gluon.metric``."""

from blockfuse.nn.metrics import *
