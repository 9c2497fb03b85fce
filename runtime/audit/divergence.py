"""Where a compiled call first differs from its eager call: the way it took, the operator, and a script that shows it."""

from __future__ import annotations

import hashlib
import io
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy

from blockfuse.array.ndarray import ndarray
from blockfuse.codegen.compile import compile_flow
from blockfuse.ir.flow import Flow
from blockfuse.ir.graph import Graph, Node, Source, argument, constant, graph_of, leaf, parameter
from blockfuse.ir.operator import Operator
from blockfuse.runtime import config
from blockfuse.runtime.audit.comparison import Difference, Outcome, Repetition
from blockfuse.runtime.audit.rounding import Repeating, distance, largest
from blockfuse.runtime.programs.backend import Backend
from blockfuse.runtime.programs.program import Program
from blockfuse.tracer.certificate.ownership import user_source

_MOST = 256  # operators that are looked at one by one
_FAR = 2e-3  # of the largest element: an operator that is off by more is wrong in any case
_PLAIN_SIZE = 1  # constants of more elements stand in the file of values

_SCRIPT = '''\
"""{title}

Written by a check of blockfuse. Fails as long as the compiled operators differ from what the eager call gave.
"""

from pathlib import Path

import numpy

import blockfuse
from blockfuse import np
from blockfuse.ir.operator import TABLE
from blockfuse.runtime.audit.rounding import distance

with numpy.load(Path(__file__).with_suffix(".npz")) as stored:
    VALUES = dict(stored)
{loads}

def computed({arguments}):
{body}


compiled = blockfuse.hybridize(computed, check=False)
for _ in range(3):
    found = compiled({arguments}).asnumpy()
wanted = VALUES["wanted"]
print(compiled.explain())
difference = distance(found, wanted)
print(f"compiled and eager differ by up to {{difference:.3g}}")
raise SystemExit(difference > {limit!r})
'''


@dataclass(frozen=True)
class Evidence:
    """What is known of a fault.

    wanted: the eager value of array ``place`` of the result, which is off by ``size``. log: what the eager call computed.
    """

    wanted: numpy.ndarray
    place: int
    size: float
    log: Log

    def limit(self, value: numpy.ndarray) -> float:
        """How far another value of the call may be off before it counts as wrong: in proportion, a tenth of this one."""
        if value.dtype.kind != "f":
            return 0.0
        share = self.size / (largest(self.wanted) or 1.0) / 10
        return largest(value) * min(max(share, 64 * float(numpy.finfo(value.dtype).eps)), _FAR)


class Log(Repeating):
    """Repeats a call and keeps every value; values: (operator, file, line) -> what it gave there, time after time."""

    def __init__(self) -> None:
        self.values: dict[Place, list[numpy.ndarray]] = {}

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
        self.values.setdefault(_place(name, user_source()), []).append(array._data.copy())


Place = tuple[str, str, int]


def _place(name: str, source: Source | None) -> Place:
    return (name, source.file, source.line) if source else (name, "", 0)


def report(
    name: str,
    program: Program,
    backend: Backend,
    repetition: Repetition,
    arguments: list[numpy.ndarray],
    wanted: Outcome,
    difference: Difference,
) -> str:
    """What differs between a compiled call and its repetition, and, if it is an array, where that begins."""
    arrays = arguments[: len(arguments) - len(program.operands)]  # the rest are numbers
    types = ", ".join(f"{a.dtype}{list(a.shape)}" for a in arrays)
    text = f"{name}({types}): the compiled call differs from the eager call: {difference.text}"
    if difference.place is None:
        return text
    log = Log()
    repetition.outcome(log)
    evidence = Evidence(wanted.arrays[difference.place], difference.place, difference.size, log)
    with repetition.drawing():
        return f"{text}\n{_described(name, program, backend, arguments, evidence)}"


def _described(
    name: str, program: Program, backend: Backend, arguments: list[numpy.ndarray], evidence: Evidence
) -> str:
    """The way that the call took, the first operator that is wrong, and where a script for it is."""
    trace = traced(program.flow_for(arguments), [*arguments, *(origin.array() for origin in program.origins)])
    lines = [f"  blocks of the flow: {', '.join(map(str, trace.blocks))}"]
    if trace.outputs is None:
        return "\n".join([*lines, "  the recorded operators take a way that the program does not know"])
    output, wanted = trace.outputs[evidence.place], evidence.wanted
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
    lines.append(_written(name, trace, node, wanted, evidence.limit(wanted)))
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
    found = results[evidence.place]
    if distance(found, evidence.wanted) > evidence.limit(evidence.wanted):
        return "its schedule gives another result, too: the passes or the scheduler are wrong"
    return "its schedule gives the eager result: the native code is wrong"


