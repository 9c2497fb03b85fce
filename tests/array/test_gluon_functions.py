"""Functions that only Gluon has: shapes by codes, slices by ends, softmax of lengths, control flow as functions."""

from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse.array import autograd, np, npx
from blockfuse.ir.errors import ShapeError, UsageError


def array(*shape: int) -> Any:
    return np.array(numpy.arange(numpy.prod(shape), dtype="float32").reshape(shape))


# -- shapes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "codes", "reverse", "new"),
    [
        ((2, 3, 8), (-2, -2, 2, -1), False, (2, 3, 2, 4)),
        ((8, 3, 3, 3, 4, 4), (-6, 2, -1, -4), False, (2, 4, 3, 3, 3, 4, 4)),
        ((8, 3, 3, 3, 4, 4), (-5, -4), False, (24, 3, 3, 4, 4)),
        ((8, 3, 3, 3, 8), (-4, -5), True, (8, 3, 3, 24)),
        ((8, 1, 1, 3), (-2, -3, -3, -2), False, (8, 3)),
        ((8, 3, 3, 3, 3, 8), (-4, -6, -1, 2), True, (8, 3, 3, 3, 3, 4, 2)),
        ((2, 3, 4), (-1,), False, (24,)),
        ((2, 3, 4), 24, False, (24,)),
        ((0, 3), (-2, 3), False, (0, 3)),
        ((12,), (-6, 3, 4), False, (3, 4)),
        ((), (1, 1), False, (1, 1)),
    ],
)
def test_a_shape_can_be_said_by_codes(
    old: tuple[int, ...], codes: Any, reverse: bool, new: tuple[int, ...]
) -> None:
    x = array(*old) if old else np.array(3.0)
    found = npx.reshape(x, codes, reverse=reverse)
    assert found.shape == new
    assert found.reshape(-1).tolist() == x.reshape(-1).tolist()


