"""A net run eagerly and compiled: do the results agree, and how long does each take."""

from __future__ import annotations

import statistics
import timeit
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter, sleep
from typing import Any

import numpy

from blockfuse.array.functions import random
from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Unstructured, flatten
from blockfuse.ir.errors import UsageError
from blockfuse.runtime.calls.function import HybridFunction
from blockfuse.runtime.cli import onnx_files
from blockfuse.runtime.cli.inputs import Input
from blockfuse.runtime.cli.subjects import Subject
from blockfuse.runtime.inspection import Outcome, settled

_ROUNDS = (5, 15)  # fewest, most
_ROUND = 0.004  # seconds: a round has as many calls as fit
_SETTLE = 0.1  # seconds: NumPy's BLAS threads spin up to that long after a product and hold the cores that they are on
_TOGETHER = 2.0  # seconds: for all rounds, unless calls take so long that the fewest need more
# dtype -> largest difference over the largest element; what is not here must be equal
TOLERANCES = {"float16": 5e-3, "float32": 2e-5, "float64": 1e-11}
# the same between two libraries, which add in other orders and have exponentials of their own
_OTHER_ORDER = {"float16": 1e-2, "float32": 2e-4, "float64": 1e-9}
# precision -> the same for float32, after a few products of random weights
_ROUNDED = {"tf32": 1e-3, "bf16": 2e-2, "int8": 4e-2}


@dataclass(frozen=True)
class Timing:
    """Microseconds a call over several rounds: the median, and the quartiles around it."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def spread(self) -> float:
        """Half the distance of the quartiles, over the median."""
        return (self.high - self.low) / 2 / self.median


@dataclass(frozen=True)
class Difference:
    """absolute: the largest of all elements. relative: over the largest element. within: the tolerance."""

    absolute: float
    relative: float
    within: bool


@dataclass(frozen=True)
class Elsewhere:
    """The same net in ONNX Runtime."""

    difference: (
        Difference | None
    )  # between its results and the compiled ones; None where it does not run the net
    timing: Timing | None
    reason: str = ""  # why it does not


@dataclass(frozen=True)
class Comparison:
    """One net with one size of input."""

    subject: Subject  # the net
    inputs: tuple[Input, ...]  # which arrays it was called with
    outcome: Outcome  # how the compiled calls ran
    difference: Difference  # between eager and compiled results
    eager: Timing  # of calls that Python runs
    compiled: Timing  # of calls that a program runs
    first_call: float  # milliseconds: recording, compiling (or loading) and the eager call itself
    training: str = ""  # of steps of training: by which loss and optimizer
    elsewhere: Elsewhere | None = None  # of calls of an ONNX file

    @property
    def ratio(self) -> float:
        """How many times faster the compiled call is."""
        return self.eager.median / self.compiled.median

    @property
    def agrees(self) -> bool:
        """Whether all results are within the tolerance."""
        other = self.elsewhere.difference if self.elsewhere else None
        return self.difference.within and (other is None or other.within)


def compared(
    subject: Subject, batch: int | None, options: dict[str, Any], tolerance: float | None
) -> Comparison:
    """Run ``subject`` both ways. options: for ``hybridize``; tolerance: in place of ``TOLERANCES``."""
    inputs = subject.inputs_for(batch)
    net = subject.make()
    net = _hybridized(net, options)
    eager = _eager(net)
    expected = _seeded(eager, inputs)
    started = perf_counter()
    results = [_seeded(net, inputs)]
    first_call = (perf_counter() - started) * 1e3
    outcome = settled(net, _arrays(inputs))
    results.append(_seeded(net, inputs))
    limits = _limits(tolerance, options.get("precision", "float32"))
    difference = worst([difference_of(expected, r, limits) for r in results])
    call, elsewhere = _elsewhere(subject, inputs, results[-1], tolerance, options.get("threads"))
    before, after, *others = alternating([eager, net, *([call] if call else [])], _arrays(inputs))
    if elsewhere and others:
        elsewhere = replace(elsewhere, timing=others[0])
    return Comparison(subject, inputs, outcome, difference, before, after, first_call, "", elsewhere)


def _elsewhere(
    subject: Subject, inputs: tuple[Input, ...], result: Any, tolerance: float | None, threads: int | None
) -> tuple[Callable[..., Any] | None, Elsewhere | None]:
    """A call in ONNX Runtime, if it runs the net, and what came of it. result: of the compiled net."""
    if not onnx_files.is_onnx(subject.file):
        return None, None
    if not onnx_files.has_runtime():
        return None, Elsewhere(None, None, "ONNX Runtime is not installed")
    try:
        call = onnx_files.in_runtime(subject.file, _arrays(inputs), threads)
    except UsageError as error:
        return None, Elsewhere(None, None, str(error))
    limits = _OTHER_ORDER if tolerance is None else dict.fromkeys(TOLERANCES, tolerance)
    return call, Elsewhere(difference_of(result, onnx_files.arrays_of(call()), limits), None)


def _limits(tolerance: float | None, precision: str) -> dict[str, float]:
    """The ``TOLERANCES`` of a comparison. tolerance: in place of all of them, if there is one."""
    if tolerance is not None:
        return dict.fromkeys(TOLERANCES, tolerance)
    return {**TOLERANCES, "float32": _ROUNDED.get(precision, TOLERANCES["float32"])}


def _arrays(inputs: tuple[Input, ...]) -> list[ndarray]:
    return [given.array(number) for number, given in enumerate(inputs)]


def _seeded(call: Callable[..., Any], inputs: tuple[Input, ...]) -> Any:
    """A call with arguments of its own, and random draws that start over."""
    random.seed(1)
    return call(*_arrays(inputs))


def _eager(net: Any) -> Callable[..., Any]:
    """What a hybridized call replaces; without the outermost call's own Python, so that ratios do not flatter."""
    if isinstance(net, HybridFunction):
        return net.__wrapped__
    run = net._hybrid.owner.run
    return lambda *arguments: run(arguments, {})


