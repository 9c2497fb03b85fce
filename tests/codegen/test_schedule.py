"""The schedule: steps, and memory in which nothing that is alive is overwritten."""

from itertools import combinations
from textwrap import dedent
from typing import Any

import pytest
from graphs import graph, typed
from hypothesis import given
from hypothesis import strategies as st
from written import statement

from blockfuse.codegen.compile import compile_flow
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.loop_kernels import MapKernel
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.scheduling.buffers import Buffer, BufferKind, planned
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.scheduling.steps import HostCall, Launch, Pointer, lives_of
from blockfuse.ir.operator import TABLE
from blockfuse.ir.operators import contractions, movement, neural, pointwise, reductions
from blockfuse.ir.verify import verify

MACHINE = Machine(vector_bytes=64, accumulators=28, features="", threads=1, name="avx512")
KERNEL = MapKernel(
    "copy", Access("out", "float32", (1,)), (), (), (statement("t0", "float32", "float32(0.0)"),), "t0"
)


def scheduled(function: Any, parameters: str = "", **types: str) -> Schedule:
    """The schedule of a graph for a machine with vectors of 64 bytes, whatever this one has."""
    return compile_flow(graph(function, parameters, **types), MACHINE, check=verify).schedule


def steps(plan: Schedule) -> list[str]:
    """Kernels by their names, host calls with ``numpy`` before them."""
    return [s.kernel.name if isinstance(s, Launch) else f"numpy {s.operator.name}" for s in plan.steps]


# -- memory ----------------------------------------------------------------------------------------------------


@st.composite
def programs(draw: Any) -> tuple[list[Buffer], list[Launch | HostCall]]:
    """Buffers of all kinds, and steps that touch them in any order."""
    count = draw(st.integers(1, 12))
    kinds = st.sampled_from(
        [BufferKind.WORKSPACE] * 4 + [BufferKind.ARGUMENT, BufferKind.RESULT, BufferKind.REGISTER]
    )
    buffers = [
        Buffer(
            f"t{n}",
            typed(f"float32[{draw(st.integers(0, 200))}]"),
            draw(kinds),
            made_by_host=draw(st.integers(0, 9)) == 0,
        )
        for n in range(count)
    ]
    touched = st.lists(st.integers(0, count - 1), min_size=1, max_size=4)
    made: list[Launch | HostCall] = []
    for numbers in draw(st.lists(touched, max_size=12)):
        if draw(st.booleans()):
            made.append(Launch(KERNEL, tuple(Pointer(n, 0) for n in numbers), 1, 1.0))
        else:
            *operands, result = numbers
            made.append(HostCall(TABLE["sort"], {}, tuple((n, None) for n in operands), result, ""))  # type: ignore[misc]
    return buffers, made


def life(number: int, buffer: Buffer, made: list[Launch | HostCall]) -> range:
    """The steps during which a buffer holds a value."""
    if buffer.kind is BufferKind.REGISTER:
        return range(len(made) + 1)
    using = [n for n, step in enumerate(made) if number in touched_by(step)]
    return range(using[0], using[-1] + 1) if using else range(0)


def touched_by(step: Launch | HostCall) -> list[int]:
    if isinstance(step, Launch):
        return [p.buffer for p in step.pointers]
    return [*(b for b, _ in step.operands), step.result]


@given(programs())
def test_buffers_that_are_alive_at_once_never_overlap(
    program: tuple[list[Buffer], list[Launch | HostCall]],
) -> None:
    buffers, made = program
    placed, workspace = planned(buffers, lives_of(made))
    ours = [
        (b.offset, b.offset + b.type.nbytes, life(n, b, made))
        for n, b in enumerate(placed)
        if b.kind.is_planned and not b.made_by_host
    ]
    for (low, high, first), (other_low, other_high, second) in combinations(ours, 2):
        together = set(first) & set(second)
        assert not together or high <= other_low or other_high <= low
    assert all(low % 64 == 0 for low, _, _ in ours)
    assert all(high <= workspace.fixed for _, high, alive in ours if alive)


