"""Calls that assign attributes of blocks: programs assign what eager calls do, and stay in Python where they could not."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import autograd, nn, np, npx
from blockfuse.ir.errors import AuditError

pytestmark = pytest.mark.spread(6)

WATCHED = ("h", "w", "k", "c")
Forward = Callable[[Any, Any], Any]


def kind_of(forward: Forward, **attributes: Callable[[], Any]) -> Callable[[], Any]:
    """Makes blocks of a class of their own with this ``forward``, a layer and these attributes."""

    def make() -> Any:
        class Kind(nn.Block):
            def __init__(self) -> None:
                super().__init__()
                self.out = nn.Dense(5, in_units=5)
                for name, value in attributes.items():
                    setattr(self, name, value())

        Kind.forward = forward  # type: ignore[method-assign]
        net = Kind()
        net.initialize()
        net.out.weight.set_data(numpy.linspace(-1, 1, 25).reshape(5, 5))
        return net

    return make


def inputs(count: int = 7, shape: tuple[int, ...] = (2, 5)) -> list[Any]:
    generator = numpy.random.default_rng(5)
    return [np.array(generator.normal(size=shape).astype("float32")) for _ in range(count)]


def plain(value: Any) -> Any:
    """A copy that nobody shares, with NumPy's arrays for ours."""
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return value.asnumpy().copy() if type(value) is np.ndarray else value


def require_equal(found: Any, wanted: Any) -> None:
    assert type(found) is type(wanted)
    if isinstance(wanted, numpy.ndarray):
        assert found.dtype == wanted.dtype
        numpy.testing.assert_allclose(found, wanted, rtol=2e-5, atol=1e-5)
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            require_equal(one, other)
    elif isinstance(wanted, dict):
        assert [*found] == [*wanted]
        require_equal([*found.values()], [*wanted.values()])
    else:
        assert repr(found) == repr(wanted)


def attributes_of(net: Any) -> dict[str, Any]:
    return {f"{n}.{k}": vars(b)[k] for n, b in enumerate(net._blocks()) for k in WATCHED if k in vars(b)}


def seen(net: Any, x: Any) -> Any:
    """What a call gives and leaves, and which of the arrays are one."""
    try:
        result = net(x)
    except ValueError as error:
        result = str(type(error))
    held = attributes_of(net)
    arrays = [v for v in (x, result, *held.values()) if type(v) is np.ndarray]
    same = [[a is b for a in arrays] for b in arrays]
    return plain(result), plain(held), same


def runs_as_eager(
    make: Callable[[], Any],
    between: Callable[[Any, int], None] = lambda *_: None,
    given: Sequence[Any] | None = None,
    **options: Any,
) -> Any:
    net, eager = make(), make()
    net.hybridize(**options)
    for number, x in enumerate(given or inputs()):
        between(net, number)
        between(eager, number)
        require_equal(seen(net, x), seen(eager, x))
    return net


def is_compiled(net: Any) -> bool:
    return ": compiled" in net.explain() and "eager because" not in net.explain()


# -- what programs assign --------------------------------------------------------------------------------------------


def one_array(self: Any, x: Any) -> Any:
    self.h = npx.softmax(x)
    return self.out(self.h)


def its_result(self: Any, x: Any) -> Any:
    self.h = self.out(x)
    return self.h


def one_array_twice(self: Any, x: Any) -> Any:
    self.h = self.w = np.tanh(x)
    return x + 1


def several_times(self: Any, x: Any) -> Any:
    self.h = x * 2
    y = self.h + 1
    self.h = y * 3
    return y


def a_child(self: Any, x: Any) -> Any:
    self.out.h = x * 2
    return self.out(x)


def constants(self: Any, x: Any) -> Any:
    self.k, self.w = True, (None, x.shape[0], "text")
    return x * 2


def containers(self: Any, x: Any) -> Any:
    self.c = []
    for n in range(3):
        self.c.append(x * n)
    self.w = {"a": self.c[0], "b": (self.c[1] + 1, 3)}
    return self.c[2]


