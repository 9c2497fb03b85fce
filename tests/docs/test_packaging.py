"""The packages in pyproject.toml, the folders on disk and the links in src/blockfuse/ agree."""

import contextlib
import importlib
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from documents import python

import blockfuse
from blockfuse.runtime.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("ir", "array", "tracer", "codegen", "runtime", "nn", "frozen", "frontends")
FILES_ONLY = "examples"  # installed for `blockfuse compare`, which runs them as files; imported by nobody
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def test_packages_are_the_folders_on_disk() -> None:
    with_code = {path.parent for folder in (*FOLDERS, FILES_ONLY) for path in (ROOT / folder).rglob("*.py")}
    on_disk = {"blockfuse." + ".".join(path.relative_to(ROOT).parts) for path in with_code}
    linked = tuple(ROOT / "src/blockfuse" / folder for folder in FOLDERS)
    own = {path.parent for path in (ROOT / "src").rglob("*.py") if not any(map(path.is_relative_to, linked))}
    names = {".".join(path.relative_to(ROOT / "src").parts) for path in own}
    assert SETUPTOOLS["packages"] == sorted(names | on_disk)


def test_each_folder_has_its_package_dir_line() -> None:
    lines = {f"blockfuse.{folder}": folder for folder in (*FOLDERS, FILES_ONLY)}
    assert SETUPTOOLS["package-dir"] == {"blockfuse": "src/blockfuse"} | lines


@pytest.mark.parametrize("package", [p for p in SETUPTOOLS["packages"] if FILES_ONLY not in p])
def test_package_has_an_init_file_and_imports(package: str) -> None:
    if package.startswith("blockfuse.frontends."):
        pytest.importorskip(package.split(".")[2])  # the library whose models it takes
    module = importlib.import_module(package)
    assert module.__file__ is not None
    assert Path(module.__file__).name == "__init__.py"


@pytest.mark.parametrize("folder", FOLDERS)
def test_link_leads_to_its_folder(folder: str) -> None:
    link = ROOT / "src/blockfuse" / folder
    if link.is_dir() and not link.is_symlink():
        pytest.skip("a source distribution has copies in the place of links")
    # A checkout without symbolic links has a text file in the place of each.
    target = os.readlink(link) if link.is_symlink() else link.read_text(encoding="utf-8")
    assert target == f"../../{folder}"
    assert (link.parent / target).resolve() == ROOT / folder


def test_every_link_is_one_of_a_folder() -> None:
    links = {path.name for path in (ROOT / "src/blockfuse").iterdir() if path.is_symlink()}
    assert links <= set(FOLDERS)


def test_a_source_distribution_has_what_a_checkout_has() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no checkout")
    tops = {line.split("/")[0] for line in listed.stdout.splitlines()}
    manifest = {
        word for line in (ROOT / "MANIFEST.in").read_text("utf-8").splitlines() for word in line.split()
    }
    always = {"LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py"}
    assert tops - manifest - always - set(FOLDERS) == {".ci", ".gitignore"}


def test_package_says_that_it_is_typed() -> None:
    assert (ROOT / "src/blockfuse/py.typed").is_file()


def test_names_of_gluon_are_there_when_asked_for() -> None:
    code = """
import blockfuse, sys
assert "blockfuse.nn.data" not in sys.modules
assert blockfuse.metric.Accuracy is blockfuse.gluon.metric.Accuracy
from blockfuse.gluon.nn import Dense
from blockfuse.gluon.loss import L2Loss
import blockfuse.gluon.nn, blockfuse.gluon.loss, blockfuse.gluon.rnn
assert blockfuse.gluon.nn is blockfuse.nn and blockfuse.nn.Dense is Dense
assert blockfuse.gluon.loss is blockfuse.loss and blockfuse.loss.L2Loss is L2Loss
from blockfuse.gluon import rnn
from blockfuse.gluon.rnn import LSTM
assert blockfuse.gluon.rnn is rnn and rnn.LSTM is LSTM
from blockfuse.gluon.block import HybridBlock
from blockfuse.gluon.trainer import Trainer
assert blockfuse.gluon.HybridBlock is HybridBlock and blockfuse.Trainer is Trainer
from blockfuse.gluon.data import vision
assert blockfuse.gluon.data.vision is vision
assert blockfuse.gluon.utils.split_data
from blockfuse import *
from blockfuse.gluon import *
assert metric and data and utils
assert not hasattr(blockfuse, "metrics") and not hasattr(gluon, "dataset")
"""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr


def test_all_say_the_same_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert blockfuse.__version__ == project["version"]
    assert python("-m", "blockfuse", "--version").stdout == f"blockfuse {project['version']}\n"
    headings = re.findall(
        r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    released = [heading for heading in headings if heading != "Unreleased"]
    assert all(re.fullmatch(r"\[?\d+\.\d+\.\d+\]?( - \d{4}-\d\d-\d\d)?", heading) for heading in released)
    assert not released or project["version"] in released[0]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_as_the_page_says(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert f"{shell}_source" in page
    monkeypatch.setenv("_BLOCKFUSE_COMPLETE", f"{shell}_source")
    with contextlib.suppress(SystemExit):
        main([])
    assert b"_BLOCKFUSE_COMPLETE" in capsysbinary.readouterr().out
