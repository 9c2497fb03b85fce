"""Parameters: shapes, values, deferred initialisation, constants, and dicts of them."""

import copy
import logging
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy
import pytest
from threads import together

from blockfuse import autograd, nn
from blockfuse.array import ndarray, np, npx, stamps
from blockfuse.ir.errors import (
    DeferredInitializationError,
    DTypeError,
    GradientError,
    NotInitializedError,
    ShapeError,
    UsageError,
)
from blockfuse.nn import initializers as init


class Watch:
    """A watcher that counts what it is told."""

    def __init__(self) -> None:
        self.told = 0

    def invalidate(self) -> None:
        self.told += 1


def initialized(**options: Any) -> nn.Parameter:
    parameter = nn.Parameter(**{"shape": (2, 3), "init": "ones", **options})
    parameter.initialize()
    return parameter


# -- shapes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "reported"),
    [((2, 0), (2, -1)), ((2, -1), (2, -1)), ((None, 3), (-1, 3)), (5, (5,)), (None, None), ((), ())],
)
def test_sizes_that_are_not_known_are_reported_as_minus_one(given: Any, reported: Any) -> None:
    assert nn.Parameter(shape=given).shape == reported


def test_a_shape_may_only_become_more_exact() -> None:
    parameter = nn.Parameter("w", shape=(2, -1))
    parameter.shape = (2, 3)
    assert parameter.shape == (2, 3)
    for other in ((2, 4), (2,), (2, 3, 1)):
        with pytest.raises(ShapeError, match=r"parameter w has shape \(2, 3\), which does not allow"):
            parameter.shape = other


def test_negative_sizes_are_refused() -> None:
    with pytest.raises(ShapeError, match="-2"):
        nn.Parameter(shape=(2, -2))


# -- values --------------------------------------------------------------------------------------------------


def test_data_is_the_array_itself() -> None:
    parameter = initialized()
    parameter.data()[:] += 1
    assert float(parameter.data().sum()) == 12
    assert parameter.list_data()[0] is parameter.data(npx.cpu())


def test_reading_an_uninitialised_parameter_fails_by_name() -> None:
    with pytest.raises(NotInitializedError, match="parameter w has no value yet: call initialize"):
        nn.Parameter("w", shape=(2,)).data()
    net = nn.Sequential()
    net.add(nn.Dense(1))
    with pytest.raises(NotInitializedError, match=r"parameter 0\.weight"):
        net[0].weight.data()


def test_the_initializer_given_beats_the_own_one_which_beats_the_default() -> None:
    parameter = nn.Parameter(shape=(1,), init="ones")
    parameter.initialize(default_init=init.Constant(5))
    assert parameter.data().item() == 1
    parameter.initialize(init.Constant(2), default_init=init.Constant(5), force_reinit=True)
    assert parameter.data().item() == 2
    plain = nn.Parameter(shape=(1,))
    plain.initialize(default_init=init.Constant(5))
    assert plain.data().item() == 5


def test_a_parameter_waits_for_its_shape_if_it_may() -> None:
    parameter = nn.Parameter("w", shape=(2, -1), init="ones", allow_deferred_init=True)
    parameter.initialize()
    with pytest.raises(DeferredInitializationError, match=r"parameter w .* \(2, -1\)"):
        parameter.data()
    parameter.shape = (2, 3)
    assert parameter.data().shape == (2, 3)


def test_a_parameter_that_may_not_wait_says_what_to_give() -> None:
    with pytest.raises(
        ShapeError, match=r"parameter w .* \(2, -1\): give the full shape or allow_deferred_init"
    ):
        nn.Parameter("w", shape=(2, -1)).initialize()


def test_a_second_initialize_warns_and_changes_nothing() -> None:
    parameter = initialized()
    parameter.set_data(numpy.full((2, 3), 7))
    with pytest.warns(UserWarning, match="left as they are: weight; pass force_reinit=True") as warned:
        parameter.initialize()
    assert warned[0].filename == __file__
    assert float(parameter.data()[0, 0]) == 7
    parameter.initialize(force_reinit=True)
    assert float(parameter.data()[0, 0]) == 1


@pytest.mark.parametrize("value", [[[1, 2, 3], [4, 5, 6]], numpy.ones((2, 3), "int64"), numpy.ones((2, 3))])
def test_set_data_writes_in_place_and_keeps_the_dtype(value: Any) -> None:
    parameter = initialized()
    before = parameter.data()
    parameter.set_data(value)
    assert parameter.data() is before
    assert before.dtype == "float32"
    numpy.testing.assert_array_equal(before.asnumpy(), value)


