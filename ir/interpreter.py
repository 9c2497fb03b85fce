"""Who gives an operator its meaning right now: the eager interpreter or a recorder.

Calling an operator asks the current interpreter to apply it. The eager interpreter computes with NumPy;
a recorder computes too and writes a node. The idea is JAX's (``autodidax``): interpretation is a context, and
user code never knows which one is active.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, cast

from blockfuse.ir.scoped import Scoped

if TYPE_CHECKING:
    from blockfuse.ir.operator import Operator


class Interpreter(Protocol):
    """What an operator call, a write or an escape turns into."""

    recording: bool  # whether every operator must be seen, as a graph is written, or gradients are followed
    defers: bool  # whether operators wait until somebody asks for a value
    outlived: bool  # whether gradients of what it computes may be asked for later, when NumPy has written its memory

    def apply(self, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """The value of ``operator(*operands, **attrs)``."""

    def update(
        self, target: Any, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]
    ) -> None:
        """Write ``operator(*operands, **attrs)`` into the memory of ``target`` (``target += x``)."""

    def assign(self, target: Any, index: Any, value: Any) -> None:
        """``target[index] = value``."""

    def escape(self, kind: str, array: Any) -> None:
        """A value is about to leave the array world (``if x:``, ``float(x)``, ``numpy.asarray(x)``)."""

    def impure(self, what: str) -> None:
        """Something happens that no operator stands for: the random stream is seeded, a file is read."""

    def follow(self) -> None:
        """Gradients are followed from now on: what they will need is in no variable of Python."""

    def retracing(self, obstacle: str) -> Retracing | None:
        """``backward`` begins; who is told where it goes, if somebody wants to know.

        obstacle: why what is left to do at some moment does not follow from what is pending then; empty if it does.
        """

    def asks(self, holder: Any, ask: Callable[[], Any], text: str) -> None:
        """The call asks for state of ``holder`` that no attribute shows. text: what it is, for people."""

    def settles(self, holder: Any) -> None:
        """The call is about to set that state: what it asks for from now on is its own doing."""

    def visit(self, block: Any) -> None:
        """The ``forward`` of ``block`` is about to run."""

    def assigning(self, holder: Any, name: str) -> AbstractContextManager[Any] | None:
        """The context in which ``holder.name`` is assigned, and those who watch it are told; None where any will do."""


class Retracing(Protocol):
    """Told of the way of ``backward`` over the nodes of the tape, from the latest to the earliest."""

    def visits(self, order: int, pending: Mapping[Any, tuple[Any, Any]]) -> None:
        """The node of this order is next. pending: node -> its value, if anybody kept it, and its gradient so far."""

    def ends(self) -> None:
        """All is found."""


_current: Scoped[Interpreter] = Scoped("blockfuse_interpreter", cast("Interpreter", None))

current = _current.get  # the interpreter of this thread and context
interpreting = _current.set_within  # ``with interpreting(interpreter):`` lets it give operators their meaning
go_on_with = _current.set
innermost, return_to = _current.innermost, _current.return_to


def set_default(interpreter: Interpreter) -> None:
    """Install what runs outside of every ``interpreting`` block (called once, by ``blockfuse.array``)."""
    _current.default = interpreter
