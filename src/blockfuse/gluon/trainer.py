"""Gluon's ``gluon.trainer``."""

from blockfuse.nn.trainer import Trainer

__all__ = ["Trainer"]
