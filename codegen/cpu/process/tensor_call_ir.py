"""The native code of NOTE [calls with tensors].

A table is a tuple. Its first item is an array of words: those of ``HEADER``, ``QUESTION`` for each question and
``DTYPE`` for each dtype. The others are the objects that words are addresses of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy
from llvmlite import ir

from blockfuse.codegen.cpu.process import cpython
from blockfuse.codegen.cpu.process.api_words import ApiWords
from blockfuse.codegen.cpu.process.guard_check import HOLDS, RAISES
from blockfuse.codegen.cpu.process.tensor_fields import TensorFields
from blockfuse.codegen.cpu.process.tensor_result_ir import USABLE, TensorOf, emit_delete
from blockfuse.codegen.values.emitter import I8, I32, I64, NULL, POINTER, VOID, Emitter, Words, constant
from blockfuse.ir.tensor_layout import LAYOUT_WORDS, MAX_AXES

WORDS = ApiWords(
    functions={
        "get_attribute": "PyObject_GetAttr",
        "dict": "PyObject_GenericGetDict",
        "dict_size": "PyDict_Size",
        "vectorcall": "PyObject_Vectorcall",
        "call": "PyObject_CallOneArg",
        "incref": "Py_IncRef",
        "decref": "Py_DecRef",
        "clear_error": "PyErr_Clear",
        "malloc": "PyMem_RawMalloc",
        "free": "PyMem_RawFree",
        "is_initialized": "Py_IsInitialized",
        "ensure": "PyGILState_Ensure",
        "release": "PyGILState_Release",
    },
    objects={
        "not_implemented": NotImplemented,
        "array": numpy.ndarray,
        "builtin": type(len),
        "entry": "_entry",
    },
)
MAX_ARGUMENTS = 8
HEADER = (
    *LAYOUT_WORDS,
    *("type", "other_kind", "make", "version", "new_array", "delete", "owner", "finish", "holds", "facts"),
    *("find", "module", "offset", "first", "second", "other_first", "other_second"),
    *("questions", "dtypes"),  # how many there are
)
QUESTION = ("function", "bits", "answer")
DTYPE = ("number", "size", "dtype", "word", "dlpack")


def tensor_call_ir() -> str:
    """LLVM IR of ``tensor_call(table, args, count)``: METH_FASTCALL, and of ``delete(managed)``, which DLPack asks for."""
    module = ir.Module("tensor_call")
    words = WORDS.declared(module)
    call = ir.Function(module, ir.FunctionType(POINTER, [POINTER, POINTER, I64]), "tensor_call")
    _TensorCall(call, words).build()
    function = ir.Function(module, ir.FunctionType(VOID, [POINTER]), "delete")
    emit_delete(WORDS.of(Emitter.of(function), words), function.args[0])
    return str(module)


class _TensorCall:
    """Writes ``tensor_call``."""

    def __init__(self, function: ir.Function, words: ir.Value) -> None:
        table, self._given, self._count = function.args
        self.emit = Emitter.of(function, "start")
        self.builder = self.emit.builder
        self.words = WORDS.of(self.emit, words)
        self.refused, self.failed = self.emit.block("refused"), self.emit.block("failed")
        array = self.emit.pointer(self.emit.word(table, cpython.TUPLE_ITEMS))
        self.header = Words(self.emit, self.emit.pointer(self.emit.field(array, cpython.ARRAY_DATA)), HEADER)
        self.arrays, self.made = self.emit.local(I64, MAX_ARGUMENTS), self.emit.local(I64)
        self.emit.put(self.made, 0, 0)

    def build(self) -> None:
        self._require(self.emit.is_(">", self._count, 0))
        self._require(self.emit.is_("<=", self._count, MAX_ARGUMENTS))
        self._require_answers()
        self._require_usual_thread()
        self._require_facts()
        with self.emit.counted(0, self._count) as number:
            array = self._array(self.emit.pointer(self.emit.word(self._given, number)), number)
            self.emit.require(self.builder.not_(self.emit.is_null(array)), self.failed)
            self.emit.put(self.arrays, number, self.emit.address(array))
            self.emit.put(self.made, 0, self.builder.add(number, constant(1)))
        self.builder.ret(self._finished(self._asked()))
        self._write_exits()

    def _write_exits(self) -> None:
        self.builder.position_at_end(self.failed)
        self._drop_arrays()
        self.builder.ret(NULL)
        self.builder.position_at_end(self.refused)
        self._drop_arrays()
        answer = self.words.pointer("not_implemented")
        self.words.call("incref", VOID, answer)
        self.builder.ret(answer)

    def _drop_arrays(self) -> None:
        with self.emit.counted(0, self.emit.word(self.made, 0)) as number:
            self.words.call("decref", VOID, self.emit.pointer(self.emit.word(self.arrays, number)))

    # -- whether anybody wants more than values ----------------------------------------------------------------

    def _require_answers(self) -> None:
        with self._records("questions", QUESTION) as question:
            found = self.builder.and_(question.call("function", I64), question.get("bits"))
            self._require(self.emit.is_("==", found, question.get("answer")))

    def _require_usual_thread(self) -> None:
        emit, header = self.emit, self.header
        place = header.call("find", POINTER, header.at("module"))
        found = [emit.word(place, number) for number in range(2)]

        def are(first: str, second: str) -> ir.Value:
            pairs = zip(found, (first, second), strict=True)
            one, other = (emit.is_("==", word, header.get(name)) for word, name in pairs)
            return self.builder.and_(one, other)

        self._require(self.builder.or_(are("first", "second"), are("other_first", "other_second")))

    def _require_facts(self) -> None:
        answer = self.header.call("holds", I64, self.header.pointer("facts"))
        self.emit.require(self.emit.is_("!=", answer, RAISES), self.failed)
        self._require(self.emit.is_("==", answer, HOLDS))

    # -- arguments -----------------------------------------------------------------------------------------------

    def _array(self, given: ir.Value, number: ir.Value) -> ir.Value:
        """NumPy's array in the memory of a plain tensor, which it holds."""
        emit, builder = self.emit, self.builder
        self._require(emit.is_("==", emit.field(given, cpython.OB_TYPE), self.header.get("type")))
        self._require_other_arguments(given, number)
        self._require_no_attributes(given)
        fields = TensorFields(self.header, given)
        kind, axes = fields.word("kind"), fields.word("axes")
        known = (emit.is_("==", kind, self.header.get(name)) for name in ("plain", "other_kind"))
        self._require(builder.or_(*known))
        self._require(emit.is_("<=", axes, MAX_AXES))
        self._require(emit.is_("==", fields.wants_gradient(), 0))
        memory = fields.memory()
        self._require(emit.is_("!=", memory, 0))
        return self._array_at(given, fields, memory, axes)

    def _require_other_arguments(self, given: ir.Value, number: ir.Value) -> None:
        """No tensor is given twice: ``forward`` may ask."""
        with self.emit.counted(0, number) as before:
            other = self.emit.word(self._given, before)
            self._require(self.emit.is_("!=", other, self.emit.address(given)))

    def _require_no_attributes(self, given: ir.Value) -> None:
        own = self.words.call("dict", POINTER, given, NULL)
        self.emit.require(self.builder.not_(self.emit.is_null(own)), self.failed)
        size = self.words.call("dict_size", I64, own)
        self.words.call("decref", VOID, own)
        self._require(self.emit.is_("==", size, 0))

    def _array_at(self, given: ir.Value, fields: TensorFields, memory: ir.Value, axes: ir.Value) -> ir.Value:
        emit, builder = self.emit, self.builder
        dtype = self._dtype("number", fields.dtype(), self.refused)
        size, sizes = dtype.get("size"), fields.place("sizes")
        data = builder.add(memory, builder.mul(fields.word("before"), size))
        strides = self._strides(fields, axes, size)
        descriptor = dtype.pointer("dtype")
        self.words.call("incref", VOID, descriptor)  # PyArray_NewFromDescr takes the reference
        made = self.header.call(
            *("new_array", POINTER, self.words.pointer("array"), descriptor),
            *(builder.trunc(axes, I32), sizes, strides),
            *(emit.pointer(data), constant(USABLE, I32), NULL),
        )
        with builder.if_then(builder.not_(emit.is_null(made)), likely=True):
            self.words.call("incref", VOID, given)
            builder.store(given, emit.at(made, cpython.ARRAY_BASE, I8))
        return made

    def _strides(self, fields: TensorFields, axes: ir.Value, size: ir.Value) -> ir.Value:
        """In bytes; null where elements lie in order."""
        emit, builder = self.emit, self.builder
        sizes, strides = fields.place("sizes"), fields.place("strides")
        in_bytes, expected, in_order = emit.local(I64, MAX_AXES), emit.local(I64), emit.local(I64)
        emit.put(expected, 0, 1)
        emit.put(in_order, 0, 1)
        with emit.counted(0, axes) as number:
            axis = builder.sub(builder.sub(axes, constant(1)), number)
            length, stride, wanted = emit.word(sizes, axis), emit.word(strides, axis), emit.word(expected, 0)
            emit.put(in_bytes, axis, builder.mul(stride, size))
            differs = builder.and_(emit.is_("!=", stride, wanted), emit.is_("!=", length, 1))
            with builder.if_then(differs):
                emit.put(in_order, 0, 0)
            emit.put(expected, 0, builder.mul(wanted, length))
        return builder.select(emit.is_("!=", emit.word(in_order, 0), 0), NULL, in_bytes)

    # -- the answer ----------------------------------------------------------------------------------------------

    def _asked(self) -> ir.Value:
        """What the owner's entry gives, which must be native: one of Python's may raise what only Python knows."""
        words = self.words
        entry = words.call("get_attribute", POINTER, self.header.pointer("owner"), words.pointer("entry"))
        self.emit.require(self.builder.not_(self.emit.is_null(entry)), self.failed)
        native = self.emit.is_("==", self.emit.field(entry, cpython.OB_TYPE), words.get("builtin"))
        with self.builder.if_then(self.builder.not_(native)):
            words.call("decref", VOID, entry)
            self.builder.branch(self.refused)
        result = words.call("vectorcall", POINTER, entry, self.arrays, self._count, NULL)
        words.call("decref", VOID, entry)
        self._drop_arrays()
        self.emit.put(self.made, 0, 0)
        return result

    def _finished(self, result: ir.Value) -> ir.Value:
        """With tensors for arrays, also where it is an error or a refusal, which stay."""
        emit, builder = self.emit, self.builder
        refused = emit.is_("==", emit.address(result), self.words.get("not_implemented"))
        with builder.if_then(builder.or_(emit.is_null(result), refused), likely=False):
            builder.ret(result)
        is_array = emit.is_("==", emit.field(result, cpython.OB_TYPE), self.words.get("array"))
        return emit.choice(is_array, partial(self._tensor, result), partial(self._by_python, result))

    def _by_python(self, result: ir.Value) -> ir.Value:
        made = self.words.call("call", POINTER, self.header.pointer("finish"), result)
        self.words.call("decref", VOID, result)
        return made

    def _tensor(self, array: ir.Value) -> ir.Value:
        """The tensor in the memory of an array, which belongs to it from now on."""
        emit, otherwise = self.emit, self.emit.block("odd")
        descriptor = emit.pointer(emit.field(array, cpython.ARRAY_DESCR))
        dtype = self._dtype("word", emit.field(descriptor, cpython.DESCR_KIND), otherwise)
        self.builder.ret(TensorOf(self.words, self.header, array).made(dtype.get("dlpack"), otherwise))
        self.builder.position_at_end(otherwise)
        return self._by_python(array)

    # -- tables --------------------------------------------------------------------------------------------------

    def _dtype(self, name: str, found: ir.Value, unknown: ir.Block) -> Words:
        """The dtype with this word."""
        emit, builder = self.emit, self.builder
        known, place = emit.block("known"), emit.local(I64)
        with self._records("dtypes", DTYPE) as record:
            emit.put(place, 0, emit.address(record.table))
            onwards = emit.block()
            builder.cbranch(emit.is_("==", record.get(name), found), known, onwards)
            builder.position_at_end(onwards)
        builder.branch(unknown)
        builder.position_at_end(known)
        return Words(emit, emit.pointer(emit.word(place, 0)), DTYPE)

    @contextmanager
    def _records(self, name: str, names: Sequence[str]) -> Iterator[Words]:
        """What is emitted inside is done for each record of a kind."""
        emit, before = self.emit, constant(0)
        if name == "dtypes":
            before = emit.times(self.header.get("questions"), len(QUESTION))
        first = emit.at(emit.at(self.header.table, len(HEADER)), before)
        with emit.counted(0, self.header.get(name)) as number:
            yield Words(emit, emit.at(first, emit.times(number, len(names))), names)

    def _require(self, condition: ir.Value) -> None:
        self.emit.require(condition, self.refused)
