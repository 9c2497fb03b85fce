"""Whether a compiled call gave what the eager call gives: in structure, types, random draws, and up to rounding in floats.

NOTE [what is compared]
Structure, shapes, dtypes, whole numbers and truths must be equal, and the random stream must come to the same position.
Floats may differ by ``tolerance``; beyond it they may where rounding explains it (NOTE [rounding]). The eager call works
on copies of the arguments and draws from a stream of its own, so it changes nothing that anybody sees: only calls without
effects have programs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.array import modes
from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Unstructured, flatten_result
from blockfuse.ir import interpreter
from blockfuse.ir.flow import Flow
from blockfuse.ir.lowering import Composite, Contraction, Reduction
from blockfuse.ir.signal_handlers import came_from_handler
from blockfuse.ir.stream import STREAM
from blockfuse.runtime.audit.rounding import NOISES, SPREADS, Noisy, Repeating, distance, largest
from blockfuse.runtime.programs.updates import NO_STATES, States, Updated
from blockfuse.tracer.state.assignments import flatten_assigned


@dataclass(frozen=True)
class Outcome:
    """What a call gave: the structure of its result, the arrays in it, and where the random stream is then."""

    structure: Any  # also of the attributes that it assigned
    arrays: list[numpy.ndarray]  # of the result, of these attributes, and in the memory that it wrote to
    stream: Any = None  # None for a call that does not draw

    @property
    def kinds(self) -> Any:
        return self.structure, [(a.dtype.name, a.shape) for a in self.arrays]


def outcome_of(
    result: Any, draws: bool, held: Sequence[numpy.ndarray] = (), assigned: tuple[Any, ...] = ()
) -> Outcome:
    """draws: whether the call draws random numbers, so that the stream is part of what it gave.

    held: by the memory that the call wrote to. assigned: what the attributes hold that it assigned.
    """
    arrays: list[ndarray] = []
    if type(result) is Updated:
        held = held if result.values is None else [value._data for value in result.values]
        result = result.result
    try:
        structure: Any = flatten_result(result, arrays, [])
        if assigned:
            structure = structure, flatten_assigned(assigned, arrays, [])
    except Unstructured as error:
        raise TypeError(f"the result holds a {error}") from error
    return Outcome(structure, [*(a._data for a in arrays), *held], stream_state() if draws else None)


def stream_state() -> Any:
    """Where the random stream is."""
    return STREAM.generator.bit_generator.state


@dataclass(frozen=True)
class Difference:
    """How a result differs."""

    text: str  # for whoever reads it
    index: int | None = (
        None  # of the array of the result that differs; None where the results are of other kinds
    )
    size: float = math.inf  # of the largest difference in it


@dataclass(frozen=True)
class Repetition:
    """A call that can be made again, in Python."""

    run: Callable[..., Any]  # of copies of ``given``
    given: tuple[Any, ...]
    stream: Any = None  # where the random stream was; None for a call that does not draw
    states: States = NO_STATES  # the memory that the call writes to

    def outcome(self, repeating: Repeating | None = None) -> Outcome:
        """What the call gives in Python, computed by ``repeating``."""
        given = copy.deepcopy(self.given)
        quiet = numpy.errstate(all="ignore")  # NumPy has given its warnings when the call was made first
        with self.again(), modes.unusual(), quiet, interpreter.interpreting(repeating or Repeating()):
            return self.outcome_of(self.run(*given))

    def outcome_of(self, result: Any) -> Outcome:
        """What the call gave, by its result and by what is now in the memory that it wrote to."""
        states, assigned = self.states, result.assigned if type(result) is Updated else None
        return outcome_of(result, self.stream is not None, states.held(), states.changed(assigned))

    @contextmanager
    def again(self) -> Iterator[None]:
        """The context in which the call draws what it drew, and meets the memory that it met."""
        drawing = nullcontext() if self.stream is None else STREAM.drawing_again(self.stream)
        with self.states.rewound(), drawing:
            yield

    def sometimes_works(self) -> bool:
        """Whether rounding decides that the call raises."""
        for seed in range(NOISES):
            try:
                self.outcome(Noisy(seed))
            except Exception as error:
                if came_from_handler(error):
                    raise
                continue
            return True
        return False

    def differs(self, found: Outcome, wanted: Outcome, flow: Flow) -> Difference | None:
        """How ``found`` differs from what the call gives, ``wanted``, in a way that rounding does not explain."""
        difference = difference_of(found, wanted, flow)
        return None if difference is None or self._is_rounding(difference, found, wanted) else difference

    def _is_rounding(self, difference: Difference, found: Outcome, wanted: Outcome) -> bool:
        noises: list[numpy.ndarray] = []
        for seed in range(NOISES):
            try:
                noisy = self.outcome(Noisy(seed))
            except Exception as error:  # rounding decides whether it fails
                if came_from_handler(error):
                    raise
                return True
            if noisy.kinds != wanted.kinds or not _equal_but_floats(noisy, wanted):
                return True
            if difference.index is not None:
                noises.append(noisy.arrays[difference.index])
        if difference.index is None:
            return False
        return _is_within(noises, found.arrays[difference.index], wanted.arrays[difference.index])


def _is_within(noises: list[numpy.ndarray], found: numpy.ndarray, wanted: numpy.ndarray) -> bool:
    """Whether an array is as near as disturbed ones, where rounding does not decide what is infinite or nan."""
    steady = numpy.all([numpy.isfinite(noisy) == numpy.isfinite(wanted) for noisy in noises], axis=0)
    spread = max(distance(noisy[steady], wanted[steady]) for noisy in noises)
    return distance(found[steady], wanted[steady]) <= SPREADS * spread


def difference_of(found: Outcome, wanted: Outcome, flow: Flow) -> Difference | None:
    """The first difference beyond the tolerance; None where there is none."""
    if found.kinds != wanted.kinds:
        return Difference(f"structure, shapes or dtypes\n  compiled {found.kinds}\n  eager    {wanted.kinds}")
    for index, (a, b) in enumerate(zip(found.arrays, wanted.arrays, strict=True)):
        size, limit = distance(a, b), tolerance(b, flow)
        if size > limit:
            count = int(numpy.sum(a != b))
            text = f"array {index} of the result, {b.dtype}{list(b.shape)}, by up to {size:.3g}"
            return Difference(f"{text} in {count} of {b.size} elements (tolerance {limit:.3g})", index, size)
    if found.stream != wanted.stream:
        return Difference("they draw random numbers differently")
    return None


def tolerance(wanted: numpy.ndarray, flow: Flow) -> float:
    """The difference that is taken for rounding without a closer look: for a float dtype its epsilon times the largest
    element times 16 + 2 * sqrt(n), where n is the length of the longest sum in the program; 0 for other dtypes.
    """
    if wanted.dtype.kind != "f" or not wanted.size:
        return 0.0
    return float(numpy.finfo(wanted.dtype).eps) * largest(wanted) * (16 + 2 * math.sqrt(_longest_sum(flow)))


def _longest_sum(flow: Flow) -> int:
    lengths = [1]
    for node in (n for block in flow.blocks for n in block.graph.nodes if n.operands):
        operand = node.operands[0]
        if isinstance(node.operator.lowering, Contraction):
            lengths.append(operand.shape[-1] if operand.shape else 1)
        elif isinstance(node.operator.lowering, Reduction | Composite):
            lengths.append(operand.type.size)
    return max(lengths)


def _equal_but_floats(a: Outcome, b: Outcome) -> bool:
    pairs = zip(a.arrays, b.arrays, strict=True)
    return all(numpy.array_equal(x, y) for x, y in pairs if x.dtype.kind != "f")
