"""Where two meanings of a random program differ: NumPy's, the recorded graph's, those after passes, and the native ones.

Rounding is judged as in ``twins.py``: a difference counts when it is far outside of what disturbed last bits do
(NOTE [rounding] in ``runtime/rounding.py``).
"""

from __future__ import annotations

import linecache
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy
from numpy_programs import meaning_of
from pictures import LIMITS
from random_graphs import Program, Value

import blockfuse
from blockfuse import np, npx
from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.cpu import isa
from blockfuse.codegen.schedule import Schedule, schedule
from blockfuse.ir.graph import Graph, Node, argument, evaluate, graph_of, leaf, literal, parameter, rewrite
from blockfuse.ir.interpreter import interpreting
from blockfuse.ir.passes.pipeline import Optimized, optimize
from blockfuse.ir.verify import verify
from blockfuse.runtime.rounding import NOISES, SPREADS, Noisy, distance
from blockfuse.tracer.recorder import Recorder

MACHINES = [isa.machine(level, threads) for level in isa.LEVELS for threads in (1, 2)]
SCALES = (1.0, 0.25, 3.0, 0.0)


class Fault(AssertionError):  # noqa: N818 - as in twins
    """A stage gives another result than the one before it. kind: what to tell it by from others."""

    def __init__(self, program: Program, stage: str, shown: str, mode: str) -> None:
        super().__init__(f"{stage}: {shown}")
        self.program, self.stage, self.shown, self.mode = program, stage, shown, mode

    @property
    def kind(self) -> str:
        return f"{self.stage}: {self.shown.split(chr(10))[0].split(' at ')[0]}"


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

    program: Program
    meaning: Callable[..., Any] = field(init=False)
    ours: Callable[..., Any] = field(init=False)

    def __post_init__(self) -> None:
        source = self.program.source
        scope: dict[str, Any] = {"np": np, "npx": npx}
        name = f"<random graph {self.program.seed}>"
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        exec(compile(source, name, "exec"), scope)
        object.__setattr__(self, "meaning", meaning_of(source))
        object.__setattr__(self, "ours", scope["function"])

    def numpy(self, values: Sequence[Value]) -> list[Value] | Exception:
        with warnings.catch_warnings(), numpy.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                return [numpy.asarray(v) for v in _several(self.meaning(*(v.copy() for v in values)))]
            except Exception as error:
                return error


def _several(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def _ours(values: Sequence[Value]) -> list[ndarray]:
    return [ndarray(v.copy()) for v in values]


def _data(results: Any) -> list[Value]:
    return [r.asnumpy() for r in _several(results)]


# -- comparing -------------------------------------------------------------------------------------------------


def difference(found: Sequence[Value], wanted: Sequence[Value], typed: bool = True) -> str:
    """What differs, in words; nothing where all that differs is rounding as it usually is."""
    for number, (a, b) in enumerate(zip(found, wanted, strict=True)):
        if a.shape != b.shape or (typed and a.dtype != b.dtype):
            return f"result {number} is {a.dtype}{list(a.shape)}, not {b.dtype}{list(b.shape)}"
        if not _close(a, b):
            return f"result {number} differs at {_where(a, b)}"
    return ""


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


def _judge(function: Function, values: Sequence[Value], found: Sequence[Value], wanted: Sequence[Value]) -> None:
    """Return where ``found`` is a fault; raises Chaotic where rounding explains it."""
    spreads = [0.0] * len(wanted)
    for seed in range(NOISES):
        with warnings.catch_warnings(), numpy.errstate(all="ignore"), interpreting(Noisy(seed)):
            warnings.simplefilter("ignore")
            noisy = _data(function.ours(*_ours(values)))
        spreads = [max(s, distance(n, w)) for s, n, w in zip(spreads, noisy, wanted, strict=True)]
    if all(distance(f, w) <= SPREADS * s for f, w, s in zip(found, wanted, spreads, strict=True)):
        raise Chaotic


# -- stages without native code --------------------------------------------------------------------------------


class _Check:
    def __init__(self, program: Program, mode: str) -> None:
        self.program, self.mode = program, mode
        self.function = Function(program)

    def hold(self, stage: str, values: Sequence[Value], found: Sequence[Value], wanted: Sequence[Value]) -> None:
        """Raises Fault where two stages do not have one meaning."""
        shown = difference(found, wanted)
        if shown:
            if " is " not in shown:
                _judge(self.function, values, found, wanted)
            raise Fault(self.program, stage, shown, self.mode)

    def running(self, stage: str, call: Callable[[], Any]) -> Any:
        """The result of ``call``, which must not raise."""
        try:
            with warnings.catch_warnings(), numpy.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                return call()
        except Exception as error:
            raise Fault(self.program, stage, _said(error), self.mode) from error


def _said(error: Exception) -> str:
    trace, last = error.__traceback__, ""
    while trace is not None:
        last = f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_frame.f_code.co_name}"
        trace = trace.tb_next
    return f"{type(error).__name__} in {last} at {error}"