@pytest.mark.parametrize(
    ("codes", "kind", "message"),
    [
        ((-2, -2, -2), ShapeError, "more axes than the shape"),
        ((-3, -2), ShapeError, "leaves out a size of 1; the one of .* is 4"),
        ((-6, 3, -1, -2), ShapeError, r"cannot split 4 into \(3, -1\)"),
        ((-6, -1, -1, -2), ShapeError, "cannot split"),
        ((-6, 2), UsageError, "two sizes behind it"),
        ((-7,), UsageError, "from -1 to -6"),
        ((5, -1), ShapeError, "cannot be reshaped"),
    ],
)
def test_codes_that_do_not_fit_are_refused(codes: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        npx.reshape(array(4, 3), codes)


def test_a_shape_can_be_that_of_another_array() -> None:
    x = array(30, 7)
    assert npx.reshape_like(array(2, 3), array(3, 2)).shape == (3, 2)
    found = npx.reshape_like(x, array(15, 2, 4), lhs_begin=0, lhs_end=1, rhs_begin=0, rhs_end=2)
    assert found.shape == (15, 2, 7)
    assert npx.reshape_like(array(4, 6), array(2, 3, 1), lhs_begin=-1, rhs_end=-1).shape == (4, 2, 3)
    with pytest.raises(ShapeError, match="in no order"):
        npx.reshape_like(x, x, lhs_begin=2, lhs_end=1)


def test_slices_by_their_ends() -> None:
    x = array(4, 5, 2)
    for begin, end, step, wanted in (
        ((1, 0), (3, 4), None, numpy.s_[1:3, :4]),
        ((None, 4), (None, 0), (2, -2), numpy.s_[::2, 4:0:-2]),
        (1, None, None, numpy.s_[1:]),
    ):
        numpy.testing.assert_array_equal(npx.slice(x, begin, end, step), x.asnumpy()[wanted])
    numpy.testing.assert_array_equal(npx.slice_axis(x, -2, 1, -1), x.asnumpy()[:, 1:-1])
    numpy.testing.assert_array_equal(npx.slice_like(x, array(2, 3, 1)), x.asnumpy()[:2, :3, :1])
    numpy.testing.assert_array_equal(npx.slice_like(x, array(2, 3), axes=(1,)), x.asnumpy()[:, :3])
    parts = npx.slice_channel(x, 5, squeeze_axis=True)
    assert len(parts) == 5
    numpy.testing.assert_array_equal(parts[3], x.asnumpy()[:, 3])
    for run in (lambda: npx.slice_like(x, array(2, 3)), lambda: npx.slice_like(x, array(9, 1, 1))):
        with pytest.raises(ShapeError, match="slice_like"):
            run()
    with pytest.raises(UsageError, match="as many ends as beginnings"):
        npx.slice(x, (1, 2), (3,))


def test_sums_and_elements_of_many() -> None:
    x = array(3, 4)
    numpy.testing.assert_array_equal(npx.add_n(x, x, np.ones(4)), 2 * x.asnumpy() + 1)
    numpy.testing.assert_array_equal(npx.gather_nd(x, np.array([[0, 2], [1, 3]])), [x[0, 1], x[2, 3]])
    numpy.testing.assert_array_equal(npx.gather_nd(x, np.array([[0, 2]])), x.asnumpy()[[0, 2]])
    with pytest.raises(UsageError, match="one array or more"):
        npx.add_n()


def test_values_come_from_numpy_with_or_without_its_memory() -> None:
    values = numpy.zeros(3, "float32")
    shared, own = npx.from_numpy(values), npx.from_numpy(values, zero_copy=False)
    values[0] = 1
    assert (shared.tolist(), own.tolist()) == ([1, 0, 0], [0, 0, 0])


# -- softmax of lengths --------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [1, -1])
def test_softmax_over_the_first_elements(axis: int) -> None:
    x = numpy.random.default_rng(3).normal(size=(2, 4, 3)).astype("float32")
    lengths = numpy.array([[1, 4, 2], [3, 3, 4]]) if axis == 1 else numpy.array([[1, 3, 2, 3], [2, 1, 3, 3]])
    found = npx.softmax(np.array(x), axis, np.array(lengths), use_length=True).asnumpy()
    logs = npx.log_softmax(np.array(x), axis, np.array(lengths), use_length=True).asnumpy()
    shares, rows = numpy.moveaxis(found, axis, -1), numpy.moveaxis(x, axis, -1)
    for place in numpy.ndindex(lengths.shape):
        weights = numpy.exp(rows[place][: lengths[place]])
        wanted = numpy.zeros(rows.shape[-1])
        wanted[: lengths[place]] = weights / weights.sum()
        numpy.testing.assert_allclose(shares[place], wanted, rtol=1e-6)
    with numpy.errstate(divide="ignore"):
        numpy.testing.assert_allclose(logs, numpy.log(found), rtol=1e-5, atol=1e-6)
    unused = npx.softmax(np.array(x), axis, np.array(lengths), use_length=False, dtype="float64")
    assert unused.dtype == "float64"
    numpy.testing.assert_allclose(unused, npx.softmax(np.array(x), axis))


def test_softmax_refuses_lengths_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="give length="):
        npx.softmax(array(2, 3), use_length=True)
    with pytest.raises(ShapeError, match=r"shape \(2,\); found \(3,\)"):
        npx.softmax(array(2, 3), length=np.array([1, 2, 3]))


# -- control flow --------------------------------------------------------------------------------------------


def test_foreach_goes_through_arrays_and_lists_of_them() -> None:
    x, y = array(3, 2), array(3, 2) * 10
    outputs, total = npx.foreach(lambda row, state: (row * 2, state + row), x, np.zeros(2))
    numpy.testing.assert_array_equal(outputs, x.asnumpy() * 2)
    numpy.testing.assert_array_equal(total, x.asnumpy().sum(0))

    def body(rows: Any, states: Any) -> Any:
        return [rows[0] + rows[1], [rows[0]]], [states[0] + rows[1]]

    (sums, (first,)), (last,) = npx.foreach(body, [x, y], [np.zeros(2)])
    numpy.testing.assert_array_equal(sums, (x + y).asnumpy())
    numpy.testing.assert_array_equal(first, x.asnumpy())
    numpy.testing.assert_array_equal(last, y.asnumpy().sum(0))
    for data in ([x, array(2, 2)], np.zeros((0, 2))):
        with pytest.raises(ShapeError, match="of one size there, of 1 or more"):
            npx.foreach(body, data, [])


