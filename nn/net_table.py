"""What a notebook shows of a net: its blocks with their parameters and what is compiled, and what ``explain()`` says.

Nothing is run, compiled, initialised or warned of: a notebook asks whenever a net stands at the end of a cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blockfuse.nn.parameter import Parameter
from blockfuse.nn.structure import joined
from blockfuse.nn.summary import elements_of, total_text
from blockfuse.runtime.pages.document import Column, fragment, table
from blockfuse.runtime.pages.markup import Element, element, folded
from blockfuse.runtime.pages.outline import outline

if TYPE_CHECKING:
    from blockfuse.nn.block import Block

_SHOWN = 40  # blocks; more are folded
_MOST = 2000  # blocks in a table: no browser likes more


@dataclass(frozen=True)
class Row:
    """One block. name: from the outermost block down; depth: how many blocks are around it."""

    block: Block
    name: str
    depth: int
    again: bool  # whether it stands further above, too: shared, or around itself


def rows_of(net: Block) -> Iterator[Row]:
    """All blocks in the order in which they are held, what is in a shared one once. Nets run deep: no recursion."""
    met: set[int] = set()
    stack = [(net, "", 0)]
    while stack:
        block, name, depth = stack.pop()
        again = id(block) in met
        met.add(id(block))
        yield Row(block, name, depth, again)
        if not again:
            inner = [(child, joined(name, str(key)), depth + 1) for key, child in block._children.items()]
            stack.extend(reversed(inner))


def html(net: Block) -> str:
    """The whole text, for ``_repr_html_``."""
    rows = list(rows_of(net))
    blocks = {id(row.block): row.block for row in rows}.values()
    parameters = list({id(p): p for block in blocks for p in block._reg_params.values()}.values())
    head = element("p", element("b", type(net).__name__), f": {total_text(parameters)}{_unknown(parameters)}")
    shown = _table(rows[:_SHOWN])
    more = len(rows) - _SHOWN
    rest = folded(f"{more} more blocks", _table(rows[_SHOWN:_MOST])) if more > 0 else None
    left = len(rows) - _MOST
    end = element("p", f"and {left} blocks that are not listed", kind="quiet") if left > 0 else None
    return fragment(head, shown, rest, end, _explained(net))


def _table(rows: Sequence[Row]) -> Element:
    counts = [elements_of(_own(row)) for row in rows]
    columns = (
        Column("block", "", [(row.name or "(net)", "") for row in rows]),
        Column("kind", "", [(type(row.block).__name__, "") for row in rows]),
        Column("parameters", "long", [(_parameters(row), "quiet" if row.again else "") for row in rows]),
        Column("numbers", "right", [(f"{count:,}" if count else "", "") for count in counts]),
        Column("calls", "long", [_calls(row.block) for row in rows]),
    )
    return table(columns)


def _own(row: Row) -> list[Parameter]:
    return [] if row.again else list(row.block._reg_params.values())


def _parameters(row: Row) -> str:
    """Names, shapes, and what is special about them."""
    if row.again:
        return "as above: the same block"
    parameters = row.block._reg_params
    text = ", ".join(_parameter(name, parameter) for name, parameter in parameters.items())
    return f"{text}; no values yet" if any(p._data is None for p in parameters.values()) else text


def _parameter(name: str, parameter: Parameter) -> str:
    sizes = "?" if parameter.shape is None else "x".join("?" if n < 0 else str(n) for n in parameter.shape)
    dtype = str(parameter.dtype)
    marks = [dtype] * (dtype != "float32") + ["not trained"] * (parameter.grad_req == "null")
    return f"{name} {sizes or 'number'}" + (f" ({', '.join(marks)})" if marks else "")


def _unknown(parameters: list[Parameter]) -> str:
    count = sum(p.shape is None or -1 in p.shape for p in parameters)
    return f", and {count} arrays whose shapes the first call says" if count else ""


def _calls(block: Block) -> tuple[str, str]:
    """How the calls of a block run that was hybridized itself, or runs by itself inside of one that stays in Python."""
    return ("", "") if block._hybrid is None else block._hybrid.standing


def _explained(net: Block) -> Element | None:
    text = net.explain()
    return folded("explain()", outline(text)) if net._hybrid is not None else outline(text)