@dataclass
class Trace:
    """One call operator by operator, loops unrolled, by the NumPy meanings.

    blocks: of the flow, as they were visited. inputs: leaves, and random numbers as they were drawn. outputs: None
    where the flow does not know the way.
    """

    blocks: list[int] = field(default_factory=list)
    inputs: list[Node] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    values: dict[Node, numpy.ndarray] = field(default_factory=dict)
    outputs: list[Node] | None = None

    def first_wrong(self, output: Node, evidence: Evidence, backend: Backend) -> Node | None:
        """The first operator that is wrong at the end of a program of what it needs; None if there is none."""
        needed = [n for n in graph_of(self.inputs, [output]).nodes if n.operator is not constant]
        for node in needed[:_MOST]:
            graph, value = graph_of(self.inputs, [node]), self.values[node]
            found = _compiled(graph, [self.values[i] for i in self.inputs], backend)
            if distance(found, value) > evidence.limit(value):
                return node
        return None

    def first_unlike(self, output: Node, evidence: Evidence) -> tuple[Node, numpy.ndarray]:
        """The first operator whose value is not that of the eager call at its line, with the eager value."""
        seen: Counter[Place] = Counter()
        for node in graph_of(self.inputs, [output]).nodes:
            place = _place(node.operator.name, node.source)
            eager = evidence.log.values.get(place, [])[seen[place] :][:1]
            seen[place] += 1
            same_type = eager and eager[0].shape == node.shape and eager[0].dtype == node.dtype
            if same_type and distance(self.values[node], eager[0]) > evidence.limit(eager[0]):
                return node, eager[0]
        return output, evidence.wanted


def traced(flow: Flow, values: list[numpy.ndarray]) -> Trace:
    """The call with these arguments, parameters and captured arrays."""
    trace = Trace(inputs=list(flow.inputs), values=dict(zip(flow.inputs, values, strict=True)))
    now: dict[Node, Node] = {i: i for i in flow.inputs}
    number: int | None = 0
    while number is not None and len(trace.nodes) < 16 * _MOST:
        trace.blocks.append(number)
        block = flow.blocks[number]
        local = dict(now)
        for node in block.graph.nodes:
            local[node] = _step(trace, node, tuple(local[o] for o in node.operands))
        ends = [local[o] for o in block.graph.outputs]
        now.update(zip(block.stores, ends, strict=False))
        if block.successors is None:
            trace.outputs = ends[len(block.stores) :]
            break
        number = block.successors[0 if trace.values[ends[-1]].item() else 1]
    return trace


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


# -- the script ------------------------------------------------------------------------------------------------


def _written(name: str, trace: Trace, node: Node, wanted: numpy.ndarray, limit: float) -> str:
    """Write a script that computes ``node``, with its values beside it; a line that says where."""
    values: dict[str, numpy.ndarray] = {"wanted": wanted}
    script = _script(f"{name}: {node.operator.name} differs.", trace, node, values, limit)
    content = io.BytesIO()
    numpy.savez(content, allow_pickle=False, **values)
    digest = hashlib.sha256(script.encode() + content.getvalue()).hexdigest()[:12]
    path = config.cache_folder() / "faults" / f"{name}-{digest}.py"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path.with_suffix(".npz"), content.getvalue())
        _write(path, script.encode())
    except OSError as error:
        return f"  no script of it is written: {error}"
    return f"  to see it again, run {path} (its values are beside it, in {path.stem}.npz)"


def _write(path: Path, content: bytes) -> None:
    """Only for this user: arguments and parameters are nobody else's business."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(content)


def _script(title: str, trace: Trace, node: Node, values: dict[str, numpy.ndarray], limit: float) -> str:
    graph = graph_of((), [node])
    names: dict[Node, str] = {}
    given: list[str] = []
    body: list[str] = []
    for one in graph.nodes:
        if one.operator is constant and one.type.size <= _PLAIN_SIZE:
            names[one] = f"numpy.full({one.shape}, {_number(one.attrs['value'])}, {one.dtype.name!r})"
        elif one.is_leaf:
            kind = "c" if one.operator is constant else "x" if one in _arguments(trace) else "p"
            names[one] = f"{kind}{len(values)}"
            values[names[one]] = one.attrs["value"] if one.operator is constant else trace.values[one]
            if kind == "x":
                given.append(names[one])
        else:
            names[one] = f"v{len(body)}"
            operands = [names[o] for o in one.operands]
            attrs = [f"{key}={value!r}" for key, value in one.attrs.items()]
            source = f"  # {one.source}" if one.source else ""
            body.append(
                f'{names[one]} = TABLE["{one.operator.name}"]({", ".join([*operands, *attrs])}){source}'
            )
    body.append(f"return {names[node]}")
    return _SCRIPT.format(
        title=title,
        loads="".join(f'{n} = np.array(VALUES["{n}"])\n' for n in values if n != "wanted"),
        arguments=", ".join(given),
        body="\n".join(f"    {line}" for line in body),
        limit=limit,
    )


def _arguments(trace: Trace) -> set[Node]:
    return {i for i in trace.inputs if i.operator is not parameter}


def _number(value: Any) -> str:
    text = repr(value.item() if value.size else 0)
    return f"float({text!r})" if text in ("nan", "inf", "-inf") else text
