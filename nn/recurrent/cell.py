"""What every recurrent cell is: a block that takes an input and states to an output and the next states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from blockfuse.array import np
from blockfuse.array.functions.recurrent import times_of, walk, within_lengths
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError
from blockfuse.nn.block import Block
from blockfuse.nn.recurrent.sequences import (
    as_array,
    as_list,
    batch_of,
    checked_sequence,
    time_axis,
)

Step = Callable[[Any, Any], tuple[Any, Any]]  # (input, states) -> (output, next states)


class RecurrentCell(Block):
    """The base of all cells: one time of a recurrence, ``output, states = cell(inputs, states)``, over (batch, features).

    States are a list of arrays; ``begin_state`` makes the first, and ``unroll`` goes through a sequence. A subclass defines
    ``state_info`` and ``forward(inputs, states)``.

    >>> from blockfuse import gluon, np
    >>> cell = gluon.rnn.RNNCell(2, input_size=3)
    >>> cell.initialize()
    >>> outputs, states = cell.unroll(5, np.ones((1, 5, 3)), merge_outputs=True)
    >>> outputs.shape
    (1, 5, 2)
    """

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """A dict for each state: its ``shape`` for so many items, ``batch_size``, and its layout."""
        raise NotImplementedError(f"{type(self).__name__} does not define state_info(self, batch_size)")

    def begin_state(
        self, batch_size: int = 0, func: Callable[..., Any] = np.zeros, **kwargs: Any
    ) -> list[Any]:
        """States to begin with for ``batch_size`` items, ``func(shape=..., **kwargs)`` of each: zeros, in the dtype of the
        parameters.
        """
        return begin_states(self, batch_size, func, kwargs)

    def reset(self) -> None:
        """Forget what the cells keep between calls besides states."""
        for child in self._children.values():
            if isinstance(child, RecurrentCell):
                child.reset()

    @size_agnostic
    def unroll(
        self,
        length: int | None,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:
        """The outputs and last states of a whole sequence.

        length: how many times the inputs have; None takes those that are there.
        inputs: an array of ``layout`` (``"NTC"``: batch, time, features, or ``"TNC"``), or a list of arrays (batch,
        features).
        begin_state: the first states; zeros by default.
        merge_outputs: True for one array of outputs in the layout, else a list of one a time.
        valid_length: how many times of each sequence count, an array (batch,): the outputs behind them are 0, and the
        states are those of its last time.

        Raises ShapeError where the inputs have another length, and UsageError for another layout.

        >>> from blockfuse import gluon, np
        >>> cell = gluon.rnn.GRUCell(4)
        >>> cell.initialize()
        >>> outputs, states = cell.unroll(5, np.ones((2, 5, 3)), valid_length=np.array([3, 5]))
        >>> len(outputs), outputs[0].shape, bool(outputs[4][0].any())
        (5, (2, 4), False)
        """
        axis = time_axis(layout)
        sequence = checked_sequence(inputs, length, axis, self._label)
        self.reset()
        states = self._begin(begin_state, batch_of(sequence, axis))
        outputs, last = self._unrolled(sequence, states, axis, valid_length)
        return (as_array if merge_outputs else as_list)(outputs, axis), last

    @size_agnostic
    def _begin(self, states: Any, batch: int) -> list[Any]:
        given = self.begin_state(batch) if states is None else as_states(states)
        infos = self.state_info(batch)
        if len(given) != len(infos):
            raise ShapeError(f"{self._label} has {len(infos)} states; found {len(given)}")
        return given

    @size_agnostic
    def _unrolled(
        self, sequence: Any, states: list[Any], axis: int, valid_length: Any
    ) -> tuple[Any, list[Any]]:
        """Outputs, as an array or a list of one a time, and last states."""
        kept = None
        if valid_length is not None:
            kept = within_lengths(valid_length, times_of(sequence, axis), batch_of(sequence, axis), axis)
        prepared, step = self._steps(sequence, states, axis)
        outputs, last = walk(prepared, tuple(states), _over_tuples(step), axis, kept)
        return outputs, list(last)

    def _steps(self, sequence: Any, states: list[Any], axis: int) -> tuple[Any, Step]:  # noqa: ARG002
        """What is taken time by time, and what takes it: the cell, or what is the same and prepared for the sequence."""
        return sequence, self

    def _is_plain(self, kind: type[Block]) -> bool:
        """Whether nobody could tell steps from calls: ``forward`` is that of ``kind``, without hooks or a program."""
        own = type(self).forward is kind.forward
        return own and self._hybrid is None and not (self._forward_hooks or self._forward_pre_hooks)


def _over_tuples(step: Step) -> Callable[[Any, tuple[Any, ...]], tuple[Any, tuple[Any, ...]]]:
    def advance(x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        output, following = step(x, list(states))
        return output, tuple(as_states(following))

    return advance


def as_states(states: Any) -> list[Any]:
    """States as a list; one alone need be in none."""
    return list(states) if isinstance(states, tuple | list) else [states]


def begin_states(cell: Any, batch_size: int, func: Callable[..., Any], options: dict[str, Any]) -> list[Any]:
    """``func`` of the shape of each state of a cell or a layer, in the dtype of its parameters."""
    dtypes = [parameter.dtype for parameter in cell._reg_params.values()]
    if dtypes:
        options = {"dtype": str(dtypes[0]), **options}
    return [func(shape=info["shape"], **options) for info in cell.state_info(batch_size)]
