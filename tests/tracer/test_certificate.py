# ruff: noqa: TID251 - the forwards here read the environment
"""What a graph cannot repeat and nobody shows: C code that calls, settings of the process, classes that are exchanged."""

from __future__ import annotations

import abc
import collections
import contextlib
import datetime
import decimal
import functools
import gc
import io
import itertools
import locale
import operator
import os
import pathlib
import random
import sys
import threading
import time
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest
from line_tracing import lines_seen

import blockfuse
from blockfuse import nn, np
from blockfuse.tracer.code.known_functions import stranger

CALLS = 4


def x() -> Any:
    return np.array([1.0, 2.0, 3.0])


def agree(function: Callable[[Any], Any], change: Callable[[], Any], undo: Callable[[], Any]) -> Any:
    """A hybridized call gives what the function gives, before and after ``change``, which matters."""
    undo()
    fast = blockfuse.hybridize(function)
    try:
        for _ in range(CALLS):
            assert fast(x()).tolist() == function(x()).tolist()
        before = fast(x()).tolist()
        change()
        assert fast(x()).tolist() == function(x()).tolist() != before
    finally:
        undo()
    return fast


# -- the world outside -------------------------------------------------------------------------------------------

FILE = "/tmp/blockfuse-certificate"  # set anew for every test
VARIABLE = "BLOCKFUSE_CERTIFICATE"


def write(text: str) -> None:
    pathlib.Path(FILE).write_text(text)


def remove() -> None:
    path = pathlib.Path(FILE)
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)


def set_variable(value: str = "22") -> None:
    os.environ[VARIABLE] = value


WORLD: dict[str, tuple[Callable[[Any], Any], Callable[[], Any], Callable[[], Any]]] = {
    "file": (lambda x: x * 2 if os.path.exists(FILE) else x * 3, lambda: write(""), remove),
    "file of pathlib": (
        lambda x: x * 2 if pathlib.Path(FILE).exists() else x * 3,
        lambda: write(""),
        remove,
    ),
    "size": (lambda x: x * os.path.getsize(FILE), lambda: write("abc"), lambda: write("a")),
    "folder": (lambda x: x * 2 if os.path.isdir(FILE) else x * 3, lambda: os.mkdir(FILE), remove),
    "link": (lambda x: x * 2 if os.path.islink(FILE) else x * 3, lambda: os.symlink("/", FILE), remove),
    "real path": (lambda x: x * len(os.path.realpath(FILE)), lambda: os.symlink("/", FILE), remove),
    "files": (
        lambda x: x * len(list(filter(os.path.exists, [FILE]))) + 1,
        lambda: write(""),
        remove,
    ),
    "sizes": (lambda x: x * sum(map(os.path.getsize, [FILE])), lambda: write("abc"), lambda: write("a")),
    "working folder": (lambda x: x * len(os.getcwd()), lambda: os.chdir("/"), lambda: os.chdir("/tmp")),
    "absolute": (lambda x: x * len(os.path.abspath("a")), lambda: os.chdir("/"), lambda: os.chdir("/tmp")),
    "Path.cwd": (lambda x: x * len(str(pathlib.Path.cwd())), lambda: os.chdir("/"), lambda: os.chdir("/tmp")),
    "environ": (lambda x: x * len(os.environ[VARIABLE]), set_variable, lambda: set_variable("1")),
    "environ.get": (
        lambda x: x * len(os.environ.get(VARIABLE, "")),
        set_variable,
        lambda: set_variable("1"),
    ),
    "getenv": (lambda x: x * len(os.getenv(VARIABLE, "")), set_variable, lambda: set_variable("1")),
    "in environ": (
        lambda x: x * 2 if VARIABLE in os.environ else x * 3,
        set_variable,
        lambda: os.environ.pop(VARIABLE, None),
    ),
    "items of environ": (
        lambda x: x * len(dict(os.environ)),
        set_variable,
        lambda: os.environ.pop(VARIABLE, None),
    ),
    "home": (
        lambda x: x * len(os.path.expanduser("~")),
        lambda: os.environ.__setitem__("HOME", "/a/home"),
        lambda: os.environ.__setitem__("HOME", "/tmp"),
    ),
}


