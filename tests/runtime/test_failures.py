"""Whatever fails between recording and loaded code: calls are answered in Python, told once, and tried again later."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import CompilerWarning, nn, np

ERRORS = (KeyError("t1"), RuntimeError("LLVM ERROR: out of registers"), RecursionError(), MemoryError())

# Where each stage is looked up when it runs: module, attribute.
STAGES = {
    "reading the state": ("tracer.recording.record", "state_of"),
    "writing the graph": ("tracer.recording.recorder", "Recorder._record"),
    "writing a write": ("tracer.recording.recorder", "Recorder._rebind"),
    "judging the recording": ("tracer.recording.record", "_finish"),
    "joining paths": ("runtime.programs.compiling", "flow_of"),
    "the passes": ("codegen.compile", "optimize"),
    "one pass": ("ir.passes.fuse", "_fused_node"),
    "the schedule": ("codegen.compile", "schedule"),
    "a kernel": ("codegen.scheduling.scheduler", "kernel_of"),
    "the plan": ("codegen.cpu.program.executable", "plan"),
    "the source": ("codegen.cpu.program.plan", "render"),
    "Numba": ("codegen.cpu.native.frontend", "lowered"),
    "LLVM": ("codegen.cpu.native.engine", "object_code"),
    "the program": ("codegen.cpu.program.executable", "Executable._program_wanted"),
    "the store": ("runtime.programs.disk_cache", "DiskCache.get"),
    "loading": ("codegen.cpu.native.engine", "load"),
    "the frame": ("codegen.cpu.program.executable", "new_frame"),
    "the entry": ("codegen.cpu.program.executable", "Executable._new_entry"),
    "the prologue": ("codegen.compile", "evaluated_in_turn"),
    "binding": ("codegen.cpu.program.executable", "Executable.bind"),
    "guards": ("runtime.programs.program", "guarded"),
    "the form of the call": ("runtime.programs.program", "has_only_positional_arrays"),
    "numbers": ("runtime.programs.program", "conversion"),
    "the check": ("runtime.audit.comparison", "outcome_of"),
    "the entry's answer": ("runtime.programs.program", "Program.ask_entry"),
    "native guards": ("codegen.cpu.program.executable", "guard_check"),
}


def net() -> Any:
    """A layer that packs its weight, and a write that becomes a value."""

    class Net(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Dense(5, in_units=3)
            self.scale = 1.5

        def forward(self, x: Any) -> Any:
            y = self.dense(x) * self.scale
            y += 1
            return np.tanh(y)

    block = Net()
    block.initialize("normal")
    return block


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.array(numpy.random.default_rng(seed).normal(size=shape).astype("float32"))


def broken(monkeypatch: pytest.MonkeyPatch, module: str, name: str, error: Exception) -> None:
    """Let a stage raise."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    holder = importlib.import_module(f"blockfuse.{module}")
    *owners, attribute = name.split(".")
    for owner in owners:
        holder = getattr(holder, owner)
    monkeypatch.setattr(holder, attribute, fail)


def agrees(call: Any, plain: Callable[..., Any], *arguments: Any) -> None:
    numpy.testing.assert_allclose(
        call(*arguments).asnumpy(), plain(*arguments).asnumpy(), rtol=2e-5, atol=1e-6
    )


