"""Gluon's ``gluon.data.batchify``."""

from blockfuse.nn.data.batchify import *
