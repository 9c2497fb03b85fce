"""``blockfuse.compare`` and ``blockfuse.show``: the commands of these names as functions, for nets in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy

from blockfuse.array.functions import random
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import UsageError
from blockfuse.runtime.calls.function import HybridFunction
from blockfuse.runtime.calls.options import OPTIONS
from blockfuse.runtime.calls.owner import name_of
from blockfuse.runtime.cli.comparisons import Comparisons, is_busy
from blockfuse.runtime.cli.inputs import Input
from blockfuse.runtime.cli.measure import compared
from blockfuse.runtime.cli.stages import Stages
from blockfuse.runtime.cli.subjects import Subject, is_net
from blockfuse.runtime.inspection import latest, settled
from blockfuse.runtime.programs.backend import backend


def compare(net: Any, *inputs: Any, tolerance: float | None = None, **options: Any) -> Comparisons:
    """Run ``net`` eagerly and compiled, and compare results and times: ``blockfuse compare`` for a net in memory.

    net: a block, or a function of arrays. inputs: the arrays of a call, blockfuse's or NumPy's; each call gets copies.
    tolerance: the largest difference, over the largest element of a result; by default that of the command. options: of
    ``hybridize``, by default those that the net has. It takes some seconds. Afterwards the net is hybridized as it was, and
    draws go on as if nothing had been; what ``forward`` itself changes stays changed.

    Raises TypeError for what is no net or no array, and what the net raises.

    >>> import blockfuse
    >>> from blockfuse import np
    >>> found = blockfuse.compare(lambda x: np.exp(x) + 1, np.zeros(3))
    >>> found.agree
    True
    """
    subject = _subject("compare", net, inputs)
    if tolerance is not None and not _is_tolerance(tolerance):
        raise TypeError(f"compare() takes tolerance= as a number from 0 on, not {tolerance!r:.80}")
    for name in options:
        if name not in OPTIONS:
            raise TypeError(f"compare() has no option {name!r}; it has tolerance, {', '.join(OPTIONS)}")
    options = options or _options_of(net)
    chosen = options.get("backend", "auto"), options.get("threads"), options.get("precision", "float32")
    machine = backend(*chosen).machine
    busy = is_busy()
    with _left_as_it_was(net):
        found = compared(subject, None, options, tolerance)
    return Comparisons((found,), machine, (), busy)


def show(net: Any, *inputs: Any) -> Stages:
    """What ``net`` becomes: its graph before and after fusion, schedule, sources and guards, as ``blockfuse show``.

    net: a block, or a function of arrays. inputs: the arrays of a call; without any, what the last call of a hybridized
    net became, and nothing is run. A net that is not hybridized is, until this returns. Draws go on as if nothing had been.

    Raises TypeError for what is no net or no array, what the net raises, and UsageError without inputs if there was no call.

    >>> import blockfuse
    >>> from blockfuse import np
    >>> print(blockfuse.show(lambda x: np.exp(x) + 1, np.ones(3))["graph"].splitlines()[0])
    graph(x: float32[3]):
    """
    hybrid = getattr(net, "_hybrid", None)
    if not inputs:
        outcome = latest(net) if hybrid is not None and is_net(net) else None
        if outcome is None:
            raise UsageError(
                "show() without arrays shows what a hybridized net became: call it first, or give arrays"
            )
        return Stages(name_of(_plain(net)), outcome)
    subject = _subject("show", net, inputs)
    made = subject.make()
    arrays = [given.array(number) for number, given in enumerate(subject.inputs)]
    if isinstance(made, HybridFunction) or hybrid is not None:
        with _draws_go_on():
            return Stages(subject.name, settled(made, arrays))
    with _left_as_it_was(net):
        net.hybridize()
        return Stages(subject.name, settled(net, arrays))


def _is_tolerance(value: object) -> bool:
    return isinstance(value, int | float) and value >= 0


@dataclass(frozen=True)
class _Given(Input):
    """An array of the caller's."""

    data: numpy.ndarray = field(default_factory=lambda: numpy.zeros(0), compare=False)

    def array(self, number: int) -> ndarray:  # noqa: ARG002 - as of other inputs
        return ndarray(self.data.copy())


def _subject(function: str, net: Any, inputs: tuple[Any, ...]) -> Subject:
    """The net as commands see one. function: that messages name."""
    if isinstance(net, type):
        raise TypeError(f"{function}() takes a net, and {net.__name__} is a class: write {net.__name__}(...)")
    if not is_net(net) and not callable(net):
        raise TypeError(f"{function}() takes a block or a function of arrays, not {net!r:.80}")
    if not is_net(net) and not hasattr(net, "__code__"):
        raise TypeError(
            f"{function}() takes a block or a function of arrays, not {type(net).__name__}; "
            "blockfuse.compile(...) makes blocks of what other libraries made"
        )
    if not inputs:
        raise TypeError(f"{function}(net, *inputs) calls the net: give it the arrays of a call")
    given = tuple(_given(function, place, value) for place, value in enumerate(inputs, 1))
    return Subject(Path(), name_of(_plain(net)), given, lambda: _made(net))


def _made(net: Any) -> Any:
    return net if is_net(net) else HybridFunction(net, {})


def _plain(net: Any) -> Callable[..., Any]:
    plain: Callable[..., Any] = net.__wrapped__ if isinstance(net, HybridFunction) else net
    return plain


def _given(function: str, place: int, value: Any) -> Input:
    data = value.asnumpy() if isinstance(value, ndarray) else value
    if not isinstance(data, numpy.ndarray):
        raise TypeError(
            f"{function}() takes arrays, and argument {place} is {value!r:.80} of type {type(value).__name__}: "
            "write blockfuse.np.array(...)"
        )
    if data.dtype.kind not in "fiub":
        raise TypeError(f"{function}() takes arrays of numbers, and argument {place} has dtype {data.dtype}")
    return _Given(data.shape, data.dtype.name, data=data)


def _options_of(net: Any) -> dict[str, Any]:
    options = net._options if isinstance(net, HybridFunction) else getattr(net, "_hybrid_options", None)
    return dict(options or {})


@contextmanager
def _left_as_it_was(net: Any) -> Iterator[None]:
    """Every block is hybridized afterwards as it was before, and draws go on from where they were."""
    blocks = {id(block): block for block in net._blocks()}.values() if hasattr(net, "_blocks") else ()
    before = [(block, block._hybrid_options) for block in blocks]
    with _draws_go_on():
        try:
            yield
        finally:
            for block, options in before:
                block._compile_by(options)


@contextmanager
def _draws_go_on() -> Iterator[None]:
    """Draws go on from where they were, whatever was drawn meanwhile."""
    stream = random.get_state()
    try:
        yield
    finally:
        random.set_state(stream)
