"""Each pass by the text of a small graph before and after."""

from collections.abc import Callable
from dataclasses import replace
from textwrap import dedent
from typing import Any

import numpy
import pytest
from graphs import graph, meant, typed

from blockfuse.ir.builder import Symbol, node_of
from blockfuse.ir.graph import Graph, Source, captured, graph_of, leaf, literal
from blockfuse.ir.lowering import Composite, Fused, Gather, Movement
from blockfuse.ir.operator import TABLE
from blockfuse.ir.operators import (
    contractions,
    drawing,
    indexing,
    movement,
    neural,
    normalization,
    pointwise,
    reductions,
    sorting,
)
from blockfuse.ir.passes.dedupe import dedupe
from blockfuse.ir.passes.expand import expand_composites, expand_draws
from blockfuse.ir.passes.fold import fold_constants
from blockfuse.ir.passes.fuse import fuse
from blockfuse.ir.passes.hoist import hoist
from blockfuse.ir.passes.pipeline import draws_of, optimize, passes_before_hoisting, prune
from blockfuse.ir.passes.powers import multiply_out_powers
from blockfuse.ir.passes.products import pack_products
from blockfuse.ir.passes.recompute import recompute
from blockfuse.ir.passes.runs import split_reductions
from blockfuse.ir.passes.simplify import simplify
from blockfuse.ir.verify import verify

Pass = Callable[[Graph], Graph]


def pack(recorded: Graph) -> Graph:
    """``pack_products`` for vectors of 64 bytes."""
    return pack_products(recorded, vector_bytes=64)


def assert_becomes(transform: Pass, before: Graph, after: str) -> None:
    """The pass makes a well-formed graph of this text, and nothing more when it runs again."""
    result = verify(transform(before))
    assert result.text() == dedent(after).strip()
    assert verify(transform(result)) == result


def assert_stays(transform: Pass, recorded: Graph) -> None:
    assert transform(recorded).text() == recorded.text()


def constant(*values: float) -> Symbol:
    return Symbol(literal(list(values), "float32"))


def full(value: float) -> Any:
    return TABLE["full"](shape=(2, 3), value=value, dtype="float32")


# -- simplify --------------------------------------------------------------------------------------------------

x = y = "float32[2, 3]"


@pytest.mark.parametrize(
    ("function", "after"),
    [
        (lambda x: x * 1, "x"),
        (lambda x: 1 * x, "x"),
        (lambda x: x / 1, "x"),
        (lambda x: pointwise.negative(pointwise.negative(x)), "x"),
        (pointwise.positive, "x"),
        (lambda x: neural.relu(neural.relu(x)), "relu(x)"),
        (lambda x: pointwise.maximum(x, 0), "relu(x)"),
        (lambda x: pointwise.maximum(x, x), "x"),
        (lambda x: pointwise.absolute(pointwise.absolute(x)), "absolute(x)"),
        (lambda x: pointwise.cast(x, dtype="float32"), "x"),
        (lambda x: movement.broadcast_to(x, shape=(2, 3)), "x"),
        (lambda x: movement.reshape(x, shape=(2, 3)), "x"),
        (lambda x: movement.transpose(x, axes=(0, 1)), "x"),
        (lambda x: movement.transpose(movement.transpose(x, axes=(1, 0)), axes=(1, 0)), "x"),
        (lambda x: movement.squeeze(movement.expand_dims(x, axis=(0,)), axis=(0,)), "x"),
        (lambda x: neural.relu(pointwise.positive(x * 1)), "relu(x)"),
    ],
)
def test_simplify_applies_its_rules(function: Callable[[Any], Any], after: str) -> None:
    result = verify(simplify(graph(function, x=x)))
    assert len(result.nodes) == (0 if after == "x" else 1)
    assert after in result.text().replace("%0 = ", "").replace(": float32[2, 3]", "")


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + 0,  # -0.0 + 0 is 0.0
        lambda x: x - x,  # nan where x is nan or infinite
        lambda x: x * 0,
        lambda x: x / x,
        lambda x: pointwise.exp(pointwise.log(x)),
        lambda x: pointwise.maximum(x, 1),
        lambda x: pointwise.cast(x, dtype="float64"),
        lambda x: x * constant(1.0, 1.0, 1.0),  # one constant, not the number 1
        lambda x: movement.broadcast_to(x, shape=(4, 2, 3)),
        lambda x: movement.transpose(x, axes=(1, 0)),
    ],
)
def test_simplify_leaves_what_would_change_a_result(function: Callable[[Any], Any]) -> None:
    assert_stays(simplify, graph(function, x=x))