def its_argument(self: Any, x: Any) -> Any:
    self.h, self.c = x, [x]
    return x * 2


def a_view(self: Any, x: Any) -> Any:
    self.h = (x * 2)[0]
    return x + 1


def written_afterwards(self: Any, x: Any) -> Any:
    y = x * 2
    self.h = y
    y += 1
    return y * 2


def by_a_helper(self: Any, x: Any) -> Any:
    def keep(block: Any, value: Any) -> None:
        block.h = value

    keep(self, x * 2)
    return x + 1


def random_numbers(self: Any, x: Any) -> Any:
    self.h = np.random.uniform(size=(2, 2))
    return x * 2


def a_state(self: Any, x: Any) -> Any:
    self.h = np.tanh(self.out(x) + self.h)
    return self.h * 1


def a_state_that_is_returned(self: Any, x: Any) -> Any:
    self.h = np.tanh(self.out(x) + self.h)
    return self.h


def a_counter(self: Any, x: Any) -> Any:
    self.h = self.h + 1
    return x * self.h


def two_states(self: Any, x: Any) -> Any:
    self.h, self.w = self.w + x, self.h * 2
    return self.h * 1


def two_that_are_exchanged(self: Any, x: Any) -> Any:
    self.h, self.w = self.w, self.h
    return x + self.h


def a_queue(self: Any, x: Any) -> Any:
    self.h, self.w, self.k = x * 2, self.h, self.w
    return x + self.k


def others_by_the_way(self: Any, x: Any) -> Any:
    if x.sum() > 0:
        self.h, self.w = self.w, self.h
    else:
        self.w, self.k = self.k, x * 3
    return x * 2


def a_state_made_when_missing(self: Any, x: Any) -> Any:
    if getattr(self, "h", None) is None:
        self.h = np.zeros((2, 5))
    self.h = np.tanh(self.out(x) + self.h)
    return self.h * 1


def written_in_place(self: Any, x: Any) -> Any:
    self.h += 1
    return x * self.h


def either_way(self: Any, x: Any) -> Any:
    if x.sum() > 0:
        self.h = x * 2
    else:
        self.h = x * 3
    return self.h + 1


def one_way(self: Any, x: Any) -> Any:
    if x.sum() > 0:
        self.h = x * 2
    return x + 1


def constants_by_the_way(self: Any, x: Any) -> Any:
    if x.sum() > 0:
        self.k = 2
    else:
        self.k = 3
    if x.max() > 1:
        return x * self.k
    return x + self.k


def other_types_by_the_way(self: Any, x: Any) -> Any:
    if x.sum() > 0:
        self.h, self.w = x.sum(axis=0), x + 1
    elif x.max() > 1:
        self.h = [x * 2, x.sum()]
    return x * 2


def read_one_way(self: Any, x: Any) -> Any:
    if x.sum() > 0:
        self.h = x * 2
        return x + 1
    return x * self.h


def each_round(self: Any, x: Any) -> Any:
    while np.abs(x).sum() > 0.1:
        x = x / 2
        self.h = x
    return x * 2


def kept_by_rounds(self: Any, x: Any) -> Any:
    self.h, self.w = x * 1, x * 2
    while np.abs(self.h).sum() > 0.1:
        self.h, self.w = self.w / 4, self.h / 2
    return self.h * 2


def behind_a_gradient(self: Any, x: Any) -> Any:
    with autograd.record():
        total = (self.out(x) ** 2).sum()
    total.backward()
    self.h = self.out.weight.grad() * 2
    weight = self.out.weight.data()
    weight -= self.out.weight.grad() * 0.01
    return total * 1


def zeros() -> Any:
    return np.zeros((2, 5))


def ones() -> Any:
    return np.ones((2, 5))


