"""Mutants are broken in one place of what is computed, and ``pytest --mutants`` says which test notices."""

import ast
import re
from pathlib import Path

import mutations
import pytest
from documents import ROOT, python
from mutations import Mutant, mutants_of, sample


def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> list[Mutant]:
    """All mutants of a file of this text."""
    monkeypatch.setattr(mutations, "ROOT", tmp_path)
    (tmp_path / "file.py").write_text(source, encoding="utf-8")
    return mutants_of("file.py")


SOURCE = '''
"""A file."""

LIMIT = 3


def stepped(shape: tuple[int, int], n: int = 2) -> int:
    """Twice 3 < 4."""
    assert n + 1 < 4
    work = n * 1000
    if n >= 0 and not shape:
        return 0
    return shape[0] * n
'''


def test_only_what_is_computed_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mutants = written(tmp_path, monkeypatch, SOURCE)
    assert sorted({f"{m.before} -> {m.after}" for m in mutants}) == [
        "0 -> 1",
        "if n >= 0 and (not shape): ... -> if not (n >= 0 and (not shape)): ...",
        "if n >= 0 and (not shape): ... -> pass",
        "n >= 0 -> n > 0",
        "n >= 0 and (not shape) -> n >= 0 or not shape",
        "not shape -> shape",
        "shape[0] * n -> shape[0] + n",
    ]
    assert {m.function for m in mutants} == {"stepped"}


def test_each_mutant_is_its_file_with_one_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mutants = written(tmp_path, monkeypatch, SOURCE)
    broken = {ast.unparse(m.tree()) for m in mutants}
    assert len(broken) == len(mutants)
    assert ast.unparse(ast.parse(SOURCE)) not in broken


@pytest.mark.long
def test_mutants_are_the_same_for_a_seed_and_more_are_the_same_and_others() -> None:
    few, many = sample(40, 1), sample(80, 1)
    assert many[:40] == few
    assert len(set(many)) == 80
    assert sample(40, 2) != few


@pytest.mark.long
def test_mutants_compile() -> None:
    for mutant in sample(300, 3):
        compile(mutant.tree(), mutant.file, "exec")


@pytest.mark.long
def test_the_tests_of_a_broken_file_notice(tmp_path: Path) -> None:
    options = (
        "--mutants=20",
        "--mutants-only=ir/layout.py",
        f"--mutants-folder={tmp_path}",
        "--all-examples",
    )
    done = python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "tests/ir/test_layouts.py", cwd=ROOT
    )
    told = re.search(r"(\d+) of (\d+) killed", done.stdout)
    assert told is not None, done.stdout + done.stderr
    killed, valid = map(int, told.groups())
    assert valid > 0
    assert killed == valid
