"""Models of Keras on TensorFlow's backend, with functions of TensorFlow: needs the package, which is large."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

keras = pytest.importorskip("keras")
if keras.backend.backend() != "tensorflow":
    pytest.skip("Keras computes with another backend", allow_module_level=True)
tf = pytest.importorskip("tensorflow")

import blockfuse  # noqa: E402

pytestmark = pytest.mark.long


# The nets of the d2l.ai chapter "Layers and Blocks", TensorFlow's tab, as they stand there.
# fmt: off
class MySequential(tf.keras.Model):
    def __init__(self, *args):  # type: ignore[no-untyped-def]
        super().__init__()
        self.modules = []
        for block in args:
            # Here, `block` is an instance of a `tf.keras.layers.Layer`
            # subclass
            self.modules.append(block)

    def call(self, X):  # type: ignore[no-untyped-def]
        for module in self.modules:
            X = module(X)
        return X


class FixedHiddenMLP(tf.keras.Model):
    def __init__(self):  # type: ignore[no-untyped-def]
        super().__init__()
        self.flatten = tf.keras.layers.Flatten()
        # Random weight parameters created with `tf.constant` are not updated
        # during training (i.e., constant parameters)
        self.rand_weight = tf.constant(tf.random.uniform((20, 20)))
        self.dense = tf.keras.layers.Dense(20, activation=tf.nn.relu)

    def call(self, inputs):  # type: ignore[no-untyped-def]
        X = self.flatten(inputs)
        # Use the created constant parameters, as well as the `relu` and
        # `matmul` functions
        X = tf.nn.relu(tf.matmul(X, self.rand_weight) + 1)
        # Reuse the fully-connected layer. This is equivalent to sharing
        # parameters with two fully-connected layers
        X = self.dense(X)
        # Control flow
        while tf.reduce_sum(tf.math.abs(X)) > 1:
            X /= 2
        return tf.reduce_sum(X)


class NestMLP(tf.keras.Model):
    def __init__(self):  # type: ignore[no-untyped-def]
        super().__init__()
        self.net = tf.keras.Sequential()
        self.net.add(tf.keras.layers.Dense(64, activation=tf.nn.relu))
        self.net.add(tf.keras.layers.Dense(32, activation=tf.nn.relu))
        self.dense = tf.keras.layers.Dense(16, activation=tf.nn.relu)

    def call(self, inputs):  # type: ignore[no-untyped-def]
        return self.dense(self.net(inputs))
# fmt: on


def sequential() -> Any:
    return tf.keras.models.Sequential(
        [tf.keras.layers.Dense(256, activation=tf.nn.relu), tf.keras.layers.Dense(10)]
    )


def my_sequential() -> Any:
    return MySequential(tf.keras.layers.Dense(units=256, activation=tf.nn.relu), tf.keras.layers.Dense(10))


def chimera() -> Any:
    """The chapter's: its ``Sequential`` is one that Keras 3 cannot build, as it traces the loop into a graph."""
    return MySequential(NestMLP(), tf.keras.layers.Dense(20), FixedHiddenMLP())


