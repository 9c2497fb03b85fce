"""Nets to be frozen, and fresh processes that load them."""

import os
import subprocess
import sys
import textwrap
from typing import Any

import numpy

import blockfuse
from blockfuse import nn, np

_GENERATOR = numpy.random.default_rng(11)


def normal(*shape: int) -> numpy.ndarray:
    """Normal numbers of float32."""
    return _GENERATOR.normal(size=shape).astype("float32")


def hybridized(net: nn.Block, *calls: tuple[Any, ...], **options: Any) -> nn.Block:
    """With native code for these calls."""
    net.initialize()
    net.hybridize(**options)
    for call in calls:
        assert net.warm_up(*call) == ()
    return net


def mlp() -> nn.Block:
    """For batches of every size."""
    return hybridized(
        nn.Sequential(nn.Dense(64, activation="tanh", in_units=20), nn.Dense(10)),
        *[((size, 20),) for size in (1, 2, 5)],
    )


def sum_of_two() -> Any:
    """A hybridized function that does something else with one array twice."""

    @blockfuse.hybridize
    def told_apart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return x + 1 if x is y else x + y

    assert told_apart.warm_up((3,), numpy.ones(3, "float32")) == ()
    return told_apart


def run(program: str, *arguments: str, **settings: str) -> str:
    """What a fresh process prints."""
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "BLOCKFUSE_CACHE": "/nonexistent", **settings}
    command = [sys.executable, "-P", "-c", textwrap.dedent(program), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
