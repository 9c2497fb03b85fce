"""What a class does when one of its instances is called: ask the instance's entries first, without a Python frame.

NOTE [calls of instances]
``net(x)`` runs the function in the slot ``tp_call`` of the type. For a class with ``__call__`` in Python, CPython puts a
function of its own there, which looks ``__call__`` up and makes a frame for it: a third of the time of a small net. Native
code takes its place that does what that ``__call__`` comes to anyway: ask ``self._entry`` where there are no keywords, then
``self._fast_call`` with ``(args, kwargs)`` (NOTE [forms of calls]), and where they are None or answer NotImplemented, go on
to CPython's function. So nothing changes but the time; who assigns
another ``__call__`` to the class, or derives one, gets CPython's function back from CPython (``update_slot`` in
``Objects/typeobject.c``). The slot is written only where a look at classes made for it shows that it is where 64-bit CPython
3.11-3.13 has it.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import lru_cache

from llvmlite import ir

from blockfuse.codegen.cpu.native import engine
from blockfuse.codegen.cpu.process import cpython
from blockfuse.codegen.cpu.process.for_good import for_good
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.values.emitter import I8, I64, NULL, POINTER, VOID, Emitter, Words, constant

_WORDS = (
    "get_attribute",
    "vectorcall",
    "release",
    "count",
    "clear_error",
    "entry",
    "fast_call",
    "none",
    "not_implemented",
    "generic",
)
_FUNCTIONS = {
    "get_attribute": "PyObject_GetAttr",
    "vectorcall": "PyObject_Vectorcall",
    "release": "Py_DecRef",
    "count": "PyDict_Size",
    "clear_error": "PyErr_Clear",
}
_TP_CALL_OFFSET = 128  # PyTypeObject.tp_call
_NAMES = {"entry": "_entry", "fast_call": "_fast_call"}


def type_call_ir() -> str:
    """LLVM IR of ``call(self, args, kwargs)``, a ``ternaryfunc``."""
    module = ir.Module("type_call")
    table = ir.GlobalVariable(module, ir.ArrayType(I64, len(_WORDS)), "words")
    table.initializer = ir.Constant(table.value_type, None)
    function = ir.Function(module, ir.FunctionType(POINTER, [POINTER] * 3), "call")
    emit = Emitter.of(function, "start")
    _emit_call(Words(emit, table, _WORDS), *function.args)
    return str(module)


def _emit_call(words: Words, this: ir.Value, arguments: ir.Value, keywords: ir.Value) -> None:
    emit = words.emit
    other_form, generic = emit.block("other_form"), emit.block("generic")
    _require_no_keywords(words, keywords, other_form)
    items = emit.at(arguments, 8 * cpython.TUPLE_ITEMS, I8)
    _ask(words, this, "entry", (items, emit.field(arguments, cpython.OB_SIZE)), other_form)
    emit.builder.branch(other_form)
    emit.builder.position_at_end(other_form)
    given, none = emit.local(I64, 2), words.get("none")
    emit.put(given, 0, emit.address(arguments))
    emit.put(given, 1, emit.builder.select(emit.is_null(keywords), none, emit.address(keywords)))
    _ask(words, this, "fast_call", (given, constant(2)), generic)
    emit.builder.branch(generic)
    emit.builder.position_at_end(generic)
    emit.builder.ret(words.call("generic", POINTER, this, arguments, keywords))


def _require_no_keywords(words: Words, keywords: ir.Value, otherwise: ir.Block) -> None:
    """Who calls ``f(*args, **kwargs)`` brings an empty dict."""
    emit = words.emit
    count = emit.choice(
        emit.is_null(keywords), lambda: constant(0), lambda: words.call("count", I64, keywords)
    )
    emit.require(emit.is_("==", count, 0), otherwise)


def _ask(
    words: Words, this: ir.Value, name: str, given: tuple[ir.Value, ir.Value], onwards: ir.Block
) -> None:
    """Answer with what an attribute gives for ``given``, arguments and their number; where it gives nothing, go on."""
    emit, builder = words.emit, words.emit.builder

    def release(value: ir.Value) -> None:
        words.call("release", VOID, value)

    def unless(condition: ir.Value, tidy: Callable[[], object]) -> None:
        with builder.if_then(condition):
            tidy()
            builder.branch(onwards)

    asked = words.call("get_attribute", POINTER, this, words.pointer(name))
    unless(emit.is_null(asked), lambda: words.call("clear_error", VOID))
    unless(_is(words, asked, "none"), lambda: release(asked))
    result = words.call("vectorcall", POINTER, asked, *given, NULL)
    release(asked)
    with builder.if_then(builder.not_(_is(words, result, "not_implemented"))):
        builder.ret(result)
    release(result)


def _is(words: Words, pointer: ir.Value, name: str) -> ir.Value:
    """Whether a pointer is to the object whose address a word holds."""
    address = words.get(name)
    return words.emit.is_("==", words.emit.address(pointer), address)


# -- the code of this process --------------------------------------------------------------------------------

_installed: engine.Loaded | None = None


def install(cls: type, code: Callable[[], bytes], machine: Machine) -> None:
    """Let calls of instances of ``cls`` ask their entries first; nothing where the type is not as it should be."""
    global _installed
    generic = _generic()
    if not generic or _tp_call(cls).value != generic:
        return
    if _installed is None:
        loaded = for_good(engine.load(code(), machine))
        words = (ctypes.c_int64 * len(_WORDS)).from_address(loaded.address("words"))
        words[:] = [_value(name, generic) for name in _WORDS]
        _installed = loaded
    _tp_call(cls).value = _installed.address("call")


def _value(name: str, generic: int) -> int:
    if name in _FUNCTIONS:
        return cpython.address_of(_FUNCTIONS[name])
    objects = {"none": id(None), "not_implemented": id(NotImplemented)}
    objects |= {word: id(sys.intern(text)) for word, text in _NAMES.items()}
    return objects.get(name, generic)


def _tp_call(cls: type) -> ctypes.c_int64:
    return ctypes.c_int64.from_address(id(cls) + _TP_CALL_OFFSET)


@lru_cache
def _generic() -> int:
    """CPython's function for classes with ``__call__`` in Python; 0 where the slot is not where it should be."""

    class One:
        def __call__(self) -> None: ...

    class Other(One):
        def __call__(self) -> None: ...

    class Without: ...

    found = _tp_call(One).value
    return found if found and found == _tp_call(Other).value and not _tp_call(Without).value else 0
