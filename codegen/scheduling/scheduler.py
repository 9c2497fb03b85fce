"""From fused graphs to a schedule: each node becomes a launch, a copy, a call of NumPy, or another view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy

from blockfuse.codegen.kernels.kernel import FAULT
from blockfuse.codegen.kernels.kernel_call import CopyFirst, KernelCall
from blockfuse.codegen.kernels.lowering import copy_kernel, has_own_kernel, kernel_of, zero_kernel
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.kernels.scatters import scatter_kernel, scatters_natively
from blockfuse.codegen.scheduling.buffers import planned
from blockfuse.codegen.scheduling.epilogues import with_epilogues
from blockfuse.codegen.scheduling.kept_registers import kept_registers
from blockfuse.codegen.scheduling.merging import merged
from blockfuse.codegen.scheduling.schedule import BlockSchedule, Schedule
from blockfuse.codegen.scheduling.steps import HostCall, Launch, Plain, Pointer, Step, Strip, lives_of
from blockfuse.codegen.scheduling.strips import in_strips
from blockfuse.codegen.scheduling.updates import Update, with_updates
from blockfuse.codegen.scheduling.values import Location, Values
from blockfuse.ir.flow import Block, Flow, straight
from blockfuse.ir.graph import Graph, Node, constant
from blockfuse.ir.layout import Layout, beside, broadcast, index_at, row_major, transpose
from blockfuse.ir.lowering import Fused, Joining, Movement, Packing, Scatter, Writing
from blockfuse.ir.types import TensorType


def schedule(flow: Flow | Graph, machine: Machine, batch: int = 0) -> Schedule:
    """Kernels and memory for fused graphs.

    batch: not 0 where the kernels must do for any number of rows instead of a multiple of ``batch``.
    """
    return _Scheduler(machine, batch).finished(flow if isinstance(flow, Flow) else straight(flow))


@dataclass
class _Scheduler:
    machine: Machine
    batch: int
    values: Values = field(default_factory=Values)
    steps: list[Step] = field(default_factory=list)
    read: set[Node] = field(default_factory=set)  # of the present block: what some operator reads
    kept: dict[Node, Node] = field(default_factory=dict)  # of the present block: see NOTE [kept registers]
    fault: int | None = None

    def finished(self, flow: Flow) -> Schedule:
        self.values.stacks = flow.rooms
        blocks = tuple(self._block(b) for b in flow.blocks)
        buffers, workspace = planned(self.values.buffers, lives_of(self.steps))
        parameters = tuple(self.values.parameters)
        updated = flow.updates if self.machine.writes_updates else ()
        updates = tuple(self.values[leaf].buffer for leaf in updated)
        steps = tuple(self.steps)
        return Schedule(buffers, steps, parameters, workspace, blocks, fault=self.fault, updates=updates)

    def _block(self, block: Block) -> BlockSchedule:
        graph, values, first = block.graph, self.values, len(self.steps)
        for stack, whole in block.takes:
            values.add_whole(stack, whole)
        for leaf in (*graph.inputs, *block.stores, *block.pushes):
            if leaf not in values:
                values.add_input(leaf)
        ends, updates = block.successors is None, block.updates if self.machine.writes_updates else ()
        stored, pushed = graph.outputs[: len(block.stores)], graph.outputs[len(block.stores) : block.kept]
        rest = graph.outputs[block.kept :]
        results = rest[: len(rest) - len(updates)] if ends else ()
        values.pushed = dict(zip(pushed, block.pushes, strict=True))
        values.results = {node: n for n, node in enumerate(results)}
        values.kept = {*stored, *(() if ends else rest)} - values.results.keys()
        self.read = {operand for node in graph.nodes for operand in node.operands}
        self.kept = kept_registers(block, lambda node: _scheduled_by(node) is not _Scheduler._host_call)
        for node in graph.nodes:
            self._node(node)
        commit = self._write_updates(first, updates, rest[len(results) :]) if updates else 0
        if not self.machine.block_tile:
            commit = self._join_maps(first, commit)
        if not self.batch:  # else it is for comparison only
            machine = self.machine
            self.steps[first:], commit = in_strips(self.steps[first:], values.buffers, machine, commit=commit)
        stores = [pair for pair in zip(block.stores, stored, strict=True) if pair[1] not in self.kept]
        return BlockSchedule(
            first,
            len(self.steps),
            tuple((values[leaf].buffer, values[node].buffer) for leaf, node in stores),
            tuple(values[leaf].buffer for leaf in block.pushes),
            tuple(values[leaf].buffer for leaf in block.pops),
            None if ends else values[rest[-1]].buffer,
            block.successors,
            first + commit if updates else None,
            tuple((values[stack].buffer, whole.shape[0]) for stack, whole in block.takes),
        )

    def _write_updates(self, first: int, leaves: Sequence[Node], nodes: Sequence[Node]) -> int:
        """Steps that write the values of nodes to leaves; behind how many of the block they begin."""
        pairs = zip(leaves, nodes, strict=True)
        updates = [Update(self.values[leaf].buffer, self.values[node]) for leaf, node in pairs]
        self.steps[first:], commit = with_updates(self._plain(first), self.values.buffers, updates)
        return commit

    def _join_maps(self, first: int, commit: int) -> int:
        """NOTE [maps behind a product] and NOTE [merged maps], on both sides of the commit, whose number is given back."""
        for join in (merged,) if self.batch else (with_epilogues, merged):
            plain, buffers = self._plain(first), self.values.buffers
            before, behind = (join(steps, plain, buffers) for steps in (plain[:commit], plain[commit:]))
            self.steps[first:] = [*before, *behind]
            commit = len(before)
        return commit

    def _plain(self, first: int) -> list[Plain]:
        return [step for step in self.steps[first:] if not isinstance(step, Strip)]

    def _node(self, node: Node) -> None:
        if node.operator is constant:
            self.values.add_parameter(node, f"c{len(self.values.parameters)}")
        else:
            _scheduled_by(node)(self, node)

    # -- views and kernels -----------------------------------------------------------------------------------

    def _view(self, node: Node) -> None:
        lowering = node.operator.lowering
        assert isinstance(lowering, Movement)
        source = self.values[node.operands[0]]
        layout = lowering.relayout(source.layout, **node.attrs)
        if layout is None:
            source = self._contiguous(node.operands[0])
            layout = lowering.relayout(source.layout, **node.attrs)
            assert layout is not None, f"{node.operator.name} of a contiguous value is always a view"
        self.values.locations[node] = Location(source.buffer, layout)

    def _contiguous(self, node: Node, shape: tuple[int, ...] | None = None) -> Location:
        """The value, broadcast to ``shape``, copied to memory of its own in C order."""
        type = node.type if shape is None else replace(node.type, shape=shape)
        copy = Node(node.operator, (), node.attrs, type)
        source = self.values[node]
        seen = Location(source.buffer, broadcast(source.layout, type.shape))
        self._copy(seen, type, Location(self.values.add_computed(copy), row_major(type.shape)), node.dtype)
        return self.values[copy]

    def _launch(self, node: Node) -> None:
        loads = [self.values[operand] for operand in node.operands]
        call = kernel_of(node, [load.layout for load in loads], self.machine, self.batch)
        while isinstance(call, CopyFirst):
            loads[call.operand] = self._contiguous(node.operands[call.operand], call.shape)
            call = kernel_of(node, [load.layout for load in loads], self.machine, self.batch)
        if self._leaves(node):
            call = replace(call, kernel=call.kernel.with_nontemporal_stores())
        self._emit(call, [*loads, Location(self.values.add_computed(node), row_major(node.shape))])

    def _leaves(self, node: Node) -> bool:
        """Whether a value is a large result that no cache would hold until somebody reads it."""
        large = 0 < self.machine.min_nontemporal_bytes <= node.type.nbytes
        return large and not self.batch and node in self.values.results and node not in self.read

    # -- copies ----------------------------------------------------------------------------------------------

    def _join(self, node: Node) -> None:
        target = self.values.add_computed(node)
        whole = row_major(node.shape)
        axis, start = node.attrs["axis"], 0
        for operand in node.operands:
            source = self.values[operand]
            part = replace(whole, shape=operand.shape, offset=start * whole.strides[axis])
            self._copy(source, operand.type, Location(target, part), node.dtype)
            start += operand.shape[axis]

    def _write(self, node: Node) -> None:
        """A copy of the first operand, but for a large part that is written over, and of the second, broadcast, there."""
        lowering, (whole, part) = node.operator.lowering, node.operands
        assert isinstance(lowering, Writing)
        target = Location(self.values.add_computed(node), row_major(node.shape))
        written = lowering.relayout(target.layout, **node.attrs)
        rest = beside(written, node.shape)
        if rest is None or sum(prod(box.shape) for box in rest) > node.type.size // 2:
            rest = [target.layout]
        for box in rest:
            self._copy(
                self._part(whole, box),
                replace(whole.type, shape=box.shape),
                replace(target, layout=box),
                node.dtype,
            )
        source = self.values[part]
        extra = max(part.type.ndim - len(written.shape), 0)  # NumPy lets leading axes of size 1 go
        layout = replace(
            source.layout, shape=source.layout.shape[extra:], strides=source.layout.strides[extra:]
        )
        spread = Location(source.buffer, broadcast(layout, written.shape))
        type = replace(part.type, shape=written.shape)
        self._copy(spread, type, Location(target.buffer, written), node.dtype)

    def _part(self, node: Node, box: Layout) -> Location:
        """Where the part of a value lies that is ``box`` in an array in C order."""
        buffer, layout = self.values[node].buffer, self.values[node].layout
        index = index_at(box.offset, node.shape)
        offset = layout.offset + sum(n * step for n, step in zip(index, layout.strides, strict=True))
        return Location(buffer, Layout(box.shape, layout.strides, offset))

    def _scatter(self, node: Node) -> None:
        """A copy of the first operand, or it itself, to which a kernel adds the second, or writes it."""
        whole, *others = node.operands
        if node in self.kept:
            target = self.values.locations[node] = self.values[whole]
        else:
            target = Location(self.values.add_computed(node), row_major(node.shape))
            self._copy(self.values[whole], whole.type, target, node.dtype)
        value, *indices = (self.values[other] for other in others)
        call = scatter_kernel(node, value.layout, [index.layout for index in indices])
        self._emit(call, [value, *indices, target])

    def _pack(self, node: Node) -> None:
        """Whole panels as one copy; the last one, if it is not whole, as zeros and a copy of what there is."""
        (weight,) = node.operands
        panel, source = node.attrs["panel"], self.values[weight]
        axes = tuple(range(weight.type.ndim))
        columns = (
            source.layout
            if node.attrs["transposed"]
            else transpose(source.layout, (*axes[:-2], axes[-1], axes[-2]))
        )
        target, packed = self.values.add_computed(node), row_major(node.shape)
        units, inner = columns.shape[-2:]
        whole, rest = divmod(units, panel)
        for start, count, width in ((0, whole, panel), (whole, 1 if rest else 0, rest)):
            shape = (*columns.shape[:-2], count, inner, width)
            unit, step = columns.strides[-2:]
            strides = (*columns.strides[:-2], panel * unit, step, unit)
            taken = Layout(shape, strides, columns.offset + start * panel * unit)
            panels = Layout(shape, packed.strides, packed.offset + start * packed.strides[-3])
            if width < panel and count:
                padded = replace(panels, shape=(*shape[:-1], panel))
                self._emit(zero_kernel(node.dtype, padded), [Location(target, padded)])
            type = replace(node.type, shape=shape)
            self._copy(Location(source.buffer, taken), type, Location(target, panels), node.dtype)

    def _copy(self, source: Location, type: TensorType, target: Location, dtype: numpy.dtype) -> None:
        self._emit(copy_kernel(type, source.layout, target.layout, dtype), [source, target])

    # -- steps -----------------------------------------------------------------------------------------------

    def _emit(self, call: KernelCall, memory: list[Location]) -> None:
        shifts = (*call.shifts, *[0] * (len(memory) - len(call.shifts)))
        pointers = [Pointer(m.buffer, m.layout.offset + n) for m, n in zip(memory, shifts, strict=True)]
        if call.kernel.has_fault:
            pointers.insert(-1, Pointer(self._fault_word(), 0))
        if call.rows:  # an empty value needs no launch
            self.steps.append(Launch(call.kernel, tuple(pointers), call.rows, call.work, call.grain))

    def _fault_word(self) -> int:
        if self.fault is None:
            name, dtype = FAULT
            self.fault = self.values.add_word(name, TensorType((), numpy.dtype(dtype)))
        return self.fault

    def _host_call(self, node: Node) -> None:
        seen = [self.values[operand] for operand in node.operands]
        operands = tuple((location.buffer, location.layout) for location in seen)
        result = self.values.add_computed(node, made_by_host=True)
        source = str(node.source) if node.source else ""
        self.steps.append(HostCall(node.operator, node.attrs, operands, result, source))


_Scheduling = Callable[[_Scheduler, Node], None]

# class of a lowering -> how it is scheduled; the others run through NumPy
_LOWERED: dict[type, _Scheduling] = {Movement: _Scheduler._view, Fused: _Scheduler._launch}
# the same for what copies elements, where kernels can move them
_COPYING: dict[type, _Scheduling] = {
    Joining: _Scheduler._join,
    Writing: _Scheduler._write,
    Packing: _Scheduler._pack,
}


def _scheduled_by(node: Node) -> _Scheduling:
    kind = type(node.operator.lowering)
    if kind is Scatter and scatters_natively(node):
        return _Scheduler._scatter
    if has_own_kernel(node):
        return _Scheduler._launch
    found = _LOWERED | (_COPYING if _is_movable(node) else {})
    return found.get(kind, _Scheduler._host_call)


def _is_movable(node: Node) -> bool:
    """Whether kernels can move the values of ``node``: those of float16 as they are, as no kernel converts them."""
    dtypes = {n.dtype.name for n in (node, *node.operands)}
    return all(n.type.size for n in (node, *node.operands)) and (
        dtypes == {"float16"} or "float16" not in dtypes
    )
