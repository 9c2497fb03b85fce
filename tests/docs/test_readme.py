"""README.md shows what happens: its code runs, its commands print what it says, its links lead somewhere."""

import doctest
import re
from pathlib import Path

import pytest
from documents import ROOT, blocks, links, python, shown_blocks

from benchmarks.nets import NETS
from blockfuse.codegen.cpu.native import isa
from blockfuse.runtime import config

NEEDED = {
    "docs/dask.md": "dask",
    "docs/joblib.md": "joblib",
    "docs/keras.md": "keras",
    "docs/onnx.md": "onnx",
    "docs/sklearn.md": "sklearn",
    "docs/stable_baselines3.md": "stable_baselines3",
    "docs/torch.md": "torch",
    "docs/workers.md": "mpi4py",
}  # document -> the package that it is about
PAGES = ("README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")))
SLOW = ("docs/iterative.md",)  # nested loops compile for seconds
ELSEWHERE = ("docs/cli.md",)  # its code is a file that its commands read
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_readme_leads_with_the_two_commands() -> None:
    commands = re.findall(r"^make (\w+)", blocks("README.md", "")[0], flags=re.MULTILINE)
    assert commands == ["compare", "test"]
    assert all(re.search(rf"^{command}:", MAKEFILE, flags=re.MULTILINE) for command in commands)


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    "document",
    [
        pytest.param(page, marks=[pytest.mark.long] * (page in SLOW))
        for page in PAGES
        if page not in ELSEWHERE and blocks(page, "python")
    ],
)
def test_code_runs(
    document: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is printed stands behind ``print(...)  #``, or in a block of text below."""
    pytest.importorskip(NEEDED.get(document, "numpy"))
    monkeypatch.chdir(tmp_path)  # for files that it writes
    names = {"__name__": "readme"}
    for code, below in shown_blocks(document):
        exec(compile(code, document, "exec"), names)
        printed = capsys.readouterr().out
        assert not set(re.findall(r"^print\(.*\)  +# (.*)$", code, flags=re.MULTILINE)) - set(
            printed.splitlines()
        )
        assert not below or doctest.OutputChecker().check_output(below, printed, doctest.ELLIPSIS), printed


@pytest.mark.skipif(
    isa.machine(config.isa_level()).name != "avx512", reason="the kernel shown is one for AVX-512"
)
def test_commands_print_what_is_shown(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(blocks("README.md", "python")[0])
    (session,) = blocks("README.md", "console")
    steps = re.findall(r"^\$ blockfuse (.*)\n((?:(?!\$ ).*\n)*)", session, flags=re.MULTILINE)
    assert len(steps) == 2
    for arguments, shown in steps:
        done = python("-m", "blockfuse", *arguments.split(), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        assert doctest.OutputChecker().check_output(shown, done.stdout, options), done.stdout


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "CHANGELOG.md", *PAGES])
def test_links_lead_somewhere(document: str) -> None:
    assert [str(target) for target in links(document) if not target.exists()] == []


def test_table_has_rows_of_the_benchmark() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## How it compares")[1].split("## ")[0]
    rows = re.findall(r"^\| (.*?) \|", table, flags=re.MULTILINE)[1:]
    assert len(rows) > 5
    assert set(rows) <= {net.name for net in NETS}


def test_the_picture_of_notebooks_is_what_their_code_becomes(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(blocks("docs/notebooks.md", "python")[0])
    command = "-m blockfuse show net.py --input 2x5 --svg made.svg"
    assert command.removeprefix("-m ").replace("made.svg", "FILE") in (ROOT / "docs/notebooks.md").read_text()
    run = python(*command.split(), cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "made.svg").read_text() == (ROOT / "docs/notebooks.svg").read_text()
