"""The arrays that a caller brings for results, in the native code of NOTE [forms of calls]: who must know of writes to them.

Where that is nobody (``ir/written.py``), an array goes on to the entry, which looks at its memory: no program rests on it,
and no gradient needs it. Else Python writes. Other threads may run meanwhile: who watches the memory afterwards is told.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from blockfuse.codegen.cpu.process import cpython
from blockfuse.codegen.values.emitter import I8, I32, I64, POINTER, VOID, Emitter, Words, constant

# words of a table's header; mark is 0 where results are new
OUT_HEADER = ("mark", "readers", "reader", "memories", "watched", "tell", "wrapper", "slot", "history")


class Stack:
    """Words on the machine's stack, and how many there are."""

    def __init__(self, emit: Emitter, capacity: ir.Value) -> None:
        self.emit = emit
        self.memory = emit.builder.alloca(I64, capacity)
        self._count = emit.local(I64)
        emit.put(self._count, 0, 0)

    @property
    def count(self) -> ir.Value:
        return self.emit.word(self._count, 0)

    def push(self, value: ir.Value) -> None:
        self.emit.put(self.memory, self.count, value)
        self.grow(constant(1))

    def grow(self, count: ir.Value) -> None:
        self.emit.put(self._count, 0, self.emit.builder.add(self.count, count))

    def pop(self) -> ir.Value:
        self.grow(constant(-1))
        return self.emit.word(self.memory, self.count)

    def each(self, use: Callable[[ir.Value], object]) -> None:
        with self.emit.counted(0, self.count) as number:
            use(self.emit.word(self.memory, number))


