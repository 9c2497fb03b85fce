"""Every test draws the same numbers in every run, whichever tests the same process has run before it.

The stream of ``np.random`` (with it the weights that ``initialize`` draws), NumPy's and Python's own start over before
each test, and so do the generators that its module keeps. ``--seed=N`` takes others, to look for a test that passes by luck.
"""

import random
import zlib
from typing import Any

import numpy
import pytest

from blockfuse.ir.stream import STREAM

_STATES = pytest.StashKey[
    dict[tuple[str, str], dict[str, Any]]
]()  # of the generators of modules, before the first test


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed", type=int, default=0, metavar="N", help="start the tests' random streams elsewhere"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_STATES] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    chosen = item.config.getoption("--seed")
    start = zlib.crc32(f"{chosen} {item.nodeid}".encode())
    STREAM.seed(start)
    random.seed(start)
    numpy.random.seed(start)  # noqa: NPY002 - some tests ask what becomes of it
    module = getattr(item, "module", None)
    if module is None:
        return
    states = item.config.stash[_STATES]
    for name, value in vars(module).items():
        if isinstance(value, numpy.random.Generator):
            first = states.setdefault((module.__name__, name), value.bit_generator.state)
            value.bit_generator.state = type(value.bit_generator)(start).state if chosen else first
