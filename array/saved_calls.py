"""Calls that were recorded elsewhere: which of them a call is, and each of their blocks run operator by operator.

A recorder sees the operators as it sees those of layers, so what was loaded is compiled, and differentiated, like everything
else. ``SavedCalls`` never changes: programs compare it by identity.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from blockfuse.array.ndarray import ndarray
from blockfuse.array.pytree import Structure, Unstructured, flatten, rebuild, values_of
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import UsageError
from blockfuse.ir.exchange import Data, flow_of_data, for_size
from blockfuse.ir.flow import Block, Flow
from blockfuse.ir.graph import Node, argument, constant

MAX_SIZES = 64  # of a batch whose flows are kept

Sizes = tuple[int | None, ...]  # of an array; None: the size of the batch
Registers = tuple[ndarray | None, ...]  # None where nothing was stored yet


@dataclass(frozen=True)
class SavedCall:
    """A flow, the calls that it stands for, and what it gives."""

    form: Structure  # of ``(args, kwargs)``
    types: tuple[tuple[Sizes, str], ...]  # of the arrays among the arguments
    min_items: int  # the smallest batch that the flow takes, where a size of an argument is that of the batch
    data: Data  # of the flow: NOTE [numbers by the item]
    structure: Structure  # of the result

    @size_agnostic
    def size_for(self, arrays: Sequence[ndarray]) -> int | None:
        """The size of the batch (0 where there is none), or None if these are no arrays of such a call."""
        found = set[int]()
        for array, (sizes, dtype) in zip(arrays, self.types, strict=True):
            if array.dtype.name != dtype or array.ndim != len(sizes):
                return None
            pairs = list(zip(array.shape, sizes, strict=True))
            found |= {n for n, wanted in pairs if wanted is None}
            if any(wanted not in (None, n) for n, wanted in pairs):
                return None
        size = found.pop() if len(found) == 1 else 0
        return size if not found and size >= self.min_items else None

    def is_one_of(self, other: SavedCall) -> bool:
        """Whether ``other``, which is for every size of the batch, takes these calls too."""
        if self.form != other.form or len(self.types) != len(other.types):
            return False
        found = set[int | None]()
        for (sizes, dtype), (wanted, known) in zip(self.types, other.types, strict=True):
            pairs = list(zip(sizes, wanted, strict=False))
            found |= {n for n, size in pairs if size is None}
            if len(sizes) != len(wanted) or dtype != known or any(s not in (None, n) for n, s in pairs):
                return False
        return len(found) == 1 and (found.pop() or 0) >= other.min_items

    def __str__(self) -> str:
        arrays = (f"{d}[{', '.join('any' if n is None else str(n) for n in s)}]" for s, d in self.types)
        return f"({', '.join(arrays)})"


class SavedCalls:
    """All that a file holds."""

    def __init__(self, calls: Iterable[SavedCall], parameters: Iterable[str]) -> None:
        """parameters: names of those that the flows read, in the order in which values of them are given."""
        self.calls, self.parameters = tuple(calls), tuple(parameters)
        self._values = [values_of(call.structure) for call in self.calls]  # what results hold besides arrays
        self._flow = lru_cache(MAX_SIZES)(self._flow_for)

    def __reduce__(self) -> tuple[Any, ...]:
        return SavedCalls, (self.calls, self.parameters)

    @size_agnostic
    def find(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, tuple[ndarray, ...]]:
        """Which call this is, and its arrays; raises UsageError if it is none of them."""
        arrays: list[ndarray] = []
        try:
            form = flatten((args, kwargs), arrays)
        except Unstructured as kind:
            raise UsageError(f"an argument is a {kind.args[0]}, which no recorded call was given") from None
        for number, call in enumerate(self.calls):
            if call.form == form and call.size_for(arrays) is not None:
                return number, tuple(arrays)
        found = ", ".join(f"{a.dtype}[{', '.join(map(str, a.shape))}]" for a in arrays)
        known = " or ".join(map(str, self.calls))
        raise UsageError(f"recorded were calls with {known}; this one has ({found})")

    @size_agnostic
    def run(
        self,
        call: int,
        block: int,
        arrays: tuple[ndarray, ...],
        parameters: tuple[ndarray, ...],
        registers: Registers,
    ) -> tuple[tuple[ndarray, ...], Registers]:
        """What a block leaves to the caller, and the registers behind it."""
        flow = self._flow_of(call, arrays)
        values = _values(flow, arrays, dict(zip(self.parameters, parameters, strict=True)), registers)
        one = flow.blocks[block]
        outputs = _outputs(one, values)
        stored = values | dict(zip(one.stores, outputs, strict=False))
        return outputs[one.kept :], tuple(stored.get(register) for register in _registers(flow))

    @size_agnostic
    def successors(
        self, call: int, block: int, arrays: tuple[ndarray, ...]
    ) -> tuple[int | None, int | None] | None:
        """The blocks that follow where the decision is true, and where it is false; None where the call ends."""
        return self._flow_of(call, arrays).blocks[block].successors

    def result(self, call: int, outputs: tuple[ndarray, ...]) -> Any:
        """What the call returns, of what its last block left."""
        return rebuild(self.calls[call].structure, outputs.__getitem__, self._values[call])

    @size_agnostic
    def _flow_of(self, call: int, arrays: Sequence[ndarray]) -> Flow:
        return self._flow(call, self.calls[call].size_for(arrays) or 0)

    def _flow_for(self, call: int, size: int) -> Flow:
        return flow_of_data(for_size(self.calls[call].data, size))


def _values(
    flow: Flow, arrays: tuple[ndarray, ...], parameters: dict[str, ndarray], registers: Registers
) -> dict[Node, Any]:
    """What is there when a block begins."""
    given = (i for i in flow.inputs if i.operator is argument)
    return {
        **dict(zip(given, arrays, strict=True)),
        **{i: parameters[i.attrs["name"]] for i in flow.inputs if i.attrs["name"] in parameters},
        **{i: value for i, value in zip(_registers(flow), registers, strict=False) if value is not None},
    }


def _registers(flow: Flow) -> list[Node]:
    return list(dict.fromkeys(register for block in flow.blocks for register in block.stores))


def _outputs(block: Block, values: dict[Node, Any]) -> tuple[ndarray, ...]:
    known = dict(values)
    for node in block.graph.nodes:
        if node.operator is constant:
            value = node.attrs["value"]
            known[node] = value if value.ndim else value[()]
        else:
            known[node] = node.operator(*(known[o] for o in node.operands), **node.attrs)
    return tuple(known[output] for output in block.graph.outputs)