@pytest.mark.parametrize(
    "function",
    [lambda x: pointwise.maximum(0, x), lambda x: pointwise.maximum(x, -0.0)],
    ids=["swapped", "negative"],
)
def test_simplify_keeps_the_sign_of_zero(function: Callable[[Any], Any]) -> None:
    recorded = graph(function, x="float32[2]")
    value = numpy.array([-0.0, -1.0], "float32")
    before, after = meant(recorded, [value])[0], meant(simplify(recorded), [value])[0]
    numpy.testing.assert_array_equal(numpy.signbit(after), numpy.signbit(before))


@pytest.mark.parametrize(
    ("function", "after"),
    [
        (pointwise.multiply, "logical_and"),
        (pointwise.minimum, "logical_and"),
        (pointwise.add, "logical_or"),
        (pointwise.maximum, "logical_or"),
    ],
)
def test_simplify_makes_logic_of_arithmetic_with_bools(
    function: Callable[[Any, Any], Any], after: str
) -> None:
    recorded = graph(function, x="bool[4]", y="bool[4]")
    simpler = verify(simplify(recorded))
    assert [n.operator.name for n in simpler.nodes] == [after]
    values = [numpy.array([0, 0, 1, 1], bool), numpy.array([0, 1, 0, 1], bool)]
    numpy.testing.assert_array_equal(meant(simpler, values), meant(recorded, values), strict=True)
    assert_stays(simplify, graph(function, x="bool[4]", y="int8[4]"))


def test_simplify_leaves_out_parts_without_elements() -> None:
    def joined(x: Any, empty: Any, y: Any) -> Any:
        return movement.concatenate(x, empty, axis=0), movement.concatenate(empty, x, y, axis=0)

    recorded = graph(joined, x="float32[2, 3]", empty="float32[0, 3]", y="float32[1, 3]")
    alone, both = verify(simplify(recorded)).outputs
    assert alone.is_leaf
    assert [operand.shape for operand in both.operands] == [(2, 3), (1, 3)]
    wider = {"x": "float32[2, 3]", "empty": "float64[0, 3]", "y": "float32[1, 3]"}
    assert_stays(simplify, graph(joined, **wider))  # they decide the dtype


def test_simplify_makes_one_reshape_of_several() -> None:
    assert_becomes(
        simplify,
        graph(lambda x: movement.reshape(movement.expand_dims(x, axis=(1,)), shape=(3, 2)), x=x),
        """
        graph(x: float32[2, 3]):
          %0 = reshape(x, shape=(3, 2)): float32[3, 2]
          return %0
        """,
    )


def test_simplify_makes_one_transpose_of_two() -> None:
    def turned(x: Any) -> Any:
        return movement.transpose(movement.transpose(x, axes=(1, 2, 0)), axes=(0, 2, 1))

    assert_becomes(
        simplify,
        graph(turned, x="float32[2, 3, 4]"),
        """
        graph(x: float32[2, 3, 4]):
          %0 = transpose(x, axes=(1, 0, 2)): float32[3, 2, 4]
          return %0
        """,
    )


def test_simplify_drops_a_choice_between_equal_values() -> None:
    assert_becomes(
        simplify,
        graph(lambda c, x: pointwise.where(c, x, x), c="bool[2, 3]", x=x),
        """
        graph(c: bool[2, 3], x: float32[2, 3]):
          return x
        """,
    )
    wider = graph(lambda c, x: pointwise.where(c, x, x), c="bool[4, 2, 3]", x=x)
    assert_stays(simplify, wider)  # the choice also broadcasts


# -- expand_composites, pack_products, split_reductions ---------------------------------------------------------


def test_expand_composites_writes_softmax_out() -> None:
    assert_becomes(
        expand_composites,
        graph(lambda x: neural.softmax(x, axis=1), x=x),
        """
        graph(x: float32[2, 3]):
          %0 = max(x, axis=(1,), keepdims=True): float32[2, 1]
          %1 = subtract(x, %0): float32[2, 3]
          %2 = exp(%1): float32[2, 3]
          %3 = sum(%2, axis=(1,), keepdims=True): float32[2, 1]
          %4 = divide(%2, %3): float32[2, 3]
          return %4
        """,
    )


def test_expand_composites_goes_on_until_none_is_left() -> None:
    recorded = graph(lambda x: reductions.std(x, axis=(1,), keepdims=False, ddof=1), x=x)
    result = verify(expand_composites(recorded))
    assert not any(isinstance(n.operator.lowering, Composite) for n in result.nodes)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8"])
@pytest.mark.parametrize(("exponent", "products"), [(2, 1), (3, 2), (4, 2), (7, 4), (8, 3)])
def test_multiply_out_powers_squares_from_the_highest_bit(exponent: int, products: int, dtype: str) -> None:
    recorded = graph(lambda x: pointwise.power(x, exponent), x=f"{dtype}[5]")
    multiplied = verify(multiply_out_powers(recorded))
    assert [n.operator for n in multiplied.nodes] == [pointwise.multiply] * products
    value = numpy.array([0, 1, 2, 3, 5], dtype)  # whose powers float32 has
    numpy.testing.assert_array_equal(meant(multiplied, [value]), meant(recorded, [value]), strict=True)