@pytest.mark.spread(7)
@pytest.mark.parametrize("name", WORLD)
def test_what_is_outside_of_python_may_change(
    name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "FILE", str(tmp_path / "file"))
    monkeypatch.setenv("HOME", "/tmp")
    monkeypatch.setenv(VARIABLE, "1")
    monkeypatch.chdir("/tmp")
    agree(*WORLD[name])


def test_an_environment_variable_is_guarded_alone() -> None:
    fast = blockfuse.hybridize(lambda x: x * len(os.getenv(VARIABLE, "")))
    set_variable("12")
    for _ in range(CALLS):
        os.environ["BLOCKFUSE_OTHER"] = str(time.time())
        assert fast(x()).tolist() == [2, 4, 6]
    assert ": compiled" in fast.explain()
    set_variable("123")
    assert fast(x()).tolist() == [3, 6, 9]


# -- settings of the process -------------------------------------------------------------------------------------

PRINTED = numpy.array([1 / 3])


def digits(value: int) -> None:
    decimal.getcontext().prec = value


def third(value: Any) -> Any:
    return value * float(decimal.Decimal(1) / decimal.Decimal(3))


SETTINGS: dict[str, tuple[Callable[[Any], Any], Callable[[], Any], Callable[[], Any]]] = {
    "digits": (lambda x: x * decimal.getcontext().prec, lambda: digits(3), lambda: digits(28)),
    "decimals": (third, lambda: digits(3), lambda: digits(28)),
    "errors": (
        lambda x: x * len(numpy.geterr()["divide"]),
        lambda: numpy.seterr(divide="ignore"),
        lambda: numpy.seterr(divide="warn"),
    ),
    "print options": (
        lambda x: x * numpy.get_printoptions()["precision"],
        lambda: numpy.set_printoptions(precision=3),
        lambda: numpy.set_printoptions(precision=8),
    ),
    "printed": (
        lambda x: x * len(str(PRINTED)),
        lambda: numpy.set_printoptions(precision=3),
        lambda: numpy.set_printoptions(precision=8),
    ),
    "formatted": (
        lambda x: x * len(f"{PRINTED}"),
        lambda: numpy.set_printoptions(precision=3),
        lambda: numpy.set_printoptions(precision=8),
    ),
    "collector": (lambda x: x * 2 if gc.isenabled() else x * 3, gc.disable, gc.enable),
    "recursion": (
        lambda x: x * sys.getrecursionlimit(),
        lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 1),
        lambda: None,
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_of_the_process_may_change(name: str) -> None:
    limit = sys.getrecursionlimit()
    try:
        agree(*SETTINGS[name])
    finally:
        sys.setrecursionlimit(limit)


def test_a_registered_class_is_seen_and_costs_no_compilation() -> None:
    class Kind(abc.ABC):  # noqa: B024
        pass

    class Member:
        pass

    member = Member()
    fast = agree(
        lambda x: x * 2 if isinstance(member, Kind) else x * 3, lambda: Kind.register(Member), lambda: None
    )
    for _ in range(CALLS):
        fast(x())
    assert ": compiled" in fast.explain()


# -- C code that calls -------------------------------------------------------------------------------------------

count = itertools.count()
clock = functools.partial(time.perf_counter)
functions = [time.perf_counter]
table = {"clock": time.perf_counter}
space = types.SimpleNamespace(clock=time.perf_counter)
steps = iter(range(1000)).__next__
vectorized = numpy.vectorize(time.perf_counter)
universal = numpy.frompyfunc(random.gauss, 2, 1)
dice = random.Random(1)
names = ["perf_" + "counter"]


class Number:
    __float__ = staticmethod(time.perf_counter)


class Watch:
    now = property(functools.partial(lambda ask, _: ask(), time.perf_counter))


number, watch, day = Number(), Watch(), datetime.date(2026, 11, 29)


def by_default(value: Any, clock: Any = time.perf_counter) -> Any:
    return value * next(map(operator.call, [clock]))


def opens(value: Any) -> Any:
    file = io.FileIO("/proc/uptime")
    size = len(file.read())
    file.close()
    return value * size


UNKNOWN: dict[str, Callable[[Any], Any]] = {
    "partial": lambda x: x * clock(),
    "partial in the call": lambda x: x * functools.partial(time.perf_counter)(),
    "map": lambda x: x * len(list(map(print, []))),
    "map of draws": lambda x: x * sum(map(dice.uniform, [0], [1])),
    "starmap": lambda x: x * sum(itertools.starmap(dice.uniform, [(0, 1)])),
    "accumulate": lambda x: x * list(itertools.accumulate([1, 2, 3], random.gauss))[-1],
    "methodcaller": lambda x: x * operator.methodcaller("random")(random),
    "attrgetter": lambda x: x * operator.attrgetter("perf_counter")(time)(),
    "reduce": lambda x: x * functools.reduce(random.gauss, [0, 1]),
    "sentinel": lambda x: x * next(iter(time.perf_counter, 0)),
    "key": lambda x: x * max([1, 2, 3], key=random.expovariate),
    "sorted": lambda x: x * sorted(range(1, 50), key=random.Random().expovariate)[0],
    "list": lambda x: x * next(map(operator.call, functions)),
    "dict": lambda x: x * next(map(operator.call, [table["clock"]])),
    "attribute": lambda x: x * next(map(operator.call, [space.clock])),
    "default": by_default,
    "computed name": lambda x: x * next(map(operator.call, [getattr(time, n) for n in names])),
    "namespace": lambda x: x * next(map(operator.call, [time.__dict__["perf_counter"]])),
    "defaultdict": lambda x: x * collections.defaultdict(time.perf_counter)[1],
    "iterator": lambda x: x * steps(),
    "zip": lambda x: x * next(step for _, step in zip([1], count, strict=False)),
    "special method": lambda x: x * float(number),
    "property": lambda x: x * watch.now,
    "vectorize": lambda x: x * float(vectorized()),
    "frompyfunc": lambda x: x * float(universal(0.0, 1.0)),
    "file": opens,
    "lock": lambda x: x * (1 if threading.Lock().acquire() else 2),
    "reference": lambda x: x * (1 if weakref.ref(number)() else 2),
    "today": lambda x: x * next(map(operator.call, [datetime.date.today])).day,
    "now": lambda x: x * (numpy.datetime64("now").astype("int64") % 9),
    "generator": lambda x: x * float(numpy.random.Generator(numpy.random.PCG64()).uniform()),
    "thread": lambda x: x * len(threading.current_thread().name),
    "locale": lambda x: x * len(locale.localeconv()["decimal_point"]),
    "format of the locale": lambda x: x * len(f"{1234567:n}"),
    "template of the locale": lambda x: x * len("{:n}".format(1234567)),  # noqa: UP032
    "day of the locale": lambda x: x * len(f"{day:%A}"),
    "day in a template": lambda x: x * len("{:%A}".format(day)),  # noqa: UP032
    "globals of a function": lambda x: x * next(map(operator.call, [lines_of.__globals__["clock"]])),
    "format() of the locale": lambda x: x * len(format(1234567, "n")),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_runs_in_python_and_is_named(name: str) -> None:
    fast = blockfuse.hybridize(UNKNOWN[name])
    for _ in range(CALLS):
        fast(x())
    text = fast.explain()
    assert ": compiled" not in text, text
    assert "because" in text


def test_the_reason_names_the_function_and_the_users_line() -> None:
    def function(value: Any) -> Any:
        return value * functools.partial(time.perf_counter)()

    def other(value: Any) -> Any:
        return value * 2 if os.path.exists("/nowhere") else value * 3

    first = function.__code__.co_firstlineno + 1
    for fast, line, what in (
        (blockfuse.hybridize(function), first, "names time.perf_counter, which is not known to be pure"),
        (blockfuse.hybridize(other), first + 3, "calls exists, which calls posix.stat"),
    ):
        for _ in range(CALLS):
            fast(x())
        assert what in fast.explain()
        assert f"test_certificate.py:{line}" in fast.explain()


def test_a_hook_of_c_runs_at_every_call() -> None:
    seen: list[Any] = []
    net = nn.Sequential()
    net.add(nn.Dense(2, in_units=3))
    net.initialize()
    net.hybridize()
    net[0].register_forward_hook(functools.partial(operator.call, lambda *_: seen.append(time.time())))
    for _ in range(CALLS):
        net(np.ones((1, 3)))
    assert len(seen) == CALLS


class Clock(nn.Block):
    forward = staticmethod(functools.partial(lambda ask, x: x * ask(), time.perf_counter))


def test_c_code_that_our_own_code_calls_runs_at_every_call() -> None:
    inner = blockfuse.hybridize(operator.call)
    for fast in (
        Clock(),
        blockfuse.hybridize(functools.partial(lambda ask, x: x * ask(), time.perf_counter)),
        blockfuse.hybridize(functools.partial(map, time.perf_counter)),
        blockfuse.hybridize(lambda x: x * inner(time.perf_counter)),
    ):
        if isinstance(fast, nn.Block):
            fast.hybridize()
        for _ in range(CALLS):
            with contextlib.suppress(TypeError):
                fast(x())
        assert ": compiled" not in fast.explain(), fast.explain()


# -- what is known, or does not run ------------------------------------------------------------------------------

debugging, second, either = False, operator.itemgetter(1), int | float


def asks_about_types(value: Any) -> Any:
    if isinstance(value, decimal.Decimal | io.IOBase) or isinstance(1, (decimal.Decimal, weakref.ref)):
        value = value * 2
    return value * 3 if type(value) is not decimal.Decimal else value


def has_a_way_out(value: Any) -> Any:
    if debugging:
        print(value, time.perf_counter())  # noqa: T201
    return value * 2


def measures_when_asked(value: Any) -> Any:
    if debugging:
        started = decimal.Decimal(1)
        list(map(print, [started]))
    return value * 2


KNOWN: dict[str, Callable[[Any], Any]] = {
    "types": asks_about_types,
    "not on this way": has_a_way_out,
    "not on this way, unknown": measures_when_asked,
    "one line": lambda x: x * 2 if not debugging else print(x),  # noqa: T201
    "next": lambda x: x * next(iter([2.0, 3.0])),
    "tools": lambda x: x * sum(a * b for a, b in itertools.product([1, 2], [3, 4])),
    "keys": lambda x: x * max({"a": 1, "b": 2}.items(), key=operator.itemgetter(1))[1],
    "reduce": lambda x: x * functools.reduce(operator.mul, x.shape, 1),
    "paths": lambda x: x * len(os.path.join("a", os.path.basename("b/c"))),
    "immutable objects": lambda x: x * day.day * max([(1, 2), (3, 1)], key=second)[1],
    "unions": lambda x: x * 2 if isinstance(1, either) else x * 3,
    "formats": lambda x: x * len(f"{x.ndim:>5d} {0.25:.1%}"),
    "a key": lambda x: x * {"n": 2.0}["n"] * len("{}".format(x.ndim)),  # noqa: UP032
    "constant names": lambda x: x * getattr(space, "none", 2.0) if hasattr(np, "exp") else x * 3,
}


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_known_or_does_not_run_is_compiled(name: str) -> None:
    fast = blockfuse.hybridize(KNOWN[name])
    for _ in range(CALLS):
        assert fast(x()).tolist() == KNOWN[name](x()).tolist()
    assert ": compiled" in fast.explain(), fast.explain()


def test_the_table_tells_known_from_unknown() -> None:
    known = (len, map, int, str.upper, numpy.exp, numpy.mean, functools.partial(len), datetime.datetime)
    known += (dict.fromkeys, ValueError, object.__setattr__, nn.Dense, collections.Counter, pathlib.Path, 3)
    unknown = (print, time.time, functools.partial(time.time), decimal.Decimal, random.Random, io.FileIO)
    unknown += (datetime.datetime.now, numpy.fromfile, numpy.random.rand, numpy.datetime64, weakref.ref)
    unknown += (staticmethod(time.time), property(time.time), functools.lru_cache(len), id, eval)
    assert [k for k in known if stranger(k)] == []
    assert [u for u in unknown if not stranger(u)] == []


# -- classes that are exchanged ----------------------------------------------------------------------------------


class Two:
    factor = 2.0

    def scaled(self, value: Any) -> Any:
        return value * 2


class Three:
    factor = 3.0

    def scaled(self, value: Any) -> Any:
        return value * 3


class Inheriting(Two):
    pass


class Mine(list[Any]):
    def first(self) -> Any:
        return self[0]


class Yours(list[Any]):
    def first(self) -> Any:
        return self[0] * 2


class Meta(type):
    @property
    def factor(cls) -> float:
        return 2.0


class OtherMeta(type):
    @property
    def factor(cls) -> float:
        return 3.0


class Made(metaclass=Meta):
    pass


class Module(types.ModuleType):
    @property
    def factor(self) -> float:
        return 5.0


class Matched:
    __match_args__ = ("factor",)
    factor, other = 2.0, 3.0


def by_pattern(value: Any) -> Any:
    match matched:
        case Matched(2.0):
            return value * 2
        case _:
            return value * 3


matched = Matched()


class Owning:
    def __init__(self, factor: float) -> None:
        self.factor = factor


owning = Owning(2.0)
held, inheriting, mine, module = Two(), Inheriting(), Mine([2.0]), types.ModuleType("module")
module.__getattr__ = lambda _: 2.0  # type: ignore[method-assign]

EXCHANGES: dict[str, tuple[Callable[[Any], Any], Any, str, Any]] = {
    "class": (lambda x: held.scaled(x), held, "__class__", Three),
    "class of attributes": (lambda x: x * held.factor, held, "__class__", Three),
    "bases": (lambda x: inheriting.scaled(x), Inheriting, "__bases__", (Three,)),
    "class of a list": (lambda x: x * mine.first(), mine, "__class__", Yours),
    "metaclass": (lambda x: x * Made.factor, Made, "__class__", OtherMeta),
    "class of a module": (lambda x: x * module.factor, module, "__class__", Module),
    "attribute of a pattern": (by_pattern, Matched, "factor", 5.0),
    "attributes of patterns": (by_pattern, Matched, "__match_args__", ("other",)),
    "dict": (lambda x: x * owning.factor, owning, "__dict__", {"factor": 5.0}),
    "method": (lambda x: held.scaled(x), Two, "scaled", lambda self, value: value * 7),
    "attribute of a class": (lambda x: x * held.factor, Two, "factor", 9.0),
}


@pytest.mark.parametrize("name", EXCHANGES)
def test_an_exchange_is_seen_by_the_next_call(name: str) -> None:
    function, holder, attribute, value = EXCHANGES[name]
    before = getattr(holder, attribute)
    fast = agree(
        function, lambda: setattr(holder, attribute, value), lambda: setattr(holder, attribute, before)
    )
    for _ in range(CALLS):
        assert fast(x()).tolist() == function(x()).tolist()
    assert ": compiled" in fast.explain()


def test_the_first_attribute_of_an_object_is_seen() -> None:
    empty = Two()
    fast = blockfuse.hybridize(lambda x: x * 2 if hasattr(empty, "extra") else x * 3)
    for _ in range(CALLS):
        assert fast(x()).tolist() == [3, 6, 9]
    empty.extra = 1  # type: ignore[attr-defined]
    assert fast(x()).tolist() == [2, 4, 6]


class Doubling(nn.Block):
    def forward(self, x: Any) -> Any:
        return x * 2


class Tripling(nn.Block):
    def forward(self, x: Any) -> Any:
        return x * 3


class Constant(nn.Parameter):
    def data(self, *_: Any) -> Any:
        return np.ones((3, 3)) * 5


@pytest.mark.parametrize("layer", [Doubling, lambda: nn.Activation("tanh")])
def test_the_class_of_a_block_is_exchanged(layer: Callable[[], Any]) -> None:
    net = nn.Sequential()
    net.add(layer())
    net.hybridize()
    for _ in range(CALLS):
        net(x())
    net[0].__class__ = Tripling
    assert net(x()).tolist() == [3, 6, 9]


def test_the_class_of_a_parameter_is_exchanged() -> None:
    net = nn.Dense(3, in_units=3, use_bias=False)
    net.initialize()
    net.hybridize()
    for _ in range(CALLS):
        net(np.ones((1, 3)))
    net.weight.__class__ = Constant
    found = net(np.ones((1, 3))).tolist()
    net.hybridize(False)
    assert found == net(np.ones((1, 3))).tolist()


def test_the_bases_of_a_block_are_exchanged() -> None:
    class Net(Doubling):
        pass

    net = Net()
    net.hybridize()
    for _ in range(CALLS):
        net(x())
    Net.__bases__ = (Tripling,)
    assert net(x()).tolist() == [3, 6, 9]


# -- who else looks on -------------------------------------------------------------------------------------------


def lines_of(run: Callable[[], Any]) -> list[int]:
    """Lines of this file that a trace function of C sees."""
    with lines_seen(__file__) as seen:
        run()
    return seen


def test_a_trace_function_sees_every_line_of_the_caller_and_stays() -> None:
    def caller() -> None:
        fast = blockfuse.hybridize(lambda x: x * 2)
        fast(x())
        after = sys.gettrace()
        assert type(after) is list
        frame = sys._getframe()
        assert frame.f_trace is None
        fast(x())

    first = caller.__code__.co_firstlineno
    seen = lines_of(caller)
    assert set(range(first + 1, first + 8)) <= set(seen)


def test_nothing_of_a_recording_stays_in_frames_that_go_on() -> None:
    def steps() -> Iterator[float]:
        space.last = 0
        for n in range(9):
            space.last = n
            yield 2.0

    running = steps()
    fast = blockfuse.hybridize(lambda value: value * next(running))
    fast(x())
    frame = running.gi_frame
    assert (frame.f_trace, frame.f_trace_lines, frame.f_trace_opcodes) == (None, True, False)
    assert sys.gettrace() is None
    assert sys.getprofile() is None


def test_what_a_call_has_set_itself_stays() -> None:
    def profile(*_: Any) -> None:
        """Nothing."""

    def function(value: Any) -> Any:
        sys.setprofile(profile)
        return value * 2

    fast = blockfuse.hybridize(function)
    try:
        fast(x())
        assert sys.getprofile() is profile
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 2 if sys.gettrace() is None else x * 3,
        lambda x: x * 2 if sys.getprofile() is None else x * 3,
        lambda x: x * 2 if gc.isenabled() else x * 3,
    ],
)
def test_a_call_that_could_tell_that_it_is_recorded_is_not(function: Callable[[Any], Any]) -> None:
    fast = blockfuse.hybridize(function)
    for _ in range(CALLS):
        assert fast(x()).tolist() == [2, 4, 6]
    assert "would tell of the recording" in fast.explain()
