"""What ``net.explain()`` says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from blockfuse.array.pytree import Branch, Number, Static, Structure
from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.codegen.kernels.lowering import has_own_kernel
from blockfuse.codegen.kernels.product_kernels import ProductKernel
from blockfuse.codegen.kernels.window_kernel import WindowKernel
from blockfuse.codegen.scheduling.buffers import Buffer
from blockfuse.codegen.scheduling.sharing import sharing
from blockfuse.codegen.scheduling.steps import HostCall, Launch, Step, Strip
from blockfuse.ir.graph import Node
from blockfuse.ir.lowering import Fused
from blockfuse.ir.operators.narrow import NARROW
from blockfuse.ir.types import TensorType
from blockfuse.runtime.programs.failures import CURE, promotions


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
        lines.append(f"{name} inside of record(): eager\n  because {pieces.problem}")
    return "\n".join(lines if cases or pieces.cases else [f"{name}: hybridized, not called yet", *lines])


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


def _call_text(name: str, structure: Structure, types: Any, training: bool) -> str:
    shapes = [f"{_DTYPES.get(char, char)}{_shape_text(shape)}" for shape, char, _ in types]
    return f"{name}({', '.join([*shapes, *_values(structure)])}){' in train mode' if training else ''}"


def _piece_text(name: str, signature: Any, case: Any) -> str:
    """What became of calls inside of record(). See NOTE [pieces]."""
    structure, types, training, _ = signature
    head = f"{_call_text(name, structure, types, training)} inside of record(): "
    if case.piece is None:
        return f"{head}eager, {case.calls} calls\n  because {case.reason or 'not recorded yet'}"
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
        reason = case.reason or "not recorded yet"
        return f"{head}eager, {case.calls} calls\n  because {reason}"
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


_DTYPES = {"f": "float32", "d": "float64", "e": "float16", "?": "bool"}


def _program_lines(case: Any) -> list[str]:
    program, schedule = case.program, case.program.schedule
    recorded = sum(len(block.graph.nodes) for block in program.flow.blocks)
    hoisted = sum(len(o.prologue.outputs) for o in program.compiled.optimized)
    count = len(_nodes_of_kernels(program))
    lines = [
        f"  {recorded} operators recorded, {count} kernels, {hoisted} values computed once per parameter version"
    ]
    lines += _flow_lines(case)
    lines += [f"  number {o.text} is given at each call, as {o.dtype}" for o in program.operands]
    lines += [f"  a number is part of the signature because {case.note}"] if case.note else []
    promoted = [f"  {promotion}, as NumPy promotes" for promotion in promotions(program.flow)]
    lines += [*promoted, f"  {CURE}"] if promoted else []
    lines += _precision_lines(program)
    kernels = Counter(_kernel_texts(program))
    lines += [text if count == 1 else f"{text}, {count} times" for text, count in kernels.items()]
    lines += [text for step in schedule.steps for text in _step_lines(step, program)]
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


def _step_lines(step: Step, program: Any) -> list[str]:
    """What there is to say of a step that is more than one kernel, or none."""
    if isinstance(step, HostCall):
        reason = getattr(step.operator.lowering, "reason", "") or "no kernel for this dtype or size"
        return [f"  numpy {step.operator.name}: {reason}" + (f", {step.source}" if step.source else "")]
    if isinstance(step, Strip):
        return [
            f"  {len(step.launches)} launches with one fork, {_sharing(step, program)}: each takes {step.grain} to "
            f"{step.part} items through all of them"
        ]
    return []


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


def _kernel_texts(program: Any) -> Iterator[str]:
    """A line for each kernel that computes: its result, the user's line, and what the cost model made of it."""
    schedule = program.schedule
    alone = {id(step) for step in schedule.steps if isinstance(step, Launch)}
    launches: dict[str, list[Launch]] = {}  # of groups by their names
    for launch in schedule.launches:
        for group in launch.kernel.groups:
            launches.setdefault(group, []).append(launch)
    for node in _nodes_of_kernels(program):
        if not node.type.size:  # takes no launch
            continue
        name = node.attrs["name"] if isinstance(node.operator.lowering, Fused) else node.operator.name
        launch = _taken(launches[name], node.type, schedule.buffers)
        text = f"  kernel {name}: {_type_text(node.type, schedule.batch)}{_from(node.source)}{_tiles(launch.kernel)}"
        text += _form_text(launch.kernel, program)
        others = len(launch.kernel.groups) - 1
        text += f", in one loop with {others} more" if others else ""
        text += f", about {launch.work / 1000:.1f} us"
        yield f"{text}, {_sharing(launch, program)}" if id(launch) in alone else text


def _taken(waiting: list[Launch], type: TensorType, buffers: Sequence[Buffer]) -> Launch:
    """The launch of a group, out of those of its name: the first that writes such a value, for some change places."""
    fitting = (one for one in waiting if any(buffers[b].type == type for b in one.written))
    launch = next(fitting, waiting[0])
    waiting.remove(launch)
    return launch


def _nodes_of_kernels(program: Any) -> list[Node]:
    """Fused groups, and operators that have a kernel for themselves."""
    nodes = [n for o in program.compiled.optimized for n in o.main.nodes]
    return [n for n in nodes if isinstance(n.operator.lowering, Fused) or has_own_kernel(n)]


def _tiles(kernel: Kernel) -> str:
    if not kernel.tiles:
        return ""
    tile = kernel.tiles[0]
    return f", tiles of {tile.rows} x {tile.panels * tile.panel}"


def _form_text(kernel: Kernel, program: Any) -> str:
    """What a product has of the precision that was asked for; see NOTE [narrow weights]."""
    if program.backend.machine.weights == "float32" or not isinstance(kernel, ProductKernel | WindowKernel):
        return ""
    if program.compiled.weights == "float32":
        return ", weights in float32"
    if kernel.right.dtype in _FORMS:
        return f", weights in {_FORMS[kernel.right.dtype]}"
    may_change = ", as the right matrix may change at each call" if kernel.dtype == "float32" else ""
    return f", all in {kernel.dtype}{may_change}"


_FORMS = {"uint16": "bf16", "int8": "int8"}  # dtype of a packed weight -> the precision


def _sharing(step: Launch | Strip, program: Any) -> str:
    return f"for {sharing(step, program.backend.machine, program.schedule.batch)}"


def _type_text(type: TensorType, batch: int) -> str:
    """A type; of one that grows with the batch, the leading size in items."""
    if not batch or not type.ndim or type.shape[0] % batch:
        return str(type)
    rows_per_item = type.shape[0] // batch
    rows = "any" if rows_per_item == 1 else f"{rows_per_item} * any"
    shape = (rows, *map(str, type.shape[1:]))
    return f"{type.dtype}[{', '.join(shape)}]"


def _flow_lines(case: Any) -> list[str]:
    """What is known of the decisions, and why some ways run eagerly."""
    blocks = case.program.flow.blocks
    if len(blocks) == 1:
        return []
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
    lines += [f"  a loop is unrolled because {reason}" for reason in dict.fromkeys(case.program.unrolled)]
    return lines + ([f"  some calls run eagerly because {case.reason}"] if case.reason else [])


def _from(source: Any) -> str:
    return f" from {source}" if source else ""
