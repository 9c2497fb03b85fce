"""``pytest --mutants=N``: break the code generator N times, and say which test notices each.

Every test runs once to learn how long it takes and which statements it comes to. Each mutant then has a process of its own,
forked when everything is imported and collected: the broken function gets its code, what is remembered of calls goes, and
the tests that come to the broken statement run, quickest first, until one fails. Text that only looks different (goldens,
graphs as text) counts where no result is wrong. A test that hangs or crashes has noticed.

Libraries for this start an interpreter for each mutant or copy the tree, which costs more here than most tests: the import
of Numba alone is half a second, and kernels that are not broken would be compiled again.
"""

from __future__ import annotations

import ast
import faulthandler
import functools
import gc
import importlib
import json
import os
import pickle
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
from mutations import ROOT, Mutant, equivalents, files, found_at, sample

from blockfuse.runtime import config

MEMORY = 12 << 30  # bytes that a broken program may ask for
PATIENCE = 15.0  # seconds, beside ten times what it takes, that a test may be silent
TEXTS = ("tests/codegen/test_goldens.py", "tests/ir/test_passes.py", "tests/ir/test_graph_text.py")

# What stands above the source of kernels: object code found by source, and programs by schedule, is what it would be anyway.
_ABOVE = (
    *(
        "ir/",
        "codegen/scheduling/every_size",
        "codegen/kernels/lowering",
        "codegen/kernels/kernel_call",
        "codegen/kernels/statements",
        "codegen/kernels/folds",
    ),
    *(
        "codegen/kernels/draws",
        "codegen/kernels/products",
        "codegen/scheduling/strips",
        "codegen/cpu/source/",
    ),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--mutants", type=int, default=0, metavar="N", help="break the code generator N times")
    parser.addoption("--mutants-seed", type=int, default=0, metavar="N", help="which mutants")
    parser.addoption("--mutants-jobs", type=int, default=1, metavar="N", help="so many at once")
    parser.addoption(
        "--mutants-budget", type=float, default=60.0, metavar="SECONDS", help="for one; slow tests then wait"
    )
    parser.addoption("--mutants-folder", default="build/mutants", help="what is measured and found")
    parser.addoption("--mutants-only", default="", metavar="TEXT", help="those whose line has this text")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    if not session.config.getoption("--mutants"):
        return None
    folder = ROOT / session.config.getoption("--mutants-folder")
    folder.mkdir(parents=True, exist_ok=True)
    Hunt(session, folder).run()
    return True


# -- code that runs ------------------------------------------------------------------------------------------------


def code_pairs(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """Functions of a module and what they are in another version of it that has the same functions."""
    inner = ([c for c in code.co_consts if isinstance(c, CodeType)] for code in (old, new))
    for one, other in zip(*inner, strict=True):
        yield one, other
        yield from code_pairs(one, other)


class Live:
    """The functions that were made from the code of our files."""

    def __init__(self) -> None:
        for file in files():
            importlib.import_module("blockfuse." + file.removesuffix(".py").replace("/", "."))
        self.functions: dict[CodeType, list[FunctionType]] = defaultdict(list)
        for value in gc.get_objects():
            if isinstance(value, FunctionType):
                self.functions[value.__code__].append(value)

    def replace(self, file: str, tree: ast.Module) -> int:
        """Let the functions of ``file`` do what they do in ``tree``; how many are new."""
        text = (ROOT / file).read_text(encoding="utf-8")
        name = str(ROOT / "src/blockfuse" / file)
        changed = 0
        for old, new in code_pairs(compile(ast.parse(text), name, "exec"), compile(tree, name, "exec")):
            for function in self.functions.get(old, ()) if old != new else ():
                function.__code__ = new
                changed += 1
        return changed


def forget() -> None:
    """What functions of ours remember of earlier calls."""
    for value in gc.get_objects():
        if isinstance(value, functools._lru_cache_wrapper) and value.__module__.startswith("blockfuse"):
            value.cache_clear()


Statement = tuple[str, str, str]  # file, function, first line


class _Marks(ast.NodeTransformer):
    """Puts a mark before each statement of a function, for which tests come to it."""

    def __init__(self, file: str, statements: dict[int, Statement]) -> None:
        self.file, self.statements = file, statements
        self.classes: list[str] = []
        self.function = ""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.classes.append(node.name)
        node.body = [self.visit(s) for s in node.body]
        self.classes.pop()
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        outer, self.function = self.function, self.function or ".".join([*self.classes, node.name])
        self._mark_all(node)
        self.function = outer
        return node

    def _mark_all(self, node: ast.AST) -> None:
        for name, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                setattr(node, name, [s for statement in value for s in self._marked(statement)])
            elif isinstance(value, list):
                for child in value:
                    if isinstance(child, ast.ExceptHandler | ast.match_case):
                        self._mark_all(child)

    def _marked(self, statement: ast.stmt) -> list[ast.stmt]:
        docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if docstring or isinstance(statement, ast.Global | ast.Nonlocal):
            return [statement]
        number = len(self.statements)
        self.statements[number] = self.file, self.function, first_line(statement)
        mark = ast.parse(f"__marks__[{number}] = True").body[0]
        for node in ast.walk(mark):
            ast.copy_location(node, statement)
        if isinstance(statement, ast.FunctionDef):
            return [mark, self.visit(statement)]
        self._mark_all(statement)
        return [mark, statement]


def first_line(statement: ast.stmt) -> str:
    return ast.unparse(statement).partition("\n")[0]


# -- processes -----------------------------------------------------------------------------------------------------


@dataclass
class Child:
    """A process that works on tests and tells their names as it comes to them."""

    pid: int
    pipe: int
    limits: dict[str, float]
    rest: str = ""
    test: str = "before any test"
    found: list[str] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)

    def read(self) -> bool:
        """Take in what it told; whether it lives."""
        data = os.read(self.pipe, 1 << 20).decode()
        *lines, self.rest = (self.rest + data).split("\n")
        for line in lines:
            self.since = time.monotonic()
            word, _, text = line.partition(" ")
            if word == "test":
                self.test = text
            else:
                self.found.append(line)
        if not data:
            self.end()
        return bool(data)

    @property
    def overdue(self) -> bool:
        return time.monotonic() - self.since > PATIENCE + 10 * self.limits.get(self.test, 1.0)

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.pipe)


