"""The entry of a program that writes to memory which others know, with everyone told, in native code.

NOTE [telling of writes]
Whoever will read memory for operators that were called already must read it before it is written, and whoever rests on it
must be told (NOTE [changes under way] in ``array.stamps``). Mostly nobody has to do anything but to count the writes, and to
find that out in Python took a quarter of a small step of training. Native code looks at the same sets and dicts
(``ir/written.py``); where there is more to do, it leaves the whole call to a function of Python's, ``by_python``, which does
it all. Nothing runs Python between that look and the entry; a long entry lets other threads run, which may begin to watch:
they are told when it has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.codegen.cpu.native import engine
from blockfuse.codegen.cpu.process import cpython
from blockfuse.codegen.cpu.process.for_good import only_one
from blockfuse.codegen.cpu.process.writing_entry_ir import HEADER, OFFSETS, WORDS
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.ir.written import Written


class WritingEntry:
    """The entry of one program."""

    def __init__(self, definition: Any, words: dict[str, int], holds: tuple[Any, ...]) -> None:
        """words: those of the header that stay. holds: what they are addresses of."""
        self._words, self._holds = words, holds
        self._holder: list[Any] = [None]
        self.call = cpython.builtin(definition, self._holder)

    def bind(self, written: Written) -> None:
        """Calls write there from now on; comes before the first of them."""
        words = {
            **self._words,
            "readers": id(written.readers),
            "reader": id(written.reader),
            "memories": id(written.memories),
            "nothing": id(written.nothing),
            "count": len(written.keys),
            **_offsets(written),
        }
        pairs = zip(written.keys, written.watchers, strict=True)
        numbers = [words[name] for name in HEADER]
        numbers += [id(part) for pair in pairs for part in pair]
        self._holder[0] = numpy.array(numbers, numpy.int64), written, *written.keys, *self._holds


def _offsets(written: Written) -> dict[str, int]:
    names = dict(zip(OFFSETS, ("needed", "_whole", "part", "version"), strict=False))
    offsets = {word: cpython.slot_offset(written.memory, slot) for word, slot in names.items()}
    offsets |= {
        name: cpython.slot_offset(type(written.watchers[0]), f"_{name}") for name in ("told", "latest")
    }
    return {**offsets, "variable": cpython.slot_offset(written.node, "variable")}


class WritingEntries:
    """The function in memory. It stays for good: built-in functions point to it."""

    def __init__(self, code: bytes, machine: Machine) -> None:
        loaded = engine.load(code, machine)
        WORDS.fill(loaded)
        self._loaded = loaded
        self._definition = cpython.MethodDef(
            b"writing_entry", loaded.address("call"), cpython.METH_FASTCALL, None
        )

    def entry(
        self,
        entry: Any,
        valid: int,
        commits: int,
        by_python: Callable[..., Any],
        tell: Callable[[], None],
    ) -> WritingEntry:
        """valid, commits: addresses of words. tell: tells all watchers that the memory was written."""
        words = {"valid": valid, "commits": commits, "entry": id(entry)}
        words |= {"by_python": id(by_python), "tell": id(tell)}
        return WritingEntry(self._definition, words, (entry, by_python, tell))


def writing_entries(code: Callable[[], bytes], machine: Machine) -> WritingEntries:
    """The ones of this process; made at first use."""
    return only_one(WritingEntries, lambda: WritingEntries(code(), machine))
