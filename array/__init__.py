"""Arrays: importing this package attaches all methods of ``ndarray`` and installs the eager interpreter."""

from blockfuse.array import arithmetic, array_api, eager, forms, methods, np, npx, protocols
from blockfuse.array.ndarray import ndarray

__all__ = ["arithmetic", "array_api", "eager", "forms", "methods", "ndarray", "np", "npx", "protocols"]
