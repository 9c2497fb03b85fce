"""Products of windows: every geometry at every stage, from the graph to native code, against what convolution means."""

from __future__ import annotations

import random
import re
from typing import Any

import numpy
import pytest
from graphs import LEVELS, graph, graph_for
from stages import hold_together
from test_meaning import MACHINE, TWO

from blockfuse.codegen.compile import compile_flow
from blockfuse.codegen.cpu.native import isa
from blockfuse.codegen.cpu.native.object_code import kernel_ir
from blockfuse.codegen.cpu.source.render import render
from blockfuse.codegen.kernels.loop_kernels import MapKernel
from blockfuse.codegen.kernels.window_kernel import WindowKernel
from blockfuse.codegen.kernels.windows import _tile
from blockfuse.ir.graph import Graph
from blockfuse.ir.operators import movement, neural
from blockfuse.ir.operators.convolution import convolution, convolution_weights

pytestmark = pytest.mark.spread(3)


def kernels_of(recorded: Graph, machine: Any = MACHINE) -> list[WindowKernel]:
    found = [step.kernel for step in compile_flow(recorded, machine).schedule.launches]
    return [kernel for kernel in found if isinstance(kernel, WindowKernel)]


def held(
    function: Any, operands: list[numpy.ndarray], machine: Any = TWO, source: bool = True
) -> list[WindowKernel]:
    recorded = graph_for(function, operands)
    hold_together(recorded, operands, [], machine, source=source)
    return kernels_of(recorded, machine)


@pytest.mark.spread(30)
@pytest.mark.parametrize("seed", range(60))
def test_stages_of_windows_of_any_geometry_mean_the_same(seed: int) -> None:
    draw, rng = random.Random(seed), numpy.random.default_rng(seed)
    axes, dtype = draw.choice([1, 2, 2, 3]), draw.choice(["float32", "float32", "float64"])
    channels, units, groups = draw.choice([1, 3, 5]), draw.choice([1, 4, 9, 16, 21, 33]), seed % 3 + 1
    kernel, stride, dilation = (tuple(draw.randint(1, n) for _ in range(axes)) for n in (3, 2, 2))
    pad = tuple((draw.randint(0, 1), draw.randint(0, 2)) for _ in range(axes))
    sizes = tuple(
        (k - 1) * d + draw.randint(1, 10 if axes < 3 else 4) for k, d in zip(kernel, dilation, strict=True)
    )
    first = draw.random() < 0.5

    def function(x: Any, w: Any, b: Any) -> Any:
        if first:
            x = movement.transpose(x, axes=(0, *range(2, axes + 2), 1))
        found = convolution(x * 2, w, b, stride=stride, dilation=dilation, padding=pad, groups=groups)
        return neural.relu(found)

    batch = draw.choice([1, 2, 3])
    shape = (batch, channels * groups, *sizes) if first else (batch, *sizes, channels * groups)
    columns = units * groups
    operands = [
        rng.uniform(-1, 1, s).astype(dtype) for s in (shape, (columns, *kernel, channels), (columns,))
    ]
    held(function, operands, isa.machine(draw.choice(LEVELS)))


def plain(*operands: Any, pad: int = 0, stride: int = 1, groups: int = 1) -> Any:
    borders = ((pad, pad),) * 2
    return convolution(*operands, stride=(stride,) * 2, dilation=(1, 1), padding=borders, groups=groups)


def drawn(*shape: int) -> numpy.ndarray:
    return numpy.random.default_rng(len(shape)).uniform(-1, 1, shape).astype("float32")


def test_nothing_is_copied_but_for_a_border() -> None:
    x, w = drawn(2, 6, 6, 3), drawn(5, 3, 3, 3)
    plan = compile_flow(graph_for(lambda x, w: neural.relu(plain(x, w)), [x, w]), MACHINE).schedule
    names = [launch.kernel.name for launch in plan.launches]
    assert names[-1] == "convolution_relu"
    assert set(names[:-1]) <= {"copy", "zeros"}
    assert len(names) <= 4  # the weight goes into panels, of which the last is not whole


def test_taps_that_are_neighbours_are_one_axis() -> None:
    (kernel,) = held(plain, [drawn(2, 6, 6, 3), drawn(5, 3, 3, 3)])
    assert (kernel.inner, kernel.along) == ((3, 9), (18, 1))
    assert (kernel.extents, kernel.height) == ((4,), 4)


def test_lines_that_are_neighbours_are_one() -> None:
    (kernel,) = held(plain, [drawn(2, 6, 6, 3), drawn(5, 1, 1, 3)])
    assert (kernel.inner, kernel.extents, kernel.height) == ((3,), (), 36)


@pytest.mark.parametrize(("channels", "wanted"), [(3, False), (64, True)])
def test_loops_over_taps_stay_loops_where_channels_are_many(channels: int, wanted: bool) -> None:
    operands = [drawn(1, 9, 9, channels), drawn(32, 3, 3, channels)]
    (kernel,) = held(plain, operands)
    text = kernel_ir(kernel, render(kernel), isa.machine())
    loops = re.findall(r"br i1 .*!llvm\.loop !(\d+)", text)
    assert bool(loops) is wanted
    for number in loops:  # a loop names itself and its wish
        found = re.search(rf"^!{number} = !{{ !{number}, !(\d+) }}$", text, re.MULTILINE)
        assert found is not None
        assert f'!{found[1]} = !{{ !"llvm.loop.unroll.disable" }}' in text


def test_one_image_is_shared_by_its_lines() -> None:
    (kernel,) = held(plain, [drawn(1, 6, 6, 3), drawn(5, 3, 3, 3)])
    assert (kernel.extents, kernel.left.strides) == ((), (18, 3))


