"""Layers: what each computes, what it refuses, how it prints."""

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy
import pytest

from blockfuse import nn
from blockfuse.array import autograd, ndarray, np, npx
from blockfuse.gluon import rnn
from blockfuse.ir.errors import NotInitializedError, ShapeError, UsageError
from blockfuse.nn.layers.activations import ACTIVATIONS

POINTS = numpy.array([[-3.0, -0.5, 0.0], [0.5, 1.0, 20.0]], "float32")


def stacked(*blocks: nn.Block) -> nn.Sequential:
    net = nn.Sequential()
    net.add(*blocks)
    return net


def test_everything_that_users_expect_is_in_nn() -> None:
    assert nn.HybridBlock is nn.Block
    assert all(hasattr(nn, name) for name in nn.__all__)


# -- Dense ---------------------------------------------------------------------------------------------------


def test_dense_multiplies_by_the_transposed_weight_and_adds_the_bias() -> None:
    layer = nn.Dense(2, in_units=3, weight_initializer="ones", bias_initializer="ones")
    layer.initialize()
    numpy.testing.assert_array_equal(layer(np.array([[1, 2, 3]])).asnumpy(), [[7, 7]])


def test_dense_without_bias() -> None:
    layer = nn.Dense(2, use_bias=False, weight_initializer="ones", activation="tanh")
    layer.initialize()
    assert layer.bias is None
    assert list(layer.collect_params()) == ["weight"]
    numpy.testing.assert_allclose(layer(np.array([[1, 2]])).asnumpy(), numpy.tanh([[3, 3]]), rtol=1e-6)


@pytest.mark.parametrize(
    ("flatten", "shape", "features", "result"),
    [
        (True, (2, 3), 3, (2, 5)),
        (True, (2, 3, 4), 12, (2, 5)),
        (True, (0, 3, 4), 12, (0, 5)),
        (False, (2, 3, 4), 4, (2, 3, 5)),
        (False, (4,), 4, (5,)),
        (False, (0, 4), 4, (0, 5)),
    ],
)
def test_dense_learns_how_many_features_there_are(
    flatten: bool, shape: tuple[int, ...], features: int, result: tuple[int, ...]
) -> None:
    layer = nn.Dense(5, flatten=flatten)
    layer.initialize()
    assert layer(np.ones(shape)).shape == result
    assert layer.weight.shape == (5, features)


def test_dense_in_double_precision() -> None:
    layer = nn.Dense(2, dtype="float64")
    layer.initialize()
    assert layer(np.ones((1, 3), dtype="float64")).dtype == "float64"


@pytest.mark.parametrize("shape", [(2, 4), (2, 1, 4), (0, 4)])
def test_dense_refuses_another_number_of_features_by_name(shape: tuple[int, ...]) -> None:
    net = stacked(nn.Dense(3, in_units=5))
    net.initialize()
    with pytest.raises(
        ShapeError, match=r"Dense 0 expects 5 features .* \(3, 5\); found 4 in an input of shape"
    ):
        net(np.ones(shape))


def test_a_vector_is_a_batch_of_numbers_or_one_row() -> None:
    for flatten, features, wanted in ((True, 1, (3, 5)), (False, 3, (5,))):
        layer = nn.Dense(5, flatten=flatten)
        layer.initialize()
        assert layer(np.ones(3)).shape == wanted
        assert layer.weight.shape == (5, features)
    layer = nn.Dense(5, in_units=3)
    layer.initialize()
    with pytest.raises(ShapeError, match=r"write x\[None\] for one row"):
        layer(np.ones(3))


@pytest.mark.parametrize(("flatten", "shape", "wanted"), [(True, (), "(batch,"), (False, (), "(...,")])
def test_dense_refuses_too_few_axes(flatten: bool, shape: tuple[int, ...], wanted: str) -> None:
    layer = nn.Dense(3, flatten=flatten)
    layer.initialize()
    with pytest.raises(ShapeError, match="expects an input of shape") as caught:
        layer(np.ones(shape))
    assert wanted in str(caught.value)