COMPILED: dict[str, Callable[[], Any]] = {
    forward.__name__: kind_of(forward, **attributes)
    for forward, attributes in (
        (one_array, {}),
        (its_result, {}),
        (one_array_twice, {}),
        (several_times, {}),
        (a_child, {}),
        (constants, {}),
        (containers, {}),
        (its_argument, {}),
        (a_view, {}),
        (written_afterwards, {}),
        (by_a_helper, {}),
        (random_numbers, {}),
        (a_state, {"h": zeros}),
        (a_state_that_is_returned, {"h": zeros}),
        (a_counter, {"h": lambda: np.zeros(())}),
        (two_states, {"h": zeros, "w": zeros}),
        (two_that_are_exchanged, {"h": zeros, "w": ones}),
        (a_queue, {"h": zeros, "w": ones, "k": zeros}),
        (others_by_the_way, {"h": zeros, "w": ones, "k": zeros}),
        (a_state_made_when_missing, {}),
        (written_in_place, {"h": zeros}),
        (either_way, {}),
        (one_way, {}),
        (constants_by_the_way, {}),
        (other_types_by_the_way, {}),
        (read_one_way, {"h": zeros}),
        (each_round, {}),
        (kept_by_rounds, {}),
        (behind_a_gradient, {}),
    )
}


@pytest.mark.spread(11)
@pytest.mark.parametrize("name", COMPILED)
def test_a_program_assigns_what_the_eager_call_assigns(name: str) -> None:
    drawing = name == "random_numbers"
    if drawing:
        net = COMPILED[name]()
        net.hybridize()
        for x in inputs():
            np.random.seed(3)
            net(x)
            np.random.seed(3)
            require_equal(plain(net.h), plain(np.random.uniform(size=(2, 2))))
    else:
        net = runs_as_eager(COMPILED[name], given=inputs(9))
    assert ": compiled" in net.explain(), net.explain()
    assert "differs" not in net.explain(), net.explain()


def in_one_line(statements: str) -> Forward:
    """A forward whose body stands on the line of its ``def``, which no formatter would leave there."""
    made: dict[str, Any] = {"np": np, "npx": npx}
    exec(f"def forward(self, x): {statements}", made)
    return made["forward"]  # type: ignore[no-any-return]


@pytest.mark.spread(1)
@pytest.mark.parametrize(
    "statements",
    [
        "self.h = npx.softmax(x); return self.h + 1",
        "self.h = x * 2; self.out.h = x * 3; return self.out(x)",
    ],
)
def test_a_body_on_the_line_of_def_is_compiled_all_the_same(statements: str) -> None:
    assert is_compiled(runs_as_eager(kind_of(in_one_line(statements)), given=inputs(9)))


@pytest.mark.spread(1)
@pytest.mark.parametrize("name", ["other", "block"])
def test_what_a_line_of_def_assigns_to_others_is_seen_at_every_call_of_it(name: str) -> None:
    class Plain:
        h = 0.0

    other = Plain()
    keep = in_one_line("self.h = x")
    other_first = in_one_line("keep(other, 1.0); keep(self, x * 2); return x + 1")
    block_first = in_one_line("keep(self, x * 2); keep(other, 1.0); return x + 1")
    forward = other_first if name == "other" else block_first
    forward.__globals__.update(keep=keep, other=other)  # type: ignore[attr-defined]
    net = kind_of(forward)()
    net.hybridize()
    for x in inputs(6):
        other.h = 0.0
        net(x)
        assert other.h == 1.0
        require_equal(plain(net.h), plain(x * 2))


# -- what stays in Python --------------------------------------------------------------------------------------------


def a_number_that_counts(self: Any, x: Any) -> Any:
    self.k += 1
    return x * self.k


def a_list_that_is_read(self: Any, x: Any) -> Any:
    before = self.c
    self.c = [x * 2]
    return x + len(before)


def read_by_a_helper(self: Any, x: Any) -> Any:
    def former(block: Any) -> Any:
        return block.k

    y = x * former(self)
    self.k = 7
    return y


def read_by_text(self: Any, x: Any) -> Any:
    y = x * (3 if getattr(self, "k", None) is None else 4)
    self.k = "set"
    return y


