"""Where compiled code is kept between processes."""

from __future__ import annotations

from typing import Protocol


class Store(Protocol):
    """Code under the hash of everything that it depends on."""

    def get(self, key: str) -> bytes | None:
        """What was put under ``key``, or None."""

    def put(self, key: str, code: bytes) -> None:
        """Keep ``code``."""
