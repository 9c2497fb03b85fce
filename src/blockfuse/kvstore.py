"""``blockfuse.kvstore``: workers that train one net together."""

from blockfuse.nn.kvstore import KVStore, create

__all__ = ["KVStore", "create"]
