# ruff: noqa: ARG001 - forwards are given what they need not use
"""What Python does beside arrays: forwards with effects run eagerly, call by call as without hybridize, and say why."""

from __future__ import annotations

import collections
import contextlib
import datetime
import functools
import itertools
import math
import os
import random
import secrets
import sys
import time
import types
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import nn, np, npx

count = 0
log: list[Any] = []


def numbers(seed: int = 1) -> Any:
    return np.array(numpy.random.default_rng(seed).uniform(0.1, 1, (3, 4)).astype("float32"))


def called(net: Any, calls: int = 6) -> list[Any]:
    """What every call gave: two inputs in turn, and the public state after each call."""
    seen = []
    for n in range(calls):
        result = net(numbers(n % 2))
        state = {k: v for k, v in vars(net).items() if not k.startswith("_") and type(v) in PLAIN}
        seen.append((result, repr(sorted(state.items())), count, repr(log)))
    return [(r.asnumpy(), *rest) for r, *rest in seen]


PLAIN = (int, float, str, list, dict, tuple, set, bool)


def reset() -> None:
    global count
    count = 0
    log.clear()
    random.seed(3)
    numpy.random.seed(3)  # noqa: NPY002
    np.random.seed(3)
    cached.cache_clear()


def runs_as_eager(kind: Callable[[], Any], eager: bool = True) -> Any:
    reset()
    wanted = called(kind())
    reset()
    net = kind()
    net.hybridize()
    found = called(net)
    for (a, *rest), (b, *expected) in zip(found, wanted, strict=True):
        numpy.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5)
        assert rest == expected
    if eager:
        text = net.explain()
        assert ": eager," in text, text
        assert "because" in text
        assert all(case.program is None for case in net._hybrid.cases.values())
    return net


def block(forward: Callable[[Any, Any], Any], **attributes: Callable[[], Any]) -> Callable[[], Any]:
    """Makes blocks with this ``forward``, each of a class of its own, and attributes made anew for every one."""

    def kind() -> Any:
        class Kind(nn.Block):
            def __init__(self) -> None:
                super().__init__()
                for name, make in attributes.items():
                    setattr(self, name, make())

        Kind.forward = forward  # type: ignore[method-assign]
        return Kind()

    return kind


@functools.lru_cache
def cached(number: int) -> float:
    log.append(number)
    return number * 2.0


def counts_global(self: Any, x: Any) -> Any:
    global count
    count += 1
    return x * count


def counts_attribute(self: Any, x: Any) -> Any:
    self.calls += 1
    return x + self.calls


def counts_by_setattr(self: Any, x: Any) -> Any:
    setattr(self, "calls", self.calls + 1)  # noqa: B010
    return x + self.calls


def counts_by_vars(self: Any, x: Any) -> Any:
    vars(self)["calls"] += 1
    return x + self.calls


def counts_by_dict(self: Any, x: Any) -> Any:
    self.__dict__.update(calls=self.calls + 1)
    return x + self.calls


def counts_by_object(self: Any, x: Any) -> Any:
    object.__setattr__(self, "calls", self.calls + 1)
    return x + self.calls


def counts_in_globals(self: Any, x: Any) -> Any:
    globals()["count"] += 1
    return x + count


def counts_on_class(self: Any, x: Any) -> Any:
    type(self).total = getattr(type(self), "total", 0) + 1
    return x + type(self).total


def counts_in_list(self: Any, x: Any) -> Any:
    self.items[0] += 1
    return x * self.items[0]


def counts_in_default(self: Any, x: Any, box: Any = [0]) -> Any:  # noqa: B006
    box[0] += 1
    log[:] = [box[0] > 0]
    return x * 2


def appends(self: Any, x: Any) -> Any:
    self.items.append(len(self.items))
    return x + sum(self.items)


def appends_to_global(self: Any, x: Any) -> Any:
    log.append(1)
    return x * 2