def read_by_a_computed_name(self: Any, x: Any) -> Any:
    y = x * (3 if getattr(self, "".join(["k"]), None) is None else 4)
    self.k = "set"
    return y


def read_in_the_dict(self: Any, x: Any) -> Any:
    y = x * (3 if "k" in self.__dict__ else 4)
    self.k = x.shape
    return y


def deleted(self: Any, x: Any) -> Any:
    self.h = x * 2
    del self.h
    return x * 2


def a_parameter(self: Any, x: Any) -> Any:
    self.h = self.out.weight.data()
    return x * 2


def two_views_of_one(self: Any, x: Any) -> Any:
    y = x * 2
    self.h = y[0]
    return y


def a_block(self: Any, x: Any) -> Any:
    self.k = nn.Flatten()
    return x * 2


def a_numpy_array(self: Any, x: Any) -> Any:
    self.c = [numpy.zeros(3)]
    return x * 2


def a_value_of_python(self: Any, x: Any) -> Any:
    self.k = float(x.sum())
    return x * 2


def by_setattr(self: Any, x: Any) -> Any:
    setattr(self, "h", x * 2)  # noqa: B010
    return x * 2


def it_raises(self: Any, x: Any) -> Any:
    self.h = x * 2
    self.w = x @ x
    return x


PYTHON: dict[str, Callable[[], Any]] = {
    forward.__name__: kind_of(forward, **attributes)
    for forward, attributes in (
        (a_number_that_counts, {"k": int}),
        (a_list_that_is_read, {"c": list}),
        (deleted, {}),
        (a_parameter, {}),
        (two_views_of_one, {}),
        (a_block, {}),
        (a_numpy_array, {}),
        (a_value_of_python, {}),
        (by_setattr, {}),
        (it_raises, {}),
    )
}


@pytest.mark.parametrize("name", PYTHON)
def test_what_no_program_can_assign_runs_in_python_and_says_why(name: str) -> None:
    net = PYTHON[name]()
    eager = PYTHON[name]()
    net.hybridize()
    for x in inputs():
        found, wanted = seen(net, x), seen(eager, x)
        if name not in ("a_block", "a_numpy_array"):
            require_equal(found, wanted)
    assert ": eager" in net.explain()
    assert "because" in net.explain()


@pytest.mark.parametrize(
    "forward", [read_by_a_helper, read_by_text, read_by_a_computed_name, read_in_the_dict]
)
def test_what_an_attribute_held_before_is_seen_where_forward_reads_it(forward: Forward) -> None:
    def between(net: Any, number: int) -> None:
        if number in (4, 7):
            net.k = number
        elif number == 5 and forward is not read_by_a_helper:
            del net.k

    attributes = {"k": int} if forward is read_by_a_helper else {}
    runs_as_eager(kind_of(forward, **attributes), between, inputs(10))


def test_what_layers_of_ours_read_is_seen() -> None:
    def forward(self: Any, x: Any) -> Any:
        y = self.leaky(x)
        self.leaky._alpha = 0.9
        return y

    def between(net: Any, number: int) -> None:
        if number % 3 == 0:
            net.leaky._alpha = 0.1 * number

    runs_as_eager(kind_of(forward, leaky=lambda: nn.LeakyReLU(0.2)), between, inputs(10))


def test_a_counter_says_how_to_be_compiled() -> None:
    text = runs_as_eager(PYTHON["a_number_that_counts"]).explain()
    assert "assigns the attribute k, which it may have read before at test_assigned_attributes.py:" in text
    assert "hold it as an array" in text


# -- between calls ---------------------------------------------------------------------------------------------------

