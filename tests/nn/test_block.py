"""Blocks: the programs of the tutorial, structure, calls, hooks, sharing, copies."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy
import pytest

from blockfuse import nn
from blockfuse.array import ndarray, np, npx
from blockfuse.ir import interpreter
from blockfuse.ir.errors import DeferredInitializationError, NotInitializedError, ShapeError, UsageError


class MLP(nn.Block):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden = nn.Dense(256, activation="relu")
        self.out = nn.Dense(10)

    def forward(self, X: Any) -> Any:
        return self.out(self.hidden(X))


class MySequential(nn.Block):
    def add(self, block: nn.Block) -> None:
        self._children[block.name] = block

    def forward(self, X: Any) -> Any:
        for block in self._children.values():
            X = block(X)
        return X


class FixedHiddenMLP(nn.Block):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rand_weight = self.params.get_constant("rand_weight", np.random.uniform(size=(20, 20)))
        self.dense = nn.Dense(20, activation="relu")

    def forward(self, X: Any) -> Any:
        X = self.dense(X)
        X = npx.relu(np.dot(X, self.rand_weight.data()) + 1)
        X = self.dense(X)
        while np.abs(X).sum() > 1:
            X /= 2
        return X.sum()


class NestMLP(nn.Block):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.net = nn.Sequential()
        self.net.add(nn.Dense(64, activation="relu"), nn.Dense(32, activation="relu"))
        self.dense = nn.Dense(16, activation="relu")

    def forward(self, X: Any) -> Any:
        return self.dense(self.net(X))


class Watch:
    """A watcher that counts what it is told."""

    def __init__(self, *watched: Any) -> None:
        self.told = 0
        for one in watched:
            one._watchers.add(self)

    def invalidate(self) -> None:
        self.told += 1


def chimera() -> nn.Sequential:
    net = nn.Sequential()
    net.add(NestMLP(), nn.Dense(20), FixedHiddenMLP())
    return net


def stacked(*blocks: nn.Block) -> nn.Sequential:
    net = nn.Sequential()
    net.add(*blocks)
    return net


@pytest.fixture(name="X")
def inputs() -> ndarray:
    np.random.seed(0)
    drawn: ndarray = np.random.uniform(size=(2, 20))
    return drawn


def by_hand(X: ndarray, *layers: nn.Dense) -> numpy.ndarray:
    """Dense layers in NumPy, all but the last with ReLU."""
    values = X.asnumpy()
    for n, layer in enumerate(layers):
        assert layer.bias is not None
        values = values @ layer.weight.data().asnumpy().T + layer.bias.data().asnumpy()
        values = numpy.maximum(values, 0) if n + 1 < len(layers) else values
    return values


# -- the programs of the tutorial ----------------------------------------------------------------------------


def test_sequential_of_two_dense_layers(X: ndarray) -> None:
    net = nn.Sequential()
    net.add(nn.Dense(256, activation="relu"))
    net.add(nn.Dense(10))
    net.initialize()
    numpy.testing.assert_allclose(net(X).asnumpy(), by_hand(X, net[0], net[1]), rtol=1e-5, atol=1e-6)


def test_mlp_with_layers_as_attributes(X: ndarray) -> None:
    net = MLP()
    net.initialize()
    numpy.testing.assert_allclose(net(X).asnumpy(), by_hand(X, net.hidden, net.out), rtol=1e-5, atol=1e-6)


def test_my_sequential_writes_into_children(X: ndarray) -> None:
    net = MySequential()
    net.add(nn.Dense(256, activation="relu"))
    net.add(nn.Dense(10))
    net.initialize()
    first, second = net._children.values()
    numpy.testing.assert_allclose(net(X).asnumpy(), by_hand(X, first, second), rtol=1e-5, atol=1e-6)
    assert [name.split(".")[1] for name in net.collect_params()] == ["weight", "bias", "weight", "bias"]


def test_fixed_hidden_mlp_halves_until_the_sum_is_at_most_one(X: ndarray) -> None:
    net = FixedHiddenMLP()
    net.initialize()
    result = net(X)
    assert result.shape == ()
    assert 0 <= float(result) <= 1


def test_chimera_of_nested_blocks(X: ndarray) -> None:
    net = chimera()
    net.initialize()
    assert net(X).shape == ()
    assert list(net.collect_params())[:2] == ["0.net.0.weight", "0.net.0.bias"]
    assert "2.rand_weight" in net.collect_params()


def test_exercise_1_blocks_in_a_list_are_warned_about_by_attribute() -> None:
    class Listed(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Dense(4), nn.Dense(2)]

    net = stacked(Listed())
    with pytest.warns(UserWarning, match=r"Listed 0 holds .* in layers, a list.*register_child") as warned:
        net.initialize()
    assert warned[0].filename == __file__
    with pytest.warns(UserWarning, match="layers"):
        assert list(net.collect_params()) == []


def test_exercise_2_a_parallel_block_concatenates_two_results(X: ndarray) -> None:
    class Parallel(nn.Block):
        def __init__(self, net1: nn.Block, net2: nn.Block) -> None:
            super().__init__()
            self.net1, self.net2 = net1, net2

        def forward(self, X: Any) -> Any:
            return np.concatenate([self.net1(X), self.net2(X)], axis=1)

    net = Parallel(nn.Dense(3), nn.Dense(4))
    net.initialize()
    assert net(X).shape == (2, 7)
    assert list(net.collect_params()) == ["net1.weight", "net1.bias", "net2.weight", "net2.bias"]


def test_exercise_3_a_factory_makes_copies_with_names_of_their_own(X: ndarray) -> None:
    net = MySequential()
    prototype = nn.Dense(20)
    for _ in range(3):
        net.add(copy.deepcopy(prototype))
    net.initialize()
    assert net(X).shape == (2, 20)
    assert len(net._children) == 3


# -- structure -----------------------------------------------------------------------------------------------


def test_names_count_up_by_class() -> None:
    first, second = nn.Dense(1).name, nn.Dense(1).name
    assert first.startswith("dense")
    assert int(second[5:]) == int(first[5:]) + 1
    assert nn.Dense(1, prefix="ignored_").prefix.startswith("dense")


def test_a_name_may_be_assigned_and_is_kept_by_copies() -> None:
    net = MLP()
    net.name = "encoder"
    assert (net.name, copy.deepcopy(net).name) == ("encoder", "encoder")


def test_a_list_that_holds_itself_does_no_harm() -> None:
    net = MLP()
    net.items = []
    net.items.append(net.items)
    net.table = {}
    net.table["self"] = net.table
    assert len(net.collect_params()) == 4


def test_name_scope_does_nothing() -> None:
    net = nn.Sequential()
    with net.name_scope():
        net.add(nn.Dense(1))
    assert len(net) == 1


def test_super_init_may_be_left_out(X: ndarray) -> None:
    class Forgetful(nn.Block):
        def __init__(self) -> None:
            self.dense = nn.Dense(3)

        def forward(self, X: Any) -> Any:
            return self.dense(X)

    net = Forgetful()
    net.initialize()
    assert net(X).shape == (2, 3)


def test_a_regular_expression_selects_parameters_by_the_start_of_their_names() -> None:
    net = MLP()
    assert list(net.collect_params(".*bias")) == ["hidden.bias", "out.bias"]
    assert list(net.collect_params("hidden")) == ["hidden.weight", "hidden.bias"]
    assert list(net.collect_params("weight")) == []


def test_collected_parameters_are_what_gluon_calls_a_parameter_dict() -> None:
    assert isinstance(MLP().collect_params(), nn.ParameterDict)


def test_replacing_a_block_replaces_its_parameters() -> None:
    net = MLP()
    net.out = nn.Sequential()
    assert list(net.collect_params()) == ["hidden.weight", "hidden.bias"]


def test_deleting_a_block_forgets_it() -> None:
    net = MLP()
    del net.hidden
    assert list(net.collect_params()) == ["out.weight", "out.bias"]
    assert not hasattr(net, "hidden")


@pytest.mark.parametrize("value", [None, 3, "Dense"])
def test_a_block_does_not_turn_into_something_else(value: Any) -> None:
    net = MLP()
    with pytest.raises(TypeError, match=r"MLP\.hidden is a Dense and cannot become"):
        net.hidden = value


def test_only_blocks_are_children() -> None:
    with pytest.raises(TypeError, match="must be a Block, not int"):
        nn.Sequential().add(3)


def test_children_are_numbered_past_names_that_are_taken() -> None:
    net = stacked(nn.Dense(1), nn.Dense(2))
    del net._children["0"]
    net.add(nn.Dense(3))
    assert list(net._children) == ["1", "2"]


def test_structural_names_follow_the_structure() -> None:
    net = chimera()
    assert net[0].net[1].weight.structural_name == "0.net.1.weight"
    assert net[0].structural_name == "0"
    assert net.structural_name == ""


def test_a_block_taken_out_of_a_net_loses_its_place() -> None:
    net = MLP()
    layer = net.hidden
    net.hidden = nn.Dense(1)
    assert layer.structural_name == ""
    assert net.hidden.structural_name == "hidden"


def test_apply_calls_children_first() -> None:
    seen: list[str] = []
    net = MLP()
    assert net.apply(lambda block: seen.append(block.structural_name)) is net
    assert seen == ["hidden", "out", ""]


@pytest.mark.parametrize("wrap", [list, tuple, set, lambda blocks: {"a": blocks}])
def test_parameters_of_blocks_in_containers_are_not_silently_missed(wrap: Callable[[Any], Any]) -> None:
    net = MLP()
    net.others = wrap([nn.Dense(1)])
    with pytest.warns(UserWarning, match="others"):
        net.collect_params()


def test_a_list_of_registered_or_parameterless_blocks_is_fine() -> None:
    net = MLP()
    net.layers = [net.hidden, nn.Activation("relu")]
    assert len(net.collect_params()) == 4


def test_blocks_print_as_in_gluon() -> None:
    assert (
        repr(MLP())
        == "MLP(\n  (hidden): Dense(-1 -> 256, Activation(relu))\n  (out): Dense(-1 -> 10, linear)\n)"
    )
    assert repr(stacked(stacked(nn.Dense(2, in_units=3)))) == (
        "Sequential(\n  (0): Sequential(\n    (0): Dense(3 -> 2, linear)\n  )\n)"
    )


# -- calls ---------------------------------------------------------------------------------------------------


def test_numpy_in_numpy_out(X: ndarray) -> None:
    net = MLP()
    net.initialize()
    result = net(X.asnumpy())
    assert type(result) is numpy.ndarray
    numpy.testing.assert_array_equal(result, net(X).asnumpy())


def test_keyword_arguments_reach_forward() -> None:
    class Scaled(nn.Block):
        def forward(self, x: Any, *, by: float) -> Any:
            return x * by

    numpy.testing.assert_array_equal(Scaled()(np.ones(2), by=3).asnumpy(), [3, 3])


def test_hybrid_forward_gets_namespaces_and_parameters() -> None:
    class Old(nn.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.weight = self.params.get("weight", shape=(2,), init="ones")

        def hybrid_forward(self, F: Any, x: Any, weight: Any) -> Any:
            return F.npx.relu(F.np.dot(x, weight))

    net = Old()
    net.initialize()
    assert float(net(np.array([1, 2]))) == 3


def test_a_block_without_forward_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"Block does not define forward"):
        nn.Block()(np.ones(1))


def test_a_forward_that_returns_nothing_says_so() -> None:
    class Silent(nn.Block):
        def forward(self, x: Any) -> None:
            x + 1

    with pytest.raises(UsageError, match=r"Silent 0 returned None: return the result"):
        stacked(Silent())(np.ones(1))


def test_a_call_before_initialize_names_the_parameter(X: ndarray) -> None:
    with pytest.raises(NotInitializedError, match=r"0\.net\.0\.weight has no value yet: call initialize"):
        chimera()(X)


def test_reading_before_the_first_call_says_that_the_shape_is_not_known() -> None:
    net = MLP()
    net.initialize()
    with pytest.raises(DeferredInitializationError, match=r"hidden\.weight .*\(256, -1\) is not known"):
        net.hidden.weight.data()


def test_a_block_of_ones_own_infers_shapes_by_infer_shape(X: ndarray) -> None:
    class Scale(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter("weight", shape=(-1,), init="ones", allow_deferred_init=True)

        def infer_shape(self, x: Any) -> None:
            self.weight.shape = x.shape[-1:]

        def forward(self, x: Any) -> Any:
            return x * self.weight.data()

    net = Scale()
    net.initialize()
    numpy.testing.assert_array_equal(net(X).asnumpy(), X.asnumpy())


def test_every_block_tells_the_interpreter_that_it_runs(X: ndarray) -> None:
    seen: list[str] = []

    class Seeing(type(interpreter.current())):
        def visit(self, block: nn.Block) -> None:
            seen.append(block.structural_name)

    net = MLP()
    net.initialize()
    with interpreter.interpreting(Seeing()):
        net._run((X,), {})
    assert seen == ["", "hidden", "out"]


def test_a_compiled_entry_is_asked_first(X: ndarray) -> None:
    net = MLP()
    net.initialize()
    net._entry = lambda x: "compiled" if x is X else NotImplemented
    assert net(X) == "compiled"
    assert net(np.ones((1, 20))).shape == (1, 10)


# -- hooks ---------------------------------------------------------------------------------------------------


def test_hooks_run_around_forward_in_order(X: ndarray) -> None:
    log: list[str] = []
    net = MLP()
    net.initialize()
    net.register_forward_hook(lambda block, inputs, output: log.append("after 1"))
    net.register_forward_hook(lambda block, inputs, output: log.append("after 2"))
    net.register_forward_pre_hook(lambda block, inputs: log.append(f"before {inputs[0] is X}"))
    net.hidden.register_forward_hook(lambda block, inputs, output: log.append(f"hidden {output.shape}"))
    net(X)
    assert log == ["before True", "hidden (2, 256)", "after 1", "after 2"]


def test_a_detached_hook_is_silent(X: ndarray) -> None:
    log: list[int] = []
    net = MLP()
    net.initialize()
    handle = net.register_forward_hook(lambda *_: log.append(1))
    handle.detach()
    handle.detach()
    with net.register_forward_hook(lambda *_: log.append(2)):
        net(X)
    net(X)
    assert log == [2]


def test_summary_prints_each_call_and_the_total(X: ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    net = FixedHiddenMLP()
    net.initialize()
    net.summary(X)
    assert capsys.readouterr().out == (
        "block           result   parameters\n"
        "--------------  -------  ----------\n"
        "Dense dense     (2, 20)         420\n"
        "Dense dense     (2, 20)           0\n"
        "FixedHiddenMLP  ()              400\n"
        "820 parameters, 420 of them trained\n"
    )
    assert not net._forward_hooks


# -- watching ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda net: setattr(net, "scale", 3),
        lambda net: setattr(net, "rate", -0.0),
        lambda net: setattr(net, "items", net.items),
        lambda net: setattr(net, "hidden", nn.Dense(1)),
        lambda net: delattr(net, "out"),
        lambda net: net._children.update(more=nn.Dense(1)),
        lambda net: net._children.pop("out"),
        lambda net: net.params.get("weight", shape=(1,)),
        lambda net: net.register_child(nn.Dense(1)),
        lambda net: net.register_forward_hook(print),
        lambda net: net.register_forward_pre_hook(print).detach(),
        lambda net: net.cast("float64"),
        lambda net: net.hybridize(),
    ],
)
def test_watchers_hear_of_a_change(change: Callable[[Any], Any]) -> None:
    net = MLP()
    net.scale, net.rate, net.items = 2, 0.0, [1]
    watch = Watch(net)
    change(net)
    assert watch.told


@pytest.mark.parametrize(
    ("name", "value"), [("scale", 2), ("rate", 0.5), ("label", "a"), ("gone", None), ("_entry", print)]
)
def test_watchers_hear_nothing_where_nothing_changes(name: str, value: Any) -> None:
    net = MLP()
    net.scale, net.rate, net.label, net.gone = 2, 0.5, "a", None
    watch = Watch(net)
    setattr(net, name, value)
    net.hidden = net.hidden
    assert watch.told == 0


def test_watchers_of_a_block_hear_that_a_parameter_is_shared() -> None:
    net, other = nn.Dense(2, in_units=3), nn.Dense(2, in_units=3)
    watch = Watch(net)
    net.share_parameters(other.collect_params())
    assert watch.told


# -- sharing -------------------------------------------------------------------------------------------------


def test_one_block_in_two_places_shares_its_parameters(X: ndarray) -> None:
    shared = nn.Dense(20)
    net = stacked(shared, nn.Dense(20), shared)
    net.initialize()
    net(X)
    params = net.collect_params()
    assert list(params) == ["0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"]
    assert params["0.weight"] is params["2.weight"]
    assert len(params.distinct()) == 4


def test_params_of_another_layer_are_used_in_place_of_own_ones(X: ndarray) -> None:
    shared = nn.Dense(8, activation="relu")
    net = stacked(nn.Dense(8), shared, nn.Dense(8, params=shared.params))
    net.initialize()
    net(X)
    net[1].weight.set_data(np.ones((8, 8)))
    assert net[2].weight is net[1].weight
    assert float(net[2].weight.data()[0, 0]) == 1


def test_params_of_another_shape_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"shape \(8, -1\), which does not allow \(4, -1\)"):
        nn.Dense(4, params=nn.Dense(8).params)


def test_share_parameters_rebinds_by_name_and_returns_the_block(X: ndarray) -> None:
    first, second = MLP(), MLP()
    assert second.share_parameters(first.collect_params()) is second
    first.initialize()
    numpy.testing.assert_array_equal(first(X).asnumpy(), second(X).asnumpy())
    assert second.hidden.weight is first.hidden.weight
    assert second.share_parameters(None) is second


def test_share_parameters_warns_of_unknown_names_and_refuses_other_shapes() -> None:
    net = stacked(nn.Dense(2, in_units=3), nn.Dense(2, in_units=2))
    before = net[0].weight
    with pytest.warns(UserWarning, match="no parameters named 5.weight"):
        net.share_parameters({"5.weight": nn.Parameter("weight", shape=(2, 3))})
    other = {"0.weight": nn.Parameter("w", shape=(2, 3)), "1.weight": nn.Parameter("w", shape=(9, 9))}
    with pytest.raises(ShapeError, match=r"1\.weight has shape \(2, 2\)"):
        net.share_parameters(other)
    assert net[0].weight is before


# -- hybridize -----------------------------------------------------------------------------------------------


def test_hybridize_refuses_unknown_options_by_name() -> None:
    with pytest.raises(TypeError, match=r"no option 'static_aloc'; it has backend, .*static_alloc"):
        MLP().hybridize(static_aloc=True)


def test_hybridize_takes_gluons_options() -> None:
    net = MLP()
    net.hybridize(static_alloc=True, static_shape=True, inline_limit=3)
    assert net._hybrid_options == {}


def test_hybridize_off_goes_back_to_python() -> None:
    net = MLP()
    net.hidden.hybridize()
    net.hybridize()
    assert net._hybrid is not None
    assert net.hidden._hybrid is None
    net._entry = print
    net.hybridize(False)
    assert net._hybrid is None
    assert net._entry is None


def test_explain_says_that_a_block_is_not_hybridized() -> None:
    net = stacked(MLP())
    assert net[0].explain() == "MLP 0 runs in plain Python: call hybridize() to compile it"


# -- copies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_computes_the_same_and_is_independent(duplicate: Callable[[Any], Any], X: ndarray) -> None:
    net = chimera()
    net.initialize()
    before = net(X).asnumpy()
    twin = duplicate(net)
    numpy.testing.assert_array_equal(twin(X).asnumpy(), before)
    assert twin.name != net.name
    assert twin[0].net[1].weight.structural_name == "0.net.1.weight"
    for parameter in twin.collect_params().distinct():
        parameter.set_data(np.zeros(parameter.shape))
    twin[0].net.add(nn.Dense(3))
    numpy.testing.assert_array_equal(net(X).asnumpy(), before)
    assert len(net[0].net) == 2


def test_a_copy_keeps_what_is_shared_inside() -> None:
    shared = nn.Dense(4, in_units=4)
    twin = copy.deepcopy(stacked(shared, shared, nn.Dense(4, params=shared.params)))
    assert twin[0] is twin[1]
    assert twin[2].weight is twin[0].weight
    assert twin[0].weight is not shared.weight


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_stays_hybridized_without_programs_and_watchers(duplicate: Callable[[Any], Any]) -> None:
    net = MLP()
    net.hybridize(threads=1)
    net._entry = print
    watch = Watch(net)
    twin = duplicate(net)
    assert twin._hybrid_options == {"threads": 1}
    assert twin._hybrid is not None
    assert twin._hybrid is not net._hybrid
    assert twin._entry is None
    twin.scale = 3
    assert watch.told == 0


def test_a_shallow_copy_has_the_same_layers_and_a_structure_of_its_own() -> None:
    net = MLP()
    twin = copy.copy(net)
    assert twin.hidden is net.hidden
    twin.extra = nn.Dense(1)
    assert "extra" not in net._children
    assert net.hidden.structural_name == "hidden"
