"""Numbers of Python that a function takes of arrays and only compares: ``err = float(a.max())``, then ``while err > tol``.

NOTE [measured numbers]
What ``float(a)`` or ``a.item()`` gives is a number of Python, of which nobody sees where it goes. But one that is stored
to a local variable at once is as good as the array where the byte code shows that the function only compares it and jumps:
its comparison is a decision like those about arrays, in float64, and at a point the variable is a slot. So is one that is
compared at once, ``if float(a) < 1``, where ``a`` is a variable. Every other load of the variable is told to the recorder,
which stops, as it does where a number is taken in any other way. Cells, generators and functions that are not understood
have none. That the function got the very number, and not what C code made of it on the way (a class may say
``__float__ = partial(math.fabs, a)``), is certain because it is the same object, or because the variable holds the array.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

from blockfuse.array.ndarray import ndarray
from blockfuse.ir.graph import Node, Source, literal
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators import pointwise
from blockfuse.ir.types import TensorType, tensor
from blockfuse.tracer.certificate.ownership import is_interior, source_of
from blockfuse.tracer.code.bytecode import Anatomy, anatomy, once_per_code
from blockfuse.tracer.frames.operand_stack import Unknown, call_base, called, understood, value_of

_NUMBER, _TRUTH = tensor((), "float64"), tensor((), "bool")
_MAX_WHOLE = 1 << 53  # whole numbers that are the same in float64
_COMPARISONS: dict[str, tuple[Operator, Callable[[float, float], bool]]] = {
    "<": (pointwise.less, float.__lt__),
    "<=": (pointwise.less_equal, float.__le__),
    ">": (pointwise.greater, float.__gt__),
    ">=": (pointwise.greater_equal, float.__ge__),
    "==": (pointwise.equal, float.__eq__),
    "!=": (pointwise.not_equal, float.__ne__),
}
# What asks for the number -> the method that a function must have called itself.
_WAYS = {"float()": ndarray.__float__.__code__, "item()": ndarray.item.__code__}

Stretch = tuple[int, int]  # from where to where a value is computed
Operand = str | int | Stretch  # a variable, the call that takes a number, or anything else


class Writer(Protocol):
    """What is told of measured numbers (the recorder)."""

    problem: str

    def induction_step(
        self, operator: Operator, operands: tuple[Node, ...], type: TensorType, source: Source
    ) -> Node: ...

    def decide_measured(self, predicate: Node, outcome: bool, source: Source) -> None: ...

    def use_measured(self, node: Node, what: str) -> None: ...

    def impure(self, what: str) -> None: ...


@dataclass(frozen=True)
class Measured:
    """A number of Python, and the node that computes it."""

    value: float
    node: Node


# -- what the byte code says ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Take:
    """Before a call that may take a number: of the array that ``variable`` holds, where it is compared at once."""

    variable: str | None


@dataclass(frozen=True)
class _Store:
    """Before a variable is set; by which call, if by one that may take a number."""

    target: str
    call: int | None


@dataclass(frozen=True)
class _Test:
    """Before a comparison that a jump follows."""

    operator: str
    operands: tuple[Operand, Operand]


@dataclass(frozen=True)
class _Use:
    """Before the value of a variable goes elsewhere."""

    variable: str


@dataclass(frozen=True, eq=False)
class Measures:
    """variables: those that may hold measured numbers. sites: index in the byte code -> what happens there."""

    variables: frozenset[str]
    sites: dict[int, _Take | _Store | _Test | _Use]


_NOTHING = Measures(frozenset(), {})


@once_per_code
def measures(code: types.CodeType) -> Measures:
    """Where a function may take numbers that it only compares."""
    form = anatomy(code)
    suspended = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
    if form.live is None or code.co_flags & suspended or not code.co_flags & inspect.CO_OPTIMIZED:
        return _NOTHING
    calls = {n for n in range(len(form.instructions)) if _may_take(form, n)}
    stored = {n: c for n in calls if (c := _stored(form, n)) is not None}
    removed = {i.argval for i in form.instructions if i.opname in ("DELETE_FAST", "LOAD_FAST_AND_CLEAR")}
    variables = frozenset(stored.values()) - removed
    asked = {n for n in calls if _asked(form, n) is not None}
    found = ((n, _test(form, n, asked, variables)) for n in range(len(form.instructions)))
    tests = {n: test for n, test in found if test is not None}
    compared = {o for test in tests.values() for o in test.operands if isinstance(o, int)}
    taken = compared | {n for n, name in stored.items() if name in variables}
    if not taken:
        return _NOTHING
    sites: dict[int, _Take | _Store | _Test | _Use] = {
        n: _Take(_asked(form, n) if n in compared else None) for n in taken
    }
    sites.update(tests)
    followed = {part for n in tests for part in _loads(form, n)}
    for n, instruction in enumerate(form.instructions):
        if instruction.argval in variables and "_FAST" in instruction.opname and n not in followed:
            if instruction.opname == "STORE_FAST":
                sites[n] = _Store(instruction.argval, n - 1 if n - 1 in stored else None)
            else:
                sites[n] = _Use(instruction.argval)
    return Measures(variables, sites)


def _may_take(form: Anatomy, index: int) -> bool:
    """Whether an instruction may be the call in ``float(a)`` or ``a.item()``."""
    instruction, base = form.instructions[index], call_base(form, index)
    if instruction.opname != "CALL" or base is None or instruction.arg not in (0, 1):
        return False
    if instruction.arg == 1:
        loads = (form.instructions[n] for n in range(index) if form.depth(n) <= base)
        return any(i.opname == "LOAD_GLOBAL" and i.argval == "float" for i in loads)
    last = next(i for i in reversed(form.instructions[:index]) if i.opname != "PRECALL")
    return last.opname in ("LOAD_METHOD", "LOAD_ATTR") and last.argval == "item"


def _asked(form: Anatomy, index: int) -> str | None:
    """The variable of whose array a call takes the number."""
    at = index - 1 - (form.instructions[index - 1].opname == "PRECALL") - (form.instructions[index].arg == 0)
    return str(form.instructions[at].argval) if form.instructions[at].opname == "LOAD_FAST" else None


def _stored(form: Anatomy, index: int) -> str | None:
    """The variable to which the result of a call goes at once."""
    after = index + 1
    if after == len(form.instructions) or after in form.targets:
        return None
    following = form.instructions[after]
    return following.argval if following.opname == "STORE_FAST" else None


def _test(form: Anatomy, index: int, calls: set[int], variables: frozenset[str]) -> _Test | None:
    instruction = form.instructions[index]
    if instruction.opname != "COMPARE_OP" or {index, index + 1} & form.targets:
        return None
    starts = _starts(form, index)
    if starts is None or not form.instructions[index + 1].opname.startswith("POP_JUMP"):
        return None
    start, middle = starts
    left, right = (_operand(form, f, e, calls) for f, e in ((start, middle), (middle, index)))
    if left is None or right is None or instruction.argval not in _COMPARISONS:
        return None
    concerned = any(isinstance(o, int) or o in variables for o in (left, right))
    return _Test(instruction.argval, (left, right)) if concerned else None


def _starts(form: Anatomy, index: int) -> tuple[int, int] | None:
    middle = form.start_of(index)
    start = None if middle is None else form.start_of(middle)
    return None if middle is None or start is None else (start, middle)


def _operand(form: Anatomy, first: int, end: int, calls: set[int]) -> Operand | None:
    if end - 1 in calls:
        return end - 1
    if end == first + 1 and form.instructions[first].opname == "LOAD_FAST":
        return str(form.instructions[first].argval)
    return (first, end) if all(understood(i) for i in form.instructions[first:end]) else None


def _loads(form: Anatomy, index: int) -> Iterator[int]:
    """The loads of variables that a test stands for."""
    start, middle = _starts(form, index) or (index, index)
    for first, end in ((start, middle), (middle, index)):
        if end == first + 1:
            yield first


# -- while a frame runs -----------------------------------------------------------------------------------------


class FrameMeasures:
    """Follows the measured numbers of a frame that runs."""

    def __init__(self, frame: types.FrameType, plan: Measures, writer: Writer) -> None:
        self._frame, self._plan, self._writer = frame, plan, writer
        self._form = anatomy(frame.f_code)
        self._values: dict[str, Measured] = {}
        self._taken: dict[int, Measured] = {}  # call -> the number that is on the evaluation stack since

    @property
    def sites(self) -> Container[int]:
        """The instructions before which ``step`` has something to do."""
        return self._plan.sites

    def step(self, index: int) -> None:
        """The frame is about to run an instruction."""
        site = self._plan.sites.get(index)
        if isinstance(site, _Take):
            self._taken.pop(index, None)
        elif isinstance(site, _Store):
            self._store(site)
        elif isinstance(site, _Test):
            self._test(site)
        elif isinstance(site, _Use):
            self._use(site.variable)

    def is_taking(self, inner: types.CodeType, array: ndarray) -> bool:
        """Whether the frame stands where it takes the number of ``array``, by a method that has the code ``inner``."""
        index = self._form.index(self._frame)
        site = self._plan.sites.get(index)
        if not isinstance(site, _Take):
            return False
        if site.variable is not None and self._frame.f_locals.get(site.variable) is not array:
            return False
        if self._form.instructions[index].arg == 1:
            return inner is _WAYS["float()"] and called(self._frame) is float
        return inner is _WAYS["item()"]

    def take(self, number: Measured) -> None:
        self._taken[self._form.index(self._frame)] = number

    def given(self, value: Any) -> None:
        """The method of the array has returned ``value``."""
        number = self._taken.get(self._form.index(self._frame))
        if number is not None and type(value) is float:
            self._taken[self._form.index(self._frame)] = replace(number, value=value)

    def values(self) -> dict[str, Node]:
        """The variables that hold measured numbers, or numbers that are the same in every call."""
        names = self._plan.variables
        return {n: found.node for n in names if (found := self._held(n)) is not None}

    def return_to(self, now: dict[Node, Node], gone: frozenset[Node]) -> None:
        """See NOTE [forgotten rounds]."""
        self._values = _returned(self._values, now, gone)
        self._taken = _returned(self._taken, now, gone)

    def _store(self, site: _Store) -> None:
        self._values.pop(site.target, None)
        taken = None if site.call is None else self._taken.pop(site.call, None)
        if taken is not None:
            self._values[site.target] = taken

    def _test(self, site: _Test) -> None:
        left, right = (self._number(o) for o in site.operands)
        if left is None or right is None:
            for operand in site.operands:
                self._use(operand)
            return
        compare, meaning = _COMPARISONS[site.operator]
        source = source_of(self._frame)
        predicate = self._writer.induction_step(compare, (left.node, right.node), _TRUTH, source)
        self._writer.decide_measured(predicate, meaning(left.value, right.value), source)

    def _use(self, operand: Operand) -> None:
        number = self._taken.get(operand) if isinstance(operand, int) else None
        if isinstance(operand, str):
            number = self._values.get(operand)
        if number is not None:
            name = f"{operand}, " if isinstance(operand, str) else ""
            self._writer.use_measured(number.node, f"{name}a number that was taken of an array")

    def _number(self, operand: Operand) -> Measured | None:
        if isinstance(operand, int):
            return self._taken.get(operand)
        if isinstance(operand, str) and operand in self._plan.variables:
            return self._held(operand)
        try:
            value = value_of(self._frame, operand)
        except Unknown:
            return None
        return _constant(value)

    def _held(self, name: str) -> Measured | None:
        value, known = self._frame.f_locals.get(name), self._values.get(name)
        if known is not None and value is not known.value:
            self._writer.impure(f"changes {name} in a way that was not seen")
        elif known is None and type(value) is float:
            known = self._values[name] = Measured(value, literal(value, _NUMBER.dtype))
        return known


def _constant(value: Any) -> Measured | None:
    """A number that is the same in every call; None where float64 may not hold it."""
    if type(value) is float or (type(value) is int and abs(value) <= _MAX_WHOLE):
        return Measured(float(value), literal(float(value), _NUMBER.dtype))
    return None


def _returned(
    numbers: dict[Any, Measured], now: dict[Node, Node], gone: frozenset[Node]
) -> dict[Any, Measured]:
    return {
        key: replace(number, node=now.get(number.node, number.node))
        for key, number in numbers.items()
        if number.node in now or number.node not in gone
    }


def taking_frame() -> tuple[types.FrameType, types.CodeType] | None:
    """The frame that asks an array for its number, and the code of the array's method that it called."""
    frame: types.FrameType | None = sys._getframe(1)
    inner: types.FrameType | None = None
    while frame is not None and is_interior(frame):
        frame, inner = frame.f_back, frame
    return None if frame is None or inner is None else (frame, inner.f_code)
