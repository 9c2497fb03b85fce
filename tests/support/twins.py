"""A script run on twins, a net that stays plain and one that is hybridized: after every step nobody can tell them apart.

A script is the source of a module with a function ``build()``, which makes the net, and steps: statements that are
executed for each twin in a scope of its own. A step that starts with ``hybrid:`` is for the hybridized twin alone.

While no operator ran that may round differently when it is compiled, values must be equal; then rounding decides
what is a fault (``blockfuse.runtime.audit.rounding``).
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import linecache
import pickle
import random
import signal
import sys
import tempfile
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy
from expressions import sample
from pictures import Difference, Picture, compared

import blockfuse
from blockfuse import nn, np, npx
from blockfuse.array.eager import Eager
from blockfuse.ir.interpreter import interpreting
from blockfuse.ir.stream import STREAM
from blockfuse.nn import block
from blockfuse.runtime.audit.rounding import NOISES, SPREADS, Noisy, rounds_alike

MODULE = "program"
HYBRID = "hybrid: "
_LIMIT = 300  # seconds that one step may take, also where others are at work
_numbers = itertools.count()


@dataclass(frozen=True)
class Script:
    """``source`` of a module, and statements. As text: a program that shows the fault when it is run in ``tests/``."""

    source: str
    steps: tuple[str, ...]

    def __str__(self) -> str:
        steps = "".join(f"    {step!r},\n" for step in self.steps)
        lines = self.source.replace("\\", "\\\\")
        return (
            f"from twins import Script, run\n\nSOURCE = '''\\\n{lines}'''\n\n"
            f"STEPS = (\n{steps})\n\nrun(Script(SOURCE, STEPS))\n"
        )


class Fault(AssertionError):  # noqa: N818 - as below
    """The twins differ."""

    def __init__(self, script: Script, difference: Difference) -> None:
        super().__init__(f"{difference}\n\n{script}")
        self.script, self.difference = script, difference


class Chaotic(Exception):  # noqa: N818 - an answer, not a failure
    """Rounding decides where the script goes."""


class Twin:
    """One module, net and scope."""

    def __init__(self, source: str, hybrid: bool) -> None:
        self.hybrid = hybrid
        self.module = types.ModuleType(MODULE)
        self.error: BaseException | None = None
        self._lock = threading.Lock()
        block._numbers.clear()
        with self._present(0):
            exec(compile(source, _file_of(source), "exec"), vars(self.module))
            net = self.module.build()
        self.scope: dict[str, Any] = {"net": net, "program": self.module, "kept": [], "twice": self._twice}
        self.scope |= {"np": np, "npx": npx, "nn": nn, "numpy": numpy, "copy": copy, "pickle": pickle}
        self.scope |= {"blockfuse": blockfuse, "sample": sample, "together": self._together}
        self.scope |= {"in_turn": self._in_turn, "second": None}
        self.scope |= {"step": None, "path": f"{_FOLDER.name}/{'hybrid' if hybrid else 'plain'}.npz"}

    def step(self, number: int, text: str) -> None:
        """Execute one step; its exception is kept, not raised."""
        self.error = None
        if text.startswith(HYBRID):
            text = text.removeprefix(HYBRID) if self.hybrid else "pass"
        with self._present(number + 1):
            try:
                exec(text, self.scope)
            except Exception as error:
                self.error = error.with_traceback(None)

    def picture(self) -> Picture:
        """Everything that can be seen of the twin."""
        seen = {k: v for k, v in self.scope.items() if k not in _LIBRARY and not k.startswith("__")}
        data = {k: v for k, v in vars(self.module).items() if _is_data(k, v)}
        stream = STREAM.generator.bit_generator.state
        return Picture({"scope": seen, "globals": data, "error": self.error, "stream": stream})

    @contextlib.contextmanager
    def _present(self, number: int) -> Iterator[None]:
        """Let the module be the one that pickle finds; start all random streams over."""
        sys.modules[MODULE] = self.module
        np.random.seed(number)
        random.seed(number)
        numpy.random.seed(number)  # noqa: NPY002 - programs draw from the old stream
        with warnings.catch_warnings(), _limited():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", blockfuse.CompilerWarning)  # right results, and a fault of ours
            yield

    def _in_turn(self, call: Callable[[], Any]) -> Any:
        with self._lock:
            return call()

    def _twice(self, call: Callable[[], Any]) -> list[Any]:
        """Two results of ``call``."""
        return self._together(call, call)

    def _together(self, *calls: Callable[[], Any]) -> list[Any]:
        """The results of two calls, or the first error of both: of the hybridized twin from two threads at once."""
        results: list[Any] = [None, None]
        errors: list[Exception | None] = [None, None]
        barrier = threading.Barrier(2)

        def one(place: int) -> None:
            try:
                if self.hybrid:
                    barrier.wait()
                results[place] = calls[place]()
            except Exception as error:
                errors[place] = error

        if self.hybrid:
            threads = [threading.Thread(target=one, args=(place,)) for place in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        else:
            one(0)
            one(1)
        for error in filter(None, errors):
            raise error
        return results


class Twins:
    """The two of them, step by step."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.steps: list[str] = []
        self.exact = True
        with self._watching():
            self.plain = Twin(source, False)
        self.hybrid = Twin(source, True)

    def step(self, text: str) -> None:
        """Execute ``text`` for both. Raises Fault if they then differ, Chaotic if rounding alone explains it."""
        number = len(self.steps)
        self.steps.append(text)
        with self._watching():
            self.plain.step(number, text)
        wanted = self.plain.picture()
        self.hybrid.step(number, text)
        difference = compared(self.hybrid.picture(), wanted, self.exact)
        if difference is not None:
            self._judge(difference, wanted)

    def _judge(self, difference: Difference, wanted: Picture) -> None:
        script = Script(self.source, tuple(self.steps))
        if self.exact:
            raise Fault(script, difference)
        spread = 0.0
        for seed in range(NOISES):
            with interpreting(Noisy(seed)):
                twin = Twin(self.source, False)
                for number, text in enumerate(self.steps):
                    twin.step(number, text)
            noisy = twin.picture()
            if noisy.text != wanted.text:
                raise Chaotic
            if difference.place is not None:
                spread = max(spread, noisy.distance(wanted, difference.place))
        if difference.place is None or difference.size > SPREADS * spread:
            raise Fault(script, difference)

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        watching = _Watching(self.exact)
        with interpreting(watching):
            yield
        self.exact = watching.exact


