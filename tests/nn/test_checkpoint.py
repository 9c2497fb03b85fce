"""Checkpoints: a training goes on from one as if it had never stopped, and what does not fit changes nothing."""

from pathlib import Path
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import gluon, nn, np
from blockfuse.ir.errors import ParameterFileError, UsageError


class Training:
    """A net with Dropout, its trainer and shuffled data, from one seed; ``epochs`` trains it."""

    def __init__(self, optimizer: str = "adam", units: int = 8, **options: Any) -> None:
        np.random.seed(0)
        self.net = nn.Sequential(nn.Dense(units, activation="relu"), nn.Dropout(0.3), nn.Dense(3))
        self.net.initialize(init="xavier")
        self.net(np.ones((1, 4)))
        self.trainer = gluon.Trainer(self.net.collect_params(), optimizer, options)
        x, labels = np.random.normal(size=(32, 4)), np.random.randint(0, 3, size=(32,))
        self.batches = gluon.data.DataLoader(gluon.data.ArrayDataset(x, labels), 8, shuffle=True)
        self.loss = gluon.loss.SoftmaxCrossEntropyLoss()

    def eagerly(self, x: Any, labels: Any) -> Any:
        with blockfuse.autograd.record():
            loss = self.loss(self.net(x), labels)
        loss.backward()
        self.trainer.step(len(x))
        return loss

    def epochs(self, count: int) -> list[list[float]]:
        return [[float(self.eagerly(*batch).mean()) for batch in self.batches] for _ in range(count)]

    def held(self) -> list[bytes]:
        """Everything that training changes, by name and value."""
        arrays = {name: p.data().asnumpy() for name, p in self.net.collect_params().items()}
        arrays |= self.trainer._state_arrays()
        return [*(name.encode() + a.tobytes() for name, a in sorted(arrays.items())), _stream()]


def _stream() -> bytes:
    return np.random.get_state().asnumpy().tobytes()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "training.npz"


def schedule() -> Any:
    return blockfuse.lr_scheduler.FactorScheduler(2, 0.9, base_lr=0.05)


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [("adam", {}), ("sgd", {"momentum": 0.9, "lr_scheduler": schedule()}), ("nadam", {}), ("sgd", {})],
)
def test_a_training_goes_on_from_a_checkpoint_bit_for_bit(
    file: Path, optimizer: str, options: dict[str, Any]
) -> None:
    whole = Training(optimizer, **options)
    wanted = whole.epochs(4), whole.held()
    first = Training(optimizer, **options)
    losses = first.epochs(2)
    blockfuse.save_checkpoint(file, first.net, first.trainer, epoch=2)
    second = Training(optimizer, **options)
    second.epochs(1)  # whatever it did before
    assert blockfuse.load_checkpoint(file, second.net, second.trainer) == {"epoch": 2}
    losses += second.epochs(2)
    assert (losses, second.held()) == wanted


def test_a_learning_rate_that_was_set_comes_back(file: Path) -> None:
    first, second = Training("sgd"), Training("sgd")
    first.trainer.set_learning_rate(0.5)
    blockfuse.save_checkpoint(file, first.net, first.trainer)
    assert blockfuse.load_checkpoint(file, second.net, second.trainer) == {}
    assert second.trainer.learning_rate == 0.5


@pytest.mark.long
def test_a_checkpoint_may_be_taken_between_compiled_steps(file: Path) -> None:
    training = Training()
    step = blockfuse.train_step(training.net, training.loss, training.trainer)
    batch = next(iter(training.batches))
    for _ in range(3):
        step(*batch)
    blockfuse.save_checkpoint(file, training.net, training.trainer)
    held = training.held()
    wanted = [step(*batch).asnumpy().tolist() for _ in range(3)]
    blockfuse.load_checkpoint(file, training.net, training.trainer)
    assert training.held() == held
    assert [step(*batch).asnumpy().tolist() for _ in range(3)] == wanted


@pytest.mark.long
def test_a_step_of_ones_own_is_compiled_at_once_after_a_checkpoint(file: Path) -> None:
    first, second = Training(), Training()
    first.epochs(1)
    blockfuse.save_checkpoint(file, first.net, first.trainer)
    blockfuse.load_checkpoint(file, second.net, second.trainer)
    step = blockfuse.hybridize(second.eagerly)
    step(*next(iter(second.batches)))
    assert ": compiled" in step.explain().splitlines()[0]


def test_notes_come_back_as_python_values(file: Path) -> None:
    training = Training()
    notes = {
        "epoch": 3,
        "losses": [0.1, 0.2],
        "name": "mlp",
        "done": True,
        "order": np.array([2, 0, 1], "int64"),
    }
    blockfuse.save_checkpoint(file, training.net, training.trainer, **notes)
    found = blockfuse.load_checkpoint(file, training.net, training.trainer)
    assert found == notes | {"order": [2, 0, 1]}
    assert [type(found[name]) for name in ("epoch", "name", "done")] == [int, str, bool]
    with pytest.raises(UsageError, match="where is a dict; it can note numbers"):
        blockfuse.save_checkpoint(file, training.net, training.trainer, where={"x": 1})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda arrays: arrays.pop("random"), "no checkpoint: it has no state of np.random"),
        (lambda arrays: arrays.update(random=numpy.zeros(6, "uint64")), "no state of np.random"),
        (lambda arrays: arrays.pop("net/0.bias"), "0.bias is missing"),
        (lambda arrays: arrays.update({"net/2.weight": numpy.zeros((3, 9), "float32")}), "2.weight"),
        (
            lambda arrays: arrays.update({"trainer/optimizer": numpy.array("SGD")}),
            "states of SGD, not of Adam",
        ),
        (lambda arrays: arrays.pop("trainer/0/0.bias/1"), "needs"),
    ],
    ids=[
        "no stream",
        "bad stream",
        "no parameter",
        "another shape",
        "another optimizer",
        "half of the states",
    ],
)
def test_a_file_that_does_not_fit_changes_nothing(file: Path, spoil: Any, message: str) -> None:
    training = Training()
    training.epochs(1)
    blockfuse.save_checkpoint(file, training.net, training.trainer)
    with numpy.load(file) as saved:
        arrays = dict(saved)
    spoil(arrays)
    with file.open("wb") as stream:
        numpy.savez(stream, **arrays)
    training.epochs(1)
    before = training.held()
    with pytest.raises(ParameterFileError, match=message):
        blockfuse.load_checkpoint(file, training.net, training.trainer)
    assert training.held() == before