def forked(work: Callable[[Callable[[str], None]], None], limits: dict[str, float]) -> Child:
    """``work`` in a process of its own; it tells lines, and says "end" when it is through."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Child(pid, reading, limits)
    try:
        os.close(reading)
        os.setsid()
        faulthandler.disable()
        silent = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(silent, standard)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        def tell(line: str) -> None:
            os.write(writing, (line.replace("\n", " ") + "\n").encode())

        try:
            work(tell)
            tell("end")
        except BaseException:
            tell(f"broken {traceback.format_exc()}")
    finally:
        os._exit(0)


class Reports:
    """Whether the present test failed."""

    def __init__(self) -> None:
        self.failed = ""
        self.seconds = 0.0
        self.passed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds += report.duration
        if report.failed:
            lines = str(report.longrepr).strip().splitlines()
            self.failed = self.failed or next((x for x in reversed(lines) if x.startswith("E ")), lines[-1])
        self.passed |= report.when == "call" and report.passed


def run_tests(items: list[Any], tell: Callable[[str], None], after: Callable[[Any, Reports], bool]) -> None:
    """Run tests one after the other, until ``after`` says so."""
    if items:
        items[0].config.pluginmanager.unregister(name="terminalreporter")
    for item, following in zip_longest(items, items[1:]):
        tell(f"test {item.nodeid}")
        reports = Reports()
        item.config.pluginmanager.register(reports)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        item.config.pluginmanager.unregister(reports)
        if after(item, reports):
            return


# -- the hunt ------------------------------------------------------------------------------------------------------


class Hunt:
    """Measures the tests, and sets them on one mutant after the other."""

    def __init__(self, session: pytest.Session, folder: Path) -> None:
        self.config = session.config
        self.folder = folder
        self.budget = session.config.getoption("--mutants-budget")
        self.live = Live()
        self.items = {item.nodeid: item for item in session.items}
        self.seconds: dict[str, float] = {}
        self.tests_of: dict[tuple[str, ...], dict[str, None]] = defaultdict(
            dict
        )  # a statement -> who comes to it
        self.hasty: set[str] = set()  # mutants that survived less time than there is now
        self.kills: Counter[str] = Counter()  # test -> mutants that it found
        self.sound: dict[str, bool] = {}  # test -> whether it passes in a process like that of a mutant

    def run(self) -> None:
        self._measure()
        count, seed, only = (self.config.getoption(f"--mutants{name}") for name in ("", "-seed", "-only"))
        chosen = sample(count, seed, only)
        changing = [m for m in chosen if m.without_line not in equivalents()]
        self._say(f"{len(chosen) - len(changing)} of {len(chosen)} mutants change nothing")
        chosen = changing
        known = self._known()
        waiting = [m for m in chosen if str(m) not in known]
        waiting.sort(key=lambda m: str(m) in self.hasty)  # new ones first
        self._say(f"{len(chosen)} mutants, {len(waiting)} of them new; {len(self.items)} tests")
        running: dict[int, tuple[Mutant, Child, float]] = {}
        while waiting or running:
            while waiting and len(running) < self.config.getoption("--mutants-jobs"):
                mutant = waiting.pop(0)
                child = self._started(mutant)
                running[child.pipe] = mutant, child, time.monotonic()
            ready, _, _ = select.select(list(running), [], [], 0.5)
            for pipe, (mutant, child, start) in list(running.items()):
                verdict = self._verdict(child, pipe in ready, time.monotonic() - start)
                if verdict is not None:
                    del running[pipe]
                    if verdict == "again":
                        waiting.append(mutant)
                    else:
                        known[str(mutant)] = self._note(mutant, verdict, time.monotonic() - start)
        self._summary([known[str(m)] for m in chosen])

    def _started(self, mutant: Mutant) -> Child:
        tests = self._tests_for(mutant)
        return forked(lambda tell: self._attack(mutant, tests, tell), self.seconds)

    def _attack(self, mutant: Mutant, tests: list[str], tell: Callable[[str], None]) -> None:
        try:
            changed = self.live.replace(mutant.file, mutant.tree())
        except (ValueError, SyntaxError):
            changed = 0
        if not changed:
            tell("invalid")
            return
        forget()
        if not mutant.file.startswith(_ABOVE):
            self._compile_anew()

        def stop(item: Any, reports: Reports) -> bool:
            if reports.failed:
                tell(f"failed {item.nodeid} {reports.failed[:150]}")
            return bool(reports.failed) and not item.nodeid.startswith(TEXTS)

        run_tests([self.items[t] for t in tests], tell, stop)

    def _compile_anew(self) -> None:
        pytest.MonkeyPatch().setenv("BLOCKFUSE_CACHE", tempfile.mkdtemp(dir=config.cache_folder()))
        importlib.import_module("graphs")._MEMORY.clear()

    def _verdict(self, child: Child, readable: bool, elapsed: float) -> str | None:
        """None while it goes on. What another test says counts more than a text."""
        if readable and not child.read():
            failed = [line for line in child.found if line.startswith("failed ")]
            ended = "end" in child.found
            if failed and (ended or not failed[-1].startswith(tuple(f"failed {t}" for t in TEXTS))):
                return self._confirmed(failed[-1])
            other = [line for line in child.found if line.startswith(("broken", "invalid"))]
            if other:
                return other[0]
            return "survived" if ended else f"killed {child.test} crashed"
        if child.overdue:
            child.end()
            return f"killed {child.test} hung"
        if elapsed > self.budget:
            child.end()
            failed = [line for line in child.found if line.startswith("failed ")]
            return self._confirmed(failed[-1]) if failed else f"survived {self.budget:.0f} s"
        return None

    def _confirmed(self, line: str) -> str:
        """A failure counts where the test passes without the mutant."""
        test = next(t for t in self.items if line.startswith(f"failed {t} "))
        if test not in self.sound:
            child = forked(
                lambda tell: run_tests(
                    [self.items[test]], tell, lambda _, r: bool(r.failed and not tell("failed"))
                ),
                self.seconds,
            )
            while child.read():
                pass
            self.sound[test] = child.found == ["end"]
        return f"killed {line.removeprefix('failed ')}" if self.sound[test] else "again"

    # -- what is known ---------------------------------------------------------------------------------------------

    def _measure(self) -> None:
        """Learn durations and statements of all tests, but for those that are known from before."""
        for path in self.folder.glob("*.pickle"):
            self._take(pickle.loads(path.read_bytes()))
        by_file: dict[str, list[Any]] = defaultdict(list)
        for test, item in self.items.items():
            if test not in self.seconds:
                by_file[test.partition("::")[0]].append(item)
        for file, items in by_file.items():
            path = self.folder / f"{Path(file).stem}.{time.time_ns()}.pickle"
            child = forked(
                lambda tell, p=path, i=items: self._learn(p, i, tell), dict.fromkeys(self.items, 1e3)
            )
            while child.read():
                pass
            if not path.exists():
                raise RuntimeError(f"the measurement ended at {child.test}: {child.found}")
            self._take(pickle.loads(path.read_bytes()))
            self._say(f"measured {len(items)} tests of {file}")

    def _take(self, learnt: dict[str, Any]) -> None:
        """Use what was learnt of one file of tests, and the object code that was made for them."""
        importlib.import_module("graphs")._MEMORY.update(learnt["memory"])
        store = config.cache_folder()
        for name, data in learnt["store"].items():
            (store / name).parent.mkdir(parents=True, exist_ok=True)
            (store / name).write_bytes(data)
        for test, (seconds, statements) in learnt["tests"].items():
            if test in self.items:
                self.seconds[test] = seconds
                for statement in statements:
                    found = learnt["statements"][statement]
                    for key in (found, found[:2], found[:1]):
                        self.tests_of[key].setdefault(test)

    def _learn(self, path: Path, items: list[Any], tell: Callable[[str], None]) -> None:
        marks: dict[int, bool] = {}
        statements: dict[int, Statement] = {}
        for file in files():
            tree = _Marks(file, statements).visit(ast.parse((ROOT / file).read_text(encoding="utf-8")))
            vars(sys.modules["blockfuse." + file.removesuffix(".py").replace("/", ".")])["__marks__"] = marks
            self.live.replace(file, ast.fix_missing_locations(tree))
        learnt: dict[str, tuple[float, tuple[int, ...]]] = {}

        def after(item: Any, reports: Reports) -> bool:
            sound = reports.passed and not reports.failed
            learnt[item.nodeid] = reports.seconds, tuple(marks) if sound else ()
            marks.clear()
            return False

        forget()
        store = config.cache_folder()
        known = {p for p in store.rglob("*") if p.is_file()}
        run_tests(items, tell, after)
        kept = {
            p.relative_to(store): p.read_bytes() for p in store.rglob("*") if p.is_file() and p not in known
        }
        memory = dict(importlib.import_module("graphs")._MEMORY)
        found = {"tests": learnt, "statements": statements, "memory": memory, "store": kept}
        path.with_suffix(".new").write_bytes(pickle.dumps(found))
        path.with_suffix(".new").rename(path)

    def _tests_for(self, mutant: Mutant) -> list[str]:
        """What comes to its statement; for a new one, what comes to its function, or its file."""
        tree = ast.parse((ROOT / mutant.file).read_text(encoding="utf-8"))
        line = first_line(found_at(tree, mutant.statement)[0])
        keys = (mutant.file, mutant.function, line), (mutant.file, mutant.function), (mutant.file,)
        known = next((self.tests_of[key] for key in keys if key in self.tests_of), {})
        return self._promising(t for t in known if self.sound.get(t, True))

    def _promising(self, tests: Iterable[str]) -> list[str]:
        """Texts, which take no time; what found much in little time; the quickest of each function, then its next."""
        rank: Counter[str] = Counter()
        ranked = []
        for test in sorted(tests, key=lambda t: self.seconds[t] / (1 + self.kills[t])):
            function = test.partition("[")[0]
            ranked.append(
                (not test.startswith(TEXTS), not self.kills[test], rank[function], self.seconds[test], test)
            )
            rank[function] += 1
        return [test for *_, test in sorted(ranked)]

    def _known(self) -> dict[str, dict[str, Any]]:
        path = self.folder / "found.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        rows = {row["mutant"]: row for row in map(json.loads, lines)}
        for row in rows.values():
            self.kills.update(t for t in self.items if row["verdict"].startswith(f"killed {t} "))
        hasty = [f"survived {seconds} s" for seconds in range(int(self.budget))]
        self.hasty = {m for m, row in rows.items() if row["verdict"] in hasty}
        return {m: row for m, row in rows.items() if m not in self.hasty}

    def _note(self, mutant: Mutant, verdict: str, seconds: float) -> dict[str, Any]:
        row = {"mutant": str(mutant), "verdict": verdict, "kind": mutant.kind, "seconds": round(seconds, 1)}
        with (self.folder / "found.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.kills.update(t for t in self.items if verdict.startswith(f"killed {t} "))
        self._say(f"{verdict[:100]}  {mutant}")
        return row

    def _summary(self, rows: list[dict[str, Any]]) -> None:
        valid = [r["verdict"] for r in rows if r["verdict"] != "invalid"]
        killed = [v for v in valid if v.startswith("killed")]
        texts = [v for v in killed if v.removeprefix("killed ").startswith(TEXTS)]
        self._say(f"{len(killed)} of {len(valid)} killed, {len(texts)} of them by text alone")

    def _say(self, text: str) -> None:
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        terminal.write_line(text)
