"""What functions declare of the sizes of arrays (NOTE [sizes that Python saw], ``tracer/certificate/sizes.py``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

TELLING: set[CodeType] = set()  # of functions that tell their caller a size
AGNOSTIC: set[CodeType] = set()  # of functions that may look at one, with what is defined in them


def tells_size(function: F) -> F:
    """Declare that who calls this learns the size of an array."""
    TELLING.add(function.__code__)
    return function


def size_agnostic(function: F) -> F:
    """Declare that whatever this function asks of sizes, its operators do not depend on the answer.

    For all sizes of a batch from 2 on it gives the same operators with the same attributes, but for leading sizes in
    ``shape`` and for ``Extent``.
    """
    AGNOSTIC.update(_nested(function.__code__))
    return function


def _nested(code: CodeType) -> Iterator[CodeType]:
    """A comprehension may have a frame of its own."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)
