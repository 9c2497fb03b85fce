"""Every example runs as a script, and every net in it gives the same compiled as eager."""

import runpy
from pathlib import Path

import pytest
from documents import ROOT, python

from blockfuse.runtime.cli import measure
from blockfuse.runtime.cli.subjects import Subject, example_files, subjects

WITHOUT_NETS = {"__init__.py", "training.py"}
FILES = sorted(f.name for f in (ROOT / "examples").glob("*.py") if f.name not in WITHOUT_NETS)
# They train for a while: tests/docs/test_training_examples.py runs them.
TRAINING = {
    "autoencoder.py",
    "characters.py",
    "digits.py",
    "equilibrium.py",
    "lenet.py",
    "through_a_loop.py",
}
NETS = [subject for file in example_files() for subject in subjects(file, ())]


def test_every_file_says_what_its_nets_take() -> None:
    assert [Path(f).name for f in example_files()] == FILES


@pytest.mark.spread(11)
@pytest.mark.parametrize("net", NETS, ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_net_gives_the_same_compiled(net: Subject, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_ROUND", 1e-5)
    monkeypatch.setattr(measure, "_ROUNDS", (2, 2))
    if len(net.inputs) > 1:
        batch = net.inputs[0].shape[0]
    inputs = [given.with_batch(batch if not n else None) for n, given in enumerate(net.inputs)]
    row = measure.compared(Subject(net.file, net.name, tuple(inputs), net.make), None, {}, None)
    assert row.difference.within
    assert row.outcome.program is not None, row.outcome.reason


SCRIPTS = [  # generators.py and attention.py compile for seconds
    pytest.param(file, marks=[pytest.mark.long] * (file in ("attention.py", "generators.py")))
    for file in FILES
    if file not in TRAINING
]


@pytest.mark.spread(5)
@pytest.mark.parametrize("file", SCRIPTS)
def test_file_runs_as_a_script(file: str) -> None:
    done = python("-W", "error", ROOT / "examples" / file)
    assert (done.returncode, done.stderr) == (0, "")


def test_exercise_1_shows_the_warning_and_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples/exercise_1.py"), run_name="__main__")
    warning, error, registered = capsys.readouterr().out.splitlines()
    assert warning.startswith("warning: ListSequential holds blocks or parameters in blocks, a list")
    assert error.startswith("error: parameter weight has no value yet")
    assert registered == "registered: (2, 10)"


def test_exercises_2_and_3_give_the_shapes_they_promise(capsys: pytest.CaptureFixture[str]) -> None:
    for number in (2, 3):
        runpy.run_path(str(ROOT / f"examples/exercise_{number}.py"), run_name="__main__")
    assert capsys.readouterr().out == "(2, 24)\n(2, 16) 12\n"
