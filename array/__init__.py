"""Arrays: importing this package attaches all methods of ``ndarray`` and installs the eager interpreter."""

from blockfuse.array import arithmetic, eager, forms, methods, np, npx, protocols
from blockfuse.array.ndarray import ndarray

__all__ = ["arithmetic", "eager", "forms", "methods", "ndarray", "np", "npx", "protocols"]