def _hybridized(net: Any, options: dict[str, Any]) -> Any:
    if isinstance(net, HybridFunction):
        return HybridFunction(net.__wrapped__, options)
    net.hybridize(**options)
    return net


# -- results -------------------------------------------------------------------------------------------------


def difference_of(expected: Any, found: Any, limits: Mapping[str, float]) -> Difference:
    """How a result differs from the expected one. limits: as ``TOLERANCES``."""
    pairs = list(zip(_parts(expected), _parts(found), strict=False))
    apart = Difference(numpy.inf, numpy.inf, False)
    if len(_parts(expected)) != len(_parts(found)):
        return apart
    return worst([_array_difference(x, y, limits) if _alike(x, y) else apart for x, y in pairs])


def _parts(result: Any) -> list[Any]:
    """Arrays of a result, then everything else about it."""
    arrays: list[ndarray] = []
    try:
        structure = flatten(result, arrays)
    except Unstructured as kind:
        raise UsageError(f"forward returns a {kind.args[0]}, which cannot be compared") from None
    return [*(numpy.asarray(a._data) for a in arrays), structure]


def _alike(x: Any, y: Any) -> bool:
    if not isinstance(x, numpy.ndarray):
        return bool(x == y)
    return isinstance(y, numpy.ndarray) and x.shape == y.shape and x.dtype == y.dtype


def _array_difference(x: Any, y: Any, limits: Mapping[str, float]) -> Difference:
    if not isinstance(x, numpy.ndarray) or not x.size:
        return Difference(0.0, 0.0, True)
    limit = limits.get(x.dtype.name, 0.0)
    x, y = x.astype(numpy.float64), y.astype(numpy.float64)
    same = (x == y) | (numpy.isnan(x) & numpy.isnan(y))  # equal infinities and nan are no difference
    with numpy.errstate(invalid="ignore"):
        apart = numpy.where(same, 0.0, abs(x - y))
    absolute = float(numpy.nan_to_num(apart, nan=numpy.inf).max())
    largest = float(abs(x[numpy.isfinite(x)]).max(initial=0.0))
    relative = absolute / largest if largest else absolute
    return Difference(absolute, relative, relative <= limit)


def worst(differences: list[Difference]) -> Difference:
    """What is true of all of them together."""
    return Difference(
        max(d.absolute for d in differences),
        max(d.relative for d in differences),
        all(d.within for d in differences),
    )


# -- times ---------------------------------------------------------------------------------------------------


def alternating(calls: list[Callable[..., Any]], arguments: list[Any]) -> tuple[Timing, ...]:
    """The time of each call, in rounds that take turns, so that a slow moment of the machine meets all."""
    names = [f"x{number}" for number in range(len(arguments))]
    scope = dict(zip(names, arguments, strict=True))
    timers = [timeit.Timer(f"call({', '.join(names)})", globals=scope | {"call": call}) for call in calls]
    numbers = [_calls_a_round(timer) for timer in timers]
    times: list[list[float]] = [[] for _ in timers]
    started, (fewest, most) = perf_counter(), _ROUNDS
    for count in range(most):
        if count >= fewest and perf_counter() - started > _TOGETHER:
            break
        for timer, number, measured in zip(timers, numbers, times, strict=True):
            sleep(_SETTLE)
            timer.timeit(1)  # what ran in between has the caches
            measured.append(timer.timeit(number) / number * 1e6)
    return tuple(_timing(measured) for measured in times)


def _calls_a_round(timer: timeit.Timer) -> int:
    number = 1
    while (took := timer.timeit(number)) < _ROUND / 2:
        number *= 2 if took > _ROUND / 20 else 10
    return max(1, round(number * _ROUND / took))


def _timing(times: list[float]) -> Timing:
    low, median, high = statistics.quantiles(times, n=4)
    return Timing(median, low, high, len(times))
