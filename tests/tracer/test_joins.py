"""Ways that meet again: few recordings, and nothing that only one of the ways knows is mixed up."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy
import pytest
from flows import agrees, case_of, same, scaled, ways_back

import blockfuse
from blockfuse import nn, np
from blockfuse.ir.flow import walk

pytestmark = pytest.mark.spread(3)

SIGNS = list(itertools.product((-1.0, 1.0), repeat=3))


def signs(shape: tuple[int, ...] = (3,)) -> list[tuple[Any, ...]]:
    """All combinations of three signs, as arguments (values, signs)."""
    np.random.seed(3)
    return [(np.random.uniform(0.5, 1.5, size=shape), np.array(s)) for s in SIGNS]


# -- how few recordings are enough -----------------------------------------------------------------------------


@pytest.mark.long
def test_independent_branches_need_a_recording_each_and_not_one_for_every_combination() -> None:
    def eight(x: Any, g: Any) -> Any:
        if g[0] > 0:
            x = x * 2
        if g[1] > 0:
            x = x + 1
        x = x * 3 if g[2] > 0 else x - 1
        if g[3] > 0:
            twice = x * x
            x = twice - 1
        if g[4] > 0:
            x = np.tanh(x)
        y = x
        if g[5] > 0:
            y = x * 0.5
        if g[6] > 0:
            x, y = y, x
        if g[7] > 0:
            x = -x
        return x - 2 * y

    calls = [(np.array([0.5, 1.0]), np.array(bits)) for bits in itertools.product((0.0, 1.0), repeat=8)]
    hybrid = agrees(eight, calls, rounds=1)
    assert case_of(hybrid).attempts <= 20
    assert case_of(hybrid).eager_calls == 0
    assert ways_back(hybrid) == 0


def test_branches_in_sub_blocks_join() -> None:
    class Gate(nn.Block):
        def __init__(self, place: int) -> None:
            super().__init__()
            self.dense, self.place = nn.Dense(4, in_units=4), place

        def forward(self, x: Any) -> Any:
            if x[0, self.place] > 0:
                return self.dense(x)
            return x * 1.1

    np.random.seed(1)
    net = nn.Sequential()
    net.add(*(Gate(n % 4) for n in range(8)))
    net.initialize(init=blockfuse.init.Uniform(0.9))
    inputs = [np.random.normal(size=(2, 4)) for _ in range(100)]
    wanted = [net(x) for x in inputs]
    net.hybridize()
    for x, w in zip(inputs, wanted, strict=True):
        same(net(x), w)
    assert case_of(net).attempts <= 12
    assert case_of(net).eager_calls == 0


@pytest.mark.long
def test_branches_in_helpers_join() -> None:
    def gate(x: Any, sign: Any) -> Any:
        if sign > 0:
            return np.exp(-x)
        return x + 0.5

    def outer(x: Any, g: Any) -> Any:
        x = gate(x, g[0])
        y = gate(x * 2, g[1])
        return gate(x + y, g[2]) * x

    hybrid = agrees(outer, signs())
    assert case_of(hybrid).attempts <= 4


@pytest.mark.long
def test_branches_in_a_loop_over_layers_join() -> None:
    class Skipping(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Dense(4, in_units=4) for _ in range(5)]
            for layer in self.layers:
                self.register_child(layer)

        def forward(self, x: Any) -> Any:
            for layer in self.layers:
                x = layer(x) if x.sum() > 0 else 1 - x
            return x

    np.random.seed(1)
    net = Skipping()
    net.initialize(init=blockfuse.init.Uniform(0.9))
    inputs = [np.random.normal(size=(2, 4)) for _ in range(60)]
    wanted = [net(x) for x in inputs]
    net.hybridize()
    for x, w in zip(inputs, wanted, strict=True):
        same(net(x), w)
    assert case_of(net).attempts <= 8


def test_branches_in_a_loop_and_a_loop_in_a_branch_join() -> None:
    def mixed(x: Any, g: Any) -> Any:
        if g[0] > 0:
            while x.sum() > 1:
                x = x / 2
                if x.max() > 3:
                    x = x - 1
        if g[1] > 0:
            x = x + 2
        return x * 3

    hybrid = agrees(mixed, [(x * 9, g) for x, g in signs()] + [(x / 9, g) for x, g in signs()])
    assert ways_back(hybrid) >= 1


# -- what must not be mixed up ---------------------------------------------------------------------------------


def test_an_argument_that_only_some_ways_replace_is_still_the_callers() -> None:
    def writing(x: Any, g: Any) -> Any:
        if g[0] > 0:
            x = x * 2
        if g[1] > 0:
            x += 1
        return x * 3

    hybrid = blockfuse.hybridize(writing)
    for x, g in signs() * 3:
        mine, other = x.copy(), x.copy()
        same(hybrid(mine, g), writing(other, g))
        same(mine, other)


def test_a_result_is_the_argument_itself_where_eager_gives_it_back() -> None:
    def maybe(x: Any, g: Any) -> Any:
        if g[0] > 0:
            x = x * 2
        return x if g[1] > 0 else x + 1

    hybrid = blockfuse.hybridize(maybe)
    for x, g in signs() * 3:
        assert (hybrid(x, g) is x) == (maybe(x, g) is x)


def test_a_parameter_and_a_variable_that_held_it_are_told_apart() -> None:
    class Choosing(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.a = self.params.get_constant("a", np.array([1.0, 2.0, 3.0]))
            self.b = self.params.get_constant("b", np.array([5.0, 7.0, 9.0]))

        def forward(self, x: Any, g: Any) -> Any:
            w = self.a.data()
            if g[0] > 0:
                w = self.b.data()
            if g[1] > 0:
                return x * w + self.a.data()
            return x * w - self.b.data() if g[2] > 0 else w + x

    net = Choosing()
    net.initialize()
    wanted = [net(*call) for call in signs()]
    net.hybridize()
    for _ in range(2):
        for call, w in zip(signs(), wanted, strict=True):
            same(net(*call), w)


def test_a_write_that_no_variable_shows_any_more_is_not_lost() -> None:
    def helper(y: Any, g: Any) -> Any:
        if g[0] > 0:
            y += 1
        del y
        if g[1] > 0:
            return g * 2
        return g

    def chosen(y: Any, z: Any, g: Any) -> Any:
        return y * 2 + z if g[2] > 0 else z * 3

    def outer(x: Any, g: Any) -> Any:
        y = x * 2
        return chosen(y, helper(y, g), g)

    agrees(outer, signs())


def test_an_array_on_the_stack_of_a_caller_is_not_taken_for_what_a_helper_made_of_it() -> None:
    def helper(x: Any, g: Any) -> Any:
        if g[0] > 0:
            x = x * 2
        if g[1] > 0:
            return x + 1
        return g * 3

    def outer(x: Any, g: Any) -> Any:
        return x - 7 * helper(x, g)

    for order in (SIGNS, SIGNS[::-1], SIGNS[3:] + SIGNS[:3]):
        calls = {tuple(g.asnumpy()): (x, g) for x, g in signs()}
        agrees(outer, [calls[s] for s in order])


def test_a_view_of_an_argument_that_only_some_ways_replace_is_the_arguments() -> None:
    def viewed(x: Any, g: Any) -> Any:
        if g[0] > 0:
            x = x * 2
        if g[1] > 0:
            return x.reshape((3, 1))
        return (x + 1).reshape((3, 1))

    hybrid = blockfuse.hybridize(viewed)
    for x, g in signs() * 3:
        found = hybrid(x, g)
        same(found, viewed(x, g))
        before = x.asnumpy().copy()
        found += 1
        assert (x.asnumpy() != before).any() == (float(g[0]) < 0 and float(g[1]) > 0)
        x[:] = np.array(before)


@pytest.mark.long
def test_a_list_that_only_some_ways_fill_is_not_shared() -> None:
    def helper(steps: list[Any], x: Any, g: Any) -> Any:
        if g[0] > 0:
            steps.append(x * 2)
        del steps
        if g[1] > 0:
            return x + 1
        return x * 1

    def outer(x: Any, g: Any) -> Any:
        steps = [x * 3]
        y = helper(steps, x, g)
        if g[2] > 0:
            y = y + 5
        return sum(steps) + y

    agrees(outer, signs())


@pytest.mark.long
def test_a_list_made_in_the_call_lets_ways_join_while_it_is_the_same() -> None:
    def kept(x: Any, g: Any) -> Any:
        both = [x * 2, x * 3]
        if g[0] > 0:
            x = x + 1
        if g[1] > 0:
            both[0] = x
        if g[2] > 0:
            x = -x
        return both[0] - x * both[1]

    agrees(kept, signs())


def test_names_of_one_array_and_of_two_equal_ones_are_told_apart() -> None:
    def aliased(x: Any, g: Any) -> Any:
        y = x * 2
        z = y if g[0] > 0 else y * 1
        if g[1] > 0:
            z += 1
        if g[2] > 0:
            y = y * 3
        return y - 5 * z

    agrees(aliased, signs())


@pytest.mark.long
def test_arrays_of_other_types_do_not_join() -> None:
    def widened(x: Any, g: Any) -> Any:
        if g[0] > 0:
            x = np.concatenate((x, x))
        if g[1] > 0:
            x = x.astype("float64")
        if g[2] > 0:
            x = x * 2
        return x.sum()

    agrees(widened, signs())


@pytest.mark.long
def test_what_python_reads_from_a_constant_array_is_not_carried_over() -> None:
    def constants(x: Any, g: Any) -> Any:
        y = np.zeros((3,))
        if g[0] > 0:
            y = np.ones((3,))
        if g[1] > 0:
            x = x * 2
        return x + 1 if y.sum() > 1 else x - 1

    def counting(x: Any, g: Any) -> Any:
        y = np.zeros((3,))
        x = np.abs(x) * 90
        while True:
            if y.sum() == 6:
                x = x - 7
            if x.sum() < 2:
                break
            x, y = x / 2, y + 1
        return x * g

    agrees(constants, signs())
    agrees(counting, [(x * s, g) for s in (0.001, 1, 50) for x, g in signs()])


@pytest.mark.long
def test_flow_that_c_code_drives_is_not_taken_for_a_loop() -> None:
    def step(x: Any, _: int) -> Any:
        return x / 2 if x.sum() > 1 else x * 1

    def reduced(x: Any) -> Any:
        return functools.reduce(step, [1, 1, 1, 1], x * 1)

    def mapped(x: Any) -> Any:
        first, second, third = map(lambda v: step(v, 1), [x, x * 2, x * 4])  # noqa: C417 - the subject
        return first + 2 * second + 3 * third

    def every(x: Any) -> Any:
        return x * 2 if all([x[0] > 1, x[1] > 1, x[2] > 1]) else x - 1

    def largest(x: Any) -> Any:
        return max(x[0], x[1], x[2]) * x

    values = [np.array(v) for v in itertools.product((0.2, 1.7, 9.0), repeat=3)]
    for function in (reduced, mapped, every, largest):
        agrees(function, [(v,) for v in values], rounds=2)


def test_flow_in_a_generator_is_not_taken_for_a_loop() -> None:
    def halves(x: Any) -> Any:
        while x.sum() > 1:
            x = x / 2
            yield x

    def counted(x: Any) -> Any:
        rounds = 0
        for _ in halves(x):
            rounds += 1
        return x * rounds + 1

    agrees(counted, scaled(scales=(0.01, 10, 0.1, 100, 1000)))


def test_an_exception_handler_and_finally_join() -> None:
    def careful(x: Any, g: Any) -> Any:
        try:
            if g[0] > 0:
                raise ValueError
            x = x * 2
        except ValueError:
            x = x - 1
        finally:
            x = x + 3
        if g[1] > 0:
            x = x * 5
        return x

    agrees(careful, signs())


@pytest.mark.long
@pytest.mark.parametrize("order", [(0, 7, 3, 5, 1, 2, 4, 6), (7, 6, 5, 4, 3, 2, 1, 0)])
def test_the_order_of_the_calls_does_not_matter(order: tuple[int, ...]) -> None:
    def three(x: Any, g: Any) -> Any:
        kept = x
        if g[0] > 0:
            x = x * 2
        if g[1] > 0:
            kept = x + 1
        if g[2] > 0:
            return kept - x
        return kept + x

    calls = signs()
    agrees(three, [calls[n] for n in order])


def test_a_flow_with_joins_means_what_its_blocks_mean() -> None:
    def three(x: Any, g: Any) -> Any:
        if g[0] > 0:
            x = x * 2
        if g[1] > 0:
            x = x + 1
        return x if g[2] > 0 else -x

    def owned(x: Any, g: Any) -> Any:
        return three(x * 1, g)

    hybrid = agrees(owned, signs())
    for x, g in signs():
        found = walk(case_of(hybrid).program.flow, [x.asnumpy(), g.asnumpy()])
        assert found is not None
        numpy.testing.assert_allclose(found[0], owned(x, g).asnumpy(), rtol=1e-6)
