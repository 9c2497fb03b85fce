"""Every reason that the library can give why calls run in Python has its cure, from one table."""

from __future__ import annotations

import ast
import runpy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy
import pytest
from documents import ROOT

from blockfuse import hybridize, nn, np, npx
from blockfuse.runtime.reasons import REASONS, cure_lines, reason_of
from blockfuse.tracer.flow import assembly
from blockfuse.tracer.recording import recorder

# functions that are told why something cannot be, and which of their arguments says so
TOLD = {
    "TraceError": 0,
    "_stop": 0,
    "impure": 0,
    "cannot_see": 0,
    "settle": 0,
    "give_up": 0,
    "Effect": 0,
    "_object": 0,
    "Recording": 1,
}
ATTRIBUTES = ("problem", "reason", "obstacle")
FOLDERS = ("tracer", "runtime/calls", "runtime/programs", "array", "nn", "ir/passes")
# What holds a reason back that has a row by its place, says that all is well or that no user meets it.
OTHERWISE = {
    "tracer/generalize/every_size.py",  # of programs for every size: the row of sizes
    "ir/builder.py",  # of expansions of our own operators
    "runtime/programs/disk_cache.py",  # no code is kept: another warning
}


def texts_of(node: ast.expr | None) -> Iterator[str]:
    """The literal texts of an expression, with X for what is known at run time only."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(v.value if isinstance(v, ast.Constant) else "X" for v in node.values)
    elif isinstance(node, ast.IfExp):
        yield from texts_of(node.body)
        yield from texts_of(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from texts_of(value)
    elif isinstance(node, ast.BinOp):
        yield from texts_of(node.left)


def reasons_in(file: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        given: list[ast.expr | None] = []
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in TOLD and len(node.args) > TOLD[name]:
                given.append(node.args[TOLD[name]])
        elif isinstance(node, ast.Assign):
            named = [t.attr for t in node.targets if isinstance(t, ast.Attribute)]
            given += [node.value] if set(named) & set(ATTRIBUTES) else []
        elif (
            isinstance(node, ast.FunctionDef)
            and isinstance(node.returns, ast.Name)
            and node.returns.id == "str"
        ):
            said = "problem" in node.name or node.name in FUNCTIONS
            given += [n.value for n in ast.walk(node) if isinstance(n, ast.Return)] if said else []
        for one in given:
            yield from ((getattr(one, "lineno", 0), text) for text in texts_of(one))


# functions of tracer/recording/record.py that give a problem or an empty text
FUNCTIONS = {
    "_held",
    "_following",
    "_asking",
    "_drawing",
    "_raising",
    "_sharing",
    "_unseen",
    "_changed",
    "problem_with",
}

MADE_OF_OTHERS = {"X", "XX", "X X", "X X at X", "for X", "forward can reach X"}


@cache
def found() -> list[tuple[str, str]]:
    """All files with the reasons that they give."""
    return sorted(
        {
            (f"{file.relative_to(ROOT)}", text)
            for folder in FOLDERS
            for file in (ROOT / folder).rglob("*.py")
            if str(file.relative_to(ROOT)) not in OTHERWISE
            for _, text in reasons_in(file)
        }
    )


def test_every_reason_has_its_cure() -> None:
    assert len(found()) > 80
    assert [one for one in found() if one[1] not in MADE_OF_OTHERS and reason_of(one[1]) is None] == []


def test_every_row_is_met() -> None:
    """By a text of the library; or by the place where a line stands."""
    met = {id(reason_of(text)) for _, text in found()}
    placed = {"Numbers in the signature", "Profilers", "Random numbers of NumPy", "Settings of the process"}
    placed.add("Forks while another thread records")
    assert [r.name for r in REASONS if r.texts and id(r) not in met and r.name not in placed] == []


def test_the_page_shows_the_table() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "reasons.py"))
    shown = (ROOT / "docs" / "reasons.md").read_text(encoding="utf-8")
    assert page["page"]() == shown, "run python docs/reasons.py --write"
    for reason in REASONS:
        assert f"## {reason.name}\n" in shown


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("forward uses values in Python (item()) at net.py:3", "Values in Python"),
        ("f calls print at net.py:3", "Functions that are not known"),
        ("forward calls more than 262144 operators; a while loop whose condition", "Too many operators"),
        ("forward takes more than 512 ways between decisions", "Too many operators"),
        ("forward takes more than 64 decisions, none of them twice", "Rounds that differ"),
        ("f takes more than 2048 decisions in a call that is recorded at net.py:3", "Long loops"),
        ("forward calls inv, which may raise, where no result needs it", "Operators that may raise"),
        ("forward assigns the attribute calls at net.py:3", "State that forward changes"),
        ("forward calls log, which writes to the log, at net.py:3", "Settings of the process"),
        ("forward changes Python state: self.n", "State that forward changes"),
        ("forward can reach time as clock, which is not known to be pure", "Functions that are not known"),
        ("a profiler is active, and recording needs its place", "Profilers"),
        (
            "this process was forked while another thread of its parent recorded",
            "Forks while another thread records",
        ),
        ("compiling it failed: KeyError: 't1'", "Failures of the compiler"),
    ],
)
def test_a_reason_is_of_its_kind(text: str, name: str) -> None:
    found = reason_of(text)
    assert found is not None
    assert found.name == name
    assert cure_lines(text) == [f"cure: {found.cure}; see docs/reasons.md#{found.anchor}"]


def test_explain_says_what_to_write() -> None:
    @hybridize
    def shown(x: np.ndarray) -> np.ndarray:
        print(end="")  # noqa: T201 - what is refused
        return x * 2

    for _ in range(2):
        shown(np.ones((2,), dtype="int32"))
    lines = shown.explain().splitlines()
    assert lines[0].startswith("shown(int32[2]): eager")
    assert lines[1].startswith("  because shown calls print at ")
    assert lines[2].startswith("  cure: call it where the net is called")


@hybridize
def decays(x: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Half of it, until little is left; the step is a float, and so tells the rounds apart."""
    step = 0.5
    while np.abs(x).max() > least:
        x, step = x - step * x, 0.99 * step
    return x


