"""Loops of Python, rolled: the flow with loops beside the one that was recorded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy
import pytest
from stages import hold_together

from blockfuse import np
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.ir.flow import Flow, walk
from blockfuse.ir.rerolling import loop, reroll
from blockfuse.ir.rerolling.reroll import rerolled
from blockfuse.ir.verify import verify
from blockfuse.tracer.flow.replay import flow_of
from blockfuse.tracer.recording.record import record
from blockfuse.tracer.recording.recorder import Recorder

MACHINE = Machine(vector_bytes=32, accumulators=12, features="")


@pytest.fixture
def short_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops of a few operators are rolled, too, and small arrays written where they lie."""
    monkeypatch.setattr(reroll, "_MIN_OPERATORS", 16)
    monkeypatch.setattr(reroll, "_SHORT", 1)
    monkeypatch.setattr(loop, "MIN_KEPT", 1)


def given(*shapes: tuple[int, ...]) -> list[Any]:
    generator = numpy.random.default_rng(3)
    return [np.array(generator.uniform(0.1, 1.0, shape).astype("float32")) for shape in shapes]


def recorded(function: Callable[..., Any], arguments: list[Any]) -> Flow:
    function(*arguments)  # what the first call of a form of `np` looks up is not in a recording
    recording = record(partial(function, *arguments), Recorder(arguments), [(function, "function")], [])
    assert recording.path is not None, recording.problem
    return flow_of([recording.path])[0]


def rolled(function: Callable[..., Any], *shapes: tuple[int, ...]) -> Flow:
    """The flow with loops, which gives the same bits, and whose schedule means the same."""
    arguments = given(*shapes)
    flow = recorded(function, arguments)
    values = [a.asnumpy() for a in arguments]
    found = held_to(flow, values)
    hold_together(flow, values, [], MACHINE, compiled=False)
    return found


def held_to(flow: Flow, values: list[numpy.ndarray]) -> Flow:
    """The flow with loops, which gives the bits of this one."""
    found = rerolled(flow)
    for block in found.blocks:
        verify(block.graph)
    results = [walk(f, values) for f in (flow, found)]
    assert results[0] is not None
    assert results[1] is not None
    for one, other in zip(*results, strict=True):
        numpy.testing.assert_array_equal(one, other)
    return found
