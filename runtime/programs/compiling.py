"""From recorded paths to a compiled schedule, for the backend on which it takes least time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from blockfuse.codegen.compile import Compiled, compile_flow, compile_for_every_size
from blockfuse.codegen.compiler_thread import in_compiler_thread
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.ir.errors import TraceError
from blockfuse.ir.flow import Flow
from blockfuse.ir.graph import Node
from blockfuse.runtime.programs.backend import Backend
from blockfuse.runtime.programs.estimates import Estimate
from blockfuse.runtime.programs.ways_to_assign import Ways, ways_of
from blockfuse.tracer.flow.origins import Origin
from blockfuse.tracer.flow.path import Path
from blockfuse.tracer.flow.replay import flow_of
from blockfuse.tracer.generalize.every_size import EverySize
from blockfuse.tracer.recording.record import Recording


@dataclass(frozen=True)
class CompiledPaths:
    """What some recordings were compiled to."""

    compiled: Compiled  # the flow of the paths, its graphs and their schedule
    backend: Backend  # that the schedule is for
    estimate: Estimate | None  # that decided for this backend, where there was a choice
    origins: list[Origin]  # where the leaves of the flow come from
    unrolled: list[str]  # why some loops are not loops of the flow
    ways: Ways  # what they assign to attributes


def compile_recordings(
    recordings: list[Recording], backend: Backend, every_size: EverySize | None, stay_on_device: bool
) -> CompiledPaths:
    """Raises TraceError where the paths do not fit together, or no schedule serves every size."""
    _require_one_structure(recordings)
    paths, ways = ways_of(recordings)
    flows, origins, unrolled = _flows(paths, every_size)
    compiled = partial(_compiled, flows, recordings[-1].draws, every_size)
    largest = max(every_size.sizes) if every_size else 0
    chosen, estimate, found = _for_best_backend(compiled, largest, backend, stay_on_device)
    return CompiledPaths(found, chosen, estimate, origins, unrolled, ways)


def _require_one_structure(recordings: list[Recording]) -> None:
    first = recordings[0]
    for other in recordings[1:]:
        if other.structure != first.structure:
            raise TraceError("the results of some paths have another structure than those of others")


def _flows(
    paths: list[Path], every_size: EverySize | None
) -> tuple[tuple[Flow, ...], list[Origin], list[str]]:
    """What was recorded, as one flow, or as two where ``every_size`` tells them for two sizes of the batch.

    With where the leaves of the first come from, and which loops of it were unrolled.
    """
    if every_size is None:
        flow, origins, unrolled = flow_of(paths)
        return (flow,), origins, unrolled
    one, other = (flow_of([every_size.at(size)]) for size in every_size.references)
    return (one[0], other[0]), one[1], one[2]


def _compiled(
    flows: tuple[Flow, ...], draws: Sequence[Node], every_size: EverySize | None, machine: Machine
) -> Compiled:
    """In a thread of its own: nobody must interrupt what interprets operators as graphs, and use arrays."""
    if every_size is None:
        return in_compiler_thread(lambda: compile_flow(flows[0], machine, draws))
    (one, other), sizes = flows, every_size.references
    return in_compiler_thread(
        lambda: compile_for_every_size((one, other), sizes, every_size.min_items, machine)
    )


def _for_best_backend(
    compiled: Callable[[Machine], Compiled], largest: int, backend: Backend, stay_on_device: bool
) -> tuple[Backend, Estimate | None, Compiled]:
    """Where a program runs best, with the estimate that says so where there is a choice, and what it is there.

    largest: the largest batch that a program for every size has seen, or 0.
    """
    found = compiled(backend.machine)
    estimate = backend.estimate(found.schedule, largest)
    better = estimate is not None and (stay_on_device or estimate.favours_device)
    rival = backend.rival() if better else None
    return (backend, estimate, found) if rival is None else (rival, estimate, compiled(rival.machine))
