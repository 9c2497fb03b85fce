"""The native code of NOTE [telling of writes].

A holder is a list of one table. A table is a tuple. Its first item is an array of words: those of ``HEADER``, then for each
memory its key and its watchers. The others are the objects that words are addresses of.
"""

from __future__ import annotations

from llvmlite import ir

from blockfuse.codegen.cpu.process import cpython
from blockfuse.codegen.cpu.process.api_words import ApiWords
from blockfuse.codegen.validity import VALID
from blockfuse.codegen.values.emitter import I8, I32, I64, NULL, POINTER, VOID, Emitter, Words, constant

WORDS = ApiWords(
    functions={
        "set_size": "PySet_Size",
        "contains": "PySet_Contains",
        "get_item": "PyDict_GetItemWithError",
        "referent": "PyWeakref_GetObject",
        "add": "PyNumber_Add",
        "call": "PyObject_CallNoArgs",
        "vectorcall": "PyObject_Vectorcall",
        "fetch": "PyErr_Fetch",
        "restore": "PyErr_Restore",
        "incref": "Py_IncRef",
        "decref": "Py_DecRef",
    },
    objects={"none": None, "one": 1, "not_implemented": NotImplemented},
)
OFFSETS = ("needed", "whole", "part", "version", "variable", "told", "latest")  # of slots
HEADER = (
    *("valid", "commits", "entry", "by_python", "tell"),  # addresses of two words, and three callables
    *("readers", "reader", "memories", "nothing", "count"),
    *OFFSETS,
)


def writing_entry_ir() -> str:
    """LLVM IR of ``call(holder, args, count)``: METH_FASTCALL."""
    module = ir.Module("writing_entry")
    words = WORDS.declared(module)
    function = ir.Function(module, ir.FunctionType(POINTER, [POINTER, POINTER, I64]), "call")
    _Call(function, words).build()
    return str(module)


