"""Gluon's ``gluon.block``."""

from blockfuse.nn.block import Block, HybridBlock
from blockfuse.nn.symbol_block import SymbolBlock

__all__ = ["Block", "HybridBlock", "SymbolBlock"]