def test_set_data_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"shape \(2, 3\), which does not allow \(3, 2\)"):
        initialized().set_data(np.ones((3, 2)))


def test_set_data_fixes_the_shape_of_a_parameter_that_waits_for_it() -> None:
    parameter = nn.Parameter(shape=(2, -1), allow_deferred_init=True)
    parameter.initialize()
    value = np.ones((2, 4))
    parameter.set_data(value)
    value[:] = 0
    assert parameter.shape == (2, 4)
    assert float(parameter.data().sum()) == 8


def test_set_data_before_initialize_is_refused() -> None:
    with pytest.raises(NotInitializedError, match="call initialize"):
        nn.Parameter(shape=(2,)).set_data(np.ones(2))


def test_cast_changes_value_and_dtype() -> None:
    parameter = initialized()
    parameter.cast("float16")
    assert parameter.data().dtype == parameter.dtype == "float16"
    parameter.dtype = "float64"
    assert parameter.data().dtype == "float64"
    with pytest.raises(DTypeError, match="complex64"):
        parameter.cast("complex64")


def test_cast_before_initialize_is_remembered() -> None:
    layer = nn.Dense(2)
    layer.cast("float64")
    layer.initialize()
    assert layer(np.ones((1, 2), dtype="float64")).dtype == "float64"


def test_grad_req_has_three_values() -> None:
    assert nn.Parameter().grad_req == "write"
    assert nn.Parameter(grad_req="add").grad_req == "add"
    assert nn.Parameter(differentiable=False).grad_req == "null"
    with pytest.raises(UsageError, match="grad_req='read' is not one of write, add, null"):
        nn.Parameter(grad_req="read")


def test_sparse_storage_is_refused() -> None:
    with pytest.raises(UsageError, match="no sparse storage"):
        nn.Parameter(stype="row_sparse")


def test_device_words_are_labels() -> None:
    net = nn.Dense(1, in_units=1)
    net.initialize(ctx=[npx.cpu(0), npx.cpu(1)])
    net.reset_ctx(npx.cpu())
    net.reset_device(npx.cpu())
    assert net.weight.list_ctx() == net.weight.list_device() == net.collect_params().list_ctx() == [npx.cpu()]
    with pytest.raises(UsageError, match="is not a device"):
        net.initialize(ctx="tpu")


def test_a_parameter_prints_its_shape_and_dtype() -> None:
    assert repr(nn.Parameter("w", shape=(2, 0))) == "Parameter w (shape=(2, -1), dtype=float32)"


# -- watching ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda parameter: parameter.initialize(force_reinit=True),
        lambda parameter: parameter.cast("float64"),
        lambda parameter: parameter._load(numpy.ones((2, 3)), numpy.dtype("float64")),
    ],
)
def test_watchers_hear_that_the_array_was_replaced(change: Callable[[Any], Any]) -> None:
    parameter, of_parameter, of_buffer = initialized(), Watch(), Watch()
    parameter._watchers.add(of_parameter)
    stamps.watch_buffer(parameter.data()._data, of_buffer)
    change(parameter)
    assert of_parameter.told
    assert of_buffer.told


def test_watchers_of_the_buffer_hear_of_a_write_and_those_of_the_parameter_need_not() -> None:
    parameter, of_parameter, of_buffer = initialized(), Watch(), Watch()
    parameter._watchers.add(of_parameter)
    stamps.watch_buffer(parameter.data()._data, of_buffer)
    parameter.set_data(np.zeros((2, 3)))
    parameter.data()[0, 0] = 3
    assert (of_parameter.told, of_buffer.told) == (0, 4)  # before each, and behind it


def test_watchers_hear_of_the_first_value() -> None:
    parameter, watch = nn.Parameter(shape=(-1,), allow_deferred_init=True), Watch()
    parameter._watchers.add(watch)
    parameter.initialize()
    assert watch.told == 0
    parameter.shape = (2,)
    assert watch.told


# -- constants -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [nn.Constant, lambda value: nn.Constant("c", value)])
@pytest.mark.parametrize("value", [[[1, 2]], numpy.array([[1, 2]], "float32"), np.array([[1, 2]])])
def test_a_constant_has_its_value_from_the_start(make: Callable[[Any], nn.Constant], value: Any) -> None:
    constant = make(value)
    assert constant.grad_req == "null"
    assert constant.data().dtype == "float32"
    assert constant.data().asnumpy().tolist() == [[1, 2]]
    constant.initialize()
    assert constant.data().asnumpy().tolist() == [[1, 2]]