def appends_and_takes_back(self: Any, x: Any) -> Any:
    self.items.append(5)
    y = x * len(self.items)
    self.items.pop()
    return y


def grows_and_shrinks(self: Any, x: Any) -> Any:
    self.items.insert(0, self.items.pop())
    return x * self.items[0]


def remembers(self: Any, x: Any) -> Any:
    last = self.cache.get("last")
    self.cache["last"] = x
    return x if last is None else x + last


def sets_default(self: Any, x: Any) -> Any:
    return x * self.cache.setdefault(len(self.cache), 1.5)


def draws_random(self: Any, x: Any) -> Any:
    return x * random.random()


def draws_numpy(self: Any, x: Any) -> Any:
    return x * numpy.random.uniform()  # noqa: NPY002


def draws_generator(self: Any, x: Any) -> Any:
    return x * float(self.generator.uniform())


def draws_state(self: Any, x: Any) -> Any:
    return x * self.dice.random()


def draws_choice(self: Any, x: Any) -> Any:
    return x * random.choice([1, 2, 3])


def takes_next(self: Any, x: Any) -> Any:
    return x * next(self.steps)


def takes_for(self: Any, x: Any) -> Any:
    for step in self.steps:
        return x * step
    return x * 1


def takes_zip(self: Any, x: Any) -> Any:
    for _, step in zip(range(1), self.steps):  # noqa: B905
        x = x * step
    return x


def takes_list(self: Any, x: Any) -> Any:
    a, b = itertools.islice(self.steps, 2)
    return x * a + b


def sends(self: Any, x: Any) -> Any:
    return x * self.steps.__next__()


def caches_calls(self: Any, x: Any) -> Any:
    return x * cached(int(x.shape[0]))


def rotates(self: Any, x: Any) -> Any:
    self.queue.rotate(1)
    return x * self.queue[0]


def counts_words(self: Any, x: Any) -> Any:
    self.counter["calls"] += 1
    return x * self.counter["calls"]


def reads_missing(self: Any, x: Any) -> Any:
    return x * (len(self.defaults) + 1) + self.defaults[len(self.defaults)]


def deletes(self: Any, x: Any) -> Any:
    if len(self.items) > 1:
        del self.items[0]
    return x * self.items[0]


def bytes_written(self: Any, x: Any) -> Any:
    self.buffer[0] = (self.buffer[0] + 1) % 200
    return x * self.buffer[0]


def plain_written(self: Any, x: Any) -> Any:
    self.plain[0] += 1
    return x * self.plain


def plain_written_first(self: Any, x: Any) -> Any:
    y = x * self.plain
    self.plain += 1
    return y


def plain_filled(self: Any, x: Any) -> Any:
    self.plain.fill(float(self.plain[0]) + 1)
    return x * self.plain


def plain_out(self: Any, x: Any) -> Any:
    numpy.add(self.plain, 1, out=self.plain)
    return x + self.plain


def plain_item(self: Any, x: Any) -> Any:
    self.plain[1] += 1
    return x * float(self.plain[1])


def array_written(self: Any, x: Any) -> Any:
    self.array += 1
    return x * self.array


def array_replaced(self: Any, x: Any) -> Any:
    self.array = self.array + x[0]
    return x * self.array


def parameter_written(self: Any, x: Any) -> Any:
    self.weight.set_data(self.weight.data() + 1)
    return x * self.weight.data()


def array_filled(self: Any, x: Any) -> Any:
    self.array[...] = self.array * 2
    return x * self.array


def writes_property(self: Any, x: Any) -> Any:
    self.counting.value = self.counting.value + 1
    return x * self.counting.value


def counts_in_getter(self: Any, x: Any) -> Any:
    return x * self.counting.bumped


def counts_in_getattr(self: Any, x: Any) -> Any:
    return x * self.counting.something


def counts_in_operator(self: Any, x: Any) -> Any:
    return x * (self.counting + 1)


def counts_in_context(self: Any, x: Any) -> Any:
    with self.counting:
        return x * self.counting.value