# what makes a layer of one of its counts, the name of that count, and the least one
COUNTS: list[tuple[Callable[[Any], nn.Block], str, int]] = [
    (lambda n: nn.Conv2D(n, 3), "channels", 1),
    (lambda n: nn.Conv1D(4, 3, groups=n), "groups", 1),
    (lambda n: nn.Conv2DTranspose(4, 3, in_channels=n), "in_channels", 0),
    (lambda n: nn.GroupNorm(n), "num_groups", 1),
    (lambda n: nn.LayerNorm(in_channels=n), "in_channels", 0),
    (lambda n: nn.PReLU(in_channels=n), "in_channels", 1),
    (lambda n: nn.Embedding(n, 2), "input_dim", 1),
    (lambda n: nn.Embedding(2, n), "output_dim", 1),
    (lambda n: rnn.LSTM(n), "hidden_size", 1),
    (lambda n: rnn.GRU(2, n), "num_layers", 1),
    (lambda n: rnn.RNN(2, input_size=n), "input_size", 0),
    (lambda n: rnn.LSTM(2, projection_size=n), "projection_size", 1),
    (lambda n: rnn.GRUCell(n), "hidden_size", 1),
    (lambda n: rnn.LSTMCell(2, input_size=n), "input_size", 0),
    (lambda n: rnn.LSTMPCell(2, n), "projection_size", 1),
]


@pytest.mark.parametrize(
    ("make", "name", "least"), COUNTS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_counts_of_layers_that_are_none_are_named(
    make: Callable[[Any], nn.Block], name: str, least: int
) -> None:
    make(numpy.int64(2))
    for value in (least - 1, -3, 2.0, "2", True):
        with pytest.raises(
            UsageError, match=f"takes {name} as an int of {least} or more; found {name}={value!r}"
        ):
            make(value)


@pytest.mark.parametrize("units", [2.5, "256", 0, -1, None, True])
def test_units_that_are_no_count_are_named(units: Any) -> None:
    with pytest.raises(UsageError, match=f"Dense takes units as an int of 1 or more; found units={units!r}"):
        nn.Dense(units)
    with pytest.raises(UsageError, match="Dense takes in_units as an int of 0 or more; found in_units=-1"):
        nn.Dense(2, in_units=-1)


def test_dense_after_a_failed_first_call_still_learns_its_features() -> None:
    layer = nn.Dense(3)
    layer.initialize()
    with pytest.raises(ShapeError):
        layer(np.ones(()))
    assert layer(np.ones((1, 7))).shape == (1, 3)


# -- activations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Activation("relu"), lambda x: max(x, 0)),
        (nn.Activation("sigmoid"), lambda x: 1 / (1 + math.exp(-x))),
        (nn.Activation("log_sigmoid"), lambda x: -math.log1p(math.exp(-x))),
        (nn.Activation("tanh"), math.tanh),
        (nn.Activation("softrelu"), lambda x: math.log1p(math.exp(x))),
        (nn.Activation("softsign"), lambda x: x / (1 + abs(x))),
        (nn.Activation("mish"), lambda x: x * math.tanh(math.log1p(math.exp(x)))),
        (nn.Activation("gelu"), lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2),
        (nn.Activation("silu"), lambda x: x / (1 + math.exp(-x))),
        (nn.LeakyReLU(0.1), lambda x: x if x > 0 else 0.1 * x),
        (nn.ELU(2.0), lambda x: x if x > 0 else 2 * math.expm1(x)),
        (nn.SELU(), lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x))),
        (nn.GELU(), lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2),
        (nn.GELU("tanh"), lambda x: x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
        (nn.Swish(2.0), lambda x: x / (1 + math.exp(-2 * x))),
        (nn.SiLU(), lambda x: x / (1 + math.exp(-x))),
    ],
    ids=lambda value: repr(value) if isinstance(value, nn.Block) else value.__name__,
)
def test_activation_is_its_formula(layer: nn.Block, expected: Callable[[float], float]) -> None:
    result = layer(POINTS)
    assert result.dtype == "float32"
    wanted = [[expected(float(x)) for x in row] for row in POINTS]
    numpy.testing.assert_allclose(result, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [nn.Activation, lambda name: nn.Dense(3, activation=name)])
def test_an_unknown_activation_is_refused_with_the_list(make: Callable[[str], nn.Block]) -> None:
    with pytest.raises(UsageError, match="no activation 'rely'; use one of relu, sigmoid, tanh"):
        make("rely")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_dense_with_an_activation_is_both_layers(name: str) -> None:
    both = nn.Dense(4, activation=name, in_units=3)
    both.initialize()
    one = nn.Dense(4, in_units=3).share_parameters(both.collect_params())
    numpy.testing.assert_array_equal(both(POINTS), stacked(one, nn.Activation(name))(POINTS))


