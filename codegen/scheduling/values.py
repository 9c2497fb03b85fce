"""Where the values of a flow lie while it is scheduled: each in a buffer, seen through a layout."""

from __future__ import annotations

from dataclasses import dataclass, field

from blockfuse.codegen.scheduling.buffers import Buffer, BufferKind
from blockfuse.ir.graph import Node, argument, carried
from blockfuse.ir.layout import Layout, row_major
from blockfuse.ir.types import TensorType


@dataclass(frozen=True)
class Location:
    """Where a value lies."""

    buffer: int
    layout: Layout


@dataclass
class Values:
    """Buffers as they are needed, and the locations of values in them."""

    buffers: list[Buffer] = field(default_factory=list)
    parameters: list[Node] = field(default_factory=list)
    locations: dict[Node, Location] = field(default_factory=dict)
    stacks: dict[Node, int] = field(default_factory=dict)  # leaf -> its room
    pushed: dict[Node, Node] = field(
        default_factory=dict
    )  # of the present block: output -> the stack that takes it
    results: dict[Node, int] = field(default_factory=dict)  # of the present block: output -> which result
    kept: set[Node] = field(default_factory=set)  # of the present block: outputs that outlive its steps
    result_buffers: dict[int, int] = field(default_factory=dict)  # result -> its buffer, shared by all ends

    def __getitem__(self, node: Node) -> Location:
        return self.locations[node]

    def __contains__(self, node: Node) -> bool:
        return node in self.locations

    def add_input(self, node: Node) -> None:
        name = node.attrs["name"]
        if node.operator is argument:
            self._add(node, BufferKind.ARGUMENT, name, number=self._count(BufferKind.ARGUMENT))
        elif node in self.stacks:
            self._add(node, BufferKind.STACK, name, room=self.stacks[node])
        elif node.operator is carried:
            self._add(node, BufferKind.REGISTER, name)
        else:
            self.add_parameter(node, name)

    def add_whole(self, stack: Node, whole: Node) -> None:
        """All values of a stack as one: they lie side by side, each at the start of a line."""
        number = self.locations[stack].buffer
        step = self.buffers[number].step // whole.dtype.itemsize
        layout = row_major(whole.shape)
        self.locations[whole] = Location(number, Layout(whole.shape, (step, *layout.strides[1:])))

    def add_parameter(self, node: Node, name: str) -> None:
        self._add(node, BufferKind.PARAMETER, name, number=len(self.parameters))
        self.parameters.append(node)

    def add_computed(self, node: Node, made_by_host: bool = False) -> int:
        """The buffer of what some step will compute."""
        if node in self.pushed:
            self.locations[node] = self.locations[self.pushed[node]]
            return self.locations[node].buffer
        if node in self.results:
            return self._add_result(node, self.results[node], made_by_host)
        kind = BufferKind.REGISTER if node in self.kept else BufferKind.WORKSPACE
        count = self._count(BufferKind.WORKSPACE, BufferKind.REGISTER)
        return self._add(node, kind, f"t{count}", made_by_host=made_by_host)

    def add_word(self, name: str, type: TensorType) -> int:
        """A register that is no value of the flow."""
        self.buffers.append(Buffer(name, type, BufferKind.REGISTER))
        return len(self.buffers) - 1

    def _add_result(self, node: Node, number: int, made_by_host: bool) -> int:
        if number not in self.result_buffers:
            self.result_buffers[number] = self._add(
                node, BufferKind.RESULT, f"out{number}", number, made_by_host
            )
        self.locations[node] = Location(self.result_buffers[number], row_major(node.shape))
        return self.result_buffers[number]

    def _add(
        self,
        node: Node,
        kind: BufferKind,
        name: str,
        number: int = 0,
        made_by_host: bool = False,
        room: int = 1,
    ) -> int:
        self.buffers.append(Buffer(name, node.type, kind, number, made_by_host=made_by_host, room=room))
        self.locations[node] = Location(len(self.buffers) - 1, row_major(node.shape))
        return len(self.buffers) - 1

    def _count(self, *kinds: BufferKind) -> int:
        return sum(1 for buffer in self.buffers if buffer.kind in kinds)