NEW_VALUES: dict[str, Callable[[Any], Any]] = {
    "none": lambda _: None,
    "deleted": lambda _: None,
    "float64": lambda _: np.ones((2, 5), dtype="float64"),
    "another shape": lambda _: np.ones((1, 5)),
    "not in C order": lambda _: np.array(numpy.arange(10, dtype="float32").reshape(5, 2)).T,
    "NumPy's": lambda _: numpy.ones((2, 5), "float32"),
    "a number": lambda _: 3,
    "a list": lambda _: [1, 2, 3, 4, 5],
    "a parameter": lambda net: net.out.weight.data()[:2],
}


@pytest.mark.parametrize("forward", [one_array, a_state, a_state_made_when_missing])
@pytest.mark.parametrize("value", NEW_VALUES)
def test_an_attribute_may_be_assigned_between_calls(forward: Forward, value: str) -> None:
    def between(net: Any, number: int) -> None:
        if number == 5:
            net.h = NEW_VALUES[value](net)
            if value == "deleted":
                del net.h

    attributes = {"h": zeros} if forward is a_state else {}
    if forward is a_state and value in ("none", "deleted"):
        return  # an error, and the attribute stays what it is
    net = runs_as_eager(kind_of(forward, **attributes), between, inputs(8))
    assert ": compiled" in net.explain()


def test_a_state_that_is_reset_again_and_again_keeps_its_program() -> None:
    def between(net: Any, number: int) -> None:
        if number % 2:
            net.h = np.ones((2, 5))

    net = runs_as_eager(kind_of(a_state, h=zeros), between, inputs(12))
    assert net.explain().count("recordings") == 1
    (case,) = net._hybrid.cases.values()
    assert case.attempts <= 3
    assert case.program.executable.calls() > 6


def test_a_net_without_the_attribute_raises_as_eager_does() -> None:
    net = kind_of(a_state, h=zeros)()
    net.hybridize()
    for x in inputs(5):
        net(x)
    kept = net.h
    del net.h
    with pytest.raises(AttributeError):
        net(inputs(1)[0])
    net.h = kept
    net(inputs(1)[0])


def its_number(self: Any, x: Any, k: float) -> Any:
    self.k = k
    return x + k


def what_its_number_gives(self: Any, x: Any, k: float) -> Any:
    self.k, self.h = 0, (k * 2, None)
    if x.sum() > 0:
        self.k = x.shape[0] + k
    return x + k


def an_array_of_its_number(self: Any, x: Any, k: float) -> Any:
    self.h = x * k
    return x + k


@pytest.mark.parametrize("forward", [its_number, what_its_number_gives, an_array_of_its_number])
def test_numbers_of_each_call_are_those_that_it_assigns(forward: Forward) -> None:
    net, eager = kind_of(forward)(), kind_of(forward)()
    net.hybridize()
    for number, x in enumerate(inputs(9)):
        found, wanted = (plain([n(x, number * 0.5), attributes_of(n)]) for n in (net, eager))
        require_equal(found, wanted)
    assert ("any float" in net.explain()) == (forward is an_array_of_its_number), net.explain()


def compares_two_states(self: Any, x: Any) -> Any:
    y = x * 2 if self.h is self.w else x * 3
    self.h, self.w = x + 1, x + 2
    return y


def compares_with_what_is_held(self: Any, x: Any) -> Any:
    y = x * 2 if self.h is self.k else x * 3
    self.h = x + 1
    return y


@pytest.mark.parametrize("forward", [compares_two_states, compares_with_what_is_held])
def test_one_array_in_two_places_is_told_from_two_arrays(forward: Forward) -> None:
    def between(net: Any, number: int) -> None:
        if number in (4, 6):
            net.h = net.k
            if forward is compares_two_states:
                net.w = net.k

    net = runs_as_eager(kind_of(forward, h=zeros, w=ones, k=zeros), between, inputs(9))
    assert ": compiled" in net.explain(), net.explain()


def test_what_an_attribute_held_belongs_to_whoever_kept_it() -> None:
    net = kind_of(one_array)()
    net.hybridize()
    kept = []
    for x in inputs():
        net(x)
        kept.append((net.h, plain(net.h)))
    assert len({id(array) for array, _ in kept}) == len(kept)
    for array, values in kept:
        require_equal(plain(array), values)
    kept[0][0][...] = 9
    assert float(net.h.max()) < 9


