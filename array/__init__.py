"""Arrays: importing this package attaches the methods and protocols of ``ndarray`` and starts the eager interpreter."""

from blockfuse.array import eager, methods, np, npx, protocols
from blockfuse.array.ndarray import ndarray

__all__ = ["eager", "methods", "ndarray", "np", "npx", "protocols"]