def nested_counts(self: Any, x: Any) -> Any:
    total = 0

    def bump() -> None:
        nonlocal total
        total += 1
        log.append(total)

    bump()
    return x * total


def sorts_with_effect(self: Any, x: Any) -> Any:
    def key(value: int) -> int:
        log.append(value)
        return -value

    return x * sorted([1, 2, 3], key=key)[0]


def maps_with_effect(self: Any, x: Any) -> Any:
    return x * sum(map(log.append, [1]) is not None for _ in range(2)) + len(list(map(log.append, [1, 2])))


def comprehension(self: Any, x: Any) -> Any:
    [log.append(n) for n in range(2)]
    return x * len(log)


def raises_inside(self: Any, x: Any) -> Any:
    try:
        raise KeyError(len(log))
    except KeyError as error:
        log.append(error.args[0])
    return x * 2


def environment(self: Any, x: Any) -> Any:
    os.putenv("BLOCKFUSE_TEST_COUNT", "1")
    log[:] = ["set"]
    return x * 2


def generator_made(self: Any, x: Any) -> Any:
    def steps() -> Iterator[int]:
        for n in range(3):
            log.append(n)
            yield n

    return x * sum(steps())


class Counting:
    """An object that counts wherever it can."""

    def __init__(self) -> None:
        self.value = 0

    @property
    def bumped(self) -> int:
        self.value += 1
        return self.value

    def __getattr__(self, name: str) -> int:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.bumped

    def __add__(self, other: int) -> int:
        return self.bumped + other

    def __enter__(self) -> None:
        self.value += 1

    def __exit__(self, *_: object) -> None:
        self.value += 1


IMPURE: dict[str, tuple[Callable[[Any, Any], Any], dict[str, Callable[[], Any]]]] = {
    f.__name__: (f, attributes)
    for f, attributes in (
        (counts_global, {}),
        (counts_attribute, {"calls": int}),
        (counts_by_setattr, {"calls": int}),
        (counts_by_vars, {"calls": int}),
        (counts_by_dict, {"calls": int}),
        (counts_by_object, {"calls": int}),
        (counts_in_globals, {}),
        (counts_on_class, {}),
        (counts_in_list, {"items": lambda: [1]}),
        (counts_in_default, {}),
        (appends, {"items": list}),
        (appends_to_global, {}),
        (grows_and_shrinks, {"items": lambda: [1.0, 2.0, 3.0]}),
        (remembers, {"cache": dict}),
        (sets_default, {"cache": dict}),
        (draws_random, {}),
        (draws_numpy, {}),
        (draws_generator, {"generator": lambda: numpy.random.default_rng(3)}),
        (draws_state, {"dice": lambda: random.Random(3)}),
        (draws_choice, {}),
        (takes_next, {"steps": itertools.count}),
        (takes_for, {"steps": lambda: iter(range(1, 100))}),
        (takes_zip, {"steps": lambda: (n + 1 for n in range(100))}),
        (takes_list, {"steps": lambda: itertools.cycle([1.0, 2.0, 3.0])}),
        (sends, {"steps": lambda: iter([1, 2, 3, 4, 5, 6, 7, 8])}),
        (caches_calls, {}),
        (rotates, {"queue": lambda: collections.deque([1, 2, 3, 4])}),
        (counts_words, {"counter": collections.Counter}),
        (reads_missing, {"defaults": lambda: collections.defaultdict(float)}),
        (bytes_written, {"buffer": lambda: bytearray(4)}),
        (plain_written, {"plain": lambda: numpy.ones(4, numpy.float32)}),
        (plain_written_first, {"plain": lambda: numpy.ones(4, numpy.float32)}),
        (plain_filled, {"plain": lambda: numpy.ones(4, numpy.float32)}),
        (plain_out, {"plain": lambda: numpy.ones(4, numpy.float32)}),
        (plain_item, {"plain": lambda: numpy.ones(4, numpy.float32)}),
        (writes_property, {"counting": Counting}),
        (counts_in_getter, {"counting": Counting}),
        (counts_in_getattr, {"counting": Counting}),
        (counts_in_operator, {"counting": Counting}),
        (counts_in_context, {"counting": Counting}),
        (nested_counts, {}),
        (sorts_with_effect, {}),
        (comprehension, {}),
        (raises_inside, {}),
        (environment, {}),
        (generator_made, {}),
    )
}


