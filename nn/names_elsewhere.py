"""Parameters under the names of another library: what maps one to the other.

NOTE [names of torch]
Layers of torch hold the same arrays as ours in the same layouts (weights of ``Linear`` and ``Dense`` are (units, in), gates
of an LSTM stand as input, forget, cell, output, those of a GRU as reset, update, new), often under other names. A class says
how torch's calls its parameters (``Block._torch_names``); what stands before a name is the place in the net, which is the
user's in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from blockfuse.ir.errors import UsageError
from blockfuse.nn.structure import joined

if TYPE_CHECKING:
    from blockfuse.nn.block import Block

TORCH = "torch"
# A function, or a mapping in which names that are not there stay as they are; None leaves a value away.
Renaming = Callable[[str], str | None] | Mapping[str, str | None] | str
Value = TypeVar("Value")

_COUNTER = "num_batches_tracked"  # of torch's batch norms, which no result depends on


def renamed(values: Mapping[str, Value], names: Renaming, asked: str) -> dict[str, Value]:
    """The values under other names; raises UsageError where two get one name."""
    if not isinstance(names, Mapping) and not callable(names):
        raise UsageError(
            f"{asked}: names is {names!r}; it is 'torch', a dict of names, or a function of a name"
        )
    result: dict[str, Value] = {}
    for name, value in values.items():
        other = names(name) if callable(names) else names.get(name, name)
        if other in result:
            raise UsageError(f"{asked}: two values get the name {other!r}")
        if other is not None:
            result[other] = value
    return result


def to_torch(block: Block) -> dict[str, str]:
    """Our structural name of each parameter below ``block`` -> torch's."""
    return dict(_pairs(block, ""))


def from_torch(block: Block) -> Callable[[str], str | None]:
    """Torch's name -> ours; None for what only torch has."""
    known = {theirs: ours for ours, theirs in _pairs(block, "")}

    def ours(name: str) -> str | None:
        return None if name.rpartition(".")[2] == _COUNTER else known.get(name, name)

    return ours


def _pairs(block: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for name in block._reg_params:
        yield joined(prefix, name), joined(prefix, block._torch_name(name))
    for name, child in block._children.items():
        yield from _pairs(child, joined(prefix, name))
