"""The tree of segments: what a call deferred before, step by step."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Protocol

import numpy

from blockfuse.array import stamps
from blockfuse.array.eager import data_of
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.lowering import Composite, Contraction, Joining, Movement, Pointwise, Reduction
from blockfuse.ir.operator import Operator
from blockfuse.ir.types import DTYPES, TensorType

_MAX_STEPS = 4096  # of one tree; operators beyond run at once
_RUNS_BEFORE_COMPILING = 2  # runs of a segment
_MAX_WANTED_SETS = 16  # sets of values of which a segment was asked for; further ones are computed by NumPy

SEGMENT_NANOSECONDS = 4000.0  # what a segment costs besides its kernels
DEFERRAL_NANOSECONDS = 1500.0  # what an operator that waits costs more than one that does not

_DEFERRABLE = (Pointwise, Reduction, Contraction, Composite, Joining, Movement)
NUMBERS = (bool, int, float)
WIDENED = (int, float)  # types of numbers that may become leaves

PENDING, VIEW, DIRECT = "pending", "view", "direct"


class Runner(Protocol):
    """A compiled segment. work: of its kernels, estimated in nanoseconds."""

    work: float

    def __call__(self, leaves: list[ndarray]) -> list[numpy.ndarray] | None:
        """The wanted values from the leaves, in order; None where the program does not fit any more."""


class Step:
    """A node of the tree: one operator after others."""

    __slots__ = (
        *("alike", "attrs", "children", "count", "dtype", "kind", "leaves", "number", "operands", "operator"),
        *("parent", "runs", "shape", "work"),
    )

    def __init__(self, parent: Step | None = None, kind: str = DIRECT) -> None:
        self.parent = parent
        self.kind = kind  # see NOTE [segments]
        self.count: int = parent.count + 1 if parent is not None else 0  # of values so far
        self.operator: Operator | None = None
        # for each its index (a value's number, or -1, -2, ... for leaves), or a Python number as (type, value)
        self.operands: tuple[Any, ...] = ()
        self.attrs: dict[str, Any] = {}
        # those that it adds: the array itself where the net holds it, else its type
        self.leaves: tuple[ndarray | TensorType, ...] = ()
        # the operand that is a Python number but read as a leaf, and its dtype
        self.number: tuple[int, numpy.dtype] | None = None
        self.shape: tuple[int, ...] = ()
        self.dtype: numpy.dtype = numpy.dtype(bool)
        self.work = 0.0  # about what NumPy needs for all values so far, in nanoseconds
        self.children: dict[Any, Step] = {}  # key -> step
        self.alike: dict[Any, int] = {}  # key without its number -> how many children have it
        # wanted values -> how often, then the runner, or None where there is none
        self.runs: dict[tuple[int, ...], int | Runner | None] = {}

    def path(self) -> list[Step]:
        """The steps from the first one to this one."""
        found: list[Step] = []
        step = self
        while step.parent is not None:
            found.append(step)
            step = step.parent
        return found[::-1]


class Tree:
    """The segments of one block or function.

    held(blocks): the arrays of parameters, by id, also those of blocks that were met. compile(step, wanted): a runner for a
    segment, or None. min_work: a segment is compiled if NumPy would take longer than so many nanoseconds.
    """

    def __init__(
        self,
        held: Callable[[list[Any]], dict[int, ndarray]],
        compile: Callable[[Step, tuple[int, ...]], Runner | None],
        min_work: float,
    ) -> None:
        self._find_held, self._compile, self._min_work = held, compile, min_work
        self._met: dict[int, weakref.ref[Any]] = {}  # id of a block that ran -> the block
        self._restart({})

    def _restart(self, held: dict[int, ndarray]) -> None:
        self.root = Step()
        self.held = held
        self.size = 0

    def meet(self, block: Any) -> None:
        """``block`` is about to run."""
        key, met = id(block), self._met
        if key not in met:
            met[key] = weakref.ref(block, lambda _: met.pop(key, None))

    @property
    def full(self) -> bool:
        """Whether operators that are not in it run one by one."""
        return self.size >= _MAX_STEPS

    def finds_more(self, operands: tuple[Any, ...]) -> bool:
        """Look for the arrays of parameters again; whether one of ``operands`` is a new one."""
        before = self.held
        met = [
            block for block in (reference() for reference in tuple(self._met.values())) if block is not None
        ]
        now = {i: a for i, a in self._find_held(met).items() if not stamps.is_exposed(a._data)}
        if before.keys() <= now.keys():
            self.held = now
        else:  # the steps hold arrays that the parameters have left
            self._restart(now)
        return any(id(o) in now and id(o) not in before for o in operands)

    def add(self, parent: Step, key: tuple[Any, ...], step: Step) -> Step:
        """``step`` as a child of ``parent``; where another thread was quicker, the one that it made."""
        self.size += 1
        return parent.children.setdefault(key, step)

    def runner(self, step: Step, wanted: tuple[int, ...]) -> tuple[Runner | None, bool]:
        """What computes ``wanted``, None where NumPy does; and whether that may still change."""
        run = step.runs.get(wanted, 0)
        if type(run) is not int:
            return run, False  # type: ignore[return-value]
        if run == 0 and (len(step.runs) >= _MAX_WANTED_SETS or step.work <= self._min_work):
            return None, False
        step.runs[wanted] = run = run + 1
        if run == _RUNS_BEFORE_COMPILING:
            step.runs[wanted] = self._compile(step, wanted)
        return None, True


# -- what a step is ------------------------------------------------------------------------------------------


def array_of(operand: Any) -> numpy.ndarray:
    return numpy.asarray(data_of(operand))


def kind_of(operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any], result: ndarray) -> str:
    """What the first result of a step says of it; see NOTE [segments] and NOTE [exceptions of operators]."""
    numbers = [o if type(o) in WIDENED else array_of(o) for o in operands]
    arrays = [a for a in numbers if isinstance(a, numpy.ndarray)]
    owner = stamps.owner_of(result._data)
    shares = any(stamps.owner_of(a) is owner for a in arrays)
    if operator.random or not isinstance(operator.lowering, _DEFERRABLE):
        return DIRECT
    if isinstance(operator.lowering, Pointwise) and not _has_loop(
        operator, operator.lowering, numbers, attrs
    ):
        return DIRECT
    if not all(a.size and _is_carried(a.dtype) for a in (result._data, *arrays)):
        return DIRECT
    if shares:
        return VIEW if isinstance(operator.lowering, Movement) and not stamps.is_exposed(owner) else DIRECT
    return PENDING if result._data.flags.c_contiguous else DIRECT


def _is_carried(dtype: numpy.dtype) -> bool:
    return dtype.isnative and dtype.name in DTYPES and dtype != numpy.float16


def _has_loop(operator: Operator, lowering: Pointwise, operands: list[Any], attrs: dict[str, Any]) -> bool:
    """Whether a kernel computes these types."""
    assert operator.loop is not None
    dtypes = operator.loop(*(o.dtype if isinstance(o, numpy.ndarray) else o for o in operands), **attrs)
    return all(d.kind in lowering.kinds for d in dtypes[:-1])
