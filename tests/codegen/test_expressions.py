"""Expressions of kernels as trees: what they read, what they call, and their text."""

from written import expression

from blockfuse.codegen.kernels.expression import Expression, Name, called, words

CLAMPED = Expression("maximum({1}, float32({0}))", (Name("x0"), Expression("float32({0})", (Name("t1"),))))


def test_values_are_read_in_the_order_of_the_text() -> None:
    assert CLAMPED.text() == "maximum(float32(t1), float32(x0))"
    assert CLAMPED.names == ("t1", "x0")
    assert Expression("float32(1e-05)").names == ()
    assert Expression("{0} * {0}", (Name("x0"),)).names == ("x0", "x0")


def test_the_text_spells_names_as_it_is_told() -> None:
    assert CLAMPED.text(str.upper) == "maximum(float32(T1), float32(X0))"


def test_renaming_leaves_what_has_no_new_name() -> None:
    assert CLAMPED.renamed({"x0": "here"}).text() == "maximum(float32(t1), float32(here))"


def test_renaming_exchanges_names() -> None:
    product = Expression("{0} - {1}", (Name("t0"), Name("t1")))
    assert product.renamed({"t0": "t1", "t1": "t0"}).text() == "t1 - t0"


def test_a_tree_knows_all_that_it_calls() -> None:
    names = [name for template in CLAMPED.templates for name in called(template)]
    assert sorted(names) == ["float32", "float32", "maximum"]
    assert words("select({0} > 0, {0}, inf)") == {"select", "inf"}
    assert words("maximum({0}, 1e-05) * 2.5E7") == {"maximum"}


def test_what_tests_write_is_what_kernels_have() -> None:
    assert expression("t0") == Name("t0")
    assert expression("t0 + x1") == Expression("{0} + {1}", (Name("t0"), Name("x1")))
