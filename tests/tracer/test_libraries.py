# ruff: noqa: TID251 - the forwards here read the environment
"""Known code of the standard library in ``forward``: it costs no search, is compiled, and what it reads is asked again."""

from __future__ import annotations

import collections
import contextlib
import copy
import dataclasses
import enum
import fractions
import functools
import inspect
import json
import logging
import os
import re
import statistics
import sys
import types
import typing
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import nn, np
from blockfuse.tracer.state.visits import state_of

CALLS = 5


def x() -> Any:
    return np.array([1.0, 2.0, 3.0])


def compiled(function: Callable[[Any], Any], attempts: int = 2) -> Any:
    """A hybridized call gives what the function gives, and is compiled after so many recordings."""
    fast = blockfuse.hybridize(function)
    for _ in range(CALLS):
        assert fast(x()).tolist() == function(x()).tolist()
    assert ": compiled" in fast.explain(), fast.explain()
    (case,) = hybrid_of(fast).cases.values()
    assert case.attempts <= attempts
    return fast


def hybrid_of(fast: Any) -> Any:
    return next(v for v in vars(fast).values() if hasattr(v, "cases"))


@dataclasses.dataclass
class Settings:
    rate: float = 2.0
    sizes: list[int] = dataclasses.field(default_factory=lambda: [1, 2])


@dataclasses.dataclass(frozen=True)
class Frozen:
    rate: float = 2.0


class Kind(enum.Enum):
    SUM = 1
    PRODUCT = 2


class Marks(enum.Flag):
    LEFT = 1
    RIGHT = 2


class Pair(typing.NamedTuple):
    first: float
    second: float = 3.0


log = logging.getLogger("blockfuse.test_libraries")
adapter = logging.LoggerAdapter(log, {})
settings, frozen, pair = Settings(), Frozen(), Pair(2.0)


@contextlib.contextmanager
def lent(value: float) -> Iterator[float]:
    yield value


def logs(value: Any) -> Any:
    log.debug("%s", value.shape)
    return value * 2


def looks_up_a_logger(value: Any) -> Any:
    logging.getLogger(__name__).info("%s", value.shape)
    return value * 2


def logs_if_enabled(value: Any) -> Any:
    if log.isEnabledFor(logging.DEBUG):
        log.debug("%s", value.sum())
    adapter.debug("%s", value.shape)
    return value * 2


def copies(value: Any) -> Any:
    return value * copy.copy(settings).rate


def copies_deeply(value: Any) -> Any:
    changed = copy.deepcopy(settings)
    changed.rate += 1
    changed.sizes.append(5)
    return value * changed.rate * sum(changed.sizes)


def asserts(value: Any) -> Any:
    assert value.shape == (3,), f"unexpected shape {value.shape}"
    assert isinstance(value, np.ndarray)
    return value * 2


def suppresses(value: Any) -> Any:
    with contextlib.suppress(KeyError), lent(3.0) as factor, contextlib.nullcontext():
        value = value * factor
    return value


def counts(value: Any) -> Any:
    counter = collections.Counter(["a", "b", "a"])
    ordered = collections.OrderedDict(counter)
    return value * ordered["a"] * len(collections.ChainMap({1: 2}, {3: 4}))


def signature(function: Any) -> int:
    return len(inspect.signature(function).parameters)


KNOWN: dict[str, Callable[[Any], Any]] = {
    "logging": logs,
    "getLogger": looks_up_a_logger,
    "isEnabledFor": logs_if_enabled,
    "copy": copies,
    "deepcopy": copies_deeply,
    "replace": lambda x: x * dataclasses.replace(settings, sizes=[3]).rate,
    "replace frozen": lambda x: x * dataclasses.replace(frozen, rate=4.0).rate,
    "asdict": lambda x: x * dataclasses.asdict(settings)["rate"] * len(dataclasses.fields(frozen)),
    "equal": lambda x: x * 2 if settings == Settings() else x * 3,
    "represented": lambda x: x * len(repr(frozen)),
    "signature": lambda x: x * signature(asserts),
    "asserts": asserts,
    "isinstance": lambda x: x * 2 if isinstance(settings, (Settings, Frozen)) else x * 3,
    "cast": lambda x: typing.cast("Any", x) * 2,
    "enum": lambda x: x * Kind(2).value * Kind["SUM"].value * len(Kind),
    "flag": lambda x: x * 2 if Marks.LEFT in (Marks.LEFT | Marks.RIGHT) else x * 3,
    "named tuple": lambda x: x * pair._replace(first=4.0).first * Pair(1.0).second,
    "reduce": lambda x: functools.reduce(lambda a, b: a * b, [x, x, 2.0]),
    "contexts": suppresses,
    "collections": counts,
    "regular expression": lambda x: x * len(re.sub("a+", "b", "aacaa")),
    "json": lambda x: x * len(json.dumps(json.loads('{"a": [1, 2]}'))),
    "fraction": lambda x: x * float(fractions.Fraction(1, 2) + 1),
    "abstract": lambda x: x * 2 if isinstance([1], collections.abc.Sequence) else x * 3,
    "numpy": lambda x: x * float(numpy.prod(x.shape)) + float(numpy.mean([1, 2])),
}


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", KNOWN)
def test_known_code_is_compiled_after_few_recordings(name: str) -> None:
    compiled(KNOWN[name])


