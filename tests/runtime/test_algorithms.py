"""Algorithms as users write them: compiled, as functions and as blocks, they give what they mean in NumPy's float64.

Sizes are such that they meet by chance: one row, as many rows as columns, one below and above a vector.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy
import pytest
from algorithms import ALGORITHMS, KINDS, Algorithm
from tolerances import TOLERANCES

import blockfuse
from blockfuse import nn, np

SIZES = (1, 2, 3, 7, 8, 12, 15, 16, 17, 31, 40, 64)
DTYPES = ("float32", "float64")
# how the other sizes go with n -> the size that a letter stands for
COMPANIONS: dict[str, dict[str, int | None]] = {
    "alike": {"m": None, "d": None, "t": 4},
    "apart": {"m": 5, "d": 2, "t": 3},
    "alone": {"m": 1, "d": 1, "t": 1},
}


class Holding(nn.Block):
    """A function of which some arguments are parameters, and the last of them an attribute."""

    def __init__(self, algorithm: Algorithm, values: list[Any]) -> None:
        super().__init__()
        self.function, self.held = algorithm.function, algorithm.held
        for place in self.held[:-1]:
            setattr(self, f"held{place}", nn.Constant(values[place]))
        for place in self.held[-1:]:
            setattr(self, f"held{place}", values[place])

    def forward(self, *given: Any) -> Any:
        rest = list(given)
        for place in self.held:
            value = getattr(self, f"held{place}")
            rest.insert(place, value.data() if isinstance(value, nn.Constant) else value)
        return self.function(*rest)


def drawn(algorithm: Algorithm, n: int, companions: str, seed: int) -> list[Any]:
    """The arguments in float64."""
    random = numpy.random.default_rng([seed, n, ALGORITHMS.index(algorithm)])
    sizes = {"n": n} | {letter: size or n for letter, size in COMPANIONS[companions].items()}
    return [
        KINDS[kind](random.normal(size=[sizes[letter] for letter in letters]))
        for kind, letters in algorithm.arguments
    ]


def close(found: Any, wanted: Any, algorithm: Algorithm, dtype: str, what: str) -> None:
    """Within rounding, and the error at which a loop stops."""
    if isinstance(wanted, tuple):
        for one, other in zip(found, wanted, strict=True):
            close(one, other, algorithm, dtype, what)
        return
    values = numpy.asarray(wanted, "float64")
    rtol, atol = (algorithm.slack * t for t in TOLERANCES[dtype])
    atol = atol * max(1, abs(values).max()) + algorithm.stops_at
    assert found.dtype == dtype, what
    numpy.testing.assert_allclose(found.asnumpy(), values, rtol=rtol, atol=atol, err_msg=what)


def agrees(net: Any, algorithm: Algorithm, calls: Iterable[list[Any]], held: list[Any], dtype: str) -> None:
    """``net`` gives, at last without Python, what the plain function gives, and this what the meaning gives."""
    for last in (False, False, True):
        for values in calls:
            given = [np.array(value, dtype=dtype) for value in values]
            places = algorithm.held if held else ()
            for place in places:
                given[place], values[place] = np.array(held[place], dtype=dtype), held[place]
            before = eager_calls(net)
            found = net(*(argument for place, argument in enumerate(given) if place not in places))
            plain = algorithm.function(*given)
            shown = f"{algorithm.name}, {dtype}, {[v.shape for v in values]}\n"
            if last and algorithm.compiled:
                assert runs_compiled(net), f"{shown}{net.explain()}"
                assert eager_calls(net) == before, f"{shown}{net.explain()}"
            close(found, plain, algorithm, dtype, f"{shown}hybridized and eager")
            close(plain, algorithm.meaning(*values), algorithm, dtype, f"{shown}eager and NumPy")


def eager_calls(net: Any) -> int:
    """Calls that ran in Python so far, at least in part."""
    cases = net._hybrid.cases.values()
    return sum(case.eager_calls + case.attempts for case in cases)


def runs_compiled(net: Any) -> bool:
    return all(case.program is not None for case in net._hybrid.cases.values())


def check_function(algorithm: Algorithm, sizes: Iterable[int], companions: str, dtype: str) -> None:
    """One hybridized function, called with all sizes."""
    function = blockfuse.hybridize(algorithm.function)
    calls = [drawn(algorithm, n, companions, seed) for n in sizes for seed in range(2)]
    agrees(function, algorithm, calls, [], dtype)


def check_blocks(algorithm: Algorithm, sizes: Iterable[int], companions: str, dtype: str) -> None:
    """A hybridized block for each size."""
    for n in sizes:
        calls = [drawn(algorithm, n, companions, seed) for seed in range(2)]
        held = drawn(algorithm, n, companions, 2)
        net = Holding(algorithm, [np.array(value, dtype=dtype) for value in held])
        net.hybridize()
        agrees(net, algorithm, calls, held, dtype)


@pytest.mark.spread(24)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.name)
def test_an_algorithm_gives_what_it_means(algorithm: Algorithm, dtype: str) -> None:
    turn = ALGORITHMS.index(algorithm) + 5 * DTYPES.index(dtype)
    sizes = [n for n in SIZES if n <= algorithm.largest]
    one, other = sizes[turn % len(sizes)], sizes[(turn + 4) % len(sizes)]
    companions = list(COMPANIONS)[turn % len(COMPANIONS)]
    if turn % 2:  # in one dtype as a function, in the other as a block
        check_function(algorithm, (one, other)[: 1 + turn % 4 // 2], companions, dtype)
    else:
        check_blocks(algorithm, (one,), companions, dtype)


@pytest.mark.long
@pytest.mark.parametrize("companions", COMPANIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.name)
def test_an_algorithm_gives_what_it_means_at_every_size(
    algorithm: Algorithm, dtype: str, companions: str
) -> None:
    sizes = [n for n in SIZES if n <= algorithm.largest]
    for start in range(0, len(sizes), 4):  # eight signatures are compiled at most
        check_function(algorithm, sizes[start : start + 4], companions, dtype)
    check_blocks(algorithm, sizes, companions, dtype)
