"""How fast a device computes products: every block of threads that one may get, and cuBLASLt, at the same shapes.

``codegen/cuda/products/tile_choice.py`` estimates these times; this is what its numbers are to be compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy

from blockfuse.codegen.cuda.products.cublas import CublasLt
from blockfuse.codegen.cuda.products.product_source import render_product
from blockfuse.codegen.cuda.products.providers import LibraryProduct
from blockfuse.codegen.cuda.products.tile_choice import candidates, choose_tile, cycles
from blockfuse.codegen.cuda.source.device_source import DeviceSource
from blockfuse.codegen.kernels.expression import Expression, Name
from blockfuse.codegen.kernels.kernel import Access, Statement
from blockfuse.codegen.kernels.machine import ProductShape
from blockfuse.codegen.kernels.product_cuts import BlockTile
from blockfuse.codegen.kernels.product_kernels import ProductKernel

# (rows, inner, units): the products of the nets that issue 5 measures, and squares.
SHAPES = (
    (64, 784, 512),
    (64, 512, 256),
    (64, 256, 10),
    (1, 1024, 1024),
    (4096, 1024, 4096),
    (4096, 4096, 4096),
    (4096, 4096, 1024),
    (512, 512, 512),
    (1024, 1024, 1024),
    (2048, 2048, 2048),
)


class Queue(Protocol):
    """What is asked of a device: ``blockfuse.codegen.cuda.device.device.Queue`` has it."""

    def allocate(self, nbytes: int) -> Any: ...
    def upload(self, target: int, source: numpy.ndarray) -> None: ...
    def download(self, target: numpy.ndarray, source: int) -> None: ...
    def launch(self, kernel: Any, addresses: Sequence[int], rows: int) -> None: ...
    def finish(self) -> None: ...


Load = Callable[[DeviceSource], Any]
Timed = Callable[
    [Callable[[], None], Callable[[], None]], float
]  # microseconds of a call, and what waits for it


@dataclass(frozen=True)
class ProductTime:
    """Dense with bias and ReLU."""

    shape: tuple[int, int, int]  # rows, inner, units
    by: str  # a block, or the library's precision
    microseconds: float
    relative: float  # error over the largest element
    estimate: float | None = None  # cycles, for a block
    chosen: bool = False  # whether a program would take it

    @property
    def teraflops(self) -> float:
        rows, inner, units = self.shape
        return 2e-6 * rows * inner * units / self.microseconds


def product_times(
    shape: tuple[int, int, int],
    load: Load,
    queue: Queue,
    timed: Timed,
    library: CublasLt | None = None,
    multiprocessors: int = 132,
) -> list[ProductTime]:
    """Every block and every precision of the library, each checked against float64 over a result that held NaN."""
    rows, inner, units = shape
    wanted = ProductShape(1, rows, inner, units, -(-units // 4) * 4, "float32")
    case = _Case(shape, queue)
    times = []
    for block in candidates(wanted):
        found = case.measured(load(render_product(_kernel(shape, block))), timed)
        estimate, chosen = (
            cycles(block, wanted, multiprocessors),
            block == choose_tile(wanted, multiprocessors),
        )
        times.append(ProductTime(shape, _name(block), *found, estimate, chosen))
    for precision in ("float32", "tf32", "bf16") if library else ():
        assert library is not None
        kernel = _kernel(shape, choose_tile(wanted, multiprocessors))
        run = LibraryProduct(kernel, precision, library, load, queue.allocate)
        times.append(ProductTime(shape, f"cublaslt {precision}", *case.measured(run, timed)))
    return times


def _name(block: BlockTile) -> str:
    sliced = f" sliced {block.slices}" if block.slices else f" by {block.height}x{block.width}"
    return f"{block.rows}x{block.columns}{sliced}" + (f" split {block.splits}" if block.splits > 1 else "")


def _kernel(shape: tuple[int, int, int], block: BlockTile) -> ProductKernel:
    rows, inner, units = shape
    return ProductKernel(
        name="dense_relu",
        dtype="float32",
        height=rows,
        inner=inner,
        units=units,
        left=Access("x0", "float32", (inner,)),
        right=Access("x1", "float32", ()),
        bias=Access("x2", "float32", ()),
        accumulator="t0",
        loads=(),
        operands=("x0", "x1", "x2"),
        body=(Statement("t1", "float32", Expression("relu({0})", (Name("t0"),))),),
        store=Access("out", "float32", (units, 1)),
        result="t1",
        cut=replace(block, panel=-(-units // 4) * 4),
    )


class _Case:
    """Operands on the device, and the result in float64."""

    def __init__(self, shape: tuple[int, int, int], queue: Queue) -> None:
        self.rows, inner, units = shape
        self.queue = queue
        draw = numpy.random.default_rng(7)
        x, weight, bias = (
            draw.uniform(-1, 1, s).astype("float32") for s in ((self.rows, inner), (inner, units), units)
        )
        self.wanted = numpy.maximum(x.astype("float64") @ weight + bias, 0)
        packed = numpy.pad(weight, ((0, 0), (0, -units % 4)))
        self.poison = numpy.full((self.rows, units), numpy.nan, "float32")
        self.held = [self._put(a) for a in (x, packed, bias, self.poison)]

    def _put(self, array: numpy.ndarray) -> Any:
        memory = self.queue.allocate(array.nbytes)
        self.queue.upload(memory.address, array)
        self.queue.finish()
        return memory

    def measured(self, kernel: Any, timed: Timed) -> tuple[float, float]:
        """Microseconds of a launch, and the error of its result."""
        scratch = self.queue.allocate(kernel.scratch * self.rows) if kernel.scratch else None
        addresses = [memory.address for memory in (*self.held, *([scratch] if scratch else []))]
        self.queue.upload(self.held[-1].address, self.poison)
        self.queue.launch(kernel, addresses, self.rows)
        found = numpy.empty_like(self.poison)
        self.queue.download(found, self.held[-1].address)
        self.queue.finish()
        relative = float(numpy.abs(found - self.wanted).max() / numpy.abs(self.wanted).max())
        return timed(lambda: self.queue.launch(kernel, addresses, self.rows), self.queue.finish), relative
