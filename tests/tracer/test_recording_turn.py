"""Whose turn it is to record, also where one thread at a time may."""

from __future__ import annotations

import threading
from typing import Any

import numpy
import pytest
from test_threads import in_child

from blockfuse import CompilerWarning, nn, np
from blockfuse.ir.locks import BUSY
from blockfuse.tracer.recording import turn
from blockfuse.tracer.recording.turn import RecordingTurn, _OfProcess


@pytest.fixture
def _one_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As CPython 3.12 needs it."""
    monkeypatch.setattr(turn, "_IN_ALL", _OfProcess())


class Waiting(nn.Block):
    """Stays within its forward until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Dense(3, in_units=4)

    def forward(self, x: Any) -> Any:
        started.set()
        go_on.wait(20)
        return self.scale(x)


started, go_on = threading.Event(), threading.Event()


def _in_thread(work: Any) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _taken_at_once(first: RecordingTurn, second: RecordingTurn) -> Any:
    """What the second turn gives in another thread while the first is had."""
    found: list[Any] = []

    def other() -> None:
        found.append(second.run(lambda: "mine"))

    first.run(lambda: _in_thread(other).join(20))
    return found[0]


@pytest.mark.usefixtures("_one_in_all")
def test_one_thread_in_all_records() -> None:
    assert _taken_at_once(RecordingTurn(), RecordingTurn()) is BUSY
    assert RecordingTurn().run(lambda: 3) == 3


def test_nets_record_side_by_side_where_the_interpreter_bears_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "_IN_ALL", None)
    one = RecordingTurn()
    assert _taken_at_once(one, RecordingTurn()) == "mine"
    assert _taken_at_once(one, one) is BUSY


@pytest.mark.usefixtures("_one_in_all")
def test_a_net_runs_in_python_while_another_is_recorded_and_is_recorded_later() -> None:
    started.clear()
    go_on.clear()
    slow, net, x = Waiting(), nn.Dense(2, in_units=4), np.ones((2, 4))
    for block in (slow, net):
        block.initialize()
    wanted = net(x).asnumpy()
    slow.hybridize()
    net.hybridize()
    thread = _in_thread(lambda: slow(x))
    assert started.wait(20)
    for _ in range(5):
        numpy.testing.assert_array_equal(net(x).asnumpy(), wanted)
    assert "compiled" not in net.explain()
    go_on.set()
    thread.join(20)
    net(x)
    assert "compiled" in net.explain()


@pytest.mark.usefixtures("_one_in_all")
@pytest.mark.parametrize("meanwhile", [False, True])
def test_a_child_records_unless_another_thread_did_at_the_fork(meanwhile: bool) -> None:
    net, x = nn.Dense(2, in_units=4), np.ones((2, 4))
    net.initialize()
    wanted = net(x).asnumpy()
    net.hybridize()

    def child() -> None:
        if meanwhile:
            with pytest.warns(
                CompilerWarning, match="forked while another thread of its parent recorded; cure"
            ):
                net(x)
            assert "because this process was forked" in net.explain()
        for _ in range(3):
            numpy.testing.assert_allclose(net(x).asnumpy(), wanted, rtol=1e-6)
        assert ("compiled" in net.explain()) is not meanwhile

    def other() -> None:
        started.set()
        go_on.wait(20)

    started.clear()
    go_on.clear()
    thread = _in_thread(lambda: RecordingTurn().run(other) if meanwhile else started.set())
    assert started.wait(20)
    try:
        in_child(child)
    finally:
        go_on.set()
        thread.join(20)