def test_long_windows_are_summed_in_parts() -> None:
    (kernel,) = held(plain, [drawn(1, 3, 4, 500), drawn(3, 2, 2, 500)])
    assert (kernel.inner, kernel.along) == ((2, 4, 250), (2000, 250, 1))


def test_large_weights_go_round_outside_of_lines() -> None:
    held(lambda x, w: plain(x, w, pad=1), [drawn(2, 3, 3, 150), drawn(70, 3, 3, 150)], source=False)


@pytest.mark.parametrize("shape", [(2, 4, 4, 20), (1, 4, 4, 1), (20,), (4, 1, 1), (), (2, 1, 1, 20)])
def test_what_follows_reads_values_of_every_shape(shape: tuple[int, ...]) -> None:
    operands = [drawn(2, 8, 8, 3), drawn(20, 3, 3, 3), drawn(*shape)]
    (kernel,) = held(lambda x, w, y: neural.relu(plain(x, w, pad=1, stride=2) + y), operands)
    assert kernel.body


def test_a_single_window_is_a_row_of_an_ordinary_product() -> None:
    assert not held(plain, [drawn(2, 3, 3, 3), drawn(5, 3, 3, 3)])


@pytest.mark.parametrize("units", [6, 40])
def test_a_gradient_by_the_weight_sums_over_items_where_windows_are_seen(units: int) -> None:
    def weights(x: Any, g: Any) -> Any:
        ones, none = (1, 1), ((0, 0), (0, 0))
        return convolution_weights(x, g, kernel=(2, 3), stride=ones, dilation=ones, padding=none, groups=1)

    (kernel,) = held(weights, [drawn(2, 5, 6, 3), drawn(2, 4, 4, units)], source=False)
    assert (kernel.height, kernel.inner) == (9, (2, 4, 4))


def test_groups_are_one_kernel_however_many() -> None:
    x, w, b = drawn(2, 4, 4, 96), drawn(64, 3, 3, 3), drawn(64)
    recorded = graph_for(lambda x, w, b: neural.relu(plain(x, w, b, groups=32)), [x, w, b])
    steps = compile_flow(recorded, MACHINE).schedule.launches
    assert [step.kernel.name for step in steps if "convolution" in step.kernel.name] == [
        "convolution_add_relu"
    ]
    (kernel,) = held(lambda x, w: plain(x, w, groups=32), [x, w])
    assert (kernel.channel_groups, kernel.apart, kernel.units) == (32, 3, 2)


def test_weights_of_large_groups_go_round_outside_of_lines() -> None:
    (kernel,) = held(
        lambda x, w: plain(x, w, groups=2), [drawn(2, 4, 4, 140), drawn(106, 3, 3, 70)], source=False
    )
    assert kernel.panels * kernel.tile.panel > kernel.units


@pytest.mark.parametrize("units", [4, 16])
def test_a_gradient_by_the_weight_of_groups_is_one_kernel(units: int) -> None:
    def weights(x: Any, g: Any) -> Any:
        ones, none = (1, 1), ((0, 0), (0, 0))
        return convolution_weights(x, g, kernel=(2, 3), stride=ones, dilation=ones, padding=none, groups=2)

    (kernel,) = held(weights, [drawn(2, 5, 6, 6), drawn(2, 4, 4, units)])
    assert (kernel.channel_groups, kernel.units, kernel.inner) == (2, units // 2, (2, 4, 4))


@pytest.mark.parametrize("kernel", [(3, 1), (1, 3)])
def test_a_gradient_by_a_weight_of_one_channel_along_one_axis(kernel: tuple[int, int]) -> None:
    def weights(x: Any, g: Any) -> Any:
        ones, none = (1, 1), ((0, 0), (0, 0))
        return convolution_weights(x, g, kernel=kernel, stride=ones, dilation=ones, padding=none, groups=1)

    places = tuple(7 - k for k in kernel)
    held(weights, [drawn(2, 6, 6, 1), drawn(2, *places, 5)], source=False)


@pytest.mark.parametrize(
    ("height", "panels", "vectors", "rows", "across"),
    [
        (28, 1, 1, 7, 1),
        (10, 1, 2, 5, 1),
        (7, 8, 2, 4, 1),
        (2, 8, 2, 2, 3),
        (1, 8, 1, 1, 8),
        (100, 1, 1, 10, 1),
    ],
)
def test_tiles_hide_latencies_and_waste_few_rows(
    height: int, panels: int, vectors: int, rows: int, across: int
) -> None:
    tile = _tile(height, panels, vectors, 8 * vectors, 12)[0]
    assert (tile.rows, tile.panels) == (rows, across)


@pytest.mark.parametrize(("batch", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2)])
def test_tiles_go_on_from_a_line_to_the_next_where_lines_leave_rows_over(batch: int, stride: int) -> None:
    operands = [drawn(batch, 7 * stride, 7 * stride, 8), drawn(16, 3, 3, 8)]
    machine = isa.machine("avx2")  # with wider vectors seven rows may be a tile
    (kernel,) = held(lambda x, w: neural.relu(plain(x, w, pad=1, stride=stride)), operands, machine)
    assert kernel.crosses
    assert kernel.height % kernel.tile.rows


def test_a_depthwise_convolution_reads_neighbours_of_its_weight() -> None:
    """Of each tap, whose elements lie taps apart in the parameter: a vector of them would be gathered."""
    recorded = graph(
        lambda x, w: plain(x, w, groups=24),
        parameters="w",
        x="float32[1, 6, 6, 24]",
        w="float32[24, 3, 3, 1]",
    )
    (launch,) = compile_flow(recorded, MACHINE).schedule.launches
    assert isinstance(launch.kernel, MapKernel)
    assert [access.strides[-1] for access in launch.kernel.loads] == [1] * 18
