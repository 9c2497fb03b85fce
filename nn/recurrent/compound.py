"""Cells made of other cells: one above the other, or one in each direction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from blockfuse.array import np, npx
from blockfuse.nn.block import Block
from blockfuse.nn.recurrent.cell import RecurrentCell, as_states
from blockfuse.nn.recurrent.sequences import as_array


class CompoundCell(RecurrentCell):
    """A cell whose states are those of its cells, one after the other."""

    def _cells(self) -> list[Any]:
        return list(self._children.values())

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """Those of all cells."""
        return [info for cell in self._cells() for info in cell.state_info(batch_size)]

    def begin_state(
        self, batch_size: int = 0, func: Callable[..., Any] = np.zeros, **kwargs: Any
    ) -> list[Any]:
        """Those of all cells."""
        return [state for cell in self._cells() for state in cell.begin_state(batch_size, func, **kwargs)]

    def _shared_out(self, states: list[Any]) -> Iterator[tuple[Any, list[Any]]]:
        """Each cell with its states."""
        start = 0
        for cell in self._cells():
            count = len(cell.state_info())
            yield cell, states[start : start + count]
            start += count


class SequentialRNNCell(CompoundCell):
    """Cells one above the other: the output of one is the input of the next. States are those of all, the first's first.

    >>> from blockfuse import gluon
    >>> stacked = gluon.rnn.SequentialRNNCell()
    >>> stacked.add(gluon.rnn.GRUCell(4))
    >>> stacked.add(gluon.rnn.GRUCell(2))
    >>> [info["shape"] for info in stacked.state_info(3)]
    [(3, 4), (3, 2)]
    """

    def add(self, *cells: RecurrentCell) -> None:
        """Append cells. Raises TypeError, and adds none, if one is no recurrent cell."""
        _check_cells(self, *cells)
        for cell in cells:
            self.register_child(cell)

    def forward(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        following: list[Any] = []
        for cell, own in self._shared_out(as_states(states)):
            inputs, after = cell(inputs, own)
            following += as_states(after)
        return inputs, following

    def _unrolled(
        self, sequence: Any, states: list[Any], axis: int, valid_length: Any
    ) -> tuple[Any, list[Any]]:
        if not self._is_plain(SequentialRNNCell):
            return super()._unrolled(sequence, states, axis, valid_length)
        last: list[Any] = []
        for cell, own in self._shared_out(states):
            sequence, after = cell._unrolled(sequence, own, axis, valid_length)
            last += after
        return sequence, last

    def __len__(self) -> int:
        return len(self._children)

    def __getitem__(self, place: int) -> RecurrentCell:
        cell: RecurrentCell = self._cells()[place]
        return cell

    def __iter__(self) -> Iterator[RecurrentCell]:
        return iter(self._cells())


class HybridSequentialRNNCell(SequentialRNNCell):
    """``SequentialRNNCell``; in Gluon only this one is compiled.

    >>> from blockfuse import gluon, np
    >>> cell = gluon.rnn.HybridSequentialRNNCell()
    >>> cell.add(gluon.rnn.RNNCell(4))
    >>> cell.add(gluon.rnn.GRUCell(2))
    >>> cell.initialize()
    >>> cell.unroll(5, np.ones((1, 5, 3)), merge_outputs=True)[0].shape
    (1, 5, 2)
    """


class BidirectionalCell(CompoundCell):
    """One cell over a sequence and one over its times in reverse, whose outputs stand side by side (Schuster and Paliwal
    1997).

    l_cell, r_cell: the cell forwards and the one backwards; TypeError for what is no cell. States are those of the first,
    then those of the second. It has no single step, and raises NotImplementedError when it is called: use ``unroll()``.

    >>> from blockfuse import gluon, np
    >>> cell = gluon.rnn.BidirectionalCell(gluon.rnn.RNNCell(2), gluon.rnn.RNNCell(2))
    >>> cell.initialize()
    >>> cell.unroll(5, np.ones((1, 5, 3)), merge_outputs=True)[0].shape
    (1, 5, 4)
    """

    def __init__(
        self, l_cell: RecurrentCell, r_cell: RecurrentCell, prefix: str | None = None, params: Any = None
    ) -> None:
        super().__init__(prefix, params)
        _check_cells(self, l_cell, r_cell)
        self.l_cell, self.r_cell = l_cell, r_cell

    def forward(self, inputs: Any, states: Any) -> Any:
        raise NotImplementedError(
            f"{self._label} needs a whole sequence, and cannot be called with one time: use unroll()"
        )

    def _unrolled(
        self, sequence: Any, states: list[Any], axis: int, valid_length: Any
    ) -> tuple[Any, list[Any]]:
        (left, of_left), (right, of_right) = self._shared_out(states)
        outputs, last = left._unrolled(sequence, of_left, axis, valid_length)
        back = npx.sequence_reverse(as_array(sequence, axis), valid_length, valid_length is not None, axis)
        behind, last_of_right = right._unrolled(back, of_right, axis, valid_length)
        turned = npx.sequence_reverse(as_array(behind, axis), valid_length, valid_length is not None, axis)
        return np.concatenate([as_array(outputs, axis), turned], -1), last + last_of_right


def _check_cells(cell: Block, *parts: Any) -> None:
    for part in parts:
        if not isinstance(part, RecurrentCell):
            raise TypeError(f"{type(cell).__name__} is made of recurrent cells, not of {type(part).__name__}")
