"""Profilers and tracers of others: calls are right beside them, and they see what they see without us."""

from __future__ import annotations

import cProfile
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from line_tracing import lines_seen

from blockfuse import CompilerWarning, autograd, nn, np


class Net(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Dense(3, in_units=4)

    def forward(self, x: Any) -> Any:
        y = self.out(x)
        return np.tanh(y)


def made() -> Net:
    net = Net()
    net.initialize()
    net.hybridize()
    return net


@contextmanager
def profiling() -> Iterator[None]:
    """With a function in the place of profilers, as cProfile has one before CPython 3.12."""
    sys.setprofile(lambda *_: None)
    try:
        yield
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("recorded", [False, True])
def test_a_net_under_a_profiler_says_so_once_and_is_recorded_when_it_is_gone(recorded: bool) -> None:
    net, x = made(), np.ones((2, 4))
    expected = net.out(x)
    if recorded:
        net(x)
    with warnings.catch_warnings(record=True) as caught, profiling():
        warnings.simplefilter("always")
        for _ in range(40):
            assert net(x).shape == expected.shape
    said = [str(w.message) for w in caught if w.category is CompilerWarning]
    if recorded:
        assert said == []
    else:
        assert len(said) == 1
        assert said[0].startswith("Net runs in Python, with right results, because a profiler is active")
        assert "cure: call the net once before the profiler starts" in said[0]
        assert caught[0].filename == __file__
        assert "eager" in net.explain()
        assert "because a profiler is active" in net.explain()
    net(x)
    assert "compiled" in net.explain()
    assert "profiler" not in net.explain()


def test_a_call_inside_of_record_waits_for_the_profiler_as_well() -> None:
    net, x = made(), np.ones((2, 4))
    with warnings.catch_warnings(record=True) as caught, profiling():
        warnings.simplefilter("always")
        for _ in range(20):
            with autograd.record():
                net(x).sum().backward()
    assert [w.category for w in caught] == [CompilerWarning]
    for _ in range(2):
        with autograd.record():
            net(x).sum().backward()
    assert "compiled in two halves" in net.explain()


def test_cprofile_sees_the_calls_and_keeps_its_place() -> None:
    net, x = made(), np.ones((2, 4))
    net(x)
    profile = cProfile.Profile()
    profile.enable()
    place = sys.getprofile()
    try:
        for _ in range(5):
            net(x)
        net(np.ones((3, 4), dtype="float64")) if sys.version_info >= (3, 12) else None
        assert sys.getprofile() is place
    finally:
        profile.disable()


# -- tracers of C ----------------------------------------------------------------------------------------------


def lines_of(function: Callable[..., Any]) -> set[int]:
    """Those with a statement, but for the head."""
    code = function.__code__
    return {line for *_, line in code.co_lines() if line is not None and line > code.co_firstlineno}


def calling(net: Net, x: Any) -> Any:
    before = net(x)
    middle = before + 1
    after = net(x)
    return after + middle


def failing(net: Net, x: Any) -> str:
    said = "nothing"
    try:
        net(x)
    except ValueError:
        said = "no"
        said += "thing"
    return said


@pytest.mark.parametrize("shape", [(2, 4), (5, 4)])
def test_a_tracer_of_c_sees_the_lines_behind_a_recording(shape: tuple[int, ...]) -> None:
    net = made()
    with lines_seen(__file__) as traced:
        calling(net, np.ones(shape))
        assert sys.gettrace() is traced
    assert lines_of(calling) <= set(traced)
    assert lines_of(Net.forward) <= set(traced)
    assert "compiled" in net.explain()


def test_a_tracer_of_c_sees_the_lines_behind_a_recording_that_raised() -> None:
    net = made()
    with lines_seen(__file__) as traced:
        failing(net, np.ones((2, 7)))
        assert sys.gettrace() is traced
    assert lines_of(failing) <= set(traced)
