"""Memory of large results: on cache lines, and kept for the next result when an array is gone.

NOTE [kept memory]
The C library gives a large block back to the system as soon as it is freed, so that each call of a net with a large result
finds new pages, and a page fault costs more than to write the page: 3.4 against 1.6 ms for ten million elements. NumPy lets
an array have its own functions for memory (NEP 49). Those below keep up to ``BLOCKFUSE_KEEP`` MiB of freed blocks, and give
a block to the next result of the same size. They are called with the interpreter lock held. A block starts with a line
that says how large it is.

An entry takes memory itself and makes NumPy's array around it, which then owns it: NumPy asks the present context for the
functions to use, and to change a context needs memory, twice, where there may be none (CPython 3.11 ends the process then).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy
from llvmlite import ir

from blockfuse.codegen.cpu.native import engine
from blockfuse.codegen.cpu.native.words import I8, I32, I64, POINTER, call_at
from blockfuse.codegen.cpu.process import cpython
from blockfuse.codegen.kernels.machine import Machine

LEAST = 1 << 20  # bytes: smaller results have NumPy's own memory
_LINE, _PAGE, _HUGE_PAGE = 64, 4096, 1 << 21
_MADV_HUGEPAGE = 14  # Linux; NumPy asks for the same
_LIBRARY = ("aligned_alloc", "free", "madvise")
_SLOTS = 4
_FIELDS = ("kept", "limit", *_LIBRARY, *(f"slot{n}" for n in range(_SLOTS)))


def keeper_ir() -> str:
    """LLVM IR of ``malloc``, ``calloc``, ``realloc`` and ``free`` as NumPy calls them, with the state first."""
    module = ir.Module("keeper")
    take, give = _Take(module), _Give(module)
    take.emit()
    give.emit()
    _Zeros(module).emit(take.function)
    _Again(module).emit(take.function, give.function)
    return str(module)


class _Function:
    def __init__(self, module: ir.Module, name: str, result: ir.Type, operands: list[ir.Type]) -> None:
        self.module = module
        self.function = ir.Function(module, ir.FunctionType(result, [POINTER, *operands]), name)
        self.builder = ir.IRBuilder(self.function.append_basic_block("start"))
        self.state = self.function.args[0]

    def _at(self, field: str) -> ir.Value:
        place = ir.Constant(I64, _FIELDS.index(field))
        return self.builder.gep(self.state, [place], source_etype=I64)

    def _get(self, field: str) -> ir.Value:
        return self.builder.load(self._at(field), typ=I64)

    def _put(self, field: str, value: ir.Value | int) -> None:
        self.builder.store(ir.Constant(I64, value) if isinstance(value, int) else value, self._at(field))

    def _add_to_kept(self, value: ir.Value) -> None:
        self._put("kept", self.builder.add(self._get("kept"), value))

    def _call(self, name: str, result: ir.Type, *operands: ir.Value) -> ir.Value:
        return call_at(self.builder, self._get(name), result, *operands)

    def _word_at(self, address: ir.Value) -> ir.Value:
        return self.builder.load(self.builder.inttoptr(address, POINTER), typ=I64)

    def _is(self, sign: str, x: ir.Value, y: ir.Value | int) -> ir.Value:
        return self.builder.icmp_unsigned(sign, x, ir.Constant(I64, y) if isinstance(y, int) else y)

    def drop(self) -> None:
        """Give everything that is kept back to the C library."""
        for slot in range(_SLOTS):
            block = self._get(f"slot{slot}")
            self._call(
                "free", ir.VoidType(), self.builder.inttoptr(block, POINTER)
            )  # free(NULL) does nothing
            self._put(f"slot{slot}", 0)
        self._put("kept", 0)

    def _behind_line(self, block: ir.Value) -> ir.Value:
        return self.builder.inttoptr(self.builder.add(block, ir.Constant(I64, _LINE)), POINTER)

    def _block_of(self, pointer: ir.Value) -> ir.Value:
        return self.builder.sub(self.builder.ptrtoint(pointer, I64), ir.Constant(I64, _LINE))


class _Take(_Function):
    """``malloc(state, size)``."""

    def __init__(self, module: ir.Module) -> None:
        super().__init__(module, "take", POINTER, [I64])

    def emit(self) -> None:
        builder = self.builder
        more = builder.add(self.function.args[1], ir.Constant(I64, _LINE + _PAGE - 1))
        room = builder.and_(more, ir.Constant(I64, -_PAGE))
        for slot in range(_SLOTS):
            self._take_from(f"slot{slot}", room)
        block = self._new(room)
        with builder.if_then(self._is("==", block, 0)):
            self.drop()
            again = self._new(room)
            with builder.if_then(self._is("==", again, 0)):
                builder.ret(ir.Constant(POINTER, None))
            self._give_out(again, room)
        self._give_out(block, room)

    def _take_from(self, slot: str, room: ir.Value) -> None:
        builder, block = self.builder, self._get(slot)
        with (
            builder.if_then(self._is("!=", block, 0)),
            builder.if_then(self._is("==", self._word_at(block), room)),
        ):
            self._put(slot, 0)
            self._add_to_kept(builder.neg(room))
            builder.ret(self._behind_line(block))

    def _new(self, room: ir.Value) -> ir.Value:
        builder = self.builder
        huge = self._is(">=", room, 2 * _HUGE_PAGE)
        alignment = builder.select(huge, ir.Constant(I64, _HUGE_PAGE), ir.Constant(I64, _PAGE))
        made = self._call("aligned_alloc", POINTER, alignment, room)
        block = builder.ptrtoint(made, I64)
        with builder.if_then(builder.and_(huge, self._is("!=", block, 0))):
            self._call("madvise", I32, made, room, ir.Constant(I32, _MADV_HUGEPAGE))
        return block

    def _give_out(self, block: ir.Value, room: ir.Value) -> None:
        self.builder.store(room, self.builder.inttoptr(block, POINTER))
        self.builder.ret(self._behind_line(block))


class _Give(_Function):
    """``free(state, pointer, size)``."""

    def __init__(self, module: ir.Module) -> None:
        super().__init__(module, "give", ir.VoidType(), [POINTER, I64])

    def emit(self) -> None:
        builder = self.builder
        block = self._block_of(self.function.args[1])
        room = self._word_at(block)
        with builder.if_then(self._is(">", room, self._get("limit"))):
            self._call("free", ir.VoidType(), builder.inttoptr(block, POINTER))
            builder.ret_void()
        with builder.if_then(self._is(">", builder.add(self._get("kept"), room), self._get("limit"))):
            self.drop()
        self._add_to_kept(room)
        for slot in range(_SLOTS):
            with builder.if_then(self._is("==", self._get(f"slot{slot}"), 0)):
                self._put(f"slot{slot}", block)
                builder.ret_void()
        self.drop()
        self._put("slot0", block)
        self._put("kept", room)
        builder.ret_void()


class _Zeros(_Function):
    """``calloc(state, count, size)``."""

    def __init__(self, module: ir.Module) -> None:
        super().__init__(module, "zeros", POINTER, [I64, I64])

    def emit(self, take: ir.Function) -> None:
        builder = self.builder
        size = builder.mul(*self.function.args[1:])
        made = builder.call(take, [self.state, size])
        with builder.if_then(self._is("!=", builder.ptrtoint(made, I64), 0)):
            fill = self.module.declare_intrinsic("llvm.memset", [POINTER, I64])
            builder.call(fill, [made, ir.Constant(I8, 0), size, ir.Constant(ir.IntType(1), 0)])
        builder.ret(made)


class _Again(_Function):
    """``realloc(state, pointer, size)``."""

    def __init__(self, module: ir.Module) -> None:
        super().__init__(module, "again", POINTER, [POINTER, I64])

    def emit(self, take: ir.Function, give: ir.Function) -> None:
        builder = self.builder
        _, before, size = self.function.args
        made = builder.call(take, [self.state, size])
        with builder.if_then(self._is("!=", builder.ptrtoint(made, I64), 0)):
            held = builder.sub(self._word_at(self._block_of(before)), ir.Constant(I64, _LINE))
            fewer = builder.select(self._is("<", held, size), held, size)
            copy = self.module.declare_intrinsic("llvm.memcpy", [POINTER, POINTER, I64])
            builder.call(copy, [made, before, fewer, ir.Constant(ir.IntType(1), 0)])
            builder.call(give, [self.state, before, size])
        builder.ret(made)


# -- the keeper of this process ------------------------------------------------------------------------------


class _Handler(ctypes.Structure):
    """NumPy's ``PyDataMem_Handler``, version 1."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("state", ctypes.c_void_p),
        *((name, ctypes.c_void_p) for name in ("malloc", "calloc", "realloc", "free")),
    )