def doubled_where_positive(row: Any, state: Any) -> Any:
    if row.sum() > 0:
        row = row * 2
    return row, state + row


def test_each_round_of_foreach_takes_its_own_way_also_compiled() -> None:
    def run(x: Any) -> Any:
        return npx.foreach(doubled_where_positive, x, np.zeros(2))

    compiled = blockfuse.hybridize(run)
    for signs in ([1, -1, 1], [-1, -1, 1], [1, 1, 1], [1, -1, -1]) * 2:
        x = numpy.array(signs, "float32")[:, None] * numpy.array([1, 2], "float32")
        rows = numpy.where(x.sum(1, keepdims=True) > 0, 2 * x, x)
        outputs, total = compiled(np.array(x))
        numpy.testing.assert_array_equal(outputs, rows)
        numpy.testing.assert_array_equal(total, rows.sum(0))


def test_foreach_has_gradients() -> None:
    x, w = array(3, 2), np.array([0.5, 2.0])
    w.attach_grad()
    with autograd.record():
        outputs, _ = npx.foreach(lambda row, state: (state * w + row,) * 2, x, np.ones(2))
        last = outputs[-1]
    last.backward()
    powers = w.asnumpy()
    expected = 3 * powers**2 + 2 * powers * x.asnumpy()[0] + x.asnumpy()[1]
    numpy.testing.assert_allclose(w.grad, expected)


def test_while_loop_stacks_its_outputs_and_fills_them_up() -> None:
    def body(i: Any, total: Any) -> Any:
        return [i, total], (i + 1, total + i)

    (places, totals), (i, total) = npx.while_loop(
        lambda i, total: total < 4, body, (np.array(1.0), np.array(0.0)), max_iterations=5
    )
    assert (places.tolist(), totals.tolist()) == ([1, 2, 3, 0, 0], [0, 1, 3, 0, 0])
    assert (float(i), float(total)) == (4, 6)
    few, _ = npx.while_loop(lambda x: x < 100, lambda x: (x, x * 2), np.array(1.0), max_iterations=3)
    assert few.tolist() == [1, 2, 4]
    assert npx.while_loop(lambda x: x < 0, lambda x: (x, x), np.array(1.0))[0] == []


def is_large(x: Any) -> Any:
    return np.abs(x).sum() > 1


def half(x: Any) -> Any:
    return [], [x / 2]


@pytest.mark.spread(2)
@pytest.mark.parametrize("most", [None, 40])
def test_while_loop_without_outputs_and_limit_is_native(most: int | None) -> None:
    def halved(x: Any) -> Any:
        return npx.while_loop(is_large, half, [x], most)[1][0]

    compiled = blockfuse.hybridize(halved)
    for size in (1, 300, 7e6):
        x = np.array([size, -2.0, 0.5])
        for _ in range(2):
            assert compiled(x).tolist() == halved(x).tolist()
    assert most or "1 ways back (loops)" in compiled.explain()


def test_cond_takes_one_way() -> None:
    def chosen(x: Any) -> Any:
        return npx.cond(lambda x, y: x.sum() > y, lambda x, y: x + y, lambda x, y: x - y, [x, np.array(1.0)])

    compiled = blockfuse.hybridize(chosen)
    for values in ([3.0, 4.0], [-3.0, 1.0]) * 2:
        expected = numpy.array(values) + (1 if sum(values) > 1 else -1)
        assert chosen(np.array(values)).tolist() == compiled(np.array(values)).tolist() == expected.tolist()
    assert npx.cond(np.array(0.0), lambda: 1, lambda: 2) == 2
    assert npx.cond(np.array([True]), lambda x: x, lambda x: -x, 3) == 3
