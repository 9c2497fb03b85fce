"""Native comparisons of Python objects: whether all that a program rests on is what it was, in one call.

NOTE [native guards]
Comparing one attribute costs Python 60 ns, and all items of a dict 1 us; a step of training rests on dozens of
comparisons. One function, compiled once for all programs, walks a table of them: for each its aspect, the object, and what
that must hold (``ir/comparisons.py``). It asks functions of CPython's C API, none of which runs the user's code but where
Python's own look-up of a key would: ``__eq__`` of another key of the same hash. What that raises is a no, unless it is no
``Exception``, such as KeyboardInterrupt, which goes on. A table is a tuple of its words and of all objects in it: it keeps
them alive, and the collector of cycles sees them.

Comparisons of dicts are made where one of these changed (``dict_versions.py``), the others in each call.

A comparison that says no when the table is made stays with Python: such as one of an object that keeps its ``__dict__``
elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from llvmlite import ir

from blockfuse.codegen.cpu.native import engine
from blockfuse.codegen.cpu.process import cpython
from blockfuse.codegen.cpu.process.api_words import ApiWords
from blockfuse.codegen.cpu.process.dict_versions import Versions, has_versions, version_words
from blockfuse.codegen.cpu.process.for_good import only_one
from blockfuse.codegen.cpu.process.records import each_record
from blockfuse.codegen.cpu.process.tensor_fields import compare_place
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.values.emitter import I32, I64, NULL, POINTER, VOID, Emitter, constant
from blockfuse.ir.comparisons import Aspect, Comparison

_WORDS = ApiWords(
    functions={
        "get_item": "PyDict_GetItemWithError",
        "contains": "PyDict_Contains",
        "dict_size": "PyDict_Size",
        "next": "PyDict_Next",
        "list_size": "PyList_Size",
        "element": "PyList_GetItem",
        "set_size": "PySet_Size",
        "cell": "PyCell_Get",
        "dict": "PyObject_GenericGetDict",
        "code": "PyFunction_GetCode",
        "defaults": "PyFunction_GetDefaults",
        "keyword_defaults": "PyFunction_GetKwDefaults",
        "incref": "Py_IncRef",
        "decref": "Py_DecRef",
        "error": "PyErr_Occurred",
        "is_error": "PyErr_ExceptionMatches",
        "clear_error": "PyErr_Clear",
    },
    objects={"none": None, "true": True, "false": False, "exception": Exception},
)
HOLDS, FAILS, RAISES = 1, 0, -1  # answers of ``holds``
# words of a comparison; the last ones are as many as the third says
_, _HOLDER, _COUNT, _PARTS = range(4)


def guard_check_ir() -> str:
    """LLVM IR of ``holds(table)``, which answers ``HOLDS``, ``FAILS`` or ``RAISES``, and of ``check``: METH_NOARGS."""
    module = ir.Module("guard_check")
    words = _WORDS.declared(module)
    holds = ir.Function(module, ir.FunctionType(I64, [POINTER]), "holds")
    _Holds(holds, words).build()
    _emit_check(module, words, holds)
    return str(module)


def _emit_check(module: ir.Module, table: ir.Value, holds: ir.Function) -> None:
    """``check(self, _)``: True, False, or what was raised. self: a table."""
    function = ir.Function(module, ir.FunctionType(POINTER, [POINTER, POINTER]), "check")
    emit = Emitter.of(function)
    words, answer = _WORDS.of(emit, table), emit.call(holds, function.args[0])
    with emit.builder.if_then(emit.is_("==", answer, RAISES)):
        emit.builder.ret(NULL)
    is_true = emit.is_("==", answer, HOLDS)
    result = emit.pointer(emit.builder.select(is_true, words.get("true"), words.get("false")))
    words.call("incref", VOID, result)
    emit.builder.ret(result)


class _Holds:
    """Writes ``holds``: loops over the comparisons, with a block for each aspect."""

    def __init__(self, function: ir.Function, words: ir.Value) -> None:
        self.emit = Emitter.of(function, "start")
        self.builder = self.emit.builder
        self.words = _WORDS.of(self.emit, words)
        self.failed, self.unknown = (self.emit.block(name) for name in ("failed", "unknown"))
        array = self.emit.pointer(self.emit.word(function.args[0], cpython.TUPLE_ITEMS))
        self.versions = Versions(self.emit, self.emit.pointer(self.emit.field(array, cpython.ARRAY_DATA)))

    def build(self) -> None:
        self.versions.look()
        self._compare("always", [a for a in _CASES if a not in _OF_DICTS] + [*_OF_DICTS])
        with self.builder.if_then(self.builder.not_(self.versions.are_known()), likely=False):
            self._compare("of_dicts", _OF_DICTS)
            self.versions.know()
        self.builder.ret(constant(HOLDS))
        self._write_exits()

    def _compare(self, name: str, aspects: Iterable[Aspect]) -> None:
        numbers = {aspect: _NUMBERS[aspect] for aspect in aspects}
        for aspect, record in each_record(self.emit, self.versions.first(name), numbers, _COUNT, _PARTS):
            self.record = record
            _CASES[aspect](self)

    def _write_exits(self) -> None:
        """``unknown``: the interpreter gave no object, and perhaps raised something."""
        emit, builder, words = self.emit, self.builder, self.words
        builder.position_at_end(self.unknown)
        emit.require(emit.builder.not_(emit.is_null(words.call("error", POINTER))), self.failed)
        is_error = emit.is_("!=", words.call("is_error", I32, words.pointer("exception")), 0)
        with builder.if_then(builder.not_(is_error)):
            builder.ret(constant(RAISES))
        words.call("clear_error", VOID)
        builder.branch(self.failed)
        builder.position_at_end(self.failed)
        builder.ret(constant(FAILS))

    # -- what the blocks are made of -----------------------------------------------------------------------------

    def holder(self) -> ir.Value:
        return self.emit.pointer(self.emit.word(self.record, _HOLDER))

    def part(self, number: ir.Value | int = 0) -> ir.Value:
        return self.emit.word(self.emit.at(self.record, _PARTS), number)

    def require_same(self, found: ir.Value, wanted: ir.Value) -> None:
        self.emit.require(self.emit.is_("==", found, wanted), self.failed)

    def require_found(self, found: ir.Value) -> ir.Value:
        """The address of an object that the interpreter gave."""
        self.emit.require(self.builder.not_(self.emit.is_null(found)), self.unknown)
        return self.emit.address(found)

    def require_count(self, size: str, each: int = 1) -> ir.Value:
        """The number of parts, where the holder has so many. size: the function that tells; each: parts of an item."""
        count = self.emit.word(self.record, _COUNT)
        self.require_same(self.emit.times(self.words.call(size, I64, self.holder()), each), count)
        return count

    # -- one for each aspect ---------------------------------------------------------------------------------------

    def item(self) -> None:
        found = self.words.call("get_item", POINTER, self.holder(), self.emit.pointer(self.part()))
        self.require_same(self.require_found(found), self.part(1))

    def missing(self) -> None:
        answer = self.words.call("contains", I32, self.holder(), self.emit.pointer(self.part()))
        self.emit.require(self.emit.is_(">=", answer, 0), self.unknown)
        self.emit.require(self.emit.is_("==", answer, 0), self.failed)

    def keys(self) -> None:
        self._walk(("key",))

    def pairs(self) -> None:
        self._walk(("key", "value"))

    def _walk(self, names: Sequence[str]) -> None:
        """Compare so much of each item of a dict. Nothing changes it meanwhile: no Python runs."""
        emit, holder = self.emit, self.holder()
        place, *found = (emit.local(I64) for _ in range(3))
        emit.put(place, 0, 0)
        with emit.counted(0, self.require_count("dict_size", len(names)), len(names)) as number:
            is_there = self.words.call("next", I32, holder, place, *found)
            emit.require(emit.is_("!=", is_there, 0), self.failed)
            for offset, object in enumerate(found[: len(names)]):
                wanted = self.part(self.builder.add(number, constant(offset)))
                self.require_same(emit.word(object, 0), wanted)

    def elements(self) -> None:
        holder = self.holder()
        with self.emit.counted(0, self.require_count("list_size")) as number:
            found = self.words.call("element", POINTER, holder, number)
            self.require_same(self.require_found(found), self.part(number))

    def empty(self) -> None:
        self.require_count("set_size")

    def cell(self) -> None:
        self._take(self.words.call("cell", POINTER, self.holder()))

    def dict(self) -> None:
        self._take(self.words.call("dict", POINTER, self.holder(), NULL))

    def _take(self, found: ir.Value) -> None:
        """Compare a new reference."""
        address = self.require_found(found)
        self.words.call("decref", VOID, found)  # others hold it, or it is not what it should be
        self.require_same(address, self.part())

    def place(self) -> None:
        self.field(cpython.OB_TYPE)
        array = self.emit.pointer(self.part(1))
        place = self.emit.field(array, cpython.ARRAY_DATA)
        compare_place(self.emit, self.holder(), place, self.failed)

    def field(self, offset: int) -> None:
        self.require_same(self.emit.field(self.holder(), offset), self.part())

    def of_function(self, name: str) -> None:
        """The interpreter has a null pointer for None."""
        found = self.words.call(name, POINTER, self.holder())
        found = self.builder.select(
            self.emit.is_null(found), self.words.get("none"), self.emit.address(found)
        )
        self.require_same(found, self.part())


_CASES: dict[Aspect, Callable[[_Holds], None]] = {
    Aspect.ITEM: _Holds.item,
    Aspect.MISSING: _Holds.missing,
    Aspect.KEYS: _Holds.keys,
    Aspect.PAIRS: _Holds.pairs,
    Aspect.ELEMENTS: _Holds.elements,
    Aspect.EMPTY: _Holds.empty,
    Aspect.CELL: _Holds.cell,
    Aspect.CLASS: lambda holds: holds.field(cpython.OB_TYPE),
    Aspect.DICT: _Holds.dict,
    Aspect.ORDER: lambda holds: holds.field(cpython.TYPE_MRO),
    Aspect.CODE: lambda holds: holds.of_function("code"),
    Aspect.DEFAULTS: lambda holds: holds.of_function("defaults"),
    Aspect.KEYWORD_DEFAULTS: lambda holds: holds.of_function("keyword_defaults"),
    Aspect.PLACE: _Holds.place,
}
_OF_DICTS = (Aspect.ITEM, Aspect.MISSING, Aspect.KEYS, Aspect.PAIRS)
_END = 0  # in place of an aspect
_NUMBERS = {aspect: number for number, aspect in enumerate(_CASES, start=_END + 1)}


# -- the check of this process ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NativeGuard:
    """The comparisons of a program that native code makes."""

    holds: Callable[[], bool]
    table: tuple[Any, ...]  # of native code; keeps alive what it points to
    covered: frozenset[int]  # which facts it looks at wholly


class GuardCheck:
    """The function in memory. It stays for good: built-in functions point to it."""

    def __init__(self, code: bytes, machine: Machine) -> None:
        loaded = engine.load(code, machine)
        _WORDS.fill(loaded)
        self._loaded = loaded
        self.address = loaded.address("holds")  # of ``holds(table)``
        self._definition = cpython.MethodDef(b"holds", loaded.address("check"), cpython.METH_NOARGS, None)

    def guard(self, facts: Sequence[Sequence[Comparison]]) -> NativeGuard:
        """Of all facts that comparisons tell, and that hold now. A fact without any is none of them."""
        covered = [number for number, fact in enumerate(facts) if fact]
        guard = self._guard(facts, covered)
        if guard.holds():
            return guard
        return self._guard(facts, [n for n in covered if self._guard(facts, [n]).holds()])

    def _guard(self, facts: Sequence[Sequence[Comparison]], covered: list[int]) -> NativeGuard:
        table = _table([comparison for number in covered for comparison in facts[number]])
        return NativeGuard(cpython.builtin(self._definition, table), table, frozenset(covered))


def _table(comparisons: Sequence[Comparison]) -> tuple[Any, ...]:
    """The words of a table, and everything they point to."""
    of_dicts = [c for c in comparisons if c.aspect in _OF_DICTS and has_versions()]
    chosen = set(map(id, of_dicts))
    always = [c for c in comparisons if id(c) not in chosen]
    dicts = {id(c.holder): c.holder for c in of_dicts}
    words = version_words([*dicts.values()], _words(always), _words(of_dicts))
    objects = [o for c in comparisons for o in (c.holder, *c.parts)]
    return numpy.array(words, numpy.int64), *objects


def _words(comparisons: Iterable[Comparison]) -> list[int]:
    """Records of comparisons, and their end."""
    records = ([_NUMBERS[c.aspect], id(c.holder), len(c.parts), *map(id, c.parts)] for c in comparisons)
    return [*(word for record in records for word in record), _END]


def guard_check(code: Callable[[], bytes], machine: Machine) -> GuardCheck:
    """The one of this process; made at first use."""
    return only_one(GuardCheck, lambda: GuardCheck(code(), machine))
