"""The recipes of CONTRIBUTING.md work as written."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import numpy
import pytest
from documents import blocks
from graphs import graph
from stages import native_meaning, same_effect

import blockfuse
from blockfuse import np
from blockfuse.codegen.cpu.native import isa
from blockfuse.codegen.cpu.source import render
from blockfuse.codegen.cpu.source.meaning import source_meaning
from blockfuse.codegen.kernels.kernel import Access
from blockfuse.codegen.meaning import kernels as meaning
from blockfuse.codegen.meaning.memory import Address, given, unwritten
from blockfuse.ir.operator import TABLE
from blockfuse.ir.passes.simplify import RULES, simplify
from blockfuse.ir.verify import verify
from blockfuse.nn.optimizers import create, get_updater
from blockfuse.nn.optimizers.optimizer import REGISTRY


@pytest.fixture(scope="module")
def recipes() -> Iterator[dict[str, Any]]:
    """The names that the code blocks define, run in order."""
    rows = set(TABLE)
    names: dict[str, Any] = {"__name__": "recipes"}
    for code in blocks("CONTRIBUTING.md", "python"):
        exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    yield names
    for name in TABLE.keys() - rows:
        del TABLE[name]
    del REGISTRY["lion"]


def test_operator_computes_compiled_and_eager(recipes: dict[str, Any]) -> None:
    cube = recipes["np_cube"]
    call = blockfuse.hybridize(lambda x: cube(x) + 1)
    x = np.array([[1.0, -2.0, 3.0]])
    for _ in range(3):
        assert call(x).asnumpy().tolist() == [[2, -7, 28]]
    assert "kernel cube_add" in call.explain()


def test_operator_is_tested_by_its_row(recipes: dict[str, Any]) -> None:
    row = recipes["cube"]
    assert row is TABLE["cube"]
    assert row.examples
    numpy.testing.assert_array_equal(row.meaning(numpy.arange(3.0)), [0, 1, 8])


def test_pass_and_rule_rewrite(recipes: dict[str, Any]) -> None:
    before = graph(lambda x: x * x, x="float32[3]")
    assert verify(recipes["use_square"](before)).text().split("\n")[1] == "  %0 = square(x): float32[3]"
    operator, attempt = recipes["times_itself"]
    assert operator not in RULES or attempt not in RULES[operator]
    assert attempt(before.outputs[0]).operator is recipes["square"]
    assert simplify(before) == before


@pytest.fixture
def joined(recipes: dict[str, Any]) -> Iterator[type]:
    """The class of the recipe, while the tables have it."""
    kind = recipes["RunningSumKernel"]
    with (
        patch.dict(meaning._MEANING, {kind: recipes["running_sum_meaning"]}),
        patch.dict(render._SOURCE, {kind: recipes["running_sum_source"]}),
    ):
        yield kind


@pytest.mark.parametrize("rows", [(0, 3), (1, 2)])
def test_kernel_class_does_what_it_means(joined: type, rows: tuple[int, int]) -> None:
    x = numpy.array([[1, 2, 3, 4], [1, 1, 1, 1], [5, -5, 5, -5]], "float32")
    kernel = joined("running_sum", Access("out", "float32", (4, 1)), 4, Access("x0", "float32", (4, 1)))
    for kernels in (source_meaning, native_meaning(isa.machine())):
        addresses = {"x0": Address(given(x)), "out": Address(unwritten(x.size, "float32"))}
        assert same_effect(kernel, addresses, *rows, kernels, 0.0)
        out = addresses["out"].memory.flat.reshape(x.shape)
        numpy.testing.assert_array_equal(out[slice(*rows)], x.cumsum(axis=1)[slice(*rows)])


def test_kernel_class_answers_for_itself(recipes: dict[str, Any]) -> None:
    kernel = recipes["RunningSumKernel"](
        "running_sum", Access("out", "float32", (4, 1)), 4, Access("x0", "float32", (1, 3))
    )
    assert kernel.pointers == (("x0", "float32"), ("out", "float32"))
    assert [reach for (reach,) in kernel.reaches()] == [(1, 0, 9), (4, 0, 3)]


def test_layer_learns_its_shape_and_compiles(recipes: dict[str, Any]) -> None:
    net = recipes["Scale"]()
    net.initialize()
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    net(x)
    net.gain.data()[:] = np.array([2.0, 3.0])
    net.hybridize()
    for _ in range(3):
        assert net(x).asnumpy().tolist() == [[2, 6], [6, 12]]
    assert "1 kernel" in net.explain()


def test_optimizer_is_known_by_its_name(recipes: dict[str, Any]) -> None:
    lion = create("lion", learning_rate=0.5, wd=0.5)
    assert type(lion) is recipes["Lion"]
    weight = np.array([2.0, -2.0])
    get_updater(lion)(0, np.array([3.0, 3.0]), weight)
    assert weight.asnumpy().tolist() == [1, -2]