@pytest.mark.parametrize(
    ("exponent", "dtype"),
    [
        (1, "float32"),
        (-2, "float32"),
        (2.5, "float64"),
        (9, "float64"),
        (3, "float16"),
        (-1, "int32"),
        (0, "int32"),
    ],
)
def test_multiply_out_powers_leaves_other_exponents(exponent: float, dtype: str) -> None:
    assert_stays(multiply_out_powers, graph(lambda x: pointwise.power(x, exponent), x=f"{dtype}[5]"))


def test_pack_products_takes_panels_of_two_vectors() -> None:
    assert_becomes(
        pack,
        graph(contractions.dense, x="float32[2, 20]", w="float32[40, 20]", b="float32[40]"),
        """
        graph(x: float32[2, 20], w: float32[40, 20], b: float32[40]):
          %0 = reshape(x, shape=(2, 20)): float32[2, 20]
          %1 = pack(w, panel=32, transposed=True): float32[2, 20, 32]
          %2 = packed_product(%0, %1, b, units=40): float32[2, 40]
          %3 = reshape(%2, shape=(2, 40)): float32[2, 40]
          return %3
        """,
    )


def test_pack_products_takes_panels_of_one_vector_for_few_columns() -> None:
    narrow = pack(graph(contractions.dense, "w", x="float32[2, 20]", w="float32[16, 20]"))
    assert "pack(w, panel=16, transposed=True): float32[1, 20, 16]" in narrow.text()
    double = pack(graph(contractions.dense, "w", x="float64[2, 20]", w="float64[16, 20]"))
    assert "pack(w, panel=16, transposed=True): float64[1, 20, 16]" in double.text()


def test_pack_products_stacks_what_is_broadcast() -> None:
    assert_becomes(
        pack,
        graph(contractions.matmul, x="float32[2, 1, 5, 7]", w="float32[3, 7, 9]"),
        """
        graph(x: float32[2, 1, 5, 7], w: float32[3, 7, 9]):
          %0 = broadcast_to(x, shape=(2, 3, 5, 7)): float32[2, 3, 5, 7]
          %1 = reshape(%0, shape=(6, 5, 7)): float32[6, 5, 7]
          %2 = pack(w, panel=16, transposed=False): float32[3, 1, 7, 16]
          %3 = broadcast_to(%2, shape=(2, 3, 1, 7, 16)): float32[2, 3, 1, 7, 16]
          %4 = reshape(%3, shape=(6, 1, 7, 16)): float32[6, 1, 7, 16]
          %5 = packed_product(%1, %4, units=9): float32[6, 5, 9]
          %6 = reshape(%5, shape=(2, 3, 5, 9)): float32[2, 3, 5, 9]
          return %6
        """,
    )


def turned(x: Any) -> Any:
    return movement.transpose(x, axes=(1, 0))


def product_of(x: str, w: str, of: Callable[..., Any] = lambda x, w: (x, w), parameters: str = "") -> Graph:
    return graph(lambda x, w: contractions.matmul(*of(x, w)), parameters=parameters, x=x, w=w)


@pytest.mark.parametrize(
    ("found", "kinds"),
    [
        # a matrix by a vector: the vector times a weight of rows, read where they lie, or packed before the call
        (product_of("float32[2, 20]", "float32[20]"), ["packed_product"]),
        (product_of("float32[2, 20]", "float32[20]", parameters="x"), ["pack", "packed_product"]),
        (product_of("float32[20, 2]", "float32[20]", lambda x, w: (turned(x), w)), ["sum"]),
        (product_of("float32[2, 3]", "float32[3]"), ["sum"]),
        (
            product_of(
                "float32[4, 20]",
                "float32[20]",
                lambda x, w: (movement.get_item(x, index=(("slice", 0, 2, 1), ("slice", 0, 20, 1))), w),
            ),
            ["sum"],
        ),
        (product_of("float64[2, 20]", "float32[20]"), ["sum"]),
        (product_of("float32[4, 2, 20]", "float32[20]"), ["sum"]),
        # a vector by a matrix: a sum of its rows, but one row is a product like several
        (product_of("float32[20]", "float32[20, 5]"), ["sum"]),
        (product_of("float32[1, 20]", "float32[20, 5]"), ["pack", "packed_product"]),
        (product_of("float32[20]", "float32[20, 5]", parameters="w"), ["pack", "packed_product"]),
        (product_of("float32[2, 20]", "float32[20, 5]"), ["pack", "packed_product"]),
        (product_of("float32[20]", "float32[5, 20]", lambda x, w: (x, turned(w))), ["packed_product"]),
    ],
    ids=range(12),
)
def test_pack_products_makes_a_product_with_a_vector_one_or_a_sum(found: Graph, kinds: list[str]) -> None:
    names = [node.operator.name for node in verify(pack(found)).nodes]
    assert [name for name in names if name in ("pack", "packed_product", "sum")] == kinds


