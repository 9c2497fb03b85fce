"""Where two meanings of a random program differ: NumPy's, the recorded graph's, those after passes, and the native ones.

Rounding is judged as in ``twins.py``: a difference counts when it is far outside of what disturbed last bits do
(NOTE [rounding] in ``runtime/audit/rounding.py``).
"""

from __future__ import annotations

import contextlib
import linecache
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy
from numpy_programs import NAMESPACES
from pictures import LIMITS
from random_graphs import Case, Value

import blockfuse
from blockfuse import np, npx
from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.compile import Compiled, compile_flow
from blockfuse.codegen.cpu.native import isa
from blockfuse.codegen.meaning.schedules import meaning_of
from blockfuse.ir.errors import CompilerWarning
from blockfuse.ir.graph import Graph, Node, argument, evaluate, graph_of, leaf, literal, parameter
from blockfuse.ir.interpreter import interpreting
from blockfuse.ir.stream import STREAM
from blockfuse.ir.verify import verify
from blockfuse.runtime.audit.rounding import NOISES, SPREADS, Noisy, distance
from blockfuse.tracer.recording.recorder import Recorder

MACHINES = [isa.machine(level, threads) for level in isa.LEVELS for threads in (1, 2)]
SCALES = (1.0, 0.25, 3.0, 0.0)


class Fault(AssertionError):  # noqa: N818 - as in twins
    """A stage gives another result than the one before it. mode: the function of this file that shows it.

    kind: what to tell it by from others; ``shown`` says more.
    """

    def __init__(self, case: Case, mode: str, kind: str, shown: str) -> None:
        super().__init__(f"{kind}: {shown}")
        self.case, self.mode, self.kind, self.shown = case, mode, kind, shown

    @property
    def script(self) -> str:
        """A program that shows the fault when it is run in ``tests/``."""
        types = ", ".join(f"{n!r}: Type({t.shape}, {t.dtype!r})" for n, t in self.case.arguments.items())
        return (
            f"from differing import {self.mode}\nfrom random_graphs import Case, Type\n\n"
            f'SOURCE = """\\\n{self.case.source}"""\n\n'
            f"# {self.kind}: {' '.join(self.shown.split())[:200]}\n"
            f"{self.mode}(Case(SOURCE, {{{types}}}, seed={self.case.seed}))\n"
        )


class Chaotic(Exception):  # noqa: N818 - an answer, not a failure
    """Rounding decides what comes out."""


class Unsupported(Exception):  # noqa: N818 - as above
    """The program stays in Python, for the reason given."""


@dataclass
class Run:
    """What became of one program: for coverage."""

    compiled: Compiled | None = None
    left: str = ""


