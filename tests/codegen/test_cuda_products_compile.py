"""Products compiled for devices that need not be there: registers, wide loads, arithmetic, and no float64."""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from cubins import Entry, entries
from device_products import MAIN, RELU, product, split
from graphs import graph
from written import statement

from blockfuse.codegen.compile import compile_flow
from blockfuse.codegen.cuda.native.isa import machine
from blockfuse.codegen.cuda.products.chains import with_whole_nets
from blockfuse.codegen.cuda.products.product_source import finishing_source
from blockfuse.codegen.cuda.products.tile_choice import FLOAT32_SHAPES, FLOAT64_SHAPES, BlockTiling, Shape
from blockfuse.codegen.cuda.render import render
from blockfuse.codegen.kernels.kernel import Access, Kernel
from blockfuse.codegen.kernels.machine import Machine
from blockfuse.codegen.kernels.product_cuts import BlockTile
from blockfuse.ir.operators import neural
from blockfuse.ir.operators.contractions import dense

for package in ("numba_cuda", "cuda.core", "nvidia.cu13"):
    pytest.importorskip(package, reason=f"compiling for devices needs {package}: extra cuda-test")

from blockfuse.codegen.cuda.native import frontend  # noqa: E402

pytestmark = pytest.mark.long

HOPPER = (9, 0)
FLOAT64 = re.compile(r"D(ADD|FMA|MUL|SETP|MNMX)|.*F64|MUFU.*64")  # instructions that compute with it


def compiled(kernel: Kernel, folder: Path, cc: tuple[int, int] = HOPPER) -> dict[str, Entry]:
    """The entries of a kernel, none of which may spill, or compute in float64 if its numbers are float32."""
    source = render(kernel)
    found = entries(frontend.linked(source, machine(cc)), folder)
    assert {stage.entry for stage in source.stages} <= found.keys()
    for stage in source.stages:
        entry = found[stage.entry]
        assert (entry.stack, entry.local) == (0, 0)
        assert source.scratch_dtype == "float64" or not [i for i in entry.instructions if FLOAT64.match(i)]
        assert entry.registers * stage.threads <= 32768, "two blocks share the registers of a multiprocessor"
    return found


@pytest.mark.parametrize("cc", [(8, 0), (9, 0), (10, 0)])
def test_the_main_tile_moves_four_elements_at_once_and_multiplies_the_rest_of_the_time(
    cc: tuple[int, int], tmp_path: Path
) -> None:
    entry = compiled(product(4096, 1024, 4096, MAIN, body=RELU), tmp_path, cc)["kernel_dense"]
    count = entry.instructions
    assert count["LDG.E.128"] + count["LDG.E.128.CONSTANT"] >= 2
    assert (count["STS.128"] >= 2, count["STG.E.128"], count["LDS"], count["STG.E"]) == (True, 16, 0, 0)
    inner = next(loop for loop in entry.loops if loop["FFMA"])
    assert inner["FFMA"] == 16 * inner["LDS.128"]
    assert inner["FFMA"] / inner.total() > 0.75


@pytest.mark.parametrize("shape", FLOAT32_SHAPES, ids=lambda s: f"{s.rows}x{s.columns}")
def test_every_tile_reads_shared_memory_in_fours(shape: Shape, tmp_path: Path) -> None:
    block = BlockTile(shape.rows, shape.columns, 0, shape.height, shape.width, shape.depth)
    entry = compiled(product(0, 1000, 500, block, body=RELU), tmp_path)["kernel_dense"]
    inner = next(loop for loop in entry.loops if loop["FFMA"])
    assert inner["LDS"] == 0
    assert inner["FFMA"] / inner.total() > 0.6


@pytest.mark.parametrize("block", [MAIN, split(MAIN, 3), BlockTile(8, 16, 0, 8, 4, 1, 64)], ids=str)
def test_edges_cost_no_registers(block: BlockTile, tmp_path: Path) -> None:
    compiled(product(100, 1001, 101, block, body=RELU), tmp_path)


