"""Gluon's ``gluon.data.vision``."""

from blockfuse.gluon.data.vision import transforms as transforms
from blockfuse.nn.data.vision import *
