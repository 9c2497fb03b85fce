"""Data-dependent control flow: what is compiled gives what eager gives, and loops close where they may."""

from __future__ import annotations

import random
from typing import Any

import numpy
import pytest
from flows import SCALES, agrees, program_of, same, scaled, ways_back

import blockfuse
from blockfuse import nn, np, npx
from blockfuse.ir.flow import walk
from blockfuse.ir.verify import verify

pytestmark = pytest.mark.spread(2)

# -- branches ------------------------------------------------------------------------------------------------


def test_both_ways_of_a_branch_are_compiled() -> None:
    def branch(x: Any) -> Any:
        return x * 2 if x.sum() > 3 else x - 1

    hybrid = agrees(branch, scaled())
    assert [b.successors for b in program_of(hybrid).flow.blocks].count((1, 2)) == 1
    assert hybrid._hybrid.cases.popitem()[1].attempts == 2


def test_and_or_and_chained_comparisons_are_branches() -> None:
    def chain(x: Any) -> Any:
        s = x.sum()
        if 0.5 < s < 50 and (x.min() > 0.2 or x.max() < 0.9):
            return np.exp(-x)
        if not (s > 0):
            return x + 7
        return np.sqrt(x)

    agrees(chain, scaled())


def test_early_return_from_a_helper_is_a_branch() -> None:
    def helper(h: Any) -> Any:
        if h.max() > 0.5:
            return h / h.max()
        return h

    def outer(x: Any) -> Any:
        return helper(helper(x * 3) * 2) + 1

    agrees(outer, scaled())


@pytest.mark.long
def test_an_array_is_true_as_in_numpy_for_every_dtype() -> None:
    def truth(x: Any) -> Any:
        return x + 1 if x.sum() else x - 1

    for dtype in ("float32", "float64", "int32", "uint8", "bool"):
        agrees(truth, [(np.zeros((2,), dtype=dtype),), (np.ones((2,), dtype=dtype),)])
    agrees(truth, [(np.array([float("nan"), 1]),), (np.zeros((2,)),)])


# -- loops ---------------------------------------------------------------------------------------------------


class FixedHiddenMLP(nn.Block):
    """The net of the seed documents."""

    def __init__(self) -> None:
        super().__init__()
        self.rand_weight = self.params.get_constant("rand_weight", np.random.uniform(size=(20, 20)))
        self.dense = nn.Dense(20, activation="relu")

    def forward(self, X: Any) -> Any:
        X = self.dense(X)
        X = npx.relu(np.dot(X, self.rand_weight.data()) + 1)
        X = self.dense(X)
        while np.abs(X).sum() > 1:
            X /= 2
        return X.sum()


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)])
def test_the_loop_of_the_seed_net_runs_natively_for_any_number_of_rounds(order: tuple[int, ...]) -> None:
    np.random.seed(7)
    net = FixedHiddenMLP()
    net.initialize(init=blockfuse.init.Uniform(0.02))
    inputs = [np.random.uniform(size=(2, 20)) * s for s in (1.0, 20.0, 1e6, 1e18)]
    wanted = [net(x) for x in inputs]
    net.hybridize()
    for _ in range(3):
        for n in order:
            same(net(inputs[n]), wanted[n])
    assert ways_back(net) == 1
    case = next(iter(net._hybrid.cases.values()))
    assert case.attempts <= 4


def test_a_loop_in_a_sub_block_closes() -> None:
    np.random.seed(7)
    net = nn.Sequential()
    net.add(nn.Dense(16, activation="relu"), nn.Dense(20), FixedHiddenMLP())
    net.initialize(init=blockfuse.init.Uniform(0.3))
    inputs = [np.random.uniform(size=(2, 8)) * s for s in SCALES]
    wanted = [net(x) for x in inputs]
    net.hybridize()
    for _ in range(2):
        for x, w in zip(inputs, wanted, strict=True):
            same(net(x), w)
    assert ways_back(net) == 1


@pytest.mark.long
def test_several_carried_arrays_and_nested_loops_close() -> None:
    def nested(x: Any, y: Any) -> Any:
        x, y = x * 1, y * 1
        while x.sum() > 1:
            x = x / 2
            while y.max() > x.max():
                y = y * 0.7
            y = y + 0.3
        return x, y

    calls = [(np.ones((3,)) * s, np.ones((2,)) * 5) for s in (1, 10, 3, 1000, 0.1)]
    assert ways_back(agrees(nested, calls)) > 0