def test_what_makes_a_named_tuple_is_known_at_the_first_call() -> None:
    fast = blockfuse.hybridize(lambda x: x * Pair(1.0).second)
    fast(x())
    assert fast.explain().startswith("<lambda>(float32[3]): compiled"), fast.explain()


@pytest.mark.parametrize("function", [logs, looks_up_a_logger, logs_if_enabled, copies, asserts])
def test_known_code_is_not_looked_into(function: Callable[[Any], Any]) -> None:
    state = state_of([(function, "function")])
    assert len(state.items) + len(state.others) < 40


def test_code_of_a_library_that_has_not_run_is_not_looked_into() -> None:
    def function(value: Any) -> Any:
        return value * statistics.mean([1, 2]) if sys.flags.debug else value * 2

    state = state_of([(function, "function")])
    assert statistics.mean.__code__ not in state.codes


def test_logging_that_is_turned_on_logs(caplog: pytest.LogCaptureFixture) -> None:
    for function in (logs, looks_up_a_logger, logs_if_enabled):
        fast = compiled(function)
        caplog.clear()
        with caplog.at_level(logging.DEBUG, "blockfuse.test_libraries"), caplog.at_level(logging.DEBUG):
            for n in range(1, CALLS):
                fast(x())
                assert len(caplog.records) >= n
        caplog.clear()
        fast(x())
        assert caplog.records == []


def test_a_level_that_is_assigned_and_logging_that_is_disabled_are_seen(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, log.name)
    fast = blockfuse.hybridize(logs)
    for _ in range(CALLS):
        fast(x())
    assert len(caplog.records) == CALLS
    assert "logs calls Logger._log, which writes to the log" in fast.explain()
    logging.disable(logging.CRITICAL)
    try:
        again = compiled(logs)
    finally:
        logging.disable(logging.NOTSET)
    again(x())
    assert len(caplog.records) == CALLS + 1


@pytest.mark.parametrize("name", ["copy", "deepcopy", "replace", "asdict", "equal"])
def test_what_known_code_is_given_is_guarded(name: str) -> None:
    fast = compiled(KNOWN[name])
    try:
        settings.rate = 7.0
        assert fast(x()).tolist() == KNOWN[name](x()).tolist()
    finally:
        settings.rate = 2.0
    assert fast(x()).tolist() == KNOWN[name](x()).tolist()


def test_what_numpy_imports_when_it_needs_it_is_its_own_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same function as one of NumPy's and as one of the user's."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for file in (numpy.lib._function_base_impl.__file__, str(tmp_path / "user.py")):
        name = f"late_{len(list(tmp_path.iterdir()))}"
        (tmp_path / f"{name}.py").write_text("import sys\nsys.late = 2\n")
        scope: dict[str, Any] = {}
        exec(compile(f"def late(value):\n    import {name}\n    return value * 2", file, "exec"), scope)
        late = scope["late"]
        fast = blockfuse.hybridize(lambda value, late=late: late(value))
        for _ in range(3):
            assert fast(x()).tolist() == [2, 4, 6]
        assert fast.explain().split("\n")[0].endswith("compiled") == (file != str(tmp_path / "user.py"))


def test_a_way_of_copying_that_is_registered_later_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    import copyreg

    fast = compiled(copies)
    monkeypatch.setitem(copyreg.dispatch_table, Settings, lambda _: (Settings, (9.0,)))
    assert fast(x()).tolist() == copies(x()).tolist() == [9, 18, 27]


def test_copying_methods_of_a_class_are_guarded() -> None:
    class Own:
        def __init__(self, rate: float) -> None:
            self.rate = rate

        def __copy__(self) -> Own:
            return Own(self.rate * 2)

    own = Own(1.0)

    def function(value: Any) -> Any:
        return value * copy.copy(own).rate

    fast = compiled(function, attempts=3)
    Own.__copy__ = lambda self: Own(self.rate * 5)  # type: ignore[method-assign]
    assert fast(x()).tolist() == [5, 10, 15]


