"""Gluon's ``gluon.block``."""

from blockfuse.nn.block import Block, HybridBlock

__all__ = ["Block", "HybridBlock"]
