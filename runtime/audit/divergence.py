"""Where a compiled call first differs from its eager call: the way it took, the operator, and a script that shows it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.compile import compile_flow
from blockfuse.ir.builder import node_of
from blockfuse.ir.flow import Flow, Stacks
from blockfuse.ir.graph import Graph, Node, Source, argument, constant, graph_of, leaf
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators.movement import concatenate, expand_dims
from blockfuse.runtime.audit.comparison import Difference
from blockfuse.runtime.audit.fault_script import written
from blockfuse.runtime.audit.rounding import Repeating, distance, largest
from blockfuse.runtime.audit.standard import Standard
from blockfuse.runtime.programs.backend import Backend
from blockfuse.runtime.programs.program import Program
from blockfuse.tracer.certificate.ownership import user_source

MAX_OPERATORS = 256  # that are looked at one by one
MAX_STEPS = 16 * MAX_OPERATORS  # of one call, loops unrolled
MAX_RELATIVE_LIMIT = 2e-3  # of the largest element: an operator that is off by more is wrong in any case


@dataclass(frozen=True)
class Evidence:
    """What is known of a fault: one array of the result is wrong."""

    wanted: numpy.ndarray  # its eager value
    index: int  # which one it is
    size: float  # the largest difference in it
    log: Log  # what the eager call computed

    def limit(self, value: numpy.ndarray) -> float:
        """How far another value of the call may be off before it counts as wrong: in proportion, a tenth of this one."""
        if value.dtype.kind != "f":
            return 0.0
        relative = self.size / (largest(self.wanted) or 1.0) / 10
        return largest(value) * min(
            max(relative, 64 * float(numpy.finfo(value.dtype).eps)), MAX_RELATIVE_LIMIT
        )


class Log(Repeating):
    """Repeats a call and keeps every value."""

    def __init__(self) -> None:
        self.values: dict[
            Site, list[numpy.ndarray]
        ] = {}  # site -> what the operator gave there, time after time

    def apply(self, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        result = super().apply(operator, operands, attrs)
        self._keep(operator.name, result)
        return result

    def update(
        self, target: ndarray, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]
    ) -> None:
        super().update(target, operator, operands, attrs)
        self._keep(operator.name, target)

    def assign(self, target: ndarray, index: Any, value: Any) -> None:
        super().assign(target, index, value)
        self._keep("set_item", target)

    def _keep(self, name: str, array: ndarray) -> None:
        self.values.setdefault(_site(name, user_source()), []).append(array._data.copy())


Site = tuple[str, str, int]  # operator, file, line


def _site(name: str, source: Source | None) -> Site:
    return (name, source.file, source.line) if source else (name, "", 0)


def report(
    name: str, standard: Standard, backend: Backend, given: list[ndarray], difference: Difference
) -> str:
    """What differs between a compiled call and its standard, and, if it is an array, where that begins.

    given: arrays and numbers.
    """
    arguments, repetition = [a._data for a in given], standard.repetition
    arrays = arguments[: len(arguments) - len(standard.program.operands)]
    types = ", ".join(f"{a.dtype}{list(a.shape)}" for a in arrays)
    text = sentence(f"{name}({types})", standard, difference)
    if difference.index is None:
        return text
    log = Log()
    repetition.outcome(log)
    evidence = Evidence(standard.wanted.arrays[difference.index], difference.index, difference.size, log)
    with repetition.again():
        return f"{text}\n{_described(name, standard, backend, arguments, evidence)}"


def sentence(name: str, standard: Standard, difference: Difference) -> str:
    """What a difference is called in one line."""
    other = "the eager call" if standard.flow is None else "eager operators on rounded weights"
    return f"{name}: the compiled call differs from {other}: {difference.text}"


def _described(
    name: str, standard: Standard, backend: Backend, arguments: list[numpy.ndarray], evidence: Evidence
) -> str:
    """The way that the call took, the first operator that is wrong, and where a script for it is."""
    program = standard.program
    flow = standard.flow or program.flow_for(arguments)
    trace = traced(flow, [*arguments, *(origin.array() for origin in program.origins)])
    lines = [f"  blocks of the flow: {', '.join(map(str, trace.blocks))}"]
    if trace.outputs is None:
        return "\n".join([*lines, "  the recorded operators take a way that the program does not know"])
    output, wanted = trace.outputs[evidence.index], evidence.wanted
    if distance(trace.values[output], wanted) > evidence.limit(wanted):
        lines.append(
            "  the recorded operators do not give the eager result: forward reads something that was not seen"
        )
        node, wanted = trace.first_unlike(output, evidence)
    else:
        found = trace.first_wrong(output, evidence, backend)
        if found is None:
            lines.append(
                "  each operator is right in a program of its own: what is wrong is how they go together"
            )
        node = found or output
        wanted = trace.values[node]
    at = f" at {node.source.location}" if node.source else ""
    lines.append(f"  first operator that differs: {node.operator.name}: {node.type}{at}")
    lines.append(f"  {_stage(program, arguments, evidence)}")
    lines.append(written(name, node, wanted, evidence.limit(wanted), trace.values))
    return "\n".join(lines)


def _stage(program: Program, arguments: list[numpy.ndarray], evidence: Evidence) -> str:
    """In which stage of the compiler the fault is: whether kernels as data, without native code, give the eager result."""
    from blockfuse.codegen.meaning.schedules import meaning_of  # only who looks for a fault pays for it

    given = [numpy.ascontiguousarray(a).reshape(a.shape) for a in arguments]
    try:
        results = meaning_of(program.schedule, given, program.bound)
    except Exception as error:
        return f"its schedule means nothing: {error}"
    if results is None:
        return "its schedule takes a way that was not recorded"
    found = results[evidence.index]
    if distance(found, evidence.wanted) > evidence.limit(evidence.wanted):
        return "its schedule gives another result, too: the passes or the scheduler are wrong"
    return "its schedule gives the eager result: the native code is wrong"


@dataclass
class Trace:
    """One call operator by operator, loops unrolled, by the NumPy meanings."""

    blocks: list[int] = field(default_factory=list)  # of the flow, as they were visited
    inputs: list[Node] = field(default_factory=list)  # leaves, and random numbers as they were drawn
    nodes: list[Node] = field(default_factory=list)  # operators, as they were called
    values: dict[Node, numpy.ndarray] = field(default_factory=dict)  # of all of these
    outputs: list[Node] | None = None  # None where the flow does not know the way

    def first_wrong(self, output: Node, evidence: Evidence, backend: Backend) -> Node | None:
        """The first operator that is wrong at the end of a program of what it needs; None if there is none."""
        needed = [n for n in graph_of(self.inputs, [output]).nodes if n.operator is not constant]
        for node in needed[:MAX_OPERATORS]:
            graph, value = graph_of(self.inputs, [node]), self.values[node]
            found = _compiled(graph, [self.values[i] for i in self.inputs], backend)
            if distance(found, value) > evidence.limit(value):
                return node
        return None

    def first_unlike(self, output: Node, evidence: Evidence) -> tuple[Node, numpy.ndarray]:
        """The first operator whose value is not that of the eager call at its line, with the eager value."""
        seen: Counter[Site] = Counter()
        for node in graph_of(self.inputs, [output]).nodes:
            site = _site(node.operator.name, node.source)
            eager = evidence.log.values.get(site, [])[seen[site] :][:1]
            seen[site] += 1
            same_type = eager and eager[0].shape == node.shape and eager[0].dtype == node.dtype
            if same_type and distance(self.values[node], eager[0]) > evidence.limit(eager[0]):
                return node, eager[0]
        return output, evidence.wanted


def traced(flow: Flow, values: list[numpy.ndarray]) -> Trace:
    """The call with these arguments, parameters and captured arrays."""
    flow = flow.with_all_updates()
    trace = Trace(inputs=list(flow.inputs), values=dict(zip(flow.inputs, values, strict=True)))
    now: dict[Node, Node] = {i: i for i in flow.inputs}
    stacks = Stacks[Node](flow, lambda rows: _joined(trace, rows))
    number: int | None = 0
    while number is not None and len(trace.nodes) < MAX_STEPS:
        trace.blocks.append(number)
        block = flow.blocks[number]
        now.update(stacks.popped(block))
        local = dict(now)
        for node in block.graph.nodes:
            local[node] = _step(trace, node, tuple(local[o] for o in node.operands))
        ends = [local[o] for o in block.graph.outputs]
        now.update(zip(block.stores, ends, strict=False))
        if block.successors is None:
            trace.outputs = ends[block.kept :]
            break
        if not stacks.pushed(block, ends):
            break
        number = block.successors[0 if trace.values[ends[-1]].item() else 1]
    return trace


def _joined(trace: Trace, values: list[Node]) -> Node:
    """What is taken of a stack, written with operators."""
    rows = tuple(_step(trace, node_of(expand_dims, (v,), {"axis": (0,)}, v.source), (v,)) for v in values)
    return _step(trace, node_of(concatenate, rows, {"axis": 0}, values[0].source), rows)


def _step(trace: Trace, node: Node, operands: tuple[Node, ...]) -> Node:
    with numpy.errstate(all="ignore"):
        value = numpy.asarray(node.operator.meaning(*(trace.values[o] for o in operands), **node.attrs))
    if node.operator.random:
        new = leaf(argument, f"drawn{len(trace.inputs)}", node.type)
        trace.inputs.append(new)
    else:
        new = replace(node, operands=operands)
        trace.nodes.append(new)
    trace.values[new] = value
    return new


def _compiled(graph: Graph, values: list[numpy.ndarray], backend: Backend) -> numpy.ndarray:
    """The output of a graph, by a program of its own."""
    compiled = compile_flow(graph, backend.machine)
    executable = backend.load(compiled.schedule)
    known = {i.attrs["name"]: v for i, v in zip(graph.inputs, values, strict=True)}
    executable.bind(compiled.parameters(known))
    given = [known[i.attrs["name"]] for i in graph.inputs if i.operator is argument]
    results = executable.run([numpy.require(v, requirements=("C", "A")).reshape(v.shape) for v in given])
    assert results is not None
    found: numpy.ndarray = results[0]
    return found