def test_a_result_that_an_attribute_holds_is_written_through_both() -> None:
    net = kind_of(its_result)()
    net.hybridize()
    for x in inputs():
        result = net(x)
        result[...] = 4
        assert float(net.h.min()) == 4


def test_what_is_assigned_is_not_held_after_the_next_call() -> None:
    net = kind_of(one_array)()
    net.hybridize()
    for x in inputs(5):
        net(x)
    gone = weakref.ref(net.h._data)
    net(inputs(1)[0])
    gc.collect()
    assert gone() is None


def test_a_block_that_reads_the_attribute_is_told() -> None:
    class Reader(nn.Block):
        def __init__(self, net: Any) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Any) -> Any:
            return x + self.net.h

    nets = [kind_of(one_array)(), kind_of(one_array)()]
    readers = [Reader(net) for net in nets]
    nets[0].hybridize()
    wrapped = [blockfuse.hybridize(readers[0].forward), readers[1].forward]
    for x in inputs(8):
        for net in nets:
            net(x)
        require_equal(plain(wrapped[0](x)), plain(wrapped[1](x)))


# -- forms of calls --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forward", [one_array, its_result, its_argument, a_state])
def test_numpy_arrays_give_numpy_arrays_and_attributes_stay_ours(forward: Forward) -> None:
    make = kind_of(forward, h=zeros)
    net, eager = make(), make()
    net.hybridize()
    for x in inputs():
        given = [plain(x), plain(x)]
        results = [net(given[0]), eager(given[1])]
        assert {*map(type, results)} == {numpy.ndarray}
        require_equal(*map(plain, (net.h, eager.h)))
        for array in (*results, *given):
            array[...] = 7
        require_equal(*map(plain, (net.h, eager.h)))


@pytest.mark.parametrize("forward", [one_array, its_result, a_state])
def test_out_and_keywords_are_what_they_are_elsewhere(forward: Forward) -> None:
    make = kind_of(forward, h=zeros)
    net, eager = make(), make()
    net.hybridize()
    for x in inputs():
        require_equal(plain(net(x=x)), plain(eager(x=x)))
        require_equal(plain(net.h), plain(eager.h))
        memory = [np.zeros((2, 5)), np.zeros((2, 5))]
        assert net(x, out=memory[0]) is memory[0]
        eager(x, out=memory[1])
        require_equal(*map(plain, memory))
        require_equal(plain(net.h), plain(eager.h))
        assert net.h is not memory[0]


def test_a_state_among_the_arguments_is_right() -> None:
    make = kind_of(a_state_that_is_returned, h=zeros)
    net, eager = make(), make()
    net.hybridize()
    y = [inputs(1)[0]] * 2
    for number in range(8):
        y = [net(y[0]), eager(y[1])] if number % 3 else [net(net.h), eager(eager.h)]
        require_equal(*map(plain, y))
        assert net.h is y[0]


@pytest.mark.long
def test_every_size_of_the_batch_has_one_program() -> None:
    given = [np.array(numpy.full((n, 5), 0.1 * n, "float32")) for n in (2, 3, 7, 2, 1, 9, 4)]
    net = runs_as_eager(kind_of(one_array), given=given)
    assert "any, 5]): compiled" in net.explain()


def test_calls_inside_of_record_stay_in_python_and_gradients_flow() -> None:
    nets = [kind_of(one_array)(), kind_of(one_array)()]
    nets[0].hybridize()
    grads = []
    for net in nets:
        for x in inputs(5):
            with autograd.record():
                total = (net(x) * net.h).sum()
            total.backward()
        grads.append(plain(net.out.weight.grad()))
    require_equal(*grads)
    assert "attributes are given no gradients" in nets[0].explain()


