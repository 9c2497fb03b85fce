"""The options of ``hybridize``, read once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from blockfuse.ir.errors import UsageError
from blockfuse.runtime.audit.audit import checked_fraction
from blockfuse.runtime.programs import backend as backends
from blockfuse.runtime.programs.backend import Backend

OPTIONS = ("backend", "threads", "precision", "audit", "check")


@dataclass(frozen=True)
class Options:
    """What a user chose, or the defaults."""

    backend: Callable[[], Backend]  # asked at each program: the environment may have changed
    # the same for what keeps weights as they are: steps of training, and what surrounds uses of values in Python
    exact: Callable[[], Backend]
    precision: str  # of float32 products in whole programs
    audit: float  # fraction of the compiled calls that are run again eagerly
    check: bool  # whether a program must give the eager result once before it serves calls

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        """Raises UsageError for a value that an option cannot have, CudaError for a device that is not there."""
        chosen = given.get("backend", "auto"), given.get("threads"), given.get("precision", "float32")
        backends.check(*chosen)
        check = given.get("check", True)
        if type(check) is not bool:
            raise UsageError(f"check is {check!r}; it must be True or False")
        name, threads, precision = chosen
        exact = partial(backends.backend, name, threads, precision if name == "cuda" else "float32")
        return cls(
            partial(backends.backend, *chosen),
            exact,
            precision,
            checked_fraction(given.get("audit", 0)),
            check,
        )
