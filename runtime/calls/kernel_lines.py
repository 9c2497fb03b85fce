"""The lines of ``explain()`` about the kernels and steps of a program; those that differ in their place alone are one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from blockfuse.codegen.kernels.kernel import Kernel
from blockfuse.codegen.kernels.lowering import has_own_kernel
from blockfuse.codegen.kernels.product_kernels import ProductKernel
from blockfuse.codegen.kernels.window_kernel import WindowKernel
from blockfuse.codegen.scheduling.buffers import Buffer
from blockfuse.codegen.scheduling.sharing import sharing
from blockfuse.codegen.scheduling.steps import HostCall, Launch, Strip
from blockfuse.ir.graph import Node, Source
from blockfuse.ir.lowering import Fused
from blockfuse.ir.types import TensorType
from blockfuse.runtime import reasons

# what stands before the place of a line, the place, and what stands behind it
Located = tuple[str, Source | str | None, str]
_MAX_PLACES = 3  # that are named


def grouped(lines: Iterable[Located]) -> list[str]:
    """The lines, and one for all that say the same of several places, with how often."""
    places: dict[tuple[str, str], list[Source | str | None]] = {}
    for before, place, behind in lines:
        places.setdefault((before, behind), []).append(place)
    return [
        f"{before}{_from(found)}{behind}{_times(len(found))}" for (before, behind), found in places.items()
    ]


def _from(found: Sequence[Source | str | None]) -> str:
    """The places, each once; of many the first ones and the last."""
    places = list(dict.fromkeys(str(place) for place in found if place))
    if len(places) > _MAX_PLACES:
        places = [*places[: _MAX_PLACES - 1], "...", places[-1]]
    return f" from {', '.join(places)}" if places else ""


def _times(count: int) -> str:
    return f", {count} times" if count > 1 else ""


def kernel_lines(program: Any) -> list[str]:
    """A line for each kernel that computes: its result, the user's line, and what the cost model made of it."""
    return grouped(_kernels(program))


def _kernels(program: Any) -> Iterator[Located]:
    schedule = program.schedule
    alone = {id(step) for step in schedule.steps if isinstance(step, Launch)}
    launches: dict[str, list[Launch]] = {}  # of groups by their names
    for launch in schedule.launches:
        for group in launch.kernel.groups:
            launches.setdefault(group, []).append(launch)
    for node in nodes_of_kernels(program):
        if not node.type.size:  # takes no launch
            continue
        name = node.attrs["name"] if isinstance(node.operator.lowering, Fused) else node.operator.name
        launch = _taken(launches[name], node.type, schedule.buffers)
        head = f"  kernel {name}: {_type_text(node.type, schedule.batch)}"
        text = _tiles(launch.kernel) + _form_text(launch.kernel, program)
        others = len(launch.kernel.groups) - 1
        text += f", in one loop with {others} more" if others else ""
        text += f", about {launch.work / 1000:.1f} us"
        yield head, node.source, f"{text}, {_sharing(launch, program)}" if id(launch) in alone else text


def _taken(waiting: list[Launch], type: TensorType, buffers: Sequence[Buffer]) -> Launch:
    """The launch of a group, out of those of its name: the first that writes such a value, for some change places."""
    fitting = (one for one in waiting if any(buffers[b].type == type for b in one.written))
    launch = next(fitting, waiting[0])
    waiting.remove(launch)
    return launch


def nodes_of_kernels(program: Any) -> list[Node]:
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


_FORMS = {"uint16": "bf16", "uint32": "bf16", "int8": "int8"}  # dtype of a packed weight -> the precision


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


def step_lines(program: Any) -> list[str]:
    """What there is to say of steps that are more than one kernel, or none."""
    steps = program.schedule.steps
    host = grouped(_host_call(step) for step in steps if isinstance(step, HostCall))
    strips = Counter(_strip_text(step, program) for step in steps if isinstance(step, Strip))
    return [
        *host,
        *([f"  {reasons.STEPS.line}"] if host else []),
        *(text + _times(count) for text, count in strips.items()),
    ]


def _host_call(step: HostCall) -> Located:
    reason = getattr(step.operator.lowering, "reason", "") or "no kernel for this dtype or size"
    return f"  numpy {step.operator.name}: {reason}", step.source, ""


def _strip_text(step: Strip, program: Any) -> str:
    return (
        f"  {len(step.launches)} launches with one fork, {_sharing(step, program)}: each takes {step.grain} to "
        f"{step.part} items through all of them"
    )