def test_objects_that_the_call_made_may_be_changed_and_others_not() -> None:
    def new(value: Any) -> Any:
        space = types.SimpleNamespace(rate=1.0)
        space.rate += value.ndim
        return value * space.rate

    def old(value: Any) -> Any:
        alias = settings
        alias.rate += 1
        return value * alias.rate

    compiled(new)
    fast = blockfuse.hybridize(old)
    try:
        for n in range(1, CALLS):
            assert fast(x()).tolist() == [2.0 + n, 4.0 + 2 * n, 6.0 + 3 * n]
    finally:
        settings.rate = 2.0
    assert "assigns the attribute rate" in fast.explain()


def test_a_warning_that_is_ignored_costs_nothing_until_it_is_not() -> None:
    def function(value: Any) -> Any:
        warnings.warn("old", FutureWarning, stacklevel=1)
        return value * 2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        fast = compiled(function)
        warnings.simplefilter("error", FutureWarning)
        with pytest.raises(FutureWarning, match="old"):
            fast(x())
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        for _ in range(CALLS):
            fast(x())
    assert len(shown) == CALLS


def test_annotations_that_a_signature_shows_are_guarded() -> None:
    def inner(value: int) -> int:
        return value

    def function(value: Any) -> Any:
        kind = inspect.signature(inner).parameters["value"].annotation
        return value * (2 if kind == "int" else 3)

    fast = compiled(function)
    inner.__annotations__["value"] = "float"
    assert fast(x()).tolist() == [3, 6, 9]


def test_a_search_for_state_ends_and_says_so() -> None:
    spaces = [types.SimpleNamespace(**{f"a{n}": n + 0.5 for n in range(50)}) for _ in range(500)]
    fast = blockfuse.hybridize(lambda x: x * spaces[3].a1)
    for _ in range(CALLS):
        assert fast(x()).tolist() == [1.5, 3.0, 4.5]
    assert "more Python state than is searched through" in fast.explain()
    (case,) = hybrid_of(fast).cases.values()
    assert case.attempts == 1


def test_a_dict_with_methods_of_its_own_is_looked_at_without_calling_them() -> None:
    class Loud(dict[str, Any]):
        def items(self) -> Any:
            raise RuntimeError

        def __iter__(self) -> Any:
            raise RuntimeError

    loud = Loud(a=2.0)
    fast = compiled(lambda x: x * loud["a"])
    loud["a"] = 3.0
    assert fast(x()).tolist() == [3, 6, 9]


def test_a_logger_in_an_attribute_of_a_block_is_no_hindrance() -> None:
    class Net(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.log = logging.getLogger("blockfuse.test_libraries.net")
            self.dense = nn.Dense(2, in_units=3)

        def forward(self, x: Any) -> Any:
            self.log.debug("%s", x.shape)
            return self.dense(x)

    net = Net()
    net.initialize()
    net.hybridize()
    for _ in range(CALLS):
        net(np.ones((1, 3)))
    assert ": compiled" in net.explain()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: copy.deepcopy(x) * 2,
        lambda x: copy.copy(x * 3) + copy.deepcopy([x, x + 1])[1],
        lambda x: x.__deepcopy__({}) * 2,
        lambda x: dataclasses.asdict(Held(x))["value"] * 2,
    ],
)
def test_copies_of_arrays_are_recorded(function: Callable[[Any], Any]) -> None:
    fast = compiled(function)
    assert fast(x() + 5).tolist() == function(x() + 5).tolist()


@dataclasses.dataclass
class Held:
    value: Any


@pytest.mark.parametrize("kind", [copy.copy, copy.deepcopy])
def test_copies_of_blocks_follow_their_parameters(kind: Callable[[Any], Any]) -> None:
    class Net(nn.Block):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Dense(2, in_units=3)

        def forward(self, x: Any) -> Any:
            return kind(self.dense)(x)

    net = Net()
    net.initialize()
    net.hybridize()
    for _ in range(CALLS):
        net(np.ones((1, 3)))
    net.dense.weight.set_data(np.ones((2, 3)) * 3)
    assert net(np.ones((1, 3))).tolist() == [[9, 9]]


def test_what_cannot_be_asked_raises_as_eager_does() -> None:
    def function(value: Any) -> Any:
        try:
            return value * len(os.environ[5])  # type: ignore[index]
        except TypeError:
            return value * 2

    fast = blockfuse.hybridize(function)
    for _ in range(CALLS):
        assert fast(x()).tolist() == [2, 4, 6]
    assert "cannot be asked again" in fast.explain()