@pytest.mark.parametrize("name", IMPURE)
def test_a_forward_with_effects_runs_eagerly_and_says_why(name: str) -> None:
    forward, attributes = IMPURE[name]
    runs_as_eager(block(forward, **attributes))


@pytest.mark.parametrize(
    ("forward", "attributes"),
    [
        (parameter_written, {"weight": lambda: nn.Constant(numpy.ones(4, numpy.float32))}),
        (array_filled, {"array": lambda: np.ones((4,))}),
        (array_written, {"array": lambda: np.ones((4,))}),
        (array_replaced, {"array": lambda: np.ones((4,))}),
    ],
)
def test_a_forward_that_writes_to_what_it_holds_is_a_program_that_does(forward: Any, attributes: Any) -> None:
    net = runs_as_eager(block(forward, **attributes), eager=False)
    assert ": compiled" in net.explain()


@pytest.mark.parametrize(
    ("forward", "attributes"),
    [
        (appends_and_takes_back, {"items": list}),
        (deletes, {"items": lambda: [1.0, 2.0, 3.0]}),
        (maps_with_effect, {}),
    ],
)
def test_a_forward_whose_effects_end_is_right_compiled_or_not(forward: Any, attributes: Any) -> None:
    runs_as_eager(block(forward, **attributes), eager=False)


def test_the_reason_names_what_and_where() -> None:
    net = runs_as_eager(block(draws_random))
    assert "random.random" in net.explain() or "Random.random" in net.explain()
    line = draws_random.__code__.co_firstlineno + 1
    assert f"{Path(__file__).name}:{line}" in net.explain()
    assert "assigns the global count" in runs_as_eager(block(counts_global)).explain()
    assert "calls" in runs_as_eager(block(counts_attribute, calls=int)).explain()
    assert "iterator" in runs_as_eager(block(takes_for, steps=lambda: iter(range(9)))).explain()


def test_printing_prints_at_every_call(capsys: pytest.CaptureFixture[str]) -> None:
    def prints(self: Any, x: Any) -> Any:
        print("called")  # noqa: T201
        return x * 2

    net = runs_as_eager(block(prints))
    assert "print" in net.explain()
    assert capsys.readouterr().out == "called\n" * 12


def test_printing_an_array_prints_at_every_call(capsys: pytest.CaptureFixture[str]) -> None:
    def prints(self: Any, x: Any) -> Any:
        y = x * 2
        print(y)  # noqa: T201
        return y

    runs_as_eager(block(prints))
    assert capsys.readouterr().out.count("[[") == 12


