"""Random functions of arrays: hybridized they give what they give plain, and every pass leaves well-formed graphs.

A failing example prints its seed and the source of its function, ready to be pasted.
"""

from __future__ import annotations

import random
import re
import warnings
from typing import Any

import numpy
import pytest
from expressions import DTYPES, SIZES, Lines, sample
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from sampling import sampled
from tolerances import TOLERANCES, assert_close

import blockfuse
from blockfuse import np, npx
from blockfuse.ir.passes.pipeline import optimize
from blockfuse.ir.verify import verify

SCALES = (1.0, 4.0, 0.1, 0.0)


class Function:
    """One random function of one to three arrays."""

    def __init__(self, seed: int, length: int) -> None:
        self.pick = random.Random(seed)
        shape = self.shape()
        self.types = []
        for number in range(self.pick.randint(1, 3)):
            if number and self.pick.random() < 0.5:
                shape = tuple(1 if self.pick.random() < 0.3 else n for n in shape)
            self.types.append((shape, self.pick.choice(DTYPES)))
        self.source = self.written(length)

    def shape(self) -> tuple[int, ...]:
        return tuple(self.pick.choice(SIZES) for _ in range(self.pick.choice((0, 1, 2, 2, 2, 3))))

    def inputs(self, turn: int) -> list[numpy.ndarray]:
        """The arguments of call ``turn``."""
        scale = SCALES[turn % 4]
        return [sample(s, d, 10 * turn + n, scale) for n, (s, d) in enumerate(self.types)]

    def written(self, length: int) -> str:
        names = [f"x{n}" for n in range(len(self.types))]
        lines = Lines(self.pick, dict(zip(names, self.inputs(0), strict=True)), {})
        places = {self.pick.randrange(2, length) for _ in range(self.pick.choice((0, 0, 1, 2)))}
        for number in range(length):
            any(lines.line() for _ in range(20))
            if number in places:
                lines.branch()
        made = [n for n in lines.values if n in lines.fresh] or ["x0 * 1"]
        single = self.pick.random() < 0.6 or len(made) < 2 or any("    return" in x for x in lines.lines)
        results = made[-1:] if single else [made[-1], self.pick.choice(made[:-1])]
        body = "".join(f"    {line}\n" for line in [*lines.lines, f"return {', '.join(results)}"])
        return f"def function({', '.join(names)}):\n{body}"


# -- checking ------------------------------------------------------------------------------------------------


def compare(found: Any, wanted: Any, limit: float) -> None:
    """Equal structure, shapes and dtypes; floats within ``limit`` of the largest element, as roundings add up."""
    if isinstance(wanted, tuple):
        assert isinstance(found, tuple)
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            compare(a, b, limit)
        return
    a, b = found.asnumpy(), wanted.asnumpy()
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    if a.dtype.kind != "f" or not b.size:
        assert_close(a, b)
        return
    scale = float(numpy.abs(b[numpy.isfinite(b)]).max(initial=1.0))
    numpy.testing.assert_allclose(a, b, rtol=limit, atol=limit * scale)


def check(seed: int, length: int) -> None:
    """One random function, several calls: hybridized it gives what it gives plain."""
    written = Function(seed, length)
    shown = f"seed {seed}, length {length}, arguments {written.types}\n{written.source}"
    scope = {"np": np, "npx": npx}
    exec(written.source, scope)
    function: Any = scope["function"]
    hybrid = blockfuse.hybridize(function)
    limit = 2 * TOLERANCES["float32" if "float32" in shown else "float64"][0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for turn in (0, 0, 0, 1, 1, 2, 3, 0, 1):
                values = written.inputs(turn)
                mine, plain = ([np.array(v, dtype=v.dtype.name) for v in values] for _ in range(2))
                try:
                    wanted = function(*plain)
                except ValueError as error:  # a write through a view that is read-only, as in NumPy
                    with pytest.raises(ValueError, match=re.escape(str(error))):
                        hybrid(*mine)
                    continue
                compare(hybrid(*mine), wanted, limit)
                for a, b in zip(mine, plain, strict=True):
                    numpy.testing.assert_array_equal(a.asnumpy(), b.asnumpy())
            for case in hybrid._hybrid.cases.values():
                for block in case.program.flow.blocks if case.program else ():
                    optimize(verify(block.graph), 64, verify)
    except Exception as error:
        raise AssertionError(f"{shown}\n{hybrid.explain()}\n{type(error).__name__}: {error}") from error


@sampled(2, 60, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10**9), st.integers(3, 11))
def test_random_functions_give_what_they_give_plain(seed: int, length: int) -> None:
    check(seed, length)


@pytest.mark.spread(12)
@pytest.mark.parametrize("seed", range(12))
def test_long_random_functions_give_what_they_give_plain(seed: int) -> None:
    check(seed, 24)