def test_pack_products_makes_a_product_with_a_vector_a_sum_where_the_batch_may_grow() -> None:
    names = {n.operator.name for n in pack_products(product_of("float32[2, 20]", "float32[20]"), 32, 2).nodes}
    assert "sum" in names
    assert "packed_product" not in names


def test_pack_products_promotes_both_matrices_and_a_bias_to_what_numpy_does() -> None:
    assert_becomes(
        pack,
        graph(contractions.dense, x="float64[2, 3]", w="float32[4, 3]", b="float32[4]"),
        """
        graph(x: float64[2, 3], w: float32[4, 3], b: float32[4]):
          %0 = reshape(x, shape=(2, 3)): float64[2, 3]
          %1 = cast(w, dtype='float64'): float64[4, 3]
          %2 = pack(%1, panel=8, transposed=True): float64[1, 3, 8]
          %3 = cast(b, dtype='float64'): float64[4]
          %4 = packed_product(%0, %2, %3, units=4): float64[2, 4]
          %5 = reshape(%4, shape=(2, 4)): float64[2, 4]
          return %5
        """,
    )
    assert_becomes(
        pack,
        graph(contractions.dense, x="float32[3]", w="float32[4, 3]", b="float64[4]"),
        """
        graph(x: float32[3], w: float32[4, 3], b: float64[4]):
          %0 = expand_dims(x, axis=(0,)): float32[1, 3]
          %1 = reshape(%0, shape=(1, 3)): float32[1, 3]
          %2 = pack(w, panel=16, transposed=True): float32[1, 3, 16]
          %3 = packed_product(%1, %2, units=4): float32[1, 4]
          %4 = reshape(%3, shape=(1, 4)): float32[1, 4]
          %5 = reshape(%4, shape=(4,)): float32[4]
          %6 = add(%5, b): float64[4]
          return %6
        """,
    )


@pytest.mark.parametrize("types", [("int32", "int32"), ("int8", "int64"), ("float16", "int8")])
def test_pack_products_leaves_what_no_tile_computes(types: tuple[str, str]) -> None:
    assert_stays(pack, graph(contractions.matmul, x=f"{types[0]}[2, 3]", w=f"{types[1]}[3, 4]"))
    assert_stays(pack, graph(contractions.matmul, x="float32[2, 0]", w="float32[0, 4]"))


def test_split_reductions_folds_one_run_of_axes_at_a_time() -> None:
    assert_becomes(
        split_reductions,
        graph(lambda x: reductions.sum_(x, axis=(0, 2, 3), keepdims=False), x="float32[2, 3, 4, 5]"),
        """
        graph(x: float32[2, 3, 4, 5]):
          %0 = sum(x, axis=(2, 3), keepdims=False): float32[2, 3]
          %1 = sum(%0, axis=(0,), keepdims=False): float32[3]
          return %1
        """,
    )


def test_split_reductions_makes_a_cast_of_a_fold_over_nothing() -> None:
    assert_becomes(
        split_reductions,
        graph(lambda x: reductions.sum_(x, axis=(), keepdims=True), x="int8[2, 3]"),
        """
        graph(x: int8[2, 3]):
          %0 = cast(x, dtype='int64'): int64[2, 3]
          return %0
        """,
    )


@pytest.mark.parametrize("axes", [(1,), (0, 1), (1, 2)])
def test_split_reductions_leaves_neighbours_together(axes: tuple[int, ...]) -> None:
    assert_stays(
        split_reductions, graph(lambda x: reductions.max_(x, axis=axes, keepdims=True), x="int8[2, 3, 4]")
    )


# -- fold_constants, dedupe, prune ------------------------------------------------------------------------------


def test_fold_constants_computes_what_is_known() -> None:
    recorded = graph(lambda x: x + pointwise.exp(constant(0.0)) * 2, x="float32[3]")
    assert_becomes(
        fold_constants,
        recorded,
        """
        graph(x: float32[3]):
          %0 = add(x, 2.0:[1]): float32[3]
          return %0
        """,
    )