@hybridize
def halves(x: np.ndarray, least: np.ndarray) -> np.ndarray:
    while np.abs(x).max() > least:
        x = x / 2
    return x


@hybridize
def decays_and_halves(x: np.ndarray, least: np.ndarray) -> np.ndarray:
    return halves.__wrapped__(decays.__wrapped__(x, 4 * least), least)


def reason_after(function: Any, least: float) -> str:
    given = np.array([1.0, -3.0]), np.array(least)
    found = function(*given)
    numpy.testing.assert_allclose(found.asnumpy(), function.__wrapped__(*given).asnumpy(), rtol=1e-5)
    return str(function.explain())


def test_rounds_that_floats_tell_apart_are_not_compiled_by_the_dozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "_MAX_STRAIGHT_BLOCKS", 6)
    for function in (decays, decays_and_halves):
        shown = reason_after(function, 1e-3)
        assert "more than 6 decisions, none of them twice" in shown
        assert "docs/reasons.md#rounds-that-differ" in shown
    assert reason_after(halves, 1e-2).splitlines()[0].endswith("compiled")


def test_a_loop_of_many_rounds_is_recorded_by_a_call_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_MAX_DECISIONS", 12)
    settles = hybridize(halves.__wrapped__)
    assert "docs/reasons.md#long-loops" in reason_after(settles, 1e-9)
    settles = hybridize(halves.__wrapped__)
    for least in (1e-1, 1e-9, 1e-20):
        assert reason_after(settles, least).splitlines()[0].endswith("compiled")
    assert settles.explain().count("eager") == 1  # "3 calls, 1 of them eager"


def test_lines_that_differ_in_their_place_are_one() -> None:
    net = nn.Sequential(*(nn.Dense(8, activation="relu", in_units=8) for _ in range(6)))
    net.initialize()
    net.hybridize()
    net(np.ones((2, 8)))
    kernels = [line for line in net.explain().splitlines() if "kernel dense_relu" in line]
    assert len(kernels) == 1
    assert "from 0 (Dense), 1 (Dense), ..., 5 (Dense)" in kernels[0]
    assert kernels[0].endswith(", 6 times")


def test_steps_by_numpy_are_grouped_with_their_cure() -> None:
    @hybridize
    def spectra(x: np.ndarray) -> np.ndarray:
        return np.linalg.eigvalsh(x) + np.linalg.eigvalsh(x * 2)

    spectra(np.array(numpy.eye(3)))
    said = [line for line in spectra.explain().splitlines() if "numpy eig" in line or "cure" in line]
    assert len(said) == 2
    assert said[0].endswith(", 2 times")
    assert "#steps-by-numpy" in said[1]


def test_an_integer_has_the_name_of_its_dtype() -> None:
    picked = hybridize(lambda x, y: npx.relu(x) + y.astype("float32"))
    picked(np.ones((2,)), np.ones((2,), dtype="uint8"))
    assert "(float32[2], uint8[2])" in picked.explain()
