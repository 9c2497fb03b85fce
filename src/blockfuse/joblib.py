"""``blockfuse.joblib``: nets in tasks of joblib's workers."""

from blockfuse.frontends.carried import carried

__all__ = ["carried"]
