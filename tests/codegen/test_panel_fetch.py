"""Tiles fetch the next panel, and what their end needs: which do, which lines, and that no result depends on it."""

import ctypes
from collections.abc import Callable
from dataclasses import replace

import numpy
import pytest
from graphs import LEVELS, Native, graph
from llvmlite import ir

from blockfuse.codegen.compile import compile_flow
from blockfuse.codegen.cpu.intrinsics.panel_fetch import PanelFetch, fetch_end
from blockfuse.codegen.cpu.intrinsics.tile_edges import TileEdges, TileSpec
from blockfuse.codegen.cpu.native import engine, isa
from blockfuse.codegen.cpu.source.render import render
from blockfuse.codegen.kernels import products
from blockfuse.codegen.kernels.product_kernels import ProductKernel
from blockfuse.codegen.values.emitter import I64, POINTER, VOID, Emitter
from blockfuse.ir.graph import Graph
from blockfuse.ir.operators import neural
from blockfuse.ir.operators.contractions import dense, matmul
from blockfuse.ir.operators.movement import transpose

# -- which tiles -------------------------------------------------------------------------------------------------


def layer(rows: int, inner: int, units: int) -> Graph:
    return graph(
        lambda x, w, b: neural.relu(dense(x, w, b)),
        parameters="w b",
        x=f"float32[{rows}, {inner}]",
        w=f"float32[{units}, {inner}]",
        b=f"float32[{units}]",
    )


def kernel_of(rows: int, inner: int, units: int, threads: int = 1, batch: int = 0) -> ProductKernel:
    """For twelve accumulators of eight lanes."""
    machine = replace(isa.machine("", threads), vector_bytes=32, accumulators=12, name="")
    *_, launch = compile_flow(layer(rows, inner, units), machine, batch=batch).schedule.launches
    assert isinstance(launch.kernel, ProductKernel)
    return launch.kernel


FETCHES = {
    (1, 1024, 1024): 0,  # several panels at a time
    (2, 1024, 1024): 0,
    (4, 1024, 1024): 1,
    (8, 1024, 1024): 2,
    (12, 1024, 1024): 2,
    (16, 1024, 1024): 4,
    (256, 1024, 1024): 4,
    (16, 256, 128): 0,  # a second-level cache holds the weight
    (16, 256, 144): 4,
    (16, 40000, 5): 0,  # vectors run along the inner axis
    (4, 8000, 8): 0,  # accumulators take turns
}


@pytest.mark.parametrize("shape", FETCHES, ids=str)
def test_as_many_tiles_fetch_as_pass_a_panel_of_a_large_weight(shape: tuple[int, int, int]) -> None:
    (tile,) = kernel_of(*shape).tiles
    assert tile.fetch == FETCHES[shape]


def test_threads_share_the_tiles_that_pass_a_panel() -> None:
    assert [kernel_of(16, 1024, 1024, threads).tiles[0].fetch for threads in (1, 2, 4)] == [4, 2, 1]


def test_of_any_number_of_rows_the_tallest_tiles_share_a_panel() -> None:
    found = [(tile.rows, tile.fetch) for tile in kernel_of(32, 1024, 1024, batch=32).tiles]
    assert found == [(6, 4), (4, 1), (2, 0), (1, 0)]


@pytest.mark.parametrize(("units", "outer"), [(128, "for block"), (1024, "for p")])
def test_few_rows_pass_one_panel_after_the_other_if_the_weight_is_large(units: int, outer: str) -> None:
    source = render(kernel_of(8, 256, units))
    loops = [line.strip() for line in source.splitlines() if line.strip().startswith("for ")]
    assert loops[0].startswith(outer)
    assert loops[1].startswith("for ")


def gradient(rows: int, inner: int, units: int) -> Graph:
    """What a step of training does with a weight, the transposed product first."""
    return graph(
        lambda x, y, w: w - matmul(transpose(x, axes=(1, 0)), y) * 0.1,
        x=f"float32[{inner}, {rows}]",
        y=f"float32[{inner}, {units}]",
        w=f"float32[{rows}, {units}]",
    )


@pytest.mark.parametrize(
    ("shape", "fetches"),
    [((256, 128, 784), True), ((64, 32, 784), True), ((64, 32, 512), False), ((10, 128, 128), False)],
    ids=str,
)
def test_tiles_fetch_their_end_if_rows_pass_panels_and_results_are_too_large_for_near_caches(
    shape: tuple[int, int, int], fetches: bool
) -> None:
    machine = replace(isa.machine(), vector_bytes=32, accumulators=12, name="")
    *_, launch = compile_flow(gradient(*shape), machine).schedule.launches
    assert isinstance(launch.kernel, ProductKernel)
    assert ("fetches_end=True" in render(launch.kernel)) is fetches


# -- which lines -------------------------------------------------------------------------------------------------

NOTING = """
@log = global [65536 x i64] zeroinitializer
@count = global i64 0
define void @noted(ptr %address, i32 %read, i32 %level, i32 %data) noinline {
  %number = load i64, ptr @count
  %at = getelementptr [65536 x i64], ptr @log, i64 0, i64 %number
  %word = ptrtoint ptr %address to i64
  store i64 %word, ptr %at
  %more = add i64 %number, 1
  store i64 %more, ptr @count
  ret void
}
"""


