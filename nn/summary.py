"""The table that ``block.summary(x)`` prints: blocks in the order of their calls, results, parameters."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blockfuse.nn.block import Block

HEADINGS = ("block", "result", "parameters")


def show(block: Block, inputs: tuple[Any, ...]) -> None:
    """Call ``block`` on ``inputs`` and print the table."""
    sys.stdout.write(table(block, inputs))


def table(block: Block, inputs: tuple[Any, ...]) -> str:
    """The text of the table."""
    rows: list[tuple[str, str, str]] = []
    counted: set[int] = set()

    def note(called: Block, _inputs: Any, output: Any) -> None:
        own = [p for p in called.params.values() if id(p) not in counted]
        counted.update(map(id, own))
        rows.append((called._label, _shapes(output), f"{elements_of(own):,}"))

    distinct = {id(b): b for b in block._blocks()}.values()
    handles = [b.register_forward_hook(note) for b in distinct]
    try:
        block(*inputs)
    finally:
        for handle in handles:
            handle.detach()
    return _text(rows, total_text(block.collect_params().distinct()))


def total_text(parameters: Sequence[Any]) -> str:
    """How many numbers there are to learn."""
    trained = [p for p in parameters if p.grad_req != "null"]
    return f"{elements_of(parameters):,} parameters, {elements_of(trained):,} of them trained"


def _text(rows: list[tuple[str, str, str]], total: str) -> str:
    widths = [max(map(len, column)) for column in zip(HEADINGS, *rows, strict=True)]
    lines = [_line(HEADINGS, widths), _line(["-" * width for width in widths], widths)]
    lines += [_line(row, widths) for row in rows]
    return "\n".join([*lines, total, ""])


def _line(cells: Iterable[str], widths: list[int]) -> str:
    first, second, third = cells
    return f"{first:<{widths[0]}}  {second:<{widths[1]}}  {third:>{widths[2]}}"


def _shapes(output: Any) -> str:
    if isinstance(output, list | tuple):
        return ", ".join(map(_shapes, output))
    return str(getattr(output, "shape", type(output).__name__))


def elements_of(parameters: Iterable[Any]) -> int:
    """How many numbers the parameters of known shape hold."""
    return sum(math.prod(p.shape) for p in parameters if p.shape is not None and -1 not in p.shape)