@pytest.mark.parametrize("forward", [one_array, a_state, one_way, behind_a_gradient])
def test_audits_repeat_a_call_without_assigning_twice(forward: Forward) -> None:
    runs_as_eager(kind_of(forward, h=zeros), audit=0.5, given=inputs(10))


def test_an_audit_sees_a_wrong_attribute() -> None:
    def forward(self: Any, x: Any) -> Any:
        self.h = x * 2
        return x + 1

    net = kind_of(forward)()
    net.hybridize(audit=1.0)
    for x in inputs(4):
        net(x)
    (case,) = net._hybrid.cases.values()
    way = case.program.assigned._ways[0]
    values = way.values
    way.values = lambda arrays, given: tuple(v + 1 for v in values(arrays, given))
    case.program.call = None
    net._entry = None
    before = net.h
    with pytest.raises(AuditError):
        net(inputs(1)[0])
    assert net.h is before


# -- around calls ----------------------------------------------------------------------------------------------------


def test_threads_leave_what_one_of_them_assigned() -> None:
    net = kind_of(one_array)()
    net.hybridize()
    given = inputs(4)
    wanted = [plain(npx.softmax(x)) for x in given]
    for x in given:
        net(x)
    found: list[Any] = []

    def work(x: Any) -> None:
        for _ in range(100):
            net(x)
            found.append(plain(net.h))

    threads = [threading.Thread(target=work, args=(x,)) for x in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for array in found[::17]:
        assert any(numpy.allclose(array, one, atol=1e-5) for one in wanted)


def test_a_class_that_assigns_in_its_own_way_runs_in_python() -> None:
    log: list[str] = []

    class Own(nn.Block):
        def __setattr__(self, name: str, value: Any) -> None:
            log.append(name)
            super().__setattr__(name, value)

        def forward(self, x: Any) -> Any:
            self.h = x * 2
            return x + 1

    net = Own()
    net.hybridize()
    del log[:]
    for x in inputs():
        net(x)
    assert log.count("h") == 7


def test_a_property_assigns_what_its_setter_does() -> None:
    class Owner(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.k = 0

        @property
        def weights(self) -> Any:
            return self.h

        @weights.setter
        def weights(self, value: Any) -> None:
            self.h = value * 2

        def forward(self, x: Any) -> Any:
            self.weights = x + 1
            return self.weights * 3

    net = runs_as_eager(Owner)
    assert ": compiled" in net.explain()


def test_attributes_and_updates_are_written_together() -> None:
    def forward(self: Any, x: Any) -> Any:
        self.w[...] = self.w + x.sum(axis=0)
        self.h = self.w * 2
        return x * self.w

    net = runs_as_eager(kind_of(forward, w=lambda: np.zeros((5,))))
    assert ": compiled" in net.explain()


def test_training_with_attention_weights_is_one_program() -> None:
    def forward(self: Any, x: Any) -> Any:
        with autograd.record():
            self.h = npx.softmax(x)
            total = (self.out(self.h) ** 2).mean()
        total.backward()
        weight = self.out.weight.data()
        weight -= self.out.weight.grad() * 0.1
        return total * 1

    net = runs_as_eager(kind_of(forward))
    assert ": compiled" in net.explain()


def test_a_net_that_assigns_can_be_exported(tmp_path: Any) -> None:
    net = kind_of(one_array)()
    net.hybridize()
    [x] = inputs(1)
    wanted = plain(net(x))
    net(x)
    files = net.export(str(tmp_path / "net"))
    loaded = nn.SymbolBlock.imports(files[0], ["data"], files[1])
    require_equal(plain(loaded(x)), wanted)


# -- attention as it is written for pictures of its weights ------------------------------------------------------------


class Scored(nn.Block):
    """Values weighted by a softmax of scores, the weights kept to be looked at."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dropout = nn.Dropout(0.1)

    def weighted(self, scores: Any, values: Any, lengths: Any) -> Any:
        mask = np.arange(scores.shape[-1]).reshape(1, 1, -1) < lengths.reshape(-1, 1, 1)
        self.attention_weights = npx.softmax(np.where(mask, scores, -1e6), axis=-1)
        return npx.batch_dot(self.dropout(self.attention_weights), values)


class Products(Scored):
    def forward(self, queries: Any, keys: Any, values: Any, lengths: Any) -> Any:
        scores = npx.batch_dot(queries, keys, transpose_b=True) / queries.shape[-1] ** 0.5
        return self.weighted(scores, values, lengths)


class Sums(Scored):
    def __init__(self, units: int) -> None:
        super().__init__()
        self.of_queries = nn.Dense(units, use_bias=False, flatten=False)
        self.of_keys = nn.Dense(units, use_bias=False, flatten=False)
        self.score = nn.Dense(1, use_bias=False, flatten=False)

    def forward(self, queries: Any, keys: Any, values: Any, lengths: Any) -> Any:
        queries, keys = self.of_queries(queries), self.of_keys(keys)
        features = np.tanh(np.expand_dims(queries, axis=2) + np.expand_dims(keys, axis=1))
        return self.weighted(np.squeeze(self.score(features), axis=-1), values, lengths)


class Heads(nn.Block):
    def __init__(self, units: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention = Products()
        for name in ("queries", "keys", "values", "out"):
            setattr(self, name, nn.Dense(units, use_bias=False, flatten=False))

    def apart(self, x: Any) -> Any:
        x = x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(0, 2, 1, 3)
        return x.reshape(-1, x.shape[2], x.shape[3])

    def forward(self, queries: Any, keys: Any, values: Any, lengths: Any) -> Any:
        queries, keys, values = (
            self.apart(layer(x))
            for layer, x in ((self.queries, queries), (self.keys, keys), (self.values, values))
        )
        found = self.attention(queries, keys, values, np.repeat(lengths, self.heads, axis=0))
        found = found.reshape(-1, self.heads, found.shape[1], found.shape[2]).transpose(0, 2, 1, 3)
        return self.out(found.reshape(found.shape[0], found.shape[1], -1))


class Decoder(nn.Block):
    """Layers of attention, whose weights it collects in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        for _ in range(2):
            self.layers.add(Heads(8, 2))

    def forward(self, queries: Any, keys: Any, values: Any, lengths: Any) -> Any:
        self.collected: list[Any] = []
        for layer in self.layers:
            queries = queries + layer(queries, keys, values, lengths)
            self.collected.append(layer.attention.attention_weights)
        return queries


def weights_of(net: Any) -> list[Any]:
    """All that the blocks of a net keep to be looked at."""
    names = ("attention_weights", "collected")
    return [vars(block)[name] for block in net._blocks() for name in names if name in vars(block)]


@pytest.mark.long
@pytest.mark.parametrize("make", [Products, lambda: Sums(8), lambda: Heads(8, 2), Decoder])
def test_attention_that_keeps_its_weights_is_one_program(make: Callable[[], Any]) -> None:
    generator = numpy.random.default_rng(3)
    lengths = np.array(numpy.array([2, 4, 1], "float32"))
    given = [
        [np.array(generator.normal(size=(3, n, 8)).astype("float32")) for n in (2, 4, 4)] for _ in range(5)
    ]
    net, eager = make(), make()
    net.initialize()
    eager.initialize()
    eager(*given[0], lengths)
    net(*given[0], lengths)
    for mine, theirs in zip(net.collect_params().values(), eager.collect_params().values(), strict=True):
        mine.set_data(theirs.data())
    net.hybridize()
    for arrays in given:
        require_equal(plain(net(*arrays, lengths)), plain(eager(*arrays, lengths)))
        require_equal(plain(weights_of(net)), plain(weights_of(eager)))
    assert ": compiled" in net.explain(), net.explain()
    (case,) = net._hybrid.cases.values()
    assert case.program.executable.calls() >= 2  # of the native entry
    if make is Decoder:
        assert all(
            kept is layer.attention.attention_weights
            for kept, layer in zip(net.collected, net.layers, strict=True)
        )