class _Call:
    """Writes ``call``."""

    def __init__(self, function: ir.Function, words: ir.Value) -> None:
        holder, self._given, self._number_given = function.args
        self.emit = Emitter.of(function, "start")
        self.builder = self.emit.builder
        self.words = WORDS.of(self.emit, words)
        self.by_python = self.emit.block("by_python")
        items = self.emit.pointer(self.emit.field(holder, cpython.LIST_ITEMS))
        self.table = self.emit.pointer(self.emit.word(items, 0))

    def build(self) -> None:
        self.words.call("incref", VOID, self.table)  # another one may come while the entry runs
        array = self.emit.pointer(self.emit.word(self.table, cpython.TUPLE_ITEMS))
        numbers = self.emit.pointer(self.emit.field(array, cpython.ARRAY_DATA))
        self.header = Words(self.emit, numbers, HEADER)
        self.owners = self.emit.at(numbers, len(HEADER))
        self.count = self.header.get("count")
        self._require_valid()
        self._require_no_other_reader()
        self.emit.require(self.emit.is_("==", self._waiting(), 0), self.by_python)
        self._count_writes()
        before = self._commits()
        result = self._asked("entry")
        changed = self.emit.is_("!=", before, self._commits())
        with self.builder.if_then(changed):
            self._tell_watchers()
        self._end(result)
        self.builder.position_at_end(self.by_python)
        self._end(self._asked("by_python"))

    def _end(self, result: ir.Value) -> None:
        self.words.call("decref", VOID, self.table)
        self.builder.ret(result)

    def _asked(self, name: str) -> ir.Value:
        called = self.header.pointer(name)
        return self.words.call("vectorcall", POINTER, called, self._given, self._number_given, NULL)

    def _commits(self) -> ir.Value:
        return self.emit.word_at(self.header.get("commits"))

    def _require_valid(self) -> None:
        """An entry that is not valid writes nothing."""
        valid = self.emit.word_at(self.header.get("valid"))
        with self.builder.if_then(self.emit.is_("!=", valid, VALID)):
            answer = self.words.pointer("not_implemented")
            self.words.call("incref", VOID, answer)
            self._end(answer)

    # -- before --------------------------------------------------------------------------------------------------

    def _require_no_other_reader(self) -> None:
        emit, readers = self.emit, self.header.pointer("readers")
        size = self.words.call("set_size", I64, readers)
        with self.builder.if_then(emit.is_("!=", size, 0)):
            emit.require(emit.is_("==", size, 1), self.by_python)
            found = self.words.call("contains", I32, readers, self.header.pointer("reader"))
            emit.require(emit.is_("==", found, 1), self.by_python)

    def _count_writes(self) -> None:
        """First look at all memories, then count: what is left to Python must not be counted before."""
        emit, found = self.emit, self.builder.alloca(I64, self.count)
        with emit.counted(0, self.count) as number:
            memory = self._memory(number)
            emit.put(found, number, emit.address(memory))
            with self.builder.if_then(self.builder.not_(emit.is_null(memory))):
                self._require_nothing_to_do(memory)
        with emit.counted(0, self.count) as number:
            memory = emit.pointer(emit.word(found, number))
            with self.builder.if_then(self.builder.not_(emit.is_null(memory))):
                self._count_write(memory)

    def _memory(self, number: ir.Value) -> ir.Value:
        key = self.emit.pointer(self.emit.word(self.owners, self.emit.times(number, 2)))
        return self.words.call("get_item", POINTER, self.header.pointer("memories"), key)

    def _require_nothing_to_do(self, memory: ir.Value) -> None:
        emit, words = self.emit, self.words
        needed = words.call("set_size", I64, emit.pointer(self._slot(memory, "needed")))
        emit.require(emit.is_("==", needed, 0), self.by_python)
        whole = self._slot(memory, "whole")
        node = emit.choice(
            emit.is_("==", whole, self.header.get("nothing")),
            lambda: words.get("none"),
            lambda: emit.address(words.call("referent", POINTER, emit.pointer(whole))),
        )
        without = emit.is_("==", node, words.get("none"))
        decisive = emit.choice(
            without,
            lambda: self._is_none(self._slot(memory, "part")),
            lambda: self.builder.not_(self._is_none(self._slot(emit.pointer(node), "variable"))),
        )
        emit.require(decisive, self.by_python)

    def _count_write(self, memory: ir.Value) -> None:
        emit, words = self.emit, self.words
        before = self._slot(memory, "version")
        more = words.call("add", POINTER, emit.pointer(before), words.pointer("one"))
        with self.builder.if_then(emit.is_null(more)):
            self._end(NULL)
        self.builder.store(more, emit.at(memory, self.header.get("version"), I8))
        words.call("decref", VOID, emit.pointer(before))

    def _slot(self, object: ir.Value, name: str) -> ir.Value:
        place = self.emit.at(object, self.header.get(name), I8)
        return self.builder.load(place, typ=I64)

    def _is_none(self, address: ir.Value) -> ir.Value:
        return self.emit.is_("==", address, self.words.get("none"))

    # -- after ---------------------------------------------------------------------------------------------------

    def _tell_watchers(self) -> None:
        """Python does, where some have come while the entry ran, also where it has raised."""
        with self.builder.if_then(self.emit.is_("!=", self._waiting(), 0)):
            self._tell()

    def _waiting(self) -> ir.Value:
        """Of how many memories there are watchers who must be told."""
        emit, total = self.emit, self.emit.local(I64)
        emit.put(total, 0, 0)
        with emit.counted(0, self.count) as number:
            place = self.builder.add(emit.times(number, 2), constant(1))
            watchers = emit.pointer(emit.word(self.owners, place))
            waiting = emit.is_("!=", self._slot(watchers, "told"), self._slot(watchers, "latest"))
            emit.put(total, 0, self.builder.add(emit.word(total, 0), self.builder.zext(waiting, I64)))
        return emit.word(total, 0)

    def _tell(self) -> None:
        """What was raised before goes on; where nothing was, what telling raises does, with the result lost."""
        emit, words = self.emit, self.words
        error = [emit.local(I64) for _ in range(3)]
        words.call("fetch", VOID, *error)
        answer = words.call("call", POINTER, self.header.pointer("tell"))
        told = self.builder.not_(emit.is_null(answer))
        kept = self.builder.or_(told, emit.is_("!=", emit.word(error[0], 0), 0))
        with self.builder.if_else(kept) as (restores, raises):
            with restores:
                words.call("restore", VOID, *(emit.pointer(emit.word(part, 0)) for part in error))
            with raises:
                self._end(NULL)
        words.call("decref", VOID, answer)
