"""Parameters that wait for their shape: the first call of a block tells it, and then their values are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blockfuse.ir.locks import BUSY, Turn
from blockfuse.nn.wrong_arguments import refusal

if TYPE_CHECKING:
    from blockfuse.nn.block import Block

MAX_WAIT_SECONDS = 1.0  # for another thread to draw; then both do, and the first value counts
_drawing = Turn()  # one thread draws at a time, so that seeds decide the values


def complete(block: Block, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Let the parameters of ``block`` that wait for their shape learn it from the arguments of a call."""

    def infer() -> None:
        if any(parameter._waiting is not None for parameter in block._reg_params.values()):
            try:
                block.infer_shape(*args, **kwargs)
            except TypeError as error:
                said = refusal(error, block, args, kwargs)
                if said:
                    raise TypeError(said) from None
                raise

    if _drawing.run(infer, MAX_WAIT_SECONDS) is BUSY:
        infer()
