# ruff: noqa: ARG001 - forwards are given what they need not use
"""Guards: whatever a compiled call rests on may change, and the next call is what eager gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from tolerances import TOLERANCES, assert_close

import blockfuse
from blockfuse import nn, np

pytestmark = pytest.mark.spread(3)

factor = 2.0
settings = {"shift": 1.0, "deep": [1.0, {"x": 2.0}]}
table = numpy.ones((4,), numpy.float32)
ours = np.ones((4,))
space = SimpleNamespace(scale=3.0)


def helper(x: Any) -> Any:
    return x * 1.5


class Base(nn.Block):
    kind = 1.25

    def step(self, x: Any) -> Any:
        return x + self.kind

    @property
    def gain(self) -> float:
        return self.amount * 2

    @classmethod
    def of_class(cls, x: Any) -> Any:
        return x * cls.kind

    @staticmethod
    def of_nothing(x: Any) -> Any:
        return x - 0.5


class Everything(Base):
    def __init__(self) -> None:
        super().__init__()
        self.amount = 3.0
        self.rates = [1.0, 2.0]
        self.named = {"a": 0.5, "b": {"c": [4.0]}}
        self.flag = True
        self.mode = "add"
        self.pair = (1.0, [2.0])
        self.holder = SimpleNamespace(value=1.0, inner=SimpleNamespace(value=2.0))
        self.array = np.ones((4,)) * 0.25
        self.plain = numpy.full((4,), 0.125, numpy.float32)
        self.choices = {1.0, 2.0}
        self.function = helper
        self.first = nn.Dense(4, in_units=4)
        self.second = nn.Dense(4, in_units=4, activation="tanh")
        self.tail = nn.Sequential()
        self.tail.add(nn.Dense(4, in_units=4))
        self.weight = self.params.get("weight", shape=(4,))

    def forward(self, x: Any) -> Any:
        x = self.second(self.first(x)) * self.amount + self.rates[0] * self.rates[-1]
        for rate in self.rates:
            x = x + rate
        x = x * self.named["a"] + self.named["b"]["c"][0] + len(self.named)
        x = x + 1 if self.flag else x - 1
        x = x + self.holder.value if self.mode == "add" else x * self.holder.inner.value
        x = self.of_class(self.of_nothing(self.step(x))) + self.pair[1][0] + self.gain
        x = x + self.array + self.plain + sum(sorted(self.choices))
        x = self.function(x) * factor + settings["shift"] + settings["deep"][1]["x"]
        x = x * table + ours * space.scale
        return self.tail(x) * self.weight.data()


def made(kind: Callable[[], Any] = Everything) -> tuple[Any, Any]:
    """The same net twice: eager, and compiled."""
    nets = []
    for _ in range(2):
        np.random.seed(3)
        net = kind()
        net.initialize(init=blockfuse.init.Uniform(0.5))
        nets.append(net)
    nets[1].hybridize()
    return nets[0], nets[1]


def numbers(seed: int = 1, shape: tuple[int, ...] = (3, 4)) -> Any:
    return np.array(numpy.random.default_rng(seed).uniform(0.1, 1, shape).astype("float32"))


def same(found: numpy.ndarray, wanted: numpy.ndarray) -> None:
    """As ``tolerances.assert_close``, but sums may cancel: the absolute tolerance follows the largest element."""
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    rtol, _ = TOLERANCES.get(wanted.dtype.name, (0, 0))
    numpy.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol * max(1.0, float(abs(wanted).max())))


def agree(eager: Any, fast: Any, calls: int = 4) -> numpy.ndarray:
    for n in range(calls):
        x = numbers(n)
        wanted = eager(x.copy()).asnumpy()
        same(fast(x.copy()).asnumpy(), wanted)
    return eager(numbers()).asnumpy()


def is_compiled(net: Any) -> bool:
    return any(case.program is not None for case in net._hybrid.cases.values())


def broken(change: Callable[[Any], Any], kind: Callable[[], Any] = Everything) -> None:
    """``change`` matters, and the compiled net sees it at once; its result is compiled again in the end."""
    eager, fast = made(kind)
    before = agree(eager, fast)
    assert is_compiled(fast), fast.explain()
    for net in (eager, fast):
        change(net)
    after = agree(eager, fast)
    assert before.shape != after.shape or before.dtype != after.dtype or not numpy.array_equal(before, after)


def put(path: str, value: Any) -> Callable[[Any], None]:
    """Assign an attribute, through others."""
    *inner, last = path.split(".")

    def change(net: Any) -> None:
        for name in inner:
            net = getattr(net, name)
        setattr(net, last, value() if callable(value) and not path.endswith("function") else value)

    return change


def constant_dense() -> nn.Dense:
    layer = nn.Dense(4, in_units=4)
    layer.initialize(init=blockfuse.init.Constant(0.3))
    return layer


ATTRIBUTES: dict[str, Callable[[Any], Any]] = {
    "number": put("amount", 4.0),
    "number of another type": put("amount", True),
    "flag": put("flag", False),
    "text": put("mode", "multiply"),
    "list replaced": put("rates", lambda: [5.0, 6.0]),
    "list item": lambda net: net.rates.__setitem__(0, 9.0),
    "list append": lambda net: net.rates.append(7.0),
    "list pop": lambda net: net.rates.pop(),
    "list sort": lambda net: net.rates.insert(0, net.rates.pop() * 3),
    "dict item": lambda net: net.named.__setitem__("a", 0.75),
    "dict key": lambda net: net.named.__setitem__("z", 1),
    "dict nested": lambda net: net.named["b"]["c"].__setitem__(0, 5.0),
    "dict nested replaced": lambda net: net.named.update(b={"c": [6.0]}),
    "tuple content": lambda net: net.pair[1].__setitem__(0, 3.0),
    "set": lambda net: net.choices.add(8.0),
    "namespace": put("holder.value", 7.0),
    "namespace replaced": put("holder", lambda: SimpleNamespace(value=8.0, inner=None)),
    "function": put("function", lambda x: x * 2.5),
    "array replaced": put("array", lambda: np.ones((4,)) * 9),
    "array of another dtype": put("array", lambda: np.ones((4,), dtype="float64") * 9),
    "array of another shape": put("array", lambda: np.ones((3, 4)) * 9),
    "array written": lambda net: net.array.__setitem__(slice(None), 6.0),
    "array added to": lambda net: net.array.__iadd__(1.0),
    "array view written": lambda net: net.array[1:3].__setitem__(0, 6.0),
    "array reshaped view written": lambda net: net.array.reshape(2, 2).T.__setitem__((0, 1), 6.0),
    "numpy replaced": put("plain", lambda: numpy.full((4,), 5, numpy.float32)),
    "numpy written": lambda net: net.plain.__setitem__(2, 5),
    "numpy filled through a view": lambda net: net.plain[1:].fill(7),
    "hiding that of the class": put("kind", 5.0),
    "method on the instance": put("step", lambda: lambda x: x * 7),
    "forward on the instance": put("forward", lambda: lambda x: x * 7),
    "forward of a child": put("first.forward", lambda: lambda x: x * 7),
}


@pytest.mark.spread(8)
@pytest.mark.parametrize("change", ATTRIBUTES.values(), ids=ATTRIBUTES)
def test_a_changed_attribute_is_seen_by_the_next_call(change: Callable[[Any], Any]) -> None:
    broken(change)


BLOCKS: dict[str, Callable[[Any], Any]] = {
    "replaced": put("first", constant_dense),
    "replaced deep": lambda net: net.tail.register_child(constant_dense(), "0"),
    "replaced by another kind": put("first", lambda: nn.Activation("relu")),
    "appended": lambda net: net.tail.add(constant_dense()),
    "appended activation": lambda net: net.tail.add(nn.Activation("tanh")),
    "child registry": lambda net: net.tail._children.__setitem__("0", constant_dense()),
    "deleted": lambda net: net.tail._children.clear() or net.tail.add(nn.Activation("sigmoid")),
    "swapped": lambda net: (setattr(net, "spare", net.first), setattr(net, "first", net.second)),
    "hook that raises flags": lambda net: net.first.register_forward_hook(
        lambda block, args, out: out.__imul__(2.0)
    ),
    "pre hook": lambda net: net.register_forward_pre_hook(lambda block, args: args[0].__imul__(2.0)),
}


@pytest.mark.spread(3)
@pytest.mark.parametrize("change", BLOCKS.values(), ids=BLOCKS)
def test_a_changed_block_is_seen_by_the_next_call(change: Callable[[Any], Any]) -> None:
    broken(change)


PARAMETERS: dict[str, Callable[[Any], Any]] = {
    "set_data": lambda net: net.first.weight.set_data(np.ones((4, 4)) * 0.2),
    "data slice": lambda net: net.first.weight.data().__setitem__(slice(None), 0.1),
    "data item": lambda net: net.first.weight.data().__setitem__((1, 2), 5.0),
    "data in place": lambda net: net.first.bias.data().__iadd__(0.5),
    "view": lambda net: net.first.weight.data()[1:3].__setitem__(Ellipsis, 3.0),
    "row view": lambda net: net.first.weight.data()[1].__imul__(3.0),
    "transposed view": lambda net: net.first.weight.data().T[0].__setitem__(slice(None), 3.0),
    "reshaped view": lambda net: net.first.weight.data().reshape(-1).__setitem__(3, 3.0),
    "mask": lambda net: net.first.weight.data().__setitem__(net.first.weight.data() > 0, 0.0),
    "out=": lambda net: np.add(net.first.bias.data(), 1, out=net.first.bias.data()),
    "cast": lambda net: net.cast("float64"),
    "force_reinit": lambda net: net.initialize(init=blockfuse.init.Constant(0.2), force_reinit=True),
    "one force_reinit": lambda net: net.first.weight.initialize(init="ones", force_reinit=True),
    "own": lambda net: net.weight.set_data(np.ones((4,)) * 5),
    "shared": lambda net: net.first.share_parameters(net.second.collect_params()),
    "parameter replaced": put("weight", lambda: nn.Constant(numpy.full((4,), 3, numpy.float32))),
    "child parameter replaced": lambda net: setattr(
        net.first, "bias", nn.Constant(numpy.ones(4, numpy.float32))
    ),
    "shuffled": lambda net: (np.random.seed(5), np.random.shuffle(net.first.weight.data())),
    "through collect_params": lambda net: [p.set_data(p.data() * 2) for p in net.collect_params().values()],
}


@pytest.mark.parametrize("change", PARAMETERS.values(), ids=PARAMETERS)
def test_a_changed_parameter_is_seen_by_the_next_call(change: Callable[[Any], Any]) -> None:
    broken(change)


def test_a_view_kept_from_before_the_compilation_still_writes_the_parameter() -> None:
    eager, fast = made()
    views = [net.first.weight.data()[1:, 1:] for net in (eager, fast)]
    agree(eager, fast)
    for value in (1.0, 2.0, 3.0):
        for view in views:
            view[0] = value
        agree(eager, fast)


def test_parameters_are_watched_after_they_moved() -> None:
    eager, fast = made()
    agree(eager, fast)
    for dtype in ("float64", "float32"):
        for net in (eager, fast):
            net.initialize(init=blockfuse.init.Uniform(0.0), force_reinit=True)
            net.cast(dtype)
        agree(eager, fast)
        for net in (eager, fast):
            net.first.weight.data()[0] = 4.0
            net.weight.data()[:] = 2.0
        agree(eager, fast)


def test_an_old_array_of_a_parameter_no_longer_matters() -> None:
    eager, fast = made()
    olds = [net.first.weight.data() for net in (eager, fast)]
    agree(eager, fast)
    for net in (eager, fast):
        net.first.weight.initialize(init="ones", force_reinit=True)
    agree(eager, fast)
    for old in olds:
        old[:] = 77.0
    agree(eager, fast)


def test_loaded_parameters_are_seen(tmp_path: Path) -> None:
    file = str(tmp_path / "net.params")
    other = made()[0]
    other.initialize(init=blockfuse.init.Constant(0.1), force_reinit=True)
    other.save_parameters(file)
    broken(lambda net: net.load_parameters(file))


def test_parameters_shared_by_two_compiled_nets_reach_both() -> None:
    eager, fast = made()
    eager_twin, fast_twin = made()
    eager_twin.share_parameters(eager.collect_params())
    fast_twin.share_parameters(fast.collect_params())
    agree(eager, fast)
    agree(eager_twin, fast_twin)
    for net in (eager, fast):
        net.first.weight.data()[2] = 1.5
    agree(eager, fast)
    agree(eager_twin, fast_twin)


# -- what nobody reports ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("factor", 3.0),
        ("factor", 2),
        ("settings", {"shift": 2.0, "deep": [0, {"x": 3.0}]}),
        ("table", numpy.full((4,), 4, numpy.float32)),
        ("ours", np.ones((4,)) * 4),
        ("space", SimpleNamespace(scale=5.0)),
        ("len", lambda value: 5),
        ("sorted", lambda value: [1.0]),
    ],
)
def test_a_changed_global_is_seen(name: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    eager, fast = made()
    agree(eager, fast)
    assert is_compiled(fast), fast.explain()
    monkeypatch.setitem(globals(), name, value)
    agree(eager, fast)
    monkeypatch.undo()
    agree(eager, fast)


def test_global_containers_changed_in_place_are_seen() -> None:
    eager, fast = made()
    agree(eager, fast)
    try:
        settings["shift"] = 4.0
        agree(eager, fast)
        settings["deep"][1]["x"] = 5.0  # type: ignore[index]
        agree(eager, fast)
        space.scale = 7.0
        agree(eager, fast)
    finally:
        settings.update(shift=1.0, deep=[1.0, {"x": 2.0}])
        space.scale = 3.0
    agree(eager, fast)


def test_global_arrays_changed_in_place_are_seen() -> None:
    eager, fast = made()
    agree(eager, fast)
    try:
        table[1] = 5
        agree(eager, fast)
        table[2:].fill(3)
        agree(eager, fast)
        ours[1] = 5
        agree(eager, fast)
        ours[2:] *= 3
        agree(eager, fast)
        numpy.multiply(table, 2, out=table)
        agree(eager, fast)
        memoryview(table)[0] = 9.0
        agree(eager, fast)
    finally:
        table[:] = 1
        ours[:] = 1
    agree(eager, fast)


def test_a_changed_class_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    eager, fast = made()
    changes: list[tuple[type, str, Any]] = [
        (Base, "kind", 4.5),
        (Everything, "kind", 7.5),
        (Base, "step", lambda self, x: x - self.kind),
        (Base, "of_nothing", staticmethod(lambda x: x - 4)),
        (Base, "of_class", classmethod(lambda cls, x: x - 3)),
        (Base, "gain", property(lambda self: 5.0)),
        (Everything, "forward", lambda self, x: x * self.amount),
        (nn.Dense, "forward", lambda self, x: x * 3),
        (Everything, "_run", lambda self, args, kwargs: args[0] * 5),
    ]
    agree(eager, fast)
    for owner, name, value in changes:
        monkeypatch.setattr(owner, name, value, raising=False)
        agree(eager, fast)
    monkeypatch.undo()
    agree(eager, fast)


def test_a_closure_cell_is_seen() -> None:
    amount, rates, box = 2.0, [1.0], {"v": 3.0}

    def scaled(x: Any) -> Any:
        return x * amount + rates[0] + box["v"]  # noqa: F821 - deleted in the end

    fast = blockfuse.hybridize(scaled)
    agree(scaled, fast)
    amount = 5.0
    agree(scaled, fast)
    rates[0] = 7.0
    agree(scaled, fast)
    rates = [8.0]
    agree(scaled, fast)
    box["v"] = 1
    agree(scaled, fast)
    assert is_compiled(fast)
    del amount
    with pytest.raises(NameError):
        fast(numbers())


def test_defaults_and_code_of_a_function_are_seen() -> None:
    def scaled(x: Any, by: float = 2.0, *, plus: float = 1.0, to: Any = (1.0, [2.0])) -> Any:
        return x * by + plus + to[1][0]

    def outer(x: Any) -> Any:
        return scaled(x) + 1

    def other(x: Any, by: float = 2.0, *, plus: float = 1.0, to: Any = (1.0, [2.0])) -> Any:
        return x - by * plus

    for function in (scaled, outer):
        fast = blockfuse.hybridize(function)
        agree(function, fast)
        scaled.__defaults__ = (4.0,)
        agree(function, fast)
        scaled.__kwdefaults__["plus"] = 5.0
        agree(function, fast)
        scaled.__kwdefaults__["to"][1][0] = 6.0
        agree(function, fast)
        scaled.__kwdefaults__ = {"plus": 3.0, "to": (1.0, [7.0])}
        agree(function, fast)
        before = scaled.__code__
        scaled.__code__ = other.__code__
        agree(function, fast)
        scaled.__code__ = before


def test_a_partial_and_a_callable_object_are_seen() -> None:
    class Caller:
        __slots__ = ("by",)

        def __init__(self) -> None:
            self.by = 2.0

        def __call__(self, x: Any) -> Any:
            return x * self.by

    options = {"by": 2.0}
    applied = partial(lambda x, table: x * table["by"], table=options)
    caller = Caller()

    def outer(x: Any) -> Any:
        return applied(x) + caller(x)

    fast = blockfuse.hybridize(outer)
    agree(outer, fast)
    options["by"] = 4.0
    agree(outer, fast)
    caller.by = 6.0
    agree(outer, fast)
    applied.keywords["table"] = {"by": 9.0}
    agree(outer, fast)


def test_hooks_added_and_removed_are_seen() -> None:
    eager, fast = made()
    agree(eager, fast)
    counts = [0, 0]

    def counting(n: int) -> Callable[..., None]:
        def hook(block: Any, args: Any, out: Any) -> None:
            counts[n] += 1

        return hook

    for target in ("first", "tail"):
        handles = [
            getattr(net, target).register_forward_hook(counting(n)) for n, net in enumerate((eager, fast))
        ]
        agree(eager, fast)
        for handle in handles:
            handle.detach()
        agree(eager, fast)
    assert counts[0] == counts[1] + 2  # ``agree`` calls the eager net once more
    assert is_compiled(fast)


def test_an_attribute_that_appears_hides_that_of_the_class() -> None:
    class Hiding(nn.Block):
        by = 2.0

        def forward(self, x: Any) -> Any:
            return x * self.by + getattr(self, "more", 0.0) + (3 if hasattr(self, "extra") else 4)

    for change in (put("by", 3.0), put("more", 5.0), put("extra", 1)):
        broken(change, Hiding)


def test_a_class_attribute_that_appears_later_is_seen() -> None:
    class Hiding(nn.Block):
        def forward(self, x: Any) -> Any:
            return x + getattr(type(self), "more", 0.0)

    eager, fast = made(Hiding)
    agree(eager, fast)
    Hiding.more = 5.0  # type: ignore[attr-defined]
    agree(eager, fast)


def test_a_global_that_appears_later_hides_the_builtin(monkeypatch: pytest.MonkeyPatch) -> None:
    def lengths(x: Any) -> Any:
        return x * len(x.shape) + max(1, 2)

    fast = blockfuse.hybridize(lengths)
    agree(lengths, fast)
    monkeypatch.setitem(globals(), "len", lambda value: 7)
    agree(lengths, fast)
    monkeypatch.setitem(globals(), "max", lambda *values: 7)
    agree(lengths, fast)


def test_minus_zero_and_equal_numbers_of_other_types_are_told_apart() -> None:
    class Dividing(nn.Block):
        by = 0.0

        def __init__(self) -> None:
            super().__init__()
            self.amount: Any = 0.0
            self.held = [0.0]

        def forward(self, x: Any) -> Any:
            return np.arctan2(np.array([self.amount, self.held[0]]), -x[0, :2])

    broken(put("amount", -0.0), Dividing)
    broken(lambda net: net.held.__setitem__(0, -0.0), Dividing)


def test_a_net_whose_shapes_wait_for_the_first_call_is_compiled_by_the_third() -> None:
    class Waiting(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Dense(4), nn.Dense(4)

        def forward(self, x: Any) -> Any:
            return self.second(self.first(x) * factor)

    eager, fast = made(Waiting)
    np.random.seed(1)
    wanted = eager(numbers())
    np.random.seed(1)
    same(fast(numbers()).asnumpy(), wanted.asnumpy())
    fast(numbers())
    fast(numbers())
    assert is_compiled(fast), fast.explain()
    agree(eager, fast)


class Bag(list):  # type: ignore[type-arg]
    by = 2.0


def scaling(x: Any) -> Any:
    return x * scaling.by  # type: ignore[attr-defined]


scaling.by = 2.0  # type: ignore[attr-defined]
bag, held = Bag([1.0]), SimpleNamespace(by=2.0)
pick, objects = vars(held).__getitem__, numpy.array([held], object)


class Member:
    by = 2.0


member = Member()
members = frozenset([member])


@pytest.mark.parametrize(
    ("function", "change"),
    [
        (lambda x: x * bag.by + bag[0], lambda by: setattr(bag, "by", by)),
        (lambda x: scaling(x), lambda by: setattr(scaling, "by", by)),
        (scaling, lambda by: setattr(scaling, "by", by)),
        (lambda x: x * sum(m.by for m in members), lambda by: setattr(member, "by", by)),
        (lambda x: x * pick("by"), lambda by: setattr(held, "by", by)),
        (lambda x: x * objects[0].by, lambda by: setattr(held, "by", by)),
    ],
)
def test_state_in_odd_places_is_seen(function: Callable[..., Any], change: Callable[[float], None]) -> None:
    fast = blockfuse.hybridize(function)
    for by in (2.0, 3.0, 4.0):
        change(by)
        agree(function, fast)


def test_attributes_of_parameters_are_seen() -> None:
    class Asking(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.weight = self.params.get("weight", shape=(4,))

        def forward(self, x: Any) -> Any:
            return x * self.weight.lr_mult + (1 if self.weight.grad_req == "null" else 2)

    broken(lambda net: setattr(net.weight, "lr_mult", 3.0), Asking)
    broken(lambda net: setattr(net.weight, "grad_req", "null"), Asking)


def test_a_dataclass_with_fields_is_looked_through() -> None:
    @dataclasses.dataclass
    class Settings:
        by: float = 2.0

    chosen = Settings()

    def scaled(x: Any) -> Any:
        return x * dataclasses.replace(chosen).by

    fast = blockfuse.hybridize(scaled)
    agree(scaled, fast)
    chosen.by = 3.0
    agree(scaled, fast)


def test_a_block_whose_state_is_compared_does_not_stop_the_recording_of_the_one_around_it() -> None:
    factor = [2.0]

    class Inner(nn.Block):
        def forward(self, x: Any) -> Any:
            return x * factor[0]

    class Outer(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()

        def forward(self, x: Any, asks: bool = False) -> Any:
            return self.inner(x) * (float(x.sum()) if asks else 1)

    net, x = Outer(), np.ones((2,))
    net.hybridize()
    for _ in range(4):
        net(x, True)
    for _ in range(3):
        assert net(x).tolist() == [2, 2]
    assert "Outer(float32[2]): compiled" in net.explain()


class Beside(nn.Block):
    """Reads the array of a parameter by an attribute, too."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(4, in_units=4)
        self.kept: Any = None

    def forward(self, x: Any) -> Any:
        return self.dense(x) + self.kept.sum()


ANEW: dict[str, Callable[[Beside], Any]] = {
    "drawn": lambda net: net.initialize(force_reinit=True),
    "cast": lambda net: [net.cast("float64"), net.cast("float32")],
}


@pytest.mark.parametrize("anew", ANEW)
@pytest.mark.parametrize("held", ["value", "gradient"])
def test_an_array_that_a_parameter_gives_up_stays_what_others_hold(held: str, anew: str) -> None:
    """A program found both in one place as long as they were one array."""
    net, x = Beside(), np.ones((2, 4))
    net.initialize()
    weight = net.dense.weight
    net.kept = weight.data() if held == "value" else weight.grad()
    net.kept[...] = 3
    net.hybridize()
    for _ in range(4):
        net(x)
    ANEW[anew](net)
    for number in range(4):
        (weight.data() if held == "value" else weight.grad())[...] = number
        assert_close(net(x).asnumpy(), net._run((x,), {}).asnumpy())
    assert ": compiled" in net.explain(), net.explain()
