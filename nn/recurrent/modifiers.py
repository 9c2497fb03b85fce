"""Cells that change what another cell does: dropout, zoneout, residual connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from blockfuse.array import modes, np, npx
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import UsageError
from blockfuse.nn.recurrent.cell import RecurrentCell, Step, as_states
from blockfuse.nn.recurrent.sequences import as_array, as_list


def _checked_rates(cell: RecurrentCell, **rates: float) -> None:
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise UsageError(
                f"{type(cell).__name__} needs {name} from 0 up to, but not including, 1; found {rate}"
            )


class DropoutCell(RecurrentCell):
    """Dropout of the input in training, without states.

    rate: the share that is zeroed, from 0 to below 1, otherwise UsageError.
    axes: along these, elements of one time are dropped together.

    >>> from blockfuse import gluon, np
    >>> cell = gluon.rnn.SequentialRNNCell()
    >>> cell.add(gluon.rnn.RNNCell(4))
    >>> cell.add(gluon.rnn.DropoutCell(0.5))
    >>> cell.initialize()
    >>> cell.unroll(5, np.ones((1, 5, 3)), merge_outputs=True)[0].shape
    (1, 5, 4)
    """

    def __init__(
        self, rate: float, axes: tuple[int, ...] = (), prefix: str | None = None, params: Any = None
    ) -> None:
        super().__init__(prefix, params)
        _checked_rates(self, rate=rate)
        self._rate, self._axes = rate, axes

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:  # noqa: ARG002
        """None, whatever ``batch_size`` is: an empty list."""
        return []

    def forward(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        return npx.dropout(inputs, p=self._rate, axes=self._axes) if self._rate else inputs, as_states(states)

    def _steps(self, sequence: Any, states: list[Any], axis: int) -> tuple[Any, Step]:
        if self._axes or not self._is_plain(DropoutCell):
            return super()._steps(sequence, states, axis)
        dropped = npx.dropout(as_array(sequence, axis), p=self._rate) if self._rate else sequence
        return dropped, lambda x, following: (x, following)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rate={self._rate}, axes={self._axes})"


class ModifierCell(RecurrentCell):
    """The base of cells that change another one; ``base_cell`` is that cell, and it has its states.

    Raises TypeError for what is no cell.

    >>> from blockfuse import gluon
    >>> cell = gluon.rnn.ResidualCell(gluon.rnn.RNNCell(3))
    >>> cell.base_cell
    RNNCell(-1 -> 3)
    """

    def __init__(self, base_cell: RecurrentCell, prefix: str | None = None, params: Any = None) -> None:
        super().__init__(prefix, params)
        if not isinstance(base_cell, RecurrentCell):
            raise TypeError(f"{type(self).__name__} changes a recurrent cell, not {type(base_cell).__name__}")
        self.base_cell = base_cell

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """Those of the cell that is changed, for ``batch_size`` items."""
        return self.base_cell.state_info(batch_size)

    def begin_state(
        self, batch_size: int = 0, func: Callable[..., Any] = np.zeros, **kwargs: Any
    ) -> list[Any]:
        """Those of the cell that is changed; batch_size, func, kwargs: as of ``RecurrentCell.begin_state``."""
        return self.base_cell.begin_state(batch_size, func, **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_cell!r})"


class ResidualCell(ModifierCell):
    """The output of ``base_cell`` plus its input, which must have one shape (He et al. 2016; Wu et al. 2016).

    >>> from blockfuse import gluon, np
    >>> cell = gluon.rnn.ResidualCell(gluon.rnn.RNNCell(3))
    >>> cell.initialize()
    >>> cell.unroll(5, np.ones((1, 5, 3)), merge_outputs=True)[0].shape
    (1, 5, 3)
    """

    def forward(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        output, following = self.base_cell(inputs, states)
        return output + inputs, following

    @size_agnostic
    def _steps(self, sequence: Any, states: list[Any], axis: int) -> tuple[Any, Step]:
        if not self._is_plain(ResidualCell):
            return super()._steps(sequence, states, axis)
        prepared, step = self.base_cell._steps(sequence, states, axis)

        def added(pair: Any, before: Any) -> tuple[Any, Any]:
            output, following = step(pair[0], before)
            return output + pair[1], following

        return list(zip(as_list(prepared, axis), as_list(sequence, axis), strict=True)), added


class ZoneoutCell(ModifierCell):
    """``base_cell`` in training, elements of whose outputs and states keep their last value by chance (Krueger et al. 2017).

    zoneout_outputs, zoneout_states: the probabilities, from 0 to below 1, otherwise UsageError. Called time by time, the
    cell keeps its last output until it is ``reset()``.

    >>> from blockfuse import gluon, np
    >>> cell = gluon.rnn.ZoneoutCell(gluon.rnn.RNNCell(4), zoneout_states=0.1)
    >>> cell.initialize()
    >>> cell.unroll(5, np.ones((1, 5, 3)), merge_outputs=True)[0].shape
    (1, 5, 4)
    """

    def __init__(
        self,
        base_cell: RecurrentCell,
        zoneout_outputs: float = 0.0,
        zoneout_states: float = 0.0,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(base_cell, prefix, params)
        _checked_rates(self, zoneout_outputs=zoneout_outputs, zoneout_states=zoneout_states)
        self.zoneout_outputs, self.zoneout_states = zoneout_outputs, zoneout_states
        self._last: Any = None

    def reset(self) -> None:
        """Forget the last output."""
        super().reset()
        if self._last is not None:
            self._last = None

    def forward(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        output, following = self._zoned(self.base_cell, inputs, states, self._last)
        if modes.is_training() and self.zoneout_outputs:
            self._last = output
        return output, following

    def _zoned(self, step: Step, inputs: Any, states: Any, last: Any) -> tuple[Any, list[Any]]:
        output, following = step(inputs, states)
        pairs = zip(as_states(following), as_states(states), strict=True)
        return _mixed(output, last, self.zoneout_outputs), [
            _mixed(new, old, self.zoneout_states) for new, old in pairs
        ]

    def _steps(self, sequence: Any, states: list[Any], axis: int) -> tuple[Any, Step]:
        if not self._is_plain(ZoneoutCell):
            return super()._steps(sequence, states, axis)
        prepared, step = self.base_cell._steps(sequence, states, axis)
        kept: list[Any] = [None]

        def zoned(x: Any, before: Any) -> tuple[Any, Any]:
            output, following = self._zoned(step, x, before, kept[0])
            kept[0] = output
            return output, following

        return prepared, zoned


def _mixed(new: Any, old: Any, rate: float) -> Any:
    """The new value; in training, the old one (or 0) of a share of the elements."""
    if not (rate and modes.is_training()):
        return new
    drawn = npx.dropout(np.ones_like(new), p=rate)
    return np.where(drawn, new, np.zeros_like(new) if old is None else old)


class VariationalDropoutCell(ModifierCell):
    """``base_cell`` in training with dropout that has one mask for all times of a sequence (Gal and Ghahramani 2016).

    drop_inputs, drop_states, drop_outputs: the share of the inputs, of the first state, of the outputs, from 0 to below 1,
    otherwise UsageError. Called time by time, the cell keeps its masks until ``reset()``.

    >>> from blockfuse import gluon, np
    >>> cell = gluon.rnn.VariationalDropoutCell(gluon.rnn.RNNCell(4), drop_states=0.2)
    >>> cell.initialize()
    >>> cell.unroll(5, np.ones((1, 5, 3)), merge_outputs=True)[0].shape
    (1, 5, 4)
    """

    def __init__(
        self,
        base_cell: RecurrentCell,
        drop_inputs: float = 0.0,
        drop_states: float = 0.0,
        drop_outputs: float = 0.0,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(base_cell, prefix, params)
        _checked_rates(self, drop_inputs=drop_inputs, drop_states=drop_states, drop_outputs=drop_outputs)
        self.drop_inputs, self.drop_states, self.drop_outputs = drop_inputs, drop_states, drop_outputs
        self._masks: dict[str, Any] = {}  # what it is of -> the mask

    def reset(self) -> None:
        """Forget the masks."""
        super().reset()
        if self._masks:
            self._masks = {}

    def forward(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        return self._dropped(inputs, states, self._masks)

    def _dropped(self, inputs: Any, states: Any, masks: dict[str, Any]) -> tuple[Any, list[Any]]:
        first, *others = as_states(states)
        output, following = self.base_cell(
            _masked(inputs, "inputs", self.drop_inputs, masks),
            [_masked(first, "states", self.drop_states, masks), *others],
        )
        return _masked(output, "outputs", self.drop_outputs, masks), following

    def _steps(self, sequence: Any, states: list[Any], axis: int) -> tuple[Any, Step]:
        if not self._is_plain(VariationalDropoutCell):
            return super()._steps(sequence, states, axis)
        masks: dict[str, Any] = {}
        return sequence, lambda x, before: self._dropped(x, before, masks)


def _masked(x: Any, name: str, rate: float, masks: dict[str, Any]) -> Any:
    if not (rate and modes.is_training()):
        return x
    if name not in masks:
        masks[name] = npx.dropout(np.ones_like(x), p=rate)
    return x * masks[name]