def quick(program: Program, run: Run | None = None, thorough: bool = True) -> Run:
    """Hold NumPy, the eager call, the recorded graph, the passes and the schedule against each other."""
    run = run or Run()
    check = _Check(program, "quick")
    first, other = (program.samples(turn, SCALES[turn]) for turn in (0, 1))
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
    graph = run.graph = check.running("recorded", lambda: _graph(recorder, results, program))
    check.hold("recorded", values, check.running("recorded", lambda: evaluate(graph, values)), wanted)
    machine = MACHINES[program.seed % len(MACHINES)]
    optimized = run.optimized = check.running(
        "passes", lambda: optimize(graph, machine.vector_bytes, verify if thorough else None)
    )
    check.hold("passes", values, check.running("passes", lambda: _optimized(graph, optimized, values)), wanted)
    run.schedule = check.running("schedule", lambda: schedule(optimized.main, machine))
    return run


def _graph(recorder: Recorder, results: Sequence[ndarray], program: Program) -> Graph:
    """What was recorded; now and then some of the arguments as parameters, which are hoisted and packed."""
    graph = graph_of(recorder.arguments, [recorder.node_of(r) for r in results])
    now: dict[Node, Node] = {n: literal(_array(a)) for n, a in recorder.found.items()}
    if program.seed % 4 == 0 and len(recorder.arguments) > 1:
        last = recorder.arguments[-1]
        now[last] = leaf(parameter, last.attrs["name"], last.type)
    inputs = tuple(now.get(i, i) for i in recorder.arguments)
    changed = dict(now)
    for node in graph.nodes:
        changed[node] = changed[node] if node in changed else node.over(tuple(changed.get(o, o) for o in node.operands))
    return verify(graph_of(inputs, [changed.get(o, o) for o in graph.outputs]))


def _array(value: Any) -> Value:
    return value._data if isinstance(value, ndarray) else value


def _optimized(graph: Graph, optimized: Optimized, values: Sequence[Value]) -> list[Value]:
    known = dict(zip((i.attrs["name"] for i in graph.inputs), values, strict=True))
    prologue, main = optimized.prologue, optimized.main
    hoisted = evaluate(prologue, [known[i.attrs["name"]] for i in prologue.inputs])
    known |= {f"hoisted{n}": value for n, value in enumerate(hoisted)}
    return evaluate(main, [known[i.attrs["name"]] for i in main.inputs])


# -- native code -------------------------------------------------------------------------------------------------


def native(program: Program, batches: bool = True) -> Run:
    """Hold the hybridized function against the plain one: several calls, other values, other sizes of the batch."""
    check = _Check(program, "native")
    hybrid = blockfuse.hybridize(check.function.ours)
    for values in _calls(program, batches):
        wanted = check.function.numpy(values)
        plain = _outcome(check.function.ours, values)
        if isinstance(plain, Exception):
            found = _outcome(hybrid, values)
            if type(found) is not type(plain):
                raise Fault(program, "native", f"no {type(plain).__name__} at {plain}", "native")
            continue
        if not isinstance(wanted, Exception):
            check.hold("eager", values, plain, wanted)
        found = _outcome(hybrid, values)
        if isinstance(found, Exception):
            raise Fault(program, "native", _said(found), "native") from found
        check.hold("native", values, found, plain)
    return Run(left="" if any(c.program for c in hybrid._hybrid.cases.values()) else hybrid.explain())


def _outcome(call: Callable[..., Any], values: Sequence[Value]) -> list[Value] | Exception:
    try:
        with warnings.catch_warnings(), numpy.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return _data(call(*_ours(values)))
    except Exception as error:
        return error


def _calls(program: Program, batches: bool) -> Iterator[list[Value]]:
    for turn in (0, 0, 1, 2, 3):
        yield program.samples(turn, SCALES[turn])
    if not batches:
        return
    leading = next((t.shape[0] for t in program.arguments.values() if len(t.shape) > 1), 0)
    for size in (5, 2, 5, 7):
        yield _rebatched(program, leading, size).samples(size)


def _rebatched(program: Program, leading: int, size: int) -> Program:
    """The program for other arguments: those with the leading size have another one."""
    types = {
        n: replace(t, shape=(size, *t.shape[1:])) if t.shape[:1] == (leading,) else t
        for n, t in program.arguments.items()
    }
    return replace(program, arguments=types)
