"""Where compiled code is kept between processes, and under which key."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Protocol


class Store(Protocol):
    """Code under the hash of everything that it depends on."""

    def get(self, key: str) -> bytes | None:
        """What was put under ``key``, or None."""

    def put(self, key: str, code: bytes) -> None:
        """Keep ``code``."""


def kept(store: Store, parts: Iterable[str], make: Callable[[], bytes]) -> bytes:
    """The code that depends on nothing but ``parts``: from the store, or made and put there."""
    key = key_of(parts)
    code = store.get(key)
    if code is None:
        code = make()
        store.put(key, code)
    return code


def key_of(parts: Iterable[str]) -> str:
    """Under which code is kept that depends on nothing but ``parts``."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@lru_cache
def generator_version(backend: str, folder: Path = Path(__file__).parent) -> str:
    """Changes with any file of the code generator but those of other backends than the one of this name."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        within = path.relative_to(folder)
        if within.parts[0] not in _BACKENDS or within.parts[0] == backend:
            digest.update(str(within).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


_BACKENDS = ("cpu", "cuda")  # folders; what one lets another make is kept under the version of that one
