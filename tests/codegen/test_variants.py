"""All variants of a range of batches are found by few sizes."""

from dataclasses import replace

import pytest
from frozen_nets import hybridized

from blockfuse import nn
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.variants import Size, size_of, sizes_of


def scheduled(net: nn.Block, *row: int) -> tuple[Schedule, Machine]:
    """For every size of the batch."""
    hybridized(net, *[((size, *row),) for size in (1, 2, 3, 5)])
    program = next(case.program for case in net._hybrid.cases.values() if case.program.schedule.batch)
    return program.schedule, program.backend.machine


NETS = {
    "products": lambda: scheduled(nn.Sequential(nn.Dense(64, activation="tanh"), nn.Dense(10)), 20),
    "strip": lambda: scheduled(nn.Sequential(*[nn.Dense(32, activation="relu") for _ in range(6)]), 32),
    "norms": lambda: scheduled(nn.Sequential(nn.Dense(300), nn.LayerNorm(), nn.Dense(7)), 130),
    "windows": lambda: scheduled(
        nn.Sequential(nn.Conv2D(5, 3), nn.MaxPool2D(2), nn.Flatten(), nn.Dense(3)), 2, 9, 9
    ),
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", NETS)
def test_they_are_those_of_each_size(name: str) -> None:
    schedule, machine = NETS[name]()
    assert schedule.batch
    for threads in (1, 2):
        there = replace(machine, threads=threads)
        for least, most in ((1, 1), (1, 7), (1, 256), (3, 1500)):
            every: dict[Size, int] = {}
            for items in range(least, most + 1):
                every.setdefault(size_of(schedule, there, items), items)
            found = sizes_of(schedule, there, least, most)
            assert {size: size.items for size in found} == every
            assert len(every) > 2 or most < 256


def test_a_large_batch_takes_no_longer() -> None:
    schedule, machine = NETS["products"]()
    assert len(sizes_of(schedule, machine, 1, 1 << 40)) < 300