class Calling(keras.Model):
    """A model whose call is a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def call(self, x: Any) -> Any:
        return self.function(self, x)


def assert_same(ours: Any, theirs: Any) -> None:
    assert (type(ours), ours.dtype, ours.shape) == (type(theirs), theirs.dtype, theirs.shape)
    numpy.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [sequential, my_sequential, FixedHiddenMLP, NestMLP, chimera])
def test_the_chapter_runs_as_written_and_compiled(make: Callable[[], Any]) -> None:
    model, X = make(), tf.random.uniform((2, 20))
    model(X)
    net = blockfuse.compile(model, threads=1)
    for _ in range(3):
        assert_same(net(X), model(X))
    assert ": compiled" in net.explain(), net.explain()
    if make in (FixedHiddenMLP, chimera):
        assert "ways back (loops)" in net.explain(), net.explain()
    model.set_weights([weight * 0.5 for weight in model.get_weights()])
    assert_same(net(X), model(X))


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "elements": lambda x: tf.tanh(x) * tf.sigmoid(x) + tf.exp(-tf.square(x)) - tf.nn.softplus(x),
    "pairs": lambda x: tf.maximum(x, 0.5) / tf.add(tf.abs(x), 1.0) + tf.pow(tf.abs(x), 2.0),
    "rounding": lambda x: tf.floor(x) + tf.math.ceil(x) + tf.sign(x),
    "activations": lambda x: tf.nn.gelu(x) + tf.nn.silu(x) + tf.nn.leaky_relu(x) + tf.nn.elu(x),
    "softmax": lambda x: tf.nn.softmax(x) + tf.nn.log_softmax(x, axis=0),
    "reductions": lambda x: (
        tf.reduce_mean(x, axis=1, keepdims=True) + tf.reduce_max(x) - tf.reduce_logsumexp(x, 0)
    ),
    "spread": lambda x: tf.math.reduce_variance(x, 1) + tf.math.reduce_std(x, 1),
    "places": lambda x: tf.argmax(x, axis=1),
    "products": lambda x: tf.matmul(x, x, transpose_b=True) + tf.tensordot(x, x, [[1], [1]]),
    "shapes": lambda x: tf.transpose(tf.reshape(x, (4, 3)), [1, 0]) + tf.squeeze(tf.expand_dims(x, 0), 0),
    "parts": lambda x: tf.concat([x, tf.zeros_like(x)], axis=1) + tf.stack([x, x], 1)[:, 0, :1],
    "halves": lambda x: tf.split(x, 2, axis=1)[0] * tf.reverse(x, [0])[:, :2],
    "choices": lambda x: tf.where(x > 0, x, tf.clip_by_value(x, -0.1, 0.1)),
    "picks": lambda x: tf.gather(x, [2, 0], axis=1) + tf.cast(x[:, :2] > 0, tf.float32),
    "normalized": lambda x: (
        tf.nn.l2_normalize(x, axis=1) + tf.nn.bias_add(x, tf.constant([1.0, 2.0, 3.0, 4.0]))
    ),
    "made": lambda x: x @ tf.eye(4) + tf.zeros((3, 4)) + tf.ones(4) + tf.constant(2.0),
    "one hot": lambda x: tf.one_hot(tf.argmax(x, 1), 4) + x,
    "in order": lambda x: tf.cumsum(x, axis=1) + tf.roll(x, 1, axis=1) + tf.tile(x[:1], [3, 1]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_tensorflow_have_rules(name: str) -> None:
    model = Calling(lambda _, x: FUNCTIONS[name](x))
    net = blockfuse.compile(model, threads=1)
    for _ in range(4):
        x = tf.random.normal((3, 4))
        assert_same(net(x), model(x))
    assert ": compiled" in net.explain(), net.explain()


WEIGHT = tf.constant([1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(
    "function",
    [
        *(lambda x: WEIGHT + x, lambda x: x + WEIGHT, lambda x: WEIGHT * x, lambda x: WEIGHT - x),
        *(lambda x: WEIGHT / x, lambda x: tf.where(WEIGHT > x, x, WEIGHT)),  # noqa: SIM300 - the tensor on the left is what is asked
    ],
)
def test_a_tensor_that_was_there_before_may_stand_on_either_side(function: Callable[[Any], Any]) -> None:
    model = Calling(lambda _, x: function(x))
    net = blockfuse.compile(model, threads=1)
    for _ in range(4):
        x = tf.random.normal((3, 4))
        assert_same(net(x), model(x))
    assert ": compiled" in net.explain(), net.explain()


IN_KERAS: dict[str, Callable[[Any, Any], Any]] = {
    "no row": lambda _, x: tf.sort(x, axis=1),
    "not covered": lambda _, x: tf.gather(x, [[0, 1], [1, 0], [2, 2]], batch_dims=1),
    "drawn": lambda _, x: x + 0 * tf.random.uniform((3, 4)),
    "a variable of its own": lambda self, x: x * self.own,
    "the other way": lambda self, x: self.own * x,
    "added": lambda self, x: self.own + x,
    "to NumPy": lambda _, x: x + float(numpy.asarray(x).sum()),
    "in a function": lambda _, x: tf.function(lambda y: y * 2)(x),
    "integers": lambda _, x: tf.cast(tf.reduce_mean(tf.cast(x * 10, tf.int32)), tf.float32) + x,
}


@pytest.mark.parametrize("name", IN_KERAS)
def test_what_has_no_rule_gives_what_keras_gives(name: str) -> None:
    model = Calling(IN_KERAS[name])
    model.own = tf.Variable(2.0)
    net = blockfuse.compile(model, threads=1)
    for turn in range(5):
        model.own.assign(float(turn))
        x = tf.random.normal((3, 4))
        assert_same(net(x), model(x))
    assert "eager" in net.explain(), net.explain()


def test_draws_go_on_as_without_us() -> None:
    model = Calling(lambda _, x: x + tf.random.uniform(x.shape))
    net, x = blockfuse.compile(model, threads=1), tf.zeros((3, 4))
    tf.random.set_seed(3)
    drawn = [net(x).numpy() for _ in range(4)]
    tf.random.set_seed(3)
    expected = [model(x).numpy() for _ in range(4)]
    numpy.testing.assert_array_equal(drawn, expected)


def test_what_tensorflow_refuses_is_refused() -> None:
    net = blockfuse.compile(Calling(lambda _, x: tf.constant([1, 2, 3, 4]) + x), threads=1)
    for _ in range(3):
        with pytest.raises(tf.errors.InvalidArgumentError):
            net(tf.random.normal((3, 4)))


def test_a_tape_gets_its_gradients() -> None:
    model, x = sequential(), tf.random.uniform((2, 20))
    model(x)
    net = blockfuse.compile(model, example=x.numpy())
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(net(x))
    assert all(g is not None for g in tape.gradient(y, model.trainable_variables))
    assert "gradients are recorded" in net.explain()


def test_a_graph_gets_the_models_operations() -> None:
    model, x = sequential(), tf.random.uniform((2, 20))
    model(x)
    net = blockfuse.compile(model, example=x.numpy())
    traced = tf.function(lambda y: net(y))
    before = traced(x)
    model.set_weights([weight * 2 for weight in model.get_weights()])
    assert_same(traced(x), model(x))
    assert not numpy.allclose(before, traced(x))


def test_writes_to_what_a_variable_holds_are_seen() -> None:
    model, x = sequential(), tf.random.uniform((2, 20))
    model(x)
    net = blockfuse.compile(model, threads=1)
    for turn in range(4):
        held = model.layers[0].kernel.value
        held.assign_add(tf.ones_like(held) * turn)
        held.scatter_nd_update([[3, 2]], [40.0 + turn])
        assert_same(net(x), model(x))
    assert ": compiled" in net.explain(), net.explain()


def test_layers_in_a_tuple_which_tensorflow_wraps_give_what_keras_gives() -> None:
    model, x = Calling(lambda self, x: self.parts[1](self.parts[0](x))), tf.random.uniform((2, 20))
    model.parts = (tf.keras.layers.Dense(4), tf.keras.layers.Dense(3))
    model(x)
    net = blockfuse.compile(model, threads=1)
    for _ in range(4):
        assert_same(net(x), model(x))