class Outs:
    """Those of a call. Its words are those of ``fast_call_ir``."""

    def __init__(self, stack: Stack, header: Words, words: Words, refused: ir.Block) -> None:
        self.stack, self._header, self._words, self._refused = stack, header, words, refused
        self.emit, self.builder = stack.emit, stack.emit.builder

    def present(self) -> ir.Value:
        """Whether the form of the call has some."""
        return self.emit.is_("!=", self._header.get("mark"), 0)

    def require_no_other_reader(self) -> None:
        """Nobody is to read memory before it is written, save for gradients."""
        emit, words, readers = self.emit, self._words, self._header.pointer("readers")
        size = words.call("set_size", I64, readers)
        with self.builder.if_then(emit.is_("!=", size, 0)):
            self._require(emit.is_("==", size, 1))
            found = words.call("set_contains", I32, readers, self._header.pointer("reader"))
            self._require(emit.is_("==", found, 1))

    def take(self, given: ir.Value) -> None:
        """One more, if it may be written without a word: NumPy's array that it is, or that lies behind one of ours."""
        is_plain = self._has_type(given, self._words.get("array"))
        array = self.emit.choice(is_plain, lambda: given, lambda: self._array_behind(given))
        flags = self.emit.field(array, cpython.ARRAY_FLAGS, I32)
        writeable = self.builder.and_(flags, constant(cpython.WRITEABLE, I32))
        self._require(self.emit.is_("!=", writeable, 0))
        self._require_unknown(self._owner(array))
        self.stack.push(self.emit.address(array))

    def _array_behind(self, given: ir.Value) -> ir.Value:
        emit, header = self.emit, self._header
        self._require(self._has_type(given, header.get("wrapper")))
        history = self._slot(given, "history")
        no_history = emit.is_("==", history, self._words.get("none"))
        self._require(self.builder.or_(emit.is_("==", history, 0), no_history))
        array = self._slot(given, "slot")
        self._require(emit.is_("!=", array, 0))  # a pending array has no data yet
        self._require(self._has_type(emit.pointer(array), self._words.get("array")))
        return emit.pointer(array)

    def _slot(self, given: ir.Value, name: str) -> ir.Value:
        place = self.emit.at(given, self._header.get(name), I8)
        return self.builder.load(place, typ=I64)

    def _owner(self, array: ir.Value) -> ir.Value:
        """The array that owns the memory, as an address."""
        emit, builder, before = self.emit, self.builder, self.builder.block
        each, following, end = (emit.block(name) for name in ("owner", "base", "found"))
        first = emit.address(array)
        emit.go_to(each)
        owner = emit.merged([(first, before)])
        base = emit.field(emit.pointer(owner), cpython.ARRAY_BASE)
        builder.cbranch(emit.is_("==", base, 0), end, following)
        builder.position_at_end(following)
        type = emit.pointer(emit.field(emit.pointer(base), cpython.OB_TYPE))
        is_array = self._words.call("is_subtype", I32, type, self._words.pointer("array"))
        owner.add_incoming(base, builder.block)
        builder.cbranch(emit.is_("!=", is_array, 0), each, end)
        builder.position_at_end(end)
        return owner

    def _require_unknown(self, owner: ir.Value) -> None:
        key = self._key(owner)
        self._require(self.builder.not_(self.emit.is_null(key)))
        known = self.builder.or_(self._is_in("memories", key), self._is_in("watched", key))
        self._words.call("decref", VOID, key)
        self._require(self.emit.is_("==", known, 0))

    def _key(self, owner: ir.Value) -> ir.Value:
        """The id of an owner, with a reference; null where there is no memory for it."""
        return self._words.call("new_int", POINTER, self.emit.pointer(owner))

    def _is_in(self, registry: str, key: ir.Value) -> ir.Value:
        """1 where it is, 0 where not, -1 for an error."""
        return self._words.call("contains", I32, self._header.pointer(registry), key)

    def put_behind(self, arrays: Stack) -> ir.Value:
        """Put them and the mark behind the arguments of an entry; how many words these are now."""
        emit, builder, count = self.emit, self.builder, arrays.count
        with emit.counted(0, self.stack.count) as number:
            emit.put(arrays.memory, builder.add(count, number), emit.word(self.stack.memory, number))
        mark = builder.add(count, self.stack.count)
        emit.put(arrays.memory, mark, self._header.get("mark"))
        return builder.add(mark, builder.zext(self.present(), I64))

    def in_place_of(self, result: ir.Value, kwargs: ir.Value) -> ir.Value:
        """What the caller gave as ``out``, with a new reference, for what the entry gave; null where telling raised."""
        words, told = self._words, self.emit.local(I64)
        words.call("decref", VOID, result)
        out = words.call("get", POINTER, kwargs, words.pointer("out"))
        words.call("incref", VOID, out)
        self.emit.put(told, 0, self.emit.address(out))
        self.stack.each(lambda array: self._tell_watchers(self.emit.pointer(array), out, told))
        return self.emit.pointer(self.emit.word(told, 0))

    def _tell_watchers(self, array: ir.Value, out: ir.Value, told: ir.Value) -> None:
        """Of one array. told: becomes 0 where that raised, without a reference to ``out``."""
        emit, words = self.emit, self._words
        key = self._key(self._owner(array))
        known = emit.choice(emit.is_null(key), lambda: constant(-1, I32), lambda: self._is_in("watched", key))
        words.call("decref", VOID, key)
        failed = emit.choice(
            emit.is_("==", known, 1), lambda: self._told(array), lambda: emit.is_("==", known, -1)
        )
        self._give_up_where(failed, out, told)

    def _told(self, array: ir.Value) -> ir.Value:
        """Whether telling raised."""
        answer = self._words.call("call", POINTER, self._header.pointer("tell"), array)
        self._words.call("decref", VOID, answer)
        return self.emit.is_null(answer)

    def _give_up_where(self, failed: ir.Value, out: ir.Value, told: ir.Value) -> None:
        there = self.emit.is_("!=", self.emit.word(told, 0), 0)
        with self.builder.if_then(self.builder.and_(failed, there)):
            self._words.call("decref", VOID, out)
            self.emit.put(told, 0, 0)

    def _has_type(self, object: ir.Value, type: ir.Value) -> ir.Value:
        return self.emit.is_("==", self.emit.field(object, cpython.OB_TYPE), type)

    def _require(self, condition: ir.Value) -> None:
        self.emit.require(condition, self._refused)