class CachingAllocator:
    """Functions for memory as a capsule that NumPy takes; it stays for good, since arrays point to it."""

    def __init__(self, code: bytes, machine: Machine, limit: int) -> None:
        self._code = engine.load(code, machine)
        self._state = numpy.zeros(len(_FIELDS), numpy.int64)
        self._state[_FIELDS.index("limit")] = limit
        for name in _LIBRARY:
            self._state[_FIELDS.index(name)] = cpython.library_address(name)
        functions = (self._code.address(name) for name in ("take", "zeros", "again", "give"))
        self._handler = _Handler(b"blockfuse", 1, self._state.ctypes.data, *functions)
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        self._name = b"mem_handler"
        self.capsule = new(ctypes.addressof(self._handler), self._name, None)
        made = cpython.made_with_handler(self.capsule, LEAST)
        self._known = cpython.handler_is_known(made, self.capsule)

    def words(self) -> dict[str, int]:
        """What an entry needs of it; nothing where arrays do not look as they should."""
        if not self._known:
            return {}
        words = {name: self._code.address(name) for name in ("take", "give")}
        return {**words, "keeper": id(self.capsule), "keeper_state": self._state.ctypes.data}

    @property
    def kept(self) -> int:
        """Bytes that are kept for results to come."""
        return int(self._state[_FIELDS.index("kept")])


_keeper: CachingAllocator | None = None


def keeper(code: Callable[[], bytes], machine: Machine, limit: int) -> CachingAllocator:
    """The one of this process; made at first use."""
    global _keeper
    if _keeper is None:
        _keeper = engine.for_good(CachingAllocator(code(), machine, limit))
    return _keeper
