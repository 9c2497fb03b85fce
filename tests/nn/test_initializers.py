"""Initializers: their distributions, their names, and that draws can be repeated."""

import math
from typing import Any

import numpy
import pytest

from blockfuse import nn
from blockfuse.array import ndarray, np, npx
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.nn import initializers as init


def filled(initializer: init.Init, shape: tuple[int, ...], dtype: str = "float32") -> numpy.ndarray:
    arr = ndarray(numpy.full(shape, 9, dtype))
    init.create(initializer)("weight", arr)
    return arr.asnumpy()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    np.random.seed(5)


@pytest.mark.parametrize(
    ("initializer", "value"),
    [
        ("zeros", 0),
        ("zero", 0),
        ("ones", 1),
        ("One", 1),
        (init.Constant(3.5), 3.5),
        (init.Constant([[1, 2]]), [[1, 2]]),
    ],
    ids=repr,
)
def test_fixed_values(initializer: init.Init, value: Any) -> None:
    numpy.testing.assert_array_equal(filled(initializer, (1, 2)), numpy.broadcast_to(value, (1, 2)))


def test_a_constant_of_another_shape_is_refused() -> None:
    with pytest.raises(
        ShapeError, match=r"Constant of shape \(2,\) cannot initialise weight of shape \(3, 2\)"
    ):
        filled(init.Constant([1, 2]), (3, 2))


@pytest.mark.parametrize(
    ("initializer", "scale"), [(init.Uniform(), 0.07), (init.Uniform(2), 2), ("uniform", 0.07)]
)
def test_uniform_fills_its_range_evenly(initializer: init.Init, scale: float) -> None:
    values = filled(initializer, (100, 100))
    assert 0.99 * scale < values.max() <= scale
    assert -scale <= values.min() < -0.99 * scale
    assert abs(values.std() - scale / math.sqrt(3)) < 0.02 * scale


@pytest.mark.parametrize(
    ("initializer", "sigma"), [(init.Normal(), 0.01), (init.Normal(3), 3), ("normal", 0.01)]
)
def test_normal_has_its_deviation(initializer: init.Init, sigma: float) -> None:
    values = filled(initializer, (100, 100))
    assert abs(values.std() - sigma) < 0.03 * sigma
    assert abs(values.mean()) < 0.03 * sigma


@pytest.mark.parametrize(
    ("initializer", "deviation"),
    [
        (init.Xavier(), math.sqrt(1 / 250)),
        ("xavier", math.sqrt(1 / 250)),
        (init.Xavier("gaussian", "in", 2), math.sqrt(2 / 400)),
        (init.Xavier(factor_type="out"), math.sqrt(1 / 100)),
        (init.MSRAPrelu(), math.sqrt(2 / (1 + 0.25**2) / 250)),
        (init.MSRAPrelu("in", 0), math.sqrt(2 / 400)),
        ("he", math.sqrt(2 / 400)),
    ],
    ids=repr,
)
def test_scaled_draws_follow_the_fans(initializer: init.Init, deviation: float) -> None:
    values = filled(initializer, (100, 400))
    assert abs(values.std() - deviation) < 0.03 * deviation


def test_xavier_counts_a_receptive_field() -> None:
    values = filled(init.Xavier(), (20, 30, 5, 5))
    assert abs(values).max() <= math.sqrt(3 / (25 * 25))


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (10, 2, 5)])
@pytest.mark.parametrize("rand_type", ["uniform", "normal"])
def test_orthogonal_rows_or_columns(shape: tuple[int, ...], rand_type: str) -> None:
    matrix = filled(init.Orthogonal(scale=2, rand_type=rand_type), shape, "float64").reshape(shape[0], -1)
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    numpy.testing.assert_allclose(product, 4 * numpy.eye(len(product)), atol=1e-9)


@pytest.mark.parametrize("initializer", ["xavier", "he", "orthogonal"])
def test_scaled_initializers_refuse_a_vector_by_its_parameters_name(initializer: str) -> None:
    net = nn.Sequential()
    net.add(nn.Dense(2, in_units=3, bias_initializer=initializer))
    with pytest.raises(ShapeError, match=r"cannot initialise 0\.bias of shape \(2,\): it needs two axes"):
        net.initialize()


def test_equal_seeds_give_equal_nets() -> None:
    def weights() -> numpy.ndarray:
        np.random.seed(7)
        layer = nn.Dense(4, in_units=3)
        layer.initialize(init.Xavier())
        return layer.weight.data().asnumpy()

    numpy.testing.assert_array_equal(weights(), weights())


def test_an_initializer_of_ones_own_writes_in_place_and_is_found_by_name() -> None:
    @init.register
    class Sparse(init.Initializer):
        def _init_weight(self, name: str, arr: ndarray) -> None:
            assert name == "weight"
            arr[:] = np.random.uniform(-10, 10, arr.shape)
            arr *= np.abs(arr) >= 5

    values = filled("sparse", (50, 50))
    assert (values == 0).any()
    assert abs(values[values != 0]).min() >= 5
    del init.REGISTRY["sparse"]