def test_prelu_learns_one_slope_or_one_a_channel() -> None:
    one, each = nn.PReLU(), nn.PReLU(in_channels=3)
    one.initialize()
    each.initialize()
    each.alpha.set_data([0, 1, 2])
    x = -np.ones((2, 3, 4))
    assert float(one(x).max()) == -0.25
    numpy.testing.assert_array_equal(each(x).asnumpy()[0, :, 0], [0, -1, -2])
    with pytest.raises(ShapeError, match=r"expects 3 channels along axis 1; found shape \(2, 4\)"):
        each(np.ones((2, 4)))


def test_settings_without_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="alpha=-1"):
        nn.LeakyReLU(-1)
    with pytest.raises(UsageError, match="'erf' or 'tanh'"):
        nn.GELU("sigmoid")
    with pytest.raises(UsageError, match="rate"):
        nn.Dropout(1.0)


# -- Dropout, Embedding, LayerNorm ---------------------------------------------------------------------------


def test_dropout_is_the_identity_in_prediction() -> None:
    numpy.testing.assert_array_equal(nn.Dropout(0.5)(POINTS), POINTS)


def test_dropout_in_training_keeps_the_mean() -> None:
    np.random.seed(1)
    with autograd.train_mode():
        result = nn.Dropout(0.25)(np.ones((100, 100))).asnumpy()
    assert set(numpy.unique(result)) == {numpy.float32(0), numpy.float32(1 / 0.75)}
    assert abs(result.mean() - 1) < 0.03


def test_dropout_drops_along_axes_together() -> None:
    np.random.seed(1)
    with autograd.train_mode():
        result = nn.Dropout(0.5, axes=(1,))(np.ones((50, 4))).asnumpy()
    assert (result == result[:, :1]).all()
    assert len(numpy.unique(result)) == 2


@pytest.mark.parametrize("dtype", ["int64", "int32", "float32"])
def test_embedding_picks_rows(dtype: str) -> None:
    layer = nn.Embedding(4, 2)
    layer.initialize()
    layer.weight.set_data(np.arange(8).reshape(4, 2))
    result = layer(np.array([[3, 0], [1, 1]], dtype=dtype))
    numpy.testing.assert_array_equal(result.asnumpy(), [[[6, 7], [0, 1]], [[2, 3], [2, 3]]])


def test_embedding_refuses_indices_outside_of_its_table() -> None:
    layer = nn.Embedding(4, 2)
    layer.initialize()
    with pytest.raises(IndexError):
        layer(np.array([4]))


@pytest.mark.parametrize("axis", [-1, 1, 0])
def test_layer_norm_gives_mean_0_and_variance_1(axis: int) -> None:
    layer = nn.LayerNorm(axis)
    layer.initialize()
    x = np.random.normal(3, 2, size=(5, 6, 7))
    result = layer(x).asnumpy()
    numpy.testing.assert_allclose(result.mean(axis), 0, atol=1e-5)
    numpy.testing.assert_allclose(result.std(axis), 1, atol=1e-3)
    assert layer.gamma.shape == layer.beta.shape == (x.shape[axis],)


def test_layer_norm_scales_and_shifts_along_its_axis() -> None:
    layer = nn.LayerNorm(0, center=False, in_channels=2)
    layer.initialize()
    layer.gamma.set_data([1, 10])
    result = layer(np.array([[1, 3], [3, 1]])).asnumpy()
    numpy.testing.assert_allclose(result, [[-1, 1], [10, -10]], rtol=1e-4)
    assert (layer.beta.grad_req, layer.gamma.grad_req) == ("null", "write")
    with pytest.raises(ShapeError, match="expects 2 elements along axis 0"):
        layer(np.ones((3, 3)))


# -- plumbing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "result"), [((2, 3, 4), (2, 12)), ((0, 3, 4), (0, 12)), ((5,), (5, 1))])
def test_flatten_keeps_the_batch(shape: tuple[int, ...], result: tuple[int, ...]) -> None:
    assert nn.Flatten()(np.ones(shape)).shape == result


def test_flatten_refuses_an_array_without_axes() -> None:
    with pytest.raises(ShapeError, match="without axes"):
        nn.Flatten()(np.ones(()))


def test_identity_returns_its_input() -> None:
    numpy.testing.assert_array_equal(nn.Identity()(POINTS), POINTS)