def test_memory_is_used_again() -> None:
    def chain(x: Any) -> Any:
        for _ in range(6):
            x = pointwise.exp(movement.transpose(x, axes=(1, 0)))
            x = movement.reshape(reductions.sum_(x, axis=(0,), keepdims=True) + x, shape=x.shape)
        return x

    plan = scheduled(chain, x="float32[64, 64]")
    assert plan.workspace.fixed <= 3 * (64 * 64 * 4 + 64)


# -- steps -----------------------------------------------------------------------------------------------------


def test_a_schedule_reads_as_text() -> None:
    def net(x: Any, w: Any, b: Any) -> Any:
        return neural.softmax(contractions.dense(x, w, b), axis=1)

    plan = scheduled(net, "w b", x="float32[2, 20]", w="float32[40, 20]", b="float32[40]")
    lines = [line.partition(" rows=")[0] for line in str(plan).split("\n")]
    assert (
        "\n".join(lines)
        == dedent(
            """
            workspace: 320 bytes
              0: x = argument[0] float32[2, 20]
              1: w = parameter[0] float32[40, 20]
              2: b = parameter[1] float32[40]
              3: hoisted0 = parameter[2] float32[2, 20, 32]
              4: t0 = workspace[0] float32[2, 40]
              5: out0 = result[0] float32[2, 40]
            launch dense(x, hoisted0, b, t0)
            launch max_subtract_exp_and_2(t0, out0)
            """
        ).strip()
    )


def test_views_take_no_step() -> None:
    def function(x: Any) -> Any:
        turned = movement.flip(movement.transpose(x, axes=(1, 0)), axis=(0,))
        return movement.get_item(turned, index=(("slice", 1, 4, 2), 2)) * 2

    assert steps(scheduled(function, x="float32[5, 6]")) == ["multiply"]


def test_a_view_that_is_none_is_copied_once() -> None:
    def function(x: Any) -> Any:
        flat = movement.reshape(movement.transpose(x, axes=(1, 0)), shape=(30,))
        return flat * 2, flat + 1

    assert sorted(steps(scheduled(function, x="float32[5, 6]"))) == ["copy", "multiply_add"]


def test_joined_values_are_written_side_by_side() -> None:
    plan = scheduled(lambda x, y: movement.concatenate(x, y, axis=1), x="float32[3, 2]", y="float32[3, 4]")
    assert steps(plan) == ["copy", "copy"]
    assert [step.pointers[-1].offset for step in plan.steps if isinstance(step, Launch)] == [0, 2]


@pytest.mark.parametrize(
    ("function", "types"),
    [
        (lambda x: x * 2, {"x": "float32[0, 3]"}),
        (lambda x: reductions.sum_(x, axis=(1,), keepdims=False), {"x": "float32[0, 3]"}),
        (contractions.matmul, {"x": "float32[0, 3]", "y": "float32[3, 4]"}),
        (lambda x, y: movement.concatenate(x, y, axis=0), {"x": "float32[0, 3]", "y": "float32[0, 3]"}),
    ],
    ids=["map", "fold", "product", "join"],
)
def test_empty_results_are_not_launched(function: Any, types: dict[str, str]) -> None:
    assert not [s for s in scheduled(function, **types).steps if isinstance(s, Launch)]


def test_operators_without_a_kernel_are_calls_of_numpy_between_launches() -> None:
    plan = scheduled(lambda x: pointwise.exp(TABLE["sort"](x * 2, axis=0)), x="float32[99]")
    assert steps(plan) == ["multiply", "numpy sort", "exp"]
    assert [b.made_by_host for b in plan.buffers] == [False, False, True, False]


def test_each_output_has_its_own_memory() -> None:
    def function(x: Any) -> Any:
        doubled = x * 2
        return doubled, x, doubled

    plan = scheduled(function, x="float32[9]")
    results = [b.number for b in plan.buffers if b.kind is BufferKind.RESULT]
    assert sorted(results) == [0, 1, 2]
    assert steps(plan) == ["multiply_copy_copy"]


def test_work_grows_with_the_size() -> None:
    def work(size: int) -> float:
        (step,) = scheduled(lambda x: pointwise.exp(x), x=f"float32[{size}]").steps
        assert isinstance(step, Launch)
        return step.work

    assert work(10_000) == pytest.approx(100 * work(100), rel=0.1)
