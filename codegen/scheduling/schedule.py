"""The schedule: which kernels run in which order on which memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy

from blockfuse.codegen.kernels import lowering
from blockfuse.codegen.kernels.kernel import FAULT
from blockfuse.codegen.kernels.kernel_call import CopyFirst, KernelCall
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.scheduling.buffers import Buffer, Workspace, planned
from blockfuse.codegen.scheduling.steps import HostCall, Launch, Pointer, Step, launches_of, lives_of
from blockfuse.codegen.scheduling.strips import in_strips
from blockfuse.ir.flow import Block, Flow, Successors, straight
from blockfuse.ir.graph import Graph, Node, argument, carried, constant
from blockfuse.ir.layout import Layout, broadcast, row_major, transpose
from blockfuse.ir.lowering import Fused, Host, Joining, Movement, Packing, Writing
from blockfuse.ir.types import TensorType


@dataclass(frozen=True)
class BlockSchedule:
    """Steps ``first`` to ``beyond`` (exclusive) of one block of a flow, and what follows.

    stores: (register, buffer) pairs: the two exchange their memory. predicate: the buffer of the bool that
    decides which of ``successors`` is next (None there: unknown), or None where the call ends.
    """

    first: int
    beyond: int
    stores: tuple[tuple[int, int], ...] = ()
    predicate: int | None = None
    successors: Successors | None = None


@dataclass(frozen=True)
class Schedule:
    """Steps over buffers, in blocks.

    parameters: the values behind parameter buffers, in order (leaves and constants of the graph). batch: not 0 in a
    schedule for any number of items of a batch; types, rows and work are then for this number, and what has a ``share``
    is in proportion. least: the smallest number of items. fault: the buffer of the word of NOTE [faults]; None where no
    kernel has indices.
    """

    buffers: tuple[Buffer, ...]
    steps: tuple[Step, ...]
    parameters: tuple[Node, ...]
    workspace: Workspace
    blocks: tuple[BlockSchedule, ...]
    batch: int = 0
    least: int = 0
    fault: int | None = None

    @property
    def launches(self) -> tuple[Launch, ...]:
        """All launches in order, also those in strips."""
        return tuple(launches_of(self.steps))

    @property
    def work(self) -> float:
        """Nanoseconds of kernels on one core, for ``batch`` items where the schedule is for any number."""
        return sum(launch.work for launch in self.launches)

    def __str__(self) -> str:
        lines = [f"workspace: {self.workspace}"]
        lines += [f"  {n}: {b}" for n, b in enumerate(self.buffers)]
        for number, block in enumerate(self.blocks):
            lines += [f"block {number}:"] * (len(self.blocks) > 1)
            for step in self.steps[block.first : block.beyond]:
                lines += _step_lines(step, self.buffers)
            lines += [f"  {self.buffers[r].name} <-> {self.buffers[v].name}" for r, v in block.stores]
            if block.predicate is not None:
                lines.append(f"  {self.buffers[block.predicate].name}: {block.successors}")
        return "\n".join(lines)


def _step_lines(step: Step, buffers: tuple[Buffer, ...]) -> list[str]:
    if isinstance(step, HostCall):
        operands = ", ".join(buffers[b].name for b, _ in step.operands)
        return [f"numpy {step.operator.name}({operands}) -> {buffers[step.result].name}"]
    if isinstance(step, Launch):
        return [_launch_text(step, buffers)]
    items = "items" if step.grows else f"{step.items} items"
    return [
        f"strip of {items}, {step.grain} to {step.part} at a time, {step.room} bytes each, ~{step.work / 1000:.1f} us:",
        *(f"  {_launch_text(launch, buffers)}" for launch in step.launches),
    ]


def _launch_text(launch: Launch, buffers: tuple[Buffer, ...]) -> str:
    shown = [buffers[p.buffer].name + (f"+{p.offset}" if p.offset else "") for p in launch.pointers]
    rows = f"{launch.share} * items" if launch.share else launch.rows
    work = f"~{launch.work / 1000:.1f} us"
    return f"launch {launch.kernel.name}({', '.join(shown)}) rows={rows} grain={launch.grain} {work}"


def schedule(flow: Flow | Graph, machine: Machine, batch: int = 0) -> Schedule:
    """Kernels and memory for fused graphs.

    batch: not 0 where the kernels must do for any number of rows in the place of a multiple of ``batch``.
    """
    return _Scheduler(machine, batch).finished(flow if isinstance(flow, Flow) else straight(flow))


@dataclass
class _Place:
    """Where a value lies."""

    buffer: int
    layout: Layout


@dataclass
class _Scheduler:
    machine: Machine
    batch: int
    buffers: list[Buffer] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    parameters: list[Node] = field(default_factory=list)
    places: dict[Node, _Place] = field(default_factory=dict)
    results: dict[Node, int] = field(default_factory=dict)  # of the present block: output -> which result
    read: set[Node] = field(default_factory=set)  # of the present block: what some operator reads
    kept: set[Node] = field(default_factory=set)  # of the present block: outputs that outlive its steps
    result_buffers: dict[int, int] = field(default_factory=dict)  # result -> its buffer, shared by all ends
    fault: int | None = None

    def finished(self, flow: Flow) -> Schedule:
        blocks = tuple(self._block(b) for b in flow.blocks)
        buffers, workspace = planned(self.buffers, lives_of(self.steps))
        return Schedule(
            buffers, tuple(self.steps), tuple(self.parameters), workspace, blocks, fault=self.fault
        )

    def _block(self, block: Block) -> BlockSchedule:
        graph, first = block.graph, len(self.steps)
        for leaf in (*graph.inputs, *block.stores):
            if leaf not in self.places:
                self._place_input(leaf)
        ends = block.successors is None
        rest = graph.outputs[len(block.stores) :]
        self.results = {node: n for n, node in enumerate(rest)} if ends else {}
        self.kept = set(graph.outputs) - self.results.keys()
        self.read = {operand for node in graph.nodes for operand in node.operands}
        for node in graph.nodes:
            self._place_node(node)
        if not self.batch:  # else it is for comparison only
            self.steps[first:] = in_strips(self.steps[first:], self.buffers, self.machine)
        registers = (self.places[leaf].buffer for leaf in block.stores)
        values = (self.places[node].buffer for node in graph.outputs)
        return BlockSchedule(
            first,
            len(self.steps),
            tuple(zip(registers, values, strict=False)),
            None if ends else self.places[rest[-1]].buffer,
            block.successors,
        )

    # -- memory ----------------------------------------------------------------------------------------------

    def _place_input(self, node: Node) -> None:
        if node.operator is argument:
            count = sum(1 for b in self.buffers if b.kind == "argument")
            self._buffer(node, "argument", count, node.attrs["name"])
        elif node.operator is carried:
            self._buffer(node, "register", 0, node.attrs["name"])
        else:
            self._place_parameter(node, node.attrs["name"])

    def _place_parameter(self, node: Node, name: str) -> None:
        self._buffer(node, "parameter", len(self.parameters), name)
        self.parameters.append(node)

    def _buffer(self, node: Node, kind: str, place: int, name: str, made_by_host: bool = False) -> int:
        self.buffers.append(Buffer(name, node.type, kind, place, made_by_host))
        self.places[node] = _Place(len(self.buffers) - 1, row_major(node.shape))
        return len(self.buffers) - 1

    def _new_value(self, node: Node, made_by_host: bool = False) -> int:
        if node in self.results:
            return self._result(node, self.results[node], made_by_host)
        kind = "register" if node in self.kept else "workspace"
        count = sum(1 for b in self.buffers if b.kind in ("workspace", "register"))
        return self._buffer(node, kind, 0, f"t{count}", made_by_host)

    def _result(self, node: Node, number: int, made_by_host: bool) -> int:
        if number not in self.result_buffers:
            self.result_buffers[number] = self._buffer(node, "result", number, f"out{number}", made_by_host)
        self.places[node] = _Place(self.result_buffers[number], row_major(node.shape))
        return self.result_buffers[number]

    # -- steps -----------------------------------------------------------------------------------------------

    def _place_node(self, node: Node) -> None:
        lowering = node.operator.lowering
        if node.operator is constant:
            self._place_parameter(node, f"c{len(self.parameters)}")
        elif isinstance(lowering, Movement):
            self._view(node)
        elif isinstance(lowering, Fused):
            self._launch(node)
        elif isinstance(lowering, Host) or not _is_carried(node):
            self._host_call(node)
        elif isinstance(lowering, Joining):
            self._join(node)
        elif isinstance(lowering, Writing):
            self._write(node)
        elif isinstance(lowering, Packing):
            self._pack(node)
        else:
            self._host_call(node)

    def _view(self, node: Node) -> None:
        lowering = node.operator.lowering
        assert isinstance(lowering, Movement)
        source = self.places[node.operands[0]]
        layout = lowering.relayout(source.layout, **node.attrs)
        if layout is None:
            source = self._contiguous(node.operands[0])
            layout = lowering.relayout(source.layout, **node.attrs)
            assert layout is not None, f"{node.operator.name} of a contiguous value is always a view"
        self.places[node] = _Place(source.buffer, layout)

    def _contiguous(self, node: Node, shape: tuple[int, ...] | None = None) -> _Place:
        """The value, broadcast to ``shape``, copied to memory of its own in C order."""
        type = node.type if shape is None else replace(node.type, shape=shape)
        copy = Node(node.operator, (), node.attrs, type)
        source = self.places[node]
        seen = _Place(source.buffer, broadcast(source.layout, type.shape))
        self._copy(seen, type, self._new_value(copy), row_major(type.shape), node.dtype)
        return self.places[copy]

    def _launch(self, node: Node) -> None:
        loads = [(self.places[o].buffer, self.places[o].layout) for o in node.operands]
        kernel = lowering.kernel_of(node, [layout for _, layout in loads], self.machine, self.batch)
        while isinstance(kernel, CopyFirst):
            place = self._contiguous(node.operands[kernel.operand], kernel.shape)
            loads[kernel.operand] = (place.buffer, place.layout)
            kernel = lowering.kernel_of(node, [layout for _, layout in loads], self.machine, self.batch)
        if self._leaves(node):
            kernel = replace(kernel, kernel=kernel.kernel.with_nontemporal_stores())
        target = self._new_value(node)
        self._emit(kernel, [*loads, (target, row_major(node.shape))])

    def _leaves(self, node: Node) -> bool:
        """Whether a value is a large result that no cache would hold until somebody reads it."""
        large = 0 < self.machine.stream_bytes <= node.type.nbytes
        return large and not self.batch and node in self.results and node not in self.read

    def _join(self, node: Node) -> None:
        target = self._new_value(node)
        whole = row_major(node.shape)
        axis, start = node.attrs["axis"], 0
        for operand in node.operands:
            source = self.places[operand]
            part = replace(whole, shape=operand.shape, offset=start * whole.strides[axis])
            self._copy(source, operand.type, target, part, node.dtype)
            start += operand.shape[axis]

    def _write(self, node: Node) -> None:
        """A copy of the first operand, then the second, broadcast, into its place."""
        lowering, (whole, part) = node.operator.lowering, node.operands
        assert isinstance(lowering, Writing)
        target = self._new_value(node)
        place = lowering.relayout(row_major(node.shape), **node.attrs)
        self._copy(self.places[whole], whole.type, target, row_major(node.shape), node.dtype)
        source = self.places[part]
        extra = max(part.type.ndim - len(place.shape), 0)  # NumPy lets leading axes of size 1 go
        layout = replace(
            source.layout, shape=source.layout.shape[extra:], strides=source.layout.strides[extra:]
        )
        spread = _Place(source.buffer, broadcast(layout, place.shape))
        self._copy(spread, replace(part.type, shape=place.shape), target, place, node.dtype)

    def _pack(self, node: Node) -> None:
        """Whole panels as one copy; the last one, if it is not whole, as zeros and a copy of what there is."""
        (weight,) = node.operands
        panel, source = node.attrs["panel"], self.places[weight]
        axes = tuple(range(weight.type.ndim))
        columns = (
            source.layout
            if node.attrs["transposed"]
            else transpose(source.layout, (*axes[:-2], axes[-1], axes[-2]))
        )
        target, packed = self._new_value(node), row_major(node.shape)
        units, inner = columns.shape[-2:]
        whole, rest = divmod(units, panel)
        for start, count, width in ((0, whole, panel), (whole, 1 if rest else 0, rest)):
            shape = (*columns.shape[:-2], count, inner, width)
            unit, step = columns.strides[-2:]
            strides = (*columns.strides[:-2], panel * unit, step, unit)
            taken = Layout(shape, strides, columns.offset + start * panel * unit)
            place = Layout(shape, packed.strides, packed.offset + start * packed.strides[-3])
            if width < panel and count:
                padded = replace(place, shape=(*shape[:-1], panel))
                self._emit(lowering.zero_kernel(node.dtype, padded), [(target, padded)])
            self._copy(
                _Place(source.buffer, taken), replace(node.type, shape=shape), target, place, node.dtype
            )

    def _copy(self, source: _Place, type: TensorType, target: int, place: Layout, dtype: numpy.dtype) -> None:
        kernel = lowering.copy_kernel(type, source.layout, place, dtype)
        self._emit(kernel, [(source.buffer, source.layout), (target, place)])

    def _emit(self, bound: KernelCall, memory: list[tuple[int, Layout]]) -> None:
        shifts = (*bound.shifts, *[0] * (len(memory) - len(bound.shifts)))
        pointers = [Pointer(b, layout.offset + n) for (b, layout), n in zip(memory, shifts, strict=True)]
        if bound.kernel.has_fault:
            pointers.insert(-1, Pointer(self._fault_word(), 0))
        if bound.rows:  # an empty value needs no launch
            self.steps.append(Launch(bound.kernel, tuple(pointers), bound.rows, bound.work, bound.grain))

    def _fault_word(self) -> int:
        if self.fault is None:
            self.fault = len(self.buffers)
            name, dtype = FAULT
            self.buffers.append(Buffer(name, TensorType((), numpy.dtype(dtype)), "register", 0))
        return self.fault

    def _host_call(self, node: Node) -> None:
        operands = tuple((self.places[o].buffer, self.places[o].layout) for o in node.operands)
        result = self._new_value(node, made_by_host=True)
        source = str(node.source) if node.source else ""
        self.steps.append(HostCall(node.operator, node.attrs, operands, result, source))


def _is_carried(node: Node) -> bool:
    """Whether kernels can move the values of ``node``: float16 goes through NumPy."""
    return all(n.dtype.name != "float16" and n.type.size for n in (node, *node.operands))
