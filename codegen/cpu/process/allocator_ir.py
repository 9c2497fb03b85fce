"""The native code of the allocator, which NumPy and entries call: NOTE [kept memory] in ``allocator.py``."""

from __future__ import annotations

from llvmlite import ir

from blockfuse.codegen.cpu.process.allocator import MIN_KEPT_BYTES, SLOTS, WORDS
from blockfuse.codegen.values.emitter import (
    I1,
    I8,
    I32,
    I64,
    NULL,
    POINTER,
    VOID,
    Emitter,
    Words,
    constant,
)

_LINE_BYTES, _PAGE_BYTES, _HUGE_PAGE_BYTES = 64, 4096, 1 << 21
_MADV_HUGEPAGE = 14  # Linux; NumPy asks for the same


def allocator_ir() -> str:
    """LLVM IR of ``malloc``, ``calloc``, ``realloc`` and ``free`` as NumPy calls them, with the state first."""
    module = ir.Module("allocator")
    take, give = _Take(module), _Give(module)
    take.build()
    give.build()
    _emit_zeros(module, take.function)
    _emit_again(module, take.function, give.function)
    return str(module)


def _function(module: ir.Module, name: str, result: ir.Type, operands: list[ir.Type]) -> ir.Function:
    return ir.Function(module, ir.FunctionType(result, [POINTER, *operands]), name)


class _Take:
    """``malloc(state, size)``."""

    def __init__(self, module: ir.Module) -> None:
        self.function = _function(module, "take", POINTER, [I64])
        self.emit = Emitter.of(self.function, "start")
        self.builder = self.emit.builder
        self.state = Words(self.emit, self.function.args[0], WORDS)

    def build(self) -> None:
        builder, emit = self.builder, self.emit
        size = self.function.args[1]
        with builder.if_then(emit.is_("<", size, MIN_KEPT_BYTES, signed=False)):
            self._give_out_from_library(size)
        more = builder.add(size, constant(_LINE_BYTES + _PAGE_BYTES - 1))
        nbytes = builder.and_(more, constant(-_PAGE_BYTES))
        for slot in SLOTS:
            self._take_from(slot, nbytes)
        block = self._new(nbytes)
        with builder.if_then(emit.is_("==", block, 0)):
            _drop(self.state)
            again = self._new(nbytes)
            with builder.if_then(emit.is_("==", again, 0)):
                builder.ret(NULL)
            self._give_out(again, nbytes)
        self._give_out(block, nbytes)

    def _give_out_from_library(self, size: ir.Value) -> None:
        builder, emit = self.builder, self.emit
        made = self.state.call("malloc", POINTER, builder.add(size, constant(2 * _LINE_BYTES)))
        with builder.if_then(emit.is_null(made)):
            builder.ret(NULL)
        end_of_line = builder.add(emit.address(made), constant(_LINE_BYTES - 1))
        block = builder.and_(end_of_line, constant(-_LINE_BYTES))
        emit.put(emit.pointer(block), 1, emit.address(made))
        self._give_out(block, builder.or_(builder.shl(size, constant(1)), constant(1)))

    def _take_from(self, slot: str, nbytes: ir.Value) -> None:
        builder, emit, block = self.builder, self.emit, self.state.get(slot)
        with (
            builder.if_then(emit.is_("!=", block, 0)),
            builder.if_then(emit.is_("==", emit.word_at(block), nbytes)),
        ):
            self.state.put(slot, 0)
            _add_to_kept(self.state, builder.neg(nbytes))
            builder.ret(self._behind_line(block))

    def _new(self, nbytes: ir.Value) -> ir.Value:
        builder, emit = self.builder, self.emit
        is_huge = emit.is_(">=", nbytes, 2 * _HUGE_PAGE_BYTES, signed=False)
        alignment = builder.select(is_huge, constant(_HUGE_PAGE_BYTES), constant(_PAGE_BYTES))
        made = self.state.call("aligned_alloc", POINTER, alignment, nbytes)
        block = emit.address(made)
        with builder.if_then(builder.and_(is_huge, emit.is_("!=", block, 0))):
            self.state.call("madvise", I32, made, nbytes, constant(_MADV_HUGEPAGE, I32))
        return block

    def _give_out(self, block: ir.Value, nbytes: ir.Value) -> None:
        self.builder.store(nbytes, self.emit.pointer(block))
        self.builder.ret(self._behind_line(block))

    def _behind_line(self, block: ir.Value) -> ir.Value:
        return self.emit.pointer(self.builder.add(block, constant(_LINE_BYTES)))


