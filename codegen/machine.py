"""What a scheduler must know of the machine, and nothing more."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """vector_bytes: width of a vector. accumulators: vector registers that a product tile may fill. features: the
    instruction sets, as LLVM names them, for the cache key. threads: how many a launch may use. stream_bytes: from what
    size on a result is written past the caches (0: never).
    """

    vector_bytes: int
    accumulators: int
    features: str
    threads: int = 1
    name: str = ""
    stream_bytes: int = 0

    def lanes(self, itemsize: int) -> int:
        return self.vector_bytes // itemsize