def test_a_constant_has_memory_of_its_own() -> None:
    value = np.ones(2)
    constant = nn.Constant(value)
    value[:] = 5
    assert float(constant.data().sum()) == 2
    constant.set_data([3, 4])
    assert float(constant.data().sum()) == 7


def test_a_constant_wants_no_gradient() -> None:
    constant = nn.Constant([1])
    with pytest.warns(UserWarning, match="grad_req='write' is ignored"):
        constant.grad_req = "write"
    assert constant.grad_req == "null"


def test_initialize_passes_over_constants_in_silence() -> None:
    class Fixed(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Constant([2.0])

    net = Fixed()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.initialize()
        net.initialize(force_reinit=True)
    assert list(net.collect_params()) == ["scale"]


# -- a block's own parameters --------------------------------------------------------------------------------


def test_params_get_makes_a_parameter_once() -> None:
    block = nn.Block()
    weight = block.params.get("weight", shape=(2, 0), init="ones")
    assert block.params.get("weight", shape=(2, 3)) is weight
    assert weight.shape == (2, 3)
    assert list(block.collect_params()) == ["weight"]
    assert weight.structural_name == "weight"
    with pytest.raises(ShapeError, match="does not allow"):
        block.params.get("weight", shape=(5, 3))


def test_a_parameter_is_known_by_the_attribute_that_holds_it() -> None:
    block = nn.Block()
    block.w = block.params.get("weight", shape=(1,))
    assert list(block.params) == ["w"]
    assert block.w.structural_name == "w"


def test_params_get_constant_makes_a_constant_once() -> None:
    block = nn.Block()
    constant = block.params.get_constant("c", [1, 2])
    assert block.params.get_constant("c") is constant
    with pytest.raises(KeyError, match="no constant 'd'"):
        block.params.get_constant("d")


def test_get_of_collected_parameters_is_a_dicts() -> None:
    params = nn.Dense(1).collect_params()
    assert params.get("weight") is params["weight"]
    assert params.get("other") is None
    assert params.get("other", 3) == 3


def test_only_parameters_are_parameters() -> None:
    with pytest.raises(TypeError, match="must be a Parameter, not ndarray"):
        nn.Block().params["w"] = np.ones(1)


def test_a_parameter_does_not_turn_into_something_else() -> None:
    layer = nn.Dense(1)
    with pytest.raises(TypeError, match=r"Dense\.weight is a Parameter and cannot become a ndarray"):
        layer.weight = np.ones(1)


def test_changing_the_collected_dict_changes_no_block() -> None:
    layer = nn.Dense(1)
    layer.collect_params().clear()
    assert len(layer.collect_params()) == 2


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda params: params.pop("weight"), ["bias"]),
        (lambda params: params.pop("none", None), ["weight", "bias"]),
        (lambda params: params.popitem(), ["weight"]),
        (lambda params: params.clear(), []),
        (lambda params: params.setdefault("weight", nn.Parameter()), ["weight", "bias"]),
        (lambda params: params.setdefault("more", nn.Parameter()), ["weight", "bias", "more"]),
        (lambda params: params.update({"more": nn.Parameter()}), ["weight", "bias", "more"]),
        (lambda params: params.__ior__({"more": nn.Parameter()}), ["weight", "bias", "more"]),
    ],
)
def test_a_blocks_params_behave_as_a_dict(change: Callable[[Any], Any], left: list[str]) -> None:
    layer = nn.Dense(1)
    change(layer.params)
    assert list(layer.params) == list(layer.collect_params()) == left


# -- many ----------------------------------------------------------------------------------------------------


def net_of_two() -> nn.Sequential:
    net = nn.Sequential()
    net.add(nn.Dense(2, in_units=3), nn.Dense(1, in_units=2))
    return net


def test_initialize_warns_once_of_all_that_have_values() -> None:
    net = net_of_two()
    net.initialize()
    net.add(nn.Dense(1, in_units=1))
    with pytest.warns(UserWarning, match=r"as they are: 0\.weight, 0\.bias, 1\.weight, 1\.bias;") as warned:
        net.initialize()
    assert len(warned) == 1
    assert warned[0].filename == __file__
    assert net[2].weight.data().shape == (1, 1)