class _Give:
    """``free(state, pointer, size)``."""

    def __init__(self, module: ir.Module) -> None:
        self.function = _function(module, "give", VOID, [POINTER, I64])
        self.emit = Emitter.of(self.function, "start")
        self.state = Words(self.emit, self.function.args[0], WORDS)

    def build(self) -> None:
        builder, emit, state = self.emit.builder, self.emit, self.state
        block = _block_of(emit, self.function.args[1])
        nbytes = emit.word_at(block)
        with builder.if_then(_is_of_library(emit, nbytes)):
            state.call("free", VOID, emit.pointer(emit.word(emit.pointer(block), 1)))
            builder.ret_void()
        with builder.if_then(emit.is_(">", nbytes, state.get("limit"), signed=False)):
            state.call("free", VOID, emit.pointer(block))
            builder.ret_void()
        sum_kept = builder.add(state.get("kept"), nbytes)
        with builder.if_then(emit.is_(">", sum_kept, state.get("limit"), signed=False)):
            _drop(state)
        _add_to_kept(state, nbytes)
        for slot in SLOTS:
            with builder.if_then(emit.is_("==", state.get(slot), 0)):
                state.put(slot, block)
                builder.ret_void()
        _drop(state)
        state.put(SLOTS[0], block)
        state.put("kept", nbytes)
        builder.ret_void()


def _emit_zeros(module: ir.Module, take: ir.Function) -> None:
    """``calloc(state, count, size)``."""
    function = _function(module, "zeros", POINTER, [I64, I64])
    emit = Emitter.of(function, "start")
    state, *factors = function.args
    nbytes = emit.builder.mul(*factors)
    made = emit.call(take, state, nbytes)
    with emit.builder.if_then(emit.is_("!=", emit.address(made), 0)):
        fill = module.declare_intrinsic("llvm.memset", [POINTER, I64])
        emit.call(fill, made, constant(0, I8), nbytes, constant(0, I1))
    emit.builder.ret(made)


def _emit_again(module: ir.Module, take: ir.Function, give: ir.Function) -> None:
    """``realloc(state, pointer, size)``."""
    function = _function(module, "again", POINTER, [POINTER, I64])
    emit = Emitter.of(function, "start")
    state, before, nbytes = function.args
    made = emit.call(take, state, nbytes)
    with emit.builder.if_then(emit.is_("!=", emit.address(made), 0)):
        held = _size(emit, _block_of(emit, before))
        is_less = emit.is_("<", held, nbytes, signed=False)
        fewer = emit.builder.select(is_less, held, nbytes)
        copy = module.declare_intrinsic("llvm.memcpy", [POINTER, POINTER, I64])
        emit.call(copy, made, before, fewer, constant(0, I1))
        emit.call(give, state, before, nbytes)
    emit.builder.ret(made)


def _drop(state: Words) -> None:
    """Give everything that is kept back to the C library."""
    for slot in SLOTS:
        block = state.pointer(slot)
        state.call("free", VOID, block)  # free(NULL) does nothing
        state.put(slot, 0)
    state.put("kept", 0)


def _add_to_kept(state: Words, nbytes: ir.Value) -> None:
    state.put("kept", state.emit.builder.add(state.get("kept"), nbytes))


def _is_of_library(emit: Emitter, nbytes: ir.Value) -> ir.Value:
    """Whether a block is one of the C library's; nbytes: the first word of its line."""
    return emit.is_("!=", emit.builder.and_(nbytes, constant(1)), 0)


def _size(emit: Emitter, block: ir.Value) -> ir.Value:
    """How many bytes of a block there are for an array."""
    nbytes = emit.word_at(block)
    kept = emit.builder.sub(nbytes, constant(_LINE_BYTES))
    return emit.builder.select(_is_of_library(emit, nbytes), emit.builder.lshr(nbytes, constant(1)), kept)


def _block_of(emit: Emitter, pointer: ir.Value) -> ir.Value:
    return emit.builder.sub(emit.address(pointer), constant(_LINE_BYTES))
