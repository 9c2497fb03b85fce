"""Nets over sequences give the same whoever runs them: layers of libraries, and loops that are written in many ways."""

from __future__ import annotations

import numpy
import pytest

from benchmarks import sequence_nets
from benchmarks.contender import OURS
from benchmarks.nets import Net
from benchmarks.worker import built, difference_of

WIDTH, PLACES = 32, 12
NETS = (
    Net("lstm", "sequences", (14, 2, 3), sequence_nets.lstm, sequence_nets.recurrent(4, 3, 5)),
    Net("gru", "sequences", (14, 2, 3), sequence_nets.gru, sequence_nets.recurrent(3, 3, 5)),
    Net("encoder", "sequences", (7, WIDTH), sequence_nets.encoder, sequence_nets.transformer(WIDTH, 2)),
    Net(
        "greedy",
        "sequences",
        (1, WIDTH),
        sequence_nets.greedy,
        sequence_nets.language_model(PLACES, WIDTH, 2, 40),
    ),
)


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_torch_gives_what_the_formula_means(net: Net) -> None:
    torch = pytest.importorskip("torch")
    from benchmarks.contenders.torch import F

    x, parameters = net.draw()
    with torch.no_grad():
        found = net.forward(F, *map(torch.from_numpy, (x, *parameters))).numpy()
    expected = net.expected(x, parameters)
    assert numpy.abs(found - expected).max() <= net.tolerance * numpy.abs(expected).max()


@pytest.mark.long
@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_blocks_are_one_program_that_gives_the_same(net: Net) -> None:
    (way,) = built(OURS, net, 1)
    assert difference_of(way, net.expected(*net.draw())) <= net.tolerance
    assert way.complaint() == ""
