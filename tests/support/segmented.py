"""A function run in segments beside the same function run eagerly."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from numpy.testing import assert_allclose

from blockfuse import hybridize, np
from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter
from blockfuse.runtime.audit.selfcheck import SelfCheck
from blockfuse.runtime.calls.segments import Segments
from blockfuse.runtime.programs import backend
from blockfuse.runtime.programs.failures import CompilerFailures
from blockfuse.tracer.lazy.segments import Segmented

_RNG = numpy.random.default_rng(0)


def array(*shape: int) -> numpy.ndarray:
    return _RNG.normal(size=shape).astype(numpy.float32)


class Twin:
    """``function`` in segments and eagerly, on the same arguments."""

    def __init__(self, function: Any) -> None:
        self.function = function
        check = SelfCheck("segments", function, backend.backend)
        self.segments = Segments(
            hybridize(function)._hybrid.owner,
            backend.backend,
            CompilerFailures("segments"),
            check,
            min_nanoseconds=0,
        )

    def segmented(self, *args: Any) -> Any:
        session = Segmented(self.segments.tree)
        session.begin()
        try:
            with interpreter.interpreting(session):
                return self.function(*args)
        finally:
            session.finish()

    def agree(self, make: Any, calls: int = 5) -> None:
        """Results and arguments are as eager leaves them, call after call. make(): new arguments (NumPy's)."""
        for _ in range(calls):
            mine, theirs = (
                [np.array(a) if isinstance(a, numpy.ndarray) else a for a in arguments]
                for arguments in _twice(make())
            )
            got, want = self.segmented(*mine), self.function(*theirs)
            same(got, want)
            same(mine, theirs)


def _twice(arguments: Any) -> tuple[Any, Any]:
    return arguments, [a.copy() if isinstance(a, numpy.ndarray) else a for a in arguments]


def same(got: Any, want: Any) -> None:
    if isinstance(want, list | tuple):
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            same(a, b)
    elif isinstance(want, ndarray):
        assert type(got) is ndarray
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        assert_allclose(got.asnumpy(), want.asnumpy(), rtol=1e-5, atol=1e-6)
    elif isinstance(want, float):
        assert got == pytest.approx(want, rel=1e-5, nan_ok=True)
    else:
        assert type(got) is type(want)
        assert got == want
