"""Products for a device: which block of threads they get, and properties of their source. No CUDA package is needed."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from device_products import MAIN, RELU, product, split
from graphs import graph
from written import statement

from blockfuse.codegen.compile import compile_flow
from blockfuse.codegen.cuda.products.product_source import render_product
from blockfuse.codegen.cuda.products.tile_choice import (
    FLOAT32_SHAPES,
    FLOAT64_SHAPES,
    BlockTiling,
    Shape,
    choose_tile,
)
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.kernels.machine import Machine, ProductShape
from blockfuse.codegen.kernels.product_cuts import BlockTile
from blockfuse.codegen.kernels.product_kernels import ProductKernel
from blockfuse.codegen.scheduling.steps import Launch
from blockfuse.ir.errors import NoDeviceKernelError
from blockfuse.ir.operators import neural
from blockfuse.ir.operators.contractions import dense, matmul

MULTIPROCESSORS = 132
STATIC_SHARED_BYTES = 48 * 1024


def shape(height: int, inner: int, units: int, matrices: int = 1, dtype: str = "float32") -> ProductShape:
    return ProductShape(matrices, height, inner, units, -(-units // 4) * 4, dtype)


def blocks_of(tile: BlockTile, wanted: ProductShape) -> int:
    down, across = -(-wanted.height // tile.rows), -(-wanted.units // tile.columns)
    return down * across * wanted.matrices * tile.splits


# -- the choice ------------------------------------------------------------------------------------------------


def test_a_large_product_gets_the_tile_that_keeps_the_arithmetic_busy() -> None:
    for height, inner, units in [(4096, 1024, 4096), (4096, 4096, 4096), (4096, 4096, 1024)]:
        tile = choose_tile(shape(height, inner, units))
        assert (tile.rows, tile.columns, tile.height, tile.width) == (128, 128, 8, 8)
        assert (tile.slices, tile.splits) == (0, 1)


@pytest.mark.parametrize("wanted", [shape(1, 4096, 4096), shape(8, 1024, 4096), shape(64, 784, 512)], ids=str)
def test_a_few_rows_are_sliced_between_all_multiprocessors(wanted: ProductShape) -> None:
    tile = choose_tile(wanted)
    assert tile.slices
    assert blocks_of(tile, wanted) >= MULTIPROCESSORS


def test_a_long_inner_axis_of_few_blocks_is_split() -> None:
    tile = choose_tile(shape(1, 65536, 16))
    assert tile.splits > 1
    assert choose_tile(shape(512, 4096, 128)).splits > 1


def test_nothing_is_split_where_a_launch_does_not_know_its_rows_or_does_stacks() -> None:
    for wanted in (shape(0, 65536, 16), shape(1, 65536, 16, matrices=2)):
        assert choose_tile(wanted).splits == 1
    assert not choose_tile(shape(0, 784, 256)).slices


def test_every_part_of_a_split_has_something_to_do() -> None:
    for inner in range(16, 3000, 37):
        tile = choose_tile(shape(64, inner, 128))
        steps = -(-inner // tile.depth)
        each = -(-steps // tile.splits)
        assert (tile.splits - 1) * each < steps


def test_a_device_with_fewer_multiprocessors_needs_fewer_blocks() -> None:
    wanted = shape(256, 4096, 256)
    small, large = choose_tile(wanted, 8), choose_tile(wanted, MULTIPROCESSORS)
    assert blocks_of(small, wanted) < blocks_of(large, wanted)


@pytest.mark.parametrize("tile", [*FLOAT32_SHAPES, *FLOAT64_SHAPES], ids=str)
def test_the_threads_of_a_tile_share_out_its_fetches_evenly(tile: Shape) -> None:
    threads = BlockTile(tile.rows, tile.columns, 0, tile.height, tile.width).threads
    assert threads % 32 == 0
    assert tile.rows * tile.depth % threads == threads % tile.depth == 0
    assert tile.columns * tile.depth % (4 * threads) == threads % (tile.columns // 4) == 0
    assert tile.rows * tile.depth % (4 * threads) == 0, "the left operand in fours"


# -- the schedule ----------------------------------------------------------------------------------------------

DEVICE = Machine(0, accumulators=0, features="", name="sm_90", block_tile=BlockTiling(MULTIPROCESSORS))


def launches(rows: int, inner: int, units: int, batch: int = 0) -> list[Launch]:
    recorded = graph(
        lambda x, w, b: neural.relu(dense(x, w, b)),
        parameters="w b",
        x=f"float32[{rows}, {inner}]",
        w=f"float32[{units}, {inner}]",
        b=f"float32[{units}]",
    )
    found = compile_flow(recorded, DEVICE, batch=batch).schedule.steps
    return [step for step in found if isinstance(step, Launch)]


def test_a_launch_walks_all_rows_whatever_the_block() -> None:
    for rows in (1, 64, 5000):
        (launch,) = launches(rows, 784, 256)
        assert isinstance(launch.kernel, ProductKernel)
        assert (launch.rows, launch.kernel.tiles, launch.kernel.by_panels) == (rows, (), False)


def test_a_stack_is_walked_by_its_matrices() -> None:
    recorded = graph(matmul, parameters="y", x="float32[6, 100, 64]", y="float32[6, 64, 40]")
    (launch,) = compile_flow(recorded, DEVICE).schedule.steps
    assert launch.rows == 6
    (stage,) = render_product(launch.kernel).stages
    block = launch.kernel.block
    assert stage.grid(6) == (6 * -(-100 // block.rows), -(-40 // block.columns), 1)


def test_a_kernel_for_any_number_of_rows_has_one_block() -> None:
    (launch,) = launches(64, 784, 256, batch=8)
    source = render_product(launch.kernel)
    rows = launch.kernel.block.rows
    assert launch.kernel.height == 0
    assert [source.stages[0].grid(n)[0] for n in (1, rows, rows + 1)] == [1, 1, 2]


# -- the source ------------------------------------------------------------------------------------------------

SLICES = BlockTile(8, 16, 0, 8, 4, 1, slices=64)
RESIDUAL = (statement("t1", "float32", "t0 + x3"),), (Access("x3", "float32", (100, 1)),)
SOURCES = {
    "main": product(4096, 1024, 4096, MAIN, body=RELU),
    "edges": product(100, 1001, 101, MAIN, body=RELU),
    "any rows": product(0, 100, 100, MAIN, body=RESIDUAL[0], loads=RESIDUAL[1]),
    "split": product(64, 784, 512, split(MAIN, 3), body=RELU),
    "slices": product(13, 1000, 101, SLICES, body=RELU),
    "split slices": product(1, 65536, 16, split(replace(SLICES, rows=1, height=1), 4)),
    "float64": product(100, 64, 100, BlockTile(64, 64, 0, 4, 4, 16), "float64"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_source_is_python_with_typed_numbers(name: str) -> None:
    text = render_product(SOURCES[name]).text
    compile(text, name, "exec")
    assert re.findall(r"(?<![\w.(])\d+\.\d*|\(\d+\.\d*\)", re.sub(r"float(32|64)\([\d.]+\)", "", text)) == []
    declared = [
        line for line in text.splitlines() if "cuda.shared.array" in line or "cuda.local.array" in line
    ]
    assert all(line.count("array(") == 1 for line in declared)


@pytest.mark.parametrize("name", SOURCES)
def test_shared_memory_needs_no_permission(name: str) -> None:
    sizes = re.findall(r"cuda\.shared\.array\((\d+), float(\d+)", render_product(SOURCES[name]).text)
    assert sum(int(count) * int(bits) // 8 for count, bits in sizes) <= STATIC_SHARED_BYTES


@pytest.mark.parametrize("name", SOURCES)
def test_stages_are_functions_of_the_source(name: str) -> None:
    source = render_product(SOURCES[name])
    for stage in source.stages:
        (head,) = re.findall(rf"^def {stage.name}\((.*)\):", source.text, re.MULTILINE)
        assert head.split(", ") == [*(n for n, _ in source.parameters), "rows"]
        assert stage.threads <= 1024
    assert len(source.stages) == 1 + (SOURCES[name].block.splits > 1)


def test_a_product_whose_places_need_more_than_32_bits_says_for_how_many_rows_it_does() -> None:
    source = render_product(product(0, 1024, 4096, MAIN))
    assert 2**20 - 256 < source.max_rows < 2**20
    splits = render_product(product(64, 1024, 4096, split(MAIN, 4)))
    assert 2**18 - 256 < splits.max_rows < 2**18
    with pytest.raises(NoDeviceKernelError):
        render_product(product(1, 2**17, 2**16, MAIN))


def test_scratch_memory_holds_the_sums_of_every_split() -> None:
    source = render_product(SOURCES["split"])
    assert source.scratch == 3 * 512 * 4
    assert source.parameters[-1] == ("scratch", "float32")
    double = render_product(product(64, 784, 512, split(BlockTile(32, 32, 0, 4, 4, 16), 3), "float64"))
    assert double.scratch == 3 * 512 * 8
    assert double.parameters[-1] == ("scratch", "float64")
    assert render_product(SOURCES["main"]).scratch == 0


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("main", "cuda_products/tiles.txt"),
        ("split", "cuda_products/splits.txt"),
        ("slices", "cuda_products/slices.txt"),
    ],
)
def test_golden_source(name: str, file: str, golden: Callable[[str, str], None]) -> None:
    golden(file, render_product(SOURCES[name]).text)