def test_lambda_wraps_a_function_or_names_one() -> None:
    numpy.testing.assert_array_equal(nn.Lambda("relu")(POINTS), numpy.maximum(POINTS, 0))
    numpy.testing.assert_array_equal(nn.Lambda("exp")(POINTS), np.exp(np.array(POINTS)).asnumpy())
    numpy.testing.assert_array_equal(nn.Lambda(lambda x: x + 1)(POINTS), POINTS + 1)
    assert float(nn.HybridLambda(lambda x, y: x * y)(np.array(2), np.array(3))) == 6


def test_hybrid_lambda_gives_the_namespaces_to_a_parameter_f() -> None:
    numpy.testing.assert_array_equal(
        nn.HybridLambda(lambda F, x: F.npx.relu(x))(POINTS), numpy.maximum(POINTS, 0)
    )


@pytest.mark.parametrize("function", ["no_such_function", 3])
def test_lambda_refuses_what_is_no_function(function: Any) -> None:
    with pytest.raises(UsageError, match="function"):
        nn.Lambda(function)


# -- containers ----------------------------------------------------------------------------------------------


def test_an_empty_sequential_returns_its_input() -> None:
    numpy.testing.assert_array_equal(nn.Sequential()(POINTS), POINTS)


def test_sequential_counts_and_iterates_and_indexes() -> None:
    net = stacked(nn.Dense(1), nn.Dense(2), nn.Dense(3))
    assert len(net) == 3
    assert [block._units for block in net] == [1, 2, 3]
    assert net[-1] is list(net)[2]
    with pytest.raises(IndexError):
        net[3]


@pytest.mark.parametrize("kind", [nn.Sequential, nn.HybridSequential])
def test_a_sequence_begins_with_the_blocks_that_it_is_given(kind: type[nn.Sequential]) -> None:
    a, b, c = nn.Dense(3), nn.Activation("relu"), nn.Dense(2)
    for net in (
        kind(a, b, c),
        kind([a, b, c]),
        kind((a, b, c), prefix="net_"),
        kind([a], b, [c]),
        kind(block for block in (a, b, c)),
    ):
        assert [*net] == [a, b, c]
        assert [*net.collect_params()] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    net = kind()
    net.add([a, b], c)
    net.initialize()
    assert net(POINTS).shape == (2, 2)
    assert len(kind(net, c)) == 2, "a sequence within is one block"
    assert len(kind([])) == 0


@pytest.mark.parametrize(
    "given", [nn.Dense, npx.relu, None, "net_", {"a": nn.Identity()}], ids=lambda given: type(given).__name__
)
def test_what_is_no_block_is_refused_and_none_is_added(given: Any) -> None:
    net = nn.Sequential()
    for refused in (lambda: nn.Sequential(given), lambda: net.add(nn.Identity(), [given])):
        with pytest.raises(
            TypeError, match=r"must be a Block, not .*; write blocks side by side or in a list"
        ):
            refused()
    assert len(net) == 0


def test_blocks_are_not_taken_for_another_argument() -> None:
    with pytest.raises(TypeError, match="takes the axis"):
        nn.Concatenate([nn.Identity()])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes prefix= as a text"):
        nn.Flatten([nn.Identity()])  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [nn.Sequential, nn.HybridSequential, nn.HybridConcatenate])