def test_a_sliced_product_has_four_fetches_under_way(tmp_path: Path) -> None:
    block = BlockTile(1, 16, 0, 1, 4, 1, 64)
    entry = compiled(product(1, 1024, 1024, block, body=RELU), tmp_path)["kernel_dense"]
    assert max(loop["LDG.E.128.CONSTANT"] + loop["LDG.E.128"] for loop in entry.loops) >= 4


def test_a_long_epilogue_stays_in_registers(tmp_path: Path) -> None:
    names = [f"t{n}" for n in range(41)]
    body = tuple(
        statement(new, "float32", f"exp({old}) * x3" if n % 8 == 0 else f"{old} * {old} + x3")
        for n, (old, new) in enumerate(pairwise(names))
    )
    loads = (Access("x3", "float32", (512, 1)),)
    compiled(product(512, 512, 512, MAIN, body=body, loads=loads), tmp_path)


@pytest.mark.parametrize("shape", FLOAT64_SHAPES[:1], ids=lambda s: f"{s.rows}x{s.columns}")
def test_float64_has_tiles_of_its_own(shape: Shape, tmp_path: Path) -> None:
    block = BlockTile(shape.rows, shape.columns, 0, shape.height, shape.width, shape.depth)
    entry = compiled(product(100, 64, 100, block, "float64"), tmp_path)["kernel_dense"]
    assert max(loop["DFMA"] for loop in entry.loops) >= 32


MASK = (Access("x3", "bool", (101, 1)), Access("x4", "int32", (0, 1)))
MASKED = (
    statement("t1", "float32", "select(x3, t0, float32(-1.0))"),
    statement("t2", "float32", "float32(x4)"),
    statement("t3", "bool", "t1 > t2"),
)
WHOLE = (statement("t1", "int32", "int32(t0)"),)
SQUARE = BlockTile(32, 32, 0, 4, 4, 16)
SLICES = BlockTile(4, 16, 0, 4, 4, 1, 64)
TYPED = {
    "bool in tiles": replace(
        product(100, 40, 101, SQUARE, body=MASKED, loads=MASK), store=Access("out", "bool", (101, 1))
    ),
    "bool in splits": replace(
        product(100, 400, 101, split(SLICES, 2), body=MASKED, loads=MASK),
        store=Access("out", "bool", (101, 1)),
    ),
    "integers in fours": replace(
        product(100, 40, 100, SQUARE, body=WHOLE), store=Access("out", "int32", (100, 1))
    ),
    "backwards": replace(product(100, 40, 100, SQUARE), left=Access("x0", "float32", (-40,))),
    "backwards in slices": replace(product(100, 42, 100, SLICES), left=Access("x0", "float32", (-42,))),
    "splits of float64": product(100, 400, 100, split(SQUARE, 2), "float64"),
    "a stack": replace(
        product(100, 40, 100, SQUARE),
        left=Access("x0", "float32", (4000, 40)),
        right=Access("x1", "float32", (4000,)),
        store=Access("out", "float32", (10_000, 100, 1)),
    ),
}


@pytest.mark.parametrize("name", TYPED)
def test_operands_of_every_kind_have_types_on_the_device(name: str, tmp_path: Path) -> None:
    compiled(TYPED[name], tmp_path)


def test_the_rest_of_an_epilogue_has_types_too(tmp_path: Path) -> None:
    entry = entries(frontend.linked(finishing_source(TYPED["bool in tiles"]), machine(HOPPER)), tmp_path)
    assert (entry["kernel_dense"].stack, entry["kernel_dense"].instructions["DFMA"]) == (0, 0)


def test_a_whole_net_keeps_its_sums_in_registers(tmp_path: Path) -> None:
    weights = {"v": "float32[128, 64]", "w": "float32[10, 128]"}
    recorded = graph(
        lambda x, v, w: dense(neural.relu(dense(x, v)), w), "v w", x="float32[64, 64]", **weights
    )
    device = Machine(0, accumulators=0, features="", block_tile=BlockTiling(), writes_updates=False)
    (launch,) = with_whole_nets(compile_flow(recorded, device).schedule).steps
    assert len(launch.kernel.layers) == 2
    compiled(launch.kernel, tmp_path)
