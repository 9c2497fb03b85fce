"""The compiler: a recorded flow becomes one fused graph a block, and these become kernels as data.

flow -> optimize -> prologue and main graph of each block -> schedule
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy

from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.scheduling.every_size import for_every_size
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.scheduling.scheduler import schedule
from blockfuse.ir.errors import TraceError
from blockfuse.ir.flow import Flow, straight
from blockfuse.ir.graph import Graph, Node, captured, evaluate, hoisted
from blockfuse.ir.passes.narrow import narrow_weights
from blockfuse.ir.passes.pipeline import Optimized, before_packing, optimize, with_draws_in_front
from blockfuse.ir.placement import side_by_side
from blockfuse.ir.rerolling.reroll import rerolled

_SMALL_BYTES = 1 << 16  # of parameters and constants, of which a program may keep a copy

Values = dict[str, numpy.ndarray]  # name of a leaf -> its value


@dataclass(frozen=True)
class Compiled:
    """What a flow became."""

    recorded: Flow
    optimized: tuple[Optimized, ...]  # of each block
    main: Flow  # the fused graphs
    schedule: Schedule
    weights: str = "float32"  # to which form those of products are narrowed
    batch: int = 0  # for which size it was recorded that may become another one, or 0

    def rounding(self, flow: Flow) -> tuple[Flow, Flow]:
        """A flow up to where weights are narrowed, and the same with those ``rounded`` that the program narrows.

        flow: ``recorded``, or what was recorded as it is for another size of the batch.
        """
        before = flow.map(before_packing)
        return before, before.map(partial(narrow_weights, form=self.weights, batch=self.batch))

    def with_hoisted(self, known: Mapping[str, numpy.ndarray]) -> Values:
        """The values of all leaves of the main graphs: those of the recorded leaves, and what the prologues make of them."""
        values = dict(known)
        for number, optimized in enumerate(self.optimized):
            prologue = optimized.prologue
            with numpy.errstate(all="ignore"):
                results = evaluate(prologue, [values[i.attrs["name"]] for i in prologue.inputs])
            values |= {f"{_prefix(number)}{n}": value for n, value in enumerate(results)}
        return values

    def parameters(self, known: Mapping[str, numpy.ndarray]) -> list[numpy.ndarray]:
        """What the schedule reads besides arguments, in C order; on cache lines where they may be copies.

        known: as ``with_hoisted`` takes it.
        """
        values = self.with_hoisted(known)
        behind = (
            n.attrs["value"] if "value" in n.attrs else values[n.attrs["name"]]
            for n in self.schedule.parameters
        )
        arrays = [numpy.ascontiguousarray(v).reshape(v.shape) for v in behind]
        moved = [n for n, array in enumerate(arrays) if self._may_be_copy(n, array, known)]
        for number, copy in zip(moved, side_by_side([arrays[n] for n in moved]), strict=True):
            arrays[number] = copy
        return arrays

    def _may_be_copy(self, number: int, array: numpy.ndarray, known: Mapping[str, numpy.ndarray]) -> bool:
        """Not what is read as it is at each call, or written, and nothing large of which there would be two."""
        leaf = self.schedule.parameters[number]
        if leaf.operator is captured or any(
            self.schedule.buffers[u].number == number for u in self.schedule.updates
        ):
            return False
        is_own = leaf.operator is hoisted and not any(
            numpy.may_share_memory(array, k) for k in known.values()
        )
        return is_own or array.nbytes <= _SMALL_BYTES


def compile_flow(
    flow: Flow | Graph,
    machine: Machine,
    draws: Sequence[Node] = (),
    check: Callable[[Graph], Graph] | None = None,
    batch: int = 0,
) -> Compiled:
    """Kernels for a flow; raises TraceError where there are none.

    draws: those of a flow of one block, in the order in which they were recorded. check: sees each graph between passes.
    batch: the size of a batch that may become another one, see ``compile_for_every_size``.
    """
    flow = flow if isinstance(flow, Flow) else straight(flow)
    flow = flow if machine.writes_updates else flow.with_all_updates()
    if not (draws or batch):
        flow = _rolled(flow, machine)
    weights = form_of_weights(flow, machine, draws)
    optimized = [
        optimize(block.graph, machine.vector_bytes, check, _prefix(number), batch, weights)
        for number, block in enumerate(flow.blocks)
    ]
    if draws:
        (only,) = optimized
        optimized = [with_draws_in_front(only, list(draws))]
    blocks = (replace(block, graph=o.main) for block, o in zip(flow.blocks, optimized, strict=True))
    main = replace(flow, blocks=tuple(blocks))
    return Compiled(flow, tuple(optimized), main, schedule(main, machine, batch), weights, batch)


def compile_for_every_size(
    flows: tuple[Flow, Flow], sizes: tuple[int, int], min_items: int, machine: Machine
) -> Compiled:
    """The graphs for the first of two sizes of the batch, and the kernels for each from ``min_items`` on.

    Raises TraceError where there are none.
    """
    if _rolled(flows[0], machine) is not flows[0]:
        raise TraceError("a loop of it is native, which programs of one batch size have")
    first, second = (compile_flow(flow, machine, batch=n) for flow, n in zip(flows, sizes, strict=True))
    if [str(o.prologue) for o in first.optimized] != [str(o.prologue) for o in second.optimized]:
        raise TraceError("what is computed from parameters alone depends on the batch size")
    return replace(first, schedule=for_every_size(first.schedule, second.schedule, sizes, min_items, machine))


def form_of_weights(flow: Flow, machine: Machine, draws: Sequence[Node] = ()) -> str:
    """To which form the weights of a program are narrowed; see NOTE [narrow weights].

    A call that writes to parameters or draws random numbers trains, and learns from the float32 ones.
    """
    return "float32" if flow.updates or draws else machine.weights


def _rolled(flow: Flow, machine: Machine) -> Flow:
    """See NOTE [rolled loops]. For a device rounds stay as they were recorded: no host reads a decision between them."""
    return flow if machine.block_tile else rerolled(flow)


def _prefix(number: int) -> str:
    """Of the names of what the prologue of a block computes, which differ between blocks."""
    return f"hoisted{number}." if number else "hoisted"
