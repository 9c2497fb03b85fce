"""Whether dicts changed since they were looked at, in one word each.

NOTE [versions of dicts]
CPython 3.11 and 3.12 give a dict another ``ma_version_tag`` with each change (PEP 509). So a table of comparisons
(NOTE [native guards]) lists the dicts that some are of, each with the version that it had when all of these held: where
every version is the same, they hold. A module of torch has eight dicts and twenty facts about them. Comparisons of dicts
with other keys than text are made each time: such a look-up may run the user's code, which Python would run, too.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from llvmlite import ir

from blockfuse.codegen.values.emitter import I8, I64, Emitter, Words

# fields of PyDictObject, and of the PyDictKeysObject that it points to
_VERSION, _KEYS, _KIND = 24, 32, 10
_GENERAL = 0  # the kind of keys that are not all text
_WITH_VERSIONS = ((3, 11), (3, 12))
# words before the dicts: how many there are, whether their comparisons hold for these versions, and how many bytes behind
# the first word the comparisons begin: those made each time, and those of the dicts
_HEADER = ("count", "known", "always", "of_dicts")
_DICT_WORDS = 2  # a dict's address and version


class Versions:
    """Writes the part of ``holds`` that looks at the versions of dicts."""

    def __init__(self, emit: Emitter, table: ir.Value) -> None:
        self._emit, self._table = emit, table
        self._header = Words(emit, table, _HEADER)
        self._may_know = emit.local(I64)  # whether only text is looked up

    def look(self) -> None:
        """Take down the versions, and forget what held for others."""
        emit = self._emit
        emit.put(self._may_know, 0, 1)
        first = emit.at(self._table, len(_HEADER))
        with emit.counted(0, self._header.get("count")) as number:
            entry = emit.at(first, emit.times(number, _DICT_WORDS))
            holder = emit.pointer(emit.word(entry, 0))
            version = emit.field(holder, _VERSION)
            with emit.builder.if_then(emit.is_("!=", version, emit.word(entry, 1)), likely=False):
                emit.put(entry, 1, version)
                self._header.put("known", 0)
            self._look_at_keys(holder)

    def _look_at_keys(self, holder: ir.Value) -> None:
        """Only where something is to be compared."""
        emit, unknown = self._emit, self._emit.builder.not_(self.are_known())
        with emit.builder.if_then(unknown, likely=False):
            keys = emit.pointer(emit.field(holder, _KEYS))
            kind = emit.builder.load(emit.at(keys, _KIND, I8), typ=I8)
            with emit.builder.if_then(emit.is_("==", kind, _GENERAL)):
                emit.put(self._may_know, 0, 0)

    def are_known(self) -> ir.Value:
        """Whether the comparisons of dicts hold for the versions that were taken down."""
        return self._emit.is_("!=", self._header.get("known"), 0)

    def know(self) -> None:
        """They hold."""
        self._header.put("known", self._emit.word(self._may_know, 0))

    def first(self, name: str) -> ir.Value:
        """The address of the first of the comparisons that are made ``always``, or that are ``of_dicts``."""
        return self._emit.builder.add(self._emit.address(self._table), self._header.get(name))


def version_words(dicts: Sequence[Any], always: Sequence[int], of_dicts: Sequence[int]) -> list[int]:
    """A table: the dicts, whose comparisons have not been made yet, and the words of both kinds of comparisons."""
    entries = [word for one in dicts for word in (id(one), 0)]
    begin = 8 * (len(_HEADER) + len(entries))
    return [len(dicts), 0, begin, begin + 8 * len(always), *entries, *always, *of_dicts]


@lru_cache
def has_versions() -> bool:
    """Whether dicts of this interpreter have versions where they are looked for, and change them at each change."""
    if sys.version_info[:2] not in _WITH_VERSIONS:
        return False
    holder = {"key": 0}
    return _are_changed(holder, lambda: holder.update(key=1)) and _is_seen_by_attributes() and _knows_kinds()


def _is_seen_by_attributes() -> bool:
    """Also where the interpreter has made storing an attribute quick."""

    class One:
        value: object = None

    one = One()
    own = vars(one)

    def store() -> None:
        one.value = object()

    return all(_are_changed(own, store) for _ in range(64)) and not _are_changed(
        own, lambda: own.get("value")
    )


def _knows_kinds() -> bool:
    return _kind({"key": 1}) != _GENERAL == _kind({1: 1})


def _are_changed(holder: dict[Any, Any], act: Any) -> bool:
    before = _word(id(holder) + _VERSION)
    act()
    return before != _word(id(holder) + _VERSION)


def _kind(holder: dict[Any, Any]) -> int:
    return ctypes.c_uint8.from_address(_word(id(holder) + _KEYS) + _KIND).value


def _word(address: int) -> int:
    return ctypes.c_int64.from_address(address).value
