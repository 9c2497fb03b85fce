"""The training examples learn, draw what they learned, and go on from their checkpoints to the same bits."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from documents import ROOT, python

Main = Callable[..., tuple[Any, dict[str, list[float]]]]  # of a number of epochs and a folder

# name -> epochs that tell whether it learns, name of a figure, what it must come to, and whether from below
EXAMPLES = {
    "digits": (25, "accuracy", 0.97, True),
    "autoencoder": (6, "error of a pixel", 0.22, False),
    "lenet": (8, "accuracy", 0.97, True),
    "characters": (12, "loss of a letter", 1.7, False),
    "through_a_loop": (12, "error", 0.025, False),
    "equilibrium": (8, "accuracy", 0.97, True),
}


@pytest.fixture
def mains(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Main]]:
    """The ``main`` of an example, by its name; the files beside it can be imported, as when it runs as a script."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(ROOT / "examples")
    yield lambda name: importlib.import_module(name).main
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == ROOT / "examples":
            del sys.modules[name]


@pytest.fixture
def needs(example: str) -> None:
    if example in ("digits", "autoencoder", "lenet"):
        pytest.importorskip(
            "sklearn", reason="the pictures are in scikit-learn: pip install 'blockfuse[train]'"
        )


@pytest.mark.long
@pytest.mark.usefixtures("needs")
@pytest.mark.parametrize("example", EXAMPLES)
def test_it_learns_and_shows_it(
    example: str, mains: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    epochs, figure, goal, above = EXAMPLES[example]
    _, curves = mains(example)(epochs, tmp_path)
    reached = curves[figure][-1]
    assert reached >= goal if above else reached <= goal
    assert curves[next(iter(curves))][-1] < curves[next(iter(curves))][0]
    printed = capsys.readouterr().out
    assert re.search(r"^a step is \w+\(.*\): compiled$", printed, flags=re.MULTILINE)
    assert {f"{example}.npz", f"{example}.png"} <= {file.name for file in tmp_path.iterdir()}


def parameters(net: Any) -> dict[str, bytes]:
    return {name: p.data().asnumpy().tobytes() for name, p in net.collect_params().items()}


@pytest.mark.long
@pytest.mark.usefixtures("needs")
@pytest.mark.parametrize("example", ["through_a_loop", "digits", "autoencoder", "equilibrium"])
def test_it_goes_on_from_its_checkpoint_to_the_same_bits(example: str, mains: Any, tmp_path: Path) -> None:
    main = mains(example)
    whole, wanted = main(4, tmp_path / "whole")
    main(2, tmp_path / "parts")
    again, curves = main(4, tmp_path / "parts")
    assert curves == wanted
    assert parameters(again) == parameters(whole)


@pytest.mark.long
def test_it_runs_as_a_script_and_goes_on_when_it_runs_again(tmp_path: Path) -> None:
    path = f"{ROOT / 'src'}:{ROOT / 'examples'}"  # also the script's own folder, which -P leaves out
    for said in ("20 epochs, into build/train", "20 of 20 epochs are in build/train"):
        done = python("-W", "error", ROOT / "examples/through_a_loop.py", cwd=tmp_path, PYTHONPATH=path)
        assert (done.returncode, done.stderr) == (0, "")
        assert said in done.stdout