class Fetched:
    """Called as a tile, it gives the addresses that the tile asks for, one after the other. ask: what emits that."""

    def __init__(self, spec: TileSpec, ask: Callable[[TileEdges], None]) -> None:
        machine = isa.machine()
        text = self._text(spec, ask)
        declared = next(n for n in text.splitlines() if n.startswith("declare") and "prefetch" in n)
        text = text.replace(declared, NOTING).replace('@"llvm.prefetch.p0"', "@noted")
        self.loaded = engine.load(engine.object_code(text, machine), machine)
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *[ctypes.c_int64] * 3)
        self.function = kind(self.loaded.address("function"))

    def _text(self, spec: TileSpec, ask: Callable[[TileEdges], None]) -> str:
        module = ir.Module(f"test{spec}")
        function = ir.Function(module, ir.FunctionType(VOID, [POINTER, I64, I64, I64]), "function")
        emit = Emitter.of(function)
        pointer, row, number, passed = function.args
        own = [row, number] if spec.reads_results else []
        ask(
            TileEdges(
                spec, 8, emit, [pointer, pointer, row, number, *own, *([passed] if spec.has_turn else [])]
            )
        )
        emit.builder.ret_void()
        return str(module)

    def __call__(self, memory: numpy.ndarray, panel: int, passed: int) -> list[int]:
        count = ctypes.c_int64.from_address(self.loaded.address("count"))
        count.value = 0
        self.function(memory.ctypes.data, passed, panel, passed)
        return list((ctypes.c_int64 * count.value).from_address(self.loaded.address("log")))


def ask_for_panel(edges: TileEdges) -> None:
    spec, emit, fetch = edges.spec, edges.emit, PanelFetch(edges)
    base = edges.right_address(emit.times(edges.panel, spec.right[1][0]))

    def body(_: list[ir.Value], k: ir.Value) -> list[ir.Value]:
        fetch.lines([base], k)
        return []

    emit.carried([], 0, spec.inner - spec.inner % spec.fetch, fetch.steps, body)


@pytest.mark.parametrize("fetch", [1, 2, 4])
@pytest.mark.parametrize("panel", [8, 32])
@pytest.mark.parametrize("kind", ["packed", "in rows", "uint16", "int8", "float64"])
def test_tiles_that_pass_a_panel_share_the_lines_of_the_next_one(kind: str, panel: int, fetch: int) -> None:
    inner, panels, rows = 12, 5, 3
    stored = kind if kind in ("uint16", "int8") else ""
    dtype = "float64" if kind == "float64" else "float32"
    strides = (panel, panels * panel) if kind == "in rows" else (inner * panel, panel)
    spec = TileSpec(
        *(dtype, rows, 1, panel, 1, inner, panels * panel, ("x0", "x1"), ("x0", (inner, 1)), ("x1", strides)),
        *(None, (), (), None, stored, fetch),
    )
    size = numpy.dtype(spec.right_dtype).itemsize
    memory = numpy.zeros(panels * inner * panel * size, numpy.uint8)
    start = memory.ctypes.data + 2 * strides[0] * size  # that of panel 2
    step, steps = strides[1] * size, inner // fetch
    fetched = Fetched(spec, ask_for_panel)
    for turn in range(fetch + 2):
        first = min(turn, fetch - 1) * steps
        lines = [
            start + k * step + at for k in range(first, first + steps) for at in range(0, panel * size, 64)
        ]
        assert fetched(memory, 1, turn * rows) == lines


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("panel", [8, 32])
def test_a_tile_asks_for_the_lines_that_its_epilogue_reads_and_writes_and_for_each_once(
    panel: int, dtype: str
) -> None:
    rows, row, number, units = 3, 6, 2, 160
    there = "x0", dtype, (units, 1)
    spec = TileSpec(
        *(dtype, rows, 1, panel, 1, 12, units, ("x0", "x1"), ("x0", (12, 1)), ("x1", (12 * panel, panel))),
        *(None, (there, ("x1", dtype, (0, 0))), (there,), None, "", 0, True),
    )
    size = numpy.dtype(dtype).itemsize
    memory = numpy.zeros(units * (row + rows) * size, numpy.uint8)
    starts = [memory.ctypes.data + ((row + n) * units + number * panel) * size for n in range(rows)]
    lines = [start + at for start in starts for at in range(0, panel * size, 64)]
    assert Fetched(spec, fetch_end)(memory, number, row) == lines


# -- that no result depends on it --------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("shape", [(16, 1003, 70), (9, 300, 150)], ids=str)
def test_results_are_the_same_to_the_bit_whatever_is_fetched(
    shape: tuple[int, int, int], level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, inner, units = shape
    rng = numpy.random.default_rng(5)
    values = [rng.standard_normal(s).astype("float32") for s in ((rows, inner), (units, inner), (units,))]
    found = set()
    for fetch in (0, 1, 4):
        monkeypatch.setattr(products, "_fetching", lambda tile, _, n=fetch: replace(tile, fetch=n))
        found.add(Native(layer(*shape), level)(*values)[0].tobytes())
    assert len(found) == 1
