"""What a class does when one of its instances is called: ask the instance's entry first, without a Python frame.

NOTE [calls of instances]
``net(x)`` runs the function in the slot ``tp_call`` of the type. For a class with ``__call__`` in Python, CPython puts a
function of its own there, which looks ``__call__`` up and makes a frame for it: a third of the time of a small net. Native
code takes its place that does what the first lines of that ``__call__`` do anyway: ask ``self._entry``, and where it is
None, answers NotImplemented or there are keywords, go on to CPython's function. So nothing changes but the time; who assigns
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
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.values.emitter import I8, I64, NULL, POINTER, VOID, Emitter, Words

_WORDS = (
    "get_attribute",
    "vectorcall",
    "release",
    "clear_error",
    "name",
    "none",
    "not_implemented",
    "generic",
)
_FUNCTIONS = {
    "get_attribute": "PyObject_GetAttr",
    "vectorcall": "PyObject_Vectorcall",
    "release": "Py_DecRef",
    "clear_error": "PyErr_Clear",
}
_TP_CALL_OFFSET = 128  # PyTypeObject.tp_call
_OB_SIZE_OFFSET = 16  # of a tuple
_ENTRY_NAME = "_entry"


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
    emit, builder = words.emit, words.emit.builder
    generic = emit.block("generic")

    def release(value: ir.Value) -> None:
        words.call("release", VOID, value)

    def unless(condition: ir.Value, tidy: Callable[[], object]) -> None:
        """Where the condition holds, tidy up and go on to CPython's function."""
        with builder.if_then(condition):
            tidy()
            builder.branch(generic)

    emit.require(emit.is_null(keywords), generic)
    entry = words.call("get_attribute", POINTER, this, words.pointer("name"))
    unless(emit.is_null(entry), lambda: words.call("clear_error", VOID))
    unless(_is(words, entry, "none"), lambda: release(entry))
    items = emit.at(arguments, 8 * cpython.TUPLE_ITEMS, I8)
    count = emit.field(arguments, _OB_SIZE_OFFSET)
    result = words.call("vectorcall", POINTER, entry, items, count, NULL)
    release(entry)
    unless(_is(words, result, "not_implemented"), lambda: release(result))
    builder.ret(result)
    builder.position_at_end(generic)
    builder.ret(words.call("generic", POINTER, this, arguments, keywords))


def _is(words: Words, pointer: ir.Value, name: str) -> ir.Value:
    """Whether a pointer is to the object whose address a word holds."""
    address = words.get(name)
    return words.emit.is_("==", words.emit.address(pointer), address)


# -- the code of this process --------------------------------------------------------------------------------

_installed: engine.Loaded | None = None


def install(cls: type, code: Callable[[], bytes], machine: Machine) -> None:
    """Let calls of instances of ``cls`` ask ``_entry`` first; nothing where the type is not as it should be."""
    global _installed
    generic = _generic()
    if not generic or _tp_call(cls).value != generic:
        return
    if _installed is None:
        loaded = engine.for_good(engine.load(code(), machine))
        words = (ctypes.c_int64 * len(_WORDS)).from_address(loaded.variable("words"))
        words[:] = [_value(name, generic) for name in _WORDS]
        _installed = loaded
    _tp_call(cls).value = _installed.address("call")


def _value(name: str, generic: int) -> int:
    if name in _FUNCTIONS:
        return cpython.address_of(_FUNCTIONS[name])
    objects = {"name": id(sys.intern(_ENTRY_NAME)), "none": id(None), "not_implemented": id(NotImplemented)}
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
