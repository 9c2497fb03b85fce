"""Random structured programs: compiled, they take the ways that Python takes."""

from __future__ import annotations

import linecache
import random
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from sampling import sampled
from structured import program

import blockfuse
from blockfuse import np


def loaded(source: str, name: str) -> Any:
    """``forward`` of a module, whose lines errors and explanations can show."""
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    scope: dict[str, Any] = {"__name__": "program"}
    exec(compile(source, name, "exec"), scope)
    return scope["forward"]


def outcome(function: Any, values: list[list[float]]) -> Any:
    """What a call gives, its effect on its arguments included."""
    arguments = [np.array(v, dtype="float64") for v in values]
    results = function(*arguments)
    return [a.asnumpy() for a in (*results, *arguments)], [r is a for r in results for a in arguments]


def check(seed: int, folder: Path) -> None:
    """Whole numbers in float64: what is compiled gives them exactly, so that no decision hangs on rounding."""
    source = program(seed)
    forward = loaded(source, str(folder / f"program{seed}.py"))
    hybrid = blockfuse.hybridize(forward)
    chooser = random.Random(seed)
    calls = [[[float(chooser.randrange(-6, 30)) for _ in range(2)] for _ in range(2)] for _ in range(12)]
    for values in calls * 2:
        (found, same), (wanted, identical) = outcome(hybrid, values), outcome(forward, values)
        for a, b in zip(found, wanted, strict=True):
            numpy.testing.assert_array_equal(a, b, f"program {seed}, arguments {values}\n{source}")
        assert same == identical


@pytest.mark.spread(7)
@pytest.mark.parametrize("seed", [17, 39, 43, 1000, 1047, 1060, 2031, 2056])
def test_programs_that_once_went_wrong_agree_with_eager(seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path)


@sampled(2, 12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_random_programs_agree_with_eager(seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path)