def test_files_are_written_at_every_call(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"

    def opens(self: Any, x: Any) -> Any:
        with file.open("a") as stream:
            stream.write("called\n")
        return x * 2

    def saves(self: Any, x: Any) -> Any:
        numpy.save(tmp_path / "array.npy", numpy.ones(2))
        log.append((tmp_path / "array.npy").exists())
        (tmp_path / "array.npy").unlink()
        return x * 2

    def writes(self: Any, x: Any) -> Any:
        self.stream.write("called\n")
        return x * 2

    runs_as_eager(block(opens))
    assert file.read_text() == "called\n" * 12
    runs_as_eager(block(saves))
    with (tmp_path / "other.txt").open("w") as stream:
        runs_as_eager(block(writes, stream=lambda: stream))
    assert (tmp_path / "other.txt").read_text() == "called\n" * 12


def test_a_file_read_at_every_call_may_change(tmp_path: Path) -> None:
    file = tmp_path / "number.txt"

    def reads(self: Any, x: Any) -> Any:
        return x * float(file.read_text())

    net = block(reads)()
    net.hybridize()
    for value in (1.0, 2.0, 3.0):
        file.write_text(str(value))
        numpy.testing.assert_allclose(net(numbers()).asnumpy(), numbers().asnumpy() * numpy.float32(value))


CLOCKS: list[Callable[[], Any]] = [
    time.time,
    time.perf_counter,
    time.monotonic_ns,
    datetime.datetime.now,
    uuid.uuid4,
    lambda: secrets.randbelow(10**9),
    lambda: os.urandom(4),
    lambda: id(object()),
    lambda: random.SystemRandom().random(),
    lambda: numpy.random.default_rng().uniform(),
]


@pytest.mark.parametrize("number", range(len(CLOCKS)))
def test_clocks_and_entropy_run_eagerly(number: int) -> None:
    clock = CLOCKS[number]
    seen: list[Any] = []

    def forward(self: Any, x: Any) -> Any:
        return x * (1.0 if clock() is None else 2.0)

    net = block(forward)()
    net.hybridize()
    for _ in range(4):
        seen.append(net(numbers()))
    assert ": eager," in net.explain(), net.explain()


def test_pure_helpers_of_python_stay_compiled() -> None:
    def forward(self: Any, x: Any) -> Any:
        sizes = [n * 2 for n in range(x.ndim)]
        names = {f"axis{n}": s for n, s in enumerate(sizes)}
        parts = sorted(names.items(), key=lambda p: -p[1])
        total = sum(s for _, s in parts) + max(sizes) + math.sqrt(4.0) + len(str(parts)) % 3
        with contextlib.nullcontext():
            y = x * total
        try:
            y = y + names["none"]
        except KeyError:
            y = y + 1
        local: list[Any] = []
        for row in y:
            local.append(row.sum())
        return np.stack(local)

    net = runs_as_eager(block(forward), eager=False)
    assert any(case.program is not None for case in net._hybrid.cases.values()), net.explain()


def test_a_counter_reached_only_through_a_helper_module_of_closures_runs_eagerly() -> None:
    def counter() -> tuple[Callable[[], int], list[int]]:
        cells = [0]

        def bump() -> int:
            cells[0] += 1
            return cells[0]

        return bump, cells

    bump, cells = counter()
    table = {"deep": [{"bump": bump}]}

    def forward(self: Any, x: Any) -> Any:
        return x * table["deep"][0]["bump"]()  # type: ignore[operator]

    net = block(forward)()
    net.hybridize()
    for n in range(1, 6):
        numpy.testing.assert_allclose(net(numbers()).asnumpy(), numbers().asnumpy() * n, rtol=1e-6)
    assert cells == [5]


def test_hooks_with_effects_run_at_every_call() -> None:
    seen: list[float] = []
    net = nn.Sequential()
    net.add(nn.Dense(3, in_units=4), nn.Dense(2, in_units=3))
    net.initialize()
    net.hybridize()
    for _ in range(3):
        net(numbers())
    with net[0].register_forward_hook(lambda block, args, out: seen.append(float(out.sum()))):
        for _ in range(3):
            net(numbers())
    net(numbers())
    assert len(seen) == 3


def test_effects_of_arguments_that_are_objects_happen() -> None:
    def forward(self: Any, x: Any, counting: Any) -> Any:
        return x * counting.bumped

    net = block(forward)()
    net.hybridize()
    counting = Counting()
    for n in range(1, 5):
        numpy.testing.assert_allclose(net(numbers(), counting).asnumpy(), numbers().asnumpy() * n, rtol=1e-6)


def test_lists_given_as_arguments_are_written_at_every_call() -> None:
    def forward(self: Any, x: Any, out: list[Any]) -> Any:
        out.append(x * 2)
        return x * len(out)

    net = block(forward)()
    net.hybridize()
    for _ in range(4):
        out: list[Any] = []
        net(numbers(), out)
        assert len(out) == 1
        numpy.testing.assert_allclose(out[0].asnumpy(), numbers().asnumpy() * 2)


def test_an_exception_is_raised_at_every_call_and_effects_before_it_happen() -> None:
    def forward(self: Any, x: Any) -> Any:
        log.append(1)
        raise RuntimeError(f"call {len(log)}")

    reset()
    net = block(forward)()
    net.hybridize()
    for n in range(1, 4):
        with pytest.raises(RuntimeError, match=f"call {n}"):
            net(numbers())


def test_a_forward_that_loads_a_file_sees_what_is_in_it_now(tmp_path: Path) -> None:
    file = tmp_path / "scale.npz"
    hybrid = blockfuse.hybridize(lambda x: x * npx.load(file)[0])
    for scale in (2.0, 2.0, 2.0, 5.0):
        npx.save(file, np.array([scale]))
        assert hybrid(np.ones((1,))).item() == scale
    assert "reads a file" in hybrid.explain()


# -- what has effects only once, or on some ways -----------------------------------------------------------------


def caches(self: Any, x: Any) -> Any:
    if "value" not in self.cache:
        self.cache["value"] = x * 1
    return x + self.cache["value"]


def caches_in_attribute(self: Any, x: Any) -> Any:
    if self.cache is None:
        self.cache = x * 2
    return x + self.cache


def caches_number(self: Any, x: Any) -> Any:
    if not hasattr(self, "factor"):
        self.factor = len(x) + 0.5
    return x * self.factor


def makes_layer(self: Any, x: Any) -> Any:
    if self.cache is None:
        self.cache = nn.Dense(2)
        self.cache.initialize("ones")
    return self.cache(x)


def imports_late(self: Any, x: Any) -> Any:
    if self.cache is None:
        import colorsys

        self.cache = colorsys
    return x * self.cache.ONE_THIRD


def reads_property(self: Any, x: Any) -> Any:
    return x * self.made.table


class Made:
    made = 0

    @functools.cached_property
    def table(self) -> Any:
        Made.made += 1
        return np.ones((4,)) * 3


ONE_OFF: dict[str, tuple[Any, dict[str, Any]]] = {
    f.__name__: (f, attributes)
    for f, attributes in (
        (caches, {"cache": dict}),
        (caches_in_attribute, {"cache": lambda: None}),
        (caches_number, {}),
        (makes_layer, {"cache": lambda: None}),
        (imports_late, {"cache": lambda: None}),
        (reads_property, {"made": Made}),
    )
}


@pytest.mark.parametrize("name", ONE_OFF)
def test_a_forward_that_has_effects_only_once_is_compiled_afterwards(name: str) -> None:
    forward, attributes = ONE_OFF[name]
    runs_as_eager(block(forward, **attributes), eager=False)
    net = block(forward, **attributes)()
    net.hybridize()
    for _ in range(6):
        net(np.ones((3, 4)))
    assert ": compiled" in net.explain(), net.explain()


def test_a_forward_that_always_has_effects_is_not_recorded_for_ever() -> None:
    for name in ("counts_attribute", "appends", "counts_global", "remembers", "takes_next"):
        forward, attributes = IMPURE[name]
        net = block(forward, **attributes)()
        net.hybridize()
        for _ in range(400):
            net(np.ones((3, 4)))
        (case,) = net._hybrid.cases.values()
        assert case.attempts <= 14, (name, net.explain())


def test_a_way_with_effects_runs_eagerly_and_the_others_do_not() -> None:
    space = types.SimpleNamespace(last=0)

    def function(x: Any) -> Any:
        if x.sum() > 0:
            space.last = 11
        return x * 2

    fast = blockfuse.hybridize(function)
    for n in range(30):
        space.last = 3
        fast(np.ones((3,)) * (-1 if n % 3 else 1))
        assert space.last == (3 if n % 3 else 11)
    assert ": compiled" in fast.explain()
    assert "function assigns the attribute last at test_purity.py:" in fast.explain()


def test_a_store_on_the_line_of_its_function_is_seen() -> None:
    space = types.SimpleNamespace(count=0)

    scope = {"space": space}
    exec("def count(): space.count += 1", scope)
    count: Any = scope["count"]

    def function(x: Any) -> Any:
        count()
        return x * 2

    fast = blockfuse.hybridize(function)
    for n in range(20):
        assert space.count == n
        fast(np.ones((3,)))


def test_a_debugger_keeps_its_place() -> None:
    """And every line with a store counts then, whether the call comes to it or not."""
    net = block(caches_in_attribute, cache=lambda: np.ones((4,)))()
    net.hybridize()
    sys.settrace(trace := lambda *_: None)
    try:
        for _ in range(4):
            net(np.ones((3, 4)))
            assert sys.gettrace() is trace
    finally:
        sys.settrace(None)
    assert "assigns the attribute cache" in net.explain()


def test_a_numpy_array_that_changes_while_it_is_used_and_back_is_seen() -> None:
    held, mine = numpy.full(3, 9, numpy.float32), numpy.full(3, 9, numpy.float32)
    wrapped = np.asarray(mine)

    def after(x: Any) -> Any:
        held[:] = 1
        y = x + held
        held[:] = 9
        return y

    def between(x: Any) -> Any:
        y = x + held
        held[:] = 1
        y = y * held
        held[:] = 9
        return y

    def shared(x: Any) -> Any:
        mine[:] = 1
        y = x + wrapped
        mine[:] = 9
        return y

    for function in (after, between, shared):
        fast = blockfuse.hybridize(function)
        for _ in range(16):
            numpy.testing.assert_array_equal(fast(np.ones((3,))).asnumpy(), function(np.ones((3,))).asnumpy())


def test_an_argument_that_changes_while_it_is_used_and_back_is_seen() -> None:
    values = numpy.full(3, 9, numpy.float32)

    def function(x: Any) -> Any:
        values[:] = 1
        y = x + 1
        values[:] = 9
        return y

    fast = blockfuse.hybridize(function)
    for _ in range(16):
        numpy.testing.assert_array_equal(fast(values), numpy.full(3, 2, numpy.float32))


# -- constants of NumPy's memory -----------------------------------------------------------------------------------


def cut(x: Any) -> Any:
    """Reads a part of a constant."""
    return x + np.asarray(numpy.arange(6, dtype="float32").reshape(2, 3))[1]


def named_twice(x: Any) -> Any:
    """Has two arrays of one constant's memory."""
    table = numpy.arange(6, dtype="float32").reshape(2, 3)
    return x + np.asarray(table)[0] * np.asarray(table)[1]


def written_by_a_part(x: Any) -> Any:
    table = np.asarray(numpy.zeros((2, 3), "float32"))
    part = table[0]
    part += x[0]
    return table * 1


def written_by_another_name(x: Any) -> Any:
    table = numpy.zeros((2, 3), "float32")
    first, second = np.asarray(table), np.asarray(table)
    first[...] = x
    return second + x


def written_by_numpy(x: Any) -> Any:
    table = numpy.zeros((2, 3), "float32")
    part = np.asarray(table)[0]
    before = part + x
    table[0] = 5
    return before - part


@pytest.mark.parametrize("function", [cut, named_twice])
def test_parts_and_names_of_a_constant_are_compiled(function: Any) -> None:
    fast = blockfuse.hybridize(function)
    for n in range(4):
        x = np.full((1, 3), n)
        numpy.testing.assert_allclose(fast(x).asnumpy(), function(x).asnumpy(), rtol=1e-6)
    assert ": compiled" in fast.explain()


@pytest.mark.parametrize("function", [written_by_a_part, written_by_another_name, written_by_numpy])
def test_memory_of_numpy_that_is_written_is_no_constant(function: Any) -> None:
    fast = blockfuse.hybridize(function)
    for n in range(4):
        x = np.full((1, 3), n)
        assert fast(x).tolist() == function(x).tolist()
