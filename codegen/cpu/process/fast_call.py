"""Calls of a known form without dispatch: native code takes the arguments apart and asks the entry, which takes arrays.

NOTE [forms of calls]
An entry takes arrays by position. For keywords, containers and numbers there is one more built-in function beside it, of
``(args, kwargs)`` as a type's call slot has them. One function, compiled once for all programs, walks a table of the parts
that the call must have (``ir/argument_parts.py``), in the order in which they stand, with what is still to be looked at on a
stack. Arrays go to the entry as they come; numbers among them become arrays of the program by a function of Python's
(``convert``, of all values that are no arrays). As the entry it answers NotImplemented where it cannot tell; dispatch then
looks closer.

Arrays that a caller brings for results (``out=``) go to the entry behind all others, and behind them a mark, where nobody
must be told of a write to them (``outs_ir.py``). The answer is then what the caller gave as ``out``.

Nothing here runs the user's code before all is looked at, so what containers hold stays what it was. The arrays are held
until the entry has given its answer: another thread may empty a list meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.codegen.cpu.native import engine
from blockfuse.codegen.cpu.process import cpython
from blockfuse.codegen.cpu.process.fast_call_ir import END, NUMBERS, WORDS
from blockfuse.codegen.cpu.process.for_good import only_one
from blockfuse.codegen.cpu.process.outs_ir import OUT_HEADER
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.ir.argument_parts import Part
from blockfuse.ir.written import Registries


@dataclass(frozen=True)
class OutsTold:
    """What native code knows of arrays that a caller brings for results."""

    mark: Any  # the last argument of an entry that is given some; no user has it
    registries: Registries
    wrapper: type  # of our arrays

    def words(self) -> list[int]:
        """Those of ``OUT_HEADER``."""
        known = self.registries
        told = (known.readers, known.reader, known.memories, known.watched, known.tell)
        objects = self.mark, *told, self.wrapper
        return [*map(id, objects), *(cpython.slot_offset(self.wrapper, s) for s in ("_data", "_history"))]


class FastCalls:
    """The function in memory. It stays for good: built-in functions point to it."""

    def __init__(self, code: bytes, machine: Machine) -> None:
        loaded = engine.load(code, machine)
        WORDS.fill(loaded)
        self._loaded = loaded
        self._definition = cpython.MethodDef(
            b"fast_call", loaded.address("fast_call"), cpython.METH_FASTCALL, None
        )

    def fast_call(
        self,
        parts: Sequence[Part],
        named: bool,
        entry: Any,
        convert: Any | None,
        made: int,
        outs: OutsTold | None,
    ) -> Callable[[Any, Any], Any]:
        """A function of ``(args, kwargs)`` that asks ``entry`` with the arrays in them, and behind these with what
        ``convert`` makes of the values: ``made`` arrays, or None where it cannot.

        parts: those of the tuple of positional arguments; named: behind them those of the keywords. outs: where some parts
        take results, which the entry is given behind everything else.
        """
        told = [0] * len(OUT_HEADER) if outs is None else outs.words()
        header = id(entry), 0 if convert is None else id(convert), made, len(parts) + 1, int(named), *told
        words = [*header, *(word for part in parts for word in _words_of(part)), END]
        objects = [known for part in parts for known in (part.type, *part.known)]
        table = numpy.array(words, numpy.int64), entry, convert, outs, *objects
        return cpython.builtin(self._definition, table)  # type: ignore[no-any-return]


def _words_of(part: Part) -> list[int]:
    type = 0 if part.type is None else id(part.type)
    return [NUMBERS[part.kind], type, part.count, len(part.known), *map(id, part.known)]


def fast_calls(code: Callable[[], bytes], machine: Machine) -> FastCalls:
    """The ones of this process; made at first use."""
    return only_one(FastCalls, lambda: FastCalls(code(), machine))
