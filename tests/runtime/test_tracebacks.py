"""Tracebacks of calls show the lines of users alone; faults of ours and interrupts keep all, and a switch shows them."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import numpy
import pytest

from blockfuse import hybridize, nn, np
from blockfuse.ir.errors import ShapeError
from blockfuse.nn.layers import basic


class Net(nn.Block):
    def __init__(self, doing: Callable[[Any], Any] | None) -> None:
        super().__init__()
        self.doing = nn.Sequential(nn.Dense(4, in_units=5)) if doing is None else doing

    def forward(self, x: Any) -> Any:
        return np.tanh(self.doing(x))


@pytest.fixture(autouse=True)
def _no_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BLOCKFUSE_TRACEBACK", raising=False)


def made(hybrid: bool, doing: Callable[[Any], Any] | None = None) -> Net:
    net = Net(doing)
    net.initialize()
    if hybrid:
        net.hybridize()
    return net


def names(error: BaseException | None) -> list[str]:
    assert error is not None
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def raised(net: Callable[[Any], Any], x: Any, kind: type[BaseException]) -> BaseException:
    with pytest.raises(kind) as caught:
        net(x)
    return caught.value


@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.parametrize("calls", [0, 1, 4])
def test_an_error_of_a_layer_shows_the_user_s_lines(hybrid: bool, calls: int) -> None:
    net = made(hybrid)
    for _ in range(calls):
        net(np.ones((2, 5)))
    for _ in range(3):
        assert names(raised(net, np.ones((2, 3)), ShapeError)) == ["raised", "forward"]
    assert net(np.ones((2, 5))).shape == (2, 4)


@pytest.mark.parametrize("hybrid", [False, True])
def test_an_error_of_the_user_s_shows_the_line_that_raised(hybrid: bool) -> None:
    def divide(x: Any) -> Any:
        return x * (1 // 0)

    net = made(hybrid, divide)
    for _ in range(4):
        assert names(raised(net, np.ones((2, 5)), ZeroDivisionError)) == ["raised", "forward", "divide"]


def test_calls_in_python_by_the_native_slot_are_folded_as_well() -> None:
    def prints(x: Any) -> Any:
        print(end="")  # noqa: T201 - so that no graph can stand for it
        return x if x.shape[1] == 5 and float(x.sum()) > 0 else x @ np.ones((2, 2))

    net = made(True, prints)
    for _ in range(20):
        net(np.ones((2, 5)))
    assert names(raised(net, np.zeros((2, 5)), ValueError)) == ["raised", "forward", "prints"]


def test_a_hybridized_function_is_folded() -> None:
    @hybridize
    def product(x: Any) -> Any:
        return x @ np.ones((3, 2))

    for _ in range(3):
        assert names(raised(product, np.ones((2, 5)), ValueError)) == ["raised", "product"]


def test_causes_and_contexts_are_folded() -> None:
    inner = made(False)

    def wraps(x: Any) -> Any:
        try:
            return inner(x)
        except ShapeError as error:
            raise KeyError("mine") from error

    error = raised(made(False, wraps), np.ones((2, 3)), KeyError)
    assert names(error) == ["raised", "forward", "wraps"]
    assert names(error.__cause__) == ["wraps", "forward"]
    assert error.__cause__ is error.__context__


def test_a_chain_that_holds_itself_ends() -> None:
    error = ValueError("own")
    error.__cause__ = TypeError("other")
    error.__cause__.__cause__ = error

    def raises(_: Any) -> Any:
        raise error

    assert names(raised(made(False, raises), np.ones((2, 5)), ValueError)) == ["raised", "forward", "raises"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_interrupts_keep_all_frames(kind: type[BaseException]) -> None:
    def interrupted(_: Any) -> Any:
        raise kind

    assert "_run" in names(raised(made(False, interrupted), np.ones((2, 5)), kind))


def test_a_fault_of_ours_keeps_all_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        return {}["nothing"]

    broken.__code__ = broken.__code__.replace(co_filename=basic.__file__)
    monkeypatch.setattr(basic, "dense", broken)
    shown = names(raised(made(False), np.ones((2, 5)), KeyError))
    assert shown[-1] == "broken"
    assert "_run" in shown


def test_the_switch_shows_all_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKFUSE_TRACEBACK", "full")
    shown = names(raised(made(True), np.ones((2, 3)), ShapeError))
    assert "_run" in shown
    assert shown[0] == "raised"


def test_lines_of_numpy_within_a_call_of_ours_are_folded_too() -> None:
    def fails(x: Any) -> Any:
        return np.linalg.inv(x)

    shown = names(raised(made(False, fails), np.zeros((2, 2)), numpy.linalg.LinAlgError))
    assert shown == ["raised", "forward", "fails"]


def test_a_debugger_finds_the_user_s_variables() -> None:
    error = raised(made(False), np.ones((2, 3)), ShapeError)
    innermost = list(traceback.walk_tb(error.__traceback__))[-1][0]
    assert innermost.f_locals["x"].shape == (2, 3)


class UnassignableError(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


def test_an_exception_that_cannot_be_assigned_to_arrives() -> None:
    class Net(nn.Block):
        def forward(self, x: np.ndarray) -> np.ndarray:
            raise UnassignableError(x)

    with pytest.raises(UnassignableError) as caught:
        Net()(np.ones(2))
    assert [entry.name for entry in caught.traceback][-1] == "forward"
    assert len(caught.traceback) == 2
