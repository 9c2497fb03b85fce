"""Who computes a product: kernels of ours, always exact, or cuBLASLt, where it is installed and large products gain by it.

NOTE [what the library does of an epilogue]
It adds the bias, and applies ReLU if that is all that follows. Any other epilogue is a kernel of ours behind it, which reads
the sums from scratch memory. A product that the library refuses is ours after all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from blockfuse.codegen.cuda.products.cublas import (
    BIAS,
    COMPUTE,
    DEFAULT,
    RELU,
    Addresses,
    CublasError,
    CublasLt,
    Matrix,
    Prepared,
    Product,
)
from blockfuse.codegen.cuda.products.product_source import finishing_source, render_product
from blockfuse.codegen.cuda.products.tile_choice import OPEN_ROWS
from blockfuse.codegen.cuda.source.device_source import DeviceSource
from blockfuse.codegen.kernels.expression import Expression, Name
from blockfuse.codegen.kernels.product_kernels import ProductKernel

# Precision of float32 operands -> how many multiplications a product has at least that the library computes faster. Below,
# a product takes a few microseconds either way, and ours needs no second kernel for its epilogue.
MIN_MULTIPLICATIONS = {"float32": 2**27, "tf32": 2**25, "bf16": 2**25}
assert MIN_MULTIPLICATIONS.keys() == COMPUTE.keys()


class Loaded(Protocol):
    """A kernel on the device. scratch: bytes that it needs for each row, behind its other pointers."""

    @property
    def scratch(self) -> int: ...

    def launch(self, target: Any, addresses: Sequence[int], rows: int) -> None:
        """Into a stream, or into a graph that is being built."""


class Memory(Protocol):
    @property
    def address(self) -> int: ...


def loaded_product(
    kernel: ProductKernel,
    source: DeviceSource,
    precision: str,
    library: CublasLt | None,
    load: Callable[[DeviceSource], Loaded],
    allocate: Callable[[int], Memory],
) -> Loaded:
    """A product, by whom it suits.

    source: of our kernel. load: compiles and loads a source. allocate: memory that lives as long as its object.
    """
    if library is None or not suits_library(kernel, precision):
        return load(source)
    return LibraryProduct(kernel, precision, library, load, allocate)


def suits_library(kernel: ProductKernel, precision: str) -> bool:
    """Whether the library can take a product as it lies, and gains time by it."""
    one_panel = kernel.block.panel >= kernel.units
    forwards = kernel.left.strides[-1] >= kernel.inner or kernel.height == 1
    stacked = not kernel.batched or kernel.left.strides[0] >= 0
    multiplications = (kernel.height or OPEN_ROWS) * kernel.inner * kernel.units
    return one_panel and forwards and stacked and multiplications >= MIN_MULTIPLICATIONS[precision]


class LibraryProduct:
    """A product by the library, with what of its epilogue is left; see NOTE [what the library does of an epilogue]."""

    def __init__(
        self,
        kernel: ProductKernel,
        precision: str,
        library: CublasLt,
        load: Callable[[DeviceSource], Loaded],
        allocate: Callable[[int], Memory],
    ) -> None:
        self._kernel, self._precision, self._library = kernel, precision, library
        self._load, self._allocate = load, allocate
        self._fused = _fused(kernel)
        self._rest = None if self._fused else load(finishing_source(kernel))
        self._prepared: Prepared | None = None  # of the last launch
        # size -> memory, of growing size; a graph goes on using the one that it was made with
        self._workspaces: list[tuple[int, Memory]] = []
        self._ours: Loaded | None = None

    @property
    def scratch(self) -> int:
        return self._rest.scratch if self._rest else 0

    def launch(self, target: Any, addresses: Sequence[int], rows: int) -> None:
        """A graph is built after a first launch at the same addresses, so nothing is prepared or allocated meanwhile."""
        try:
            prepared = self._preparation(addresses, rows)
        except CublasError:
            self._without_library().launch(target, self._of_kernel(addresses), rows)
            return
        stream = int(getattr(target, "stream", target).handle)  # a graph is captured from a stream of its own
        self._library.run(prepared, self._workspace(prepared.workspace), stream)
        if self._rest:
            self._rest.launch(target, addresses, rows)

    def _preparation(self, addresses: Sequence[int], rows: int) -> Prepared:
        if self._ours:
            raise CublasError("the library has refused this product")
        product = library_product(self._kernel, self._precision, rows)
        operands = self._operands(addresses)
        known = self._prepared
        if known is None or (product, operands) != (known.product, known.addresses):
            known = self._prepared = self._library.prepared(product, operands)
        return known

    def _workspace(self, nbytes: int) -> int:
        """The address of so many bytes at least."""
        if not self._workspaces or self._workspaces[-1][0] < nbytes:
            self._workspaces.append((nbytes, self._allocate(max(nbytes, 1))))
        return self._workspaces[-1][1].address

    def _operands(self, addresses: Sequence[int]) -> Addresses:
        kernel = self._kernel
        of = dict(zip((*kernel.operands, "out", "scratch"), addresses, strict=False))
        bias = of[kernel.bias.name] if kernel.bias else 0
        return Addresses(
            of[kernel.left.name], of[kernel.right.name], of["scratch" if self._rest else "out"], bias
        )

    def _of_kernel(self, addresses: Sequence[int]) -> Sequence[int]:
        return addresses[: len(self._kernel.pointers)]

    def _without_library(self) -> Loaded:
        """A kernel of ours that needs no scratch memory, since there may be none."""
        if self._ours is None:
            whole = replace(self._kernel, cut=replace(self._kernel.block, splits=1))
            self._ours = self._load(render_product(whole))
        return self._ours


def library_product(kernel: ProductKernel, precision: str, rows: int) -> Product:
    """What the library is told of a launch over so many rows, or matrices."""
    height, units, line = kernel.height if kernel.batched else rows, kernel.units, kernel.block.panel
    *left_step, left_line = kernel.left.strides
    steps = (left_step[0], kernel.right.strides[0], height * units) if kernel.batched else (0, 0, 0)
    bias = BIAS if kernel.bias else 0
    return Product(
        kernel.dtype,
        precision,
        Matrix(height, kernel.inner, max(left_line, kernel.inner), steps[0]),
        Matrix(kernel.inner, units, line, steps[1]),
        Matrix(height, units, units, steps[2]),
        rows if kernel.batched else 1,
        (bias | (RELU if kernel.body and _fused(kernel) else 0)) or DEFAULT,
    )


def _fused(kernel: ProductKernel) -> bool:
    """Whether the library does the whole epilogue."""
    if kernel.store.dtype != kernel.dtype or kernel.loads:
        return False
    relu = Expression("relu({0})", (Name(kernel.accumulator),))
    return [statement.expression for statement in kernel.body] in ([], [relu])