def test_fold_constants_does_not_warn() -> None:
    recorded = graph(lambda x: x + pointwise.log(constant(-1.0)), x="float32[1]")
    assert "nan" in fold_constants(recorded).text()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + movement.broadcast_to(constant(1.0, 2.0, 3.0), shape=(1000, 3)),  # a view costs nothing
        lambda x: x + drawing.uniform(shape=(3,), dtype="float32"),
        lambda x: (
            x + reductions.sum_(movement.broadcast_to(constant(1.0), shape=(4, 3)), axis=(0,), keepdims=False)
        ),
    ],
    ids=["view", "draw", "of a view"],
)
def test_fold_constants_leaves(function: Callable[[Any], Any]) -> None:
    assert_stays(fold_constants, graph(function, x="float32[3]"))


def test_dedupe_computes_equal_values_once() -> None:
    assert_becomes(
        dedupe,
        graph(lambda x, y: pointwise.exp(x + y) * pointwise.exp(x + y), x=x, y=y),
        """
        graph(x: float32[2, 3], y: float32[2, 3]):
          %0 = add(x, y): float32[2, 3]
          %1 = exp(%0): float32[2, 3]
          %2 = multiply(%1, %1): float32[2, 3]
          return %2
        """,
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x * 0.0) * (x * -0.0),
        lambda x: reductions.sum_(x, axis=(0,), keepdims=True) * reductions.sum_(x, axis=(1,), keepdims=True),
        lambda x: pointwise.cast(x, dtype="int32") + pointwise.cast(x, dtype="int64"),
        lambda x: drawing.uniform(shape=(3,), dtype="float32") * drawing.uniform(shape=(3,), dtype="float32"),
        lambda x: x * constant(1.0, 2.0, 3.0) * constant(1.0, 2.0, 4.0),
        lambda x: neural.elu(x, alpha=1.0) * neural.elu(x, alpha=0.5),
        lambda x: (x / full(0.0)) * (x / full(-0.0)),
    ],
    ids=[
        "signs of zero",
        "axes",
        "dtypes",
        "draws",
        "constants",
        "attributes",
        "signs of zero as attributes",
    ],
)
def test_dedupe_keeps_apart(function: Callable[[Any], Any]) -> None:
    assert_stays(dedupe, graph(function, x="float32[2, 3]"))


def test_dedupe_takes_equal_constants_for_one() -> None:
    result = dedupe(graph(lambda x: x * constant(1.0, numpy.nan) + constant(1.0, numpy.nan), x="float32[2]"))
    assert result.text().count("constant(") == 1


def test_prune_drops_what_no_output_needs() -> None:
    whole = graph(lambda x: (x + 1, pointwise.exp(x)), x=x)
    one = Graph(whole.inputs, whole.nodes, whole.outputs[:1])
    assert_becomes(
        prune,
        one,
        """
        graph(x: float32[2, 3]):
          %0 = add(x, 1.0): float32[2, 3]
          return %0
        """,
    )


# -- hoist -----------------------------------------------------------------------------------------------------


def test_hoist_moves_what_parameters_alone_decide() -> None:
    prologue, main = hoist(graph(lambda x, w: x * (pointwise.exp(w) + 1), "w", x=x, w="float32[3]"))
    assert (
        verify(prologue).text()
        == dedent(
            """
            graph(w: float32[3]):
              %0 = exp(w): float32[3]
              %1 = add(%0, 1.0): float32[3]
              return %1
            """
        ).strip()
    )
    assert (
        verify(main).text()
        == dedent(
            """
            graph(x: float32[2, 3], w: float32[3], hoisted0: float32[3]):
              %0 = multiply(x, hoisted0): float32[2, 3]
              return %0
            """
        ).strip()
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w: x * movement.transpose(w, axes=(1, 0)),
        lambda x, w: x * w * 2,
        lambda x, w: w * drawing.uniform(shape=(3, 3), dtype="float32") + x,
    ],
    ids=["a view", "a number", "a draw"],
)
def test_hoist_leaves(function: Callable[[Any, Any], Any]) -> None:
    recorded = graph(function, "w", x="float32[3, 3]", w="float32[3, 3]")
    prologue, main = hoist(recorded)
    assert not prologue.outputs
    assert main == recorded


def test_hoist_reads_captured_arrays_at_every_call() -> None:
    held = leaf(captured, "c", typed("float32[3]"))
    recorded = graph_of((held,), (node_of(pointwise.exp, (held,), {}, None),))
    prologue, main = hoist(recorded)
    assert not prologue.outputs
    assert main == recorded


def test_hoisted_results_may_be_returned() -> None:
    prologue, main = hoist(graph(lambda x, w: (x, pointwise.exp(w)), "w", x=x, w="float32[3]"))
    assert len(prologue.outputs) == 1
    assert [o.attrs["name"] for o in main.outputs] == ["x", "hoisted0"]


# -- fuse ------------------------------------------------------------------------------------------------------


def groups(function: Callable[..., Any], **types: str) -> list[str]:
    """The operators of each fused group."""
    fused = verify(fuse(graph(function, **types)))
    bodies = [n.attrs["body"] for n in fused.nodes if isinstance(n.operator.lowering, Fused)]
    return [" ".join(n.operator.name for n in body.nodes if n.operands) for body in bodies]


