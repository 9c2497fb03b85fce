"""The native code of NOTE [forms of calls]: a loop over the parts that a call must have.

A table is a tuple. Its first item is an array of words: those of ``HEADER``, those of each part (``KIND`` to ``KNOWN``),
then ``END``. The others are the objects that words are addresses of.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy
from llvmlite import ir

from blockfuse.codegen.cpu.process import cpython
from blockfuse.codegen.cpu.process.api_words import ApiWords
from blockfuse.codegen.cpu.process.outs_ir import OUT_HEADER, Outs, Stack
from blockfuse.codegen.cpu.process.records import each_record
from blockfuse.codegen.values.emitter import I32, I64, NULL, POINTER, VOID, Emitter, Words, constant
from blockfuse.ir.argument_parts import PartKind

WORDS = ApiWords(
    functions={
        "dict_size": "PyDict_Size",
        "next": "PyDict_Next",
        "list_size": "PyList_Size",
        "element": "PyList_GetItem",
        "is_equal": "PyObject_RichCompareBool",
        "compare_text": "PyUnicode_Compare",
        "repr": "PyObject_Repr",
        "new_tuple": "PyTuple_New",
        "vectorcall": "PyObject_Vectorcall",
        "incref": "Py_IncRef",
        "decref": "Py_DecRef",
        "get": "PyDict_GetItem",
        "call": "PyObject_CallOneArg",
        "contains": "PyDict_Contains",
        "set_size": "PySet_Size",
        "set_contains": "PySet_Contains",
        "new_int": "PyLong_FromVoidPtr",
        "is_subtype": "PyType_IsSubtype",
    },
    objects={
        "none": None,
        "not_implemented": NotImplemented,
        "text": str,
        "int": int,
        "slice": slice,
        "array": numpy.ndarray,
        "out": "out",
    },
)
# the header of a table; convert is 0 where there are no numbers, named 0 where there are no keywords
HEADER = ("entry", "convert", "made", "parts", "named", *OUT_HEADER)
# words of a part; the last ones are what is known of it
KIND, TYPE, COUNT, LENGTH, KNOWN = range(5)
_PY_EQ = 2


def fast_call_ir() -> str:
    """LLVM IR of ``fast_call(self, (args, kwargs), 2)``: METH_FASTCALL. self: a table."""
    module = ir.Module("fast_call")
    words = WORDS.declared(module)
    function = ir.Function(module, ir.FunctionType(POINTER, [POINTER, POINTER, I64]), "fast_call")
    _FastCall(function, words).build()
    return str(module)


class _FastCall:
    """Writes ``fast_call``: a loop over the parts, with a block for each kind."""

    def __init__(self, function: ir.Function, words: ir.Value) -> None:
        this, self._given, self._number_given = function.args
        self.emit = Emitter.of(function, "start")
        self.builder = self.emit.builder
        self.words = WORDS.of(self.emit, words)
        self.refused = self.emit.block("refused")
        array = self.emit.pointer(self.emit.word(this, cpython.TUPLE_ITEMS))
        self.table = self.emit.pointer(self.emit.field(array, cpython.ARRAY_DATA))
        self.header = Words(self.emit, self.table, HEADER)
        parts, made = self.header.get("parts"), self.header.get("made")
        self.waiting = Stack(self.emit, parts)  # what is still to be looked at, the next on top
        self.containers = Stack(self.emit, parts)  # lists and dicts so far
        self.values = Stack(self.emit, parts)
        self.arrays = Stack(self.emit, self.emit.sum(parts, made, constant(1)))
        self.outs = Outs(Stack(self.emit, parts), self.header, self.words, self.refused)

    def build(self) -> None:
        self._begin()
        self._walk()
        self._for_all_arrays("incref")
        converts = self.emit.is_("!=", self.header.get("convert"), 0)
        result = self.emit.choice(converts, self._asked_with_numbers, self._asked)
        self._end(result)
        self.builder.position_at_end(self.refused)
        self.builder.ret(self._not_implemented())

    def _begin(self) -> None:
        """Keywords are looked at where there should be some; else there must be none."""
        emit, words = self.emit, self.words
        emit.require(emit.is_("==", self._number_given, 2), self.refused)
        args, kwargs = (emit.word(self._given, n) for n in range(2))
        without = emit.is_("==", kwargs, words.get("none"))
        is_named = emit.is_("!=", self.header.get("named"), 0)
        with self.builder.if_else(is_named) as (named, unnamed):
            with named:
                emit.require(self.builder.not_(without), self.refused)
                self.waiting.push(kwargs)
            with unnamed, self.builder.if_then(self.builder.not_(without)):
                size = words.call("dict_size", I64, emit.pointer(kwargs))
                emit.require(emit.is_("==", size, 0), self.refused)
        self.waiting.push(args)
        with self.builder.if_then(self.outs.present()):
            self.outs.require_no_other_reader()

    def _walk(self) -> None:
        first = self.emit.address(self.emit.at(self.table, len(HEADER)))
        for kind, part in each_record(self.emit, first, NUMBERS, LENGTH, KNOWN):
            self.part = part
            self.value = self.emit.pointer(self.waiting.pop())
            self._require_type()
            if kind.is_value:
                self.values.push(self.emit.address(self.value))
            _CASES[kind](self)

    def _require_type(self) -> None:
        wanted = self.emit.word(self.part, TYPE)
        same = self.emit.is_("==", self.emit.field(self.value, cpython.OB_TYPE), wanted)
        self.emit.require(self.builder.or_(same, self.emit.is_("==", wanted, 0)), self.refused)

    # -- the answer --------------------------------------------------------------------------------------------

    def _asked(self) -> ir.Value:
        """The entry's answer; where it wrote into what the caller brought, that."""
        count = self.outs.put_behind(self.arrays)
        entry = self.header.pointer("entry")
        result = self.words.call("vectorcall", POINTER, entry, self.arrays.memory, count, NULL)
        return self.emit.choice(self.outs.present(), lambda: self._out_for(result), lambda: result)

    def _out_for(self, result: ir.Value) -> ir.Value:
        """``out`` of the call; in the place of a refusal or an error this itself."""
        emit, builder = self.emit, self.builder
        refused = emit.is_("==", emit.address(result), self.words.get("not_implemented"))
        kwargs = emit.pointer(emit.word(self._given, 1))
        ends = builder.or_(emit.is_null(result), refused)
        return emit.choice(ends, lambda: result, lambda: self.outs.in_place_of(result, kwargs))

    def _asked_with_numbers(self) -> ir.Value:
        """The same, with what ``convert`` makes of the values behind the arrays."""
        emit, words = self.emit, self.words
        given = self._tuple_of_values()
        holder = emit.local(I64)
        emit.put(holder, 0, emit.address(given))
        made = words.call("vectorcall", POINTER, self.header.pointer("convert"), holder, 1, NULL)
        words.call("decref", VOID, given)
        with self.builder.if_then(emit.is_null(made)):
            self._end(NULL)
        with self.builder.if_then(emit.is_("==", emit.address(made), words.get("none"))):
            words.call("decref", VOID, made)
            self._end(self._not_implemented())
        with emit.counted(0, self.header.get("made")) as number:
            array = words.call("element", POINTER, made, number)
            words.call("incref", VOID, array)
            self.arrays.push(emit.address(array))
        words.call("decref", VOID, made)
        return self._asked()

    def _tuple_of_values(self) -> ir.Value:
        emit, words = self.emit, self.words
        made = words.call("new_tuple", POINTER, self.values.count)
        with self.builder.if_then(emit.is_null(made)):
            self._end(NULL)
        with emit.counted(0, self.values.count) as number:
            value = emit.word(self.values.memory, number)
            words.call("incref", VOID, emit.pointer(value))
            emit.put(made, self.builder.add(number, constant(cpython.TUPLE_ITEMS)), value)
        return made

    def _end(self, result: ir.Value) -> None:
        self._for_all_arrays("decref")
        self.builder.ret(result)

    def _for_all_arrays(self, function: str) -> None:
        for stack in (self.arrays, self.outs.stack):
            stack.each(lambda array: self.words.call(function, VOID, self.emit.pointer(array)))

    def _not_implemented(self) -> ir.Value:
        answer = self.words.pointer("not_implemented")
        self.words.call("incref", VOID, answer)
        return answer

    # -- one for each kind -------------------------------------------------------------------------------------

    def array(self) -> None:
        self.arrays.push(self.emit.address(self.value))

    def out(self) -> None:
        self.outs.take(self.value)

    def number(self) -> None:
        """Its type was looked at."""

    def same(self) -> None:
        self._require(self.emit.is_("==", self.emit.address(self.value), self._known()))

    def float(self) -> None:
        wanted = self.emit.field(self.emit.pointer(self._known()), cpython.FLOAT_VALUE)
        self._require(self.emit.is_("==", self.emit.field(self.value, cpython.FLOAT_VALUE), wanted))

    def equal(self) -> None:
        known = self.emit.pointer(self._known())
        answer = self.words.call("is_equal", I32, self.value, known, constant(_PY_EQ, I32))
        self._require(self.emit.is_("==", answer, 1))

    def repr(self) -> None:
        emit, words = self.emit, self.words
        is_slice = emit.is_("==", emit.word(self.part, TYPE), words.get("slice"))
        with self.builder.if_then(is_slice):
            for offset in cpython.SLICE_MEMBERS:
                self._require_int_or_none(emit.field(self.value, offset))
        text = words.call("repr", POINTER, self.value)
        with self.builder.if_then(emit.is_null(text)):
            self.builder.ret(NULL)
        order = words.call("compare_text", I32, text, emit.pointer(self._known()))
        words.call("decref", VOID, text)
        self._require(emit.is_("==", order, 0))

    def _require_int_or_none(self, member: ir.Value) -> None:
        """Nothing whose text the user's code makes."""
        is_int = self.emit.is_(
            "==", self.emit.field(self.emit.pointer(member), cpython.OB_TYPE), self.words.get("int")
        )
        self._require(self.builder.or_(is_int, self.emit.is_("==", member, self.words.get("none"))))

    def tuple(self) -> None:
        count = self._count(self.emit.field(self.value, cpython.OB_SIZE))
        self._push_items(
            count, lambda n: self.emit.word(self.value, self.builder.add(n, constant(cpython.TUPLE_ITEMS)))
        )

    def list(self) -> None:
        self._note_container()
        count = self._count(self.words.call("list_size", I64, self.value))
        self._push_items(
            count, lambda n: self.emit.address(self.words.call("element", POINTER, self.value, n))
        )

    def dict(self) -> None:
        self._note_container()
        place, key, item = (self.emit.local(I64) for _ in range(3))
        self.emit.put(place, 0, 0)

        def following(number: ir.Value) -> ir.Value:
            found = self.words.call("next", I32, self.value, place, key, item)
            self._require(self.emit.is_("!=", found, 0))
            self._require_key(self.emit.word(key, 0), self._known(number))
            return self.emit.word(item, 0)

        self._push_items(self._count(self.words.call("dict_size", I64, self.value)), following)

    def _require_key(self, found: ir.Value, wanted: ir.Value) -> None:
        emit, differs = self.emit, self.emit.is_("!=", found, wanted)
        with self.builder.if_then(differs):
            key = emit.pointer(found)
            self._require(emit.is_("==", emit.field(key, cpython.OB_TYPE), self.words.get("text")))
            order = self.words.call("compare_text", I32, key, emit.pointer(wanted))
            self._require(emit.is_("==", order, 0))

    def _note_container(self) -> None:
        """No list or dict stands in two places: ``forward`` could change it."""
        value = self.emit.address(self.value)
        self.containers.each(lambda other: self._require(self.emit.is_("!=", other, value)))
        self.containers.push(value)

    def _push_items(self, count: ir.Value, item: Callable[[ir.Value], ir.Value]) -> None:
        """The first item is looked at first."""
        emit, builder = self.emit, self.builder
        last = builder.add(self.waiting.count, builder.sub(count, constant(1)))
        with emit.counted(0, count) as number:
            emit.put(self.waiting.memory, builder.sub(last, number), item(number))
        self.waiting.grow(count)

    def _count(self, size: ir.Value) -> ir.Value:
        count = self.emit.word(self.part, COUNT)
        self._require(self.emit.is_("==", size, count))
        return count

    def _known(self, number: ir.Value | int = 0) -> ir.Value:
        return self.emit.word(self.emit.at(self.part, KNOWN), number)

    def _require(self, condition: ir.Value) -> None:
        self.emit.require(condition, self.refused)


_CASES: dict[PartKind, Callable[[_FastCall], None]] = {
    PartKind.ARRAY: _FastCall.array,
    PartKind.OUT: _FastCall.out,
    PartKind.NUMBER: _FastCall.number,
    PartKind.SAME: _FastCall.same,
    PartKind.FLOAT: _FastCall.float,
    PartKind.EQUAL: _FastCall.equal,
    PartKind.REPR: _FastCall.repr,
    PartKind.TUPLE: _FastCall.tuple,
    PartKind.LIST: _FastCall.list,
    PartKind.DICT: _FastCall.dict,
}
END = 0
NUMBERS = {kind: number for number, kind in enumerate(_CASES, start=END + 1)}
