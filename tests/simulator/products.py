"""Products on a simulated device against float64; ``tests/codegen/test_cuda_simulator.py`` starts this file."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy
import pytest
from graphs import graph, meant

from blockfuse.codegen.compile import compile_flow
from blockfuse.codegen.cuda.device.kernel_simulator import Pointer, run
from blockfuse.codegen.cuda.products.chains import with_whole_nets
from blockfuse.codegen.cuda.products.product_source import finishing_source
from blockfuse.codegen.cuda.products.tile_choice import FLOAT32_SHAPES, FLOAT64_SHAPES, Shape
from blockfuse.codegen.cuda.render import render
from blockfuse.codegen.kernels.machine import Machine, ProductShape
from blockfuse.codegen.kernels.product_cuts import BlockTile
from blockfuse.codegen.scheduling.buffers import BufferKind
from blockfuse.codegen.scheduling.schedule import Schedule
from blockfuse.codegen.scheduling.steps import Launch
from blockfuse.ir.graph import Graph, argument
from blockfuse.ir.operators import movement, neural, pointwise
from blockfuse.ir.operators.contractions import dense, matmul
from blockfuse.ir.types import tensor
from blockfuse.ir.verify import verify

# Small blocks in every arrangement: one warp and several, one piece for each thread and several, lower than a piece.
LOW = BlockTile(8, 16, 0, height=2, width=4, depth=4)
SQUARE = BlockTile(16, 16, 0, height=4, width=4, depth=4)
TALL = BlockTile(16, 32, 0, height=8, width=8, depth=8)
WIDE = BlockTile(8, 64, 0, height=4, width=4, depth=8)
FEW = BlockTile(3, 8, 0, height=3, width=4, depth=1, slices=4)
SLICED = BlockTile(4, 16, 0, height=4, width=4, depth=1, slices=4)


class Products:
    """The kernels of a graph with parameters, its products cut into given blocks, on a simulated device."""

    def __init__(
        self, recorded: Graph, block: BlockTile, vector_bytes: int = 0, batch: int = 0, whole: bool = False
    ) -> None:
        def block_tile(product: ProductShape) -> BlockTile:
            return replace(block, panel=product.panel)

        machine = Machine(
            vector_bytes, accumulators=0, features="", name="sim", block_tile=block_tile, writes_updates=False
        )
        self.compiled = compile_flow(recorded, machine, check=verify, batch=batch)
        self.schedule: Schedule = self.compiled.schedule
        if whole:
            self.schedule = with_whole_nets(self.schedule, rows=3, threads=20)

    def __call__(self, *values: numpy.ndarray, rows: int = 0, wide: bool = True) -> numpy.ndarray:
        memory = self._memory(values)
        for step in self.schedule.steps:
            assert isinstance(step, Launch), step
            source = render(step.kernel, 32, wide)
            pointers = [Pointer(_bytes(memory[p.buffer]), p.offset) for p in step.pointers]
            if source.scratch:
                nbytes = (rows or step.rows) * source.scratch
                pointers.append(Pointer(numpy.full(nbytes, 0xFF, "uint8").view(source.scratch_dtype)))
            run(source, pointers, rows or step.rows)
        (number,) = (n for n, b in enumerate(self.schedule.buffers) if b.kind is BufferKind.RESULT)
        return memory[number].reshape(self.schedule.buffers[number].type.shape)

    def _memory(self, values: tuple[numpy.ndarray, ...]) -> list[numpy.ndarray]:
        """Inputs and parameters; everything else is poisoned."""
        inputs = self.compiled.recorded.inputs
        known = dict(zip((i.attrs["name"] for i in inputs), values, strict=True))
        parameters = self.compiled.parameters(known)
        arguments = [known[i.attrs["name"]] for i in inputs if i.operator is argument]
        memory = []
        for buffer in self.schedule.buffers:
            if buffer.kind is BufferKind.ARGUMENT:
                memory.append(arguments[buffer.number].ravel())
            elif buffer.kind is BufferKind.PARAMETER:
                memory.append(parameters[buffer.number].ravel())
            else:
                memory.append(numpy.full(buffer.type.nbytes, 0xFF, "uint8").view(buffer.type.dtype))
        return memory


def _bytes(array: numpy.ndarray) -> numpy.ndarray:
    """Memory as a kernel has it: bools are bytes."""
    return array.view("uint8") if array.dtype == bool else array


def random(*shape: int, dtype: str = "float32") -> numpy.ndarray:
    rng = numpy.random.default_rng([*shape])
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    return rng.uniform(-1, 1, shape).astype(dtype)


def recorded_for(function: Callable[..., Any], values: list[numpy.ndarray], parameters: str) -> Graph:
    return graph(function, parameters, **{f"x{n}": tensor(v.shape, v.dtype) for n, v in enumerate(values)})


def assert_product(
    function: Callable[..., Any],
    values: list[numpy.ndarray],
    block: BlockTile,
    parameters: str = "x1 x2",
    vector_bytes: int = 0,
) -> Products:
    """As near to float64 as a sum of so many terms in the dtype is."""
    recorded = recorded_for(function, values, parameters)
    wide = [v.astype("float64") if v.dtype == numpy.float32 else v for v in values]
    ((wanted,), (plain,)) = meant(recorded, wide), meant(recorded, values)
    program = Products(recorded, block, vector_bytes)
    found = program(*values)
    assert (found.shape, found.dtype) == (plain.shape, plain.dtype)
    numpy.testing.assert_allclose(found, wanted.astype(plain.dtype), rtol=1e-5, atol=1e-5)
    return program


def dense_relu(x: Any, weight: Any, bias: Any) -> Any:
    return neural.relu(dense(x, weight, bias))


def operands(rows: int, inner: int, units: int, dtype: str = "float32") -> list[numpy.ndarray]:
    return [random(rows, inner, dtype=dtype), random(units, inner, dtype=dtype), random(units, dtype=dtype)]


# -- shapes ----------------------------------------------------------------------------------------------------

SIZES = [
    (LOW, (19, 13, 21)),
    (LOW, (8, 8, 16)),
    (LOW, (1, 1, 1)),
    (SQUARE, (17, 9, 20)),
    (TALL, (20, 24, 37)),
    (WIDE, (9, 17, 70)),
    (FEW, (3, 37, 21)),
    (FEW, (1, 1, 1)),
    (SLICED, (10, 70, 18)),
    (SLICED, (4, 64, 16)),
]


@pytest.mark.parametrize(("block", "shape"), SIZES)
def test_tiles_and_slices_end_where_the_product_ends(block: BlockTile, shape: tuple[int, int, int]) -> None:
    assert_product(dense_relu, operands(*shape), block)


@pytest.mark.parametrize("tile", [*FLOAT32_SHAPES, *FLOAT64_SHAPES], ids=lambda s: f"{s.rows}x{s.columns}")
def test_the_tiles_of_real_devices_reach_every_element(tile: Shape) -> None:
    block = BlockTile(tile.rows, tile.columns, 0, tile.height, tile.width, tile.depth)
    dtype = "float32" if tile in FLOAT32_SHAPES else "float64"
    assert_product(dense_relu, operands(tile.rows - 1, 4, tile.columns - 2, dtype), block)


@pytest.mark.parametrize("block", [SQUARE, TALL, SLICED, replace(SLICED, splits=2)], ids=str)
@pytest.mark.parametrize("inner", [8, 36])
def test_rows_are_read_in_fours_where_they_lie_so(block: BlockTile, inner: int) -> None:
    values = operands(13, inner, 18)
    program = Products(recorded_for(dense_relu, values, "x1 x2"), block)
    (launch,) = program.schedule.steps
    wide, narrow = render(launch.kernel, 32, True), render(launch.kernel, 32, False)
    assert ("ldv4(x0" in wide.text, "ldv4(x0" in narrow.text) == (True, False)
    assert (wide.wide, narrow.wide) == (True, False)
    assert program(*values).tobytes() == program(*values, wide=False).tobytes()


@pytest.mark.parametrize("block", [LOW, SLICED])
def test_a_weight_may_lie_in_panels(block: BlockTile) -> None:
    assert_product(dense_relu, operands(9, 13, 37), block, vector_bytes=16)


@pytest.mark.parametrize(
    ("block", "shape"), [(SQUARE, (17, 37, 20)), (LOW, (5, 30, 7)), (SLICED, (7, 100, 18))]
)
@pytest.mark.parametrize("splits", [2, 3])
def test_splits_are_added_up(block: BlockTile, shape: tuple[int, int, int], splits: int) -> None:
    program = assert_product(dense_relu, operands(*shape), replace(block, splits=splits))
    (launch,) = program.schedule.steps
    assert len(render(launch.kernel).stages) == 2


def test_splits_of_float64_are_added_up() -> None:
    assert_product(dense_relu, operands(9, 37, 10, dtype="float64"), replace(LOW, splits=2))


@pytest.mark.parametrize("block", [replace(SQUARE, splits=2), SLICED])
def test_the_same_operands_give_the_same_bits(block: BlockTile) -> None:
    values = operands(9, 40, 10)
    program = Products(recorded_for(dense_relu, values, "x1 x2"), block)
    first = program(*values).tobytes()
    assert all(program(*values).tobytes() == first for _ in range(3))


def test_one_source_does_for_any_number_of_rows() -> None:
    values = operands(20, 9, 10)
    program = Products(recorded_for(dense_relu, values, "x1 x2"), SQUARE, batch=10)
    (launch,) = program.schedule.steps
    assert launch.kernel.height == 0
    wanted = numpy.maximum(values[0] @ values[1].T + values[2], 0)
    for rows in (1, 16, 19):
        found = program(*values, rows=rows)
        numpy.testing.assert_allclose(found[:rows], wanted[:rows], rtol=1e-5, atol=1e-5)
        assert numpy.isnan(found[rows:]).all()


@pytest.mark.parametrize("block", [LOW, FEW])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_stacks_of_matrices(block: BlockTile, dtype: str) -> None:
    values = [random(3, 3, 15, dtype=dtype), random(3, 15, 18, dtype=dtype)]
    assert_product(lambda x, w: matmul(x, w) * 0.5, values, block, "x1")


def test_a_weight_that_is_no_parameter_is_packed_on_the_device() -> None:
    assert_product(matmul, [random(5, 15), random(15, 18)], LOW, "")
    assert_product(matmul, [random(2, 5, 7), random(2, 7, 9)], FEW, "")


def test_one_weight_does_for_a_stack_and_one_matrix_for_a_stack_of_weights() -> None:
    assert_product(matmul, [random(3, 3, 15), random(15, 18)], LOW, "x1")
    assert_product(matmul, [random(3, 15), random(3, 15, 18)], LOW, "x1")


def test_rows_may_lie_backwards_or_apart() -> None:
    values = [random(11, 12), random(10, 6)]

    def apart(x: Any, weight: Any) -> Any:
        return dense(movement.get_item(x, index=(("slice", 10, -1, -2), ("slice", 3, 9, 1))), weight)

    assert_product(apart, values, LOW, "x1")
    assert_product(apart, values, FEW, "x1")


# -- epilogues -------------------------------------------------------------------------------------------------

EPILOGUES: dict[str, tuple[Callable[[Any, Any], Any], tuple[int, ...], str]] = {
    "residual": (lambda y, z: y * 2 + z, (11, 10), "float32"),
    "column": (lambda y, z: y - z, (11, 1), "float32"),
    "mask": (lambda y, z: pointwise.where(z, y, -1), (11, 10), "bool"),
    "comparison": (pointwise.greater, (10,), "float32"),
    "to float64": (lambda y, z: pointwise.cast(y + z, dtype="float64"), (10,), "float32"),
    "to int32": (lambda y, z: pointwise.cast(y * 100 + z, dtype="int32"), (10,), "float32"),
    "tanh": (lambda y, z: pointwise.tanh(y) * z, (11, 10), "float32"),
}


@pytest.mark.parametrize("name", EPILOGUES)
@pytest.mark.parametrize("block", [LOW, SLICED, replace(LOW, splits=2)], ids=["tile", "slices", "splits"])
def test_epilogues(name: str, block: BlockTile) -> None:
    function, shape, dtype = EPILOGUES[name]
    values = [random(11, 9), random(10, 9), random(*shape, dtype=dtype)]
    assert_product(lambda x, w, z: function(dense(x, w), z), values, block, "x1")


@pytest.mark.parametrize("units", [12, 10])
def test_what_lies_beyond_the_operands_is_never_multiplied(units: int) -> None:
    """Rows, columns and steps beyond the edge are read from the memory around: a nan there must not reach a sum."""
    x = numpy.full((9, 16), numpy.nan, "float32")
    x[:, :5] = random(9, 5)
    values = [x, random(units, 5)]
    assert_product(
        lambda x, w: dense(movement.get_item(x, index=(("slice", 0, 9, 1), ("slice", 0, 5, 1))), w),
        values,
        LOW,
        "x1",
    )


# -- whole nets ------------------------------------------------------------------------------------------------


def _net(x: Any, first: Any, bias: Any, second: Any, z: Any, third: Any) -> Any:
    hidden = pointwise.tanh(dense(neural.relu(dense(x, first, bias)), second) + z)
    return pointwise.greater(dense(hidden, third), 0.1)


@pytest.mark.parametrize("rows", [1, 7, 9])
@pytest.mark.parametrize("widths", [(5, 12, 8, 3), (20, 33, 18, 4), (8, 1, 2, 40)], ids=str)
def test_a_narrow_net_is_one_launch(rows: int, widths: tuple[int, ...]) -> None:
    inputs, one, two, outputs = widths
    shapes = (rows, inputs), (one, inputs), (one,), (two, one), (rows, two), (outputs, two)
    values = [random(*shape) for shape in shapes]
    program = Products(recorded_for(_net, values, "x1 x2 x3 x5"), LOW, whole=True)
    (launch,) = program.schedule.steps
    assert len(launch.kernel.layers) == 3
    x, first, bias, second, z, third = (v.astype("float64") for v in values)
    wanted = numpy.tanh(numpy.maximum(x @ first.T + bias, 0) @ second.T + z) @ third.T
    close = numpy.abs(wanted - 0.1) < 1e-5
    numpy.testing.assert_array_equal((program(*values) == 1) | close, (wanted > 0.1) | close)


# -- behind a library ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stacked", [False, True])
def test_the_rest_of_an_epilogue_reads_the_sums_of_a_library(stacked: bool) -> None:
    values = [random(3, 5, 7), random(3, 7, 10)] if stacked else [random(11, 7), random(7, 10)]
    recorded = recorded_for(lambda x, w: pointwise.tanh(matmul(x, w)) * 2, values, "x1")
    launch = Products(recorded, LOW).schedule.steps[0]
    sums = numpy.matmul(*values)
    source = finishing_source(launch.kernel)
    assert source.scratch * launch.rows == sums.nbytes
    out = numpy.full(sums.size, numpy.nan, "float32")
    unread = Pointer(numpy.zeros(0, "float32"))
    run(source, [unread, unread, Pointer(out), Pointer(sums.ravel())], launch.rows)
    numpy.testing.assert_allclose(out.reshape(sums.shape), numpy.tanh(sums) * 2, rtol=1e-5)