class _Watching(Eager):
    """Notices operators that may round differently when they are compiled."""

    def __init__(self, exact: bool) -> None:
        self.exact = exact

    def apply(self, operator: Any, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        self.exact = self.exact and rounds_alike(operator, operands)
        return super().apply(operator, operands, attrs)

    def update(self, target: Any, operator: Any, operands: tuple[Any, ...], attrs: dict[str, Any]) -> None:
        self.exact = self.exact and rounds_alike(operator, operands)
        super().update(target, operator, operands, attrs)


def run(script: Script) -> None:
    """Execute a script from its start. Raises Fault or Chaotic."""
    twins = Twins(script.source)
    for step in script.steps:
        twins.step(step)


def shrunk(fault: Fault) -> Fault:
    """The fault of the shortest script that is found by leaving out lines."""
    best = fault
    while True:
        before = best
        for part in ("steps", "source"):
            lines = list(best.script.steps) if part == "steps" else best.script.source.splitlines(True)
            size = max(len(lines) // 2, 1)
            while size:
                start = 0
                while start < len(lines):
                    rest = lines[:start] + lines[start + size :]
                    steps = tuple(rest) if part == "steps" else best.script.steps
                    source = best.script.source if part == "steps" else "".join(rest)
                    found = _fault_of(Script(source, steps))
                    if found is not None and found.difference.kind == fault.difference.kind:
                        best, lines = found, rest
                    else:
                        start += size
                size //= 2
        if best is before:
            return best


def _fault_of(script: Script) -> Fault | None:
    try:
        run(script)
    except Fault as fault:
        return fault
    except Exception:  # the rest is no program, or proves nothing
        return None
    return None


# -- what surrounds a step -------------------------------------------------------------------------------------

_LIBRARY = frozenset(
    {
        "program",
        "twice",
        "together",
        "in_turn",
        "step",
        "second",
        "path",
        "np",
        "npx",
        "nn",
        "numpy",
        "copy",
        "pickle",
    }
    | {"blockfuse", "sample"}
)
_FOLDER = tempfile.TemporaryDirectory(prefix="blockfuse-twins-", ignore_cleanup_errors=True)


def _is_data(name: str, value: Any) -> bool:
    """Whether a global of the module is state that a program may change."""
    return not name.startswith("__") and not isinstance(
        value, types.ModuleType | types.FunctionType | types.BuiltinFunctionType | type
    )


def _file_of(source: str) -> str:
    """The name of a file that exists for Python's purposes: tracebacks and byte code find its lines."""
    name = f"<{MODULE}{next(_numbers)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    return name


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Do not let a step go on for ever."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(_signal: int, _frame: Any) -> None:
        raise TimeoutError(f"a step took more than {_LIMIT} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(_LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
