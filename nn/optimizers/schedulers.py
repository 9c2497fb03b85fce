"""Learning rates that follow the count of updates: ``from blockfuse import lr_scheduler``.

A schedule is a formula of the count, without a state of its own: the count may be an array without axes, as in a training
step that is compiled, and any count may be asked for in any order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypedDict, Unpack

from blockfuse.array import np
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import UsageError
from blockfuse.nn.signatures import SignatureOfInit

__all__ = ["CosineScheduler", "FactorScheduler", "LRScheduler", "MultiFactorScheduler", "PolyScheduler"]


class WarmUp(TypedDict, total=False):
    """What every schedule takes besides its base rate; see ``LRScheduler``."""

    warmup_steps: int
    warmup_begin_lr: float
    warmup_mode: str


class Base(WarmUp, total=False):
    """What every schedule takes."""

    base_lr: float


class LRScheduler:
    """The base of all schedules: warms up, then asks ``rate``, which subclasses define.

    base_lr: the learning rate after the warm-up; an optimizer that is given a ``learning_rate`` of its own sets it.
    warmup_steps: below so many updates the rate rises from ``warmup_begin_lr`` to ``base_lr`` in a straight line, or is
    ``warmup_begin_lr`` where ``warmup_mode`` is ``"constant"``.
    warmup_begin_lr: at most ``base_lr``.
    warmup_mode: ``"linear"`` or ``"constant"``.

    Called with an int it gives a float, with an array of one an array of float64. Raises UsageError for what cannot be
    meant: a warm-up that falls, a number of steps below 0, another mode.

    >>> from blockfuse import lr_scheduler
    >>> class Halving(lr_scheduler.LRScheduler):
    ...     def rate(self, count):
    ...         return self.base_lr * 0.5 ** (count - self.warmup_steps)
    >>> schedule = Halving(base_lr=1.0, warmup_steps=2)
    >>> [float(schedule(count)) for count in range(5)]
    [0.0, 0.5, 1.0, 0.5, 0.25]
    """

    __signature__ = SignatureOfInit()

    def __init__(
        self,
        base_lr: float = 0.01,
        warmup_steps: int = 0,
        warmup_begin_lr: float = 0,
        warmup_mode: str = "linear",
    ) -> None:
        if warmup_steps < 0:
            raise UsageError(f"warmup_steps={warmup_steps}: a warm-up takes 0 updates or more")
        if warmup_begin_lr > base_lr:
            raise UsageError(f"warmup_begin_lr={warmup_begin_lr} is above base_lr={base_lr}; a warm-up rises")
        if warmup_mode not in ("linear", "constant"):
            raise UsageError(f"warmup_mode={warmup_mode!r}; use 'linear' or 'constant'")
        self.base_lr = base_lr
        self.warmup_steps, self.warmup_begin_lr, self.warmup_mode = warmup_steps, warmup_begin_lr, warmup_mode

    def __call__(self, num_update: int | ndarray) -> Any:
        if isinstance(num_update, ndarray):
            return self._at(num_update.astype("float64"))
        return float(self._at(np.array(num_update, dtype="float64")))

    def _at(self, count: ndarray) -> ndarray:
        rate = self.rate(count)
        if not self.warmup_steps:
            return rate
        warm: ndarray = np.where(count < self.warmup_steps, self._warming(count), rate)
        return warm

    def _warming(self, count: ndarray) -> Any:
        if self.warmup_mode == "constant":
            return self.warmup_begin_lr
        return count / self.warmup_steps * (self.base_lr - self.warmup_begin_lr) + self.warmup_begin_lr

    def rate(self, count: ndarray) -> ndarray:
        """The learning rate after the warm-up; ``count`` is an array of float64 without axes."""
        raise NotImplementedError(f"{type(self).__name__} does not define rate(self, count)")


class FactorScheduler(LRScheduler):
    """``base_lr`` times ``factor`` after every ``step`` updates, down to ``stop_factor_lr``. Gluon's FactorScheduler.

    Raises UsageError for a step below 1 and a factor above 1. See ``LRScheduler`` for the other arguments.

    >>> from blockfuse import lr_scheduler
    >>> halving = lr_scheduler.FactorScheduler(step=10, factor=0.5, base_lr=1.0)
    >>> [halving(count) for count in (1, 10, 11, 21)]
    [1.0, 1.0, 0.5, 0.25]
    """

    def __init__(
        self, step: int, factor: float = 1, stop_factor_lr: float = 1e-8, **base: Unpack[Base]
    ) -> None:
        super().__init__(**base)
        if step < 1:
            raise UsageError(f"step={step}: a rate is kept for one update or more")
        _check_factor(factor)
        self.step, self.factor, self.stop_factor_lr = step, factor, stop_factor_lr

    def rate(self, count: ndarray) -> ndarray:
        decays = np.floor(np.maximum(count - 1, 0) / self.step)
        lowered = np.maximum(self.factor**decays * self.base_lr, self.stop_factor_lr)
        rate: ndarray = np.where(decays > 0, lowered, self.base_lr)
        return rate


class MultiFactorScheduler(LRScheduler):
    """``base_lr`` times ``factor`` for each number in the list ``step`` that the count has passed. Gluon's
    MultiFactorScheduler.

    Raises UsageError where ``step`` does not rise from 1 or more, and for a factor above 1. See ``LRScheduler`` for the
    other arguments.

    >>> from blockfuse import lr_scheduler
    >>> steps = lr_scheduler.MultiFactorScheduler(step=[5, 8], factor=0.5, base_lr=1.0)
    >>> [steps(count) for count in (5, 6, 9)]
    [1.0, 0.5, 0.25]
    """

    def __init__(self, step: Iterable[int], factor: float = 1, **base: Unpack[Base]) -> None:
        super().__init__(**base)
        self.step = list(step)
        if min(self.step, default=0) < 1 or self.step != sorted(set(self.step)):
            raise UsageError(f"step={self.step} is no rising list of counts from 1 on")
        _check_factor(factor)
        self.factor = factor

    def rate(self, count: ndarray) -> ndarray:
        passed = np.sum(count > np.array(self.step, dtype="float64")).astype("float64")
        rate: ndarray = self.factor**passed * self.base_lr
        return rate


def _check_factor(factor: float) -> None:
    if factor > 1:
        raise UsageError(f"factor={factor} would raise the learning rate; it must not be above 1")


class _Falling(LRScheduler):
    """From ``base_lr`` after the warm-up to ``final_lr`` at ``max_update``, and no further."""

    def __init__(self, max_update: int, final_lr: float, **base: Unpack[Base]) -> None:
        super().__init__(**base)
        if max_update < 1 or max_update <= self.warmup_steps:
            raise UsageError(
                f"max_update={max_update}: the schedule must end after its warm-up of {self.warmup_steps} updates"
            )
        self.max_update, self.final_lr = max_update, final_lr

    def rate(self, count: ndarray) -> ndarray:
        done = (count - self.warmup_steps) / (self.max_update - self.warmup_steps)
        return self._left(np.minimum(np.maximum(done, 0), 1)) * (self.base_lr - self.final_lr) + self.final_lr

    def _left(self, done: ndarray) -> ndarray:
        """The share of the way that is left when the share ``done`` of the updates is."""
        raise NotImplementedError


class PolyScheduler(_Falling):
    """``(base_lr - final_lr) * (1 - done)**pwr + final_lr``, where ``done`` is the share of the updates behind the warm-up.

    max_update: the count at which ``final_lr`` is reached, and kept. Raises UsageError where the warm-up would not end
    before it. See ``LRScheduler`` for the other arguments. Gluon's PolyScheduler.

    >>> from blockfuse import lr_scheduler
    >>> lr_scheduler.PolyScheduler(max_update=10, base_lr=1.0)(5)
    0.25
    """

    def __init__(
        self,
        max_update: int,
        base_lr: float = 0.01,
        pwr: float = 2,
        final_lr: float = 0,
        **base: Unpack[WarmUp],
    ):
        super().__init__(max_update, final_lr, base_lr=base_lr, **base)
        self.power = pwr

    def _left(self, done: ndarray) -> ndarray:
        left: ndarray = (1 - done) ** self.power
        return left


class CosineScheduler(_Falling):
    """Falls along half a wave of the cosine (Loshchilov and Hutter 2017, equation 5, without restarts), to ``final_lr``.

    max_update: the count at which ``final_lr`` is reached, and kept. Raises UsageError where the warm-up would not end
    before it. See ``LRScheduler`` for the other arguments.

    >>> from blockfuse import lr_scheduler
    >>> lr_scheduler.CosineScheduler(max_update=10, base_lr=1.0)(5)
    0.5
    """

    def __init__(
        self, max_update: int, base_lr: float = 0.01, final_lr: float = 0, **base: Unpack[WarmUp]
    ) -> None:
        super().__init__(max_update, final_lr, base_lr=base_lr, **base)

    def _left(self, done: ndarray) -> ndarray:
        return (np.cos(done * math.pi) + 1) * 0.5
