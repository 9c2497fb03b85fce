"""The compiler: a recorded flow becomes one fused graph a block, and these become kernels as data.

flow -> optimize -> prologue and main graph of each block -> schedule
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy

from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.scheduling.every_size import for_every_size
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.scheduling.scheduler import schedule
from blockfuse.ir.errors import TraceError
from blockfuse.ir.flow import Flow, straight
from blockfuse.ir.graph import Graph, Node, captured, evaluated_in_turn, hoisted
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
        with numpy.errstate(all="ignore"):
            return {**known, **dict(self._hoisted(known))}

    def _hoisted(self, known: Mapping[str, numpy.ndarray]) -> Iterator[tuple[str, numpy.ndarray]]:
        """What the prologues make, by name, each as soon as it is made."""
        for number, optimized in enumerate(self.optimized):
            given = [known[i.attrs["name"]] for i in optimized.prologue.inputs]
            for n, value in evaluated_in_turn(optimized.prologue, given):
                yield f"{_prefix(number)}{n}", value

    def parameters(self, known: Mapping[str, numpy.ndarray]) -> list[numpy.ndarray]:
        """What the schedule reads besides arguments, in C order; on cache lines where they may be copies.

        known: as ``with_hoisted`` takes it.
        """
        leaves = self.schedule.parameters
        placed = [n for n in range(len(leaves)) if self._may_be_copied(n)]
        # Where nothing is copied to, nothing is touched, and takes no memory.
        rooms = dict(zip(placed, side_by_side([leaves[n].type for n in placed]), strict=True))
        arrays: dict[int, numpy.ndarray] = {}
        numbers = _numbers_by_name(leaves)
        for number, leaf in enumerate(leaves):
            if "value" in leaf.attrs or leaf.attrs["name"] in known:
                value = leaf.attrs["value"] if "value" in leaf.attrs else known[leaf.attrs["name"]]
                arrays[number] = _in_place(value, rooms.get(number))
        with numpy.errstate(all="ignore"):
            for name, value in self._hoisted(known):
                for number in numbers.get(name, ()):
                    small = value.nbytes <= _SMALL_BYTES
                    own = small or not any(numpy.may_share_memory(value, k) for k in known.values())
                    arrays[number] = _in_place(value, rooms.get(number) if own else None)
        return [arrays[n] for n in range(len(leaves))]

    def _may_be_copied(self, number: int) -> bool:
        """Not what is read as it is at each call, or written, and nothing large of which there would be two."""
        leaf = self.schedule.parameters[number]
        if leaf.operator is captured or any(
            self.schedule.buffers[u].number == number for u in self.schedule.updates
        ):
            return False
        return leaf.operator is hoisted or leaf.type.nbytes <= _SMALL_BYTES


def _numbers_by_name(leaves: Sequence[Node]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for number, leaf in enumerate(leaves):
        if "name" in leaf.attrs:
            found.setdefault(leaf.attrs["name"], []).append(number)
    return found


def _in_place(value: numpy.ndarray, room: numpy.ndarray | None) -> numpy.ndarray:
    """The value in C order: in ``room``, or where it lies if there is none."""
    if room is None:
        return numpy.ascontiguousarray(value).reshape(value.shape)
    assert value.shape == room.shape
    assert value.dtype == room.dtype
    room[...] = value
    return room


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
        optimize(
            block.graph, machine.vector_bytes, check, _prefix(number), batch, weights, machine.matrix_tiles
        )
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
