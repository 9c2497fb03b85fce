"""A result as a tensor of the caller's library, by DLPack's function for that: part of NOTE [calls with tensors]."""

from __future__ import annotations

from llvmlite import ir

from blockfuse.codegen.cpu.process import cpython
from blockfuse.codegen.values.emitter import I32, I64, NULL, POINTER, VOID, Words, constant

# words of a DLManagedTensorVersioned, behind which the strides stand
_MANAGED = (
    *("version", "context", "delete", "flags"),
    *("data", "device", "type", "sizes", "strides", "before"),
)
_PROCESSOR = 1  # DLPack's number for the processor's memory
USABLE = (
    cpython.C_CONTIGUOUS_AND_ALIGNED | cpython.WRITEABLE
)  # flags of an array whose memory a tensor may have


class TensorOf:
    """Writes the making of a tensor in the memory of an array."""

    def __init__(self, words: Words, header: Words, array: ir.Value) -> None:
        """words: functions of the interpreter; header: with ``make``, ``version`` and ``delete``."""
        self._emit, self._words, self._header, self._array = words.emit, words, header, array
        self._axes = words.emit.builder.zext(words.emit.field(array, cpython.ARRAY_NDIM, I32), I64)

    def made(self, dtype: ir.Value, otherwise: ir.Block) -> ir.Value:
        """The tensor, null where the library raised. dtype: DLPack's word. otherwise: where there cannot be one."""
        emit, builder = self._emit, self._emit.builder
        flags = builder.and_(emit.field(self._array, cpython.ARRAY_FLAGS, I32), constant(USABLE, I32))
        emit.require(emit.is_("==", flags, USABLE), otherwise)
        nbytes = builder.add(constant(8 * len(_MANAGED)), emit.times(self._axes, 8))
        managed = self._words.call("malloc", POINTER, nbytes)
        emit.require(builder.not_(emit.is_null(managed)), otherwise)
        self._describe(managed, dtype)
        tensor = emit.local(I64)
        answer = self._header.call("make", I32, managed, tensor)
        return builder.select(emit.is_("==", answer, 0), emit.pointer(emit.word(tensor, 0)), NULL)

    def _describe(self, managed: ir.Value, dtype: ir.Value) -> None:
        emit, builder, header = self._emit, self._emit.builder, self._header
        sizes, strides = emit.field(self._array, cpython.ARRAY_DIMS), emit.at(managed, len(_MANAGED))
        values = {
            "version": header.get("version"),
            "context": emit.address(self._array),
            "delete": header.get("delete"),
            "flags": constant(0),
            "data": emit.field(self._array, cpython.ARRAY_DATA),
            "device": constant(_PROCESSOR),
            "type": builder.or_(self._axes, builder.shl(dtype, constant(32))),
            "sizes": sizes,
            "strides": emit.address(strides),
            "before": constant(0),
        }
        for number, name in enumerate(_MANAGED):
            emit.put(managed, number, values[name])
        self._put_strides(emit.pointer(sizes), strides)

    def _put_strides(self, sizes: ir.Value, strides: ir.Value) -> None:
        """Those of elements in order, in elements."""
        emit, builder, stride = self._emit, self._emit.builder, self._emit.local(I64)
        emit.put(stride, 0, 1)
        with emit.counted(0, self._axes) as number:
            axis = builder.sub(builder.sub(self._axes, constant(1)), number)
            emit.put(strides, axis, emit.word(stride, 0))
            emit.put(stride, 0, builder.mul(emit.word(stride, 0), emit.word(sizes, axis)))


def emit_delete(words: Words, managed: ir.Value) -> None:
    """Write what DLPack asks for in the end: letting go of the array.

    Any thread may come, also one that does not hold the interpreter's lock, and when there is no interpreter any more.
    """
    emit = words.emit
    with emit.builder.if_then(emit.is_("!=", words.call("is_initialized", I32), 0)):
        state = words.call("ensure", I32)
        words.call("decref", VOID, Words(emit, managed, _MANAGED).pointer("context"))
        words.call("release", VOID, state)
        words.call("free", VOID, managed)
    emit.builder.ret_void()
