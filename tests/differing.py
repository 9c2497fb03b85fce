"""Where two meanings of a random program differ: NumPy's, the recorded graph's, those after passes, and the native ones.

Rounding is judged as in ``twins.py``: a difference counts when it is far outside of what disturbed last bits do
(NOTE [rounding] in ``runtime/rounding.py``).
"""

from __future__ import annotations

import contextlib
import linecache
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy
from numpy_programs import function_of
from pictures import LIMITS
from random_graphs import Case, Value

import blockfuse
from blockfuse import np, npx
from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.cpu import isa
from blockfuse.codegen.meaning.schedules import meaning_of
from blockfuse.codegen.schedule import Schedule, schedule
from blockfuse.ir.graph import Graph, Node, argument, evaluate, graph_of, leaf, literal, parameter
from blockfuse.ir.interpreter import interpreting
from blockfuse.ir.passes.pipeline import Optimized, optimize
from blockfuse.ir.verify import verify
from blockfuse.runtime.rounding import NOISES, SPREADS, Noisy, distance
from blockfuse.tracer.recorder import Recorder

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

    graph: Graph | None = None
    optimized: Optimized | None = None
    schedule: Schedule | None = None
    left: str = ""


@dataclass(frozen=True)
class Function:
    """The functions of a program: over NumPy's arrays, and over ours."""

    case: Case
    meaning: Callable[..., Any] = field(init=False)
    ours: Callable[..., Any] = field(init=False)

    def __post_init__(self) -> None:
        source = self.case.source
        scope: dict[str, Any] = {"np": np, "npx": npx}
        name = "<random graph>"
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        exec(compile(source, name, "exec"), scope)
        object.__setattr__(self, "meaning", function_of(source))
        object.__setattr__(self, "ours", scope["function"])

    def numpy(self, values: Sequence[Value]) -> list[Value] | Exception:
        with _quiet():
            try:
                return [numpy.asarray(v) for v in _several(self.meaning(*(v.copy() for v in values)))]
            except Exception as error:
                return error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), numpy.errstate(all="ignore"):
        warnings.simplefilter("ignore")
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
    """Hold NumPy, the eager call, the recorded graph, the passes and the schedule against each other."""
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
    graph = run.graph = check.running("recorded", lambda: _graph(recorder, results, case))
    check.hold("recorded", values, check.running("recorded", lambda: evaluate(graph, values)), wanted)
    machine = MACHINES[case.seed % len(MACHINES)]
    optimized = run.optimized = check.running(
        "passes", lambda: optimize(graph, machine.vector_bytes, verify if thorough else None)
    )
    known = _with_hoisted(graph, optimized, values)
    check.hold("passes", values, check.running("passes", lambda: _evaluated(optimized.main, known)), wanted)
    planned = run.schedule = check.running("schedule", lambda: schedule(optimized.main, machine))
    check.hold("schedule", values, check.running("schedule", lambda: _meant(planned, graph, known)), wanted)
    return run


def _graph(recorder: Recorder, results: Sequence[ndarray], case: Case) -> Graph:
    """What was recorded; now and then some of the arguments as parameters, which are hoisted and packed."""
    graph = graph_of(recorder.arguments, [recorder.node_of(r) for r in results])
    now: dict[Node, Node] = {n: literal(_array(a)) for n, a in recorder.found.items()}
    if case.seed % 4 == 0 and len(recorder.arguments) > 1:
        last = recorder.arguments[-1]
        now[last] = leaf(parameter, last.attrs["name"], last.type)
    inputs = tuple(now.get(i, i) for i in recorder.arguments)
    changed = dict(now)
    for node in graph.nodes:
        changed[node] = (
            changed[node] if node in changed else node.over(tuple(changed.get(o, o) for o in node.operands))
        )
    return verify(graph_of(inputs, [changed.get(o, o) for o in graph.outputs]))


def _array(value: Any) -> Value:
    return value._data if isinstance(value, ndarray) else value


def _with_hoisted(graph: Graph, optimized: Optimized, values: Sequence[Value]) -> dict[str, Value]:
    """Name of a leaf -> its value, also for what the prologue computes."""
    known = dict(zip((i.attrs["name"] for i in graph.inputs), values, strict=True))
    with _quiet():
        hoisted = _evaluated(optimized.prologue, known)
    return known | {f"hoisted{n}": value for n, value in enumerate(hoisted)}


def _evaluated(graph: Graph, known: dict[str, Value]) -> list[Value]:
    return evaluate(graph, [known[i.attrs["name"]] for i in graph.inputs])


def _meant(planned: Schedule, graph: Graph, known: dict[str, Value]) -> Sequence[Value]:
    arguments = [known[i.attrs["name"]] for i in graph.inputs if i.operator is argument]
    leaves = (n.attrs for n in planned.parameters)
    parameters = [a["value"] if "value" in a else known[a["name"]] for a in leaves]
    found = meaning_of(
        planned,
        *([numpy.require(v, requirements="C").reshape(v.shape) for v in a] for a in (arguments, parameters)),
    )
    assert found is not None
    return found


# -- native code -------------------------------------------------------------------------------------------------


def native(case: Case, batches: bool = True) -> Run:
    """Hold the hybridized function against the plain one: several calls, other values, other sizes of the batch."""
    check = _Check(case, "native")
    hybrid = blockfuse.hybridize(check.function.ours)
    for values in _calls(case, batches):
        plain, found = (_outcome(call, values) for call in (check.function.ours, hybrid))
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


def _calls(case: Case, batches: bool) -> Iterator[list[Value]]:
    for turn in (0, 0, 1, 2, 3):
        yield case.samples(turn, SCALES[turn])
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
