"""Fields of another library's tensors in native code: NOTE [tensors in native code]."""

from __future__ import annotations

from llvmlite import ir

from blockfuse.codegen.values.emitter import I8, I64, POINTER, Emitter, Words
from blockfuse.ir.tensor_layout import PLACE_WORDS

_I16 = ir.IntType(16)


class TensorFields:
    """Writes reads of the fields of one tensor."""

    def __init__(self, layout: Words, object: ir.Value) -> None:
        """layout: words that have the names of ``LAYOUT_WORDS``; object: Python's."""
        self._emit, self._layout = layout.emit, layout
        self.tensor = self.at(object, "inner", POINTER)

    def at(self, base: ir.Value, name: str, type: ir.Type = I64) -> ir.Value:
        """What stands in ``base`` where the layout has a field of this name."""
        place = self._emit.at(base, self._layout.get(name), I8)
        return self._emit.builder.load(place, typ=type)

    def word(self, name: str) -> ir.Value:
        return self.at(self.tensor, name)

    def place(self, name: str) -> ir.Value:
        """Where a field stands."""
        return self._emit.at(self.tensor, self._layout.get(name), I8)

    def dtype(self) -> ir.Value:
        return self._emit.builder.zext(self.at(self.tensor, "dtype", _I16), I64)

    def memory(self) -> ir.Value:
        """The address of the memory that the tensor lies in."""
        return self.at(self.at(self.tensor, "storage", POINTER), "data")

    def wants_gradient(self) -> ir.Value:
        """0 or not."""
        meta = self.at(self.tensor, "meta", POINTER)
        is_null = self._emit.is_null(meta)
        return self._emit.choice(is_null, lambda: ir.Constant(I64, 0), lambda: self._gradient_of(meta))

    def _gradient_of(self, meta: ir.Value) -> ir.Value:
        builder, follows = self._emit.builder, self._emit.is_("!=", self.at(meta, "history"), 0)
        wanted = self._emit.is_("!=", self.at(meta, "gradient", I8), 0)
        return builder.zext(builder.or_(wanted, follows), I64)


def compare_place(emit: Emitter, object: ir.Value, place: ir.Value, failed: ir.Block) -> None:
    """Go on where a tensor lies as ``TensorPlace.words`` say, whose address ``place`` is."""
    known = Words(emit, emit.pointer(place), PLACE_WORDS)
    fields = TensorFields(known, object)
    emit.require(emit.is_("==", fields.memory(), known.get("known_data")), failed)
    emit.require(emit.is_("==", fields.dtype(), known.get("known_dtype")), failed)
    emit.require(emit.is_("==", fields.wants_gradient(), known.get("known_gradient")), failed)
    pairs = emit.at(known.table, len(PLACE_WORDS))
    with emit.counted(0, known.get("pairs")) as number:
        pair = emit.at(pairs, emit.times(number, 2))
        found = emit.builder.load(emit.at(fields.tensor, emit.word(pair, 0), I8), typ=I64)
        emit.require(emit.is_("==", found, emit.word(pair, 1)), failed)
