"""What frontends tell the tracer of another library: whose objects stand for arrays of ours, and what is known of its code.

NOTE [another library's arrays]
While a call is recorded, the code of another library may pass its own objects around, each of which stands for one of our
arrays. A frontend that makes them registers a ``ForeignLibrary`` here when it is loaded; nothing of the library is imported
before. Its definitions stay as they are (as NumPy's do), and functions of C among ``functions`` count as known, because the
frontend sees each call of them.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from blockfuse.array.ndarray import ndarray


class Remembered(Protocol):
    """A fact about an object (``tracer/state/facts.py``)."""

    @property
    def text(self) -> str: ...

    def holds(self) -> bool: ...

    def condition(self, bind: Callable[[Any], str]) -> str: ...

    def comparisons(self) -> tuple[Any, ...]: ...


@dataclass(frozen=True)
class ForeignLibrary:
    """A library whose objects stand for arrays."""

    package: str  # its name
    folder: str  # where its files are, with a slash at the end
    is_known: Callable[
        [str, str], bool
    ]  # a file below the folder, a function in it -> whether it only computes
    functions: tuple[
        Any, ...
    ]  # functions of C that the frontend sees called, or that tell nothing that changes
    kinds: tuple[type, ...]  # types of C that are made, asked and compared without an effect
    opaque: tuple[type, ...]  # those whose instances never change
    arrays: tuple[type, ...]  # those whose instances stand for arrays
    array_of: Callable[[Any], ndarray | None]  # the array that such an instance stands for in this call
    unread: dict[
        type, frozenset[str]
    ]  # type -> attributes of instances that only matter to code which names them
    held: Callable[
        [Any, str], tuple[ndarray, Remembered]
    ]  # that of one that was there before the call, named so; raises TypeError or RuntimeError where there is none


def known_by(table: Mapping[str, tuple[str, ...]]) -> Callable[[str, str], bool]:
    """What ``ForeignLibrary.is_known`` asks of a table.

    table: the begin of a path -> the known functions there, all but those after "-" where there is no other.
    """

    def is_known(path: str, name: str) -> bool:
        rows = next((rows for begin, rows in table.items() if path.startswith(begin)), None)
        if rows is None:
            return False
        if all(row[0] == "-" for row in rows):
            return not any(name.startswith(row[1:]) for row in rows)
        return name in rows

    return is_known


_OF_C = (types.BuiltinFunctionType, types.MethodDescriptorType, types.MethodWrapperType)

LIBRARIES: dict[str, ForeignLibrary] = {}  # package -> library
HELD: dict[type, ForeignLibrary] = {}  # type of what stands for an array -> its library
_known: set[Any] = set()  # functions of C, which are made anew at each look-up and are equal then
KINDS: dict[int, type] = {}  # id of a known type of C -> itself
OPAQUE: list[type] = []
_unread: dict[type, frozenset[str]] = {}


def register(library: ForeignLibrary) -> None:
    """Let the tracer know ``library``."""
    LIBRARIES[library.package] = library
    HELD.update(dict.fromkeys(library.arrays, library))
    _known.update(library.functions)
    KINDS.update((id(kind), kind) for kind in library.kinds)
    _unread.update(library.unread)
    OPAQUE.extend(kind for kind in library.opaque if kind not in OPAQUE)


def leave_unread(kind: type, names: frozenset[str]) -> None:
    """Let attributes of instances of ``kind`` be no state for code which does not name them, besides what it inherits."""
    _unread[kind] = names | unread(kind)


def is_known(function: Any) -> bool:
    """Whether a function of C is one that a frontend knows."""
    return type(function) in _OF_C and function in _known


def unread(kind: type) -> frozenset[str]:
    """Attributes of instances of ``kind`` that are no state for code which does not name them."""
    return next((_unread[base] for base in kind.__mro__ if base in _unread), frozenset())


def standing_for(value: Any) -> Any:
    """The array of ours that ``value`` stands for in the call that is recorded, or ``value`` itself."""
    library = HELD.get(type(value))
    found = None if library is None else library.array_of(value)
    return value if found is None else found


def code_of_library(file: str) -> tuple[ForeignLibrary, str] | None:
    """The library that a source file belongs to, and the path of the file in it."""
    for library in LIBRARIES.values():
        if file.startswith(library.folder):
            return library, file[len(library.folder) :]
    return None


def packages() -> Iterable[str]:
    """The names of the libraries that are known."""
    return LIBRARIES
