"""Hybridized functions held against the plain ones, and a look at their flows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

import blockfuse
from blockfuse import np

SCALES = (1.0, 1e-3, 100.0, 0.0, 1e6, 3.0, 1e12, 0.3)


def case_of(net: Any) -> Any:
    return next(reversed(net._hybrid.cases.values()))


def program_of(net: Any) -> Any:
    program = case_of(net).program
    assert program is not None, net.explain()
    return program


def ways_back(net: Any) -> int:
    blocks = program_of(net).flow.blocks
    return sum(s is not None and s <= n for n, b in enumerate(blocks) for s in b.successors or ())


def same(found: Any, wanted: Any) -> None:
    if isinstance(wanted, tuple):
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            same(a, b)
    elif isinstance(wanted, int | float | str | type(None)):
        assert found == wanted
    else:
        numpy.testing.assert_allclose(found.asnumpy(), wanted.asnumpy(), rtol=2e-5, atol=1e-6)


def agrees(function: Callable[..., Any], calls: list[tuple[Any, ...]], rounds: int = 3) -> Any:
    """The hybridized function, after every call has given what the plain one gives."""
    hybrid = blockfuse.hybridize(function)
    for _ in range(rounds):
        for arguments in calls:
            same(hybrid(*(a.copy() for a in arguments)), function(*(a.copy() for a in arguments)))
    return hybrid


def scaled(shape: tuple[int, ...] = (2, 5), scales: tuple[float, ...] = SCALES) -> list[tuple[Any, ...]]:
    np.random.seed(4)
    return [(np.random.uniform(0.1, 1.0, size=shape) * s,) for s in scales]
