"""Arrays: importing this package attaches all methods of ``ndarray`` and installs the eager interpreter."""

from blockfuse.array import eager, methods, np, npx, protocols
from blockfuse.array.ndarray import ndarray

__all__ = ["eager", "methods", "ndarray", "np", "npx", "protocols"]
