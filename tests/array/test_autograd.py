"""``autograd``: what is followed, where gradients go, and what messages say where there is none."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy
import pytest
from tolerances import STEP

from blockfuse import autograd, nn, np, npx
from blockfuse.array.history import TapeNode
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import GradientError, ShapeError, UsageError

RNG = numpy.random.default_rng(7)
X = RNG.uniform(0.5, 2.0, (3, 4))


def variable(values: Any = X, dtype: str = "float64", grad_req: str = "write") -> ndarray:
    x = np.array(values, dtype=dtype)
    x.attach_grad(grad_req)
    return x


def gradient(function: Callable[[ndarray], Any], values: Any = X) -> numpy.ndarray:
    """Of the sum of ``function``."""
    x = variable(values)
    with autograd.record():
        y = function(x)
    y.backward()
    assert x.grad is not None
    return x.grad.asnumpy()


def differences(function: Callable[[ndarray], Any], values: Any = X) -> numpy.ndarray:
    grad = numpy.zeros_like(values)
    for place in numpy.ndindex(values.shape):
        totals = []
        for step in (STEP, -STEP):
            moved = numpy.array(values)
            moved[place] += step
            totals.append(function(np.array(moved, dtype="float64")).asnumpy().sum())
        grad[place] = (totals[0] - totals[1]) / (2 * STEP)
    return grad


def held(function: Callable[[ndarray], Any], values: Any = X) -> None:
    """The gradient of the sum of ``function`` is that of finite differences."""
    numpy.testing.assert_allclose(
        gradient(function, values), differences(function, values), rtol=1e-5, atol=1e-6
    )


# -- scopes --------------------------------------------------------------------------------------------------


def test_scopes_nest_and_give_back_what_was_before() -> None:
    def state() -> tuple[bool, bool]:
        return autograd.is_recording(), autograd.is_training()

    assert state() == (False, False)
    with autograd.record():
        assert state() == (True, True)
        with autograd.pause():
            assert state() == (False, False)
            with autograd.record(train_mode=False):
                assert state() == (True, False)
            assert state() == (False, False)
        with autograd.predict_mode():
            assert state() == (True, False)
            with autograd.train_mode():
                assert state() == (True, True)
            with autograd.pause(train_mode=None):
                assert state() == (False, False)
        assert state() == (True, True)
    assert state() == (False, False)
    with autograd.train_mode(), autograd.record(train_mode=None):
        assert state() == (True, True)


def test_scopes_end_with_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), autograd.record():
        _ = 1 / 0
    assert not autograd.is_recording()
    assert not autograd.is_training()


def test_switches_tell_what_was_before() -> None:
    assert autograd.set_recording(True) is False
    assert autograd.set_training(True) is False
    x = variable()
    y = x * 2
    assert autograd.set_recording(False) is True
    assert autograd.set_training(False) is True
    y.backward()
    assert x.grad is not None
    assert (x.grad.asnumpy() == 2).all()


def test_layers_behave_as_the_mode_of_backward_says() -> None:
    class Asked(autograd.Function):
        def forward(self, x: Any) -> Any:
            return x * 1

        def backward(self, dy: Any) -> Any:
            return dy * (2 if autograd.is_training() else 3)

    for mode, wanted in ((True, 2), (False, 3)):
        x = variable()
        with autograd.record():
            y = Asked()(x)
        y.backward(train_mode=mode)
        assert x.grad is not None
        assert (x.grad.asnumpy() == wanted).all()


# -- where gradients go --------------------------------------------------------------------------------------


def test_gradient_is_zeros_until_backward() -> None:
    x = variable()
    assert x.grad is not None
    numpy.testing.assert_array_equal(x.grad.asnumpy(), numpy.zeros((3, 4)))
    assert np.ones(2).grad is None
    assert variable(grad_req="null").grad is None


@pytest.mark.parametrize(("grad_req", "wanted"), [("write", 2), ("add", 6)])
def test_gradients_are_written_or_added(grad_req: str, wanted: int) -> None:
    x = variable(grad_req=grad_req)
    grad = x.grad
    for _ in range(3):
        with autograd.record():
            y = (x * 2).sum()
        y.backward()
    assert x.grad is grad
    assert grad is not None
    assert (grad.asnumpy() == wanted).all()


def test_null_has_no_gradient_and_others_have_theirs() -> None:
    x, w = variable(grad_req="null"), variable()
    with autograd.record():
        y = x * w
    y.backward()
    assert x.grad is None
    assert w.grad is not None
    numpy.testing.assert_array_equal(w.grad.asnumpy(), X)


def test_gradient_may_be_written_by_its_owner() -> None:
    x = variable(grad_req="add")
    assert x.grad is not None
    x.grad[...] = 5
    with autograd.record():
        y = x * 2
    y.backward()
    assert (x.grad.asnumpy() == 7).all()


def test_marked_variables_have_their_gradients_where_they_were_told() -> None:
    x, w = np.array(X), np.array(X)
    of_x, of_w = np.ones((3, 4), dtype="float64"), np.ones((3, 4), dtype="float64")
    autograd.mark_variables([x, w], [of_x, of_w], ["write", "add"])
    with autograd.record():
        y = x * 2 + w * 3
    y.backward()
    assert x.grad is of_x
    assert (of_x.asnumpy() == 2).all()
    assert (of_w.asnumpy() == 4).all()
    with pytest.raises(UsageError, match="as many gradients"):
        autograd.mark_variables([x, w], [of_x])
    with pytest.raises(GradientError, match="cannot be written into"):
        autograd.mark_variables(x, np.ones(2))
    with pytest.raises(UsageError, match="grad_req='often'"):
        x.attach_grad("often")


def test_a_dropped_gradient_is_gone() -> None:
    x, w = variable(), variable()
    x.drop_grad()
    assert x.grad is None
    with autograd.record():
        y = x * w
    y.backward()
    assert x.grad is None


def test_gradients_end_at_arrays_that_ask_for_one_later() -> None:
    x = variable()
    with autograd.record():
        h = x * 2
        h.attach_grad()
        y = h * h
    y.backward()
    assert x.grad is not None
    assert h.grad is not None
    assert not x.grad.asnumpy().any()
    numpy.testing.assert_allclose(h.grad.asnumpy(), 4 * X)


def test_what_was_recorded_before_an_array_asked_goes_through_it() -> None:
    x = variable()
    with autograd.record():
        h = x * x
        y = h * h
    h.attach_grad()
    (first,) = autograd.grad(y, x, create_graph=True)
    numpy.testing.assert_allclose(first.asnumpy(), 4 * X**3)
    (second,) = autograd.grad(first, x)
    numpy.testing.assert_allclose(second.asnumpy(), 12 * X**2)


# -- heads ---------------------------------------------------------------------------------------------------


def test_several_heads_add_up() -> None:
    x = variable()
    with autograd.record():
        h = x * x
        a, b = h * 2, h.sum()
    autograd.backward(
        [a, b, a], [None, np.array(3.0, dtype="float64"), np.full((3, 4), 2.0, dtype="float64")]
    )
    assert x.grad is not None
    numpy.testing.assert_allclose(x.grad.asnumpy(), 2 * X * (2 + 3 + 4))


def test_head_gradients_are_taken_as_arrays_of_the_head() -> None:
    x = variable()
    with autograd.record():
        y = x * 3
    y.backward(X.astype("float32"))
    assert x.grad is not None
    numpy.testing.assert_allclose(x.grad.asnumpy(), 3 * X, rtol=1e-6)
    with autograd.record():
        y = (x * 3).sum()
    y.backward(2)
    assert (x.grad.asnumpy() == 6).all()


def test_a_variable_may_be_a_head() -> None:
    x = variable()
    x.backward()
    assert x.grad is not None
    assert (x.grad.asnumpy() == 1).all()


def test_retained_computations_can_be_asked_again() -> None:
    x = variable(grad_req="add")
    with autograd.record():
        y = npx.softmax(np.exp(x)) * x
    y.backward(retain_graph=True)
    assert x.grad is not None
    once = x.grad.asnumpy()
    y.backward()
    numpy.testing.assert_allclose(x.grad.asnumpy(), 2 * once)


def test_retained_computations_use_the_values_that_were_there() -> None:
    x, w = variable(), variable()
    with autograd.record():
        y = x * w
    w[...] = 100
    y.backward(retain_graph=True)
    x[...] = 100
    y.backward()
    assert x.grad is not None
    assert w.grad is not None
    numpy.testing.assert_array_equal(x.grad.asnumpy(), X)
    numpy.testing.assert_array_equal(w.grad.asnumpy(), X)


# -- gradients of gradients ----------------------------------------------------------------------------------


def test_gradients_have_gradients() -> None:
    x = variable()
    with autograd.record():
        y = np.exp(x) * x**3
    (first,) = autograd.grad(y, x, create_graph=True)
    (second,) = autograd.grad(first, [x], create_graph=True)
    (third,) = autograd.grad(second, x)
    e = numpy.exp(X)
    numpy.testing.assert_allclose(first.asnumpy(), e * (X**3 + 3 * X**2))
    numpy.testing.assert_allclose(second.asnumpy(), e * (X**3 + 6 * X**2 + 6 * X))
    numpy.testing.assert_allclose(third.asnumpy(), e * (X**3 + 9 * X**2 + 18 * X + 6))
    assert x.grad is not None
    assert not x.grad.asnumpy().any()


def test_a_penalty_on_gradients_can_be_learned() -> None:
    x = variable()
    with autograd.record():
        y = np.tanh(x).sum()
        (slope,) = autograd.grad(y, x, create_graph=True)
        loss = (slope * slope).sum()
    loss.backward()
    assert x.grad is not None
    t = numpy.tanh(X)
    numpy.testing.assert_allclose(x.grad.asnumpy(), 2 * (1 - t * t) * -2 * t * (1 - t * t))


def test_gradients_of_what_stands_between() -> None:
    x = variable()
    with autograd.record():
        h = x * 2
        y = h * h
    by_h, by_x = autograd.grad(y, [h, x])
    numpy.testing.assert_allclose(by_h.asnumpy(), 4 * X)
    numpy.testing.assert_allclose(by_x.asnumpy(), 8 * X)


def test_gradients_that_are_asked_for_are_arrays_of_their_own() -> None:
    x, y, head = variable(), variable(), np.ones(X.shape)
    with autograd.record():
        total = x + y
    by_x, by_y = autograd.grad(total, [x, y], head)
    by_x *= 3
    numpy.testing.assert_array_equal(by_y, numpy.ones_like(X))
    numpy.testing.assert_array_equal(head, numpy.ones_like(X))
    with autograd.record():
        total = x.sum()
    (by_x,) = autograd.grad(total, x, create_graph=True)
    by_x += 1  # and no view of one number
    numpy.testing.assert_array_equal(by_x, numpy.full_like(X, 2))


def test_gradients_of_writes_have_gradients() -> None:
    x = variable()
    with autograd.record():
        h = x * x
        h[0] *= x[1]
        row = h[2]
        row[::2] = row[1::2] * row[:2]
        y = (h * h).sum()
        (first,) = autograd.grad(y, x, create_graph=True)
        z = (first * first).sum()
    z.backward()

    def slope(values: numpy.ndarray) -> numpy.ndarray:
        again = variable(values)
        with autograd.record():
            h = again * again
            h[0] *= again[1]
            row = h[2]
            row[::2] = row[1::2] * row[:2]
            y = (h * h).sum()
        return autograd.grad(y, again)[0].asnumpy()

    wanted = numpy.zeros_like(X)
    for place in numpy.ndindex(X.shape):
        up, down = X.copy(), X.copy()
        up[place] += STEP
        down[place] -= STEP
        wanted[place] = ((slope(up) ** 2).sum() - (slope(down) ** 2).sum()) / (2 * STEP)
    assert x.grad is not None
    numpy.testing.assert_allclose(x.grad.asnumpy(), wanted, rtol=1e-5, atol=1e-5)


# -- what ends gradients -------------------------------------------------------------------------------------


def test_detached_arrays_share_memory_and_have_no_gradient() -> None:
    for end in (lambda h: h.detach(), autograd.stop_gradient, npx.stop_gradient):
        numpy.testing.assert_allclose(gradient(lambda x, end=end: end(x * 2) * x), 2 * X)
        numpy.testing.assert_allclose(gradient(lambda x, end=end: end(x) * x), X)
        numpy.testing.assert_allclose(
            gradient(lambda x, end=end: end(x * 2)[1:].T.reshape(-1).sum() + x), X * 0 + 1
        )


def test_views_that_were_taken_in_a_pause_have_no_gradient() -> None:
    def paused(x: ndarray) -> ndarray:
        h = x * x
        with autograd.pause():
            target = h[:, 1:3]
        return (h[:, :2] * target).sum()

    wanted = numpy.zeros_like(X)
    wanted[:, :2] = 2 * X[:, :2] * X[:, 1:3] ** 2
    numpy.testing.assert_allclose(gradient(paused), wanted)


def test_views_that_were_taken_outside_have_no_gradient() -> None:
    x = variable()
    with autograd.record():
        h = x * x
    top, head = h[0], x[0]
    with autograd.record():
        y = (h * top * head).sum()
    y.backward()
    assert x.grad is not None
    numpy.testing.assert_allclose(x.grad.asnumpy(), 2 * X * X[0] ** 3)


def test_integers_have_no_gradient_and_floats_made_of_them_none() -> None:
    numpy.testing.assert_allclose(
        gradient(lambda x: x.astype("int32").astype("float64") * x), X.astype("int32")
    )
    numpy.testing.assert_allclose(gradient(lambda x: x * (x > 1)), X > 1)


def test_narrower_and_wider_floats_have_gradients_of_their_own_dtype() -> None:
    half, single, double = (variable(X, dtype) for dtype in ("float16", "float32", "float64"))
    with autograd.record():
        y = half * single * double + np.array([1, 2, 3, 4], dtype="int64")
    assert y.dtype == "float64"
    y.backward()
    for x in (half, single, double):
        assert x.grad is not None
        assert x.grad.dtype == x.dtype
        numpy.testing.assert_allclose(x.grad.asnumpy(), X * X, rtol=4e-3)


# -- operands ------------------------------------------------------------------------------------------------

W = RNG.uniform(0.5, 2.0, 4)
OPERANDS: dict[str, Callable[[ndarray], Any]] = {
    "one array as both": lambda x: x * x / x + x.T.sum() + np.maximum(x, x) * (x @ x.T).sum(),
    "broadcast rows": lambda x: x[0] * x + x[:, :1],
    "broadcast from nothing": lambda x: x[0, 0] * x + x.sum(),
    "NumPy's arrays": lambda x: x * W + W * x + numpy.exp(x) + numpy.add(W, x),
    "NumPy's numbers": lambda x: x * numpy.float64(3) + numpy.float32(2) / x,
    "lists": lambda x: x * [1, 2, 3, 4] + [0.5] * x[:, :1],
    "arrays of lists of arrays": lambda x: np.array([x[0], x[1] * 2]) ** 2,
    "products of lists": lambda x: x @ [1, 2, 3, 4],
    "numbers": lambda x: 2**x + x**3 + x**0.5 + x**-1 - 3 / x,
    "nothing": lambda x: x[:0].sum() + x[:, 2:2].sum(axis=1).sum() + x,
    "a number without axes": lambda x: x[1, 2] ** 2 + x[1, 2].reshape(1, 1) * x[0, 0],
    "joined": lambda x: np.concatenate([x, x * 2], axis=1).sum(axis=0) ** 2,
    "stacked and split": lambda x: np.stack(np.split(x, 2, axis=1)) ** 2,
    "repeated": lambda x: np.repeat(x, 2, axis=0) * np.tile(x, (2, 1)),
    "chosen": lambda x: np.where(x > 1, x * 2, x[0]),
    "tensordot": lambda x: np.tensordot(x, x, axes=((0, 1), (0, 1))) + np.outer(x[0], x[1]),
}


@pytest.mark.parametrize("name", OPERANDS)
def test_every_kind_of_operand(name: str) -> None:
    held(OPERANDS[name])


def test_arrays_in_lists_are_followed() -> None:
    x = variable(X, "float32")
    with autograd.record():
        y = x * [x[0, 0], 3, 2.0, x[0, 0]] + (x > [x[0, 0], 1, 2, 3])
    y.backward()
    assert x.grad is not None
    wanted = numpy.broadcast_to([X[0, 0], 3, 2, X[0, 0]], (3, 4)).copy()
    wanted[0, 0] += X[:, 0].sum() + X[:, 3].sum()
    numpy.testing.assert_allclose(x.grad.asnumpy(), wanted, rtol=1e-6)


INDICES: dict[str, Any] = {
    "a row": 1,
    "a row from behind": -1,
    "an element": (1, 2),
    "a slice": slice(1, None),
    "steps": (slice(None, None, 2), slice(None, None, -1)),
    "new axes": (None, 1, ..., None),
    "all": ...,
    "nothing of it": slice(0, 0),
    "integers": [0, 2, 0],
    "integers of an axis": (slice(None), [3, 3, 0]),
    "pairs": ([0, 1, 1], [2, 3, 3]),
    "a number and integers": (1, [0, 0]),
    "a mask": X > 1,
    "a mask of rows": numpy.array([True, False, True]),
    "NumPy's integers": numpy.array([[0, 1], [2, 2]]),
}


@pytest.mark.parametrize("name", INDICES)
def test_every_kind_of_index(name: str) -> None:
    index = INDICES[name]
    held(lambda x: x[index] ** 2)


@pytest.mark.parametrize("name", INDICES)
def test_every_kind_of_index_can_be_written(name: str) -> None:
    index = INDICES[name]

    def writing(x: ndarray) -> ndarray:
        h = x * x
        h[index] = h[index] * x[0, 1]
        return h * h

    def with_number(x: ndarray) -> ndarray:
        h = x * x
        h[index] = x[0, 1]
        return h * h

    held(writing)
    held(with_number)


def test_the_last_of_several_values_for_one_element_has_the_gradient() -> None:
    def writing(x: ndarray) -> ndarray:
        h = np.zeros(4, dtype="float64")
        h[[0, 1, 0]] = x[0, :3]
        return h

    numpy.testing.assert_array_equal(gradient(writing)[0], [0, 1, 1, 0])


def test_indices_may_change_after_they_were_used() -> None:
    x, places, ours = variable(), numpy.array([0, 2]), np.array([0, 2], dtype="int64")
    with autograd.record():
        h = x * 1
        h[places] = 5
        y = x[places].sum() + x[ours].sum() + h.sum()
    places[:] = 1
    ours[...] = 1
    y.backward()
    assert x.grad is not None
    numpy.testing.assert_array_equal(x.grad.asnumpy()[:, 0], [2, 1, 2])


def test_arrays_of_numpy_may_change_after_they_were_used() -> None:
    x, w, shared = variable(), X.copy(), X.copy()
    lent = np.asarray(shared)
    with autograd.record():
        y = x * w * lent
    w[...] = shared[...] = 0
    y.backward()
    assert x.grad is not None
    numpy.testing.assert_allclose(x.grad.asnumpy(), X * X)


def test_memory_of_numpy_that_was_written_here_may_change_there() -> None:
    x, shared = variable(), X.copy()
    lent, asked = np.asarray(shared), np.asarray(shared)
    with autograd.record():
        lent[...] = x * 2
        y = lent[0] * lent
    shared[...] = 0
    y.backward()
    assert x.grad is not None
    wanted = 8 * numpy.broadcast_to(X[0], (3, 4)).copy()
    wanted[0] = 4 * X.sum(axis=0) + 4 * X[0]
    wanted[1:] = 4 * X[0]
    numpy.testing.assert_allclose(x.grad.asnumpy(), wanted)
    asked.attach_grad()
    shared[...] = X
    with autograd.record():
        y = asked[0] * asked
    shared[...] = 0
    y.backward()
    assert asked.grad is not None
    numpy.testing.assert_allclose(asked.grad.asnumpy()[1:], numpy.broadcast_to(X[0], (2, 4)))


def test_retained_composites_and_random_draws_are_the_same_again() -> None:
    x = variable()
    with autograd.record():
        dropped = npx.dropout(x, 0.5) * 2
        y = np.einsum("ij,kj->ik", dropped, dropped).sum()
    y.backward(retain_graph=True)
    assert x.grad is not None
    once = x.grad.asnumpy()
    y.backward()
    numpy.testing.assert_array_equal(x.grad.asnumpy(), once)
    numpy.testing.assert_array_equal(once == 0, dropped.asnumpy() == 0)


# -- writes --------------------------------------------------------------------------------------------------


def row_doubled(x: ndarray) -> ndarray:
    h = x * x
    row = h[1]
    row *= 2
    return h * h


def view_of_view(x: ndarray) -> ndarray:
    h = x * x
    block = h[1:, ::2]
    column = block.T[1]
    column += x[0, 0]
    return h * h + block.sum() + column.sum()


def overlapping(x: ndarray) -> ndarray:
    h = x * x
    first, second = h[:2], h[1:]
    first *= x[0]
    second[0] += first[1] * x[2]
    return h * h + first.sum() * second.sum()


def shifted(x: ndarray) -> ndarray:
    h = x * x
    h[:, 1:] = h[:, :-1] * 3
    h += h[0]
    return h * h


def constants(x: ndarray) -> ndarray:
    h = np.exp(x)
    h[0] = 3
    h[1, ::2] = [1, 2]
    row = h[2]
    row[...] = 0
    return h * h + row.sum()


def plain_memory(x: ndarray) -> ndarray:
    buffer = np.zeros((3, 4), dtype="float64")
    view, column = buffer[1], buffer.T[2]
    for n in range(3):
        buffer[n] = x[n] * x[2 - n]
    return buffer * buffer + view.sum() * column.sum()


def plain_memory_that_goes(x: ndarray) -> ndarray:
    buffer = np.zeros((3, 4), dtype="float64")
    view = buffer[1]
    buffer[...] = x * x
    del buffer
    return view * view


def whole_arrays(x: ndarray) -> ndarray:
    h = x * x
    same = h.T
    h *= h
    h[...] = h + x
    h -= 1
    return same * same


def reshaped(x: ndarray) -> ndarray:
    h = (x * x).reshape(2, 6)
    flat = h.reshape(-1)
    h[1, ::2] *= 3
    flat[2:9:3] += flat[:3]
    return flat.reshape(4, 3) * h.reshape(4, 3)


def hidden_memory(x: ndarray) -> ndarray:
    h = np.tensordot(x, x.T, axes=1)
    h[0] *= 2
    picked = x[:, [0, 1]]
    picked[1] += 1
    return (h * h).sum() + (picked * picked).sum()


def into_results(x: ndarray) -> ndarray:
    h, kept = x * x, np.zeros((3, 4), dtype="float64")
    np.exp(x, out=h)
    np.multiply(h, x, out=kept)
    np.add(x, 1, out=kept)
    return h * kept


def values_of_pullbacks(x: ndarray) -> ndarray:
    h = np.exp(x)
    s = npx.softmax(h)
    product = h * s
    h += 1
    s *= 0
    return product * h


def loop(x: ndarray) -> ndarray:
    state, outputs = x[0] * 1, np.zeros((5, 4), dtype="float64")
    for n in range(5):
        state *= x[1]
        state[1:] += x[2, 1:]
        outputs[n] = np.tanh(state)
    return outputs


WRITES = (
    *(row_doubled, view_of_view, overlapping, shifted, constants, plain_memory, plain_memory_that_goes),
    *(whole_arrays, reshaped, hidden_memory, into_results, values_of_pullbacks, loop),
)


@pytest.mark.parametrize("function", WRITES, ids=lambda f: f.__name__)
def test_writes_give_the_gradients_of_values(function: Callable[[ndarray], ndarray]) -> None:
    held(function)


def test_writes_between_record_and_backward_change_nothing() -> None:
    x, w = variable(), np.array(X)
    with autograd.record():
        h = x * w
        y = h * h
    w[1] = 50
    h[...] = 20
    x *= 0
    y.backward()
    assert x.grad is not None
    numpy.testing.assert_allclose(x.grad.asnumpy(), 2 * X**3)


def test_an_array_that_was_written_outside_is_not_followed_in_silence() -> None:
    def written(write: Callable[[ndarray], None]) -> ndarray:
        x = variable()
        with autograd.record():
            h = x * 2
            view = h[1]
        write(h)
        with autograd.record(), pytest.raises(GradientError, match=r"written to outside[\s\S]*detach\(\)"):
            _ = view * x[1]
        return h

    def twice(h: ndarray) -> None:
        h[0] = 1
        h[0] = 2

    def once(h: ndarray) -> None:
        h += 1

    for write in (once, twice):
        h = written(write)
        x = variable()
        with autograd.record():
            y = h.detach() * x
            h[...] = x * 3  # nothing of what was there is left
            z = h + y
        z.backward()
        assert x.grad is not None


def test_a_write_in_a_pause_is_one_outside() -> None:
    x = variable()
    with autograd.record():
        h = x * 2
        y = h * h
        with autograd.pause():
            h[0] = 7
        with pytest.raises(GradientError, match="written to outside"):
            _ = h * 1
    y.backward()
    assert x.grad is not None
    numpy.testing.assert_allclose(x.grad.asnumpy(), 8 * X)


def test_states_in_plain_memory_can_be_written_in_a_pause() -> None:
    x, mean = variable(), np.zeros(4, dtype="float64")
    for _ in range(3):
        with autograd.record():
            h = x * 2
            with autograd.pause():
                mean *= 0.9
                mean += h.mean(axis=0) * 0.1
            y = h * mean
        seen = mean.asnumpy()
        y.backward()
        assert x.grad is not None
        numpy.testing.assert_allclose(x.grad.asnumpy(), numpy.broadcast_to(2 * seen, (3, 4)))


def test_targets_that_were_detached_can_be_written() -> None:
    x = variable()
    with autograd.record():
        h = x * 2
        target = h.detach()
        target[0] = 5
        target[[1, 2], [0, 3]] = 3
        y = (target * x).sum() + target[1].sum()
        with pytest.raises(GradientError, match="through what detach"):
            _ = h * 1
    y.backward()
    assert x.grad is not None
    numpy.testing.assert_allclose(x.grad.asnumpy(), target.asnumpy())


def test_a_detached_array_is_not_used_when_its_memory_changed_meanwhile() -> None:
    x = variable()
    with autograd.record():
        h = x * 2
        before = h.detach()
        h += x
        with pytest.raises(GradientError, match=r"shares memory that was written[\s\S]*copy\(\)"):
            _ = before * x


def test_variables_cannot_be_written_while_recorded() -> None:
    whole, part = variable(), np.zeros((4, 3))[1:]
    part.attach_grad()
    with autograd.record():
        for write in (
            lambda: whole.fill(0),
            lambda: whole[0].fill(0),
            lambda: whole.detach().fill(0),
            lambda: part.fill(0),
        ):
            with pytest.raises(GradientError, match=r"attach_grad\(\)[\s\S]*pause\(\)"):
                write()
        with autograd.pause():
            whole[0] = 1
        y = whole * whole
    y.backward()
    assert whole.grad is not None
    numpy.testing.assert_allclose(whole.grad.asnumpy(), 2 * numpy.concatenate((numpy.ones((1, 4)), X[1:])))


def test_floats_written_into_integers_have_no_gradient() -> None:
    x, counts = variable(), np.zeros((3, 4), dtype="int64")
    with autograd.record():
        counts[...] = x
        y = counts * x
    y.backward()
    assert x.grad is not None
    numpy.testing.assert_allclose(x.grad.asnumpy(), X.astype("int64"))


def test_narrow_memory_takes_the_gradient_of_wide_values() -> None:
    def writing(x: ndarray) -> ndarray:
        narrow = np.zeros((3, 4), dtype="float32")
        narrow[1] = x[0] * 2
        narrow[2:] += x[2:].astype("float32")
        return narrow.astype("float64")

    numpy.testing.assert_allclose(gradient(writing), [[2] * 4, [0] * 4, [1] * 4])


# -- Function ------------------------------------------------------------------------------------------------


class Sigmoid(autograd.Function):
    def forward(self, x: Any) -> Any:
        y = 1 / (1 + np.exp(-x))
        self.save_for_backward(y)
        return y

    def backward(self, dy: Any) -> Any:
        (y,) = self.saved_tensors
        return dy * y * (1 - y)


class Pair(autograd.Function):
    """The product and the difference of two arrays, and how many there are."""

    def forward(self, x: Any, y: Any, scale: float) -> Any:
        self.x, self.y = x, y
        return x * y * scale, x - y, np.array(2, dtype="int32")

    def backward(self, of_product: Any, of_difference: Any, _: Any) -> Any:
        return of_product * self.y + of_difference, of_product * self.x - of_difference, None


def test_functions_have_the_gradient_that_they_give() -> None:
    s = 1 / (1 + numpy.exp(-X))
    numpy.testing.assert_allclose(
        gradient(lambda x: Sigmoid()(x * 2)), numpy.asarray(2 * (t := 1 / (1 + numpy.exp(-2 * X))) * (1 - t))
    )
    x = variable()
    with autograd.record():
        y = Sigmoid()(x)
    (first,) = autograd.grad(y, x, create_graph=True)
    (second,) = autograd.grad(first, x)
    numpy.testing.assert_allclose(first.asnumpy(), s * (1 - s))
    numpy.testing.assert_allclose(second.asnumpy(), s * (1 - s) * (1 - 2 * s))


def test_functions_of_several_arrays_with_several_results() -> None:
    x, w = variable(), variable(X[::-1])
    with autograd.record():
        product, difference, count = Pair()(x, w, 1.0)
        y = product * product
    assert count.dtype == "int32"
    autograd.backward([y, difference])
    assert x.grad is not None
    assert w.grad is not None
    numpy.testing.assert_allclose(x.grad.asnumpy(), 2 * X * X[::-1] ** 2 + 1)
    numpy.testing.assert_allclose(w.grad.asnumpy(), 2 * X**2 * X[::-1] - 1)
    with autograd.record():
        _, difference, _ = Pair()(x, x, 3.0)
    difference.backward()
    assert not x.grad.asnumpy().any()


def test_functions_keep_what_they_saved() -> None:
    x = variable()
    with autograd.record():
        h = x * 2
        product, _, _ = Pair()(h, h, 1.0)
        y = Sigmoid()(h)
        z = product + y * 0
        h[...] = 0
        y += 1
    z.backward()
    assert x.grad is not None
    numpy.testing.assert_allclose(x.grad.asnumpy(), 8 * X)


def test_functions_may_return_an_operand() -> None:
    class Same(autograd.Function):
        def forward(self, x: Any) -> Any:
            return x

        def backward(self, dy: Any) -> Any:
            return dy * 10

    numpy.testing.assert_allclose(gradient(lambda x: Same()(x) + x), X * 0 + 11)
    numpy.testing.assert_allclose(gradient(lambda x: Same()(x * 2) * 3), X * 0 + 60)


def test_functions_say_what_is_wrong_with_them() -> None:
    class Few(autograd.Function):
        def forward(self, x: Any, y: Any) -> Any:
            return x + y

        def backward(self, dy: Any) -> Any:
            return dy

    class Wide(Few):
        def backward(self, dy: Any) -> Any:
            return dy.sum(), dy

    x = variable()
    for kind, error, message in (
        (Few, GradientError, "1 gradients for 2"),
        (Wide, ShapeError, r"shape \(\) for operand 0"),
    ):
        with autograd.record():
            y = kind()(x, x)
        with pytest.raises(error, match=message):
            y.backward()
    once = Sigmoid()
    once(x)
    with pytest.raises(UsageError, match="called once"):
        once(x)
    with autograd.record(), pytest.raises(NotImplementedError, match="needs a method forward"):
        autograd.Function()(x)


# -- nets ----------------------------------------------------------------------------------------------------


def net_of(width: int) -> Any:
    net = nn.Sequential()
    net.add(nn.Dense(width, activation="relu"), nn.Dense(2))
    net.initialize()
    return net


def test_shared_parameters_have_the_sum() -> None:
    layer = nn.Dense(4, flatten=False, in_units=4)
    layer.initialize()
    x = np.ones((2, 4))
    with autograd.record():
        once = layer(x).sum()
    once.backward()
    bias = layer.bias.grad().asnumpy()
    with autograd.record():
        twice = layer(x).sum() + layer(x * 2).sum()
    twice.backward()
    numpy.testing.assert_allclose(layer.bias.grad().asnumpy(), 2 * bias)
    numpy.testing.assert_allclose(layer.weight.grad().asnumpy(), 6)


def test_threads_record_apart() -> None:
    x, failures = np.ones((3, 4)), []

    def trained(net: Any, wanted: list[numpy.ndarray]) -> None:
        try:
            for _ in range(20):
                assert not autograd.is_recording()
                with autograd.record():
                    y = (net(x) ** 2).sum()
                y.backward()
            wanted.extend(p.grad().asnumpy() for p in net.collect_params().values())
        except Exception as error:
            failures.append(error)

    nets, found = [net_of(8) for _ in range(2)], [[], []]  # type: ignore[var-annotated]
    for net in nets:
        net(x)
    for used in (nets, [nets[0], nets[0]]):
        found = [[], []]
        threads = [threading.Thread(target=trained, args=(n, f)) for n, f in zip(used, found, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        for net, grads in zip(used, found, strict=True):
            wanted: list[numpy.ndarray] = []
            trained(net, wanted)
            for mine, alone in zip(grads, wanted, strict=True):
                numpy.testing.assert_array_equal(mine, alone)


# -- memory --------------------------------------------------------------------------------------------------


def live_nodes() -> int:
    gc.collect()
    return sum(type(found) is TapeNode for found in gc.get_objects())


@pytest.mark.parametrize("backward", [True, False])
def test_steps_leave_nothing_behind(backward: bool) -> None:
    net, x, buffer = net_of(8), np.ones((3, 4)), np.zeros((2, 3, 2))
    net(x)
    counts = []

    def step() -> None:
        nonlocal buffer
        with autograd.record():
            h = net(x)
            h[0] += 1
            buffer[0] = h
            row = buffer[1]
            row[...] = h * 2
            loss = (buffer * buffer).sum() + Sigmoid()(h).sum()
        if backward:
            loss.backward()
        buffer = buffer.detach().copy()

    gc.disable()
    try:
        for number in range(200):
            step()
            if number in (20, 199):
                counts.append(sum(type(found) is TapeNode for found in gc.get_objects()))
    finally:
        gc.enable()
    assert counts[0] == counts[1], "nodes go without the collector"


def test_histories_go_with_their_arrays() -> None:
    before, x = live_nodes(), variable()
    with autograd.record():
        h = x * 2
        h[0] += 1
        view = h[1]
        view *= h[0]
        buffer = np.zeros((3, 4), dtype="float64")
        buffer[0] = h[0]
        outer = np.tensordot(h, h)
    del x, h, view, buffer, outer
    assert live_nodes() == before


@pytest.mark.long
def test_long_chains_are_followed_and_freed() -> None:
    x = variable([1.0])
    with autograd.record():
        y = x
        for _ in range(10_000):
            y = y + x
    y.backward()
    assert x.grad is not None
    assert x.grad.item() == 10_001
    with autograd.record():
        y = x * 1
        for _ in range(10_000):
            y += x
    del y  # a history that no backward() has taken apart


def test_filling_a_buffer_keeps_no_copies_of_it() -> None:
    x, buffer = variable(), np.zeros((50, 100_000))
    with autograd.record():
        for n in range(50):
            buffer[n] = x[0, 0]
        y = buffer.sum()
    found = sum(
        operand.nbytes
        for node in gc.get_objects()
        if type(node) is TapeNode
        for operand in node.operands
        if type(operand) is ndarray and operand.shape == buffer.shape and operand._data is not buffer._data
    )
    assert found == 0
    y.backward()
    assert x.grad is not None
    assert x.grad[0, 0].item() == 50 * 100_000


# -- messages ------------------------------------------------------------------------------------------------


def test_backward_twice_says_what_to_write() -> None:
    x = variable()
    with autograd.record():
        y = x * x
    y.backward()
    with pytest.raises(GradientError, match="retain_graph=True"):
        y.backward()


def test_outside_of_record_says_what_to_write() -> None:
    x = variable()
    with pytest.raises(GradientError, match=r"not computed inside of autograd.record\(\)"):
        (x * x).backward()
    with autograd.record():
        y = np.array((x * x).asnumpy())
        number = np.ones(2) * (x[0, 0] * 2).item()
    for lost in (y, number, x.detach()):
        with pytest.raises(GradientError, match=r"asnumpy\(\), item\(\) or detach\(\)"):
            lost.backward()


def test_integers_say_what_to_write() -> None:
    with pytest.raises(GradientError, match=r"float[\s\S]*astype\('float32'\)"):
        np.arange(3, dtype="int32").attach_grad()
    x = variable()
    with autograd.record():
        y = (x * 2).astype("int64")
    with pytest.raises(GradientError, match="of integers or bools"):
        y.backward()


def test_functions_of_numpy_say_what_to_write() -> None:
    x = variable()
    with autograd.record():
        h = x * 2
        for call in (
            lambda: numpy.ptp(numpy.cov(h)),
            lambda: numpy.asarray(h),
            lambda: np.nanmedian(h),
            lambda: h.put([0], 1),
            lambda: numpy.add.accumulate(h),
        ):
            with pytest.raises(GradientError, match=r"numpy\.\w[\s\S]*detach\(\)"):
                call()
        with pytest.raises(GradientError, match=r"unique\(\) has no gradient"):
            np.unique(h)
        numpy.cov(h.detach())
        numpy.cov(X)


def test_wrong_head_gradients_say_what_was_found() -> None:
    x = variable()
    with autograd.record():
        y = x * x
    with pytest.raises(ShapeError, match=r"shape \(3, 4\) cannot have a gradient of shape \(4,\)"):
        y.backward(np.ones(4))
    with pytest.raises(UsageError, match="1 heads need as many head_grads; found 2"):
        autograd.backward([y], [None, None])


def test_gradients_of_what_is_not_related_say_so() -> None:
    x, w = variable(), variable()
    with autograd.record():
        y = x * x
    with pytest.raises(GradientError, match=r"do not depend on variables \[1\]"):
        autograd.grad(y, [x, w], retain_graph=True)
    with pytest.raises(GradientError, match="variable 0 has no gradient"):
        autograd.grad(y, np.ones(2))