def test_fuse_puts_a_chain_into_one_kernel() -> None:
    assert_becomes(
        fuse,
        graph(lambda x, y: neural.relu(x * y + 1), x=x, y=y),
        """
        graph(x: float32[2, 3], y: float32[2, 3]):
          %0 = fused(x, y, name='multiply_add_relu') {
              %0 = multiply(x0, x1): float32[2, 3]
              %1 = add(%0, 1.0): float32[2, 3]
              %2 = relu(%1): float32[2, 3]
              return %2
          }: float32[2, 3]
          return %0
        """,
    )


def test_fuse_gives_a_product_its_epilogue() -> None:
    packed = pack(
        graph(
            lambda x, w, b: neural.relu(contractions.dense(x, w, b)),
            x="float32[2, 20]",
            w="float32[40, 20]",
            b="float32[40]",
        )
    )
    bodies = [n.attrs["body"] for n in fuse(simplify(packed)).nodes if isinstance(n.operator.lowering, Fused)]
    assert [[n.operator.name for n in body.nodes] for body in bodies] == [["packed_product", "relu"]]


def test_fuse_puts_a_softmax_into_one_kernel() -> None:
    recorded = expand_composites(graph(lambda x: neural.softmax(x, axis=1), x="float32[4, 5]"))
    assert sum(isinstance(n.operator.lowering, Fused) for n in fuse(recorded).nodes) == 1


def test_fuse_ends_at_a_value_that_two_kernels_read() -> None:
    def function(x: Any) -> Any:
        shared = pointwise.exp(x)
        return reductions.sum_(shared, axis=(0,), keepdims=False), reductions.max_(
            shared, axis=(0,), keepdims=False
        )

    assert groups(function, x="float32[4, 5]") == ["exp", "sum", "max"]


def test_fuse_ends_at_an_output() -> None:
    def function(x: Any) -> Any:
        inner = pointwise.exp(x)
        return inner, inner * 2

    assert groups(function, x="float32[4]") == ["exp", "multiply"]


def test_fuse_ends_at_an_operator_that_stands_alone_and_at_a_view() -> None:
    def function(x: Any) -> Any:
        turned = movement.transpose(pointwise.exp(x), axes=(1, 0))
        return pointwise.log(sorting.sort(turned * 3, axis=1))

    assert groups(function, x="float32[4, 5]") == ["exp", "multiply", "log"]


@pytest.mark.parametrize(
    "reader",
    [
        lambda h, w: neural.softmax(h, axis=1),
        lambda h, w: reductions.sum_(h, axis=(0,), keepdims=True),
        lambda h, w: contractions.dense(h, w),
    ],
    ids=["folds rows", "folds columns", "multiplies"],
)
def test_fuse_leaves_what_is_picked_to_maps(reader: Callable[[Any, Any], Any]) -> None:
    def picked(x: Any, i: Any, w: Any) -> Any:
        return reader(indexing.take_at(x, i, pattern=(("array", 0),)), w)

    types = {"x": "float32[9, 4]", "i": "int64[5]", "w": "float32[4, 4]"}
    result = fuse(pack(expand_composites(graph(picked, **types))))
    bodies = [n.attrs["body"] for n in result.nodes if isinstance(n.operator.lowering, Fused)]
    (gathers,) = (body for body in bodies if any(isinstance(n.operator.lowering, Gather) for n in body.nodes))
    assert len(gathers.nodes) == 1


def test_fuse_copies_outputs_that_compute_nothing() -> None:
    def function(x: Any) -> Any:
        return x, movement.transpose(x, axes=(1, 0)), x

    assert groups(function, x="float32[4, 5]") == ["cast"] * 3
    twice = fuse(graph(lambda x: (lambda y: (y, y))(pointwise.exp(x)), x="float32[4]"))
    assert twice.outputs[0] is not twice.outputs[1]


@pytest.mark.parametrize(("vector_bytes", "batch"), [(64, 0), (0, 0), (64, 4)])
def test_rows_that_share_matrices_are_one_product_a_matrix(vector_bytes: int, batch: int) -> None:
    recorded = graph(contractions.matmul, x="float64[4, 3, 2, 1, 5]", w="float64[2, 5, 6]")
    packed = verify(pack_products(recorded, vector_bytes=vector_bytes, batch=batch))
    (product,) = (n for n in packed.nodes if n.operator is contractions.packed_product)
    assert product.shape == (
        (24, 1, 6) if batch else (2, 12, 6)
    )  # of any number of rows, each stays with its item
    values = [numpy.random.default_rng(1).normal(size=leaf.shape) for leaf in recorded.inputs]
    numpy.testing.assert_allclose(meant(packed, values)[0], meant(recorded, values)[0], rtol=1e-12)


