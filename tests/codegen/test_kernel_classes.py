"""Whoever asks by the class of a kernel, or of a lowering, knows every class."""

import inspect

import pytest

from blockfuse.codegen.cpu.source import render as cpu
from blockfuse.codegen.cuda import render as cuda
from blockfuse.codegen.cuda.program import region_choice
from blockfuse.codegen.kernels.kernel import Access, Index, Kernel, Reach
from blockfuse.codegen.kernels.loop_kernels import DrawKernel, FlatKernel, MapKernel
from blockfuse.codegen.kernels.product_kernels import ChainKernel
from blockfuse.codegen.meaning import kernels as meaning
from blockfuse.ir import lowering
from blockfuse.ir.batch_items import _ROWS
from blockfuse.ir.lowering import Lowering

# those of recipes and tests aside
KERNELS = {kernel for kernel in Kernel.__subclasses__() if kernel.__module__.startswith("blockfuse.")}
TABLES = {
    "source for a device": cuda._SOURCE,
    "meaning": meaning._MEANING,
    "time of a block of threads": region_choice._NANOSECONDS,
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_every_class_of_kernels(name: str) -> None:
    merged = {FlatKernel} if name == "source for a device" else set()  # it runs one kernel for each group
    assert set(TABLES[name]) == KERNELS - merged


def test_the_processor_has_source_for_all_but_chains() -> None:
    assert set(cpu._SOURCE) == KERNELS - {ChainKernel}


def test_what_no_graph_computes_has_no_rows_of_a_batch() -> None:
    """Composites are expanded before; of random numbers, calls of NumPy and packed weights nobody knows any."""
    classes = [c for _, c in inspect.getmembers(lowering, inspect.isclass) if issubclass(c, Lowering)]
    without = {c.__name__ for c in classes} - {c.__name__ for c in _ROWS} - {"Lowering"}
    assert without == {"Composite", "Drawing", "Fused", "Host", "Leaf", "Movement", "Packing"}


def test_a_kernel_says_what_a_row_touches() -> None:
    table = Access("x0", "float32", (0, 1), (Index("x1", 9, 5),))
    loads = (table, Access("x1", "int32", (1, 0)), Access("x2", "float32", (5, -1)))
    kernel = MapKernel("take", Access("out", "float32", (5, 1)), (5,), loads, (), "x0")
    assert kernel.reaches() == [
        [Reach(0, 0, 0)],
        [Reach(1, 0, 0)],
        [Reach(5, -4, 0)],
        [Reach(0, 0, 0)],
        [Reach(5, 0, 4)],
    ]
    assert [name for name, _ in kernel.pointers] == ["x0", "x1", "x2", "fault", "out"]
    assert kernel.tables == (0,)


def test_words_of_a_piece_are_no_rows_of_the_result() -> None:
    piece, out = Access("x0", "uint64", ()), Access("out", "float64", (1,))
    assert DrawKernel("draw", out, piece, "t0", "float64", (), "t0").reaches() is None