@dataclass(frozen=True)
class Function:
    """The functions of a program: over NumPy's arrays, and over ours."""

    case: Case
    meaning: Callable[..., Any] = field(init=False)
    ours: Callable[..., Any] = field(init=False)

    def __post_init__(self) -> None:
        source, name = self.case.source, "<random graph>"
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        code = compile(source, name, "exec")
        for who, space in (("ours", {"np": np, "npx": npx}), ("meaning", dict(NAMESPACES))):
            exec(code, space)
            object.__setattr__(self, who, space["function"])

    def numpy(self, values: Sequence[Value]) -> list[Value] | Exception:
        with _quiet():
            try:
                return [numpy.asarray(v) for v in _several(self.meaning(*(v.copy() for v in values)))]
            except Exception as error:
                return error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings, and all random draws from the start of the stream."""
    STREAM.seed(0)
    with warnings.catch_warnings(), numpy.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", CompilerWarning)
        yield


def _several(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def _ours(values: Sequence[Value]) -> list[ndarray]:
    return [ndarray(v.copy()) for v in values]


def _data(results: Any) -> list[Value]:
    return [r.asnumpy() for r in _several(results)]


# -- comparing -------------------------------------------------------------------------------------------------


def difference(found: Sequence[Value], wanted: Sequence[Value]) -> tuple[str, str]:
    """What differs, and where; nothing where all that differs is rounding as it usually is."""
    for number, (a, b) in enumerate(zip(found, wanted, strict=True)):
        if a.shape != b.shape or a.dtype != b.dtype:
            what = "shape" if a.shape != b.shape else "dtype"
            return what, f"result {number} is {a.dtype}{list(a.shape)}, not {b.dtype}{list(b.shape)}"
        if not _close(a, b):
            return "values", f"result {number} at {_where(a, b)}"
    return "", ""


def _close(a: Value, b: Value) -> bool:
    if a.tobytes() == b.tobytes():
        return True
    if b.dtype.kind != "f":
        return bool(numpy.array_equal(a, b))
    limit = LIMITS[b.dtype.name]
    with numpy.errstate(all="ignore"):
        scale = float(numpy.abs(b[numpy.isfinite(b)]).max(initial=1e-3))
        return bool(numpy.allclose(a, b, rtol=limit, atol=min(limit, limit * scale), equal_nan=True))


def _where(a: Value, b: Value) -> str:
    """The first place with a difference."""
    limit = LIMITS.get(b.dtype.name, 0)
    with numpy.errstate(all="ignore"):
        near = numpy.isclose(a, b, rtol=limit, atol=limit * 1e-3, equal_nan=True) if limit else a == b
    places = numpy.argwhere(~near)
    place = tuple(int(n) for n in places[0]) if len(places) else ()
    return f"{list(place)}: {a[place]!r}, not {b[place]!r} ({len(places)} of {b.size})"


def _explained(
    function: Function, values: Sequence[Value], found: Sequence[Value], wanted: Sequence[Value]
) -> bool:
    """Whether rounding explains the difference."""
    spreads = [0.0] * len(wanted)
    for seed in range(NOISES):
        with _quiet(), interpreting(Noisy(seed)):
            noisy = _data(function.ours(*_ours(values)))
        spreads = [max(s, distance(n, w)) for s, n, w in zip(spreads, noisy, wanted, strict=True)]
    return all(distance(f, w) <= SPREADS * s for f, w, s in zip(found, wanted, spreads, strict=True))


# -- stages without native code --------------------------------------------------------------------------------


class _Check:
    def __init__(self, case: Case, mode: str) -> None:
        self.case, self.mode = case, mode
        self.function = Function(case)

    def hold(
        self, stage: str, values: Sequence[Value], found: Sequence[Value], wanted: Sequence[Value]
    ) -> None:
        """Raises Fault where two stages do not have one meaning, Chaotic where rounding explains it."""
        kind, shown = difference(found, wanted)
        if kind == "values" and _explained(self.function, values, found, wanted):
            raise Chaotic
        if kind:
            raise Fault(self.case, self.mode, f"{stage}: {kind}", shown)

    def running(self, stage: str, call: Callable[[], Any]) -> Any:
        """The result of ``call``, which must not raise."""
        try:
            with _quiet():
                return call()
        except Exception as error:
            raise Fault(self.case, self.mode, f"{stage}: {_place(error)}", str(error)) from error


def _place(error: Exception) -> str:
    """The class of an error, and the function that raised it."""
    trace, last = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        last, trace = f"{code.co_filename.rsplit('/', 1)[-1]}:{code.co_name}", trace.tb_next
    return f"{type(error).__name__} in {last}"


def quick(case: Case, run: Run | None = None, thorough: bool = True) -> Run:
    """Hold NumPy, the eager call, the recorded graph, the passes and the schedule against each other.

    run: gets what there is, also where a fault is raised. thorough: verify the graph after every pass.
    """
    run = run or Run()
    check = _Check(case, "quick")
    first, other = (case.samples(turn, SCALES[turn]) for turn in (0, 1))
    wanted = check.function.numpy(first)
    if isinstance(wanted, Exception):
        raise Unsupported(f"NumPy refuses: {wanted}")
    recorder = Recorder(_ours(first))
    with interpreting(recorder):
        results = check.running("eager", lambda: _several(check.function.ours(*recorder.given)))
    check.hold("eager", first, _data(results), wanted)
    if recorder.problem:
        run.left = recorder.problem
        return run
    again = check.function.numpy(other)
    values, wanted = (first, wanted) if isinstance(again, Exception) else (other, again)
    staged = _Stages(check, recorder, results, thorough)
    run.compiled = staged.compiled
    try:
        check.hold("schedule", values, check.running("schedule", lambda: staged.meant(values)), wanted)
    except (Fault, Chaotic):  # which stage was the first?
        check.hold("recorded", values, check.running("recorded", lambda: staged.recorded(values)), wanted)
        check.hold("passes", values, check.running("passes", lambda: staged.passed(values)), wanted)
        raise
    return run


class _Stages:
    """What comes of a recorded call, and what each stage of it means."""

    def __init__(self, check: _Check, recorder: Recorder, results: Sequence[ndarray], thorough: bool) -> None:
        machine = MACHINES[check.case.seed % len(MACHINES)]
        graph = self.graph = check.running("recorded", lambda: _graph(recorder, results, check.case))
        if thorough:
            check.running("recorded", lambda: verify(graph))
        self.compiled: Compiled = check.running(
            "compiled",
            lambda: compile_flow(graph, machine, recorder.draws, check=verify if thorough else None),
        )

    def recorded(self, values: Sequence[Value]) -> list[Value]:
        return evaluate(self.graph, values)

    def passed(self, values: Sequence[Value]) -> list[Value]:
        (main,) = self.compiled.main.blocks
        return _evaluated(main.graph, self.compiled.with_hoisted(self._known(values)))

    def meant(self, values: Sequence[Value]) -> list[Value]:
        known = self._known(values)
        arguments = [known[i.attrs["name"]] for i in self.graph.inputs if i.operator is argument]
        found = meaning_of(self.compiled.schedule, _dense(arguments), self.compiled.parameters(known))
        assert found is not None
        return found

    def _known(self, values: Sequence[Value]) -> dict[str, Value]:
        """Name of a recorded leaf -> its value."""
        return dict(zip((i.attrs["name"] for i in self.graph.inputs), values, strict=True))


def _evaluated(graph: Graph, known: dict[str, Value]) -> list[Value]:
    return evaluate(graph, [known[i.attrs["name"]] for i in graph.inputs])


def _dense(values: Sequence[Value]) -> list[Value]:
    return [numpy.ascontiguousarray(v).reshape(v.shape) for v in values]


def _graph(recorder: Recorder, results: Sequence[ndarray], case: Case) -> Graph:
    """What was recorded; now and then some of the arguments as parameters, which are hoisted and packed."""
    graph = graph_of(recorder.arguments, [recorder.memory.node_of(r) for r in results])
    now: dict[Node, Node] = {n: literal(_array(a)) for n, a in recorder.memory.found.items()}
    if case.seed % 4 == 0 and len(recorder.arguments) > 1:
        last = recorder.arguments[-1]
        now[last] = leaf(parameter, last.attrs["name"], last.type)
    inputs = tuple(now.get(i, i) for i in recorder.arguments)
    changed = dict(now)
    for node in graph.nodes:
        changed[node] = (
            changed[node] if node in changed else node.over(tuple(changed.get(o, o) for o in node.operands))
        )
    return graph_of(inputs, [changed.get(o, o) for o in graph.outputs])


def _array(value: Any) -> Value:
    return value._data if isinstance(value, ndarray) else value


# -- native code -------------------------------------------------------------------------------------------------


CALLS = 5  # of a program that is run natively, with values of one size of the batch


def native(case: Case, batches: bool = True, calls: int = 0) -> Run:
    """Hold the hybridized function against the plain one: several calls, other values, other sizes of the batch.

    calls: how many more with other values.
    """
    check = _Check(case, "native")
    hybrid = blockfuse.hybridize(check.function.ours)
    for values in _calls(case, batches, calls):
        plain, found = _outcome(check.function.ours, values), _outcome(hybrid, values)
        if isinstance(found, CompilerWarning):  # right results, by way of Python
            raise Fault(case, "native", f"native: {_told(found)}", str(found))
        if isinstance(plain, Exception):
            if type(found) is not type(plain):
                raise Fault(case, "native", f"native: no {type(plain).__name__}", str(plain))
        elif isinstance(found, Exception):
            raise Fault(case, "native", f"native: {_place(found)}", str(found)) from found
        else:
            check.hold("native", values, found, plain)
    return Run(left="" if any(c.program for c in hybrid._hybrid.cases.values()) else hybrid.explain())


def _outcome(call: Callable[..., Any], values: Sequence[Value]) -> list[Value] | Exception:
    try:
        with _quiet():
            return _data(call(*_ours(values)))
    except Exception as error:
        return error


def _told(warning: CompilerWarning) -> str:
    """What a warning says of the cause, without what varies."""
    cause = re.search(r"first operator that differs: \w+|compiling it failed: \w+", str(warning))
    return cause[0] if cause else "a warning"


def _calls(case: Case, batches: bool, more: int) -> Iterator[list[Value]]:
    for turn in (0, *range(CALLS - 1 + more)):
        yield case.samples(turn, SCALES[turn % len(SCALES)])
    if not batches:
        return
    leading = next((t.shape[0] for t in case.arguments.values() if len(t.shape) > 1), 0)
    for size in (5, 2, 5, 7):
        yield _rebatched(case, leading, size).samples(size)


def _rebatched(case: Case, leading: int, size: int) -> Case:
    """The case with other arguments: those with the leading size have another one."""
    types = {
        n: replace(t, shape=(size, *t.shape[1:])) if t.shape[:1] == (leading,) else t
        for n, t in case.arguments.items()
    }
    return replace(case, arguments=types)