def test_a_shared_parameter_is_initialised_once() -> None:
    drawn: list[str] = []

    def note(name: str, arr: ndarray) -> None:
        drawn.append(name)
        arr[:] = 0

    shared = nn.Dense(2, in_units=2)
    net = nn.Sequential()
    net.add(shared, shared, nn.Dense(2, params=shared.params))
    net.initialize(note)
    assert drawn == ["0.weight"]


def test_setattr_reaches_all_parameters_and_refuses_typing_errors() -> None:
    net = net_of_two()
    net.setattr("grad_req", "null")
    net.collect_params(".*bias").setattr("wd_mult", 0)
    assert {parameter.grad_req for parameter in net.collect_params().values()} == {"null"}
    assert [parameter.wd_mult for parameter in net.collect_params().values()] == [1, 0, 1, 0]
    with pytest.raises(UsageError, match="no attribute 'grad_rek'"):
        net.setattr("grad_rek", "null")


def test_cast_reaches_all_parameters() -> None:
    net = net_of_two()
    net.initialize()
    net.cast("float64")
    assert {str(parameter.data().dtype) for parameter in net.collect_params().values()} == {"float64"}


def test_zero_grad_without_gradients_does_nothing() -> None:
    net = net_of_two()
    net.initialize()
    net.zero_grad()


def test_verbose_logs_each_parameter(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "blockfuse"):
        net = net_of_two()
        net.initialize(verbose=True)
    assert (
        "initialised Parameter 0.weight (shape=(2, 3), dtype=float32) by Uniform(scale=0.07)" in caplog.text
    )


def test_a_parameter_dict_prints_its_parameters() -> None:
    assert repr(nn.Dense(2, use_bias=False).collect_params()) == (
        "ParameterDict(\n  weight: Parameter weight (shape=(2, -1), dtype=float32)\n)"
    )


def test_threads_that_make_the_first_call_draw_one_value() -> None:
    layer = nn.Dense(50)
    layer.initialize()
    results: list[numpy.ndarray] = []
    x = np.ones((1, 30))
    together(lambda _: results.append(layer(x).asnumpy()), 8)
    assert all((result == results[0]).all() for result in results)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_parameters_and_dicts_can_be_copied(duplicate: Callable[[Any], Any]) -> None:
    net = net_of_two()
    net.initialize()
    twin = duplicate(net.collect_params())
    twin["0.weight"].set_data(np.zeros((2, 3)))
    assert type(twin) is nn.ParameterDict
    assert list(twin) == list(net.collect_params())
    assert float(np.abs(net[0].weight.data()).sum()) > 0
    waiting = duplicate(nn.Dense(1).weight)
    assert waiting.shape == (1, -1)


# -- gradients -----------------------------------------------------------------------------------------------


def backward_of_doubled(parameter: nn.Parameter) -> None:
    with autograd.record():
        y = parameter.data() * 2
    y.backward()


def test_a_gradient_is_zeros_and_then_what_backward_wrote() -> None:
    parameter = initialized()
    grad = parameter.grad()
    numpy.testing.assert_array_equal(grad.asnumpy(), numpy.zeros((2, 3)))
    backward_of_doubled(parameter)
    assert parameter.grad() is grad
    assert parameter.list_grad()[0] is grad
    assert (grad.asnumpy() == 2).all()
    parameter.zero_grad()
    assert not grad.asnumpy().any()


def test_gradients_that_add_up_do_until_they_are_zeroed() -> None:
    parameter = initialized(grad_req="add")
    for _ in range(3):
        backward_of_doubled(parameter)
    assert (parameter.grad().asnumpy() == 6).all()
    parameter.zero_grad()
    backward_of_doubled(parameter)
    assert (parameter.grad().asnumpy() == 2).all()


def test_grad_req_may_change_also_between_record_and_backward() -> None:
    parameter = initialized()
    backward_of_doubled(parameter)
    with autograd.record():
        y = parameter.data() * 2
    parameter.grad_req = "add"
    y.backward()
    assert (parameter.grad().asnumpy() == 4).all()
    parameter.grad_req = "null"
    with pytest.raises(GradientError, match="parameter weight has no gradient, as its grad_req is 'null'"):
        parameter.grad()
    with pytest.raises(GradientError, match="not computed inside"):
        backward_of_doubled(parameter)
    parameter.grad_req = "write"
    assert not parameter.grad().asnumpy().any()
    backward_of_doubled(parameter)
    assert (parameter.grad().asnumpy() == 2).all()


