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
from blockfuse.codegen.cpu.native.words import I8, I64, POINTER, call_at
from blockfuse.codegen.cpu.process import cpython
from blockfuse.codegen.kernels.machine import Machine

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
_TP_CALL = 128  # bytes: PyTypeObject.tp_call
_SIZE = 16  # bytes: ob_size of a tuple
_SLOT = "_entry"


def caller_ir() -> str:
    """LLVM IR of ``call(self, args, kwargs)``, a ``ternaryfunc``."""
    module = ir.Module("caller")
    _Caller(module).emit()
    return str(module)


class _Caller:
    def __init__(self, module: ir.Module) -> None:
        self.words = ir.GlobalVariable(module, ir.ArrayType(I64, len(_WORDS)), "words")
        self.words.initializer = ir.Constant(self.words.value_type, None)
        self.function = ir.Function(module, ir.FunctionType(POINTER, [POINTER] * 3), "call")
        self.builder = ir.IRBuilder(self.function.append_basic_block("start"))
        self.generic = self.function.append_basic_block("generic")

    def emit(self) -> None:
        builder, null = self.builder, ir.Constant(POINTER, None)
        this, arguments, keywords = self.function.args
        self._go_on_if(self._is(keywords, ir.Constant(I64, 0)), self.generic)
        entry = self._call("get_attribute", POINTER, this, builder.inttoptr(self._word("name"), POINTER))
        self._unless(self._is(entry, ir.Constant(I64, 0)), lambda: self._call("clear_error", ir.VoidType()))
        self._unless(self._is(entry, self._word("none")), lambda: self._release(entry))
        items = builder.gep(arguments, [ir.Constant(I64, 8 * cpython.TUPLE_ITEMS)], source_etype=I8)
        count = builder.load(builder.gep(arguments, [ir.Constant(I64, _SIZE)], source_etype=I8), typ=I64)
        result = self._call("vectorcall", POINTER, entry, items, count, null)
        self._release(entry)
        self._unless(self._is(result, self._word("not_implemented")), lambda: self._release(result))
        builder.ret(result)
        builder.position_at_end(self.generic)
        builder.ret(self._call("generic", POINTER, this, arguments, keywords))

    def _word(self, name: str) -> ir.Value:
        place = [ir.Constant(I64, 0), ir.Constant(I64, _WORDS.index(name))]
        return self.builder.load(
            self.builder.gep(self.words, place, source_etype=self.words.value_type), typ=I64
        )

    def _is(self, pointer: ir.Value, address: ir.Value) -> ir.Value:
        return self.builder.icmp_signed("==", self.builder.ptrtoint(pointer, I64), address)

    def _call(self, name: str, result: ir.Type, *operands: ir.Value) -> ir.Value:
        return call_at(self.builder, self._word(name), result, *operands)

    def _release(self, value: ir.Value) -> None:
        self._call("release", ir.VoidType(), value)

    def _go_on_if(self, condition: ir.Value, otherwise: ir.Block) -> None:
        onwards = self.function.append_basic_block()
        self.builder.cbranch(condition, onwards, otherwise)
        self.builder.position_at_end(onwards)

    def _unless(self, condition: ir.Value, tidy: Callable[[], object]) -> None:
        """Where the condition holds, tidy up and go on to CPython's function."""
        with self.builder.if_then(condition):
            tidy()
            self.builder.branch(self.generic)


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
    objects = {"name": id(sys.intern(_SLOT)), "none": id(None), "not_implemented": id(NotImplemented)}
    return objects.get(name, generic)


def _tp_call(cls: type) -> ctypes.c_int64:
    return ctypes.c_int64.from_address(id(cls) + _TP_CALL)


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