@pytest.mark.spread(3)
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_fails_is_told_once_and_tried_again_when_something_changes(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ERRORS[list(STAGES).index(stage) % len(ERRORS)]
    block, twin, x = net(), net(), numbers(2, 3)
    twin.dense.weight.set_data(block.dense.weight.data())
    block.hybridize()
    with monkeypatch.context() as context:
        broken(context, *STAGES[stage], error)
        with pytest.warns(CompilerWarning, match=type(error).__name__) as told:
            agrees(block, twin, x)
        for _ in range(3):
            agrees(block, twin, x)
        assert len(told) == 1
        assert told[0].filename == __file__
        assert "please report it" in str(told[0].message)
        assert type(error).__name__ in block.explain()
        assert "eager, 4 calls" in block.explain()
    agrees(block, twin, x)
    assert "eager, 5 calls" in block.explain()  # nothing has changed yet
    block.scale = twin.scale = 2.5
    for _ in range(3):
        agrees(block, twin, x)
    assert "Net(float32[2, 3]): compiled" in block.explain()


def test_every_kind_of_error_is_caught_but_those_that_end_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (
        *ERRORS,
        AssertionError("x"),
        TypeError(),
        OSError(28, "No space left on device"),
        StopIteration(),
    ):
        block, x = net(), numbers(2, 3)
        block.hybridize()
        with monkeypatch.context() as context:
            broken(context, "codegen.compile", "schedule", error)
            with pytest.warns(CompilerWarning, match=type(error).__name__):
                block(x)
    for end in (KeyboardInterrupt(), SystemExit(3)):
        block.hybridize()
        with monkeypatch.context() as context:
            broken(context, "codegen.compile", "optimize", end)
            with pytest.raises(type(end)):
                block(x)
        for _ in range(2):
            block(x)
        assert "compiled" in block.explain()


def test_a_failure_beside_a_program_leaves_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def function(x: Any) -> Any:
        return np.sinh(x) if x.sum() > 0 else np.cosh(x)

    call = blockfuse.hybridize(function)
    plus, minus = numbers(2) * 0 + 0.5, numbers(2) * 0 - 0.5
    agrees(call, function, plus)
    broken(monkeypatch, "codegen.compile", "schedule", KeyError("t1"))
    with pytest.warns(CompilerWarning, match="KeyError"):
        agrees(call, function, minus)
    for _ in range(3):
        agrees(call, function, plus)
        agrees(call, function, minus)
    assert "compiled" in call.explain()
    assert "some calls run eagerly because compiling it failed: KeyError: 't1'" in call.explain()


@pytest.mark.long
def test_no_program_of_one_size_takes_the_place_of_one_for_every_size_that_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    block, twin = net(), net()
    twin.dense.weight.set_data(block.dense.weight.data())
    block.hybridize()
    for size in (3, 5):
        agrees(block, twin, numbers(size, 3))
    assert "Net(float32[any, 3]): compiled" in block.explain()
    with monkeypatch.context() as context:
        broken(context, "runtime.programs.program", "Program.run", RuntimeError("wrong"))
        with pytest.warns(CompilerWarning, match="RuntimeError"):
            agrees(block, twin, np.array(numbers(3, 4).asnumpy().T))  # not in C order: no call for the entry
    block.scale = twin.scale = 2.5
    for size in (5, 5, 5, 7, 3, 12):
        agrees(block, twin, numbers(size, 3))
    assert "Net(float32[any, 3]): compiled" in block.explain()


def test_a_program_for_every_size_that_fails_leaves_one_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    block, twin = net(), net()
    twin.dense.weight.set_data(block.dense.weight.data())
    block.hybridize()
    agrees(block, twin, numbers(2, 3))
    broken(monkeypatch, "codegen.compile", "for_every_size", ZeroDivisionError())
    with pytest.warns(CompilerWarning, match="ZeroDivisionError"):
        agrees(block, twin, numbers(4, 3))
    for size in (2, 4, 5, 2, 4, 5):
        agrees(block, twin, numbers(size, 3))
    assert block.explain().count("compiled") == 3
    assert (
        "no program for every size of the leading axes: compiling it failed: ZeroDivisionError"
        in block.explain()
    )


def test_a_program_that_breaks_later_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    block, twin, x = net(), net(), numbers(2, 3)
    twin.dense.weight.set_data(block.dense.weight.data())
    block.hybridize()
    for _ in range(2):
        agrees(block, twin, x)
    for one in (block, twin):
        one.dense.bias.set_data(numbers(5, seed=3))
    with monkeypatch.context() as context:
        broken(context, "codegen.compile", "evaluated_in_turn", ValueError("packing"))
        with pytest.warns(CompilerWarning, match="ValueError: packing"):
            agrees(block, twin, x)
        agrees(block, twin, x)
    block.scale = twin.scale = 2.5
    for _ in range(3):
        agrees(block, twin, x)
    assert "Net(float32[2, 3]): compiled" in block.explain()


def test_too_little_memory_is_no_reason_to_drop_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def function(x: Any) -> Any:
        return np.sort(np.tanh(x))  # so many by way of NumPy: calls run through Python

    call, x = blockfuse.hybridize(function), numbers(50)
    agrees(call, function, x)
    with monkeypatch.context() as context:
        broken(context, "codegen.cpu.program.step_runner", "StepRunner._space", MemoryError())
        with pytest.warns(CompilerWarning, match="MemoryError"):
            agrees(call, function, x)
        agrees(call, function, x)
    agrees(call, function, x)
    assert call.explain().startswith("function(float32[50]): compiled")


def test_segments_that_fail_are_left_to_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    def function(x: Any) -> Any:
        for _ in range(12):
            x = np.tanh(x) * 2
        return x * float(x.sum())

    def calls(call: Any) -> None:
        for _ in range(5):
            agrees(call, function, x)

    x = numbers(40, 200)
    for module, name in (
        ("runtime.calls.segments", "_path"),
        ("codegen.cpu.native.engine", "load"),
        ("runtime.calls.segments", "_Run._computed"),
    ):
        call = blockfuse.hybridize(function)
        with monkeypatch.context() as context:
            broken(context, module, name, IndexError("tuple index out of range"))
            with pytest.warns(CompilerWarning, match="IndexError: tuple index out of range") as told:
                calls(call)
        assert len(told) == 1
        assert "a segment runs in NumPy because compiling it failed: IndexError" in call.explain()


def test_what_forward_raises_is_no_failure_of_ours() -> None:
    def function(x: Any) -> Any:
        if x.shape[0] > 2:
            raise KeyError("too many")
        return x + 1

    call = blockfuse.hybridize(function)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            with pytest.raises(KeyError, match="too many"):
                call(numbers(3))
            call(numbers(2))


# Runs in a process of its own, whose memory it limits: an entry finds none for its results or its workspace.
SHORT_OF_MEMORY = """
import resource, warnings
import blockfuse
from blockfuse import np

SIZE = 1 << 23  # elements, 32 MiB


def several(x):
    y = np.tanh(x)
    return y.sum(axis=1), y * 2, y * 3, y * 5


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


call = blockfuse.hybridize(several, threads=1)
x = np.ones((8, SIZE // 8))
for _ in range(3):
    wanted = [float(y.sum()) for y in call(x)]
before = resident()
limits = resource.getrlimit(resource.RLIMIT_AS)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
errors = 0
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for spare in range(0, 5):
        resource.setrlimit(resource.RLIMIT_AS, (used + spare * (40 << 20), limits[1]))
        for _ in range(3):
            try:
                call(x)
            except MemoryError:  # eager finds none, too
                errors += 1
        resource.setrlimit(resource.RLIMIT_AS, limits)
assert errors, "memory was never short"
assert [float(y.sum()) for y in call(x)] == wanted
grown = resident() - before
assert grown < 48 << 20, f"{grown >> 20} MiB were not given back"
"""


@pytest.mark.long
def test_a_call_without_memory_gives_back_what_it_had() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY], capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