@pytest.mark.parametrize(
    "parameter", [nn.Parameter(differentiable=False, shape=(2,)), nn.Parameter(shape=(2,), dtype="int32")]
)
def test_a_parameter_that_cannot_have_a_gradient_says_so(parameter: nn.Parameter) -> None:
    parameter.initialize(init.Zero())
    with pytest.raises(GradientError, match="no gradient, as its grad_req is 'null' or its dtype no float"):
        parameter.grad()
    parameter.zero_grad()


def test_a_constant_has_no_gradient() -> None:
    constant, parameter = nn.Constant(numpy.full((2, 3), 5.0, "float32")), initialized()
    with autograd.record():
        y = constant.data() * parameter.data()
    y.backward()
    assert (parameter.grad().asnumpy() == 5).all()
    with pytest.raises(GradientError):
        constant.grad()


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.set_data(numpy.full((2, 3), 4.0)),
        lambda p: p.data().fill(4.0),
        lambda p: p.cast("float64"),
        lambda p: p.cast("float16"),
        lambda p: p.initialize(force_reinit=True),
    ],
    ids=["set_data", "write", "wider", "narrower", "drawn anew"],
)
def test_a_parameter_that_got_new_values_has_gradients(change: Callable[[Any], Any]) -> None:
    parameter = initialized()
    backward_of_doubled(parameter)
    with autograd.record():
        before = parameter.data() ** 2
    change(parameter)
    before.backward()  # of the values that were there
    backward_of_doubled(parameter)
    assert parameter.grad().dtype == parameter.dtype
    assert (parameter.grad().asnumpy() == 2).all()


def test_new_values_are_not_those_of_a_computation_before() -> None:
    parameter = initialized()
    with autograd.record():
        y = parameter.data() ** 2
    parameter.set_data(numpy.full((2, 3), 100.0))
    y.backward()
    assert (parameter.grad().asnumpy() == 2).all()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
@pytest.mark.parametrize("grad_req", ["write", "add", "null"])
def test_copies_have_gradients_of_their_own(duplicate: Callable[[Any], Any], grad_req: str) -> None:
    parameter = initialized(grad_req=grad_req)
    if grad_req != "null":
        backward_of_doubled(parameter)
    other = duplicate(parameter)
    assert other.grad_req == grad_req
    if grad_req == "null":
        with pytest.raises(GradientError):
            other.grad()
        return
    assert not other.grad().asnumpy().any()
    backward_of_doubled(other)
    assert (other.grad().asnumpy() == 2).all()
    other.zero_grad()
    assert (parameter.grad().asnumpy() == 2).all()


def test_a_copy_that_is_made_while_recorded_is_no_result_of_the_original() -> None:
    parameter = initialized()
    with autograd.record():
        other = copy.deepcopy(parameter)
        y = other.data() * 2
    y.backward()
    assert (other.grad().asnumpy() == 2).all()
    assert not parameter.grad().asnumpy().any()


def test_loaded_parameters_have_gradients(tmp_path: Any) -> None:
    def net_of() -> nn.Sequential:
        net = nn.Sequential()
        net.add(nn.Dense(4, in_units=3), nn.Dense(2, in_units=4))
        return net

    saved, loaded = net_of(), net_of()
    saved.initialize()
    saved.save_parameters(str(tmp_path / "net.params"))
    for _ in range(2):  # into parameters without values, and with
        loaded.load_parameters(str(tmp_path / "net.params"))
        for net in (saved, loaded):
            with autograd.record():
                y = (net(np.ones((2, 3))) ** 2).sum()
            y.backward()
        pairs = zip(saved.collect_params().values(), loaded.collect_params().values(), strict=True)
        assert all((a.grad().asnumpy() == b.grad().asnumpy()).all() for a, b in pairs)


def test_a_net_may_learn_its_shapes_while_recorded() -> None:
    layer = nn.Dense(2)
    layer.initialize(init.One())
    with autograd.record():
        y = layer(np.ones((3, 4)))
    y.backward()
    assert (layer.weight.grad().asnumpy() == 3).all()
    assert (layer.bias.grad().asnumpy() == 3).all()


def test_values_are_not_replaced_while_recorded() -> None:
    parameter = initialized()
    with autograd.record():
        with pytest.raises(GradientError, match=r"a parameter, is written to[\s\S]*pause\(\)"):
            parameter.set_data(numpy.zeros((2, 3)))
        with autograd.pause():
            parameter.set_data(numpy.zeros((2, 3)))