def test_fuse_keeps_groups_small() -> None:
    def function(x: Any) -> Any:
        for _ in range(200):
            x = x + 1
        return x

    sizes = [len(g.split()) for g in groups(function, x="float32[4]")]
    assert sum(sizes) == 200
    assert max(sizes) <= 64


# -- recompute -------------------------------------------------------------------------------------------------


def two(value: Any) -> Any:
    """Two readers in different groups."""
    return reductions.sum_(value, axis=(0,), keepdims=False), pointwise.exp(value)


def chained(value: Any) -> Any:
    """One such value of another one."""
    more = value + 1.0
    return pointwise.exp(value), pointwise.exp(more), pointwise.tanh(more)


def shared(function: Callable[..., Any], **types: str) -> tuple[list[str], Graph, Graph]:
    """The groups of what two kernels read, the graph before, and with what is computed again."""
    recorded = dedupe(expand_composites(graph(function, **types)))
    found = verify(recompute(recorded))
    fused = fuse(found)
    names = [n.attrs["name"] for n in fused.nodes if isinstance(n.operator.lowering, Fused)]
    return sorted(names), recorded, found


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (lambda x, y: two(x * 2), ["multiply_exp", "multiply_sum"]),
        (lambda x, y: two(pointwise.greater(x, 0) * 2.0), ["greater_multiply_exp", "greater_multiply_sum"]),
        (lambda x, y: two(x - reductions.mean(x, axis=(1,), keepdims=True)), None),
        (lambda x, y: two(x + y), ["add", "exp", "sum"]),
        (lambda x, y: two(pointwise.tanh(x)), ["exp", "sum", "tanh"]),
        (lambda x, y: two(x / 3), ["divide", "exp", "sum"]),
        (lambda x, y: two(pointwise.cast(x, dtype="float64")), ["cast_exp", "cast_sum"]),
        (lambda x, y: two(pointwise.cast(x * x, dtype="bool") * 1.0), None),
        (lambda x, y: (x * 2, pointwise.exp(x * 2)), ["exp", "multiply"]),
        (lambda x, y: (lambda v: (v + 1, v * 3))(reductions.sum_(x, axis=(1,), keepdims=False)), None),
        (
            lambda x, y: (lambda v: (x - v, x / (v * v)))(reductions.max_(x, axis=(1,), keepdims=True) * 3.0),
            None,
        ),
        (lambda x, y: two(neural.log_softmax(x, axis=1)), None),
        (lambda x, y: chained(reductions.sum_(x, axis=(0, 1), keepdims=False) * 2.0), None),
        (
            lambda x, y: (lambda v: (contractions.matmul(v, y), pointwise.exp(v)))(x * 2),
            ["exp", "multiply"],
        ),
        (lambda x, y: (lambda v: (pointwise.exp(v), pointwise.exp(v) * 2 - v))(pointwise.negative(x)), None),
    ],
    ids=[
        *("cheap", "two of them", "less the mean", "of two", "a function", "a division"),
        *(
            "larger than its operand",
            "in two steps",
            "an output",
            "a fold",
            "one a row",
            "beside its own fold",
            "of others",
            "of a product",
            "one group",
        ),
    ],
)
def test_what_is_cheap_is_computed_by_each_of_its_readers(
    function: Callable[..., Any], wanted: list[str] | None
) -> None:
    names, recorded, found = shared(function, x="float32[40, 40]", y="float32[40, 40]")
    if wanted is not None:
        assert names == wanted
    rng = numpy.random.default_rng(3)
    values = [rng.normal(size=(40, 40)).astype("float32") for _ in recorded.inputs]
    for a, b in zip(meant(found, values), meant(recorded, values), strict=True):
        numpy.testing.assert_array_equal(a, b)
    assert recompute(found) == found


def test_layer_norm_keeps_its_input_and_two_numbers_for_each_row() -> None:
    def both_ways(x: Any, gamma: Any, beta: Any, g: Any) -> Any:
        attrs = {"axis": (1,), "epsilon": 1e-5}
        out = normalization.layer_norm(x, gamma, beta, **attrs)
        by_x, by_gamma, _ = normalization.layer_norm.gradient(g, out, x, gamma, beta, **attrs)  # type: ignore[misc]
        return out, by_x(), by_gamma().sum(axis=0)

    types = {"x": "float32[40, 30]", "gamma": "float32[30]", "beta": "float32[30]", "g": "float32[40, 30]"}
    main = optimize(graph(both_ways, **types), 64, verify).main
    kernels = [n for n in main.nodes if isinstance(n.operator.lowering, Fused)]
    assert sorted(n.shape for n in kernels) == [(30,), (40, 1), (40, 1), (40, 30), (40, 30)]


