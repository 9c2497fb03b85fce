"""Gluon's ``gluon.data.vision.transforms``."""

from blockfuse.nn.data.vision.transforms import *