def test_a_slice_is_of_the_same_kind_and_shares_the_blocks(kind: type[nn.Sequential]) -> None:
    net = kind()
    net.add(nn.Dense(1), nn.Dense(2), nn.Dense(3))
    part = net[1:]
    assert type(part) is kind
    assert [block._units for block in part] == [2, 3]
    assert part[0] is net[1]
    assert list(part.collect_params()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert net[1].structural_name == "1"
    assert len(net) == 3


def test_several_results_become_several_arguments() -> None:
    class Split(nn.Block):
        def forward(self, x: Any, y: Any) -> Any:
            return x + y, x - y

    class Listing(nn.Block):
        def forward(self, x: Any, y: Any) -> Any:
            return [x, y]

    first, second = stacked(Split(), Split())(np.array(5), np.array(3))
    assert (float(first), float(second)) == (10, 6)
    assert type(stacked(Split(), Listing())(np.array(5), np.array(3))) is list


def test_one_list_as_the_input_stays_one_argument() -> None:
    class Total(nn.Block):
        def forward(self, parts: list[ndarray]) -> Any:
            return parts[0] + parts[1]

    assert float(stacked(Total())([np.array(1), np.array(2)])) == 3


def test_concatenate_joins_the_results_of_all_blocks() -> None:
    net = nn.Concatenate()
    net.add(nn.Dense(2), nn.Dense(3), nn.Identity())
    net.initialize()
    result = net(POINTS)
    assert result.shape == (2, 8)
    numpy.testing.assert_array_equal(result[:, 5:], POINTS)
    rows = nn.HybridConcatenate(axis=0)
    rows.add(nn.Identity(), nn.Identity())
    assert rows(POINTS).shape == (4, 3)


@pytest.mark.parametrize("kind", [nn.Concatenate, nn.HybridConcatenate])
@pytest.mark.parametrize("arguments", [(), (POINTS,)])
def test_nothing_cannot_be_joined(kind: Any, arguments: tuple[Any, ...]) -> None:
    net = kind()
    net.hybridize()
    with pytest.raises(UsageError, match=f"{kind.__name__} has no blocks: give it some by add"):
        net(*arguments)
    net.add(nn.Identity(), nn.Lambda(lambda x: (x, x)))
    with pytest.raises(TypeError, match=f"block 1 gives a tuple: {kind.__name__} joins arrays"):
        net(POINTS)


def test_a_layer_that_was_added_later_is_not_initialised() -> None:
    net = stacked(nn.Dense(3))
    net.initialize()
    net.add(nn.Dense(2))
    with pytest.raises(NotInitializedError, match=r"1\.weight"):
        net(POINTS)


# -- all -----------------------------------------------------------------------------------------------------

LAYERS = [
    nn.Dense(3, "relu"),
    nn.Activation("tanh"),
    nn.LeakyReLU(0.1),
    nn.PReLU(),
    nn.ELU(),
    nn.SELU(),
    nn.GELU(),
    nn.SiLU(),
    nn.Swish(),
    nn.Dropout(0.5),
    nn.Flatten(),
    nn.Lambda(npx.relu),
    nn.HybridLambda("relu"),
    nn.Identity(),
    nn.LayerNorm(),
    nn.BatchNorm(),
    nn.BatchNormReLU(),
    nn.SyncBatchNorm(),
    nn.GroupNorm(),
    nn.RMSNorm(),
    nn.Embedding(30, 4),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_layer_can_be_copied_and_pickled(layer: nn.Block, duplicate: Callable[[Any], Any]) -> None:
    original = copy.deepcopy(layer)
    original.initialize()
    result = original(abs(POINTS))
    numpy.testing.assert_array_equal(duplicate(original)(abs(POINTS)), result)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Dense(3, "relu", in_units=4), "Dense(4 -> 3, Activation(relu))"),
        (nn.Dense(2), "Dense(-1 -> 2, linear)"),
        (nn.Activation("tanh"), "Activation(tanh)"),
        (nn.LeakyReLU(0.1), "LeakyReLU(0.1)"),
        (nn.Dropout(0.5), "Dropout(p = 0.5, axes=())"),
        (nn.Embedding(3, 2), "Embedding(3 -> 2, float32)"),
        (nn.LayerNorm(), "LayerNorm(axis=-1, eps=1e-05, in_channels=-1)"),
        (
            nn.BatchNorm(scale=False),
            "BatchNorm(axis=1, eps=1e-05, momentum=0.9, fix_gamma=True, use_global_stats=False, in_channels=-1)",
        ),
        (nn.GroupNorm(2, in_channels=4), "GroupNorm(num_groups=2, eps=1e-05, in_channels=4)"),
        (nn.InstanceNorm(), "InstanceNorm(axis=1, eps=1e-05, in_channels=-1)"),
        (nn.RMSNorm(epsilon=1e-6), "RMSNorm(axis=-1, eps=1e-06, in_channels=-1)"),
        (nn.Flatten(), "Flatten()"),
        (nn.Lambda(npx.relu), "Lambda(relu)"),
        (nn.HybridSequential(), "HybridSequential()"),
    ],
)
def test_a_layer_prints_what_it_is(layer: nn.Block, text: str) -> None:
    assert repr(layer) == text


def test_a_list_is_answered_with_what_to_write() -> None:
    layer = nn.Dense(2, in_units=2)
    layer.initialize()
    with pytest.raises(TypeError, match=r"expects an array; found list: write np.array\(values\)"):
        layer([[1.0, 2.0]])
