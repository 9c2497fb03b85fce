"""What ``net.explain()`` says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy import dtype

from blockfuse.array.pytree import Branch, Number, Static, Structure
from blockfuse.codegen.scheduling.steps import HostCall
from blockfuse.ir.graph import Graph, constant
from blockfuse.ir.operators.narrow import NARROW
from blockfuse.ir.rerolling.repeats import growing_rounds
from blockfuse.runtime import reasons
from blockfuse.runtime.calls.kernel_lines import grouped, kernel_lines, nodes_of_kernels, step_lines
from blockfuse.runtime.programs.failures import promotions
from blockfuse.runtime.reasons import cure_lines


def explanation(
    name: str, cases: Mapping[Any, Any], segments: Any, pieces: Any, precision: str = "float32"
) -> str:
    """One paragraph a signature, and one for the segments of calls that stay in Python. precision: that was asked for."""
    lines = [_case_text(name, signature, case) for signature, case in cases.items()]
    lines += _segment_lines(cases.values(), segments) if cases else []
    lines += [_piece_text(name, signature, case) for signature, case in pieces.cases.items()]
    if precision in NARROW and (segments.programs or pieces.cases):
        lines.append("  segments, and calls inside of record(), keep weights in float32")
    if pieces.problem:
        lines.append("\n".join([f"{name} inside of record(): eager", *because(pieces.problem)]))
    return "\n".join(lines if cases or pieces.cases else [f"{name}: hybridized, not called yet", *lines])


def standing(cases: Iterable[Any], pieces: Any) -> tuple[str, str]:
    """How many signatures are compiled and how many run in Python, and whether that is good or a warning."""
    programs = [case.program is not None for case in list(cases)]
    programs += [case.piece is not None for case in list(pieces.cases.values())]
    if not programs:
        return "hybridized, not called yet", ""
    compiled, eager = sum(programs), programs.count(False)
    said = [f"{compiled} compiled"] * bool(compiled) + [f"{eager} eager"] * bool(eager)
    text = said[0].split()[1] if len(programs) == 1 else ", ".join(said)
    return text, "warn" if eager else "good"


def _segment_lines(cases: Iterable[Any], segments: Any) -> list[str]:
    """How the operators of calls in Python run; blocks in the block have an explanation of their own."""
    lines = []
    if segments.programs:
        values = sum(len(p.schedule_results()) for p in segments.programs)
        calls = sum(p.executable.calls() for p in segments.programs)
        lines.append(
            f"  {len(segments.programs)} compiled segments between uses of values in Python, "
            f"{values} values, {calls} runs"
        )
    if any(case.segmented is False for case in cases):
        lines.append("  where operators run one by one, segments would cost more than they save")
    return lines + ([f"  a segment runs in NumPy because {segments.problem}"] if segments.problem else [])


def because(reason: str, what: str = "") -> list[str]:
    """Why calls run in Python, and what to write instead."""
    return [f"  {what}because {reason}", *(f"  {line}" for line in cure_lines(reason))]


def _call_text(name: str, structure: Structure, types: Any, training: bool) -> str:
    shapes = [f"{dtype(char).name}{_shape_text(shape)}" for shape, char, _ in types]
    return f"{name}({', '.join([*shapes, *_values(structure)])}){' in train mode' if training else ''}"


def _piece_text(name: str, signature: Any, case: Any) -> str:
    """What became of calls inside of record(). See NOTE [pieces]."""
    structure, types, training, _ = signature
    head = f"{_call_text(name, structure, types, training)} inside of record(): "
    if case.piece is None:
        return "\n".join([f"{head}eager, {case.calls} calls", *because(case.reason or "not recorded yet")])
    piece, halves = case.piece, case.piece.halves
    saved = halves.kept[len(halves.leaves) + len(halves.shown) :]
    size = sum(node.type.size * node.dtype.itemsize for node in saved)
    lines = [
        f"{head}compiled in two halves, {piece.calls} calls",
        f"  forward: {_work_text(piece.forward.schedule)}; keeps {len(saved)} values ({size} bytes) for backward",
    ]
    for heads, half in piece.backwards.items():
        of = f" of result {heads[0]}" if len(heads) < len(piece.heads) else ""
        text = "not asked for yet" if half.program is None else _work_text(half.program.schedule)
        lines.append(f"  backward{of}: {'in Python, as it failed' if half.broken else text}")
    return "\n".join(lines)


def _work_text(schedule: Any) -> str:
    calls = sum(isinstance(step, HostCall) for step in schedule.steps)
    host = f", {calls} steps by NumPy" if calls else ""
    return f"{len(schedule.launches)} kernels{host}, about {schedule.work / 1000:.1f} us"


def _case_text(name: str, signature: Any, case: Any) -> str:
    structure, types, training = signature
    head = f"{_call_text(name, structure, types, training)}: "
    if case.program is None:
        return "\n".join([f"{head}eager, {case.calls} calls", *because(case.reason or "not recorded yet")])
    return head + "\n".join(["compiled", *_program_lines(case)])


def _values(part: Structure) -> list[str]:
    """The arguments that are no arrays, containers opened."""
    if isinstance(part, Branch):
        return [text for inner in part.parts for text in _values(inner)]
    if isinstance(part, Number):
        return [f"any {part.type.__name__}"]
    return (
        [part.text if len(part.text) <= MAX_VALUE_CHARACTERS else part.type.__name__]
        if isinstance(part, Static)
        else []
    )


MAX_VALUE_CHARACTERS = 20


def _shape_text(shape: tuple[int | None, ...]) -> str:
    """None, in the place of the leading size, is any."""
    return f"[{', '.join('any' if n is None else str(n) for n in shape)}]"


def _program_lines(case: Any) -> list[str]:
    program = case.program
    recorded = sum(len(block.graph.nodes) for block in program.flow.blocks)
    hoisted = sum(len(o.prologue.outputs) for o in program.compiled.optimized)
    count = len(nodes_of_kernels(program))
    lines = [
        f"  {recorded} operators recorded, {count} kernels, {hoisted} values computed once per parameter version"
    ]
    lines += _flow_lines(case)
    lines += [f"  number {o.text} is given at each call, as {o.dtype}" for o in program.operands]
    if case.note:
        lines += [f"  a number is part of the signature because {case.note}", f"  {reasons.NUMBERS.line}"]
    promoted = grouped(
        (f"  {p.text}", p.product.source, ", as NumPy promotes") for p in promotions(program.flow)
    )
    lines += [*promoted, f"  {reasons.DTYPES.line}"] if promoted else []
    lines += _precision_lines(program)
    lines += kernel_lines(program)
    lines += step_lines(program)
    lines += _backend_lines(program)
    calls = program.executable.calls() + case.calls
    audited = f", {case.audited} audited" if case.audited else ""
    lines.append(f"  {calls} calls, {case.eager_calls + case.attempts} of them eager{audited}")
    lines.append(f"  {case.attempts} recordings, {program.seconds * 1000:.0f} ms to compile or load")
    return [*lines, _size_line(program)]


def _precision_lines(program: Any) -> list[str]:
    """Why no weight of a program is narrow, where that was asked for."""
    if program.compiled.weights == program.backend.machine.weights:
        return []
    does = "writes to parameters" if program.flow.updates else "draws random numbers"
    return [f"  weights stay float32 because the call {does}"]


def _backend_lines(program: Any) -> list[str]:
    """Where a program runs, if that was to be decided, or is not the processor."""
    device = program.backend.device
    name = "the processor" if device is None else device.name
    because = "" if program.estimate is None else f": {program.estimate}"
    lines = [f"  on {name}{because}"] if device is not None or because else []
    if device is None:
        return lines
    if program.executable.uncaptured:
        lines.append(f"  launched one by one because {program.executable.uncaptured}")
    reasons = program.executable.plan.reasons
    return [
        *lines,
        *(f"  {text}" for text in decision_lines(program)),
        *(f"  on the processor: kernel {kernel.name}, because {text}" for kernel, text in reasons.items()),
    ]


def decision_lines(program: Any) -> list[str]:
    """Who decides between the blocks of a program for a device."""
    plan, blocks = program.executable.plan, program.flow.blocks
    together = [", ".join(map(str, region.blocks)) for region in plan.regions]
    return [
        *(
            f"blocks {numbers} are one launch, which decides between them on the device"
            for numbers in together
        ),
        *(
            f"the host reads the decision of block {n}{_from(blocks[n].graph.outputs[-1].source)}, because {text}"
            for n, text in plan.apart.items()
        ),
    ]


def _size_line(program: Any) -> str:
    schedule = program.schedule
    if program.backend.device is not None:
        return f"  workspace of {program.executable.plan.schedule.workspace} on the device"
    work = schedule.work / 1000
    call = f"a call with {schedule.batch} items" if schedule.batch else "a call"
    return f"  about {work:.1f} us of kernels {call}, workspace of {schedule.workspace}"


def _flow_lines(case: Any) -> list[str]:
    """What is known of the decisions, and why some ways run eagerly."""
    blocks = case.program.flow.blocks
    if len(blocks) == 1:
        return _growing_lines(blocks[0].graph)
    loops = sum(
        1 for number, b in enumerate(blocks) for s in b.successors or () if s is not None and s <= number
    )
    unknown = sum(1 for b in blocks for s in b.successors or () if s is None)
    lines = [
        f"  {len(blocks)} blocks between decisions, {loops} ways back (loops), {unknown} ways not taken yet"
    ]
    lines += [
        f"  {loop.rounds} rounds of {loop.operators} operators{_from(loop.source)} on are one loop"
        for loop in case.program.flow.rolled
    ]
    unrolled = dict.fromkeys(case.program.unrolled)
    lines += [f"  a loop is unrolled because {reason}" for reason in unrolled]
    lines += [f"  {reasons.LOOPS.line}"] * bool(unrolled)
    return lines + (because(case.reason, "some calls run eagerly ") if case.reason else [])


def _growing_lines(graph: Graph) -> list[str]:
    """Whether rounds of a loop are written out because each has other shapes."""
    nodes = [node for node in graph.nodes if node.operator is not constant]
    found = growing_rounds(nodes)
    if found is None:
        return []
    first = next((n.source for n in nodes[found.start : found.end] if n.source), None)
    rounds = f"{found.rounds} rounds of {found.period} operators{_from(first)} on"
    return [f"  {rounds} are written out because each has other shapes", f"  {reasons.GROWING.line}"]


def _from(source: Any) -> str:
    return f" from {source}" if source else ""