def test_a_fixed_point_iteration_with_layers_in_its_body_closes() -> None:
    class Settling(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.step = nn.Dense(6, in_units=6, activation="tanh")

        def forward(self, x: Any) -> Any:
            z = np.zeros_like(x)
            change = x
            while np.abs(change).max() > 1e-3:
                new = self.step(z) * 0.5 + x
                change = new - z
                z = new
            return z

    np.random.seed(2)
    net = Settling()
    net.initialize(init=blockfuse.init.Uniform(0.5))
    inputs = [np.random.normal(size=(3, 6)) * s for s in (1, 0.01, 10, 0, 3)]
    wanted = [net(x) for x in inputs]
    net.hybridize()
    for _ in range(2):
        for x, w in zip(inputs, wanted, strict=True):
            same(net(x), w)
    assert ways_back(net) == 1
    net.step.weight.data()[:] *= 0.5
    same(net(inputs[0]), net._run((inputs[0],), {}))


def test_newton_steps_with_a_break_close() -> None:
    def root(a: Any) -> Any:
        x = a * 0.5 + 0.5
        while True:
            following = 0.5 * (x + a / x)
            if np.abs(following - x).max() < 1e-5:
                break
            x = following
        return x

    assert ways_back(agrees(root, [(np.array(v),) for v in ([2, 3], [100, 1e4], [1, 1], [0.01, 5])])) == 1


# -- what must stay unrolled, or eager -----------------------------------------------------------------------


def test_a_counter_keeps_a_loop_unrolled_and_right() -> None:
    def counted(x: Any) -> Any:
        i = 0
        while x.sum() > 1 and i < 5:
            x = x / 2
            i += 1
        return x * 1, i

    hybrid = blockfuse.hybridize(counted)
    for s in (1, 10, 3, 1e9, 0.1) * 3:
        x = np.ones((3,)) * s
        same(hybrid(x), counted(x))


@pytest.mark.long
def test_a_list_that_grows_keeps_a_loop_unrolled_and_right() -> None:
    def listed(x: Any) -> Any:
        steps = []
        while x.sum() > 1:
            x = x / 2
            steps.append(x)
        return np.stack(steps).sum(axis=0) if steps else x * 1

    agrees(listed, scaled(scales=(1, 10, 3, 40, 0.01)))


def test_an_array_kept_from_before_the_loop_is_not_mixed_up() -> None:
    def kept(x: Any) -> Any:
        first = x * 1
        x = first
        while x.sum() > 1:
            x = x / 2
        return x + first

    agrees(kept, scaled(scales=(1, 10, 3, 40, 0.01)))


def test_the_variable_of_the_round_before_is_carried() -> None:
    def pairs(x: Any) -> Any:
        before = x * 0
        while x.sum() > 1:
            before, x = x, x / 3
        return before - x

    agrees(pairs, scaled(scales=(1, 10, 3, 40, 0.01)))


def test_arrays_swapped_every_round_are_carried() -> None:
    def swapped(x: Any) -> Any:
        y = x + 1
        while x.sum() + y.sum() > 1:
            x, y = y / 2, x / 3
        return x - 2 * y

    agrees(swapped, scaled(scales=(1, 10, 3, 40, 0.01)))


def test_equal_numbers_and_tuples_of_which_is_tells_one_are_not_mixed_up() -> None:
    def told(x: Any) -> Any:
        one, other = float("1.5"), float("1.5")
        this, that = tuple(x.shape), tuple(iter(x.shape))
        first, begun = one, this
        while x[0] < 0:
            x = x + 1
            if x[1] == 0:
                x = x + (100 if one is first and this is begun else 10)
            one, other = other, one
            this, that = that, this
        return x

    agrees(told, [(np.array([-6.0, -rounds]),) for rounds in (9, 2, 3)])


def test_a_caller_that_waits_with_an_array_keeps_it() -> None:
    def shrunk(x: Any) -> Any:
        while x.sum() > 1:
            x = x / 2
        return x * 1

    def outer(x: Any) -> Any:
        return x * 3 + shrunk(x) - np.exp(-x) * shrunk(x * 2)

    agrees(outer, scaled(scales=(1, 10, 3, 40, 0.01)))


def test_in_place_writes_in_a_loop_reach_every_name_of_the_array() -> None:
    def aliased(x: Any) -> Any:
        y = x * 1
        z = y
        while y.sum() > 1:
            y /= 2
        return y + z * 3

    agrees(aliased, scaled(scales=(1, 10, 3, 40, 0.01)))


def test_a_path_that_returns_its_argument_runs_eagerly_and_keeps_the_identity() -> None:
    def maybe(x: Any) -> Any:
        while x.sum() > 1:
            x = x / 2
        return x

    hybrid = blockfuse.hybridize(maybe)
    small, large = np.ones((2,)) * 0.1, np.ones((2,)) * 9
    for _ in range(4):
        assert hybrid(small) is small
        same(hybrid(large), maybe(large))


def test_an_exception_after_some_rounds_is_the_eager_one() -> None:
    def strict(x: Any) -> Any:
        while x.sum() > 1:
            x = x / 2
            if x.max() > 30:
                raise ValueError("too large")
        return x * 1

    hybrid = blockfuse.hybridize(strict)
    for s in (1.0, 100.0, 3.0, 100.0, 1.0):
        x = np.ones((3,)) * s
        if s == 100.0:
            with pytest.raises(ValueError, match="too large"):
                hybrid(x)
        else:
            same(hybrid(x), strict(x))


def test_a_loop_that_python_counts_in_a_global_runs_eagerly() -> None:
    seen: list[int] = []

    def logging(x: Any) -> Any:
        while x.sum() > 1:
            x = x / 2
            seen.append(1)
        return x * 1

    hybrid = blockfuse.hybridize(logging)
    for _ in range(3):
        seen.clear()
        hybrid(np.ones((4,)) * 8)
        assert len(seen) == 5


@pytest.mark.long
def test_many_decisions_in_random_nets_agree_with_eager() -> None:
    chooser = random.Random(5)
    np.random.seed(5)

    class Branching(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Dense(8, in_units=8, activation="relu"), nn.Dense(8, in_units=8)

        def forward(self, x: Any) -> Any:
            h = self.a(x)
            if h.sum() > 1 and h.mean() < 5:
                h = self.b(h)
            elif not (h.min() < 0):
                return h + 1
            for i in range(3):
                h = h * 0.9
                if np.abs(h).sum() < i:
                    break
            y = h
            while y.sum() > 1:
                y = self.a(y) * 0.3
                if y.max() < 0.1:
                    break
            return y + h

    net = Branching()
    net.initialize(init=blockfuse.init.Uniform(0.5))
    inputs = [np.random.normal(size=(2, 8)) * chooser.choice([0.01, 0.3, 1, 3, 30]) for _ in range(60)]
    wanted = [net(x) for x in inputs]
    net.hybridize()
    for _ in range(2):
        for x, w in zip(inputs, wanted, strict=True):
            same(net(x), w)


# -- the flow itself -----------------------------------------------------------------------------------------


def test_a_flow_means_what_its_blocks_mean_and_verifies() -> None:
    def halved(x: Any) -> Any:
        while x.sum() > 1:
            x = x / 2
        return x * 1

    hybrid = agrees(halved, scaled(scales=(40, 0.01)))
    flow = program_of(hybrid).flow
    for block in flow.blocks:
        verify(block.graph)
    x = numpy.full((2, 5), 9.0, numpy.float32)
    found = walk(flow, [x])
    assert found is not None
    numpy.testing.assert_allclose(found[0], halved(np.array(x)).asnumpy(), rtol=1e-6)
    assert "if %" in str(flow)
    assert "<-" in str(flow)


def test_an_unknown_way_is_given_back_to_python() -> None:
    def branch(x: Any) -> Any:
        return x * 2 if x.sum() > 3 else x - 1

    hybrid = blockfuse.hybridize(branch)
    hybrid(np.ones((4,)))
    program = program_of(hybrid)
    assert walk(program.flow, [numpy.zeros((4,), numpy.float32)]) is None
    assert program.executable.entry(np.zeros((4,))) is NotImplemented
    same(hybrid(np.zeros((4,))), branch(np.zeros((4,))))
