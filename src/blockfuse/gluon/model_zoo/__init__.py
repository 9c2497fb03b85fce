"""Gluon's ``gluon.model_zoo``."""

from blockfuse.gluon.model_zoo import vision
from blockfuse.nn.model_zoo.models import get_model

__all__ = ["get_model", "vision"]
