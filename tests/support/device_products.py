"""Product kernels written by hand, for tests of what a device gets."""

from dataclasses import replace

from written import statement

from blockfuse.codegen.kernels.kernel import Access, Statement
from blockfuse.codegen.kernels.product_cuts import BlockTile
from blockfuse.codegen.kernels.product_kernels import ProductKernel

MAIN = BlockTile(128, 128, 0, height=8, width=8, depth=8)
RELU = (statement("t1", "float32", "relu(t0)"),)


def product(
    height: int,
    inner: int,
    units: int,
    block: BlockTile,
    dtype: str = "float32",
    body: tuple[Statement, ...] = (),
    loads: tuple[Access, ...] = (),
) -> ProductKernel:
    """``dense`` with a bias, a weight of one panel, and an epilogue of statements over ``t0`` and loads."""
    return ProductKernel(
        name="dense",
        dtype=dtype,
        height=height,
        inner=inner,
        units=units,
        left=Access("x0", dtype, (inner,)),
        right=Access("x1", dtype, ()),
        bias=Access("x2", dtype, ()),
        accumulator="t0",
        loads=loads,
        operands=("x0", "x1", "x2", *(a.name for a in loads)),
        body=body,
        store=Access("out", dtype, (units, 1)),
        result=body[-1].name if body else "t0",
        cut=replace(block, panel=-(-units // 4) * 4),
    )


def split(block: BlockTile, splits: int) -> BlockTile:
    return replace(block, splits=splits)