def test_a_mask_is_kept_as_bytes_where_two_kernels_read_it() -> None:
    def dropped(x: Any, g: Any) -> Any:
        mask = drawing.dropout_mask(shape=(40, 30), p=0.4, dtype="float32")
        return x * mask, g * mask

    main = optimize(graph(dropped, x="float32[40, 30]", g="float32[40, 30]"), 64, verify).main
    kernels = {n.attrs["name"]: n for n in main.nodes if isinstance(n.operator.lowering, Fused)}
    assert kernels.keys() == {"drawn_greater_equal", "cast_multiply_multiply"}
    assert kernels["drawn_greater_equal"].dtype == "bool"


# -- the pipeline ----------------------------------------------------------------------------------------------


def net(x: Any, w: Any, b: Any) -> Any:
    hidden = neural.relu(contractions.dense(x, w, b))
    scores = normalization.layer_norm(hidden, b, b, axis=(1,), epsilon=1e-5)
    return neural.softmax(scores, axis=1), reductions.var(hidden, axis=(0, 1), keepdims=False, ddof=0)


NET = graph(net, "w b", x="float32[2, 20]", w="float32[40, 20]", b="float32[40]")


@pytest.mark.parametrize(
    ("name", "transform"), passes_before_hoisting(64), ids=lambda p: p if isinstance(p, str) else ""
)
def test_every_pass_runs_twice_as_once(name: str, transform: Pass) -> None:
    recorded = optimize(NET, 64).stages[_before(name)]
    once = verify(transform(recorded))
    assert verify(transform(once)) == once, name


def _before(name: str) -> str:
    names = ["recorded", *(n for n, _ in passes_before_hoisting(64))]
    return names[names.index(name) - 1]


def test_every_stage_means_the_same() -> None:
    rng = numpy.random.default_rng(4)
    values = [rng.standard_normal(i.shape).astype("float32") for i in NET.inputs]
    wanted = meant(NET, values)
    optimized = optimize(NET, 64, verify)
    hoisted = meant(optimized.prologue, values[1:])
    for name, stage in optimized.stages.items():
        given = [*values, *hoisted][: len(stage.inputs)]
        for found, want in zip(meant(stage, given), wanted, strict=True):
            numpy.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5, err_msg=name)


def test_stages_are_named_for_the_command_line() -> None:
    names = [name for name, _ in passes_before_hoisting(64)]
    assert list(optimize(NET, 64).stages) == ["recorded", *names, "hoist", "recompute", "fuse"]


def test_no_pass_shares_or_reorders_draws() -> None:
    def noisy(x: Any) -> Any:
        return x + drawing.uniform(shape=(3,), dtype="float32") * drawing.normal(shape=(3,), dtype="float32")

    optimized = optimize(graph(noisy, x="float32[3]"), 64, verify)
    drawn = {name: draws_of(graph) for name, graph in optimized.stages.items()}
    assert [n.operator for n in drawn.pop("recorded")] == [drawing.uniform, drawing.normal]
    assert [n.operator for n in drawn["expand_draws"]] == [drawing.reserve, drawing.normal]
    assert all(draws == drawn["expand_draws"] for draws in drawn.values())


def test_draws_are_expanded_in_their_order_whatever_else_is_expanded() -> None:
    def noisy(x: Any) -> Any:
        first, second = (drawing.uniform(shape=(n, 3), dtype="float32") for n in (4, 5))
        return contractions.dot(first, movement.transpose(second, axes=(1, 0))) + x

    optimized = optimize(graph(noisy, x="float32[4, 5]"), 64, verify)
    assert [n.attrs["count"] for n in draws_of(optimized.main)] == [12, 15]


def test_a_mask_that_keeps_nothing_draws_nothing() -> None:
    def dropped(x: Any) -> Any:
        return x * drawing.dropout_mask(shape=(3,), p=1.0, dtype="float32")

    assert not draws_of(expand_draws(graph(dropped, x="float32[3]")))


def test_views_of_parameters_are_not_hoisted_but_read_in_place() -> None:
    optimized = optimize(
        graph(lambda x, w: x + movement.transpose(w, axes=(1, 0)), "w", x=x, w="float32[3, 2]"), 64
    )
    assert not optimized.prologue.outputs
    assert any(isinstance(n.operator.lowering, Movement) for n in optimized.main.nodes)


def test_users_lines_stay_with_what_is_made_of_them() -> None:
    line = Source("/home/someone/net.py", 12, "forward")
    node = graph(lambda x: neural.softmax(x, axis=1), x=x)
    marked = graph_of(node.inputs, (replace(node.nodes[0], source=line),))
    assert {n.source for n in optimize(marked, 64).stages["dedupe"].nodes} == {line}
