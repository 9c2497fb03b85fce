"""On each net of the benchmark, compiled code is about as exact as NumPy, and the same bit by bit in every call."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from graphs import LEVELS

from benchmarks import nets
from benchmarks.contenders import blockfuse as ours
from blockfuse import np

SMALL = [
    net for net in nets.NETS if numpy.prod(net.shape) <= 300_000 and net.group not in ("batches", "pictures")
]
FEW = [net for net in SMALL if net.name in ("20-256-10, batch 2", "37-111-53-7, batch 5", "chimera, batch 2")]
FEW += [
    net for net in SMALL if net.name in ("softmax chain, 4x256", "layer norm chain, 4x256", "exp chain, 1e3")
]


def errors(net: nets.Net, options: dict[str, Any]) -> tuple[float, float, float]:
    """The largest error of compiled code and of NumPy, and the spacing of floats at the largest element."""
    drawn, parameters = net.draw()
    call, x = ours.hybridized(net, parameters), np.array(drawn)
    if hasattr(call, "hybridize"):
        call.hybridize(**options)
    exact = net.expected(drawn, parameters)
    eager = call._hybrid.owner.run((x,), {})
    compiled = [call(x) for _ in range(3)][-1]
    largest = [float(abs(numpy.asarray(r.asnumpy(), "float64") - exact).max()) for r in (compiled, eager)]
    return largest[0], largest[1], float(numpy.spacing(numpy.float32(abs(exact).max())))


def check(net: nets.Net, **options: Any) -> None:
    found, numpys, spacing = errors(net, options)
    assert found <= 2 * numpys + spacing, (
        f"{found:.2e}, NumPy {numpys:.2e}, one unit in the last place {spacing:.2e}"
    )


@pytest.mark.spread(7)
@pytest.mark.parametrize("net", SMALL, ids=lambda net: net.name)
def test_no_more_than_twice_the_error_of_numpy(net: nets.Net) -> None:
    check(net, threads=1)


@pytest.mark.spread(4)
@pytest.mark.parametrize("level", [level for level in LEVELS if level != "avx512"])
@pytest.mark.parametrize("net", FEW, ids=lambda net: net.name)
def test_the_same_with_fewer_instructions(net: nets.Net, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKFUSE_ISA", level)
    check(net, threads=1)


@pytest.mark.spread(3)
@pytest.mark.parametrize("net", [n for n in SMALL if n.group != "elements"], ids=lambda net: net.name)
def test_the_same_inputs_give_the_same_bits(net: nets.Net) -> None:
    drawn, parameters = net.draw()
    call, x = ours.hybridized(net, parameters), np.array(drawn)
    if hasattr(call, "hybridize"):
        call.hybridize(threads=2)
    for _ in range(2):
        call(x)
    first = call(x).asnumpy().tobytes()
    for _ in range(20):
        assert call(x).asnumpy().tobytes() == first
    assert call(np.array(drawn)).asnumpy().tobytes() == first
