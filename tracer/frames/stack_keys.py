"""The Python stack at a decision as a program point: every frame as a key that can be compared.

NOTE [hidden arrays]
A frame that waits may hold an array on its evaluation stack. Should another frame write to it and forget it, the new
value is in no variable; such a point is the same as no other.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Hashable, Iterable
from typing import Any, Protocol

import numpy

from blockfuse.array import stamps
from blockfuse.array.foreign import standing_for
from blockfuse.array.history import standing
from blockfuse.array.modes import is_training
from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import ATOMS
from blockfuse.array.tape import is_taping
from blockfuse.ir.graph import Node
from blockfuse.ir.placement import owns_memory
from blockfuse.tracer.certificate.ownership import is_interior
from blockfuse.tracer.certificate.traced_numbers import is_traced, text_of
from blockfuse.tracer.code.bytecode import anatomy
from blockfuse.tracer.frames.operand_stack import View, operands_of_call, operands_of_decision, scope_at
from blockfuse.tracer.frames.program_points import InductionValue, Key, Point, Same, Slot, Waiting

Names = tuple[Any, ...]  # frame number, variable, and the way into its containers
_IMMUTABLE = (*ATOMS, range)
# Equal ones may be several objects, which ``is`` tells apart (and a search in a list, if they are nan).
_TOLD_APART = (float, complex, str, bytes, int, range, tuple, list, dict)
_RESUMED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Induction(Protocol):
    """What is known of induction variables (``induction.py``)."""

    def values_in(self, frame: types.FrameType) -> dict[str, InductionValue]: ...

    def measured_in(self, frame: types.FrameType) -> dict[str, Node]: ...

    def iteration(self, frame: types.FrameType, index: int) -> tuple[Any, InductionValue | None] | None: ...


class Arrays(Protocol):
    """What the recorder knows of arrays."""

    known: Any  # ids of objects whose state is certified

    def node_of(self, array: Any) -> Node: ...

    def shares_given_memory(self, array: ndarray) -> bool: ...

    def writes_since(self, time: int) -> set[int]: ...


class Assigned(Protocol):
    """An attribute that the call has assigned."""

    @property
    def holder(self) -> Any: ...
    @property
    def key(self) -> tuple[int, str]: ...


class StackKeys:
    """Takes the points of one path."""

    def __init__(self, arrays: Arrays, induction: Induction) -> None:
        self.known, self.induction = arrays, induction
        self.follows = False  # gradients, so that it matters how arrays stand to what is recorded
        self.arrays: list[ndarray] = []  # that the first slots of the last point hold
        self.time = 0  # how many points were taken
        self._before: list[tuple[types.FrameType, int]] = []  # frames of the point before, and their numbers
        self._since: list[int] = []  # number of a waiting frame -> time when it was first seen
        self._marks: dict[int, tuple[Any, object]] = {}  # id -> an object that cannot be compared, its mark

    def here(
        self,
        outermost: types.FrameType | None,
        on_induction: bool = False,
        assigned: Iterable[tuple[Assigned, Any]] = (),
    ) -> Point:
        """The present point. outermost: the frame that called the recorded call (not part of it).

        on_induction: the decision is about an induction variable, before the instruction where the innermost frame stands.
        assigned: the attributes that were assigned so far, and what they hold.
        """
        frames = _frames(outermost)
        numbers = self._numbers(frames)
        view = _Variables(self.known, self.induction, self._marks)
        keys: list[Hashable] = []
        hidden: set[int] = set()
        for n, frame in enumerate(frames):
            operands = (
                operands_of_call(frame, frames[n + 1])
                if n + 1 < len(frames)
                else operands_of_decision(frame, on_induction)
            )
            plain = view.plain(n, frame, operands)
            keys.append(Waiting(numbers[n], Key(view.waiting(n, frame))) if plain is None else Key(plain))
            hidden |= set() if plain is not None else self.known.writes_since(self._since[numbers[n]])
        keys.append(("modes", is_training(), is_taping()))
        comparable = view.assigned(assigned, keys)
        apart = any(f.f_code.co_flags & _RESUMED for f in frames) or not hidden <= view.arrays.keys()
        apart = apart or not comparable
        self.time += 1
        self.arrays = [array for _, array in view.arrays.values()]
        return Point(tuple(keys), view.slots(self.follows), apart)

    def _numbers(self, frames: list[types.FrameType]) -> list[int]:
        """A number for each frame that it keeps as long as it has not moved."""
        before, numbers = self._before, []
        for n in range(len(frames)):
            pair = range(n, n + 2)
            if n + 1 < min(len(frames), len(before)) and all(frames[m] is before[m][0] for m in pair):
                numbers.append(before[n][1])
            else:
                numbers.append(len(self._since))
                self._since.append(self.time)
        self._before = list(zip(frames, numbers, strict=True))
        return numbers


def _frames(outermost: types.FrameType | None) -> list[types.FrameType]:
    """Frames from the outermost in; those of arrays, tracer and runtime only hand over."""
    found: list[types.FrameType] = []
    frame: types.FrameType | None = sys._getframe(2)
    while frame is not None and frame is not outermost:
        if not is_interior(frame):
            found.append(frame)
        frame = frame.f_back
    return found[::-1]


class _Variables:
    """Variables of all frames at one moment, as keys that can be compared."""

    def __init__(self, known: Arrays, induction: Induction, marks: dict[int, tuple[Any, object]]) -> None:
        self.known, self.induction, self.marks = known, induction, marks
        self.arrays: dict[int, tuple[list[Names], ndarray]] = {}  # id -> the variables that hold it
        self._first: dict[int, tuple[Any, Names]] = {}  # id -> a value, its first variable
        self._induction_slots: list[Slot] = []

    def plain(self, number: int, frame: types.FrameType, operands: int | None) -> Hashable | None:
        """All that there is to a frame, or None if something cannot be seen or compared.

        operands: how many values on its stack belong to the present instruction; None if nobody knows.
        """
        form = anatomy(frame.f_code)
        index = form.index(frame)
        iterations = None if operands is None else self._iterations(number, frame, operands)
        if iterations is None or form.live is None or not frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            return None
        variables = {n: v for n, v in sorted(frame.f_locals.items()) if n in form.live[index]}
        if not all(self._is_comparable(v, 0) for v in variables.values()):
            return None
        values = self._values(number, frame, variables)
        for at, (_, induction) in iterations:
            if induction is not None:
                self._induction_slots.append(Slot((number, at), induction.node, induction=induction))
        where = (Same(frame.f_code), Same(frame.f_globals), index)
        return where, values, tuple((at, key) for at, (key, _) in iterations)

    def waiting(self, number: int, frame: types.FrameType) -> Hashable:
        """All variables of a frame that waits, as far as they can be compared: an array may also be on its stack."""
        return self._values(number, frame, dict(sorted(frame.f_locals.items())))

    def assigned(self, attributes: Iterable[tuple[Assigned, Any]], keys: list[Hashable]) -> bool:
        """Add a key for each attribute that was assigned; whether these tell all that there is to them."""
        comparable = True
        for attribute, value in attributes:
            names = ("attribute", *attribute.key)
            keys.append((*names, Same(attribute.holder), Key(self._key(value, names))))
            comparable = comparable and self._is_comparable(value, 0)
        return comparable

    def slots(self, follows: bool) -> tuple[Slot, ...]:
        owners: dict[int, int] = {}
        slots = []
        for names, array in self.arrays.values():
            group = owners.setdefault(id(stamps.owner_of(array._data)), len(owners))
            node = self.known.node_of(array)
            history = standing(array) if follows else ()
            key = (tuple(names), node.type, group, owns_memory(array._data), history)
            slots.append(Slot(Key(key), node, self.known.shares_given_memory(array)))
        return (*slots, *self._induction_slots)

    # -- the evaluation stack ------------------------------------------------------------------------------

    def _iterations(self, number: int, frame: types.FrameType, operands: int) -> list[Any] | None:
        """What stands on the stack besides operands: iterators at known positions, scopes; None for anything else."""
        form = anatomy(frame.f_code)
        stack = form.stacks[form.index(frame)]
        if stack is None:
            return None
        found: list[Any] = []
        for at in stack[: len(stack) - operands]:
            scope = None if at is None else scope_at(frame, at)
            if scope is not None:
                found.append((at, (Same(scope), None)))
                continue
            iteration = None if at is None else self.induction.iteration(frame, at)
            if iteration is None or not self._is_comparable(iteration[0], 0):
                return None
            found.append((at, (self._key(iteration[0], (number, at)), iteration[1])))
        return found

    # -- values --------------------------------------------------------------------------------------------

    def _values(self, number: int, frame: types.FrameType, variables: dict[str, Any]) -> Hashable:
        inductions, measured = self.induction.values_in(frame), self.induction.measured_in(frame)
        values: list[tuple[str, Hashable]] = []
        for name, value in variables.items():
            if name in inductions:
                self._induction_slots.append(
                    Slot((number, name), inductions[name].node, induction=inductions[name])
                )
                values.append((name, "induction"))
            elif name in measured:
                self._induction_slots.append(Slot((number, name, "measured"), measured[name]))
                values.append((name, "measured"))
            else:
                values.append((name, self._key(value, (number, name))))
        return tuple(values)

    def _key(self, value: Any, names: Names) -> Hashable:
        """What stands for a value: the text of an immutable value, the identity of an object; arrays are slots.

        What an earlier variable holds is that: two objects with one text are two.
        """
        value = standing_for(value)
        kind = type(value)
        if kind is ndarray:
            self.arrays.setdefault(id(value), ([], value))[0].append(names)
            return "array"
        if is_traced(value):
            return "number", text_of(value)
        is_plain = kind in _IMMUTABLE or isinstance(value, numpy.generic | numpy.dtype)
        if not is_plain and id(value) in self.known.known:
            return Same(value)
        if kind in _TOLD_APART or isinstance(value, numpy.generic):
            _, first = self._first.setdefault(id(value), (value, names))
            if first != names:
                return "is", first
        if is_plain:
            return kind, repr(value)
        if kind is tuple or kind is list:
            return kind, tuple(self._key(v, (*names, n)) for n, v in enumerate(value))
        if kind is dict:
            return kind, tuple((repr(k), self._key(v, (*names, repr(k)))) for k, v in value.items())
        if kind is View:
            return value.kind, tuple(self._key(v, (*names, n)) for n, v in enumerate(value.of))
        if kind is types.MethodType:
            return Same(value.__func__), self._key(value.__self__, (*names, "self"))
        if isinstance(value, type | types.ModuleType | types.FunctionType | types.BuiltinFunctionType):
            return Same(value)
        return self.marks.setdefault(id(value), (value, object()))[1]

    def _is_comparable(self, value: Any, depth: int) -> bool:
        """Whether equal keys of two values mean that Python can do nothing different with them."""
        value = standing_for(value)
        kind = type(value)
        if kind is ndarray or kind in _IMMUTABLE or is_traced(value) or id(value) in self.known.known:
            return True
        if isinstance(value, numpy.generic | numpy.dtype):
            return True
        if isinstance(value, type | types.ModuleType | types.BuiltinFunctionType):
            return not isinstance(value, types.BuiltinFunctionType) or isinstance(
                value.__self__, types.ModuleType
            )
        if depth > 8:
            return False
        parts: Any = None
        if kind is tuple or kind is list:
            parts = value
        elif kind is dict and all(type(k) in ATOMS for k in value):
            parts = value.values()
        elif kind is View:
            parts = value.of
        elif kind is types.MethodType:
            parts = (value.__func__, value.__self__)
        return parts is not None and all(self._is_comparable(v, depth + 1) for v in parts)
