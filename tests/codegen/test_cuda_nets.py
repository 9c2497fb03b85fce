"""Which products of a schedule become one launch, and that memory is planned for what is left. No CUDA package is needed."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from graphs import graph

from blockfuse.codegen.compile import compile_flow
from blockfuse.codegen.cuda.products.chain_source import render_chain
from blockfuse.codegen.cuda.products.chains import MAX_LAYERS, with_whole_nets
from blockfuse.codegen.cuda.products.tile_choice import BlockTiling
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.kernels.product_kernels import ChainKernel
from blockfuse.codegen.scheduling.buffers import BufferKind
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.scheduling.steps import HostCall, Launch
from blockfuse.ir.operators import neural, reductions
from blockfuse.ir.operators.contractions import dense

DEVICE = Machine(0, accumulators=0, features="", name="sm_90", block_tile=BlockTiling(), writes_updates=False)


def scheduled(function: Callable[..., Any], rows: int, *widths: int, batch: int = 0) -> Schedule:
    """A net with a weight ``w0``, ``w1``, ... between neighbouring widths."""
    weights = {f"w{n}": f"float32[{b}, {a}]" for n, (a, b) in enumerate(pairwise(widths))}
    recorded = graph(function, " ".join(weights), x=f"float32[{rows}, {widths[0]}]", **weights)
    return compile_flow(recorded, DEVICE, batch=batch).schedule


def layers(x: Any, *weights: Any) -> Any:
    for weight in weights[:-1]:
        x = neural.relu(dense(x, weight))
    return dense(x, weights[-1])


def shown(planned: Schedule) -> list[str]:
    """Steps as they print, without their estimates."""
    return [
        line.split(" rows=")[0] for line in str(planned).splitlines() if line.startswith(("launch", "numpy"))
    ]


def test_a_chain_is_one_launch_whose_values_need_no_memory() -> None:
    before = scheduled(layers, 64, 20, 64, 30, 10)
    after = with_whole_nets(before)
    assert shown(before) == [
        "launch dense_relu(x, hoisted0, t0)",
        "launch dense_relu(t0, hoisted1, t1)",
        "launch dense(t1, hoisted2, out0)",
    ]
    assert shown(after) == ["launch net(x, hoisted0, hoisted1, hoisted2, out0)"]
    assert (after.workspace.fixed, after.blocks[0].end) == (0, 1)
    (launch,) = after.steps
    assert [layer.units for layer in launch.kernel.layers] == [64, 30, 10]
    assert launch.rows == 64


def test_long_chains_are_several_launches_of_one_source() -> None:
    after = with_whole_nets(scheduled(layers, 64, *[64] * (1 + 2 * MAX_LAYERS)))
    assert len(after.steps) == 2
    inner = with_whole_nets(
        scheduled(lambda x, *w: neural.relu(layers(x, *w)), 64, *[64] * (1 + 2 * MAX_LAYERS))
    )
    assert len({render_chain(step.kernel).text for step in inner.steps}) == 1


def test_a_value_that_is_read_twice_or_returned_stays() -> None:
    def twice(x: Any, first: Any, second: Any) -> Any:
        hidden = dense(x, first)
        return dense(hidden, second) + hidden

    def returned(x: Any, first: Any, second: Any) -> Any:
        hidden = dense(x, first)
        return dense(hidden, second), hidden

    def summed(x: Any, first: Any, second: Any) -> Any:
        hidden = dense(x, first)
        return dense(hidden, second), reductions.sum_(hidden, axis=(1,), keepdims=False)

    for function in (twice, returned, summed):
        before = scheduled(function, 8, 16, 16, 16)
        assert with_whole_nets(before).steps == before.steps


@pytest.mark.parametrize(
    ("rows", "widths", "batch"),
    [(64, (784, 64, 10), 0), (64, (64, 256, 10), 0), (10_000, (64, 64, 10), 0), (64, (64, 64, 10), 8)],
    ids=["deep input", "wide layer", "many rows", "any number of rows"],
)
def test_what_separate_launches_do_better_stays(rows: int, widths: tuple[int, ...], batch: int) -> None:
    before = scheduled(layers, rows, *widths, batch=batch)
    after = with_whole_nets(before)
    assert [getattr(s, "kernel", None) for s in after.steps] == [
        getattr(s, "kernel", None) for s in before.steps
    ]
    assert len(after.steps) == 2


def test_the_narrow_end_of_a_wide_net_is_one_launch() -> None:
    after = with_whole_nets(scheduled(layers, 64, 784, 128, 128, 10))
    assert shown(after) == [
        "launch dense_relu(x, hoisted0, t0)",
        "launch net(t0, hoisted1, hoisted2, out0)",
    ]
    (read,) = {p.buffer for p in after.steps[1].pointers} & {p.buffer for p in after.steps[0].pointers}
    assert after.buffers[read].kind is BufferKind.WORKSPACE


def test_steps_between_keep_their_order() -> None:
    def mixed(x: Any, *weights: Any) -> Any:
        hidden = layers(x, *weights[:2])
        return layers(neural.softmax(hidden, axis=1), *weights[2:])

    after = with_whole_nets(scheduled(mixed, 64, 20, 64, 30, 30, 10))
    kinds = [isinstance(s, Launch) and isinstance(s.kernel, ChainKernel) for s in after.steps]
    assert kinds == [True, False, True]
    assert not any(isinstance(s, HostCall) for s in after.steps)


def test_every_layer_has_operands_and_values_of_its_own_name() -> None:
    (launch,) = with_whole_nets(scheduled(layers, 64, 20, 64, 30, 10)).steps
    kernel = launch.kernel
    assert kernel.operands == ("x0", "x1", "x2", "x3")
    assert [k.left.name for k in kernel.layers] == ["x0", "here", "here"]
    assert [k.right.name for k in kernel.layers] == ["x1", "x2", "x3"]
    values = [s.name for k in kernel.layers for s in k.body] + [k.accumulator for k in kernel.layers]
    assert len(values) == len(set(values)) == 5
    source = render_chain(kernel)
    assert [name for name, _ in source.pointers] == ["x0", "x1", "x2", "x3", "out"]
    (stage,) = source.stages
    assert (stage.grid(64), stage.grid(65)) == ((8, 1, 1), (9, 1, 1))


def test_the_input_of_a_chain_bounds_its_rows() -> None:
    """Offsets are 32 bits wide, those of rows that lie far apart among them."""
    (launch,) = with_whole_nets(scheduled(layers, 64, 20, 64, 10)).steps
    first, last = launch.kernel.layers
    apart = replace(first, left=replace(first.left, strides=(2**27,)))
    assert render_chain(launch.kernel).max_rows > 2**20
    assert render_chain(replace(launch.kernel, layers=(apart, last))).max_rows < 64