def test_any_function_of_name_and_array_initialises() -> None:
    def by_name(name: str, arr: ndarray) -> None:
        arr[:] = len(name)

    layer = nn.Dense(1, in_units=2, weight_initializer=by_name)
    layer.initialize()
    assert layer.weight.data().asnumpy().tolist() == [[6, 6]]


def test_an_unknown_name_is_refused_with_the_list() -> None:
    with pytest.raises(UsageError, match=r"'xavi' is not one of zeros, ones, .*xavier"):
        nn.Dense(1).initialize("xavi")
    with pytest.raises(UsageError, match="no initializer"):
        nn.Dense(1).initialize(init.Xavier)
    with pytest.raises(UsageError, match="'middle' is not one of avg, in, out"):
        filled(init.Xavier(factor_type="middle"), (2, 2))


def test_a_base_initializer_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="Initializer does not define _init_weight"):
        filled(init.Initializer(), (1,))


def test_initializers_are_equal_by_type_and_settings() -> None:
    class Mine(init.Initializer):
        def __init__(self, scale: float) -> None:
            super().__init__(scale=scale)

    assert init.Uniform(0.1) == init.Uniform(0.1) != init.Uniform(0.2)
    assert init.Constant([1, 2]) == init.Constant([1, 2]) != init.Constant([1, 3])
    assert init.MSRAPrelu() == init.MSRAPrelu() != init.Xavier()
    assert Mine(1) == Mine(1) != Mine(2)
    assert repr(Mine(1)) == "Mine(scale=1)"
    assert len({init.Zero(), init.Zero(), init.One()}) == 2


# -- by name -------------------------------------------------------------------------------------------------


def test_lstm_bias_lifts_the_forget_gate_alone() -> None:
    assert filled(init.LSTMBias(2.5), (12,)).tolist() == [0] * 3 + [2.5] * 3 + [0] * 6
    assert filled("lstmbias", (4,)).tolist() == [0, 1, 0, 0]
    for shape in ((3,), (4, 4), ()):
        with pytest.raises(ShapeError, match="four equal parts"):
            filled(init.LSTMBias(), shape)


def test_the_first_pattern_that_is_found_in_a_name_counts() -> None:
    net = nn.Sequential(nn.Dense(2, bias_initializer=None), nn.Dense(3, bias_initializer=None))
    net.initialize(
        init.Mixed(
            ["bias$", r"^1\.", ".*"], ["ones", init.Constant(2), lambda _, arr: arr.__setitem__(..., 3)]
        )
    )
    net(np.ones((1, 4)))
    values = {name: set(p.data().asnumpy().ravel()) for name, p in net.collect_params().items()}
    assert values == {"0.weight": {3}, "0.bias": {1}, "1.weight": {2}, "1.bias": {1}}


def test_mixed_refuses_what_it_cannot_know() -> None:
    with pytest.raises(UsageError, match="2 patterns and 1 initializers"):
        init.Mixed(["a", "b"], ["ones"])
    with pytest.raises(UsageError, match="nothing"):
        init.Mixed(["a"], ["nothing"])
    with pytest.raises(UsageError, match=r"no pattern for 'weight': 'bias'; add '\.\*'"):
        filled(init.Mixed(["bias"], ["ones"]), (2,))


def test_arrays_are_loaded_by_name_and_the_rest_is_the_defaults(tmp_path: Any) -> None:
    file = str(tmp_path / "arrays.npz")
    npx.savez(file, **{"arg:0.weight": np.array([[1.5, 2.5]]), "aux:other": np.ones(3)})
    for given in (file, {"0.weight": numpy.array([[1.5, 2.5]])}):
        net = nn.Sequential(nn.Dense(1, in_units=2), nn.Dense(1, in_units=1))
        net.initialize(init.Load(given, default_init="ones"))
        assert net[0].weight.data().tolist() == [[1.5, 2.5]]
        assert net[1].weight.data().tolist() == [[1.0]]
    with pytest.raises(ShapeError, match=r"an array of shape \(1, 2\) for 0\.weight of shape \(1, 3\)"):
        init.Load(given)("0.weight", np.zeros((1, 3)))
    with pytest.raises(UsageError, match=r"no array for 'weight', but for 0\.weight; give"):
        filled(init.Load(given), (2,))


def test_loaded_arrays_can_be_told_apart_and_shown() -> None:
    loaded = init.Load({"weight": np.ones(2)})
    assert loaded == loaded
    assert loaded != init.Load({"weight": np.ones(2)})
    assert repr(loaded) == "Load(weight)"
    assert init.Mixed([".*"], ["ones"]) == init.Mixed([".*"], ["ones"])
