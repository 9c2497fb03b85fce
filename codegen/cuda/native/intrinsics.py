"""What kernels for a device ask of it besides arithmetic: wide loads and stores, exchange between the threads of a warp.

Each function is given Numba's types and those of its operands; it gives the signature and what writes the LLVM.
The simulator has one of the same name: ``codegen/cuda/device/kernel_simulator.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from blockfuse.codegen.values.emitter import I1, I32, I64, constant

Generate = Callable[[Any, ir.IRBuilder, Any, Any], ir.Value]

_ALL_LANES = 0xFFFFFFFF
_BUTTERFLY_MODE, _WARP_LANES = 3, 0x1F  # of a shuffle


def ldv4(types: Any, pointer: Any, index: Any) -> tuple[Any, Generate]:
    """Four neighbours of memory that the launch does not write, from an index that is a multiple of four."""
    return _loaded_four(types, pointer, invariant=True)


def ldv4_written(types: Any, pointer: Any, index: Any) -> tuple[Any, Generate]:
    """The same of memory that the launch may have written, with a barrier in between."""
    return _loaded_four(types, pointer, invariant=False)


def _loaded_four(types: Any, pointer: Any, invariant: bool) -> tuple[Any, Generate]:
    four = types.UniTuple(pointer.dtype, 4)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        base, index = values
        address = _address_of_four(builder, base, index, context.get_data_type(pointer.dtype))
        loaded = builder.load(address)
        loaded.align = _alignment(pointer)
        if invariant:
            loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
        lanes = [builder.extract_element(loaded, constant(n, I32)) for n in range(4)]
        return context.make_tuple(builder, four, lanes)

    return four(pointer, types.uint32), generate


def stv4(types: Any, pointer: Any, index: Any, *elements: Any) -> tuple[Any, Generate]:
    """Four neighbours stored at once, to an index that is a multiple of four."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        base, index, *numbers = values
        element = context.get_data_type(pointer.dtype)
        vector = ir.Constant(ir.VectorType(element, 4), ir.Undefined)
        for n, number in enumerate(numbers):
            vector = builder.insert_element(vector, number, constant(n, I32))
        stored = builder.store(vector, _address_of_four(builder, base, index, element))
        stored.align = _alignment(pointer)
        return context.get_dummy_value()

    return types.void(pointer, types.uint32, *(pointer.dtype,) * 4), generate


def _address_of_four(builder: ir.IRBuilder, base: Any, index: Any, element: ir.Type) -> ir.Value:
    address = builder.gep(base, [builder.zext(index, I64)])
    return builder.bitcast(address, ir.VectorType(element, 4).as_pointer())


def _alignment(pointer: Any) -> int:
    """16 bytes are the most that a thread moves at once."""
    return min(16, 4 * int(pointer.dtype.bitwidth) // 8)


def shfl_xor(types: Any, number: Any, mask: Any) -> tuple[Any, Generate]:
    """The number of the thread whose lane differs in the bits of ``mask``; all threads of the warp must ask."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        value, bits = values
        element, width = value.type, _width(value.type)
        whole = value if isinstance(element, ir.IntType) else builder.bitcast(value, ir.IntType(width))
        if width < 32:
            return builder.trunc(_exchanged(builder, builder.zext(whole, I32), bits), element)
        parts = [builder.trunc(builder.lshr(whole, whole.type(n)), I32) for n in range(0, width, 32)]
        moved = [builder.zext(_exchanged(builder, part, bits), whole.type) for part in parts]
        result = moved[0] if width == 32 else builder.or_(moved[0], builder.shl(moved[1], whole.type(32)))
        return builder.bitcast(result, element)

    return number(number, types.uint32), generate


def _width(element: ir.Type) -> int:
    if isinstance(element, ir.IntType):
        return int(element.width)
    return 32 if isinstance(element, ir.FloatType) else 64


def _exchanged(builder: ir.IRBuilder, word: ir.Value, mask: ir.Value) -> ir.Value:
    signature = ir.FunctionType(ir.LiteralStructType((I32, I1)), (I32,) * 5)
    name = "llvm.nvvm.shfl.sync.i32"
    shuffle = builder.module.globals.get(name) or ir.Function(builder.module, signature, name)
    lanes, mode, group = (constant(n, I32) for n in (_ALL_LANES, _BUTTERFLY_MODE, _WARP_LANES))
    return builder.extract_value(builder.call(shuffle, (lanes, mode, word, mask, group)), 0)


INTRINSICS: dict[str, Callable[..., tuple[Any, Generate]]] = {
    f.__name__: f for f in (ldv4, ldv4_written, stv4, shfl_xor)
}
# name -> number of operands
ARITY = {"ldv4": 2, "ldv4_written": 2, "stv4": 6, "shfl_xor": 2}
