"""Nets that were frozen: loaded and run without a compiler, and without the rest of the package.

``blockfuse.freeze(net, path)`` writes such a file; ``frozen.load(path)`` is all that a service needs of it.
"""

from blockfuse.frozen.frozen_net import FrozenNet
from blockfuse.frozen.loading import load

__all__ = ["FrozenNet", "load"]
